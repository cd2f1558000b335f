"""Figures of offline tests. matplotlib is imported in here only when a figure is drawn.

A recommender has the colour of its place among all of the replay, whichever of them a figure shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...base.checks import whole_number
from ...base.figures import GREY, import_pyplot, names_as_they_are, styles, tidy
from ..metrics.registry import MetricAt, metric_at
from ..replays.results import Replay
from .bootstrap import percentile_interval, resampled_sums
from .comparisons import Comparison

_RESAMPLES = 500  # of intervals that are only drawn
_GROUPS = 16  # of a cut that are drawn, at most
_ORDERED = ("session_length", "position", "popularity")  # cuts whose kinds a line may join


def plot_comparison(comparison: Comparison, *, zone: str | None = None) -> Any:
    """Metrics side by side: each recommender's value, and its difference from the baseline, with intervals.

    A row of panels for each metric (and zone). Filled markers of differences are verdicts, hollow ones show no
    difference. Recommenders share what makes questions hard, so intervals of differences may leave 0 out where those of
    values overlap.

    Parameters
    ----------
    zone : str, optional
        One zone; else all.

    Returns
    -------
    matplotlib.figure.Figure
    """
    return comparison.plot(zone=zone)


@names_as_they_are
def plot_tradeoff(
    replay: Replay,
    *,
    accuracy: str = "hr",
    against: Sequence[str] = ("popularity", "coverage"),
    zone: str | None = None,
    names: Sequence[str] | None = None,
) -> Any:
    """Accuracy against popularity, diversity or whatever it may be paid with: a panel for each, a point a recommender.

    Parameters
    ----------
    accuracy : str
        The metric upwards: "hr@20", or "hr" of the zone's own length.
    against : list of str
        Metrics to the right, a panel each.
    zone : str, optional
        Needed where there are several.
    names : list of str, optional
        Recommenders; else all.

    Returns
    -------
    matplotlib.figure.Figure
    """
    pyplot = import_pyplot()
    against = [against] if isinstance(against, str) else list(against)
    zone, names = _asked("plot_tradeoff", replay, zone, names)
    looks = styles(replay.names)
    asked = {text: metric_at("plot_tradeoff", text, [replay], zone) for text in (accuracy, *against)}
    values = {
        text: {name: replay.aggregate(at.name, name=name, zone=zone, k=at.k) for name in names}
        for text, at in asked.items()
    }
    figure = pyplot.figure(figsize=(1 + 4.6 * len(against), 4.2), layout="constrained")
    pyplot.close(figure)
    grid = figure.subplots(1, len(against), squeeze=False, sharey=True)[0]
    for axes, text in zip(grid, against):
        for name in names:
            color, marker = looks[name]
            x, y = values[text][name], values[accuracy][name]
            axes.plot(x, y, marker=marker, color=color, markersize=8, linestyle="none")
        axes.margins(x=0.3, y=0.15)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(_named(asked[text]))
        tidy(axes, grid="both")
        _label_points(axes, [(values[text][n], values[accuracy][n], n, looks[n][0]) for n in names])
    grid[0].set_ylabel(_named(asked[accuracy]))
    figure.suptitle(f"{zone}: {len(replay.questions[zone]):,} questions", fontsize=10, x=0.01, ha="left")
    return figure


@names_as_they_are
def plot_by(
    replay: Replay,
    *,
    cuts: Sequence[Any] = ("session_length", "popularity"),
    metric: str = "hr",
    zone: str | None = None,
    names: Sequence[str] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Any:
    """A metric by session length, by popularity of the target, by any cut: a panel for each cut.

    Of a cut into many kinds, the 16 with most questions are drawn. Bars are percentile intervals of each value alone,
    from a bootstrap over visitors (or sessions).

    Parameters
    ----------
    cuts : list
        As for :meth:`Replay.by`.
    metric : str
        One with a value per question: "hr@20", or "hr" of the zone's own length.
    zone : str, optional
        Needed where there are several.
    names : list of str, optional
        Recommenders; else all.

    Returns
    -------
    matplotlib.figure.Figure
    """
    pyplot = import_pyplot()
    cuts = [cuts] if isinstance(cuts, (str, dict)) else list(cuts)
    zone, names = _asked("plot_by", replay, zone, names)
    if not 0 < confidence < 1:
        raise ValueError(f"plot_by: confidence is {confidence}, expected a number between 0 and 1, like 0.95")
    looks = styles(replay.names)
    figure = pyplot.figure(figsize=(1.4 + 4.4 * len(cuts), 4.2), layout="constrained")
    pyplot.close(figure)
    grid = figure.subplots(1, len(cuts), squeeze=False, sharey=True)[0]
    lowest = 0.0
    for axes, cut in zip(grid, cuts):
        groups, counts, means, low, high = _by_group(replay, cut, metric, zone, names, confidence, seed)
        width = 0.5 / max(1, len(names) - 1)
        for j, name in enumerate(names):
            color, marker = looks[name]
            x = np.arange(len(groups)) + (j - (len(names) - 1) / 2) * min(0.12, width)
            spread = np.maximum(0, [means[:, j] - low[:, j], high[:, j] - means[:, j]])
            line = "-" if cut in _ORDERED else "none"
            look = {"color": color, "marker": marker, "markersize": 5, "linewidth": 1.4, "elinewidth": 1, "ls": line}
            axes.errorbar(x, means[:, j], spread, label=name, **look)
        axes.set_xticks(range(len(groups)), [f"{group}\n{n:,}" for group, n in zip(groups, counts)], fontsize=8)
        axes.set_xlabel(f"{_words(cut)}  (below: questions)")
        if len(groups) > 8:
            axes.tick_params(axis="x", rotation=90)
        lowest = min(lowest, np.nanmin(means, initial=0))
        axes.set_xlim(-0.5, len(groups) - 0.5)
        tidy(axes, grid="y")
    grid[0].set_ylim(bottom=min(0, grid[0].get_ylim()[0] if lowest < 0 else 0))
    _legend(figure, grid[0])
    grid[0].set_ylabel(_named(metric_at("plot_by", metric, [replay], zone)))
    figure.suptitle(f"{zone}: {100 * confidence:g} % intervals", fontsize=10, x=0.01, ha="left")
    return figure


@names_as_they_are
def plot_coverage(
    replay: Replay, *, k: int | None = None, zone: str | None = None, names: Sequence[str] | None = None
) -> Any:
    """What share of all recommendations goes to what share of the catalog, the most recommended products first.

    A curve that rises at once shows the same few products to everybody; the dotted line shows every product equally
    often. Where a curve ends is the coverage.

    Parameters
    ----------
    k : int, optional
        The first k of each list; the zone's own length where absent.
    zone : str, optional
        Needed where there are several.
    names : list of str, optional
        Recommenders; else all.

    Returns
    -------
    matplotlib.figure.Figure
    """
    pyplot = import_pyplot()
    zone, names = _asked("plot_coverage", replay, zone, names)
    longest = replay.length(zone)
    k = longest if k is None else whole_number("plot_coverage: k", k, least=1)
    if k > longest:
        raise ValueError(f"plot_coverage: k is {k}, expected 1 to {longest}, as long as lists of zone '{zone}' are")
    looks = styles(replay.names)
    figure = pyplot.figure(figsize=(9.5, 4.6), layout="constrained")
    pyplot.close(figure)
    axes = figure.subplots()
    products = len(replay.item_ids)
    for name in names:
        color, marker = looks[name]
        rows = replay.lists[name, zone].rows[:, :k]
        shown = np.sort(np.bincount(rows[rows >= 0], minlength=products))[::-1]
        covered = int(np.count_nonzero(shown))
        if not covered:
            axes.plot([], [], marker=marker, color=color, linewidth=1.8, label=f"{name}: nothing")
            continue
        share = np.cumsum(shown[:covered]) / shown.sum()
        x = np.arange(1, covered + 1) / products
        axes.plot(x, share, color=color, linewidth=1.8)
        label = f"{name}: {_percent(x[-1])} of the catalog"
        axes.plot(x[-1], 1, marker=marker, color=color, linewidth=1.8, clip_on=False, label=label)
    everything = np.geomspace(1 / products, 1, 200)
    axes.plot(everything, everything, color=GREY, linestyle=":", linewidth=1, label="every product equally often")
    axes.set(xscale="log", xlim=(min(1 / products, 0.5), 1), ylim=(0, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: _percent(value))
    axes.set_xlabel(f"share of the catalog of {products:,}, most recommended first")
    axes.set_ylabel(f"share of all recommendations, k = {k}")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=9)
    tidy(axes, grid="both")
    axes.set_title(f"{zone}: {len(replay.questions[zone]):,} lists", fontsize=10, loc="left")
    return figure


def _by_group(
    replay: Replay, cut: Any, metric: str, zone: str, names: Sequence[str], confidence: float, seed: int
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Groups with most questions, how many they have, and mean, low and high [groups, recommenders]."""
    at = metric_at("plot_by", metric, [replay], zone)
    if not at.metric.per_question:
        raise ValueError(f"plot_by: '{metric}' is of all lists together, expected a metric with a value per question")
    label, groups = replay.cut(cut, zone)
    counts = np.bincount(label, minlength=len(groups))
    shown = np.sort(np.argsort(-counts, kind="stable")[:_GROUPS])
    place = np.full(len(groups), -1)
    place[shown] = np.arange(len(shown))
    label = place[label]
    _, unit = np.unique(replay.questions[zone].unit, return_inverse=True)
    n, width = int(unit.max()) + 1, len(shown)
    columns = np.zeros((n, width, len(names), 2))
    for j, name in enumerate(names):
        values = replay.values(at.name, name=name, zone=zone, k=at.k)
        there = ~np.isnan(values) & (label >= 0)
        cell = unit[there] * width + label[there]
        columns[:, :, j, 0] = np.bincount(cell, values[there], minlength=n * width).reshape(n, width)
        columns[:, :, j, 1] = np.bincount(cell, minlength=n * width).reshape(n, width)
    sums = resampled_sums(columns.reshape(n, -1), resamples=_RESAMPLES, seed=seed).reshape(-1, *columns.shape[1:])
    totals = columns.sum(axis=0)
    with np.errstate(invalid="ignore"):
        means = totals[..., 0] / totals[..., 1]
        low, high = percentile_interval(sums[..., 0] / sums[..., 1], confidence)
    return [groups[g] for g in shown], counts[shown], means, low, high


