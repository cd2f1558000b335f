"""What a request costs beside the scan, counted in instructions by callgrind, however busy the machine.

    python benchmarks/costs.py [--products 50000 1000000] [--dim 100]

Needs valgrind, which knows no AVX-512: the kernels take AVX2. A copy is an instruction for every byte or for 32 of them,
as the C library likes. The scan is catalog_top_k; encoding is Model::forward. What is left is the rules, the selection,
what is handed to the scan, and the answer.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
from common import NO_FILTERS, random_model, record, release_of
from rules import DIVERSIFY, SIX, attributes

import stamp

REQUESTS = 20
WAYS = {
    "none": {},
    "seen": {"zone": "seen"},
    "zone": {"zone": "six"},
    "request": {"rules": json.dumps(SIX)},
    "diversify": {"zone": "diverse"},
}
LIST = "stamp::Release::list(stamp::Query const&) const"
PARTS = {"all": "Release::list(stamp::Query", "scan": "CpuDevice::catalog_top_k(", "encode": "Model::forward("}


def worker(products: int, dim: int) -> None:
    """Runs under callgrind, which counts within Release::list, and dumps once for each way."""
    stamp.set_num_threads(1)
    random = np.random.default_rng(1)
    zones = {"six": {"rules": SIX}, "diverse": {"rules": DIVERSIFY}, "seen": {"rules": [{"rule": "exclude_seen"}]}}
    release = release_of(random_model(products, dim), attributes(products, random), {"zones": zones})
    visits = [events.astype(np.int32) for events in random.integers(0, products, (REQUESTS, 3))]

    def requests(options: dict) -> None:
        for events in visits:
            release.list(events, **{**NO_FILTERS, "k": 20, "bought": [], **options})

    for way, options in WAYS.items():
        requests(options)
        subprocess.run(["callgrind_control", "--zero", str(os.getpid())], check=True, capture_output=True)
        requests(options)
        subprocess.run(["callgrind_control", f"--dump={way}", str(os.getpid())], check=True, capture_output=True)


def counted(dump: pathlib.Path) -> dict[str, int]:
    """Instructions of a request, in all and of the parts, callees included."""
    command = ["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(dump)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    def of(function: str) -> int:
        numbers = [re.match(r"\s*([\d,]+)", line) for line in lines if function in line and "lambda" not in line]
        return max((int(number[1].replace(",", "")) for number in numbers if number), default=0) // REQUESTS

    return {part: of(function) for part, function in PARTS.items()}


def measure(products: int, dim: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        command = ["valgrind", "--tool=callgrind", f"--toggle-collect={LIST}", f"--callgrind-out-file={out}",
                   sys.executable, __file__, "--worker", str(products), str(dim)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
        ways = {way: counted(out.with_suffix(f".{number}")) for number, way in enumerate(WAYS, 1)}
    if not ways["none"]["scan"]:
        raise RuntimeError("callgrind found no catalog_top_k: libstamp.so was stripped of its symbols")
    return {"products": products, "dim": dim, "ways": ways}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(*args.worker)
        return
    for products in args.products:
        record("costs", measure(products, args.dim), threads=1)


if __name__ == "__main__":
    main()
