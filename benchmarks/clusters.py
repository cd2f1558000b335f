"""One model per cluster beside a single model: accuracy over the whole catalog, on sparse products too, time, memory.

    python benchmarks/clusters.py --data ../shared/data [--dataset diginetica …]

All are of the preset `tuned` and train on all sessions, on the same cores: the single model with all threads, the clusters
side by side, a process of one thread each, once anew and once beginning with the single model ("warm"), for two epochs at a
fourth of the rate. These options were looked for on a slice of Diginetica's training (docs/tried.md). All are ranked over the full catalog; a target outside its anchor's cluster is a
miss. Sparse targets have at most 10 clicks in training. Clusters come from the single model. A step whose result is in
--work is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import time

import numpy as np
from common import record, resident_mib, worker

import stamp
from stamp import _stamp

SPARSE = 10
STEPS = ("single", "clusters", "clustered", "warm")
OPTIONS = {
    "single": {"precision": "bf16"},
    "clustered": {"precision": "bf16"},
    "warm": {"precision": "bf16", "learning_rate": 0.002, "epochs": 2},
}
ATTRIBUTE = "category_id"
CLUSTERS = {
    "diginetica": {"clusters": 8, "min_examples": 20_000, "max_examples": 180_000, "examples": 100_000},
    "retailrocket_week": {"clusters": 4, "min_examples": 4_000, "max_examples": 12_000},
}


def read(dataset: str, data: pathlib.Path) -> tuple[stamp.Sessions, stamp.Sessions, stamp.Products]:
    folder = data / dataset
    items = stamp.Products.from_frame(folder / "items.tsv.gz")
    if (folder / "train.tsv.gz").exists():
        return *(stamp.Sessions.from_frame(folder / f"{part}.tsv.gz") for part in ("train", "test")), items
    return *stamp.Sessions.from_frame(folder / "sessions.tsv.gz").split_last(0.15), items


def single(train: stamp.Sessions, work: pathlib.Path) -> dict:
    start = time.perf_counter()
    model = stamp.StampRecommender(device="cpu", **OPTIONS["single"]).fit(train, progress=False)
    seconds = time.perf_counter() - start
    model.save(work / "single")
    return {"seconds": seconds, "peak_mib": resident_mib("VmHWM")}


def clusters(sizes: dict, train: stamp.Sessions, items: stamp.Products, work: pathlib.Path) -> dict:
    start = time.perf_counter()
    single = stamp.load(work / "single", device="cpu")
    found = stamp.cluster_catalog(single, items, train, attribute=ATTRIBUTE, progress=False, **sizes)
    seconds = time.perf_counter() - start
    found.save(work / "clusters.safetensors")
    inside = {name: getattr(found, name) for name in ("recommendations_inside", "transitions_inside")}
    return {"clusters": len(found.ids), "seconds": seconds, **inside}


def trained(step: str, train: stamp.Sessions, work: pathlib.Path) -> dict:
    start = time.perf_counter()
    reports = stamp.train_clusters(
        train, work / "clusters.safetensors", out=work / step, device="cpu", progress=False,
        config={**OPTIONS[step], "validation": 0}, warm_start=work / "single" if step == "warm" else None,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    peaks = sorted((report.peak_memory / 2**20 for report in reports.values()), reverse=True)
    return {
        "models": sum(report.status == "trained" for report in reports.values()),
        "seconds": seconds,
        "peak_mib": sum(peaks[: stamp.num_threads()]),  # of as many as run side by side
    }


def measured(model, test: stamp.Sessions) -> dict:
    """Metrics at 20 over all targets, and over those that are sparse in training."""
    clicks = dict(zip(model.item_ids_.tolist(), model._counts.tolist()))
    of_row = np.array([clicks.get(item, 0) for item in test.item_ids.tolist()])
    rows = test._core.items
    sparse = (of_row[rows] <= SPARSE).astype(np.float32)  # events of weight 0 are no targets
    core = _stamp.Sessions(rows, test._core.offsets, None, sparse)
    result = {}
    for name, sessions in (("all", test), ("sparse", stamp.Sessions(core, test._catalog))):
        found = stamp.evaluate(model, sessions, k=20)
        missed = (found.cold_targets + found.unanswered + found.unreachable) / found.examples
        result[name] = {**found.at[20], "examples": found.examples, "ceiling": 1 - missed}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("STAMP_DATA", "../shared/data"))
    parser.add_argument("--dataset", nargs="+", choices=CLUSTERS, default=list(CLUSTERS))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/clusters"))
    parser.add_argument("--step", choices=STEPS, help="of a process of its own")
    args = parser.parse_args()
    for dataset in args.dataset:
        work = args.work / dataset
        train, test, items = read(dataset, args.data)
        if args.step:
            if args.step == "single":
                found = single(train, work)
            elif args.step == "clusters":
                found = clusters(CLUSTERS[dataset], train, items, work)
            else:
                found = trained(args.step, train, work)
            print(json.dumps(found))
            continue
        work.mkdir(parents=True, exist_ok=True)
        result = {}
        for step in STEPS:
            done = work / f"{step}.json"
            if not done.exists():
                found = worker(__file__, "--step", step, "--data", args.data, "--dataset", dataset, "--work", args.work)
                done.write_text(json.dumps(found))
            result[step] = json.loads(done.read_text())
            if step != "clusters":
                load = stamp.load if step == "single" else stamp.load_clusters
                result[step]["test"] = measured(load(work / step, device="cpu"), test)
                result[step]["options"] = OPTIONS[step]
        record("clusters", {"dataset": dataset, **result}, stamp.num_threads())


if __name__ == "__main__":
    main()
