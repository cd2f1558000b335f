"""Metrics of what was relevant: the next event, the rest of the session, and what they are worth.

Each gives a value per question and list length, float64 [n,len(ks)], NaN where it does not apply. `kind` is an event
type.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .parts import Part, up_to


def _ranks(part: Part) -> np.ndarray:
    return np.arange(1, part.rows.shape[1] + 1)


def _of_kind(part: Part, values: np.ndarray, kind: str | None) -> np.ndarray:
    """NaN where the next event is of another type."""
    return values if kind is None else np.where(part.is_kind(kind)[:, None], values, np.nan)


def hr(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    return _of_kind(part, up_to(part.hits(), ks), kind)


def mrr(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    return _of_kind(part, up_to(part.hits() / _ranks(part), ks), kind)


def ndcg(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    return _of_kind(part, up_to(part.hits() / np.log2(_ranks(part) + 1), ks), kind)


def _where_any(values: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
    """NaN where nothing is relevant."""
    return np.where(n_relevant[:, None] > 0, values, np.nan)


def precision(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    return _where_any(up_to(part.relevant(kind), ks) / np.asarray(ks), part.n_relevant(kind))


def recall(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    n = part.n_relevant(kind)
    return _where_any(up_to(part.relevant(kind), ks) / np.maximum(1, n)[:, None], n)


def average_precision(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    relevant, n = part.relevant(kind), part.n_relevant(kind)
    at_hits = relevant * np.cumsum(relevant, axis=1) / _ranks(part)
    best = np.minimum(np.asarray(ks), np.maximum(1, n)[:, None])
    return _where_any(up_to(at_hits, ks) / best, n)


def revenue(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    return up_to(part.worth(), ks)


def weighted_hits(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    """Hits times the weight of the target, over the mean weight of the zone's targets: the mean is the metric."""
    weights = part.facts.sessions._core.weights
    mean = weights[part.facts.recording.questions[part.zone].event].mean(dtype=np.float64)
    return up_to(part.hits() * (weights[part.event] / mean)[:, None], ks)
