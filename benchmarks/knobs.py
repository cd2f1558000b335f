"""What value and tail cost in accuracy, and what they bring, beside diversify; resumable, results/knobs.jsonl.

    python benchmarks/knobs.py --data ../shared/data [--dataset yoochoose_week …] [--device cuda]

Each split's test sessions are asked as a product page is whose own product may be listed, of `tuned` fitted on all of
training as by `accuracy.py --precision bf16`; where WORK/DATASET-model exists, one of accuracy.py's, say, it is asked
and none is fitted. Nothing was chosen here. Prices are in eshop_clothing alone, of which the last tenth of the sessions
is the test.
"""

from __future__ import annotations

import pathlib

import numpy as np
from baselines import MIN_HISTORY, sessions
from cold_start import events
from common import run_splits
from trained import is_of_today

import stamp
from stamp import offline

SPLITS = ("diginetica", "retailrocket", "yoochoose1_64", "yoochoose_week", "jdata_demo", "eshop_clothing")
PRICE = {"eshop_clothing": "price_usd"}
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
K, SEED = 20, 42


def split(data: pathlib.Path, dataset: str) -> tuple[stamp.Sessions, stamp.Sessions]:
    if dataset != "eshop_clothing":
        return sessions(data, dataset, "train"), sessions(data, dataset, "test")
    clicks = events(data / dataset / "sessions.tsv.gz").sort_by([("session_id", "ascending"), ("order", "ascending")])
    return stamp.Sessions.from_frame(clicks.select(["session_id", "item_id"])).split_last(0.1)


def zones(dataset: str) -> list[offline.Zone]:
    """By what is turned, and how far."""
    turned = [("tail", step, {"tail": step}) for step in STEPS]
    turned += [
        ("diversify", step, {"rules": [{"rule": "diversify", "by": "embedding", "strength": step}]})
        for step in STEPS[1:4]
    ]
    turned += [("value", step, {"value": step}) for step in STEPS[1:] if dataset in PRICE]
    return [offline.Zone(name=f"{name} {step}", k=K, **options) for name, step, options in turned]


def mean_price(asked: offline.Replay, zone: str, prices: dict) -> float:
    """Of the products that have one, in all lists."""
    of = np.array([prices.get(item, np.nan) for item in asked.item_ids.tolist()] + [np.nan], float)
    return float(np.nanmean(of[asked.lists["tuned", zone].rows]))


def run(dataset: str, data: pathlib.Path, device: str, precision: str, work: pathlib.Path) -> dict:
    train, test = split(data, dataset)
    saved = work / f"{dataset}-model"
    if saved.exists() and not is_of_today(saved):
        raise SystemExit(f"{saved} is of another `tuned` than today's; delete it, or put one of today's there")
    if not saved.exists():
        options = {"device": device, "precision": precision, "seed": SEED, "min_history": MIN_HISTORY.get(dataset, 1)}
        stamp.StampRecommender(**options).fit(train, checkpoint=work / dataset, progress=False).save(saved)
    model = stamp.load(saved, device=device)
    products, rules = None, {}
    if dataset in PRICE:
        products = stamp.Products.from_frame(data / dataset / "items.tsv.gz", numbers=[PRICE[dataset]], keep=[])
        rules = {"value": {"attribute": PRICE[dataset]}}
    stamp.build_bundle({0: saved}, products, out=work / f"{dataset}-bundle", rules=rules)
    asked = offline.replay(
        {"tuned": work / f"{dataset}-bundle"}, test, zones=zones(dataset), train=train, leakage="report", latency=0
    )
    prices = {}
    if products is not None:
        numbers = products.numbers(PRICE[dataset], model._catalog)
        prices = dict(zip(model.item_ids_.tolist(), numbers.tolist()))
    found = []
    for zone in asked.zones:
        name, step = zone.split()
        table = asked.metrics(k=K, metrics=["hr", "mrr", "coverage", "popularity"], zone=zone)
        row = dict(zip(table.columns, table.rows[0]))
        values = {metric: row[f"{metric}@{K}"] for metric in ("hr", "mrr", "coverage", "popularity")}
        if prices:
            values["price"] = mean_price(asked, zone, prices)
        found.append({"knob": name, "step": float(step), **values})
    reliable = offline.reliability(model, test, k=K)
    return {"dataset": dataset, "train": len(train), "test": len(test), "products": len(model.item_ids_),
            "questions": len(asked.questions[next(iter(asked.zones))]), "precision": precision, "seed": SEED,
            "temperature": model.report_["temperature"], "tail_power": model.report_["tail_power"],
            "calibration_error": reliable.error, "bins": reliable.bins.rows, "found": found}  # fmt: skip


if __name__ == "__main__":
    run_splits("knobs", __doc__, SPLITS, run, threads=stamp.num_threads(), precision="bf16")
