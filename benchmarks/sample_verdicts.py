"""The table that docs/verdicts.md shows: two networks beside what is popular, on the last day of the week of RetailRocket.

    STAMP_DATA=… python benchmarks/sample_verdicts.py

It takes 20 s of one core and shows the form of a comparison, no model at its best. What was printed is
kept in results/sample_verdicts.jsonl; report.py writes it into the page.
"""

from __future__ import annotations

import argparse
import os
import pathlib

import pyarrow.csv
from common import record

import stamp
from stamp import offline

NETWORKS = {"narrow": {"dim": 16, "epochs": 3}, "wide": {"dim": 64, "epochs": 5}}
METRICS = ("hr", "mrr", "popularity", "coverage")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    stamp.set_num_threads(args.threads)
    path = pathlib.Path(os.environ["STAMP_DATA"]) / "retailrocket_week" / "sessions.tsv.gz"
    events = pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(delimiter="\t"))
    names = ["visitor_id" if name == "user_id" else name for name in events.column_names]
    train, test = stamp.Sessions.from_frame(events.rename_columns(names)).split_by_time("1D")
    models = {"popularity": stamp.PopularityRecommender().fit(train)}
    for name, options in NETWORKS.items():
        models[name] = stamp.StampRecommender(device="cpu", **options).fit(train, progress=False)
    replay = offline.replay(models, test, train=train, latency=0)
    comparison = offline.compare(replay, baseline="popularity", metrics=METRICS)
    record("sample_verdicts", {"networks": NETWORKS, "printed": comparison.to_text()}, args.threads)


if __name__ == "__main__":
    main()
