"""What a day of a large shop costs: examples/s with 300,000 products in one model and in clusters, and the hours that
follow for 500,000 products and 100 million events.

    python benchmarks/daily.py [--rounds 3]
    python benchmarks/daily.py --device cuda [--side-by-side 1 2 4 8]

A step takes 6VD flops an example and little else, so a catalog in c even clusters is expected to train c times as fast.
Clusters train side by side, on a CPU a process of one thread each, on a GPU a thread each of one process, as
train_clusters does; on a CPU the single model has all threads. On a GPU one model after the other leaves much of the chip
idle: what several at once gain is measured.
Hours: 100 M events in sessions of five are 80 M examples, each seen once a day by models that begin with yesterday's
weights, or `EPOCHS` times by models from scratch; examples/s at 500,000 products are those measured, by the products of
a model, as the flops are.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import statistics
import threading

import numpy as np
from common import SIMULATED, median_of, record, resident_mib, worker
from train import LENGTH, sessions

import stamp

EVENTS, PRODUCTS, EPOCHS = 100_000_000, 500_000, 5
SECONDS = 15  # of training to measure, about
EXAMPLES = EVENTS // LENGTH * (LENGTH - 1)


def speed(products: int, dim: int, batch: int, threads: int, examples: int, start=None, device="cpu", epochs=1) -> dict:
    """Of one model, on as many examples an epoch; every product occurs in the catalog, whether or not in them."""
    stamp.set_num_threads(threads)
    everything = sessions(products)
    rows = np.resize(everything, (max(1, examples // (LENGTH - 1)), LENGTH))
    weight = np.repeat([1.0, 0.0], [len(rows), len(everything)])
    data = stamp.Sessions.from_frame({"items": [*rows, *everything], "weight": weight})
    model = stamp.StampRecommender(
        preset="official", dim=dim, batch_size=batch, epochs=epochs, learning_rate=0.001, device=device
    )
    if start is not None:
        start.wait()
    model.fit(data, progress=False)
    report = model.report_
    later = [report["examples"] / epoch["seconds"] for epoch in report["epochs"][1:]]
    return {"speed": statistics.median(later or [report["examples_per_second"]]), "peak_mib": resident_mib("VmHWM")}


def _in_process(queue, start, *shape) -> None:
    queue.put(speed(*shape, start))


def side_by_side(processes: int, *shape) -> dict:
    """`processes` models at once: their speeds together."""
    context = multiprocessing.get_context("spawn")
    queue, start = context.Queue(), context.Barrier(processes)
    workers = [context.Process(target=_in_process, args=(queue, start, *shape)) for _ in range(processes)]
    for process in workers:
        process.start()
    results = [queue.get() for _ in workers]
    for process in workers:
        process.join()
    return {name: sum(result[name] for result in results) for name in ("speed", "peak_mib")}


def on_one_gpu(models: int, products: int, dim: int, batch: int, device: str) -> dict:
    """`models` at once by the threads of this process: their speeds together."""
    start = threading.Barrier(models)
    examples, epochs = (2 * batch, 2) if device == SIMULATED else (1000 * batch, 5)
    with concurrent.futures.ThreadPoolExecutor(models) as pool:
        shape = (products, dim, batch, stamp.num_threads(), examples, start, device, epochs)
        results = [each.result() for each in [pool.submit(speed, *shape) for _ in range(models)]]
    return {"speed": sum(r["speed"] for r in results), "peak_mib": resident_mib("VmHWM")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=300_000)
    parser.add_argument("--clusters", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side-by-side", type=int, nargs="+", default=[1, 2, 4, 8], help="models at once, on a GPU")
    parser.add_argument("--ways", type=int, help="of a process of its own: models to train, 1 with all threads")
    args = parser.parse_args()
    threads = stamp.num_threads()
    if args.device != "cpu":
        measure_gpu(args)
        return
    if args.ways:
        products = args.products // args.ways
        examples = int(SECONDS * 100e9 / (6 * products * args.dim))  # at 100 GFLOP/s
        shape = (products, args.dim, args.batch)
        whole = args.ways == 1
        found = speed(*shape, threads, examples) if whole else side_by_side(threads, *shape, 1, examples // threads)
        print(json.dumps(found))
        return
    options = (f"--products={args.products}", f"--dim={args.dim}", f"--batch={args.batch}")
    ways = [1, *args.clusters]
    runs: dict[int, list[dict]] = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way in ways:
            runs[way].append(worker(__file__, f"--ways={way}", *options))
    for way in ways:
        found = {name: median_of(runs[way], name) for name in ("speed", "peak_mib")}
        # The same products a model, whatever their number: more clusters for a larger catalog.
        hours = EXAMPLES / found["speed"] / 3600 * (PRODUCTS / args.products if way == 1 else 1)
        record("daily", {"products": args.products, "clusters": way, "dim": args.dim, "batch": args.batch, **found,
                         "hours_once": hours, "hours_anew": EPOCHS * hours}, threads)  # fmt: skip


def measure_gpu(args: argparse.Namespace) -> None:
    """Clusters of the smallest size, so many at once."""
    products = args.products // max(args.clusters)
    shape = (products, args.dim, args.batch)
    if args.ways:
        print(json.dumps(on_one_gpu(args.ways, *shape, args.device)))
        return
    options = (f"--products={args.products}", f"--dim={args.dim}", f"--batch={args.batch}", f"--device={args.device}",
               "--clusters", *args.clusters)  # fmt: skip
    runs: dict[int, list[dict]] = {models: [] for models in args.side_by_side}
    for _ in range(args.rounds):
        for models in runs:
            runs[models].append(worker(__file__, f"--ways={models}", *options))
    for models, found in runs.items():
        median = {name: median_of(found, name) for name in ("speed", "peak_mib")}
        hours = EXAMPLES / median["speed"] / 3600
        record("daily", {"products": args.products, "clusters": max(args.clusters), "side_by_side": models, "dim": args.dim,
                         "batch": args.batch, **median, "hours_once": hours, "hours_anew": EPOCHS * hours},
               1, args.device)  # fmt: skip


if __name__ == "__main__":
    main()
