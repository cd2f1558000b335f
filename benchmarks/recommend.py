"""Exact top-20 beside FAISS IndexFlatIP and PyTorch, on the same table of products.

    python benchmarks/recommend.py [--products 43097 1000000] [--dim 100] [--threads 2] [--rounds 7]
    python benchmarks/recommend.py --device cuda

stamp answers whole requests (three events are encoded, then the catalog is scanned); the peers get finished query
vectors and only scan. One request of stamp stays on one core by design; batches use all threads, as the peers do.
Scanning for one request reads 4VD bytes.

On CUDA answers come back to the host; stamp's are exact in single precision, PyTorch scans in fp32, tf32 and bf16, eager,
and FAISS, which has no CUDA in the package of PyPI, stays away.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from common import NO_FILTERS, SIMULATED, random_model, record, release_of

import stamp

try:
    import faiss
except ImportError:  # a peer on CPUs alone
    faiss = None


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


def measure(products: int, dim: int, batch: int, rounds: int, device: str) -> dict:
    model = random_model(products, dim, device)
    release = release_of(model)
    random = np.random.default_rng(1)
    requests = [events.astype(np.int32) for events in random.integers(0, products, (batch, 3))]
    table = model.weights()["items"]
    queries = random.standard_normal((batch, dim), dtype=np.float32)
    plain = {"k": 20, "bought": [], **NO_FILTERS}
    calls = {
        "stamp": (lambda: release.list(requests[0], **plain))
        if batch == 1
        else (lambda: release.list_batch(requests, **plain)),
    }
    if device == "cpu":
        index = faiss.IndexFlatIP(dim)
        index.add(table)
        calls |= {"faiss": lambda: index.search(queries, 20), "torch": torch_on("cpu", "fp32", table, queries)}
    else:
        peer = "cpu" if device == SIMULATED else device
        calls |= {f"torch {kind}": torch_on(peer, kind, table, queries) for kind in ("fp32", "tf32", "bf16")}
    repeats = {name: max(1, int(0.3 / timed(call, 1))) for name, call in calls.items()}
    times = [{name: timed(call, repeats[name]) for name, call in calls.items()} for _ in range(rounds)]
    result = {f"{name}_ms": 1e3 * float(np.median([t[name] for t in times])) for name in calls}
    ratios = {
        f"ratio_{peer}": float(np.median([t[peer] / t["stamp"] for t in times])) for peer in calls if peer != "stamp"
    }
    return {"products": products, "dim": dim, "batch": batch, **result, **ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, nargs="+", default=[43_097, 1_000_000])
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    on_cpu = args.device == "cpu"
    stamp.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    versions = {"torch_version": torch.__version__}
    if on_cpu:
        faiss.omp_set_num_threads(args.threads)
        versions["faiss_version"] = faiss.__version__
    for products in args.products:
        for batch in (1, 64) if on_cpu else (1, 64, 256):
            record("recommend", {**measure(products, args.dim, batch, args.rounds, args.device), **versions},
                   args.threads, args.device)  # fmt: skip


if __name__ == "__main__":
    main()
