"""A catalog split into clusters, one model each: by what a model of the whole catalog recommends across groups."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import _stamp
from ..base.checks import whole_number
from ..base.files import check_file, tensors_metadata
from ..base.progress import make_bar
from ..data.products import Products
from ..data.sessions import Sessions
from ..data.tables.columns import object_array
from ..data.tables.ids import Ids, catalog_ids, find_rows, pack_strings, require_one_kind
from ..models.stamp_recommender import StampRecommender
from .dendrogram import Dendrogram
from .figures import plot_clusters
from .grouping import LINKAGES, WAYS, Bounds, GroupCounts, cluster_groups, continue_groups, require_scipy

_FORMAT, _VERSION = "stamp-clusters", "1"


@dataclass(frozen=True, eq=False, repr=False)
class CatalogClusters:
    """Which cluster every product belongs to. Made by :func:`cluster_catalog`, or read by :meth:`load`.

    Attributes
    ----------
    item_ids, labels : array [n], int32 array [n]
        Products, those of the model first, and the cluster of each.
    attribute : tuple of str
        What products were grouped by.
    default : int
        The cluster of products of which nothing is known: the one with most examples.
    ids : tuple of int
        The clusters, sorted.
    recommendations, transitions : int64 arrays [c,c]
        In the order of `ids`: how often the model recommended products of one cluster (column) to visitors at another
        (row), and how often visitors went there.
    report : dict
        How many products and groups came to their cluster in which way, what is beyond bounds, and what was counted.
    dendrogram : Dendrogram or None
        None where earlier clusters were continued.
    """

    item_ids: np.ndarray
    labels: np.ndarray
    attribute: tuple[str, ...]
    default: int
    ids: tuple[int, ...]
    recommendations: np.ndarray
    transitions: np.ndarray
    report: dict[str, Any]
    dendrogram: Dendrogram | None = None

    @property
    def n_products(self) -> dict[int, int]:
        """Products of each cluster."""
        return {c: int(np.count_nonzero(self.labels == c)) for c in self.ids}

    @property
    def n_examples(self) -> dict[int, int]:
        """Examples of each cluster: pairs of neighbouring events of known products, the first of them in the cluster."""
        return dict(zip(self.ids, self.transitions.sum(axis=1).tolist()))

    @property
    def recommendations_inside(self) -> float:
        """Share of the full model's recommendations that stay in the cluster of the anchor."""
        return float(np.trace(self.recommendations) / max(1, self.recommendations.sum()))

    @property
    def transitions_inside(self) -> float:
        """Share of what visitors did that stays in the cluster of the anchor."""
        return float(np.trace(self.transitions) / max(1, self.transitions.sum()))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of products and labels: equal where, and only where, all products have the same clusters."""
        hashed = hashlib.blake2b(digest_size=8)
        for array in (*_id_tensors(self.item_ids).values(), self.labels):
            hashed.update(array.tobytes())
        return hashed.hexdigest()

    @cached_property
    def _catalog(self) -> _stamp.Catalog:
        ids = Ids("CatalogClusters", self.item_ids)
        catalog = _stamp.Catalog(ids.kind)
        ids.add_to(catalog)
        return catalog

    def products_of(self, id: int) -> np.ndarray:
        """Ids of the products of a cluster."""
        self._place(id)
        return self.item_ids[self.labels == id]

    def label_of(self, item: Any) -> int:
        """The cluster of a product; `default` for one that is not here. ValueError for an id of another kind."""
        row = int(find_rows("label_of: item", [item], self._catalog, "the clusters")[0])
        return int(self.labels[row]) if row >= 0 else self.default

    def parent(self, id: int) -> int | None:
        """The cluster that this one exchanges most recommendations with, or else most transitions; the one with most
        examples where it exchanges nothing, None where there is no other. Takes over when a cluster cannot have a model.
        """
        place = self._place(id)
        if len(self.ids) == 1:
            return None
        evidence = [(m + m.T)[place] for m in (self.recommendations, self.transitions)] + [self.transitions.sum(axis=1)]
        ranked = np.lexsort([-np.delete(values, place) for values in reversed(evidence)])
        return self.ids[int(np.delete(np.arange(len(self.ids)), place)[ranked[0]])]

    def _place(self, id: int) -> int:
        if id not in self.ids:
            raise ValueError(f"CatalogClusters: there is no cluster {id!r}, expected one of {_listed(self.ids)}")
        return self.ids.index(id)

    def ids_json(self) -> str:
        """The clusters as a JSON list, as a parallel loop of a pipeline takes them."""
        return json.dumps(self.ids)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one file, aside and then renamed: safetensors, with what is not an array in its metadata.

        Raises
        ------
        RuntimeError
            It cannot be written, or a file stands there that is neither one of clusters nor empty.
        """
        check_clusters_file(path)
        tensors = {
            **_id_tensors(self.item_ids),
            "labels": self.labels,
            "clusters": np.array(self.ids, np.int32),
            "recommendations": self.recommendations,
            "transitions": self.transitions,
        }
        if self.dendrogram is not None:
            tree = self.dendrogram
            names, offsets = pack_strings(tree.names)
            tensors |= {
                "dendrogram.merges": tree.linkage[:, [0, 1, 3]].astype(np.int32),
                "dendrogram.heights": tree.linkage[:, 2].astype(np.float32),
                "dendrogram.name_bytes": np.frombuffer(names, np.uint8),
                "dendrogram.name_offsets": offsets,
                "dendrogram.labels": tree.labels,
                "dendrogram.pairs": tree.pairs,
                "dendrogram.counts": tree.counts,
            }
        metadata = {"format": _FORMAT, "version": _VERSION, "attribute": json.dumps(self.attribute),
                    "default": str(self.default), "report": json.dumps(self.report)}  # fmt: skip
        _stamp.write_tensors(os.fspath(path), tensors, {**metadata, "checksum": _checksum(tensors, metadata)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CatalogClusters:
        """Read what :meth:`save` wrote. RuntimeError where the file is damaged, of another version, or not one."""
        name = os.fspath(path)
        tensors, metadata = _stamp.read_tensors(name)
        if metadata.get("format") != _FORMAT:
            raise RuntimeError(f"{name}: not a file of catalog clusters")
        if metadata.get("version") != _VERSION:
            raise RuntimeError(f"{name}: clusters of version {metadata.get('version')}, expected {_VERSION}")
        if metadata.pop("checksum", "") != _checksum(tensors, metadata):
            raise RuntimeError(f"{name}: the checksum differs from the contents, the file is damaged")
        tree = None
        if "dendrogram.merges" in tensors:
            merges = tensors["dendrogram.merges"]
            linkage = np.column_stack([merges[:, :2], tensors["dendrogram.heights"], merges[:, 2]]).astype(np.float64)
            names = _strings(tensors["dendrogram.name_bytes"], tensors["dendrogram.name_offsets"])
            rest = (tensors[f"dendrogram.{of}"] for of in ("labels", "pairs", "counts"))
            tree = Dendrogram(linkage, names, *rest)
        if "ids" in tensors:
            item_ids = tensors["ids"]
        else:
            item_ids = object_array(_strings(tensors["id_bytes"], tensors["id_offsets"]))
        return cls(
            item_ids, tensors["labels"], tuple(json.loads(metadata["attribute"])), int(metadata["default"]),
            tuple(tensors["clusters"].tolist()), tensors["recommendations"], tensors["transitions"],
            json.loads(metadata["report"]), tree,
        )  # fmt: skip

    def plot(self) -> Any:
        """A matplotlib figure: the dendrogram, and what its leaves exchange in the order of the leaves, clusters framed.

        Without a dendrogram the matrix is of whole clusters.
        """
        return plot_clusters(self.dendrogram, self.recommendations, self.ids, title=self._footer())

    def _rows(self) -> list[list[str]]:
        stays = np.diag(self.recommendations) / np.maximum(1, self.recommendations.sum(axis=1))
        products, examples = self.n_products, self.n_examples
        rows = [
            [str(c), f"{products[c]:,}", f"{examples[c]:,}", f"{100 * share:.1f} %", str(self.parent(c))]
            for c, share in list(zip(self.ids, stays))[:20]
        ]
        return rows if len(self.ids) <= 20 else [*rows, ["…"] * 5]

    def _footer(self) -> str:
        return (
            f"{len(self.ids):,} clusters of {len(self.item_ids):,} products by {' / '.join(self.attribute)}, default "
            f"{self.default}; inside: {100 * self.recommendations_inside:.1f} % of recommendations, "
            f"{100 * self.transitions_inside:.1f} % of transitions"
        )

    def __repr__(self) -> str:
        lines = ["".join(f"{cell:>11}" for cell in row) for row in [_HEAD, *self._rows()]]
        return "\n".join([*lines, self._footer()])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{cell}</th>" for cell in _HEAD)
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in self._rows())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{self._footer()}</p>"


def check_clusters_file(path: str | os.PathLike[str]) -> None:
    """Raises RuntimeError where no clusters can be saved to `path`, before there are any."""
    check_file(path)
    if os.path.exists(path) and os.path.getsize(path) and tensors_metadata(path).get("format") != _FORMAT:
        raise RuntimeError(f"cannot replace {os.fspath(path)}: it is not a file of catalog clusters; name another")


_HEAD = ["cluster", "products", "examples", "inside", "parent"]


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:10])) + (", …" if len(ids) > 10 else "")


