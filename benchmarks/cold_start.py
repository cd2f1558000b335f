"""New products: how well they are found beside what is trivial (`stamp.offline.cold_start`), by what their attributes and
their first clicks say; resumable, results/cold_start.jsonl.

    python benchmarks/cold_start.py --data ../shared/data [--dataset jdata_demo …] [--device cuda]

Splits in which training has not seen every target: a sample of JData as its publisher split it, the last tenth of a week
of RetailRocket, the last fifth of Diginetica's training, and Diginetica with a tenth of its products hidden from training.
`tuned` is fitted on all of training, with the options of the other splits, and once more with `content`; to that model
new products are added by `stamp.add_products`. On the later half of the test, new products are also as
`stamp.refresh_products` has them after the earlier half. What content costs where products are known is judged on the test
without new products.
"""

from __future__ import annotations

import json
import pathlib
import time

import pyarrow.compute
import pyarrow.csv
from common import run_splits

import stamp
from stamp import offline

HIDDEN, SEED = 0.1, 42
# Attributes of products; the first is the category of the trivial baselines.
ATTRIBUTES = {
    "jdata_demo": ["category", "brand", "shop", "year_month"],
    "retailrocket_week": ["category_id"],
    "diginetica_fifth": ["category_id"],
    "diginetica_hidden": ["category_id"],
}
TUNED, CONTENT, CLICKED = "tuned", "tuned with content", "… and first clicks"
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
    earlier, later = test.split_last(0.5)
    products = stamp.Products.from_frame(folder / "items.tsv.gz", keep=ATTRIBUTES[dataset])
    options = {"device": device, "precision": precision, "seed": SEED}
    plain = stamp.StampRecommender(**options)
    plain.fit(train, checkpoint=work / dataset, progress=False)
    attributed = stamp.StampRecommender(**options, content=True)
    attributed.fit(train, products=products, checkpoint=work / f"{dataset} content", progress=False)
    seconds = {TUNED: plain.report_["seconds"], CONTENT: attributed.report_["seconds"]}
    bundle, clicked = work / f"{dataset} bundle", work / f"{dataset} bundle, clicked"
    attributed.save(bundle)
    start = time.perf_counter()
    added = stamp.add_products(bundle, products)
    seconds["add_products"] = time.perf_counter() - start
    start = time.perf_counter()
    refreshed = stamp.refresh_products(bundle, earlier, out=clicked)
    seconds["refresh_products"] = time.perf_counter() - start
    models = {TUNED: plain, CONTENT: stamp.load(bundle, device=device)}
    ask = {"train": train, "products": products, "attribute": ATTRIBUTES[dataset][0], "rows": plain, "seed": SEED,
           "leakage": "report"}  # fmt: skip
    whole = offline.cold_start({"VS-kNN": stamp.SessionKNNRecommender().fit(train), **models}, test=test, **ask)
    half = offline.cold_start({**models, CLICKED: stamp.load(clicked, device=device)}, test=later, **ask)
    return {"dataset": dataset, "train": len(train), "test": len(test), "precision": plain.precision_, "seed": SEED,
            "seconds": seconds, "added": added["added"], "left_out": len(added["left_out"]), **refreshed,
            "content": ATTRIBUTES[dataset], "found": json.loads(whole.to_json()), "later": json.loads(half.to_json()),
            "warm": on_known(models, train, test).to_dict()}  # fmt: skip


def on_known(models: dict, train: stamp.Sessions, test: stamp.Sessions) -> offline.Comparison:
    """The models on visits without the products that training has no click on."""
    known = set().union(*(train.session(i).tolist() for i in range(len(train))))
    visits = ([item for item in test.session(i).tolist() if item in known] for i in range(len(test)))
    warm = stamp.Sessions.from_frame([visit for visit in visits if len(visit) > 1])
    replay = offline.replay(models, warm, zones=offline.Zone(name="known", k=20), train=train, leakage="report")
    return offline.compare(replay, baseline=TUNED, metrics=("hr@10", "hr@20", "mrr@20"))


if __name__ == "__main__":
    run_splits("cold_start", __doc__, SPLITS, run, threads=stamp.num_threads(), precision="bf16")
