"""Runs the programs of benchmarks/kernels and appends what they print to results/kernels.jsonl.

    python benchmarks/kernels.py --build build/gpu [--device cuda] [--group catalog_top_k …]

Where and when are added to each line; the head of each program says what is compared.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess

from common import SIMULATED, record

GROUPS = ("limits", "catalog_cross_entropy", "catalog_top_k", "encoder", "elementwise")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="folder of a build with benchmarks")
    parser.add_argument("--device", default="cuda", help=f"{SIMULATED} rehearses with tiny sizes")
    parser.add_argument("--group", nargs="+", choices=GROUPS, default=list(GROUPS))
    args = parser.parse_args()
    simulated = args.device == SIMULATED
    failed = []  # a machine is lent for minutes: the other groups go on
    for group in args.group:
        program = args.build / "benchmarks" / "kernels" / (("sim_" if simulated else "") + f"bench_{group}")
        command = [str(program), args.device, *(["--tiny"] if simulated else [])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            for line in running.stdout:
                record("kernels", json.loads(line), 1, args.device)
        if running.returncode:
            failed.append(f"{' '.join(command)} ended with {running.returncode}")
    if failed:
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
