"""What floors cost a request: trained models of real splits, with floors for repeats and successors, for repeats alone, and
without, asked by the same histories in turns.

    python benchmarks/floors.py --data ../shared/data [--dataset diginetica yoochoose1_64 retailrocket]

Results go to results/floors.jsonl.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import time

from common import NO_FILTERS, record
from queries import bundle_and_histories
from trained import DATASETS, WORK, trained, without_floors

import stamp
from stamp import _stamp

TURNS, K = 7, 20
WAYS = {"repeats and successors": (), "repeats": ("successor.floors",), "none": ("repeat.floors", "successor.floors")}


def compare(bundle: pathlib.Path, histories: pathlib.Path) -> dict:
    """Microseconds of a request, the median over histories, each way: of the turn that took least."""
    releases = {}
    for way, names in WAYS.items():
        loaded, asked = bundle_and_histories(bundle, histories)
        without_floors(loaded.clusters[0]["model"], *names)
        releases[way] = _stamp.Release(loaded)
    least = dict.fromkeys(WAYS, float("inf"))
    for _ in range(TURNS):
        for way, release in releases.items():
            times = []
            for history in asked:
                start = time.perf_counter()
                release.list(history, k=K, bought=[], **NO_FILTERS)
                times.append(time.perf_counter() - start)
            least[way] = min(least[way], statistics.median(times))
    return {"products": len(loaded.clusters[0]["rows"]), "k": K, "requests": len(asked),
            "us": {way: 1e6 * seconds for way, seconds in least.items()}}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("STAMP_DATA", "../shared/data"))
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--work", type=pathlib.Path, default=WORK)
    args = parser.parse_args()
    for dataset in args.dataset:
        bundle, histories = trained(args.data, dataset, args.work)
        stamp.set_num_threads(1)
        record("floors", {"dataset": dataset, **compare(bundle, histories)}, threads=1)


if __name__ == "__main__":
    main()
