"""How many products a request scores exactly because the bounds of 8 bits leave them, and whether fewer dimensions would
do: counts, not times.

    cmake --preset release -DSTAMP_BUILD_BENCHMARKS=ON && cmake --build --preset release --target bench_candidates
    python benchmarks/candidates.py --data ../shared/data [--dataset diginetica yoochoose1_64 retailrocket]

Candidates come from benchmarks/serving/candidates.cpp, for models of real splits (trained.py) asked by histories of test
sessions, for random tables and for the worst ones. Dimensions, in NumPy: rows are turned by their principal axes, the
leading dimensions are scanned, in single precision or in 8 bits, and the rest is bounded by its length (Cauchy and
Schwarz), as FEXIPRO and LEMP do; `pass` is the share of products that this bound leaves at the true k-th score, where a
scan ends and never begins.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess

import numpy as np
from common import ROOT, record
from queries import bundle_and_histories, items_of, queries_of
from trained import DATASETS, WORK, trained

LEADING, K = (16, 32, 48, 64), (20, 100)
RANDOM = ((50_000, 200), (1_000_000, 16))  # products, queries
WORST, WORST_QUERIES = ("all equal", "nearly alike", "zero query"), 16
AT_ONCE = 20
ROUNDING = 1e-4  # of scores in single precision, which two ways of adding up differ by


def in_eight_bits(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows as multiples of the largest of each / 127, and the lengths of what that leaves over."""
    scales = np.maximum(np.abs(x).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / np.float32(127)
    rounded = np.round(x / scales) * scales
    return rounded, np.linalg.norm(x - rounded, axis=1)


def dimensions(rows: np.ndarray, queries: np.ndarray) -> dict:
    """By how leading dimensions are scanned, k and their number, shares of products that pass; and what of the squared
    length these dimensions hold."""
    squares, axes = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    axes = axes[:, ::-1].astype(np.float32)
    held = np.cumsum(squares[::-1]) / squares.sum()
    rows, queries = rows @ axes, queries @ axes
    best = [np.partition(some @ rows.T, -max(K), axis=1)[:, -max(K) :]
            for some in np.array_split(queries, -(-len(queries) // AT_ONCE))]  # fmt: skip
    least = {k: np.sort(np.concatenate(best), axis=1)[:, -k] for k in K}
    numbers = (*LEADING, rows.shape[1])
    passed = {way: {str(k): dict.fromkeys(map(str, numbers), 0.0) for k in K} for way in ("exact", "eight")}
    for m in numbers:
        lead, rest = rows[:, :m], np.linalg.norm(rows[:, m:], axis=1)
        eight, left = in_eight_bits(lead)
        lengths = np.linalg.norm(eight, axis=1)
        for query, *of_query in zip(queries, *(least[k] for k in K), strict=True):
            q, beyond = query[:m], np.linalg.norm(query[m:]) * rest
            rounded, lost = in_eight_bits(q[None])
            bounds = {"exact": lead @ q + beyond,
                      "eight": eight @ rounded[0] + lost * lengths + np.linalg.norm(q) * left + beyond}  # fmt: skip
            for way, bound in bounds.items():
                for k, reached in zip(K, of_query, strict=True):
                    passed[way][str(k)][str(m)] += float((bound >= reached - ROUNDING).mean()) / len(queries)
    return {"pass": passed, "held": {str(m): float(held[m - 1]) for m in numbers}}


def random_table(products: int, dim: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    rows = random.standard_normal((products, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), random.standard_normal((queries, dim), dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--build", type=pathlib.Path, default=ROOT / "build" / "release", help="a build with benchmarks"
    )
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("STAMP_DATA", "../shared/data"))
    parser.add_argument("--dataset", nargs="*", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--work", type=pathlib.Path, default=WORK, help="for trained models")
    parser.add_argument("--dim", type=int, default=100, help="of random tables and the worst ones")
    args = parser.parse_args()
    program = args.build / "benchmarks" / "serving" / "bench_candidates"

    def count(table: str, *arguments: object) -> None:
        command = [str(program), *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        for line in done.stdout.splitlines():
            record("candidates", {**json.loads(line), "table": table}, threads=1)

    def turn(table: str, rows: np.ndarray, queries: np.ndarray) -> None:
        sizes = {"products": len(rows), "dim": rows.shape[1], "queries": len(queries)}
        record("dimensions", {"table": table, **sizes, **dimensions(rows, queries)}, threads=1)

    for dataset in args.dataset:
        bundle, histories = trained(args.data, dataset, args.work)
        count(dataset, "bundle", bundle, histories)
        loaded, asked = bundle_and_histories(bundle, histories)
        model = loaded.clusters[0]["model"]
        turn(dataset, items_of(model), queries_of(model, asked))
    for products, queries in RANDOM:
        count("random", "random", products, args.dim, queries)
        turn("random", *random_table(products, args.dim, queries))
    for table in WORST:
        count(table, table, RANDOM[0][0], args.dim, WORST_QUERIES)


if __name__ == "__main__":
    main()
