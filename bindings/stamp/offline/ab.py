"""A/B arithmetic: an arm's lift with intervals, how long a test must run, whether visitors were split as planned.

Visitors are what a test assigns to arms, so everything here counts visitors: a rate whose denominator is something
else (clicks per impression) is a ratio of two sums over visitors, and so is its variance. Intervals and tests are
two-sided, of a number of visitors that was fixed before the test began: looking every day and stopping at the first
small p-value finds differences that are not there.

>>> from stamp.offline import ab
>>> ab.proportions(control=(300, 10_000), treatment=(360, 10_000))
conversion   control  treatment
visitors      10,000  10,000
value        0.03000  0.03600
difference  +0.00600  95 %: +0.00105 to +0.01095
relative     +20.0 %  95 %: +1.9 % to +38.1 %
p = 0.0175 (z test): higher
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from ..data.ids import Ids
from ..data.reading import read_columns
from .planning import (
    Duration,
    Result,
    SampleRatio,
    SampleSize,
    check_share,
    detectable_lift,
    duration,
    percent,
    sample_ratio,
    sample_size,
    whole,
)
from .student import normal_two_sided, t_critical, t_two_sided

__all__ = [
    "Arm",
    "Duration",
    "Effect",
    "Interval",
    "SampleRatio",
    "SampleSize",
    "detectable_lift",
    "duration",
    "means",
    "proportions",
    "ratio",
    "sample_ratio",
    "sample_size",
]

_NORMAL = NormalDist()
_CELLS = 1 << 22  # of a block of resamples: 32 MiB


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm: its visitors, the metric, and the standard deviation of the metric over visitors.

    The standard error of `value` is ``sd / sqrt(visitors)``; `value` and `sd` are the `mean` and `sd` that
    :func:`sample_size` takes for the next test. For a ratio `sd` is that of the linearised metric (see :func:`ratio`).
    """

    visitors: int
    value: float
    sd: float

    @property
    def _variance(self) -> float:
        """Of `value`."""
        return self.sd**2 / self.visitors


