"""Saved models and bundles of a few products, for what reads them: models with random weights, and a small shop."""

import json

import numpy as np

from stamp import _stamp

CPU = _stamp.open_device("cpu", "auto")


def model_of(products, seed, preset="official", **options):
    config = json.loads(_stamp.presets(preset)[0])
    config.update(dim=8, item_std=0.6, weight_std=0.5, seed=seed, **options)
    model = _stamp.Model(json.dumps(config), products, CPU)
    if config["repeat_floors"]:
        floors = np.random.default_rng(seed).normal(0, 1.5, (10, config["repeat_floors"])).astype(np.float32)
        model.set_weights({**model.weights(), "repeat.floors": floors})
    return model


def bundle_of(ids, clusters, *, counts=None, attributes=(), route_by=(), rules=None):
    """`clusters`: (id, rows, model)."""
    catalog = _stamp.Catalog("integers" if isinstance(ids[0], int) else "strings")
    if isinstance(ids[0], int):
        catalog.add_integers(ids)
    else:
        offsets = np.cumsum([0, *(len(i.encode()) for i in ids)])
        catalog.add_strings("".join(ids).encode(), offsets)
    train = _stamp.presets("official")[1]
    described = [
        (id, rows, model, train, f"{json.loads(model.config())['seed']:016x}", "{}") for id, rows, model in clusters
    ]  # a fingerprint for each seed
    counts = [0] * len(ids) if counts is None else counts
    return _stamp.Bundle(catalog, counts, list(attributes), described, list(route_by), json.dumps(rules or {}))


# A small shop: cluster 7 knows a0 to a3, cluster 3 knows b0 to b2, no model knows x0 to x3.
IDS = ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "x0", "x1", "x2", "x3"]
CATEGORIES = ["A", "A", "A", "A", "B", "B", "B", "A", "X", "X", None]
ITEMS = {"item_id": IDS, "category": CATEGORIES, "available": [1.0] * 9 + [0.0, 1.0]}
RULES = {
    "build": [{"rule": "only_available"}],
    "zones": {
        "home": {},
        "cart": {"k": 2, "history": 1, "rules": [{"rule": "exclude_seen"}]},
        "b": {"rules": [{"rule": "only_values", "attribute": "category", "values": ["B"]}]},
    },
}


def save_model(path, ids, seed, counts):
    _stamp.save_bundle(str(path), bundle_of(ids, [(0, range(len(ids)), model_of(len(ids), seed))], counts=counts))
    return path


def same(one, other):
    """Whether two answers are equal, to the bit."""
    return (one.ids.tolist(), one.scores.tobytes(), one.path, one.cluster, one.unknown, one.reason) == (
        other.ids.tolist(), other.scores.tobytes(), other.path, other.cluster, other.unknown, other.reason
    )  # fmt: skip


def files_of(folder):
    """The bytes of every file below, by its path there."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
