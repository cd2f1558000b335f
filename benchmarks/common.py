"""What the benchmarks share: workers in processes of their own, peak memory, results with hardware and commit."""

from __future__ import annotations

import json
import pathlib
import platform
import statistics
import subprocess
import sys
import time

RESULTS = pathlib.Path(__file__).parent / "results"


def git(*arguments: str) -> str:
    command = ["git", "-C", str(pathlib.Path(__file__).parents[1]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit() -> str:
    """The commit measured; "-dirty" where tracked sources (not earlier results) differ from it."""
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results", ":!docs")
    return git("rev-parse", "--short=10", "HEAD") + ("-dirty" if changed else "")


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def resident_mib(field: str) -> float:
    """VmHWM (peak) or VmRSS (now) of this process, in MiB."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def worker(script: str, *arguments: object) -> dict:
    """The JSON that `script` prints when it runs with these arguments in a fresh process."""
    command = [sys.executable, script, *map(str, arguments)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def median_of(runs: list[dict], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def record(name: str, result: dict, threads: int) -> None:
    """Append to results/NAME.jsonl."""
    RESULTS.mkdir(exist_ok=True)
    line = {**result, "commit": commit(), "date": time.strftime("%Y-%m-%d"), "processor": processor(),
            "threads": threads, "command": " ".join(["python", *sys.argv])}  # fmt: skip
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))
