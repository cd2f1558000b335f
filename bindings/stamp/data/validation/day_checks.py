"""What is wrong with days and hours: missing, thin, doubled, changed afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..sources.dates import date_of, weekday_of
from .bands import chance_of_count, days_like, usual
from .checks import CHECKS
from .drift import DESIGN_EFFECT
from .judging import Judged, above_usual

_ENOUGH = 100  # rows of an hour: some twenty visits, of which by chance none come once in e^20
_DOUBLED = 1.8
_SURE = 5.0  # standard deviations of an hour's rows
_MOST_LOW = 0.9  # however much a shop varies, a day of a tenth is low


def check_days(judged: Judged, expected: Sequence[int]) -> None:
    """`expected`: days that must be there."""
    _check_missing(judged, expected)
    _check_changed(judged)
    _check_hours(judged)
    _check_volumes(judged)
    above_usual(judged, "times_tied", lambda day: _share(day.visits["tied"], day.visits["several"]),
                "Sessions of several events that are all at one time")  # fmt: skip
    above_usual(judged, "session_span", lambda day: _share(day.spans["long"], day.spans["ended"]),
                "The shop's sessions that last longer than a day")  # fmt: skip


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def _check_missing(judged: Judged, expected: Sequence[int]) -> None:
    """Days that follow each other are one finding, of the first of them."""
    gaps: list[list[int]] = []
    for number in expected:
        weeks = [number - 7 * week for week in (1, 2, 3)]
        closed = all(week >= min(judged.days, default=week + 1) and week not in judged.days for week in weeks)
        if number in judged.days or closed:
            continue
        if not gaps or gaps[-1][-1] < number - 1:
            gaps.append([])
        gaps[-1].append(number)
    for gap in gaps or [[]]:
        more = f"these {len(gap)} days, to {date_of(gap[-1])}" if len(gap) > 1 else "this day"
        judged.findings.look("day_missing", len(gap), f"there is no row of {more}", day=gap[0] if gap else None)


def _check_changed(judged: Judged) -> None:
    for number in judged.judged:
        if judged.before is not None and number in judged.before.days:
            before, now = judged.before.days[number].rows, judged.days[number].rows
            lost = 1 - now / before if before else 0.0
            judged.findings.look(
                "day_changed",
                lost,
                f"rows are {now:,}, in yesterday's profile they were {before:,}",
                day=number,
                told=True,
            )


def _check_hours(judged: Judged) -> None:
    days = {number: day for number, day in judged.days.items() if sum(day.hours)}
    for number in judged.judged:
        like = list(days_like(number, days).values())
        if number not in days or not like:
            continue
        now = np.array(days[number].hours, float)
        medians = np.median([each.hours for each in like], axis=0)
        if not medians.any():
            continue
        missing = np.flatnonzero((now == 0) & (medians >= _ENOUGH))
        judged.findings.look("hour_missing", len(missing), f"there is no row of {_hours(missing)}", day=number)
        # A day that is larger as a whole has no doubled hour: the median of the ratios is the day's.
        some = medians >= _ENOUGH
        level = max(1.0, float(np.median(now[some] / medians[some]))) if some.any() else 1.0
        usual_ = medians * level
        spread = np.sqrt(DESIGN_EFFECT * np.maximum(usual_, 1))
        doubled = np.flatnonzero((medians >= _ENOUGH) & (now > _DOUBLED * usual_) & (now - usual_ > _SURE * spread))
        judged.findings.look(
            "hour_doubled", len(doubled), f"far more rows than usual are of {_hours(doubled)}", day=number
        )


def _hours(hours: np.ndarray) -> str:
    return f"{'hour' if len(hours) == 1 else 'hours'} {', '.join(map(str, hours))} (UTC)"


def _check_volumes(judged: Judged) -> None:
    rows = judged.values(lambda day: float(day.rows))
    for number in judged.judged:
        found = usual(number, rows, ratio=True)
        if found is None or not found.median:
            continue
        day = judged.days[number]
        ratio = day.rows / found.median
        visitors = [each.visits["visitors"] for each in days_like(number, judged.days).values()]
        chance = chance_of_count(float(np.median(visitors)))
        words = f"rows are {day.rows:,}, {found.median:,.0f} is usual of a {weekday_of(number)}"
        judged.findings.look(
            "day_low", 1 - ratio, words, day=number,
            widened=lambda stated: min(found.bound(stated, chance), max(stated, _MOST_LOW)),  # noqa: B023
        )  # fmt: skip
        judged.findings.look(
            "day_high",
            ratio - 1,
            words,
            day=number,
            widened=lambda stated: found.bound(stated, chance),  # noqa: B023
        )
        if ratio >= _DOUBLED:
            share = day.usable_share(day.repeats) or 0.0
            told = CHECKS["day_doubled"].shown(share)
            judged.findings.look("day_doubled", share, f"{words}, and {told} of them repeat another", day=number)
        else:
            judged.findings.look("day_doubled", 0.0, words, day=number)
