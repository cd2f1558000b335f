"""From counts between groups of products to clusters of groups.

All functions work on sparse counts alone, so neither a model nor a catalog is needed to try them. G is the number of
groups, n that of the large ones, which are clustered by their distances; all others join what these make. Labels are
integers, -1 for none yet.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.checks import whole_number
from ..base.extras import import_extra

LINKAGES = ("average", "complete", "single", "ward", "weighted")
# How a group came to its cluster, in the order of GroupClusters.how.
WAYS = ("clustered", "recommendations", "transitions", "first_attribute", "default", "kept", "moved")
CLUSTERED, BY_RECOMMENDATIONS, BY_TRANSITIONS, BY_FIRST, BY_DEFAULT, KEPT, MOVED = range(len(WAYS))


def require_scipy() -> Any:
    return import_extra("scipy", purpose="clustering a catalog", extra="cluster")


@dataclass(frozen=True)
class Bounds:
    """What a cluster may hold. An example is a pair of neighbouring events, and belongs to the cluster of the first."""

    min_products: int | None = None
    max_products: int | None = None
    min_examples: int | None = None
    max_examples: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None:
                whole_number(f"cluster_catalog: {name}", value, least=1)
        for what in ("products", "examples"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"cluster_catalog: min_{what} is {least}, above max_{what}, {most}")

    def below(self, products: Any, examples: Any) -> Any:
        return (products < (self.min_products or 0)) | (examples < (self.min_examples or 0))

    def above(self, products: Any, examples: Any) -> Any:
        return (products > (self.max_products or math.inf)) | (examples > (self.max_examples or math.inf))


class GroupCounts:
    """What is known of G groups.

    Parameters
    ----------
    recommendations, transitions : scipy.sparse array [G,G]
        How often products of group h were recommended to visitors who looked at one of group g, and how often visitors
        went from g to h.
    products, clicks : int64 array [G]
    first : int array [G], optional
        Groups of equal numbers are akin (have the same first attribute): where there is no other evidence they stay
        together. -1: akin to none.
    """

    def __init__(
        self, recommendations: Any, transitions: Any, products: np.ndarray, clicks: np.ndarray,
        first: np.ndarray | None = None,
    ):  # fmt: skip
        self.recommendations, self.transitions = recommendations.tocsr(), transitions.tocsr()
        self.exchanges = _symmetric(self.recommendations)  # S = C + Cᵀ
        self.products, self.clicks = products, clicks
        self.examples = np.asarray(self.transitions.sum(axis=1)).ravel()
        self.first = np.full(len(products), -1) if first is None else first

    def __len__(self) -> int:
        return len(self.products)


@dataclass(frozen=True, eq=False)
class GroupClusters:
    """The cluster of every group. `linkage` is scipy's, of the groups `leaves`; None where clusters were continued."""

    labels: np.ndarray
    how: np.ndarray
    default: int
    leaves: np.ndarray | None = None
    linkage: np.ndarray | None = None


def _symmetric(counts: Any) -> Any:
    total = (counts + counts.T).tocsr()
    total.sort_indices()
    return total


def large_groups(clicks: np.ndarray, large: float | int) -> np.ndarray:
    """The `large` most clicked groups, or, for a float, the fewest that together hold this share of all clicks."""
    order = np.argsort(-clicks, kind="stable")
    order = order[clicks[order] > 0]
    if not len(order):
        raise ValueError("cluster_catalog: no group has a click")
    if isinstance(large, (int, np.integer)):
        return order[: whole_number("cluster_catalog: large", large, least=1)]
    if not isinstance(large, (float, np.floating)) or not 0 < large <= 1:
        raise ValueError(
            f"cluster_catalog: large is {large!r}, expected a share of the clicks, above 0 and at most 1, or a number of "
            "groups"
        )
    held = np.cumsum(clicks[order])
    return order[: int(np.searchsorted(held, large * held[-1] * (1 - 1e-12))) + 1]


