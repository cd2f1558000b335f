"""What the benchmarks share: workers in processes of their own, peak memory, results with hardware and commit."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = pathlib.Path(os.environ.get("STAMP_RESULTS", ROOT / "benchmarks" / "results"))
SIMULATED = "cuda-sim"


def git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit() -> str:
    """The commit measured; "-dirty" where tracked sources (not earlier results) differ from it.

    A copy without a repository carries it in gpu/commit, which `tests/gpu.sh pack` writes.
    """
    packed = ROOT / "gpu" / "commit"
    if not (ROOT / ".git").exists() and packed.exists():
        return packed.read_text().strip()
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results", ":!docs")
    return git("rev-parse", "--short=10", "HEAD") + ("-dirty" if changed else "")


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def machine(device: str = "cpu") -> dict:
    """The hardware that `device` computes on."""
    found = {"processor": processor(), "device": device}
    if device.startswith("cuda") and device != SIMULATED:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        listed = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
        name, driver = listed[int(device.partition(":")[2] or 0)].split(", ")
        found |= {"gpu": name, "driver": driver}
    return found


class DeviceMemory:
    """Free memory of the GPU, by the driver, so that nothing else need be imported; of no other device."""

    def __init__(self, device: str):
        self._driver = None
        if device.startswith("cuda") and device != SIMULATED:
            self._driver = ctypes.CDLL("libcuda.so.1")
            index, context = int(device.partition(":")[2] or 0), ctypes.c_void_p()
            self._check(self._driver.cuInit(0))
            self._check(self._driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), index))
            self._check(self._driver.cuCtxSetCurrent(context))
            self.before = self.free()

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise RuntimeError(f"the CUDA driver answered {status}")

    def free(self) -> int:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._check(self._driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
        return free.value

    def used_mib(self) -> float:
        """What was taken since this object was made; 0 where there is no GPU."""
        return (self.before - self.free()) / 2**20 if self._driver else 0.0


def resident_mib(field: str) -> float:
    """VmHWM (peak) or VmRSS (now) of this process, in MiB."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def worker(script: str, *arguments: object) -> dict:
    """The JSON that `script` prints when it runs with these arguments in a fresh process."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


# Of a query to a release: nothing is filtered.
NO_FILTERS = {
    **{
        "history": 0,
        "exclude": [],
        "only": None,
        "zone": "",
        "rules": "",
        "value": None,
        "tail": None,
        "objective": None,
    },
    **{"popular": False, "explain": False},
}


def random_model(products: int, dim: int, device: str = "cpu", seed: int = 42):
    """A model of untrained weights, whose scores differ enough for a list."""
    from stamp import _stamp

    config = json.loads(_stamp.presets("official")[0])
    return _stamp.Model(
        json.dumps({**config, "dim": dim, "item_std": 0.1, "seed": seed}), products, _stamp.open_device(device, "auto")
    )


def release_of(model, attributes: list = (), rules: dict | None = None):
    """A release of one model over products 0 to V-1."""
    from stamp import _stamp

    products = len(model.weights()["items"])
    catalog = _stamp.Catalog("integers")
    catalog.add_integers(range(products))
    cluster = (0, range(products), model, "{}", "", "{}")
    bundle = _stamp.Bundle(catalog, [0] * products, list(attributes), [cluster], [], json.dumps(rules or {}))
    return _stamp.Release(bundle)


def median_of(runs: list[dict], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def record(name: str, result: dict, threads: int, device: str = "cpu") -> None:
    """Append to results/NAME.jsonl."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    line = {**result, "commit": commit(), "date": time.strftime("%Y-%m-%d"), **machine(device),
            "threads": threads, "command": " ".join(["python", *sys.argv])}  # fmt: skip
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def recorded(name: str) -> list[dict]:
    """What is in the repository's results/NAME.jsonl, and in that of STAMP_RESULTS."""
    files = {ROOT / "benchmarks" / "results" / f"{name}.jsonl", RESULTS / f"{name}.jsonl"}
    return [json.loads(line) for file in sorted(files) if file.exists() for line in file.read_text().splitlines()]


def run_splits(
    name: str, about: str, splits: Collection[str], run: Callable[..., dict], *, threads: int, precision: str
) -> None:
    """The main of a benchmark: run(split, data, device, precision, work) for each split that results/NAME.jsonl lacks."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("STAMP_DATA", "../shared/data"))
    parser.add_argument("--dataset", nargs="+", choices=splits, default=list(splits))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default=precision, help="of training: as of StampRecommender")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / name, help="for models and checkpoints")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    done = {result["dataset"] for result in recorded(name)}
    for dataset in args.dataset:
        if dataset not in done:
            result = run(dataset, args.data, args.device, args.precision, args.work)
            record(name, result, threads, args.device)
