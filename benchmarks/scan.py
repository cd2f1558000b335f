"""Exact lists by the scan of 8 bits beside the scan in single precision that it replaced, on one core, in one run, by
each instruction set.

    cmake --preset release -DSTAMP_BUILD_BENCHMARKS=ON && cmake --build --preset release --target bench_scan
    python benchmarks/scan.py [--products 50000 1000000] [--dim 100] [--rounds 11] [--isa avx512vnni avx2 baseline]

Runs benchmarks/serving/scan.cpp, which compares every list it times with the other scan's, bit by bit. One request reads
D + 4 bytes a product where the other scan reads 4D. Instruction sets that the machine has not are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess

from common import ROOT, record

SETS = ("avx512vnni", "avx512", "avx2vnni", "avx2", "baseline")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--build", type=pathlib.Path, default=ROOT / "build" / "release", help="a build with benchmarks"
    )
    parser.add_argument("--products", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--isa", nargs="+", choices=SETS, default=list(SETS), help="instruction sets")
    args = parser.parse_args()
    program = args.build / "benchmarks" / "serving" / "bench_scan"
    for isa in args.isa:
        for products in args.products:
            command = [str(x) for x in (program, products, args.dim, args.rounds)]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, env={**os.environ, "STAMP_CPU_ISA": isa}
            ) as run:
                for line in run.stdout:
                    result = json.loads(line)
                    if result["isa"] == isa:
                        record("scan", result, threads=1)
                    else:  # a smaller one, as the machine has not got it
                        run.kill()
            if run.returncode > 0:
                raise SystemExit(f"{' '.join(command)} failed")


if __name__ == "__main__":
    main()
