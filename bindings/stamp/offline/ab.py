"""A/B arithmetic: the lift of an arm with intervals, how long a test must run, whether its visitors were split as planned.

Visitors are what a test assigns to arms, so everything here counts visitors: a rate whose denominator is something else
(clicks per impression) is a ratio of two sums over visitors, and its variance is worked out over visitors. Intervals and
tests are two-sided, of a number of visitors that was fixed before the test began: looking every day and stopping at
the first small p-value finds differences that are not there.

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

from ..columns import Ids, read_columns

_NORMAL = NormalDist()
_CELLS = 1 << 22  # of a block of resamples: 32 MiB


def _plain(value: Any) -> Any:
    """As JSON can hold it: None for NaN."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


class _Result:
    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON can hold them: None where a value cannot be had."""
        return _plain(dataclasses.asdict(self))  # type: ignore[call-overload]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm: its visitors, the metric, and the standard deviation of the metric over visitors.

    The standard error of `value` is ``sd / sqrt(visitors)``; `value` and `sd` are what :func:`sample_size` takes for the
    next test. For a ratio `sd` is that of the linearised metric (see :func:`ratio`).
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
class Effect(_Result):
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
            ("relative", _percent(r.value), f"{level}: {_percent(r.low)} to {_percent(r.high)}"),
        ]
        first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
        lines = [f"{row[0]:{first}}  {row[1]:>{second}}  {row[2]}" for row in rows]
        lines.append(f"p = {self.p:.3g} ({self.test}): {self.verdict}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign},.{5 if abs(value) < 100 else 2}f}"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:+.1f} %"


def _effect(
    metric: str, test: str, control: Arm, treatment: Arm, confidence: float, critical: float, p: float, notes: list[str]
) -> Effect:
    """Intervals of ± `critical` standard errors; of the lift by the delta method (Deng et al. 2018, section 2):
    var(t/c) ≈ var(t) / c² + t² var(c) / c⁴."""
    c, t = control, treatment
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
        Counts are a tuple of two whole numbers. Rows are an array [visitors], or a table that :meth:`Sessions.from_frame`
        could read, with the column `converted`; above 0 is a conversion.
    visitor : str, optional
        Column of visitors, where the table has several rows of one: then any row of them decides.
    confidence : float
        Of the intervals.

    Returns
    -------
    Effect
        p is the z test's with the pooled share, ``z = (t − c) / sqrt(s (1 − s) (1/n_c + 1/n_t))``; intervals are Wald's,
        unpooled, as no difference of 0 is assumed there. The two may disagree at the edge; the verdict is p's.

    Raises
    ------
    ValueError
        An arm without visitors, more conversions than visitors, a negative, broken or missing number.

    References
    ----------
    Deng, Knoblich and Lu, "Applying the Delta Method in Metric Analytics: A Practical Guide with Novel Ideas", KDD 2018.
    """
    _check_share("proportions", "confidence", confidence)
    counts = []
    for name, data in (("control", control), ("treatment", treatment)):
        if isinstance(data, tuple):
            counts.append(_counts("proportions", name, data))
        else:
            (values,) = _visitor_rows("proportions", name, data, (converted,), visitor)
            counts.append((int(np.count_nonzero(values > 0)), len(values)))
    (x_c, n_c), (x_t, n_t) = counts
    share = (x_c + x_t) / (n_c + n_t)
    pooled = math.sqrt(share * (1 - share) * (1 / n_c + 1 / n_t))
    z = (x_t / n_t - x_c / n_c) / pooled if pooled > 0 else math.nan
    few = min(x_c, n_c - x_c, x_t, n_t - x_t)
    notes = [f"only {few} visitors of an arm did, or did not: the normal approximation is poor below 10"] if few < 10 else []
    arms = [Arm(visitors=n, value=x / n, sd=math.sqrt(x / n * (1 - x / n))) for x, n in counts]
    return _effect(
        "conversion", "z test", *arms, confidence, _NORMAL.inv_cdf((1 + confidence) / 2), _two_sided(z), notes
    )  # fmt: skip


