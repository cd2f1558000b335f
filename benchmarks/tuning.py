"""How the preset `tuned` was found: variants on a recent slice of training; resumable, results/tuning.jsonl.

The last 40,000 sessions of training, of which the last 5,000 judge; test sessions are not touched. Each variant changes
what stands beside it in the option list of an earlier one, so that the table reads as a walk. All of it is on Diginetica;
its last steps on other splits, too, so that nothing is chosen by one shop alone.

    python benchmarks/tuning.py --data ../shared/data [--dataset retailrocket …]
"""

from __future__ import annotations

import argparse
import os
import pathlib

from baselines import MIN_HISTORY, sessions
from common import record, recorded

import stamp

SESSIONS, HELD_OUT = 40_000, 5_000
START = {
    **{"score": "cosine", "scale": 16.0, "dropout": 0.2, "item_std": 0.1, "attention_bias": True, "mlp_bias": True},
    **{"max_norm": 0.0, "learning_rate": 0.004, "batch_size": 256, "epochs": 4, "schedule": "linear"},
}
FALLEN = {**START, "scale": 12.0, "dropout": 0.4}
LONGER = {**START, "scale": 12.0, "dropout": 0.3, "learning_rate": 0.008, "epochs": 7}
REPEATS, SUCCESSORS = "… repeats of ten kinds at four distances", "… five floors for successors"
SECOND = "… three, and two for what lies two steps away"
VARIANTS = {
    "cosine scores, scale 16, dropout 0.2": START,
    "looked-up rows of length 1 too": {**START, "max_norm": 1.0, "item_std": 0.15},
    "attention by softmax": {**START, "normalization": "softmax"},
    "scale 12": {**START, "scale": 12.0},
    "learning rate 0.008": {**START, "learning_rate": 0.008},
    "dropout 0.4": {**START, "dropout": 0.4},
    "scale 12, dropout 0.4": FALLEN,
    "… oldest sessions weigh 0.3 of the newest": {**FALLEN, "oldest_weight": 0.3},
    "scale 12, dropout 0.3, learning rate 0.008, 7 epochs": LONGER,
    REPEATS: {**LONGER, "repeat_floors": 4},
    SUCCESSORS: {**LONGER, "repeat_floors": 4, "successor_floors": 5},
    SECOND: {**LONGER, "repeat_floors": 4, "successor_floors": 3, "second_floors": 2},
}  # fmt: skip
# What was tried on each split.
WALKS = {"diginetica": list(VARIANTS)}
WALKS |= dict.fromkeys(("retailrocket", "yoochoose1_64"), [REPEATS, SUCCESSORS, SECOND])


def slices(data: pathlib.Path, dataset: str) -> tuple[stamp.Sessions, stamp.Sessions]:
    """The sessions to learn from, and those that judge."""
    train = sessions(data, dataset, "train")
    recent = [train.session(i).tolist() for i in range(len(train) - SESSIONS, len(train))]
    return stamp.Sessions.from_frame(recent[:-HELD_OUT]), stamp.Sessions.from_frame(recent[-HELD_OUT:])


def run(dataset: str, name: str, data: pathlib.Path) -> dict:
    train, judge = slices(data, dataset)
    model = stamp.StampRecommender(
        preset="official", device="cpu", monitor="hr@20", min_history=MIN_HISTORY[dataset], **VARIANTS[name]
    )
    model.fit(train, validation=judge)
    validation = [epoch["validation"]["at"]["20"] for epoch in model.report_["epochs"]]
    return {"dataset": dataset, "variant": name, "options": VARIANTS[name], "validation": validation}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("STAMP_DATA", "../shared/data"))
    parser.add_argument("--dataset", nargs="+", choices=WALKS, default=list(WALKS))
    args = parser.parse_args()
    done = {(result["dataset"], result["variant"]) for result in recorded("tuning")}
    for dataset in args.dataset:
        for name in WALKS[dataset]:
            if (dataset, name) not in done:
                record("tuning", run(dataset, name, args.data), stamp.num_threads())


if __name__ == "__main__":
    main()
