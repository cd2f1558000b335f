"""The baselines that accuracy.py measures, and how the options of session kNN were chosen: by P@20 on the last tenth of
training.

    python benchmarks/baselines.py --data ../shared/data [--dataset diginetica …]     prints every candidate
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib

import pyarrow.compute
import pyarrow.csv

import stamp

# An example of the RetailRocket split needs two events of history.
MIN_HISTORY = {"yoochoose1_64": 1, "diginetica": 1, "retailrocket": 2, "yoochoose_week": 1}
# Chosen of CANDIDATES.
SESSION_KNN: dict[str, dict] = {
    "diginetica": {"neighbours": 100, "sample": 1000, "score_weighting": "linear", "idf": "add", "idf_weight": 5.0},
    "yoochoose1_64": {"neighbours": 500, "sample": 5000, "score_weighting": "div", "idf": "add", "idf_weight": 5.0},
    "retailrocket": {"neighbours": 1500, "sample": 5000, "score_weighting": "linear", "idf": "add", "idf_weight": 5.0},
    "yoochoose_week": {"neighbours": 500, "sample": 5000, "score_weighting": "div", "idf": "add", "idf_weight": 5.0},
}
CANDIDATES = [
    {"neighbours": k, "sample": m, "score_weighting": score_weighting, "idf": idf, "idf_weight": weight}
    for (k, m), score_weighting, (idf, weight) in itertools.product(
        ((100, 1000), (500, 5000), (1500, 5000)), ("div", "linear"), (("none", 1.0), ("add", 5.0))
    )
]
NAMES = ("popularity", "session popularity", "first-order Markov", "association rules", "sequential rules", "item-kNN",
         "VMIS-kNN", "VS-kNN", "VS-kNN, tuned")  # fmt: skip


def sessions(data: pathlib.Path, dataset: str, part: str) -> stamp.Sessions:
    """The part "train" or "test" of a split: a file of its own, or rows of one for both."""
    alone = data / dataset / f"{part}.tsv.gz"
    if alone.exists():
        return stamp.Sessions.from_frame(alone)
    tabs = pyarrow.csv.ParseOptions(delimiter="\t")
    both = pyarrow.csv.read_csv(data / dataset / "sessions.tsv.gz", parse_options=tabs)
    return stamp.Sessions.from_frame(both.filter(pyarrow.compute.equal(both["split"], part)))


def baseline(name: str, dataset: str) -> stamp.models.baselines.BaselineRecommender:
    """Unfitted."""
    return {
        "popularity": stamp.PopularityRecommender(),
        "session popularity": stamp.SessionPopularityRecommender(),
        "first-order Markov": stamp.SequentialRulesRecommender(steps=1),
        "association rules": stamp.AssociationRulesRecommender(),
        "sequential rules": stamp.SequentialRulesRecommender(),
        "item-kNN": stamp.ItemKNNRecommender(),
        "VMIS-kNN": stamp.SessionKNNRecommender(preset="vmis-knn"),
        "VS-kNN": stamp.SessionKNNRecommender(),
        "VS-kNN, tuned": stamp.SessionKNNRecommender(**SESSION_KNN[dataset]),
    }[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--dataset", nargs="+", choices=MIN_HISTORY, default=list(MIN_HISTORY))
    args = parser.parse_args()
    for dataset in args.dataset:
        before, last = sessions(args.data, dataset, "train").split_last(0.1)
        for options in CANDIDATES:
            model = stamp.SessionKNNRecommender(**options).fit(before)
            at = stamp.evaluate(model, last, k=20, min_history=MIN_HISTORY[dataset]).at[20]
            print(f"{dataset}  {100 * at['hr']:5.2f} / {100 * at['mrr']:5.2f}  {json.dumps(options)}", flush=True)


if __name__ == "__main__":
    main()