def ratio(*, control: Any, treatment: Any, numerator: str = "clicks", denominator: str = "impressions",
          visitor: str | None = None, confidence: float = 0.95) -> Effect:  # fmt: skip
    """Compare ratios of two sums over visitors: clicks per impression (click-through rate), revenue per order.

    Impressions of one visitor are alike, so that counting each as one independent trial makes intervals too narrow. With
    x and y the sums of each of n visitors and r = Σx/Σy, the delta method has
    ``var(r) ≈ (var(x) − 2 r cov(x, y) + r² var(y)) / (n mean(y)²)``, the variance of the mean of the linearised metric
    (x − r y) / mean(y) (Deng et al. 2018, section 3).

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
        Fewer than two visitors or no denominator in an arm, a missing or negative number, columns that differ in length.
    """
    _check_share("ratio", "confidence", confidence)
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
    z = _standardised(*arms)
    return _effect(
        f"{numerator}/{denominator}", "z test, delta method", *arms, confidence,
        _NORMAL.inv_cdf((1 + confidence) / 2), _two_sided(z), [],
    )  # fmt: skip


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
    _check_share("means", "confidence", confidence)
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
    p = _student_two_sided(_standardised(c, t), freedom)
    critical = _student_critical(confidence, freedom)
    effect = _effect(f"{value} per visitor", "Welch's t test", c, t, confidence, critical, p, [])
    if interval == "welch":
        return effect
    means_c, means_t = (_resampled_means(x, resamples, generator) for x, generator in zip(rows, _generators(seed)))
    ends = [50 * (1 - confidence), 50 * (1 + confidence)]
    relative = effect.relative
    if c.value > 0 and means_c.min() > 0:
        relative = _between(relative.value, np.percentile(means_t / means_c - 1, ends))
    elif c.value > 0:
        relative = dataclasses.replace(relative, low=math.nan, high=math.nan)
    return dataclasses.replace(
        effect, difference=_between(effect.difference.value, np.percentile(means_t - means_c, ends)), relative=relative
    )


def _between(value: float, ends: np.ndarray) -> Interval:
    return Interval(value=value, low=float(ends[0]), high=float(ends[1]))


def _generators(seed: int) -> Iterator[np.random.Generator]:
    """One for each arm, independent of each other."""
    return map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))


