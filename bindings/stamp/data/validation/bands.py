"""What is usual of a day: of the same weekday in the four weeks before, and how much that varies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

DAYS = 28  # four of each weekday: one broken day in four does not move their median
_SAME_WEEKDAY = 3  # of them at least, else all weekdays count
_FEWEST = 5  # days of any weekday that say what is usual
_TOLERANCE = 4.0  # spreads: of normal errors once in 16,000 days, of real ones once in years
# The spread is taken from residuals around medians of four that they are part of, which makes them smaller (by about
# sqrt(1 - 1/4)), and is held against a fifth value, which the median's own error makes larger (by sqrt(1 + 1.57/4)).
_FEW = 1.4
_OF_MEDIAN = 1.2  # of the median's own error alone
_NORMAL = 1.4826  # standard deviations in a median absolute deviation

_Day = TypeVar("_Day")


@dataclass(frozen=True)
class Usual:
    """The median of the same weekday, its spread (in standard deviations), and how many days said so."""

    median: float
    spread: float
    days: int

    def bound(self, stated: float, chance: float = 0.0) -> float:
        """What is stated, or more where the shop varies more than that: never less.

        `chance` is the standard deviation of a count or share of so few events.
        """
        return max(stated, _TOLERANCE * max(self.spread, _OF_MEDIAN * chance))


def days_like(day: int, days: Mapping[int, _Day]) -> dict[int, _Day]:
    """The days that say what is usual of a day: its weekday in the 28 days before; all of those where there are fewer
    than three; for the first days that there are, also the days after. Empty where there are too few of any kind."""
    before = {d: days[d] for d in range(day - DAYS, day) if d in days}
    around = before | {d: days[d] for d in range(day + 1, day + DAYS + 1) if d in days}
    for some in (before, around):
        same = {d: each for d, each in some.items() if (d - day) % 7 == 0}
        if len(same) >= _SAME_WEEKDAY:
            return same
    for some in (before, around):
        if len(some) >= _FEWEST:
            return some
    return {}


def usual(day: int, values: Mapping[int, float], *, ratio: bool = False) -> Usual | None:
    """What is usual of a measure, by day; None where too few days have it. With `ratio` the spread is relative."""
    like = list(days_like(day, values).values())
    if len(like) < _SAME_WEEKDAY:
        return None
    return Usual(float(np.median(like)), _spread(day, values, ratio=ratio), len(like))


def days_near(day: int, days: Mapping[int, _Day]) -> dict[int, _Day]:
    """Those of the 28 days before; for the first two weeks that there are, also the 28 after."""
    near = {d: days[d] for d in range(day - DAYS, day) if d in days}
    if len(near) < DAYS // 2:
        near |= {d: days[d] for d in range(day + 1, day + DAYS + 1) if d in days}
    return near


def _spread(day: int, values: Mapping[int, float], *, ratio: bool) -> float:
    """Of the days near, each against the median of its own weekday; of too few of each weekday, which may differ by
    themselves, such that the bound is twice the farthest of them."""
    like = days_like(day, values)
    if any((d - day) % 7 for d in like):
        middle = float(np.median(list(like.values())))
        return max(_residuals(list(like.values()), middle, ratio=ratio), default=0.0) * 2 / _TOLERANCE
    weekdays: dict[int, list[float]] = {}
    for d, value in days_near(day, values).items():
        weekdays.setdefault(d % 7, []).append(value)
    residuals = []
    for several in weekdays.values():
        if len(several) >= _SAME_WEEKDAY:
            residuals += _residuals(several, float(np.median(several)), ratio=ratio)
    return _FEW * _NORMAL * float(np.median(residuals)) if residuals else 0.0


def _residuals(values: Sequence[float], middle: float, *, ratio: bool) -> list[float]:
    if ratio and not middle:
        return []
    return [abs(value - middle) / (middle if ratio else 1) for value in values]


def chance_of_count(visitors: float) -> float:
    """Relative standard deviation of a day's events that so many visitors make: their numbers vary by about as much as
    they are, which doubles the variance of a Poisson count."""
    return math.sqrt(2 / visitors) if visitors > 0 else 1.0


def chance_of_share(share: float, events: float, design_effect: float = 1.0) -> float:
    """Standard deviation of a share of so many events, of which those of a visitor hang together. Of what is never
    there, as of one event."""
    if events <= 0:
        return 1.0
    share = max(share, 1 / events)
    return math.sqrt(max(share * (1 - share), 0.0) * design_effect / events)
