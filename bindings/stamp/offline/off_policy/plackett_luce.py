"""Plackett-Luce exploration: how lists are drawn, and how likely each product is at each slot.

Logits are scores / strength. A list takes slot by slot one of the candidates that are left, i with probability
exp(l_i) / Σ exp(l_j) over these (Plackett, "The Analysis of Permutations", Applied Statistics 1975). NaN is a pin: it
stands where it stands among the first k, with probability 1. -inf is no candidate. The server draws the same way
(docs/server.md).
"""

from __future__ import annotations

import math

import numpy as np

_HEAD, _TAIL = 14.0, 4.0  # of the integral that is left out is less than exp(-2 · 14), exp(-exp(4))
_GAP = 40.0  # between neighbours in score: exp(-40) is never, whatever lies beyond
_MEMORY = 4 << 20  # bytes at once: what caches hold


def draw(logits: np.ndarray, k: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Lists [R,k] of candidates' places, -1 after the end, and the propensity of each slot given those before it [R,k].

    Drawn at once by sorting logits + Gumbel noise [R,M].
    """
    noisy = logits + generator.gumbel(size=logits.shape)
    ranked = np.argsort(np.where(np.isnan(logits), -np.inf, -noisy), axis=1, kind="stable")  # pins come first
    pinned, R = _pins(logits, k), len(logits)
    places = np.full((R, k), -1)
    places[:, : pinned.shape[1]] = np.where(pinned, np.arange(pinned.shape[1]), -1)
    rank = np.isnan(logits).sum(axis=1)[:, None] + np.cumsum(~pinned, axis=1) - 1  # of the open slots
    is_there = ~pinned & (rank < np.isnan(logits).sum(axis=1)[:, None] + np.isfinite(logits).sum(axis=1)[:, None])
    slots = np.nonzero(is_there)
    places[slots] = ranked[slots[0], rank[slots]]
    return places, given_those_before(logits, places)


def given_those_before(logits: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Propensities [R,k] of lists `places` [R,k], each slot's given those before it."""
    left = np.where(np.isnan(logits), -np.inf, logits)
    propensities = np.zeros(places.shape)
    every = np.arange(len(places))
    for slot in range(places.shape[1]):
        place = places[:, slot]
        one = left[every, place]
        top = left.max(axis=1)
        top = np.where(np.isfinite(top), top, 0.0)
        chance = np.exp(one - top) / np.maximum(np.exp(left - top[:, None]).sum(axis=1), np.finfo(float).tiny)
        chance = np.where(np.isnan(logits[every, place]), 1.0, chance)
        propensities[:, slot] = np.where(place < 0, 0.0, chance)
        left[every[place >= 0], place[place >= 0]] = -np.inf
    return propensities


def slot_probabilities(logits: np.ndarray, k: int) -> np.ndarray:
    """How likely each of the candidates stands at each slot, whatever stands before it: [R,M,k].

    These are the marginal propensities. There is no closed form beyond the first slot, but an integral over one
    variable: Plackett-Luce is the order in which exponential clocks of rates w = exp(l) ring (Luce, *Individual Choice
    Behavior*, 1959; Yellott, "The relationship between Luce's choice axiom, Thurstone's theory …", J. Math. Psychology
    1977), so that

        P(i is j-th) = ∫ w_i exp(-w_i t) · P(j - 1 of the others have rung by t) dt,

    the second factor a Poisson-binomial with chances 1 - exp(-w t). Over ln t the trapezoidal rule converges
    geometrically: relative errors are below 1e-9. Work is of the order of 100 · M · k² for each request.
    """
    R, M = logits.shape
    out = np.zeros((R, M, k))
    pinned = _pins(logits, k)
    rank = np.cumsum(~pinned, axis=1) - 1
    ranks = _rank_probabilities(np.where(np.isnan(logits), -np.inf, logits), k)
    for slot in range(min(k, M)):
        of_rank = np.take_along_axis(ranks, np.maximum(rank[:, slot], 0)[:, None, None], axis=2)[:, :, 0]
        out[:, :, slot] = np.where(pinned[:, slot, None], np.arange(M) == slot, of_rank)
    return out


def _pins(logits: np.ndarray, k: int) -> np.ndarray:
    """bool [R, min(k, M)]"""
    return np.isnan(logits[:, :k])


def _rank_probabilities(logits: np.ndarray, k: int) -> np.ndarray:
    """[R,M,k], without pins."""
    R, M = logits.shape
    out = np.zeros((R, M, k))
    level = _levelled(logits)
    out[:, :, 0] = np.exp(level) / np.maximum(np.exp(level).sum(axis=1, keepdims=True), np.finfo(float).tiny)
    deepest = min(k, M)
    if deepest < 2:
        return out
    # All that is of interest is over when the k best have rung.
    ordered = -np.sort(-level, axis=1)[:, :deepest]
    last = np.where(np.isfinite(ordered), ordered, np.inf).min(axis=1)
    begin = -np.log(np.maximum(np.exp(level).sum(axis=1), 1.0)) - _HEAD
    end = np.where(np.isfinite(last), -last, 0.0) + _TAIL
    by_length = np.argsort(end - begin, kind="stable")
    first = 0
    while first < R:
        # As many as fit, of about the same number of nodes: that of the last.
        some = by_length[
            first : first + max(1, _MEMORY // int(16 * (M + 1) * deepest * _nodes(end - begin, deepest).max()))
        ]
        first += len(some)
        nodes = int(_nodes((end - begin)[some], deepest).max())
        step = (end - begin)[some] / (nodes - 1)
        time = begin[some, None] + step[:, None] * np.arange(nodes)
        out[some, :, 1:deepest] = _integrals(level[some], time, step, deepest)
    return out


def _nodes(length: np.ndarray, k: int) -> np.ndarray:
    """Of the trapezoidal rule. The time of the k-th ring is as wide as 1 / sqrt(k), in its logarithm."""
    return np.ceil(length / min(0.25, 0.8 / math.sqrt(k))).astype(np.int64) + 1


def _integrals(level: np.ndarray, time: np.ndarray, step: np.ndarray, k: int) -> np.ndarray:
    """Of ranks 2 … k: [R,M,k-1]; level [R,M], time [R,n] (logarithms)."""
    M = level.shape[1]
    rate = np.minimum(level.T[:, :, None] + time, 50.0)  # [M,R,n]
    hazard = np.exp(rate)
    waits, rung = np.exp(-hazard), -np.expm1(-hazard)
    # Chances that c of the candidates before i, or after it, have rung: [k,M+1,R,n].
    before = np.zeros((k, M + 1, *time.shape))
    after = np.zeros_like(before)
    before[0, 0] = after[0, M] = 1
    for i in range(M):
        _ring(before[:, i], waits[i], rung[i], before[:, i + 1])
        _ring(after[:, M - i], waits[M - 1 - i], rung[M - 1 - i], after[:, M - 1 - i])
    density = np.exp(rate - hazard) * step[:, None]
    found = np.empty((level.shape[0], M, k - 1))
    for rank in range(1, k):
        others = sum(before[c, :-1] * after[rank - c, 1:] for c in range(rank + 1))
        found[:, :, rank - 1] = np.einsum("irn,irn->ri", density, others)
    return found


def _ring(counts: np.ndarray, waits: np.ndarray, rung: np.ndarray, out: np.ndarray) -> None:
    """The chances of counts [k,R,n] with one candidate more."""
    np.multiply(counts, waits, out=out)
    out[1:] += counts[:-1] * rung


def _levelled(logits: np.ndarray) -> np.ndarray:
    """The same for all practical purposes, the best at 0, and no gap so wide that numbers end."""
    order = np.argsort(-logits, axis=1, kind="stable")
    falling = np.take_along_axis(logits, order, axis=1)
    is_one = np.isfinite(falling)
    gaps = np.zeros(falling.shape)
    with np.errstate(invalid="ignore"):  # -inf less -inf
        gaps[:, 1:] = np.where(is_one[:, 1:], np.minimum(falling[:, :-1] - falling[:, 1:], _GAP), 0.0)
    level = np.empty(logits.shape)
    np.put_along_axis(level, order, np.where(is_one, -np.cumsum(gaps, axis=1), -np.inf), axis=1)
    return level
