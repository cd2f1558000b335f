"""Metrics of what is listed, whatever was relevant: popular or rare, alike or different, new or seen.

Those of a list give a value per question and list length, float64 [n,len(ks)], NaN for an empty list. Those of a set of
lists, rows [n,k] and whose they are [n], give one number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..recordings.sets import pieces
from .facts import Facts
from .parts import Part, up_to

FRESH = 7 * 86_400_000_000  # microseconds for which a product is new


def _mean_of_listed(part: Part, values: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """Mean of values [n,K] over the products that are listed."""
    return _ratio(up_to(np.where(part.listed, values, 0), ks), up_to(part.listed, ks))


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


# Of a list.


def popularity(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    clicks = part.facts.clicks
    return _mean_of_listed(part, part.gather(clicks) / max(1, clicks.max(initial=0)), ks)


def tail_share(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    return _mean_of_listed(part, part.gather(part.facts.tail), ks)


def novelty(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    return _mean_of_listed(part, part.gather(part.facts.information), ks)


def serendipity(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    relevant, place = part.relevant(), part.gather(part.facts.place)
    return np.stack([(relevant & (place >= k))[:, :k].sum(axis=1) / k for k in ks], axis=1)


def repeat_rate(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    return _mean_of_listed(part, part.seen(), ks)


def freshness(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    """NaN where training does not reach back so far: all that it knows would be new."""
    facts = part.facts
    since = facts.sessions._core.timestamps[part.event] - FRESH
    values = _mean_of_listed(part, part.gather(facts.first_seen) > since[:, None], ks)
    return np.where((since >= facts.training_begins)[:, None], values, np.nan)


def ild_attributes(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    sums, counts = np.zeros((len(part), len(ks))), np.zeros((len(part), len(ks)))
    for values in part.facts.attributes.values():
        distance = _ratio(*_pair_distances(part.gather(values), part.listed, _range(values), ks))
        sums += np.nan_to_num(distance)
        counts += ~np.isnan(distance)
    return _ratio(sums, counts)


def _range(values: np.ndarray) -> float:
    """Of numbers; 0 of codes."""
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values[:0]
    return float(known.max() - known.min()) if len(known) else 0.0


def _pair_distances(
    values: np.ndarray, listed: np.ndarray, span: float, ks: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Summed distances of the pairs of the first k of values [n,K] that are both known, and how many those are."""
    is_number = values.dtype.kind == "f"
    known = listed & (~np.isnan(values) if is_number else values >= 0)
    sums, pairs = np.zeros(values.shape), np.zeros(values.shape)
    for j in range(1, values.shape[1]):  # each product beside those before it
        both = known[:, :j] & known[:, j : j + 1]
        if is_number:
            difference = np.abs(values[:, :j].astype(np.float64) - values[:, j : j + 1])
            sums[:, j] = np.where(both, difference, 0).sum(axis=1) / (span or 1.0)
        else:
            sums[:, j] = (both & (values[:, :j] != values[:, j : j + 1])).sum(axis=1)
        pairs[:, j] = both.sum(axis=1)
    return up_to(sums, ks), up_to(pairs, ks)


def ild_embeddings(part: Part, ks: Sequence[int], kind: str | None) -> np.ndarray:
    """Of directions u the cosines of all pairs sum to (|Σu|² - n) / 2; |Σu|² grows by 2 u·Σu + 1 with each."""
    directions = part.facts.directions
    has_one = (directions != 0).sum(axis=1) > 0
    total = np.zeros((len(part), directions.shape[1]))
    cosines, known = np.zeros(part.rows.shape), part.listed & part.gather(has_one)
    for j in range(part.rows.shape[1]):
        u = np.where(known[:, j : j + 1], directions[part.rows[:, j]], 0)
        cosines[:, j] = np.einsum("nd,nd->n", u, total)
        total += u
    n = up_to(known, ks)
    pairs = n * (n - 1) / 2
    return _ratio(pairs - up_to(cosines, ks), pairs)


# Of a set of lists.


def coverage(facts: Facts, rows: np.ndarray, unit: np.ndarray) -> float:
    return float(np.count_nonzero(_exposure(facts, rows)) / facts.recording.V) if facts.recording.V else np.nan


def tail_coverage(facts: Facts, rows: np.ndarray, unit: np.ndarray) -> float:
    tail = facts.tail
    return float(np.count_nonzero(_exposure(facts, rows)[tail]) / tail.sum()) if tail.any() else np.nan


def gini(facts: Facts, rows: np.ndarray, unit: np.ndarray) -> float:
    listed = np.sort(_exposure(facts, rows))
    V, total = len(listed), listed.sum()
    return float((2 * np.arange(1, V + 1) - V - 1) @ listed / (V * total)) if total else np.nan


def personalisation(facts: Facts, rows: np.ndarray, unit: np.ndarray) -> float:
    """A product on c lists is common to c (c - 1) / 2 pairs of them: no pair need be looked at. Pairs of one visitor
    are taken off again."""
    sizes = np.unique(unit, return_counts=True)[1]
    pairs = int(_pairs(np.array(len(rows))) - _pairs(sizes).sum())
    common = _pairs(_exposure(facts, rows)).sum()
    order, visitor = np.argsort(unit, kind="stable"), np.repeat(np.arange(len(sizes)), sizes)
    for first, last in _whole_visitors(np.cumsum(sizes), rows.shape[1]):
        of_these = rows[order[first:last]]
        keys = (visitor[first:last, None] * facts.recording.V + of_these)[of_these >= 0]
        common -= _pairs(np.unique(keys, return_counts=True)[1]).sum()
    return float(1 - common / rows.shape[1] / pairs) if pairs else np.nan


def _whole_visitors(ends: np.ndarray, k: int) -> Iterator[tuple[int, int]]:
    """Pieces of lists, in order of visitors, that end where a visitor's lists do."""
    first = 0
    for _, last in pieces(int(ends[-1]) if len(ends) else 0, k):
        whole = int(ends[np.searchsorted(ends, last)])
        if whole > first:
            yield first, whole
        first = whole


def _pairs(n: np.ndarray) -> np.ndarray:
    return n * (n - 1) // 2


def _exposure(facts: Facts, rows: np.ndarray) -> np.ndarray:
    """On how many lists each product is: int64 [V]."""
    counts = np.zeros(facts.recording.V, np.int64)
    for first, last in pieces(*rows.shape):
        some = rows[first:last]
        counts += np.bincount(some[some >= 0], minlength=facts.recording.V)
    return counts


# Of two sets of lists for the same questions.


def churn(a: np.ndarray, b: np.ndarray) -> float:
    """1 - mean over questions of the share of the longer list that both have; rows [n,k] hold a product once."""
    if not len(a):
        return np.nan
    overlap = np.zeros(len(a))
    for column in _columns(b):
        overlap += ((a == column) & (a >= 0)).any(axis=1)
    longer = np.maximum((a >= 0).sum(axis=1), (b >= 0).sum(axis=1))
    return float(1 - np.divide(overlap, longer, out=np.ones(len(a)), where=longer > 0).mean())


def _columns(rows: np.ndarray) -> Iterator[np.ndarray]:
    for j in range(rows.shape[1]):
        yield rows[:, j : j + 1]
