"""Time and memory of clustering groups of products, given the counts between them.

    python benchmarks/cluster.py [--groups 2000 20000] [--clusters 50] [--rounds 3]

Every group is a large one and exchanges with about 400 others, most of them in its own of 50 planted blocks; sizes have
a long tail. scipy's linkage takes nearly all of the time: n²/2 distances of 8 bytes, and its copy of them.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import scipy.sparse
from common import median_of, record, resident_mib, worker

from stamp.catalog.grouping import GroupCounts, cluster_groups

BLOCKS, PARTNERS = 50, 200


def counts_of(groups: int) -> tuple[GroupCounts, np.ndarray]:
    """Counts between groups, and the planted block of each."""
    random = np.random.default_rng(1)
    block = random.integers(0, BLOCKS, groups)
    clicks = np.ceil(1e6 / np.arange(1, groups + 1) ** 0.7).astype(np.int64)
    members = np.argsort(block, kind="stable")
    start = np.searchsorted(block[members], np.arange(BLOCKS))
    size = np.bincount(block, minlength=BLOCKS)
    group = np.repeat(np.arange(groups), PARTNERS)
    own = members[start[block[group]] + (random.random(len(group)) * size[block[group]]).astype(np.int64)]
    other = np.where(random.random(len(group)) < 0.8, own, random.integers(0, groups, len(group)))
    count = random.poisson(np.sqrt(clicks[group] * clicks[other]) / PARTNERS) + 1
    matrix = scipy.sparse.coo_array((count, (group, other)), shape=(groups, groups)).tocsr()
    return GroupCounts(matrix, matrix, np.full(groups, 10), clicks), block


def measure(groups: int, clusters: int) -> dict:
    counts, block = counts_of(groups)
    before = resident_mib("VmRSS")
    start = time.perf_counter()
    found = cluster_groups(counts, large=1.0, clusters=clusters)
    seconds = time.perf_counter() - start
    table = np.zeros((clusters, BLOCKS), np.int64)
    np.add.at(table, (found.labels, block), 1)
    return {"groups": groups, "clusters": clusters, "pairs": counts.recommendations.nnz, "seconds": seconds,
            "own_mib": resident_mib("VmHWM") - before, "peak_mib": resident_mib("VmHWM"),
            "purity": float(table.max(axis=1).sum() / groups)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--clusters", type=int, default=BLOCKS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(measure(args.worker, args.clusters)))
        return
    for groups in args.groups:
        runs = [worker(__file__, "--worker", groups, "--clusters", args.clusters) for _ in range(args.rounds)]
        medians = {key: median_of(runs, key) for key in ("seconds", "own_mib", "peak_mib")}
        record("cluster", {**runs[0], **medians, "scipy_version": scipy.__version__}, 1)


if __name__ == "__main__":
    main()
