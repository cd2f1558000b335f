"""Where the time of training and of recommending goes on a GPU, kernel by kernel, by Nsight Compute.

    python benchmarks/kernel_profile.py [--device cuda] [--work train "recommend 1" "recommend 256"]

A kernel is measured alone, with caches flushed and clocks left as they are: the sum is above what a step takes, whose
kernels find what the last one left. Medians over launches. `train` is steps of V = 43,097, D = 100, B = 512 on sessions of
five; `recommend 256` is the top 20 of 1,000,000 products for so many requests.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from common import NO_FILTERS, random_model, record, release_of
from train import LENGTH, sessions

STEPS, CALLS = 4, 3
WORK: dict[str, Callable[[str], None]] = {
    "train": lambda device: train(device),
    "recommend 1": lambda device: recommend(device, 1),
    "recommend 256": lambda device: recommend(device, 256),
}
METRICS = {
    "us": "gpu__time_duration.sum",
    "tensor": "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed",
    "sm": "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "dram": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
}


def train(device: str, products: int = 43_097, dim: int = 100, batch: int = 512) -> None:
    """Trains a few steps; every product is in the catalog, whether or not in them."""
    import stamp

    everything = sessions(products)
    rows = np.resize(everything, (STEPS * batch // (LENGTH - 1), LENGTH))
    weight = np.repeat([1.0, 0.0], [len(rows), len(everything)])
    data = stamp.Sessions.from_frame({"items": [*rows, *everything], "weight": weight})
    options = {
        "preset": "tuned",
        "repeat_floors": 0,
        "successor_floors": 0,
        "second_floors": 0,
        "dim": dim,
        "batch_size": batch,
        "epochs": 1,
        "device": device,
    }
    stamp.StampRecommender(**options).fit(data, progress=False)


def recommend(device: str, count: int, products: int = 1_000_000, dim: int = 100) -> None:
    release = release_of(random_model(products, dim, device))
    random = np.random.default_rng(0)
    for _ in range(CALLS):
        events = [random.integers(0, products, 3).tolist() for _ in range(count)]
        release.list_batch(events, k=20, bought=[], **NO_FILTERS)


def kernels_of(table: str) -> list[dict]:
    """Launches, and medians of METRICS, of each kernel in what `ncu --csv --print-units base` printed."""
    lines = table.splitlines()
    head = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if head is None:
        raise SystemExit("ncu printed no table: " + table[-2000:])
    launches: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in csv.DictReader(lines[head:]):
        try:
            value = float(row["Metric Value"].replace(",", ""))
        except (AttributeError, ValueError):  # "n/a", or a line of ncu's own behind the table
            continue
        launches[short_name(row["Kernel Name"])][row["Metric Name"]].append(value)
    found = []
    for kernel, values in launches.items():
        medians = {name: statistics.median(values[metric] or [0]) for name, metric in METRICS.items()}
        found.append({"kernel": kernel, "launches": len(values[METRICS["us"]]), **medians, "us": medians["us"] / 1e3})
    return sorted(found, key=lambda row: -row["us"] * row["launches"])


def short_name(kernel: str) -> str:
    """Of "void stamp::cuda::(anonymous namespace)::attend_catalog_kernel<112>(long, …)", attend_catalog<112>."""
    name, bracket, arguments = re.sub(r"\((?!anonymous).*", "", kernel).removeprefix("void ").partition("<")
    short = name.split("::")[-1].replace("_kernel", "")
    return short + (bracket + arguments if arguments.rstrip(">").isdigit() else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--work", nargs="+", choices=WORK, default=list(WORK))
    parser.add_argument("--worker", choices=WORK, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        WORK[args.worker](args.device)
        return
    ncu = shutil.which("ncu") or "/usr/local/cuda/bin/ncu"
    for work in args.work:
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "ncu.csv"  # beside what the program prints
            command = [ncu, "--csv", "--log-file", str(log), "--print-units", "base", "--clock-control", "none", "--metrics",
                       ",".join(METRICS.values()), sys.executable, __file__, "--device", args.device, "--worker", work]  # fmt: skip
            done = subprocess.run(command)
            table = log.read_text() if log.exists() else ""
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {table[-2000:]}")
        for row in kernels_of(table):
            record("profile", {"work": work, "steps": STEPS if work == "train" else CALLS, **row}, 1, args.device)


if __name__ == "__main__":
    main()
