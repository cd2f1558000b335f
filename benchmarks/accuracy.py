"""Accuracy on public splits by the accepted protocol; resumable, one JSON line a run in results/accuracy.jsonl.

Every model is fitted on all of training (of which some sessions calibrate `tuned`) and tested once, by a replay of the
test sessions: lists as they are served, nothing excluded. Epochs and options were chosen on the last part of training
(`--validate` repeats that: it fits on nine tenths and measures the last one). A run that is in the file is not run
again; fitted models stay in --work, and those that are there are compared at the end, question by question
(results/verdicts.jsonl).

    python benchmarks/accuracy.py --data ../shared/data [--dataset yoochoose1_64 …] [--model official …]
    python benchmarks/accuracy.py --validate --dataset diginetica --model tuned
    python benchmarks/accuracy.py [--device cuda] --precision bf16 …
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import time

from baselines import MIN_HISTORY, NAMES, baseline, sessions
from common import RESULTS, commit, machine, recorded

import stamp
from stamp import offline

# What differs from the preset, for all splits and for one. The authors too set their options per data set. Their batches
# hold prefixes of one length, so most are far smaller than 512: some 4,600 steps an epoch on Yoochoose 1/64 where
# shuffled batches of 512 make 720. Batches of 128 come to the same (docs/model.md).
PRESETS = {
    "paper": {  # not chosen on validation: those of `official`, near enough, and no dropout, as the paper has none
        "": {"batch_size": 128, "learning_rate": 0.003, "schedule": "linear", "epochs": 8},
        "diginetica": {"epochs": 5, "batch_size": 256},
    },
    "official": {
        "": {"batch_size": 128, "learning_rate": 0.003, "schedule": "linear"},
        "yoochoose1_64": {"epochs": 7},
        "yoochoose_week": {"epochs": 7},  # as 1/64, not chosen anew
        "diginetica": {"epochs": 5, "batch_size": 256, "max_norm": 1.5},
        "retailrocket": {"epochs": 12, "dropout": 0.6},
    },
    "tuned": {"": {}},
}
METRICS = ("hr", "mrr", "ndcg", "coverage", "gini", "popularity", "tail_share", "novelty")
LENGTHS = (5, 10, 20)
ZONE = offline.Zone(name="all", k=max(LENGTHS))


def options_of(dataset: str, preset: str, epochs: int | None) -> dict:
    settings = PRESETS[preset]
    given = {**settings[""], **settings.get(dataset, {})} | ({"epochs": epochs} if epochs else {})
    return given | {"min_history": MIN_HISTORY[dataset]}


def fitted(dataset: str, model: str, train: stamp.Sessions, options: dict, seed: int, device: str, precision: str,
           checkpoint: pathlib.Path, validation: float | None = None):  # fmt: skip
    if model in NAMES:
        return baseline(model, dataset).fit(train)
    recommender = stamp.StampRecommender(preset=model, seed=seed, device=device, precision=precision, **options)
    recommender.fit(train, validation=validation, checkpoint=checkpoint)
    if recommender.report_["stopped"] != "finished":
        raise SystemExit(f"{dataset} {model}: {recommender.report_['stopped']}; run again to continue")
    return recommender


def described(dataset: str, model: str, seed: int, device: str, precision: str) -> dict:
    command = f"python benchmarks/accuracy.py --dataset {dataset} --model '{model}' --seed {seed}"
    return {"dataset": dataset, "model": model, "seed": seed, "commit": commit(), **machine(device), "precision": precision,
            "command": command + ("" if device == "cpu" else f" --device {device}")
            + ("" if (device, precision) == ("cpu", "fp32") else f" --precision {precision}"),
            "isa": stamp.cpu_isa(), "threads": stamp.num_threads()}  # fmt: skip


def trained_as(recommender, options: dict) -> dict:
    report = getattr(recommender, "report_", None)
    return {} if report is None else {"options": options, "best_epoch": report["best_epoch"], "fit_seconds": report["seconds"],
                                      "examples_per_second": report["examples_per_second"]}  # fmt: skip


def test(key: tuple, data: pathlib.Path, work: pathlib.Path, epochs: int | None) -> dict:
    dataset, model, seed, device, precision = key
    train = sessions(data, dataset, "train")
    options = {} if model in NAMES else options_of(dataset, model, epochs)
    start = time.time()
    path = bundle_of(work, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    recommender = fitted(dataset, model, train, options, seed, device, precision, path.with_suffix(".checkpoint"))
    seconds = time.time() - start
    found = replayed({model: recommender}, dataset, data)
    at = {str(k): {name: found.aggregate(name, name=model, zone=ZONE.name, k=k) for name in METRICS} for k in LENGTHS}
    recommender.save(path)
    listed = found.lists[model, ZONE.name]
    return described(*key) | {
        "metrics": at, "examples": len(found.questions[ZONE.name]), "fit_seconds": seconds,
        "request_ms": 1e3 * float(sorted(listed.latency)[len(listed.latency) // 2]), "short": listed.faults["short"],
    } | trained_as(recommender, options)  # fmt: skip


def validate(key: tuple, data: pathlib.Path, work: pathlib.Path, epochs: int | None) -> dict:
    dataset, model, seed, device, precision = key
    options = options_of(dataset, model, epochs) | {"monitor": "hr@20"}
    path = bundle_of(work, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    recommender = fitted(dataset, model, sessions(data, dataset, "train"), options, seed, device, precision,
                         path.with_suffix(".validation"), validation=0.1)  # fmt: skip
    return described(*key) | trained_as(recommender, options) | {
        "validation": [epoch["validation"]["at"]["20"] for epoch in recommender.report_["epochs"]]
    }  # fmt: skip


def replayed(recommenders: dict, dataset: str, data: pathlib.Path) -> offline.Replay:
    return offline.replay(
        recommenders,
        sessions(data, dataset, "test"),
        zones=ZONE,
        train=sessions(data, dataset, "train"),
        min_history=MIN_HISTORY[dataset],
    )


def compare(dataset: str, baseline: str, keys: list[tuple], data: pathlib.Path, work: pathlib.Path) -> dict:
    """All models of a split beside one of them, paired."""
    recommenders = {key[1]: stamp.load(bundle_of(work, key), device="cpu") for key in keys}
    comparison = offline.compare(
        replayed(recommenders, dataset, data), baseline=baseline, metrics=("hr@20", "mrr@20"), resamples=4000
    )
    return {"dataset": dataset, "commit": commit(), **comparison.to_dict()}


def bundle_of(work: pathlib.Path, key: tuple) -> pathlib.Path:
    dataset, model, seed, device, precision = key
    name = f"{model.replace(', ', '-').replace(' ', '-')}-{seed}" + (
        "" if (device, precision) == ("cpu", "fp32") else f"-{device.replace(':', '-')}-{precision}"
    )
    return work / dataset / name


def key_of(result: dict) -> tuple:
    return (result["dataset"], result["model"], result["seed"], result["device"], result["precision"])


def append(name: str, result: dict) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(result) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("STAMP_DATA", "../shared/data"))
    parser.add_argument("--dataset", nargs="+", choices=MIN_HISTORY, default=list(MIN_HISTORY))
    parser.add_argument("--model", nargs="+", choices=[*NAMES, *PRESETS], default=[*NAMES, *reversed(PRESETS)])
    parser.add_argument("--seed", type=int, nargs="+", default=[42])
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/accuracy"), help="for fitted models")
    parser.add_argument("--epochs", type=int, help="instead of those chosen, for a rehearsal")
    parser.add_argument("--validate", action="store_true", help="measure on the last tenth of training, not on test")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", choices=["fp32", "tf32", "bf16"], help="fp32 on a CPU, bf16 on CUDA")
    args = parser.parse_args()
    name, step = ("validation", validate) if args.validate else ("accuracy", test)
    done = {key_of(result) for result in recorded(name)}
    for precision in args.precision or ["fp32" if args.device == "cpu" else "bf16"]:
        for model in args.model:
            for dataset in args.dataset:
                for seed in args.seed:
                    key = (dataset, model, seed, args.device, precision)
                    if key in done or (args.validate and model in NAMES):
                        continue
                    result = step(key, args.data, args.work, args.epochs)
                    append(name, result)
                    print(json.dumps({k: result[k] for k in ("dataset", "model", "metrics", "validation") if k in result}),
                          flush=True)  # fmt: skip
    for dataset in () if args.validate or args.device != "cpu" else args.dataset:
        keys = [(dataset, model, args.seed[0], "cpu", "fp32") for model in [*NAMES, *PRESETS]]
        there = [key for key in keys if bundle_of(args.work, key).exists()]
        others = {model for _, model, *_ in there} - {"tuned"}
        compared = [
            {row["recommender"] for row in found["rows"]}
            for found in recorded("verdicts")
            if found["dataset"] == dataset
        ]
        if others and len(others) < len(there) and others not in compared:
            append("verdicts", compare(dataset, "tuned", there, args.data, args.work))


if __name__ == "__main__":
    main()
