"""The bootstrap on plain arrays: resampled sums, intervals, p-values, and Holm's correction.

The *units* that are resampled are what is independent: visitors where they are known, else sessions. A mean over
questions is a ratio of sums over units, so that sums and counts per unit are all that a resample needs.
"""

from __future__ import annotations

import math

import numpy as np

from ...base.checks import whole_number

FEW_UNITS = 50  # of which percentile intervals are too narrow
_MEMORY = 64 << 20  # bytes of the weights of resamples at once


def resampled_sums(values: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Sums of `values` over bootstrap resamples of the units: U units are drawn of U with replacement.

    All columns of one call share their resamples, so differences and ratios of columns are paired. A seed gives the
    same resamples whatever the columns are. Memory is bounded: 64 MiB of weights and a row of sums for each resample.

    Parameters
    ----------
    values : array [U, M]
        One row per unit. For a mean over questions: a column of sums and one of counts.
    resamples : int
        R, 1 or more.
    seed : int
        0 or more.

    Returns
    -------
    array [R, M] of float64

    Raises
    ------
    ValueError
        An option is out of its range, or there are no units.

    Notes
    -----
    Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 6; resampling whole clusters of dependent
    values: Davison and Hinkley, *Bootstrap Methods and their Application* (1997), section 3.8.

    Examples
    --------
    >>> import numpy as np
    >>> from stamp.offline.verdicts.bootstrap import resampled_sums
    >>> resampled_sums(np.ones((5, 2)), resamples=3, seed=0)
    array([[5., 5.],
           [5., 5.],
           [5., 5.]])
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"resampled_sums: values have shape {values.shape}, expected [units, columns], 1 unit or more")
    whole_number("resampled_sums: resamples", resamples, least=1)
    whole_number("resampled_sums: seed", seed, least=0)
    units = len(values)
    random = np.random.default_rng(seed)
    sums = np.empty((resamples, values.shape[1]))
    rows = max(1, min(resamples, _MEMORY // (8 * units)))
    weights = np.empty((rows, units))
    for first in range(0, resamples, rows):
        last = min(first + rows, resamples)
        for r in range(last - first):
            weights[r] = np.bincount(random.integers(0, units, units), minlength=units)
        np.matmul(weights[: last - first], values, out=sums[first:last])
    return sums


def percentile_interval(resampled: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) [M] of statistics [R, M], or of one [R]: the percentile interval.

    Efron and Tibshirani (1993), section 13.3. NaN where the statistic is NaN in any resample.
    """
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail], axis=0)
    return low, high


def two_sided_p(resampled: np.ndarray) -> np.ndarray:
    """p [M] of "the difference is 0", from differences [R, M], or of one [R]: the percentile interval, inverted.

    Twice the share of resamples on the rarer side of 0, ``2 · (1 + count) / (1 + R)``, at most 1: below
    1 − confidence where the percentile interval leaves 0 out, up to the added one, which keeps p above 0 (Davison and
    Hinkley 1997, section 4.2; Phipson and Smyth 2010, "Permutation P-values should never be zero"). Zeros count on both
    sides. NaN where a difference is.
    """
    n = len(resampled)
    count = np.minimum((resampled <= 0).sum(axis=0), (resampled >= 0).sum(axis=0))
    p = np.minimum(1.0, 2 * (1 + count) / (1 + n))
    return np.where(np.isnan(resampled).any(axis=0), np.nan, p)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values [M] corrected for all M being looked at: the chance of *any* false difference stays below the level.

    Holm (1979), "A simple sequentially rejective multiple test procedure": the i-th smallest times M − i + 1, running
    maximum, at most 1. NaN stays, and is no comparison.

    Examples
    --------
    >>> from stamp.offline.verdicts.bootstrap import holm
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, np.float64)
    corrected = np.full(p.shape, np.nan)
    there = np.flatnonzero(~np.isnan(p))
    order = there[np.argsort(p[there], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return corrected


def least_resamples(comparisons: int, confidence: float) -> int:
    """The fewest resamples with which one of so many comparisons can come out below 1 − confidence after Holm."""
    return math.floor(round(2 * comparisons / (1 - confidence), 6))  # 2 M / (1 + R) < 1 - confidence
