"""Counts flops and bytes of a training step on the simulator: python benchmarks/traffic.py --build build/release"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

from common import RESULTS, commit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="folder of a build with the simulator")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counted = pathlib.Path(folder) / "traffic.json"
        environment = {**os.environ, "STAMP_TRAFFIC": str(counted)}
        subprocess.run([args.build / "tests" / "test_traffic"], env=environment, check=True, stdout=subprocess.DEVNULL)
        line = {"commit": commit(), **json.loads(counted.read_text())}
    with (RESULTS / "traffic.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
