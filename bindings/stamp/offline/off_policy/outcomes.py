"""Models of rewards: what each product earns at each slot, learnt from the log."""

from __future__ import annotations

import numpy as np

from .choices import Choices
from .exposures import ExposureLog

FOLDS = 5  # of units: nobody's row is predicted by a model that has seen it


def fitted_outcomes(log: ExposureLog, choices: Choices, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Expected rewards [N] of what was shown, and of what a policy with these choices shows.

    The model of a slot is the mean reward of each product there, drawn towards the mean of the slot by how much
    products differ: (n ȳ + m y) / (n + m), with m = within / between, the variances within and between products by the
    analysis of variance (Bühlmann and Straub, "Glaubwürdigkeit für Schadensätze", 1970; Searle, *Linear Models*, 1971).
    Units are dealt into folds, and each fold is predicted by the others (Chernozhukov et al.,
    "Double/debiased machine learning", Econometrics Journal 2018).
    """
    units = np.unique(log.unit)
    fold_of = np.empty(int(units.max()) + 1, np.int64)
    fold_of[units] = np.random.default_rng(seed).permutation(len(units)) % FOLDS
    fold = fold_of[log.unit]
    shown, expected = np.zeros(len(log)), np.zeros(len(log))
    slots, slot = np.unique(log.slot, return_inverse=True)
    V, entry_row = len(log.catalog), choices.row
    for each in range(len(slots)):
        rows = np.flatnonzero(slot == each)
        table = _means(log.item[rows], log.reward[rows], fold[rows], V)
        shown[rows] = table[fold[rows], log.item[rows]]
        entries = np.flatnonzero(slot[entry_row] == each)
        row = entry_row[entries]
        values = choices.probabilities[entries] * table[fold[row], choices.items[entries]]
        expected += np.bincount(row, weights=values, minlength=len(log))
    return shown, expected


def _means(item: np.ndarray, reward: np.ndarray, fold: np.ndarray, V: int) -> np.ndarray:
    """[FOLDS,V+1]: of each product by the rows of all other folds; the last, which -1 finds, of unknown products."""
    cell = fold * V + item
    parts = [np.bincount(cell, weights=w, minlength=FOLDS * V).reshape(FOLDS, V) for w in (None, reward, reward**2)]
    n, total, squares = (part.sum(axis=0) - part for part in parts)
    rows, sums = n.sum(axis=1, keepdims=True), total.sum(axis=1, keepdims=True)
    mean = sums / np.maximum(rows, 1)
    own = np.divide(total, n, out=np.broadcast_to(mean, n.shape).copy(), where=n > 0)
    products = (n > 0).sum(axis=1, keepdims=True)
    within = (squares - n * own**2).sum(axis=1, keepdims=True) / np.maximum(rows - products, 1)
    spread = (n * (own - mean) ** 2).sum(axis=1, keepdims=True) - (products - 1) * within
    size = rows - (n**2).sum(axis=1, keepdims=True) / np.maximum(rows, 1)
    between = np.maximum(spread / np.maximum(size, 1), 0.0)
    # (n ȳ + m y) / (n + m) with m = within / between, without dividing by 0.
    weight = np.divide(n * between, n * between + within, out=np.zeros(n.shape), where=n * between + within > 0)
    return np.concatenate((weight * own + (1 - weight) * mean, mean), axis=1)