@dataclass(frozen=True, kw_only=True)
class Interval:
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Effect(Result):
    """What the treatment changes.

    Attributes
    ----------
    metric, test : str
        What was measured, and what `p` comes from.
    control, treatment : Arm
    difference : Interval
        treatment − control.
    relative : Interval
        treatment / control − 1, the lift; NaN where the control's value is not above 0.
    p : float
        Two-sided; NaN where no visitor differs from another.
    confidence : float
        Of both intervals.
    notes : tuple of str
        Where the numbers are not to be relied on.
    """

    metric: str
    control: Arm
    treatment: Arm
    difference: Interval
    relative: Interval
    p: float
    test: str
    confidence: float
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """ "higher" or "lower" (of the treatment) where p is below 1 − confidence, else "no difference shown"."""
        if not self.p < 1 - self.confidence:
            return "no difference shown"
        return "higher" if self.difference.value > 0 else "lower"

    def __repr__(self) -> str:
        d, r, level = self.difference, self.relative, f"{100 * self.confidence:.4g} %"
        rows = [
            (self.metric, "control", "treatment"),
            ("visitors", f"{self.control.visitors:,}", f"{self.treatment.visitors:,}"),
            ("value", _number(self.control.value), _number(self.treatment.value)),
            ("difference", _number(d.value, "+"), f"{level}: {_number(d.low, '+')} to {_number(d.high, '+')}"),
            ("relative", percent(r.value), f"{level}: {percent(r.low)} to {percent(r.high)}"),
        ]
        first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
        lines = [f"{row[0]:{first}}  {row[1]:>{second}}  {row[2]}" for row in rows]
        lines.append(f"p = {self.p:.3g} ({self.test}): {self.verdict}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign},.{5 if abs(value) < 100 else 2}f}"


def _effect(
    metric: str, test: str, arms: list[Arm], confidence: float, critical: float, p: float, notes: list[str]
) -> Effect:
    """Intervals of ± `critical` standard errors; of the lift by the delta method (Deng et al. 2018, section 2):
    var(t/c) ≈ var(t) / c² + t² var(c) / c⁴."""
    c, t = arms
    difference = t.value - c.value
    half = critical * math.sqrt(c._variance + t._variance)
    relative = Interval(value=math.nan, low=math.nan, high=math.nan)
    if c.value > 0:
        lift = t.value / c.value - 1
        se = math.sqrt(t._variance / c.value**2 + t.value**2 * c._variance / c.value**4)
        relative = Interval(value=lift, low=lift - critical * se, high=lift + critical * se)
        if c.value < 5 * math.sqrt(c._variance):
            notes = [*notes, "the control's value is within 5 standard errors of 0: trust no interval of the lift"]
    else:
        notes = [*notes, "the control's value is not above 0: there is no lift to speak of"]
    if math.isnan(p):
        notes = [*notes, "no visitor differs from another: there is nothing to test"]
    return Effect(
        metric=metric,
        control=c,
        treatment=t,
        difference=Interval(value=difference, low=difference - half, high=difference + half),
        relative=relative,
        p=p,
        test=test,
        confidence=confidence,
        notes=tuple(notes),
    )


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
            counts.append(_counts("proportions", name, data))
        else:
            (values,) = _visitor_rows("proportions", name, data, (converted,), visitor, least=0)
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
    critical = _NORMAL.inv_cdf((1 + confidence) / 2)
    return _effect("conversion", "z test", arms, confidence, critical, normal_two_sided(z), notes)


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
        x, y = _visitor_rows("ratio", name, data, (numerator, denominator), visitor)
        if y.min() < 0:
            raise ValueError(f"ratio: {name}: {denominator} is {y.min():g} for a visitor, expected 0 or more")
        if not y.sum() > 0:
            raise ValueError(f"ratio: {name}: {denominator} is 0 for all visitors")
        _require_two("ratio", name, x)
        r = float(x.sum() / y.sum())
        arms.append(Arm(visitors=len(x), value=r, sd=float(np.std((x - r * y) / y.mean(), ddof=1))))
    critical, p = _NORMAL.inv_cdf((1 + confidence) / 2), normal_two_sided(_standardised(*arms))
    return _effect(f"{numerator}/{denominator}", "z test, delta method", arms, confidence, critical, p, [])


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
    if resamples < 1:
        raise ValueError(f"means: resamples is {resamples}, expected 1 or more")
    rows, arms = [], []
    for name, data in (("control", control), ("treatment", treatment)):
        (x,) = _visitor_rows("means", name, data, (value,), visitor)
        _require_two("means", name, x)
        rows.append(x)
        arms.append(Arm(visitors=len(x), value=float(x.mean()), sd=float(x.std(ddof=1))))
    c, t = arms
    spread = c._variance**2 / (c.visitors - 1) + t._variance**2 / (t.visitors - 1)
    freedom = (c._variance + t._variance) ** 2 / spread if spread > 0 else math.nan
    p = t_two_sided(_standardised(c, t), freedom)
    critical = t_critical(confidence, freedom)
    effect = _effect(f"{value} per visitor", "Welch's t test", arms, confidence, critical, p, [])
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


def _counts(call: str, arm: str, data: tuple[Any, ...]) -> tuple[int, int]:
    if len(data) != 2:
        raise ValueError(f"{call}: {arm} is {data!r}, expected (conversions, visitors)")
    conversions, visitors = whole(call, f"{arm}'s conversions", data[0]), whole(call, f"{arm}'s visitors", data[1])
    if visitors == 0:
        raise ValueError(f"{call}: {arm} has no visitors")
    if conversions > visitors:
        raise ValueError(f"{call}: {arm} has {conversions} conversions of {visitors} visitors; count each visitor once")
    return conversions, visitors


def _require_two(call: str, arm: str, values: np.ndarray) -> None:
    if len(values) < 2:
        raise ValueError(f"{call}: {arm} has one visitor, whose spread nobody knows; expected 2 or more")


def _visitor_rows(
    call: str, arm: str, data: Any, names: tuple[str, ...], visitor: str | None, *, least: float = -math.inf
) -> list[np.ndarray]:
    """Columns [visitors] of finite floats, one for each name; of rows of `least` or more."""
    if isinstance(data, (Mapping, str, os.PathLike)) or hasattr(data, "columns"):
        table = read_columns(data)
        wanted = [*names, visitor] if visitor is not None else [*names]
        for name in wanted:
            if name not in table:
                raise ValueError(f"{call}: {arm} has no column '{name}' among {', '.join(table) or 'none'}")
        columns = [table[name] for name in names]
    elif visitor is not None:
        raise ValueError(f"{call}: {arm} is {type(data).__name__}, expected a table, as visitor is '{visitor}'")
    else:
        columns = [data] if len(names) == 1 else data
        if len(columns) != len(names):
            raise ValueError(f"{call}: {arm} has {len(columns)} arrays, expected {' and '.join(names)}")
    arrays = [_floats(f"{call}: {arm}: {name}", column, least) for name, column in zip(names, columns)]
    if len({len(array) for array in arrays}) > 1:
        lengths = " and ".join(str(len(array)) for array in arrays)
        raise ValueError(f"{call}: {arm} has {lengths} values, expected one of each a visitor")
    if not len(arrays[0]):
        raise ValueError(f"{call}: {arm} has no visitors")
    if visitor is None:
        return arrays
    _, code = np.unique(Ids(f"{call}: {arm}: {visitor}", table[visitor]).numbers(), return_inverse=True)
    return [np.bincount(code, weights=array) for array in arrays]


def _floats(what: str, column: Any, least: float) -> np.ndarray:
    try:
        values = np.asarray(column, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is not numeric: {error}") from None
    if values.ndim != 1:
        raise ValueError(f"{what} has the shape {values.shape}, expected one value a visitor")
    wrong = ~np.isfinite(values) | (values < least)
    if wrong.any():
        row = int(np.argmax(wrong))
        of = f" of {least:g} or more" if least > -math.inf else ""
        raise ValueError(f"{what} has {values[row]} in row {row}, expected a number{of}; a visitor without one is a 0")
    return values


def _standardised(control: Arm, treatment: Arm) -> float:
    """The difference in standard errors; NaN where there is no spread."""
    se = math.sqrt(control._variance + treatment._variance)
    return (treatment.value - control.value) / se if se > 0 else math.nan
