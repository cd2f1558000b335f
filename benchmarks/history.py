"""How `history` of the preset `tuned` was found: models that read all events and models that read the last few, beside
each other; resumable, results/history.jsonl.

Of each split the last 20,000 sessions of training, of which the last quarter judges; test sessions are not touched. A
model is trained under each bound and judged under it; the one that was trained on all events is judged under every bound,
too: that is what a bound costs without the chance that another training brings.

    python benchmarks/history.py --data ../shared/data [--dataset retailrocket …]
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import pathlib

import numpy as np
from baselines import MIN_HISTORY, sessions
from common import record, recorded

import stamp
from stamp import _stamp

SESSIONS, HELD_OUT, EPOCHS = 20_000, 0.25, 4
TRAINED = (0, 50)  # 0: all events
JUDGED = (0, 200, 100, 50, 20)


def bounded(model: stamp.StampRecommender, history: int) -> stamp.StampRecommender:
    """The same weights, reading the last `history` events."""
    config = json.loads(model._model.config()) | {"history": history}
    other = copy.copy(model)
    other._model = _stamp.Model(json.dumps(config), model.n_items_, _stamp.open_device("cpu", "auto"))
    other._model.set_weights(model.weights_)
    other._model.take_successors(model._model, np.arange(model.n_items_, dtype=np.int32))
    return other


def judged(model: stamp.StampRecommender, judge: stamp.Sessions, dataset: str) -> dict:
    at = stamp.evaluate(model, judge, k=20, min_history=MIN_HISTORY[dataset]).at[20]
    return {"hr": at["hr"], "mrr": at["mrr"]}


def cut(judge: stamp.Sessions, dataset: str, history: int) -> float:
    """Share of the examples whose history is longer than the bound."""
    lengths = np.diff(judge._core.offsets)
    after = np.maximum(0, lengths - max(1 + history, MIN_HISTORY[dataset])) if history else 0 * lengths
    return float(after.sum() / np.maximum(0, lengths - MIN_HISTORY[dataset]).sum())


def run(dataset: str, data: pathlib.Path, history: int, work: pathlib.Path) -> dict:
    every = sessions(data, dataset, "train")
    recent = every.select(np.arange(len(every)) >= len(every) - SESSIONS)
    train, judge = recent.split_last(HELD_OUT)
    model = stamp.StampRecommender(device="cpu", history=history, epochs=EPOCHS, min_history=MIN_HISTORY[dataset])
    model.fit(train, checkpoint=work / f"{dataset}-{history}", progress=False)
    bounds = JUDGED if history == 0 else (history,)
    return {"dataset": dataset, "history": history, "sessions": len(train), "held_out": len(judge),
            "longest": int(np.diff(train._core.offsets).max()), "epochs": EPOCHS, "seconds": model.report_["seconds"],
            "judged": {str(bound): judged(bounded(model, bound), judge, dataset) for bound in bounds},
            "cut": {str(bound): cut(judge, dataset, bound) for bound in bounds}}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("STAMP_DATA", "../shared/data"))
    parser.add_argument("--dataset", nargs="+", choices=MIN_HISTORY, default=list(MIN_HISTORY))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/history"), help="for checkpoints")
    args = parser.parse_args()
    done = {(result["dataset"], result["history"]) for result in recorded("history")}
    for history in TRAINED:
        for dataset in args.dataset:
            if (dataset, history) not in done:
                record("history", run(dataset, args.data, history, args.work), stamp.num_threads())


if __name__ == "__main__":
    main()
