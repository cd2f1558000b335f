"""Exact top-20 beside FAISS IndexFlatIP and PyTorch, on the same table of products.

    python benchmarks/recommend.py [--products 43097 1000000] [--dim 100] [--threads 2] [--rounds 7]

stamp answers whole requests (three events are encoded, then the catalog is scanned); the peers get finished query
vectors and only scan. One request of stamp stays on one core by design; batches use all threads, as the peers do.
Scanning for one request reads 4VD bytes.
"""

from __future__ import annotations

import argparse
import json
import time

import faiss
import numpy as np
import torch
from common import record

import stamp
from stamp import _stamp


def timed(call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def measure(products: int, dim: int, batch: int, rounds: int) -> dict:
    config = json.loads(_stamp.presets("official")[0])
    model = _stamp.Model(json.dumps({**config, "dim": dim, "item_std": 0.1}), products, "cpu")
    recommender = _stamp.Recommender(model)
    random = np.random.default_rng(1)
    requests = random.integers(0, products, (batch, 3)).tolist()
    table = model.weights()["items"]
    queries = random.standard_normal((batch, dim), dtype=np.float32)
    index = faiss.IndexFlatIP(dim)
    index.add(table)
    torch_table, torch_queries = torch.from_numpy(table), torch.from_numpy(queries)
    calls = {
        "stamp": (lambda: recommender.recommend(requests[0], 20, [], None))
        if batch == 1
        else (lambda: recommender.recommend_batch(requests, 20, [], None)),
        "faiss": lambda: index.search(queries, 20),
        "torch": lambda: torch.topk(torch_queries @ torch_table.T, 20),
    }
    repeats = {name: max(1, int(0.3 / timed(call, 1))) for name, call in calls.items()}
    times = [{name: timed(call, repeats[name]) for name, call in calls.items()} for _ in range(rounds)]
    result = {f"{name}_ms": 1e3 * float(np.median([t[name] for t in times])) for name in calls}
    ratios = {f"ratio_{peer}": float(np.median([t[peer] / t["stamp"] for t in times])) for peer in ("faiss", "torch")}
    return {"products": products, "dim": dim, "batch": batch, **result, **ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, nargs="+", default=[43_097, 1_000_000])
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    stamp.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    faiss.omp_set_num_threads(args.threads)
    for products in args.products:
        for batch in (1, 64):
            record("recommend", {**measure(products, args.dim, batch, args.rounds), "faiss_version": faiss.__version__,
                                 "torch_version": torch.__version__}, args.threads)  # fmt: skip


if __name__ == "__main__":
    main()
