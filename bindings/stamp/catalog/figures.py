"""The figure of a split catalog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base.figures import import_pyplot
from .dendrogram import Dendrogram

_CELLS = 400  # of a matrix's side, at most


def plot_clusters(tree: Dendrogram | None, recommendations: np.ndarray, ids: Sequence[int], *, title: str) -> Any:
    """See :meth:`CatalogClusters.plot`; `recommendations` [c,c] between the clusters `ids` [c]."""
    pyplot = import_pyplot()
    figure = pyplot.figure(figsize=(12, 6.5), layout="constrained")
    pyplot.close(figure)  # a notebook shows what is returned, once
    if tree is None or not len(tree.linkage):
        axes = figure.subplots()
        both = (recommendations + recommendations.T).astype(float)
        np.fill_diagonal(both, 0)
        _draw_matrix(axes, both, np.array(ids), len(ids), "clusters")
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
    figure.suptitle(title)
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
