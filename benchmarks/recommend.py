"""The top 20 beside FAISS, usearch and PyTorch, on the same table of products, side by side with the same threads.

    python benchmarks/recommend.py [--products 43097 1000000] [--dim 100] [--threads 2] [--rounds 7]
    python benchmarks/recommend.py --bundle build/trained/diginetica/bundle --histories build/trained/diginetica/histories.txt
    python benchmarks/recommend.py --device cuda

stamp answers whole requests (three events, or those of a history, are encoded, then the catalog is scanned); the peers
get finished query vectors and only scan. One request of stamp stays on one core by design; batches use all threads, as
the peers do. Scanning for one request reads D + 4 bytes a product, and in fp32 4D.

stamp, FAISS flat and PyTorch are exact. The others are not (peers.py): their recall at 20 stands beside their time. Random
tables of Gaussian rows, asked by Gaussian queries, are the worst for graphs: with --bundle, the table is a trained model's,
and queries are those of its own histories (trained.py makes both). Graphs of larger tables than --graphs-up-to are left
out: on two cores they take long to build.

On CUDA answers come back to the host; stamp's are exact in single precision, PyTorch scans in fp32, tf32 and bf16, eager,
and the others, which have no CUDA in the packages of PyPI, stay away.
"""

from __future__ import annotations

import argparse
import pathlib
import time
from typing import NamedTuple

import numpy as np
import peers
import torch
from common import NO_FILTERS, SIMULATED, random_model, record, release_of
from queries import bundle_and_histories, items_of, queries_of

import stamp
from stamp import _stamp

QUERIES = 500  # that recall is measured by


def timed(call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def torch_on(device: str, precision: str, table: np.ndarray, queries: np.ndarray):
    """A call that scans in `precision` and gives lists to the host."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    on_device = torch.from_numpy(table).to(device, kind)

    def call():
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        scores, ids = torch.topk(torch.from_numpy(queries).to(device, kind) @ on_device.T, 20)
        return scores.cpu(), ids.cpu()

    return call


class Asked(NamedTuple):
    """A table, and how it is asked."""

    what: dict  # products, dim, and of which bundle, if it is of one
    release: _stamp.Release
    table: np.ndarray  # as it is scored
    requests: list[np.ndarray]  # histories
    queries: np.ndarray  # as many, which the peers get


def random_asked(products: int, dim: int, device: str) -> Asked:
    model = random_model(products, dim, device)
    random = np.random.default_rng(1)
    requests = list(random.integers(0, products, (QUERIES, 3), np.int32))
    queries = random.standard_normal((QUERIES, dim), dtype=np.float32)
    return Asked({"products": products, "dim": dim}, release_of(model), items_of(model), requests, queries)


def bundle_asked(path: pathlib.Path, histories: pathlib.Path) -> Asked:
    bundle, requests = bundle_and_histories(path, histories)
    model, requests = bundle.clusters[0]["model"], requests[:QUERIES]
    table = items_of(model)
    what = {"products": len(table), "dim": table.shape[1], "bundle": path.parent.name}
    return Asked(what, _stamp.Release(bundle), table, requests, queries_of(model, requests))


def searches_of(asked: Asked, threads: int, graphs: bool) -> tuple[dict[str, peers.Search], dict]:
    """Of the peers on CPUs, and what was found about them: recall, and how far those with graphs search."""
    exact = peers.exact_lists(asked.table, asked.queries)
    searches, efforts = peers.without_graph(asked.table), {}
    if graphs:
        approximate, efforts = peers.with_graph(asked.table, threads, asked.queries, exact)
        searches |= approximate
    found = {name: peers.recall(search, asked.queries, exact) for name, search in searches.items()}
    return searches, {"recall": found, "effort": efforts}


def measure(asked: Asked, searches: dict[str, peers.Search], batch: int, rounds: int, device: str) -> dict:
    requests, queries, plain = asked.requests[:batch], asked.queries[:batch], {"k": peers.K, "bought": [], **NO_FILTERS}
    calls = {
        "stamp": (lambda: asked.release.list(requests[0], **plain))
        if batch == 1
        else (lambda: asked.release.list_batch(requests, **plain)),
        **{name: lambda search=search: search(queries) for name, search in searches.items()},
    }
    if device == "cpu":
        calls["torch"] = torch_on("cpu", "fp32", asked.table, queries)
    else:
        peer = "cpu" if device == SIMULATED else device
        calls |= {f"torch {kind}": torch_on(peer, kind, asked.table, queries) for kind in ("fp32", "tf32", "bf16")}
    repeats = {name: max(1, int(0.3 / timed(call, 1))) for name, call in calls.items()}
    times = [{name: timed(call, repeats[name]) for name, call in calls.items()} for _ in range(rounds)]
    result = {f"{name}_ms": 1e3 * float(np.median([t[name] for t in times])) for name in calls}
    ratios = {
        f"ratio_{peer}": float(np.median([t[peer] / t["stamp"] for t in times])) for peer in calls if peer != "stamp"
    }
    return {**asked.what, "batch": batch, **result, **ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, nargs="+", default=[43_097, 1_000_000], help="of random tables")
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--bundle", type=pathlib.Path, help="of one model, whose table takes the place of random ones")
    parser.add_argument("--histories", type=pathlib.Path, help="to ask it by: rows of its catalog, a line a history")
    parser.add_argument("--graphs-up-to", type=int, default=100_000, help="products")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if (args.bundle is None) != (args.histories is None):
        parser.error("--bundle and --histories go together")
    on_cpu = args.device == "cpu"
    stamp.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    versions = {"torch_version": torch.__version__}
    if on_cpu:
        peers.faiss.omp_set_num_threads(args.threads)
        versions |= {**peers.versions(), "isa": _stamp.cpu_isa()}
    tables = (
        [bundle_asked(args.bundle, args.histories)]
        if args.bundle
        else (random_asked(products, args.dim, args.device) for products in args.products)
    )
    for asked in tables:
        graphs = asked.what["products"] <= args.graphs_up_to
        searches, found = searches_of(asked, args.threads, graphs) if on_cpu else ({}, {})
        for batch in (1, 64) if on_cpu else (1, 64, 256):
            record("recommend", {**measure(asked, searches, batch, args.rounds, args.device), **found, **versions},
                   args.threads, args.device)  # fmt: skip


if __name__ == "__main__":
    main()
