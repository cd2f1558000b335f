"""The figure of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...base.figures import GREY, import_pyplot, names_as_they_are, styles, tidy
from .rows import Row


@names_as_they_are
def draw_comparison(
    rows: Sequence[Row],
    *,
    names: Sequence[str],
    baseline: str,
    baseline_intervals: Mapping[tuple[str, str], tuple[float, float]],
    note: str,
    zone: str | None,
) -> Any:
    """See :func:`stamp.offline.plot_comparison`."""
    pyplot = import_pyplot()
    shown = [row for row in rows if zone is None or row.zone == zone]
    if not shown:
        there = ", ".join(dict.fromkeys(repr(row.zone) for row in rows))
        raise ValueError(f"plot_comparison: zone is {zone!r}, expected one of {there}")
    panels = list(dict.fromkeys((row.zone, row.metric) for row in shown))
    zones = len({row.zone for row in shown}) > 1
    looks = styles(names)
    figure = pyplot.figure(figsize=(10, len(panels) * (0.55 + 0.33 * len(names)) + 0.9), layout="constrained")
    pyplot.close(figure)
    grid = figure.subplots(len(panels), 2, squeeze=False)
    for (left, right), (at, metric) in zip(grid, panels):
        mine = {row.recommender: row for row in shown if (row.zone, row.metric) == (at, metric)}
        reference = next(iter(mine.values())).baseline_value
        low, high = baseline_intervals.get((at, metric), (np.nan, np.nan))
        left.axvline(reference, color=GREY, linewidth=0.8, linestyle=":")
        right.axvline(0, color=GREY, linewidth=0.8)
        for place, name in enumerate(names):
            color, marker = looks[name]
            if name == baseline:
                _interval(left, reference, low, high, place, color, marker, True)
                _annotate(right, "baseline", 0, place)
                continue
            row = mine[name]
            _interval(left, row.value, row.value_low, row.value_high, place, color, marker, True)
            decided = row.verdict in ("better", "worse", "different")
            _interval(right, row.difference, row.low, row.high, place, color, marker, decided)
            edge = next((x for x in (row.high, row.difference) if not np.isnan(x)), 0.0)
            _annotate(right, row.verdict or "no interval", edge, place)
        for axes in (left, right):
            axes.set_ylim(len(names) - 0.4, -0.6)
            tidy(axes, grid="x")
        left.set_yticks(range(len(names)), names)
        right.set_yticks([])
        low_end, high_end = right.get_xlim()
        right.set_xlim(low_end, high_end + 0.5 * (high_end - low_end))  # room for the words
        left.set_title(f"{metric}, {at}" if zones else metric, loc="left", fontsize=10, fontweight="bold")
        right.set_title(f"difference from {baseline}", loc="left", fontsize=10)
    figure.supxlabel(note, fontsize=8.5)
    return figure


def _interval(axes: Any, x: float, low: float, high: float, y: float, color: str, marker: str, filled: bool) -> None:
    """A value and its interval, if it has one, on a line of its own."""
    if not np.isnan(low):
        axes.plot([low, high], [y, y], color=color, linewidth=2, solid_capstyle="butt")
    axes.plot(x, y, marker=marker, color=color, markerfacecolor=color if filled else "white", markersize=6)


def _annotate(axes: Any, text: str, x: float, y: float) -> None:
    """Words to the right of a point, over what lines there are."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
    axes.annotate(text, (x, y), (8, 0), textcoords="offset points", va="center", color="0.3", fontsize=8, bbox=box)
