"""What a treatment changes: arms, intervals, a p-value and what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .results import Result, percent


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
    def variance(self) -> float:
        """Of `value`: its squared standard error."""
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


def effect_of(
    metric: str, test: str, arms: list[Arm], confidence: float, critical: float, p: float, notes: list[str]
) -> Effect:
    """Intervals of ± `critical` standard errors; of the lift by the delta method (Deng et al. 2018, section 2):
    var(t/c) ≈ var(t) / c² + t² var(c) / c⁴."""
    c, t = arms
    difference = t.value - c.value
    half = critical * math.sqrt(c.variance + t.variance)
    relative = Interval(value=math.nan, low=math.nan, high=math.nan)
    if c.value > 0:
        lift = t.value / c.value - 1
        se = math.sqrt(t.variance / c.value**2 + t.value**2 * c.variance / c.value**4)
        relative = Interval(value=lift, low=lift - critical * se, high=lift + critical * se)
        if c.value < 5 * math.sqrt(c.variance):
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
