"""Seconds and memory of a replay of Diginetica's test sessions with all metrics, at k = 5, 10 and 20.

    STAMP_DATA=… python benchmarks/replay.py [--dim 100] [--threads 2] [--rounds 3] [--device cpu]

60,858 questions over V = 43,097 products, D = 100, of a product page that does not list its own product. Expected:
scoring is 2·N·V·D = 0.52 Tflop, 4 s at the 130 GFLOP/s that two cores reach in products of this shape; choosing 20 of
43,097 reads N·V scores, 2.6 G, a second or two; rules and metrics some seconds each, so 10 to 15 s in all against the
60 that are allowed. Memory: lists are 8·N·20 = 10 MB, metrics work on pieces of 2 M entries, some 16 MB an array, and
embeddings and their copies 3·17 MB: 250 MiB on top of what importing and reading the sessions took.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import time

import numpy as np
from common import median_of, random_model, record, resident_mib, worker

import stamp
from stamp import _stamp

OPTIONS = ("dim", "threads", "device")


def untrained(train: stamp.Sessions, dim: int, device: str) -> stamp.StampRecommender:
    """A model of random weights over the products of `train`: listing costs as much as with a trained one."""
    model = stamp.StampRecommender(dim=dim, device=device)
    model._catalog = _stamp.Catalog(train._catalog.kind)
    counts = _stamp.item_counts(train._core, len(train._catalog))
    model._catalog.add_integers(train.item_ids[counts > 0])
    model._counts = counts[counts > 0]
    model._model = random_model(len(model._catalog), dim, device)
    model._trained_with, model.fingerprint_, model.report_ = "{}", "", {}
    return model


def measure(dim: int, threads: int, device: str) -> dict:
    stamp.set_num_threads(threads)
    folder = pathlib.Path(os.environ["STAMP_DATA"]) / "diginetica"
    train = stamp.Sessions.from_frame(folder / "train.tsv.gz")
    test = stamp.Sessions.from_frame(folder / "test.tsv.gz")
    products = stamp.Products.from_frame(folder / "items.tsv.gz", categories=["category_id"])
    model = untrained(train, dim, device)
    before = resident_mib("VmHWM")
    start = time.perf_counter()
    replay = stamp.offline.replay({"stamp": model}, test, train=train, products=products)
    listed = time.perf_counter()
    table = replay.metrics(k=(5, 10, 20))
    end = time.perf_counter()
    values = dict(zip(table.columns, table.rows[0]))
    assert len(replay.questions["product page"]) == 60_858 and np.isfinite(values["ild_embeddings@20"])
    return {
        "questions": len(replay.questions["product page"]), "products": replay.V, "dim": dim,
        "columns": len(table.columns), "replay_seconds": listed - start, "lists_seconds": replay.lists["stamp", "product page"].seconds,
        "metrics_seconds": end - listed, "seconds": end - start,
        "peak_mib": resident_mib("VmHWM"), "own_mib": resident_mib("VmHWM") - before,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--once", action="store_true", help="of a process of its own: print what was measured")
    args = parser.parse_args()
    if args.once:
        print(json.dumps(measure(args.dim, args.threads, args.device)))
        return
    options = [f"--{name}={getattr(args, name)}" for name in OPTIONS]
    runs = [worker(__file__, "--once", *options) for _ in range(args.rounds)]
    record("replay", {name: median_of(runs, name) for name in runs[0]}, args.threads, args.device)


if __name__ == "__main__":
    main()
