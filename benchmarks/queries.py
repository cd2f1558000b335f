"""What a trained model is asked and scored by, for peers that take finished vectors."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np


def bundle_and_histories(bundle: pathlib.Path, histories: pathlib.Path):
    """A bundle of one model, and histories to ask it by: rows of its catalog, a line a history."""
    from stamp import _stamp

    lines = histories.read_text().splitlines()
    return (_stamp.load_bundle(os.fspath(bundle), _stamp.open_device("cpu", "auto")),
            [np.array(line.split(), np.int32) for line in lines])  # fmt: skip


def items_of(model) -> np.ndarray:
    """The item table as it is scored: rows of length 1 where the score is the cosine."""
    rows = model.weights()["items"]
    if json.loads(model.config())["score"] == "dot":
        return rows
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)


def queries_of(model, histories: list[np.ndarray]) -> np.ndarray:
    """What the model scores products by after each history [n,D], as docs/model.md has it: the library gives lists alone."""
    config, w = json.loads(model.config()), model.weights()
    if config["normalization"] != "none":
        raise ValueError(f"queries_of: normalization is {config['normalization']!r}, expected 'none'")
    nothing = np.zeros(config["dim"], np.float32)

    def query(history: np.ndarray) -> np.ndarray:
        x = w["items"][history]
        if config["max_norm"] > 0:
            x = x * np.minimum(1, config["max_norm"] / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30))
        anchor, mean = x[-1], x.mean(axis=0)
        gate = x @ w["attention.w1"].T + anchor @ w["attention.w2"].T + mean @ w["attention.w3"].T
        a = (1 / (1 + np.exp(-(gate + w.get("attention.bias", nothing))))) @ w["attention.w0"]
        memory = a @ x + {"none": nothing, "mean": mean, "anchor": anchor}[config["residual"]]
        h_s, h_t = (np.tanh(cell @ w[f"mlp_{name}.weight"].T + w.get(f"mlp_{name}.bias", nothing))
                    for name, cell in (("session", memory), ("anchor", anchor)))  # fmt: skip
        q = h_s * h_t
        return q if config["score"] == "dot" else config["scale"] * q / max(np.linalg.norm(q), 1e-30)

    return np.stack([query(history) for history in histories]).astype(np.float32)
