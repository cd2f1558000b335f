"""Planning an A/B test: how many visitors show a lift, and how long they take."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .arguments import check_share
from .distributions import normal_critical, normal_quantile
from .results import Result, percent


@dataclass(frozen=True, kw_only=True, repr=False)
class SampleSize(Result):
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
            f"{percent(self.lift)} on {self.value:.5g} with power {self.power:g} at alpha {self.alpha:g}"
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
        pooled share (Fleiss, Levin and Paik, "Statistical Methods for Rates and Proportions", 2003, chapter 4, without
        the correction for continuity), and for means ``(z_a + z_b)² sd² (1 + 1/ratio) / d²``, with one sd in both arms.

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
        share = plan.value * (1 + lift)
        raise ValueError(f"sample_size: a lift of {lift} on {plan.value} is a share of {share:g}, expected 0 to 1")
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
        check_share(call, "power", power)
        check_share(call, "alpha", alpha)
        if power <= alpha:
            raise ValueError(f"{call}: power is {power}, expected more than alpha, {alpha}")
        if not (math.isfinite(ratio) and ratio > 0):
            raise ValueError(f"{call}: ratio is {ratio}, expected visitors in treatment for each in control, above 0")
        self.power, self.alpha, self.ratio, self.is_share = power, alpha, ratio, baseline is not None
        if baseline is not None:
            check_share(call, "baseline", baseline)
            self.value, self.sd = float(baseline), math.sqrt(baseline * (1 - baseline))
        elif mean is not None and sd is not None:
            if not (math.isfinite(mean) and mean > 0 and math.isfinite(sd) and sd > 0):
                raise ValueError(f"{call}: mean is {mean}, sd {sd}; expected both above 0")
            self.value, self.sd = float(mean), float(sd)
        self.z_alpha, self.z_power = normal_critical(1 - alpha), normal_quantile(power)
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
class Duration(Result):
    """How long a test takes: `days`, and `weeks`, the whole ones to run it for, as the days of a week differ."""

    days: int
    weeks: int
    visitors_per_day: float
    size: SampleSize

    def __repr__(self) -> str:
        spans = ((self.days, "day"), (self.weeks, "whole week"))
        days, weeks = (f"{number:,} {unit}{'s' if number != 1 else ''}" for number, unit in spans)
        visitors = f"{self.visitors_per_day:,.5g} new visitors a day"
        return f"{days} with {visitors}: run it for {weeks}\n{self.size}"


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
        `size` is not of :func:`sample_size`, visitors_per_day not above 0, or share not in 0 … 1.

    Examples
    --------
    >>> duration(sample_size(baseline=0.03, lift=0.05), visitors_per_day=20_000).weeks
    3
    """
    if not isinstance(size, SampleSize):
        raise ValueError(f"duration: size is {size!r}, expected what sample_size returns")
    if not (math.isfinite(visitors_per_day) and visitors_per_day > 0):
        raise ValueError(f"duration: visitors_per_day is {visitors_per_day}, expected a number above 0")
    if not 0 < share <= 1:
        raise ValueError(f"duration: share is {share}, expected above 0, at most 1")
    days = math.ceil(size.visitors / (visitors_per_day * share))
    return Duration(days=days, weeks=math.ceil(days / 7), visitors_per_day=visitors_per_day, size=size)
