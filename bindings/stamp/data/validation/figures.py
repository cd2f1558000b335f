"""The figures of a validation: rows a day beside what is usual, faults, drift, hours."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ...base.figures import COLORS, GREY, import_pyplot, styles, tidy
from ..sources.dates import date_of
from ..sources.mapping import KINDS
from .bands import days_like, usual
from .checks import CHECKS
from .judging import Drift
from .profile import Day

_WIDE = (10.0, 3.8)
_MOST_PSI = 1.0  # of the axis: beyond it is as bad


def _axes() -> tuple[Any, Any]:
    pyplot = import_pyplot()
    figure = pyplot.figure(figsize=_WIDE, layout="constrained")
    pyplot.close(figure)  # a notebook shows what is returned, once
    axes = figure.subplots()
    tidy(axes, "y")
    return figure, axes


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1, 1))


def _by_date(axes: Any, numbers: Sequence[int], there: Collection[int], judged: Sequence[str]) -> None:
    """Dates below, a tick a week at most; the judged days shaded, where they are not all."""
    step = max(1, -(-len(numbers) // 9))
    ticks = list(numbers)[::-step][::-1]
    axes.set_xticks(ticks, [f"{datetime.date.fromisoformat(date_of(number)):%-d %b}" for number in ticks])
    axes.set_xlim(numbers[0] - 0.6, numbers[-1] + 0.6)
    new = [number for number in numbers if date_of(number) in judged]
    if len(new) < len(there):
        for place, number in enumerate(new):
            label = "" if place else "judged now"
            axes.axvspan(number - 0.5, number + 0.5, color=GREY, alpha=0.15, lw=0, zorder=0, label=label)


def plot_volumes(days: Mapping[int, Day], judged: Sequence[str]) -> Any:
    """Rows a day, by kind, within what does not warn; a gap is a day without rows."""
    figure, axes = _axes()
    numbers = list(range(min(days), max(days) + 1))
    _by_date(axes, numbers, days, judged)
    rows = {number: float(day.rows) for number, day in days.items()}
    warn = CHECKS["day_low"].warn
    assert warn is not None
    bands = {number: found for number in numbers if (found := usual(number, rows, ratio=True)) is not None}
    if bands:
        widths = {number: found.bound(warn) for number, found in bands.items()}
        low = [bands[n].median * max(0, 1 - widths[n]) if n in bands else np.nan for n in numbers]
        high = [bands[n].median * (1 + widths[n]) if n in bands else np.nan for n in numbers]
        axes.fill_between(numbers, low, high, color=COLORS[5], alpha=0.25, lw=0, step="mid", label="rows: usual")
    series = {"rows": [rows.get(number, np.nan) for number in numbers]}
    for kind in KINDS:
        if any(day.kinds[kind] for day in days.values()):
            series[kind] = [days[n].kinds[kind] if n in days else np.nan for n in numbers]
    for (name, values), (color, marker) in zip(series.items(), styles(list(series)).values()):
        axes.plot(numbers, values, color=color, marker=marker, markersize=3.5, lw=1.4, label=name)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("rows a day")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _legend(axes)
    return figure


def plot_faults(days: Mapping[int, Day], faults: Sequence[str], judged: Sequence[str]) -> Any:
    """Of each day, the share of its rows at fault, by fault."""
    figure, axes = _axes()
    numbers = sorted(days)
    _by_date(axes, numbers, days, judged)
    below = np.zeros(len(numbers))
    for place, fault in enumerate(faults):
        shares = np.array([100 * days[n].share(fault_count(days[n], fault)) for n in numbers])
        color = COLORS[place % len(COLORS)]
        axes.bar(
            numbers,
            shares,
            bottom=below,
            color=color,
            width=0.8,
            label=fault,
            hatch="//" if place >= len(COLORS) else None,
        )
        below += shares
    axes.set_ylabel("% of the day's rows")
    _legend(axes)
    return figure


def fault_count(day: Day, fault: str) -> int:
    """Of repeats, too, and of bots."""
    others = {"duplicate": day.repeats, "bot": day.visits["bot_rows"]}
    return others[fault] if fault in others else day.faults[fault]


def plot_drift(drifts: Mapping[str, Mapping[int, Drift]], numbers: Sequence[int], judged: Sequence[str]) -> Any:
    """PSI of each mix a day, and the bounds."""
    figure, axes = _axes()
    _by_date(axes, numbers, numbers, judged)
    for (name, found), (color, marker) in zip(drifts.items(), styles(list(drifts)).values()):
        values = [min(found[n].psi, _MOST_PSI) if n in found else np.nan for n in numbers]
        axes.plot(numbers, values, color=color, marker=marker, markersize=3.5, lw=1.2, label=name)
    warn, stop = CHECKS["event_mix"].warn, CHECKS["event_mix"].stop
    for bound, what in ((warn, "warns"), (stop, "stops")):
        axes.axhline(bound, color=GREY, lw=1, ls="--")
        axes.annotate(
            what, (numbers[0] - 0.5, bound), xytext=(0, 3), textcoords="offset points", fontsize=8, color="0.35"
        )
    axes.set_ylim(
        0, 1.05 * max(0.3, *(min(each.psi, _MOST_PSI) for found in drifts.values() for each in found.values()), 0.3)
    )
    axes.set_ylabel("PSI")
    _legend(axes)
    return figure


def plot_hours(days: Mapping[int, Day], number: int) -> Any:
    """Usable rows of a day by hour, beside the days like it."""
    figure, axes = _axes()
    hours = np.arange(24)
    like = np.array([day.hours for day in days_like(number, days).values()])
    if len(like):
        axes.fill_between(
            hours, like.min(axis=0), like.max(axis=0), color=COLORS[5], alpha=0.25, lw=0, label="days like it"
        )
        axes.plot(hours, np.median(like, axis=0), color=COLORS[5], lw=1.2, ls="--", label="their median")
    axes.plot(hours, days[number].hours, color=COLORS[0], marker="o", markersize=4, lw=1.4, label=date_of(number))
    axes.set_xticks(range(0, 24, 2))
    axes.set_ylim(bottom=0)
    axes.set(xlabel="hour (UTC)", ylabel="usable rows")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _legend(axes)
    return figure