def condensed_distances(exchanges: Any, leaves: np.ndarray) -> np.ndarray:
    """scipy's condensed matrix [n(n-1)/2] of d_gh = 1 - S_gh / sqrt(n_g n_h), n_g = Σ_h≠g S_gh over all groups.

    4n² bytes, and nothing else of that size; scipy takes a copy.
    """
    totals = (np.asarray(exchanges.sum(axis=1)).ravel() - exchanges.diagonal())[leaves].astype(np.float64)
    n = len(leaves)
    distances = np.ones(n * (n - 1) // 2)
    pairs = exchanges[leaves][:, leaves].tocoo()
    upper = pairs.row < pairs.col
    i, j = pairs.row[upper].astype(np.int64), pairs.col[upper].astype(np.int64)
    distances[n * i - i * (i + 1) // 2 + j - i - 1] -= pairs.data[upper] / np.sqrt(totals[i] * totals[j])
    return distances


def cut(
    linkage: np.ndarray, products: np.ndarray, examples: np.ndarray, clusters: int | None, distance: float | None,
    bounds: Bounds,
) -> np.ndarray:  # fmt: skip
    """Labels [n] of the leaves of a dendrogram.

    From the root, the highest node is split until there are `clusters` of them, or none is above `distance`; and every
    node beyond the upper bounds is. Nodes below the lower bounds do not count, and no split makes two such of one that
    fits: what it would make joins another cluster anyway.
    """
    n = len(products)
    children = linkage[:, :2].astype(np.int64)
    sizes = np.zeros((2 * n - 1, 2), np.int64)
    sizes[:n, 0], sizes[:n, 1] = products, examples
    for node, (left, right) in enumerate(children.tolist(), n):
        sizes[node] = sizes[left] + sizes[right]
    below, above = bounds.below(*sizes.T), bounds.above(*sizes.T)
    heights = [0.0] * n + linkage[:, 2].tolist()
    count = int(not below[-1])
    heap = [(-heights[-1], 2 - 2 * n)]
    kept: list[int] = []
    while heap:
        node = -heapq.heappop(heap)[1]
        split = False
        if node >= n and not below[node]:
            left, right = children[node - n].tolist()
            more = count < clusters if clusters is not None else heights[node] > distance
            split = bool(above[node] or (more and not (below[left] and below[right])))
        if not split:
            kept.append(node)
            continue
        count += int(not below[left]) + int(not below[right]) - 1
        for child in (left, right):
            heapq.heappush(heap, (-heights[child], -child))
    labels = np.full(2 * n - 1, -1)
    labels[kept] = np.arange(len(kept))
    for node in range(2 * n - 2, n - 1, -1):  # parents before children
        if labels[node] >= 0:
            labels[children[node - n]] = labels[node]
    return labels[:n]


class _Clusters:
    """Clusters while groups join them: numbered 0 … c-1, with what they hold so far."""

    def __init__(self, counts: GroupCounts, labels: np.ndarray, bounds: Bounds):
        self.counts, self.labels, self.bounds = counts, labels, bounds
        members = labels >= 0
        self.size = int(labels.max()) + 1
        self.products, self.examples = (
            np.bincount(labels[members], of[members], self.size).astype(np.int64)
            for of in (counts.products, counts.examples)
        )

    def membership(self) -> Any:
        """[G,c], 1 where a group is in a cluster."""
        scipy = require_scipy()
        members = np.flatnonzero(self.labels >= 0)
        place = (np.ones(len(members), np.int64), (members, self.labels[members]))
        return scipy.sparse.csr_array(place, shape=(len(self.labels), self.size))

    def has_room(self, group: int) -> np.ndarray:
        """[c]: whether each cluster stays within the upper bounds with this group."""
        counts = self.counts
        return ~self.bounds.above(self.products + counts.products[group], self.examples + counts.examples[group])

    def put(self, group: int, label: int) -> None:
        for held, of in ((self.products, self.counts.products), (self.examples, self.counts.examples)):
            if self.labels[group] >= 0:
                held[self.labels[group]] -= of[group]
            held[label] += of[group]
        self.labels[group] = label

    def largest(self) -> int:
        return int(np.argmax(self.examples))


def _best(matrix: Any, row: int, allowed: np.ndarray) -> tuple[int, int]:
    """The allowed column of a row of a CSR matrix that holds most, the first of equals, and what it holds; -1 and 0."""
    span = slice(matrix.indptr[row], matrix.indptr[row + 1])
    columns = matrix.indices[span]
    held = np.where(allowed[columns], matrix.data[span], 0)
    if not len(held) or not held.max() > 0:
        return -1, 0
    place = int(np.argmax(held))
    return int(columns[place]), int(held[place])


def _exchanged(exchanges: Any, clusters: _Clusters, groups: np.ndarray) -> Any:
    """[groups,c]: what groups exchange with clusters as they are now."""
    total = (exchanges[groups] @ clusters.membership()).tocsr()
    total.sort_indices()
    return total


def _merge_small(clusters: _Clusters) -> None:
    """Clusters below the lower bounds, the smallest first, join the one that they exchange most with."""
    products, examples, alive = clusters.products, clusters.examples, np.ones(clusters.size, bool)
    if not clusters.bounds.below(products, examples).any():
        return
    membership = clusters.membership()
    exchanged = (membership.T @ clusters.counts.exchanges @ membership).toarray()
    into = np.arange(clusters.size)
    while alive.sum() > 1:
        small = np.flatnonzero(alive & clusters.bounds.below(products, examples))
        if not len(small):
            break
        c = int(small[np.lexsort((products[small], examples[small]))[0]])
        others = alive.copy()
        others[c] = False
        room = others & ~clusters.bounds.above(products + products[c], examples + examples[c])
        candidates = np.flatnonzero(room if room.any() else others)
        target = int(candidates[np.lexsort((-examples[candidates], -exchanged[c, candidates]))[0]])
        exchanged[target] += exchanged[c]
        exchanged[:, target] += exchanged[:, c]
        products[target] += products[c]
        examples[target] += examples[c]
        products[c] = examples[c] = 0
        alive[c] = False
        into[into == c] = target
    members = clusters.labels >= 0
    clusters.labels[members] = into[clusters.labels[members]]


def _join(clusters: _Clusters, groups: np.ndarray, how: np.ndarray) -> int:
    """Every one of `groups` joins a cluster; what they exchange with clusters is fixed before the first does.

    Those with most examples choose first, among clusters with room where any has. Gives back the default cluster.
    """
    counts = clusters.counts
    groups = groups[np.lexsort((groups, -counts.examples[groups]))]
    evidence = (
        (BY_RECOMMENDATIONS, _exchanged(counts.exchanges, clusters, groups)),
        (BY_TRANSITIONS, _exchanged(_symmetric(counts.transitions), clusters, groups)),
    )
    exists = np.bincount(clusters.labels[clusters.labels >= 0], minlength=clusters.size) > 0

    def allowed(group: int) -> np.ndarray:
        room = clusters.has_room(group) & exists
        return room if room.any() else exists

    rest = []
    for row, group in enumerate(groups.tolist()):
        open_to = allowed(group)
        for way, matrix in evidence:
            label, _ = _best(matrix, row, open_to)
            if label >= 0:
                clusters.put(group, label)
                how[group] = way
                break
        else:
            rest.append(group)
    default = clusters.largest()
    akin = _akin(clusters)
    for group in rest:
        open_to = allowed(group)
        label = _best(akin, int(counts.first[group]), open_to)[0] if counts.first[group] >= 0 else -1
        how[group] = BY_FIRST if label >= 0 else BY_DEFAULT
        if label < 0:
            label = default if open_to[default] else int(np.argmax(np.where(open_to, clusters.examples, -1)))
        clusters.put(group, label)
    return default


def _akin(clusters: _Clusters) -> Any:
    """[firsts,c]: products of each first attribute in each cluster."""
    scipy = require_scipy()
    first, labels = clusters.counts.first, clusters.labels
    here = (first >= 0) & (labels >= 0)
    place = (clusters.counts.products[here], (first[here], labels[here]))
    return scipy.sparse.coo_array(place, shape=(int(first.max(initial=-1)) + 1, clusters.size)).tocsr()


def _finished(clusters: _Clusters, how: np.ndarray, default: int, **dendrogram: np.ndarray) -> GroupClusters:
    """Numbered anew, 0 the cluster with most examples."""
    used = np.unique(clusters.labels)
    order = used[np.lexsort((used, -clusters.products[used], -clusters.examples[used]))]
    number = np.full(clusters.size, -1)
    number[order] = np.arange(len(order))
    return GroupClusters(number[clusters.labels], how, int(number[default]), **dendrogram)


def cluster_groups(
    counts: GroupCounts,
    *,
    large: float | int,
    clusters: int | None = None,
    distance: float | None = None,
    linkage: str = "average",
    bounds: Bounds = Bounds(),
) -> GroupClusters:
    """Cluster the large groups by what they exchange, and let all others join. See :func:`stamp.cluster_catalog`."""
    scipy = require_scipy()
    leaves = large_groups(counts.clicks, large)
    if clusters is not None and clusters > len(leaves):
        raise ValueError(
            f"cluster_catalog: clusters is {clusters}, but large={large} leaves {len(leaves)} of {len(counts)} groups to "
            "cluster; raise large, or take an attribute of more values"
        )
    tree = np.empty((0, 4))
    if len(leaves) > 1:
        tree = scipy.cluster.hierarchy.linkage(condensed_distances(counts.exchanges, leaves), linkage)
        tree[:, 2] = tree[:, 2].astype(np.float32)  # as files keep them
    labels, how = np.full(len(counts), -1), np.full(len(counts), CLUSTERED, np.int8)
    labels[leaves] = cut(tree, counts.products[leaves], counts.examples[leaves], clusters, distance, bounds)
    held = _Clusters(counts, labels, bounds)
    _merge_small(held)
    default = _join(held, np.flatnonzero(labels < 0), how)
    return _finished(held, how, default, leaves=leaves, linkage=tree)


def continue_groups(
    counts: GroupCounts, before: np.ndarray, *, stickiness: float, bounds: Bounds = Bounds()
) -> GroupClusters:
    """Clusters of groups that had labels `before` (-1: new groups), which keep them unless evidence moves them.

    A group moves to a cluster, if it has room, that exchanges more than 1 + `stickiness` times what the rest of its own
    does. A group that holds half of the clicks of its cluster is what that cluster is about, and stays. All moves are
    judged by the labels `before`. Labels keep their meaning; `default` is the cluster with most examples.
    """
    ids, labels = np.unique(before, return_inverse=True)
    if ids[0] < 0:
        ids, labels = ids[1:], labels - 1
    how = np.full(len(counts), KEPT, np.int8)
    held = _Clusters(counts, labels, bounds)
    old = np.flatnonzero(labels >= 0)
    exchanged = _exchanged(counts.exchanges, held, old)
    within = counts.exchanges.diagonal()
    clicks = np.bincount(labels[old], counts.clicks[old], held.size)
    starts = labels.copy()
    for row, group in enumerate(old.tolist()):
        own = int(starts[group])
        if 2 * counts.clicks[group] >= clicks[own]:
            continue
        others = held.has_room(group)
        others[own] = False
        target, most = _best(exchanged, row, others)
        mine = np.zeros(held.size, bool)
        mine[own] = True
        if most > (1 + stickiness) * (_best(exchanged, row, mine)[1] - within[group]):
            held.put(group, target)
            how[group] = MOVED
    _merge_small(held)
    how[old[held.labels[old] != starts[old]]] = MOVED
    default = _join(held, np.flatnonzero(labels < 0), how)
    return GroupClusters(ids[held.labels], how, int(ids[default]))
