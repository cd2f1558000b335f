"""New products: how well they are found beside what is trivial (`stamp.offline.cold_start`); resumable,
results/cold_start.jsonl.

    python benchmarks/cold_start.py --data ../shared/data [--dataset jdata_demo …] [--device cuda]

Splits in which training has not seen every target: a sample of JData as its publisher split it, the last tenth of a week
of RetailRocket, the last fifth of Diginetica's training, and Diginetica with a tenth of its products hidden from training.
`tuned` is fitted on all of training; its options are those of the other splits, nothing was chosen here.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import time

import pyarrow.compute
import pyarrow.csv
from common import record, recorded

import stamp
from stamp import offline

HIDDEN, SEED = 0.1, 42
CATEGORY = {
    "jdata_demo": "category",
    "retailrocket_week": "category_id",
    "diginetica_fifth": "category_id",
    "diginetica_hidden": "category_id",
}
Split = tuple[stamp.Sessions, stamp.Sessions]


def events(path: pathlib.Path) -> pyarrow.Table:
    return pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(delimiter="\t"))


def jdata_demo(folder: pathlib.Path) -> Split:
    table = events(folder / "sessions.tsv.gz")
    parts = (table.filter(pyarrow.compute.equal(table["split"], part)) for part in ("train", "test"))
    train, test = map(stamp.Sessions.from_frame, parts)
    return train, test


def retailrocket_week(folder: pathlib.Path) -> Split:
    table = events(folder / "sessions.tsv.gz")
    names = ["visitor_id" if name == "user_id" else name for name in table.column_names]
    return stamp.Sessions.from_frame(table.rename_columns(names)).split_last(0.1)


def diginetica_fifth(folder: pathlib.Path) -> Split:
    return stamp.Sessions.from_frame(folder / "train.tsv.gz").split_last(0.2)


def diginetica_hidden(folder: pathlib.Path) -> Split:
    train = stamp.Sessions.from_frame(folder / "train.tsv.gz")
    return offline.hide_products(train, HIDDEN, seed=SEED)[0], stamp.Sessions.from_frame(folder / "test.tsv.gz")


SPLITS = {each.__name__: each for each in (jdata_demo, retailrocket_week, diginetica_fifth, diginetica_hidden)}


def run(dataset: str, data: pathlib.Path, device: str, precision: str, work: pathlib.Path) -> dict:
    folder = data / ("diginetica" if dataset.startswith("diginetica") else dataset)
    train, test = SPLITS[dataset](folder)
    products = stamp.Products.from_frame(folder / "items.tsv.gz", keep=[CATEGORY[dataset]])
    start = time.perf_counter()
    model = stamp.StampRecommender(device=device, precision=precision, seed=SEED)
    model.fit(train, checkpoint=work / dataset, progress=False)
    seconds = time.perf_counter() - start
    models = {"VS-kNN": stamp.SessionKNNRecommender().fit(train), "tuned": model}
    found = offline.cold_start(
        models, train, test, products, attribute=CATEGORY[dataset], seed=SEED, leakage="report"
    )  # fmt: skip
    return {"dataset": dataset, "train": len(train), "test": len(test), "precision": model.precision_, "seed": SEED,
            "fit_seconds": seconds, "found": json.loads(found.to_json())}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("STAMP_DATA", "../shared/data"))
    parser.add_argument("--dataset", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="bf16", help="of training: as of StampRecommender")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/cold_start"), help="for checkpoints")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    done = {result["dataset"] for result in recorded("cold_start")}
    for dataset in args.dataset:
        if dataset not in done:
            result = run(dataset, args.data, args.device, args.precision, args.work)
            record("cold_start", result, stamp.num_threads(), args.device)


if __name__ == "__main__":
    main()