def _asked(call: str, replay: Replay, zone: str | None, names: Sequence[str] | None) -> tuple[str, list[str]]:
    """The zone, and the recommenders that were asked there."""
    zones = list(replay.questions)
    if zone is None and len(zones) == 1:
        zone = zones[0]
    if zone is None:
        raise ValueError(f"{call}: there are several zones, say zone=…: one of {', '.join(map(repr, zones))}")
    if zone not in zones:
        raise ValueError(f"{call}: zone is {zone!r}, expected one of {', '.join(map(repr, zones))}")
    if not len(replay.questions[zone]):
        raise ValueError(f"{call}: zone '{zone}' has no questions")
    there = [name for name in replay.names if (name, zone) in replay.lists]
    if names is None:
        return zone, there
    unknown = [name for name in names if name not in there]
    if unknown or not len(names):
        raise ValueError(f"{call}: names is {list(names)}, expected some of {', '.join(map(repr, there))}")
    return zone, list(names)


def _named(at: MetricAt) -> str:
    """A metric, and the way in which it is better."""
    way = {"higher": "  (more is better)", "lower": "  (less is better)"}
    return at.label + way.get(at.metric.better, "")


def _apart(places: np.ndarray, least: float) -> np.ndarray:
    """Places moved as little as keeps them `least` apart, in their order."""
    order = np.argsort(places, kind="stable")
    moved = places[order].astype(float)
    for _ in range(100):  # pushes neighbours apart until none are too close
        gaps = np.diff(moved)
        close = np.flatnonzero(gaps < least - 1e-9)
        if not len(close):
            break
        for i in close.tolist():
            push = (least - (moved[i + 1] - moved[i])) / 2
            if push > 0:
                moved[i] -= push
                moved[i + 1] += push
    result = np.empty(len(places))
    result[order] = moved
    return result


def _legend(figure: Any, axes: Any) -> None:
    """Names and markers above all panels, beside the title."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=min(4, len(labels)), frameon=False, fontsize=9)


def _label_points(axes: Any, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Names beside points; those of points that are close stand one above the other."""
    shown = [point for point in points if np.isfinite(point[:2]).all()]
    if not shown:
        return
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    places = _apart(np.array([y for _, y, _, _ in shown]), 0.05 * (top - bottom))
    for (x, _, name, color), place in zip(shown, places.tolist()):
        far = x > (left + right) / 2
        axes.annotate(
            name,
            (x, place),
            (-8 if far else 8, 0),
            textcoords="offset points",
            ha="right" if far else "left",
            va="center",
            color=color,
        )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _words(cut: Any) -> str:
    return cut.replace("_", " ") if isinstance(cut, str) else "group"
