"""The figure of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...base.figures import import_pyplot
from .trials import Trial

_OUTCOMES = {  # marker, colour
    "finished": ("o", "C0"),
    "pruned": ("x", "0.55"),
    "diverged": ("v", "C3"),
    "failed": ("s", "C3"),
}


def plot_trials(
    trials: Sequence[Trial], *, best: Trial | None, space: Mapping[str, Any], metric: str, title: str
) -> Any:
    """See :meth:`SearchResult.plot`."""
    pyplot = import_pyplot()
    names = list(space)
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = pyplot.figure(figsize=(4 * max(2, across), 3.2 * (1 + down)), layout="constrained")
    pyplot.close(figure)  # a notebook shows what is returned, once
    grid = figure.add_gridspec(1 + down, across)
    axes = figure.add_subplot(grid[0, :])
    _draw_values(axes, trials, metric)
    for place, name in enumerate(names):
        panel = figure.add_subplot(grid[1 + place // across, place % across], sharey=axes)
        _draw_option(panel, trials, best, name, space[name], metric)
    figure.suptitle(title)
    return figure


def _by_outcome(trials: Sequence[Trial]) -> list[tuple[str, list[Trial]]]:
    """Trials with a value."""
    valued = [t for t in trials if t.value is not None]
    shown = [(outcome, [t for t in valued if t.outcome == outcome]) for outcome in _OUTCOMES]
    return [(outcome, some) for outcome, some in shown if some]


def _draw_values(axes: Any, trials: Sequence[Trial], metric: str) -> None:
    for outcome, some in _by_outcome(trials):
        marker, color = _OUTCOMES[outcome]
        axes.scatter([t.number for t in some], [t.value for t in some], marker=marker, color=color, label=outcome)
    finished = [(t.number, t.value) for t in trials if t.outcome == "finished" and t.value is not None]
    if finished:
        numbers, values = zip(*finished)
        best = np.maximum.accumulate([*values, values[-1]])
        axes.step([*numbers, len(trials) - 1], best, where="post", color="C1", label="best so far")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="trial", ylabel=metric)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))


def _draw_option(axes: Any, trials: Sequence[Trial], best: Trial | None, name: str, values: Any, metric: str) -> None:
    choices = values if isinstance(values, list) else None

    def places(some: Sequence[Trial]) -> list[Any]:
        found = [t.options[name] for t in some]
        return found if choices is None else [choices.index(value) for value in found]

    for outcome, some in _by_outcome(trials):
        marker, color = _OUTCOMES[outcome]
        axes.scatter(places(some), [t.value for t in some], marker=marker, color=color, alpha=0.8)
    if best is not None:
        axes.scatter(places([best]), [best.value], marker="o", s=120, facecolor="none", edgecolor="C1", linewidth=2)
    if choices is not None:
        axes.set_xticks(range(len(choices)), map(str, choices))
        axes.set_xlim(-0.5, len(choices) - 0.5)
    elif values["log"]:
        axes.set_xscale("log")
    axes.set(xlabel=name, ylabel=metric)