def _resampled_means(x: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Means [resamples] of len(x) draws with replacement. Drawing how often each distinct value comes is the same, and far
    less where most visitors bought nothing."""
    values, counts = np.unique(x, return_counts=True)
    block = max(1, _CELLS // len(values))
    drawn = [
        generator.multinomial(len(x), counts / len(x), size=min(block, resamples - first)) @ values
        for first in range(0, resamples, block)
    ]
    return np.concatenate(drawn) / len(x)


@dataclass(frozen=True, kw_only=True, repr=False)
class SampleSize(_Result):
    """How many visitors show a lift. `control`, `treatment`: visitors of each arm; `value`, `sd`: of the control."""

    control: int
    treatment: int
    value: float
    sd: float
    lift: float
    power: float
    alpha: float

    @property
    def visitors(self) -> int:
        """Of both arms."""
        return self.control + self.treatment

    def __repr__(self) -> str:
        return (
            f"{self.control:,} visitors in control and {self.treatment:,} in treatment show a lift of "
            f"{_percent(self.lift)} on {self.value:.5g} with power {self.power:g} at alpha {self.alpha:g}"
        )


def sample_size(*, lift: float, baseline: float | None = None, mean: float | None = None, sd: float | None = None,
                power: float = 0.8, alpha: float = 0.05, ratio: float = 1.0) -> SampleSize:  # fmt: skip
    """Visitors that a two-sided test needs to show a lift.

    Parameters
    ----------
    lift : float
        The smallest relative change worth finding: 0.05 is 5 % more, −0.05 less.
    baseline : float
        Of a share of visitors (:func:`proportions`): the control's.
    mean, sd : float
        Of anything else, in place of `baseline`: the control's, over visitors; of an earlier :class:`Arm` say.
    power : float
        The chance that a true lift is shown.
    alpha : float
        The chance that one is shown where there is none.
    ratio : float
        Visitors in treatment for each in control.

    Returns
    -------
    SampleSize
        With z_a = Φ⁻¹(1 − alpha/2), z_b = Φ⁻¹(power) and d = lift × value, n_c is for shares
        ``(z_a sqrt(s (1 − s) (1 + 1/ratio)) + z_b sqrt(c (1 − c) + t (1 − t) / ratio))² / d²`` with t = c + d and s the
        pooled share (Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions", 2003, section 4.2, without
        the correction for continuity), and for means ``(z_a + z_b)² sd² (1 + 1/ratio) / d²``, the same spread in both arms.

    Raises
    ------
    ValueError
        Neither `baseline` nor `mean` and `sd`, a lift of 0 or to a share outside 0 … 1, options out of range.

    Examples
    --------
    >>> sample_size(baseline=0.03, lift=0.05)
    207,938 visitors in control and 207,938 in treatment show a lift of +5.0 % on 0.03 with power 0.8 at alpha 0.05
    """
    plan = _Plan("sample_size", baseline, mean, sd, power, alpha, ratio)
    if not (math.isfinite(lift) and lift != 0):
        raise ValueError(f"sample_size: lift is {lift}, expected a relative change like 0.05, not 0")
    if plan.is_share and not 0 <= plan.value * (1 + lift) <= 1:
        raise ValueError(f"sample_size: a lift of {lift} on {plan.value} is a share of {plan.value * (1 + lift):g}, not in 0 … 1")
    return plan.size(math.ceil(plan.visitors(lift) * (1 - 1e-12)), lift)


def detectable_lift(*, visitors: int, baseline: float | None = None, mean: float | None = None, sd: float | None = None,
                    power: float = 0.8, alpha: float = 0.05, ratio: float = 1.0) -> SampleSize:  # fmt: skip
    """The smallest lift that so many visitors in control show (the minimum detectable effect): :func:`sample_size`'s
    inverse, with the same options.

    Raises
    ------
    ValueError
        As :func:`sample_size`; and visitors below 2, or too few for any lift of a share.

    Examples
    --------
    >>> round(detectable_lift(visitors=207_938, baseline=0.03).lift, 4)
    0.05
    """
    plan = _Plan("detectable_lift", baseline, mean, sd, power, alpha, ratio)
    if not visitors >= 2 or visitors != int(visitors):
        raise ValueError(f"detectable_lift: visitors is {visitors}, expected a whole number of 2 or more")
    if not plan.is_share:
        return plan.size(visitors, plan.z * plan.sd * math.sqrt((1 + 1 / ratio) / visitors) / plan.value)
    low, high = 0.0, 1 / plan.value - 1  # visitors() falls from one to the other: sqrt(s (1 − s)) is concave
    if plan.visitors(high) > visitors:
        raise ValueError(f"detectable_lift: {visitors} visitors show no lift of {plan.value} at all; "
                         f"{math.ceil(plan.visitors(high))} are the fewest that show one")  # fmt: skip
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if plan.visitors(middle) <= visitors else (middle, high)
    return plan.size(visitors, high)


class _Plan:
    """The options that planning shares."""

    def __init__(self, call: str, baseline: float | None, mean: float | None, sd: float | None, power: float,
                 alpha: float, ratio: float):  # fmt: skip
        if (baseline is None) == (mean is None) or (mean is None) != (sd is None):
            raise ValueError(
                f"{call}: baseline is {baseline}, mean {mean}, sd {sd}; expected baseline of a share, or mean and sd"
            )
        _check_share(call, "power", power)
        _check_share(call, "alpha", alpha)
        if power <= alpha:
            raise ValueError(f"{call}: power is {power}, expected more than alpha, {alpha}")
        if not (math.isfinite(ratio) and ratio > 0):
            raise ValueError(f"{call}: ratio is {ratio}, expected visitors in treatment for each in control, above 0")
        self.power, self.alpha, self.ratio, self.is_share = power, alpha, ratio, baseline is not None
        if baseline is not None:
            _check_share(call, "baseline", baseline)
            self.value, self.sd = float(baseline), math.sqrt(baseline * (1 - baseline))
        elif mean is not None and sd is not None:
            if not (math.isfinite(mean) and mean > 0 and math.isfinite(sd) and sd > 0):
                raise ValueError(f"{call}: mean is {mean}, sd {sd}; expected both above 0")
            self.value, self.sd = float(mean), float(sd)
        self.z_alpha, self.z_power = _NORMAL.inv_cdf(1 - alpha / 2), _NORMAL.inv_cdf(power)
        self.z = self.z_alpha + self.z_power

    def visitors(self, lift: float) -> float:
        """In control."""
        c, d, k = self.value, lift * self.value, self.ratio
        if not self.is_share:
            return (self.z * self.sd / d) ** 2 * (1 + 1 / k)
        t = min(1.0, c + d)
        s = (c + k * t) / (1 + k)
        under_none = self.z_alpha * math.sqrt(s * (1 - s) * (1 + 1 / k))
        return ((under_none + self.z_power * math.sqrt(c * (1 - c) + t * (1 - t) / k)) / d) ** 2

    def size(self, visitors: int, lift: float) -> SampleSize:
        return SampleSize(
            control=int(visitors),
            treatment=math.ceil(visitors * self.ratio * (1 - 1e-12)),
            value=self.value,
            sd=self.sd,
            lift=lift,
            power=self.power,
            alpha=self.alpha,
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Duration(_Result):
    """How long a test takes: `days`, and `weeks`, the whole ones to run it for, as the days of a week differ."""

    days: int
    weeks: int
    visitors_per_day: float
    size: SampleSize

    def __repr__(self) -> str:
        weeks = f"{self.weeks} whole week{'s' if self.weeks != 1 else ''}"
        return f"{self.days:,} days with {self.visitors_per_day:,.5g} new visitors a day: run it for {weeks}\n{self.size}"


def duration(size: SampleSize, *, visitors_per_day: float, share: float = 1.0) -> Duration:
    """How long a test of this size takes.

    Parameters
    ----------
    size : SampleSize
        Of :func:`sample_size`.
    visitors_per_day : float
        That come for the first time since the test began; one who returns is counted once.
    share : float
        Of them, that take part in the test.

    Raises
    ------
    ValueError
        visitors_per_day not above 0, or share not in 0 … 1.

    Examples
    --------
    >>> duration(sample_size(baseline=0.03, lift=0.05), visitors_per_day=20_000).weeks
    3
    """
    if not (math.isfinite(visitors_per_day) and visitors_per_day > 0):
        raise ValueError(f"duration: visitors_per_day is {visitors_per_day}, expected a number above 0")
    if not 0 < share <= 1:
        raise ValueError(f"duration: share is {share}, expected above 0, at most 1")
    days = math.ceil(size.visitors / (visitors_per_day * share))
    return Duration(days=days, weeks=math.ceil(days / 7), visitors_per_day=visitors_per_day, size=size)


@dataclass(frozen=True, kw_only=True, repr=False)
class SampleRatio(_Result):
    """Whether visitors were split as planned. `share`, `expected`: of the treatment."""

    control: int
    treatment: int
    share: float
    expected: float
    chi_square: float
    p: float
    alpha: float

    @property
    def mismatch(self) -> bool:
        return self.p < self.alpha

    def __repr__(self) -> str:
        verdict = (
            "mismatch: something loses or adds visitors of one arm; trust no result before it is found"
            if self.mismatch
            else "as planned"
        )
        return (
            f"{self.control:,} visitors in control, {self.treatment:,} in treatment: {100 * self.share:.3f} % where "
            f"{100 * self.expected:.3f} % were planned\np = {self.p:.3g} (chi-square {self.chi_square:.3f}): {verdict}"
        )


def sample_ratio(control: int, treatment: int, *, expected: float = 0.5, alpha: float = 0.001) -> SampleRatio:
    """Check that the visitors of the arms were split as planned, before any metric is looked at.

    Parameters
    ----------
    control, treatment : int
        Visitors.
    expected : float
        The share of visitors meant for the treatment.
    alpha : float
        Below it p is a mismatch; small, since every test is checked and a mismatch voids it.

    Returns
    -------
    SampleRatio
        p of the chi-square test with one degree of freedom.

    Raises
    ------
    ValueError
        A count that is negative or broken, no visitors at all, expected or alpha not between 0 and 1.

    References
    ----------
    Fabijan et al., "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments", KDD 2019.

    Examples
    --------
    >>> sample_ratio(50_000, 49_200).mismatch
    False
    >>> sample_ratio(50_000, 48_000).mismatch
    True
    """
    for name, visitors in (("control", control), ("treatment", treatment)):
        _whole("sample_ratio", name, visitors)
    _check_share("sample_ratio", "expected", expected)
    _check_share("sample_ratio", "alpha", alpha)
    n = control + treatment
    if n == 0:
        raise ValueError("sample_ratio: there are no visitors in either arm")
    chi_square = (treatment - n * expected) ** 2 / (n * expected * (1 - expected))
    return SampleRatio(
        control=int(control),
        treatment=int(treatment),
        share=treatment / n,
        expected=expected,
        chi_square=chi_square,
        p=math.erfc(math.sqrt(chi_square / 2)),
        alpha=alpha,
    )


def _check_share(call: str, name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{call}: {name} is {value}, expected between 0 and 1")


def _whole(call: str, name: str, count: Any) -> int:
    try:
        if count >= 0 and count == int(count):
            return int(count)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{call}: {name} is {count!r}, expected a whole number of 0 or more")


def _counts(call: str, arm: str, data: tuple[Any, ...]) -> tuple[int, int]:
    if len(data) != 2:
        raise ValueError(f"{call}: {arm} is {data!r}, expected (conversions, visitors)")
    conversions, visitors = _whole(call, f"{arm}'s conversions", data[0]), _whole(call, f"{arm}'s visitors", data[1])
    if visitors == 0:
        raise ValueError(f"{call}: {arm} has no visitors")
    if conversions > visitors:
        raise ValueError(f"{call}: {arm} has {conversions} conversions of {visitors} visitors; count each visitor once")
    return conversions, visitors


def _require_two(call: str, arm: str, values: np.ndarray) -> None:
    if len(values) < 2:
        raise ValueError(f"{call}: {arm} has one visitor, whose spread nobody knows; expected 2 or more")


def _visitor_rows(call: str, arm: str, data: Any, names: tuple[str, ...], visitor: str | None) -> list[np.ndarray]:
    """Columns [visitors] of finite floats, one for each name."""
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
    arrays = [_floats(f"{call}: {arm}: {name}", column) for name, column in zip(names, columns)]
    if len({len(array) for array in arrays}) > 1:
        raise ValueError(f"{call}: {arm} has {' and '.join(str(len(a)) for a in arrays)} values, expected one of each a visitor")
    if not len(arrays[0]):
        raise ValueError(f"{call}: {arm} has no visitors")
    if visitor is None:
        return arrays
    _, code = np.unique(Ids(f"{call}: {arm}: {visitor}", table[visitor]).numbers(), return_inverse=True)
    return [np.bincount(code, weights=array) for array in arrays]


def _floats(what: str, column: Any) -> np.ndarray:
    try:
        values = np.asarray(column, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is not numeric: {error}") from None
    if values.ndim != 1:
        raise ValueError(f"{what} has the shape {values.shape}, expected one value a visitor")
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{what} has {values[row]} in row {row}, expected a number; a visitor without one is a 0")
    return values


def _standardised(control: Arm, treatment: Arm) -> float:
    """The difference in standard errors; NaN where there is no spread."""
    se = math.sqrt(control._variance + treatment._variance)
    return (treatment.value - control.value) / se if se > 0 else math.nan


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


def _student_two_sided(t: float, freedom: float) -> float:
    """P(|T| > |t|) = I_x(freedom / 2, 1/2) at x = freedom / (freedom + t²) (Abramowitz and Stegun 26.5.27)."""
    if math.isnan(t) or math.isnan(freedom):
        return math.nan
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t), t * t / (freedom + t * t))


def _student_critical(confidence: float, freedom: float) -> float:
    """t with P(|T| > t) = 1 − confidence, by bisection; 0 where there is no spread."""
    if math.isnan(freedom):
        return 0.0
    low, high = 0.0, 1.0
    while _student_two_sided(high, freedom) > 1 - confidence:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _student_two_sided(middle, freedom) > 1 - confidence else (low, middle)
    return high


def _incomplete_beta(a: float, b: float, x: float, y: float) -> float:
    """Regularised I_x(a, b), y = 1 − x, by its continued fraction (Abramowitz and Stegun 26.5.8, by Lentz's method)."""
    if x <= 0 or y <= 0:
        return float(x > 0)
    if x > (a + 1) / (a + b + 2):  # where the fraction of the other tail converges fast
        return 1 - _incomplete_beta(b, a, y, x)
    log_x, log_y = (math.log(u) if u < 0.5 else math.log1p(-v) for u, v in ((x, y), (y, x)))
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * log_x + b * log_y) / a
    tiny = 1e-300
    value, c, d = 1.0, math.inf, 1.0
    for i in range(1, 10_000):
        m = i // 2
        if i % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / (1 + term * d or tiny)
        c = 1 + term / c or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value
