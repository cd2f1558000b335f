"""How far two distributions over the same groups are apart."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence

import numpy as np

# What a smaller share counts as: PSI takes its logarithm. With it a group of 5 % that comes or goes is a PSI of 0.1, where
# the usual 0.0001 would have it warn of 2 %.
LEAST_SHARE = 0.005
OTHER = "(other)"
_OWN_SHARE = 0.002  # a group below it is one of the others: its share is noise, and its logarithm more so
_MOST_GROUPS = 90
# Events of a visitor hang together, so that shares of events vary more than of independent draws: the effective number
# of events is smaller by about this factor (Kish, Survey Sampling, 1965: the design effect; clicks of a visit stay in a
# category for most of its 5 to 10 events).
DESIGN_EFFECT = 8


def psi(usual: np.ndarray, found: np.ndarray) -> float:
    """Population stability index of two distributions [groups]: the sum of (found - usual) * ln(found / usual).

    Shares below :data:`LEAST_SHARE` count as that.
    """
    p, q = _shares(usual), _shares(found)
    p, q = np.maximum(p, LEAST_SHARE), np.maximum(q, LEAST_SHARE)
    return float(((q - p) * np.log(q / p)).sum())


def js_distance(usual: np.ndarray, found: np.ndarray) -> float:
    """Jensen-Shannon distance, to base 2: 0 where both are the same, 1 where they share no group (Lin, 1991)."""
    p, q = _shares(usual), _shares(found)
    middle = (p + q) / 2

    def divergence(a: np.ndarray) -> float:
        some = a > 0
        return float((a[some] * np.log2(a[some] / middle[some])).sum())

    return float(np.sqrt(max(0.0, (divergence(p) + divergence(q)) / 2)))


def psi_of_chance(groups: int, events: float) -> float:
    """The PSI that chance alone reaches once in a thousand days, of so many groups and events a day.

    Without drift, PSI is about chi-squared with groups - 1 degrees of freedom, times 1/n of the (effective) events
    (Yurdakul, Statistical Properties of Population Stability Index, 2018). By Wilson and Hilferty's approximation.
    """
    if groups < 2 or events <= 0:
        return 0.0
    degrees, normal = groups - 1, 3.09
    part = 2 / (9 * degrees)
    quantile = degrees * (1 - part + normal * part**0.5) ** 3
    return quantile * DESIGN_EFFECT / events


def usual_shares(days: Sequence[Mapping[str, int]], *, least: float = _OWN_SHARE) -> dict[str, float]:
    """Of each group of `least` or more, the median of its share of days; the rest is :data:`OTHER`.

    A median, not a sum, so that one broken day among four does not move what is usual.
    """
    shares: dict[str, list[float]] = {}
    totals = [total for day in days if (total := sum(day.values()))]
    for place, day in enumerate(each for each in days if sum(each.values())):
        for group, count in day.items():
            shares.setdefault(group, [0.0] * len(totals))[place] = count / totals[place]
    if not totals:
        return {}
    medians = {group: float(np.median(found)) for group, found in shares.items()}
    largest = sorted(medians, key=lambda group: (-medians[group], group))[:_MOST_GROUPS]
    named = {group: medians[group] for group in largest if medians[group] > least}
    rest = float(np.median(1 - np.sum([shares[group] for group in named], axis=0))) if named else 1.0
    named[OTHER] = rest if rest > 1e-9 else 0.0
    added = sum(named.values())  # medians need not add up to one
    return {group: share / added for group, share in named.items()}


def side_by_side(usual: Mapping[str, float], day: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Shares [groups] that are usual, and counts [groups] of a day, in the same order."""
    groups = list(usual)
    counts = [float(day.get(group, 0)) for group in groups if group != OTHER]
    return np.array([usual[group] for group in groups]), np.array([*counts, float(sum(day.values())) - sum(counts)])


def deciles(usual: Mapping[str, float]) -> list[int]:
    """Where bands, which are numbers in order, are cut into ten groups of about the same usual share."""
    bands = sorted((int(band), share) for band, share in usual.items() if band != OTHER and share > 0)
    total, below = sum(share for _, share in bands), 0.0
    cuts: list[int] = []
    for band, share in bands:
        below += share
        if below >= (len(cuts) + 1) * total / 10 - 1e-9 and len(cuts) < 9:
            cuts.append(band)
    return cuts


def in_deciles(counts: Mapping[str, float], cuts: Sequence[int]) -> dict[str, float]:
    """Counts or shares of bands, added up by group."""
    found = {str(group): 0.0 for group in range(len(cuts) + 1)}
    for band, count in counts.items():
        if band != OTHER:
            found[str(bisect.bisect_left(cuts, int(band)))] += count
    return found


def _shares(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts, float)
    return counts / counts.sum()
