"""Baselines on public splits, as a Markdown table: what docs/baselines.md holds.

Options of session kNN are chosen by P@20 on the last tenth of training, then each baseline is fitted to all of it and
tested once.

    python benchmarks/baselines.py --data ../shared/data [--dataset diginetica …] [--tune]
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import time

import numpy as np

import stamp

MIN_HISTORY = {"diginetica": 1, "yoochoose1_64": 1, "retailrocket": 2}
# Chosen by --tune, which prints every candidate.
SESSION_KNN: dict[str, dict] = {
    "diginetica": {"neighbours": 100, "sample": 1000, "score_weighting": "linear", "idf": "add", "idf_weight": 5.0},
    "yoochoose1_64": {"neighbours": 500, "sample": 5000, "score_weighting": "div", "idf": "add", "idf_weight": 5.0},
    "retailrocket": {"neighbours": 1500, "sample": 5000, "score_weighting": "linear", "idf": "add", "idf_weight": 5.0},
}
CANDIDATES = [
    {"neighbours": k, "sample": m, "score_weighting": score_weighting, "idf": idf, "idf_weight": weight}
    for (k, m), score_weighting, (idf, weight) in itertools.product(
        ((100, 1000), (500, 5000), (1500, 5000)), ("div", "linear"), (("none", 1.0), ("add", 5.0))
    )
]


def percent(evaluation: stamp.Evaluation) -> tuple[float, float]:
    return 100 * evaluation.at[20]["hr"], 100 * evaluation.at[20]["mrr"]


def tune(train: stamp.Sessions, min_history: int) -> dict:
    """The candidate of the best P@20 on the last tenth."""
    before, last = train.split_last(0.1)
    best: tuple[float, dict] = (-1, {})
    for options in CANDIDATES:
        model = stamp.SessionKNNRecommender(**options).fit(before)
        hr, mrr = percent(stamp.evaluate(model, last, k=20, min_history=min_history))
        print(f"    {hr:5.2f} / {mrr:5.2f}  {json.dumps(options)}", flush=True)
        best = max(best, (hr, options), key=lambda found: found[0])
    return best[1]


def baselines(dataset: str) -> dict[str, stamp.baselines.BaselineRecommender]:
    return {
        "popularity": stamp.PopularityRecommender(),
        "session popularity": stamp.SessionPopularityRecommender(),
        "association rules": stamp.AssociationRulesRecommender(),
        "first-order Markov": stamp.SequentialRulesRecommender(steps=1),
        "sequential rules": stamp.SequentialRulesRecommender(),
        "item-kNN": stamp.ItemKNNRecommender(),
        "item-kNN, significance 10": stamp.ItemKNNRecommender(significance=10),
        "VMIS-kNN, preset": stamp.SessionKNNRecommender(preset="vmis-knn"),
        "VS-kNN, preset": stamp.SessionKNNRecommender(),
        "VS-kNN, tuned": stamp.SessionKNNRecommender(**SESSION_KNN.get(dataset, {})),
    }


def milliseconds(model: stamp.baselines.BaselineRecommender, test: stamp.Sessions, requests: int = 2000) -> float:
    """Median of single requests, one at a time."""
    taken = []
    for s in np.linspace(0, len(test) - 1, requests).astype(int):
        items = test.session(int(s)).tolist()
        start = time.perf_counter()
        model._listing().list(model._rows(items, "items"), bought=[], k=20, **model._filters((), None))
        taken.append(1000 * (time.perf_counter() - start))
    return float(np.median(taken))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--dataset", nargs="+", choices=MIN_HISTORY, default=list(MIN_HISTORY))
    parser.add_argument("--tune", action="store_true")
    arguments = parser.parse_args()
    print("| split | baseline | P / MRR @20 | fit, s | request, ms |\n| --- | --- | ---: | ---: | ---: |", flush=True)
    for dataset in arguments.dataset:
        train = stamp.Sessions.from_frame(arguments.data / dataset / "train.tsv.gz")
        test = stamp.Sessions.from_frame(arguments.data / dataset / "test.tsv.gz")
        if arguments.tune:
            SESSION_KNN[dataset] = tune(train, MIN_HISTORY[dataset])
            print(f"    chosen for {dataset}: {json.dumps(SESSION_KNN[dataset])}", flush=True)
        for name, model in baselines(dataset).items():
            start = time.perf_counter()
            model.fit(train)
            seconds = time.perf_counter() - start
            hr, mrr = percent(stamp.evaluate(model, test, k=20, min_history=MIN_HISTORY[dataset]))
            took = f"{seconds:.1f} | {milliseconds(model, test):.2f}"
            print(f"| {dataset} | {name} | {hr:.2f} / {mrr:.2f} | {took} |", flush=True)
