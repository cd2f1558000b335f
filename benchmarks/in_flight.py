"""What a request costs, and how long it takes, with many in flight: threads that share no scan, threads that do, and
requests answered by callback, in one run.

    cmake --preset release -DSTAMP_BUILD_BENCHMARKS=ON && cmake --build --preset release --target bench_in_flight
    python benchmarks/in_flight.py [--products 50000] [--dim 100] [--threads 2] [--in-flight 1 2 8 32] [--rounds 5]

Runs benchmarks/serving/in_flight.cpp `rounds` times, each of them all three ways at each number in flight, and takes
medians.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess

from common import ROOT, median_of, record

MEASURED = ("cpu_us", "p50_us", "p99_us", "a_second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--build", type=pathlib.Path, default=ROOT / "build" / "release", help="a build with benchmarks"
    )
    parser.add_argument("--products", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 2, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each way at each number in flight")
    args = parser.parse_args()
    program = args.build / "benchmarks" / "serving" / "bench_in_flight"
    command = [str(x) for x in (program, args.products, args.dim, args.threads, args.seconds, *args.in_flight)]
    lines: list[dict] = []
    for _ in range(args.rounds):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        lines += map(json.loads, done.stdout.splitlines())
    for in_flight in args.in_flight:
        ways: dict[str, dict] = {}
        for way in dict.fromkeys(line["way"] for line in lines):
            runs = [line for line in lines if line["in_flight"] == in_flight and line["way"] == way]
            ways[way] = {what: median_of(runs, what) for what in MEASURED}
        result = {"products": args.products, "dim": args.dim, "in_flight": in_flight, **ways}
        record("in_flight", result, args.threads)


if __name__ == "__main__":
    main()
