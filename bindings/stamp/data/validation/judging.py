"""What the checks share: days, what is usual of them, and a measure held against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from . import drift
from .bands import chance_of_share, days_like, days_near, usual
from .checks import CHECKS
from .findings import Findings
from .profile import Day, Profile

JS_DISTANCE = 0.1  # a usual bound of its own (Evidently's default); PSI alone is inflated by rare groups
_MEASURED_PSI = 4.0  # times the median PSI of the days near: weekdays and campaigns that a shop always has
_FEWEST_DAYS = 3


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is judged.

    Attributes
    ----------
    days : dict of int to Day
        All that are known, of the profile too.
    judged : sequence of int
        Those that are new, or have changed; all of them are in `days`.
    measured, before : Profile
        What was read now, and the profile of the night before.
    event_types : sequence of str
        The shop's kinds of events that the mapping knows.
    """

    findings: Findings
    days: Mapping[int, Day]
    judged: list[int]
    measured: Profile
    before: Profile | None
    event_types: Iterable[str]

    def values(self, measure: Callable[[Day], float | None]) -> dict[int, float]:
        """A measure of all days that have it."""
        return {number: value for number, day in self.days.items() if (value := measure(day)) is not None}


def above_usual(
    judged: Judged,
    check: str,
    measure: Callable[[Day], float | None],
    sentence: str,
    *,
    column: str | None = None,
    design_effect: float = 1.0,
    told: bool = False,
    alone: bool = True,
    detail: Callable[[int], str] = lambda number: "",
) -> None:
    """A share of a day's rows that must not be above what is usual by more than the bound.

    `alone`: a day of which nothing is usual yet is judged, too, as if none of it were.
    """
    values = judged.values(measure)
    for number in judged.judged:
        if number not in values:
            continue
        found = usual(number, values)
        if found is None and not alone:
            continue
        base = 0.0 if found is None else found.median
        chance = chance_of_share(base, judged.days[number].rows, design_effect)
        shown = CHECKS[check].shown
        usually = "" if found is None else f", usually {shown(base)}"

        def widened(stated: float) -> float:
            return base + max(stated, 4 * chance) if found is None else base + found.bound(stated, chance)  # noqa: B023

        judged.findings.look(
            check,
            values[number],
            f"{sentence} are {shown(values[number])}{usually}{detail(number)}",
            day=number,
            column=column,
            widened=widened,
            told=told and values[number] > base,
        )


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far a day's distribution is from the usual one: PSI, Jensen-Shannon distance, the bound's floor by chance, and
    the group that gained most."""

    psi: float
    js: float
    chance: float
    gained: str


Counts = Callable[[Day], Mapping[str, int]]


def drifts(
    days: Mapping[int, Day], counts: Counts, numbers: Iterable[int], *, by_decile: bool = False, whole: bool = True
) -> dict[int, Drift]:
    """Of each day that has events, and enough days like it. `by_decile`: groups are bands of prices, of which deciles are
    made. Not `whole`: only groups that the day has are compared."""
    found = {}
    for number in numbers:
        day = counts(days[number])
        like = [some for each in days_like(number, days).values() if sum((some := counts(each)).values())]
        total = sum(day.values())
        if not total or len(like) < _FEWEST_DAYS:
            continue
        if by_decile:
            bands = drift.usual_shares(like, least=0.0)
            cuts = drift.deciles(bands)
            named = drift.in_deciles(bands, cuts)
            in_groups = drift.in_deciles(day, cuts)
            usual_, now = np.array(list(named.values())), np.array(list(in_groups.values()))
        else:
            named = drift.usual_shares(
                like if whole else [{group: each[group] for group in day if day[group]} for each in like]
            )
            usual_, now = drift.side_by_side(named, day)
        if not usual_.sum():
            continue
        gains = now / now.sum() - usual_ / usual_.sum()
        # Of so few days what is usual is uncertain, too.
        chance = drift.psi_of_chance(len(named), total) * (1 + 1 / len(like))
        gained = list(named)[int(gains.argmax())]
        found[number] = Drift(
            psi=drift.psi(usual_, now), js=drift.js_distance(usual_, now), chance=chance, gained=gained
        )
    return found


def mix(
    judged: Judged, check: str, counts: Counts, what: str, *, by_decile: bool = False, whole: bool = True
) -> dict[int, Drift]:
    """A distribution that must stay near the usual one, by PSI and the Jensen-Shannon distance both."""
    found = drifts(judged.days, counts, judged.days, by_decile=by_decile, whole=whole)
    for number in judged.judged:
        if number not in found:
            continue
        each = found[number]
        near = [other.psi for other in days_near(number, found).values()]
        floor = max(each.chance, _MEASURED_PSI * float(np.median(near)) if near else 0.0)
        gained = f"decile {int(each.gained) + 1}" if by_decile else each.gained
        judged.findings.look(
            check,
            each.psi if each.js > JS_DISTANCE else 0.0,
            f"{what} are not as usual: PSI is {each.psi:.3f}, the Jensen-Shannon distance {each.js:.2f}; {gained} gained most",
            day=number,
            widened=lambda stated: max(stated, floor),  # noqa: B023
        )
    return found