def _id_tensors(item_ids: np.ndarray) -> dict[str, np.ndarray]:
    """As a catalog keeps its ids in files."""
    ids = Ids("CatalogClusters", item_ids)
    if ids.integers is not None:
        return {"ids": ids.integers}
    return {"id_bytes": np.frombuffer(ids.bytes, np.uint8), "id_offsets": np.asarray(ids.offsets)}


def _strings(text: np.ndarray, offsets: np.ndarray) -> list[str]:
    whole = text.tobytes()
    return [whole[a:b].decode() for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist())]


def _checksum(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    hashed = hashlib.blake2b(json.dumps(sorted(metadata.items())).encode(), digest_size=16)
    for name in sorted(tensors):
        hashed.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        hashed.update(np.ascontiguousarray(tensors[name]).data)
    return hashed.hexdigest()


@dataclass(frozen=True, eq=False)
class _Grouping:
    """Products by attribute: the group of each product of `catalog`, names of groups, and what makes groups akin."""

    catalog: _stamp.Catalog
    groups: np.ndarray  # [n] int32
    names: list[str]  # [G]
    first: np.ndarray | None  # [G] code of the first of several attributes


def _group_products(products: Products, model: StampRecommender, attribute: tuple[str, ...]) -> _Grouping:
    known = Ids("cluster_catalog: the model's products", model.item_ids_)
    require_one_kind("cluster_catalog: items", products._catalog, "the model", model._catalog)
    catalog = _stamp.Catalog(known.kind)
    known.add_to(catalog)
    products.add_to(catalog)
    columns = [products.codes(name, catalog) for name in attribute]
    codes = np.stack([codes for codes, _ in columns], axis=1)
    whole = (codes >= 0).all(axis=1)
    values, group = np.unique(codes[whole], axis=0, return_inverse=True)
    alone = np.flatnonzero(~whole)
    groups = np.empty(len(catalog), np.int32)
    groups[whole] = group.ravel()
    groups[alone] = len(values) + np.arange(len(alone))
    ids = catalog.ids()
    names = [" / ".join(texts[code] for (_, texts), code in zip(columns, row)) for row in values.tolist()]
    names += [str(ids[row]) for row in alone.tolist()]
    first = np.concatenate([values[:, 0], codes[alone, 0]]) if len(attribute) > 1 else None
    return _Grouping(catalog, groups, names, first)


def _count(
    model: StampRecommender, sessions: Sessions, grouping: _Grouping, k: int, examples: int | None, progress: bool
) -> tuple[GroupCounts, int]:
    """What the model recommends and visitors do across groups; the examples that recommendations were counted over."""
    sparse, size = require_scipy().sparse, len(grouping.names)
    core = sessions.rows_in(model._catalog, "cluster_catalog: sessions", "the model")
    of_model = grouping.groups[: len(model._catalog)]

    def matrix(pairs: _stamp.Pairs) -> Any:
        rows, columns, counts, _ = pairs
        return sparse.coo_array((counts, (rows, columns)), shape=(size, size)).tocsr()

    transitions = matrix(_stamp.group_transitions(core, of_model))
    if not transitions.nnz:
        raise ValueError("cluster_catalog: no session has two events of products that the model knows")
    bar: Any = None

    def advance(done: int, total: int) -> None:
        nonlocal bar
        if progress:
            bar = bar or make_bar(total, "recommend", "examples")
            bar.update(done - bar.n)

    try:
        recommended = _stamp.cross_recommendations(model._model, core, of_model, k, examples or 0, advance)
    finally:
        if bar is not None:
            bar.close()
    clicks = np.bincount(of_model, _stamp.item_counts(core, len(of_model)), size).astype(np.int64)
    products = np.bincount(grouping.groups, minlength=size)
    return GroupCounts(matrix(recommended), transitions, products, clicks, grouping.first), recommended[3]


def _labels_before(previous: CatalogClusters, grouping: _Grouping, clicks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Earlier labels of products [n] and groups [G], -1 for new ones: of a group that of most of its clicks, or else of
    most of its products."""
    rows = Ids("cluster_catalog: previous", previous.item_ids).find_in(grouping.catalog, "the model")
    of_product = np.full(len(grouping.catalog), -1)
    of_product[rows[rows >= 0]] = previous.labels[rows >= 0]
    old = np.flatnonzero(of_product >= 0)
    if not len(old):
        raise ValueError("cluster_catalog: previous has none of these products")
    weights = np.ones(len(grouping.catalog))
    weights[: len(clicks)] += clicks * float(len(weights) + 1)
    pairs, place = np.unique(np.stack([grouping.groups[old], of_product[old]]), axis=1, return_inverse=True)
    total = np.bincount(place.ravel(), weights[old])
    order = np.lexsort((pairs[1], -total, pairs[0]))
    groups, first = np.unique(pairs[0][order], return_index=True)
    of_group = np.full(len(grouping.names), -1)
    of_group[groups] = pairs[1][order][first]
    return of_product, of_group


def cluster_catalog(
    model: StampRecommender,
    items: Any,
    sessions: Sessions,
    *,
    attribute: str | Sequence[str],
    clusters: int | None = None,
    distance: float | None = None,
    large: float | int = 0.9,
    linkage: str = "average",
    k: int = 20,
    examples: int | None = 500_000,
    min_products: int | None = None,
    max_products: int | None = None,
    min_examples: int | None = None,
    max_examples: int | None = None,
    previous: CatalogClusters | None = None,
    stickiness: float = 1.0,
    progress: bool = True,
) -> CatalogClusters:
    """Split a catalog into clusters of products that are recommended together, so that each can have its own model.

    Products are grouped by `attribute`. C_gh counts how often a model of the whole catalog recommends products of group
    h when the last event is of group g. Both directions are added up, S = C + Cᵀ, and the distance between groups is
    d_gh = 1 - S_gh / sqrt(n_g n_h) with n_g = Σ_h≠g S_gh, between 0 and 1: without the division the largest groups would
    be close to all, and what stays within a group says nothing about where else it belongs.
    The largest groups are clustered by `linkage`, and the dendrogram is cut from its root down. All others then join the
    cluster that they exchange most recommendations with, judged by the clusters of large groups alone, so that their
    order does not matter; without recommendations, most transitions of visitors; without these the cluster of most
    products with the same first of several attributes; else the one with most examples. docs/clusters.md has figures.

    Parameters
    ----------
    model : StampRecommender
        Fitted on the whole catalog.
    items : Products, or whatever :meth:`Products.from_frame` reads
        Products without the attribute, or not here, are groups of one. Those that the model does not know get a cluster
        with their group.
    sessions : Sessions
        To recommend for; those that the model was fitted on, say.
    attribute : str or sequence of str
        What products are grouped by; several: by all of their values together.
    clusters, distance : int, float
        One of them: how many clusters, or the distance above which groups are kept apart, at most 1 (ward: more).
    large : float or int
        The fewest groups that hold this share of the clicks are clustered first, or so many of the largest. n of them
        take 8n² bytes: 3.2 GB for 20,000.
    linkage : {"average", "complete", "single", "ward", "weighted"}
        As of scipy.cluster.hierarchy.linkage.
    k : int
        Recommendations an example.
    examples : int, optional
        Recommend for so many, evenly spread over all; None for all.
    min_products, max_products, min_examples, max_examples : int, optional
        Bounds of clusters. An example is a pair of neighbouring events, and belongs to the cluster of the first. What is
        above is split, a single group excepted; what is below, counting large groups alone, joins the cluster that it
        exchanges most with, and does not count among `clusters`. ``report["beyond_bounds"]`` lists what stays beyond.
    previous : CatalogClusters, optional
        Continue these: groups keep their cluster (that of most of their clicks), new ones join, and a group moves only
        to a cluster that exchanges more than 1 + `stickiness` times what the rest of its own does. Neither `clusters`
        nor `distance` then. Labels keep their meaning, empty clusters vanish, and no new ones are made.
    progress : bool
        A bar while recommending.

    Raises
    ------
    ValueError
        An option, the attribute or the sessions cannot be; the message says why.
    ImportError
        scipy is missing: ``pip install 'stamp-recommender[cluster]'``.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=2000, products=200, seed=1)
    >>> model = stamp.StampRecommender(dim=16, epochs=2).fit(shop.sessions, progress=False)
    >>> items = stamp.Products.from_frame(shop.products, item_id="id")
    >>> found = stamp.cluster_catalog(model, items, shop.sessions, attribute="category", clusters=3, progress=False)
    >>> found.ids
    (0, 1, 2)
    """
    names = (attribute,) if isinstance(attribute, str) else tuple(attribute)
    _check(model, sessions, names, clusters, distance, linkage, k, examples, previous, stickiness)
    bounds = Bounds(min_products, max_products, min_examples, max_examples)
    require_scipy()
    if not isinstance(items, Products):
        items = Products.from_frame(items, categories=names, keep=())
    grouping = _group_products(items, model, names)
    counts, counted = _count(model, sessions, grouping, k, examples, progress)
    of_model = len(model._catalog)
    before = np.full(len(grouping.catalog), -1)
    if previous is None:
        found = cluster_groups(
            counts, large=large, clusters=clusters, distance=distance, linkage=linkage, bounds=bounds
        )
    else:
        core = sessions.rows_in(model._catalog, "cluster_catalog: sessions", "the model")
        clicks = _stamp.item_counts(core, of_model)
        before, of_groups = _labels_before(previous, grouping, clicks)
        found = continue_groups(counts, of_groups, stickiness=stickiness, bounds=bounds)

    labels = found.labels[grouping.groups].astype(np.int32)
    ids = np.unique(labels)
    place = np.searchsorted(ids, found.labels)
    sparse = require_scipy().sparse
    member = sparse.csr_array((np.ones(len(place), np.int64), (np.arange(len(place)), place)))
    recommended, gone = ((member.T @ of @ member).toarray() for of in (counts.recommendations, counts.transitions))
    held = np.bincount(np.searchsorted(ids, labels)), gone.sum(axis=1)
    report = {
        "groups": _by_way(found.how),
        "products": _by_way(found.how[grouping.groups]),
        "beyond_bounds": [
            {"cluster": int(c), "products": int(products), "examples": int(pairs)}
            for c, products, pairs, beyond in zip(ids, *held, bounds.below(*held) | bounds.above(*held))
            if beyond
        ],
        "examples": counted,
        "products_unknown_to_model": len(labels) - of_model,
    }
    if previous is not None:
        report["products_moved"] = int(np.count_nonzero((before >= 0) & (before != labels)))
    tree = None
    if found.leaves is not None and found.linkage is not None:
        pairs = sparse.triu(counts.exchanges[found.leaves][:, found.leaves], 1).tocoo()
        tree = Dendrogram(
            found.linkage, [grouping.names[group] for group in found.leaves.tolist()],
            found.labels[found.leaves].astype(np.int32), np.stack([pairs.row, pairs.col], axis=1).astype(np.int32),
            pairs.data,
        )  # fmt: skip
    return CatalogClusters(
        catalog_ids(grouping.catalog),
        labels,
        names,
        found.default,
        tuple(ids.tolist()),
        recommended,
        gone,
        report,
        tree,
    )


def _by_way(how: np.ndarray) -> dict[str, int]:
    counts = np.bincount(how, minlength=len(WAYS)).tolist()
    return {way: count for way, count in zip(WAYS, counts) if count}


def _check(
    model: Any, sessions: Any, names: tuple[str, ...], clusters: int | None, distance: float | None, linkage: str, k: int,
    examples: int | None, previous: Any, stickiness: float,
) -> None:  # fmt: skip
    call = "cluster_catalog"
    if not isinstance(model, StampRecommender):
        raise ValueError(f"{call}: model is {type(model).__name__}, expected a fitted stamp.StampRecommender")
    model._require_fitted(call)
    if not isinstance(sessions, Sessions):
        raise ValueError(
            f"{call}: sessions is {type(sessions).__name__}, expected stamp.Sessions (see Sessions.from_frame)"
        )
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{call}: attribute is {names}, expected a name or several different ones")
    if previous is not None and not isinstance(previous, CatalogClusters):
        raise ValueError(f"{call}: previous is {type(previous).__name__}, expected stamp.CatalogClusters")
    if previous is not None and (clusters is not None or distance is not None):
        raise ValueError(
            f"{call}: previous clusters are continued; neither clusters nor distance can be given with them"
        )
    if previous is None and (clusters is None) == (distance is None):
        raise ValueError(
            f"{call}: {'neither' if clusters is None else 'both'} of clusters and distance given, expected one"
        )
    if clusters is not None:
        whole_number(f"{call}: clusters", clusters, least=1)
    if distance is not None and not distance >= 0:
        raise ValueError(f"{call}: distance is {distance!r}, expected 0 or more")
    if linkage not in LINKAGES:
        raise ValueError(f"{call}: linkage is {linkage!r}, expected one of {', '.join(LINKAGES)}")
    whole_number(f"{call}: k", k, least=1)
    if examples is not None:
        whole_number(f"{call}: examples", examples, least=1)
    if not stickiness >= 0:
        raise ValueError(f"{call}: stickiness is {stickiness!r}, expected 0 or more")
