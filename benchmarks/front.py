"""The front between clicks and orders that one model lists along; resumable, results/front.jsonl.

    python benchmarks/front.py --data ../shared/data [--dataset jdata_demo …] [--device cuda]

`tuned` learns `objectives=["order"]` on all of training, and is asked for clicks alone, for orders alone and between, beside
`tuned` without: on all test events, and on those of products that the visit orders later; where the log has prices, also by
what is paid in the rest of the visit for what is listed. Nothing was chosen on JData; what training draws was chosen on the
made-up shop (docs/tried.md).
"""

from __future__ import annotations

import pathlib

from cold_start import jdata_demo
from common import run_splits

import stamp
from stamp import offline

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of orders
SEEDS = (42, 43, 44)
K = 10
CLICKS = "orders 0"


def made_up(_: pathlib.Path) -> tuple[stamp.Sessions, stamp.Sessions]:
    return stamp.datasets.synthetic_shop(sessions=40_000, products=1_000, orders=True, seed=5).sessions.split_last(0.1)


SPLITS = {each.__name__: each for each in (jdata_demo, made_up)}


def fitted(train: stamp.Sessions, checkpoint: pathlib.Path, **options: object) -> stamp.StampRecommender:
    return stamp.StampRecommender(**options).fit(train, checkpoint=checkpoint, progress=False)


def bundles_of(train: stamp.Sessions, work: pathlib.Path, **options: object) -> dict[str, pathlib.Path]:
    """By name: the model without objectives, and the other with a zone for each share of orders."""
    plain, both = work / "plain", work / "both"
    fitted(train, work / "plain checkpoint", **options).save(plain)
    fitted(train, work / "both checkpoint", **options, objectives=["order"]).save(both)
    bundles = {"without": plain}
    stamp.build_bundle({0: plain}, out=work / "without", rules={"zones": {"page": {}}})
    for share in SHARES:
        name = f"orders {share:g}"
        objective = {"click": 1 - share, "order": share}
        bundles[name] = work / name
        stamp.build_bundle({0: both}, out=bundles[name], rules={"zones": {"page": {"objective": objective}}})
    return {**bundles, "without": work / "without"}


def measured(bundles: dict, sessions: stamp.Sessions, train: stamp.Sessions) -> list[list]:
    """Of each bundle its name, and each metric with the difference to lists for clicks alone and its interval: hr, mrr and,
    where events have a value, revenue, in money a list."""
    zone = offline.Zone(name="page", k=K, bundle_zone="page")
    names = ["hr", "mrr", *(["revenue"] if "value" in sessions.columns else [])]
    asked = offline.replay(bundles, sessions, zones=zone, train=train, leakage="report", latency=0)
    found = offline.compare(asked, baseline=CLICKS, metrics=[f"{name}@{K}" for name in names])
    table = asked.metrics(k=K, metrics=names, zone=zone.name)
    rows = {row[0]: dict(zip(table.columns, row)) for row in table.rows}
    differences = {(row.recommender, row.metric): row for row in found.rows}
    measured = []
    for bundle in bundles:
        row = [bundle]
        for metric in (f"{name}@{K}" for name in names):
            other = differences.get((bundle, metric))
            row += [rows[bundle][metric], *((0, 0, 0) if other is None else (other.difference, other.low, other.high))]
        measured.append(row)
    return measured


def run(dataset: str, data: pathlib.Path, device: str, precision: str, work: pathlib.Path) -> dict:
    train, test = SPLITS[dataset](data / dataset)
    ordered = test.leading_to("order")
    seeds = []
    for seed in SEEDS:
        folder = work / f"{dataset}-{seed}"
        folder.mkdir(exist_ok=True)
        bundles = bundles_of(train, folder, device=device, precision=precision, seed=seed)
        of = {"clicks": measured(bundles, test, train), "orders": measured(bundles, ordered, train)}
        seeds.append({"seed": seed, **of})
    questions = {
        name: stamp.evaluate(stamp.PopularityRecommender().fit(train), sessions).examples
        for name, sessions in (("clicks", test), ("orders", ordered))
    }
    return {"dataset": dataset, "train": len(train), "test": len(test), "questions": questions, "precision": precision,
            "k": K, "seeds": seeds}  # fmt: skip


if __name__ == "__main__":
    run_splits("front", __doc__, SPLITS, run, threads=stamp.num_threads(), precision="fp32")
