"""Figures. matplotlib is imported here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .clusters import CatalogClusters, Dendrogram
    from .offline.trials import SearchResult

_CELLS = 400  # of a matrix's side, at most


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'stamp[plot]'") from error
    return matplotlib.pyplot


def plot_clusters(clusters: CatalogClusters) -> Any:
    """See :meth:`CatalogClusters.plot`."""
    pyplot = _pyplot()
    tree = clusters.dendrogram
    figure = pyplot.figure(figsize=(12, 6.5), layout="constrained")
    pyplot.close(figure)  # a notebook shows what is returned, once
    if tree is None or not len(tree.linkage):
        axes = figure.subplots()
        both = (clusters.recommendations + clusters.recommendations.T).astype(float)
        np.fill_diagonal(both, 0)
        _draw_matrix(axes, both, np.array(clusters.ids), len(clusters.ids), "clusters")
    else:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.3))
        order = _leaf_order(tree.linkage)
        _draw_dendrogram(left, tree, order)
        cells = min(_CELLS, len(order))
        cell = np.empty(len(order), np.int64)
        cell[order] = np.arange(len(order)) * cells // len(order)
        matrix = np.zeros((cells, cells))
        i, j = cell[tree.pairs].T
        np.add.at(matrix, (i, j), tree.counts)
        np.add.at(matrix, (j, i), tree.counts)
        _draw_matrix(right, matrix, tree.labels[order], len(order), "groups, in the order of the dendrogram")
    figure.suptitle(clusters._footer())
    return figure


def _leaf_order(linkage: np.ndarray) -> np.ndarray:
    """Leaves from one end of the dendrogram to the other."""
    n = len(linkage) + 1
    order, stack = [], [2 * n - 2]
    while stack:
        node = stack.pop()
        if node < n:
            order.append(node)
        else:
            stack += linkage[node - n, :2].astype(int).tolist()
    return np.array(order)


def _draw_dendrogram(axes: Any, tree: Dendrogram, order: np.ndarray) -> None:
    from matplotlib.collections import LineCollection

    n = len(order)
    place = np.empty(2 * n - 1)  # of each node along the axis of leaves
    place[order] = np.arange(n) + 0.5
    height = np.concatenate([np.zeros(n), tree.linkage[:, 2]])
    label = np.concatenate([tree.labels, np.full(n - 1, -1)])  # -1: of several clusters
    lines = []
    for node, (a, b) in enumerate(tree.linkage[:, :2].astype(int).tolist(), n):
        place[node] = (place[a] + place[b]) / 2
        label[node] = label[a] if label[a] == label[b] else -1
        lines.append([(height[a], place[a]), (height[node], place[a]), (height[node], place[b]), (height[b], place[b])])
    colors = [f"C{c % 10}" if c >= 0 else "0.6" for c in label[n:].tolist()]
    axes.add_collection(LineCollection(lines, colors=colors, linewidths=0.8))
    axes.set(xlim=(height.max() * 1.02, 0), ylim=(n, 0), xlabel="distance")


def _draw_matrix(axes: Any, matrix: np.ndarray, labels: np.ndarray, size: int, what: str) -> None:
    """What rows and columns exchange, normalised as distances are; frames round runs of one label."""
    from matplotlib.colors import PowerNorm
    from matplotlib.patches import Rectangle

    totals = np.sqrt(np.maximum(1, matrix.sum(axis=1)))
    shown = matrix / totals[:, None] / totals[None, :]
    image = axes.imshow(shown, extent=(0, size, size, 0), cmap="magma_r", aspect="auto", norm=PowerNorm(0.4, 0, 1))
    begins = np.flatnonzero(np.append(True, labels[1:] != labels[:-1])).tolist()
    for first, last in zip(begins, [*begins[1:], len(labels)]):
        side = last - first
        axes.add_patch(
            Rectangle((first, first), side, side, fill=False, edgecolor=f"C{labels[first] % 10}", linewidth=1.2)
        )
        axes.text(size, (first + last) / 2, f" {labels[first]}", va="center", fontsize=7)
    axes.set(xlabel=what, ylim=(size, 0))
    axes.figure.colorbar(image, ax=axes, label="recommendations exchanged, S / √(n n)", pad=0.06)


_OUTCOMES = {  # marker, colour
    "finished": ("o", "C0"),
    "pruned": ("x", "0.55"),
    "diverged": ("v", "C3"),
    "failed": ("s", "C3"),
}


def plot_search(result: SearchResult) -> Any:
    """See :meth:`SearchResult.plot`."""
    pyplot = _pyplot()
    names = list(result.space)
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = pyplot.figure(figsize=(4 * max(2, across), 3.2 * (1 + down)), layout="constrained")
    pyplot.close(figure)  # a notebook shows what is returned, once
    grid = figure.add_gridspec(1 + down, across)
    axes = figure.add_subplot(grid[0, :])
    _draw_trials(axes, result)
    for place, name in enumerate(names):
        _draw_option(figure.add_subplot(grid[1 + place // across, place % across], sharey=axes), result, name)
    figure.suptitle(result._summary())
    return figure


def _by_outcome(result: SearchResult) -> list[tuple[str, list[Any]]]:
    """Trials with a value."""
    valued = [t for t in result.trials if t.value is not None]
    shown = [(outcome, [t for t in valued if t.outcome == outcome]) for outcome in _OUTCOMES]
    return [(outcome, trials) for outcome, trials in shown if trials]


def _draw_trials(axes: Any, result: SearchResult) -> None:
    for outcome, trials in _by_outcome(result):
        marker, color = _OUTCOMES[outcome]
        axes.scatter([t.number for t in trials], [t.value for t in trials], marker=marker, color=color, label=outcome)
    finished = [(t.number, t.value) for t in result.trials if t.outcome == "finished" and t.value is not None]
    if finished:
        numbers, values = zip(*finished)
        best = np.maximum.accumulate([*values, values[-1]])
        axes.step([*numbers, len(result.trials) - 1], best, where="post", color="C1", label="best so far")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="trial", ylabel=result.metric)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))


def _draw_option(axes: Any, result: SearchResult, name: str) -> None:
    values, best = result.space[name], result.best
    choices = values if isinstance(values, list) else None

    def places(trials: list[Any]) -> list[Any]:
        found = [t.options[name] for t in trials]
        return found if choices is None else [choices.index(value) for value in found]

    for outcome, trials in _by_outcome(result):
        marker, color = _OUTCOMES[outcome]
        axes.scatter(places(trials), [t.value for t in trials], marker=marker, color=color, alpha=0.8)
    if best is not None:
        axes.scatter(places([best]), [best.value], marker="o", s=120, facecolor="none", edgecolor="C1", linewidth=2)
    if choices is not None:
        axes.set_xticks(range(len(choices)), map(str, choices))
        axes.set_xlim(-0.5, len(choices) - 0.5)
    elif values["log"]:
        axes.set_xscale("log")
    axes.set(xlabel=name, ylabel=result.metric)
