"""Models that were trained briefly on real sessions, with histories to ask them by, for benchmarks of lists.

    python benchmarks/trained.py --data ../shared/data [--dataset diginetica yoochoose1_64] [--work build/trained]

Leaves WORK/DATASET/bundle and WORK/DATASET/histories.txt, a line a history: rows of the catalog, of test sessions.
What is there is not made again, unless it is of another `tuned` than today's.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib

import numpy as np
from baselines import MIN_HISTORY, sessions
from common import NO_FILTERS, ROOT
from queries import items_of, queries_of

import stamp
from stamp import _stamp

DATASETS = ("diginetica", "yoochoose1_64", "retailrocket")
SESSIONS, EPOCHS, HISTORIES = 60_000, 2, 1_000
WORK = ROOT / "build" / "trained"


def histories_of(model: stamp.StampRecommender, test: stamp.Sessions) -> list[np.ndarray]:
    """Of examples chosen at random: the known events before the target, as many as the model reads."""
    core = model._sessions_in_rows("trained", test)
    items, offsets, bound = core.items, core.offsets, model.get_params()["history"]
    starts = np.repeat(offsets[:-1], np.diff(offsets))
    targets = np.flatnonzero(np.arange(len(items)) > starts)
    chosen = np.random.default_rng(1).permutation(targets)
    every = (items[max(starts[at], at - bound if bound else 0) : at] for at in chosen)
    known = (history[history >= 0] for history in every)
    return [history for history, _ in zip((h for h in known if len(h)), range(HISTORIES), strict=False)]


def without_floors(model: _stamp.Model, *names: str) -> None:
    """Takes floors from a model that nobody else uses."""
    weights = model.weights()
    model.set_weights({**weights, **{name: np.full_like(weights[name], np.finfo(np.float32).min) for name in names}})


def check(bundle: _stamp.Bundle, histories: list[np.ndarray]) -> None:
    """Our queries are the library's: it scores what it lists by them, where nothing has a floor."""
    release, model = _stamp.Release(bundle), bundle.clusters[0]["model"]
    without_floors(model, "repeat.floors", "successor.floors")
    rows = items_of(model)
    for history, query in zip(histories, queries_of(model, histories), strict=True):
        listed, scores, *_ = release.list(history, k=20, bought=[], **NO_FILTERS)
        np.testing.assert_allclose(scores, rows[listed] @ query, rtol=1e-3, atol=1e-4)


def is_of_today(path: pathlib.Path) -> bool:
    """Whether a saved model has the options that `tuned` has: presets change."""
    return json.loads(stamp.load(path, device="cpu")._model.config()) == json.loads(_stamp.presets("tuned")[0])


def trained(data: pathlib.Path, dataset: str, work: pathlib.Path = WORK) -> tuple[pathlib.Path, pathlib.Path]:
    """The bundle of a model, and histories."""
    bundle, histories = work / dataset / "bundle", work / dataset / "histories.txt"
    if not (histories.exists() and is_of_today(bundle)):
        every = sessions(data, dataset, "train")
        recent = every.select(np.arange(len(every)) >= len(every) - SESSIONS)
        model = stamp.StampRecommender(device="cpu", epochs=EPOCHS, min_history=MIN_HISTORY[dataset])
        model.fit(recent, progress=False)
        asked = histories_of(model, sessions(data, dataset, "test"))
        bundle.parent.mkdir(parents=True, exist_ok=True)
        model.save(bundle)
        check(_stamp.load_bundle(os.fspath(bundle), _stamp.open_device("cpu", "auto")), asked[:50])
        histories.write_text("".join(" ".join(map(str, history)) + "\n" for history in asked))
    return bundle, histories


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("STAMP_DATA", "../shared/data"))
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--work", type=pathlib.Path, default=WORK)
    args = parser.parse_args()
    for dataset in args.dataset:
        print(*trained(args.data, dataset, args.work))


if __name__ == "__main__":
    main()
