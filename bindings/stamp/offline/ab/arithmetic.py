"""The three comparisons of two arms: shares of visitors, ratios of sums over visitors, means over visitors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...base.checks import whole_number
from .arguments import check_share
from .distributions import normal_critical, normal_two_sided, t_critical, t_two_sided
from .effects import Arm, Effect, Interval, effect_of
from .reading import counts_of, require_two, visitor_rows

_CELLS = 1 << 22  # of a block of resamples: 32 MiB


def proportions(*, control: Any, treatment: Any, converted: str = "converted", visitor: str | None = None,
                confidence: float = 0.95) -> Effect:  # fmt: skip
    """Compare the shares of visitors that did something: conversion.

    Parameters
    ----------
    control, treatment : (conversions, visitors), or visitor rows
        Counts are a tuple of two whole numbers. Rows are an array [visitors], or a table of any kind that
        :meth:`Sessions.from_frame` reads, with the column `converted`: 1 where the visitor did, else 0.
    visitor : str, optional
        Column of visitors, where the table has several rows of one: then any of them above 0 is a conversion.
    confidence : float
        Of the intervals.

    Returns
    -------
    Effect
        p is the z test's with the pooled share, ``z = (t − c) / sqrt(s (1 − s) (1/n_c + 1/n_t))``; intervals are
        Wald's, unpooled, as no difference of 0 is assumed there. At the edge they may disagree; the verdict is p's.

    Raises
    ------
    ValueError
        An arm without visitors, more conversions than visitors, a negative, broken or missing number, or a row above 1
        that is a visitor's only one.

    References
    ----------
    Deng, Knoblich and Lu, "Applying the Delta Method in Metric Analytics: A Practical Guide with Novel Ideas",
    KDD 2018.
    """
    check_share("proportions", "confidence", confidence)
    counts = []
    for name, data in (("control", control), ("treatment", treatment)):
        if isinstance(data, tuple):
            counts.append(counts_of("proportions", name, data))
        else:
            (values,) = visitor_rows("proportions", name, data, (converted,), visitor, least=0)
            if visitor is None and values.max() > 1:  # two counts, maybe
                raise ValueError(
                    f"proportions: {name} has {values.max():g} for a visitor, expected 0 or 1 in rows; counts are a "
                    "tuple (conversions, visitors)"
                )
            counts.append((int(np.count_nonzero(values > 0)), len(values)))
    (x_c, n_c), (x_t, n_t) = counts
    share = (x_c + x_t) / (n_c + n_t)
    pooled = math.sqrt(share * (1 - share) * (1 / n_c + 1 / n_t))
    z = (x_t / n_t - x_c / n_c) / pooled if pooled > 0 else math.nan
    few = min(x_c, n_c - x_c, x_t, n_t - x_t)
    notes = []
    if few < 10:
        notes = [f"only {few} visitors of an arm did, or did not: the normal approximation is poor below 10"]
    arms = [Arm(visitors=n, value=x / n, sd=math.sqrt(x / n * (1 - x / n))) for x, n in counts]
    critical = normal_critical(confidence)
    return effect_of("conversion", "z test", arms, confidence, critical, normal_two_sided(z), notes)


def ratio(*, control: Any, treatment: Any, numerator: str = "clicks", denominator: str = "impressions",
          visitor: str | None = None, confidence: float = 0.95) -> Effect:  # fmt: skip
    """Compare ratios of two sums over visitors: clicks per impression (click-through rate), revenue per order.

    Impressions of one visitor are alike, so that counting each as an independent trial makes intervals too narrow. With
    x and y the sums of each of n visitors and r = Σx/Σy, the delta method has
    ``var(r) ≈ (var(x) − 2 r cov(x, y) + r² var(y)) / (n mean(y)²)``, the variance of the mean of the linearised metric
    (x − r y) / mean(y) (Deng et al. 2018, section 3; the reference is at :func:`proportions`).

    Parameters
    ----------
    control, treatment : visitor rows
        A table with both columns, or a tuple of two arrays [visitors]: numerators, denominators.
    numerator, denominator : str
        Columns; the denominator is 0 or more, and not 0 for all.
    visitor : str, optional
        Column of visitors, where the table has several rows of one: their rows are summed.
    confidence : float
        Of the intervals.

    Returns
    -------
    Effect
        p is that of the z test on the difference.

    Raises
    ------
    ValueError
        Fewer than two visitors in an arm, a denominator of 0 or below, a missing number, columns that differ in length.
    """
    check_share("ratio", "confidence", confidence)
    arms = []
    for name, data in (("control", control), ("treatment", treatment)):
        x, y = visitor_rows("ratio", name, data, (numerator, denominator), visitor)
        if y.min() < 0:
            raise ValueError(f"ratio: {name}: {denominator} is {y.min():g} for a visitor, expected 0 or more")
        if not y.sum() > 0:
            raise ValueError(f"ratio: {name}: {denominator} is 0 for all visitors")
        require_two("ratio", name, x)
        r = float(x.sum() / y.sum())
        arms.append(Arm(visitors=len(x), value=r, sd=float(np.std((x - r * y) / y.mean(), ddof=1))))
    critical, p = normal_critical(confidence), normal_two_sided(_standardised(*arms))
    return effect_of(f"{numerator}/{denominator}", "z test, delta method", arms, confidence, critical, p, [])


def means(*, control: Any, treatment: Any, value: str = "revenue", visitor: str | None = None, confidence: float = 0.95,
          interval: str = "welch", resamples: int = 2000, seed: int = 0) -> Effect:  # fmt: skip
    """Compare means over visitors: revenue per visitor, visitors who bought nothing included.

    Parameters
    ----------
    control, treatment : visitor rows
        An array [visitors], or a table with the column `value`.
    visitor : str, optional
        Column of visitors, where the table has several rows of one: their rows are summed.
    confidence : float
        Of the intervals.
    interval : {"welch", "bootstrap"}
        Where intervals come from: Student's t with Welch's degrees of freedom (of the lift: the delta method), or
        percentiles of means of resampled visitors, for few visitors or a few of great value.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    Effect
        p is Welch's in both cases.

    Raises
    ------
    ValueError
        Fewer than two visitors in an arm, a missing number, an unknown `interval`, resamples < 1.

    References
    ----------
    Welch, "The generalization of 'Student's' problem when several different population variances are involved",
    Biometrika 1947. Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentiles).
    """
    check_share("means", "confidence", confidence)
    if interval not in ("welch", "bootstrap"):
        raise ValueError(f"means: interval is {interval!r}, expected 'welch' or 'bootstrap'")
    whole_number("means: resamples", resamples, least=1)
    rows, arms = [], []
    for name, data in (("control", control), ("treatment", treatment)):
        (x,) = visitor_rows("means", name, data, (value,), visitor)
        require_two("means", name, x)
        rows.append(x)
        arms.append(Arm(visitors=len(x), value=float(x.mean()), sd=float(x.std(ddof=1))))
    c, t = arms
    spread = c.variance**2 / (c.visitors - 1) + t.variance**2 / (t.visitors - 1)
    freedom = (c.variance + t.variance) ** 2 / spread if spread > 0 else math.nan
    p = t_two_sided(_standardised(c, t), freedom)
    critical = t_critical(confidence, freedom)
    effect = effect_of(f"{value} per visitor", "Welch's t test", arms, confidence, critical, p, [])
    if interval == "welch":
        return effect
    means_c, means_t = (_resampled_means(x, resamples, generator) for x, generator in zip(rows, _generators(seed)))
    ends = [50 * (1 - confidence), 50 * (1 + confidence)]
    relative, notes = effect.relative, effect.notes
    if c.value > 0 and means_c.min() > 0:
        relative = _between(relative.value, np.percentile(means_t / means_c - 1, ends))
    elif c.value > 0:
        relative = dataclasses.replace(relative, low=math.nan, high=math.nan)
        notes = (*notes, "resampled means of the control reach 0: there is no interval of the lift")
    difference = _between(effect.difference.value, np.percentile(means_t - means_c, ends))
    return dataclasses.replace(effect, difference=difference, relative=relative, notes=notes)


def _between(value: float, ends: np.ndarray) -> Interval:
    return Interval(value=value, low=float(ends[0]), high=float(ends[1]))


def _generators(seed: int) -> Iterator[np.random.Generator]:
    """One for each arm, independent of each other."""
    return map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))


def _resampled_means(x: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Means [resamples] of len(x) draws with replacement: of how often each distinct value comes, which is far less to
    draw where most visitors bought nothing."""
    values, counts = np.unique(x, return_counts=True)
    block = max(1, _CELLS // len(values))
    drawn = [
        generator.multinomial(len(x), counts / len(x), size=min(block, resamples - first)) @ values
        for first in range(0, resamples, block)
    ]
    return np.concatenate(drawn) / len(x)


def _standardised(control: Arm, treatment: Arm) -> float:
    """The difference in standard errors; NaN where there is no spread."""
    se = math.sqrt(control.variance + treatment.variance)
    return (treatment.value - control.value) / se if se > 0 else math.nan
