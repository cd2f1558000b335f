"""One catalog for all: the products that anybody knows, and what is known of them laid out in its rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ... import _stamp
from ...data.products import Products
from ...data.sessions import Sessions
from ...data.tables.ids import Ids, catalog_ids, find_rows, require_one_kind
from ...models.clustered import ClusteredRecommender
from ...models.stamp_recommender import StampRecommender
from ...serving.recommender import Recommender
from ..recordings.checks import require_fitted
from .asking import Foreign, Served


def union_catalog(
    answering: Sequence[Served | Foreign], sessions: Sessions, train: Sessions | None, products: Products | None
) -> _stamp.Catalog:
    """The products that recommenders know, that occur in sessions, or that the shop names."""
    catalogs = [(each.name, each.item_ids) for each in answering if each.item_ids is not None]
    for what, part in (("sessions", sessions), ("train", train)):
        if part is not None:
            counts = _stamp.item_counts(part._core, len(part._catalog))
            catalogs.append((what, part.item_ids[counts > 0]))
    if products is not None:
        catalogs.append(("products", products.item_ids))
    columns = [(name, ids) for name, item_ids in catalogs if len(ids := Ids(f"replay: {name}", item_ids))]
    union = _stamp.Catalog(columns[0][1].kind if columns else "integers")
    for _, ids in columns:
        require_one_kind(ids.what, ids, columns[0][0], union)
        ids.add_to(union)
    return union


def find_embeddings(call: str, embeddings: Any, recommenders: Mapping[str, Any]) -> tuple[Any, np.ndarray] | None:
    """Ids and vectors [n,D]: as given, else those of the first StampRecommender, else of the first bundle of one
    network."""
    if isinstance(embeddings, StampRecommender):
        require_fitted(call, "embeddings", embeddings)
        return embeddings.item_ids_, embeddings.weights_["items"]
    if embeddings is not None:
        try:
            ids, vectors = embeddings
            return ids, np.asarray(vectors, np.float32)
        except (TypeError, ValueError):
            what = type(embeddings).__name__
            raise ValueError(
                f"{call}: embeddings is {what}, expected a StampRecommender or (ids, vectors), numbers [n,D]"
            ) from None
    for name, each in recommenders.items():
        if isinstance(each, StampRecommender):
            require_fitted(call, f"'{name}'", each)
            return each.item_ids_, each.weights_["items"]
    for path in filter(None, map(_path_of, recommenders.values())):
        if len(_stamp.read_bundle(path).clusters) == 1:  # which loads no network
            bundle = _stamp.load_bundle(path, _stamp.open_device("cpu", "auto"))
            [network] = bundle.clusters
            return catalog_ids(bundle.catalog)[network["rows"]], network["model"].weights()["items"]
    return None


def _path_of(recommender: Any) -> str | None:
    """Of a bundle, or of what was read from one."""
    path = recommender.path if isinstance(recommender, Recommender) else recommender
    return os.fspath(path) if isinstance(path, (str, os.PathLike)) else None


def lay_out(catalog: _stamp.Catalog, ids: Any, vectors: Any) -> np.ndarray:
    """Vectors [V,D] by row of the catalog, 0 where there is none."""
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise ValueError(f"replay: embeddings are {len(ids)} ids and vectors of shape {vectors.shape}, expected [n,D]")
    rows = find_rows("replay: embeddings", ids, catalog, "the recommenders and sessions")
    table = np.zeros((len(catalog), vectors.shape[1]), np.float32)
    table[rows[rows >= 0]] = vectors[rows >= 0]
    return table


def clusters_of(catalog: _stamp.Catalog, recommenders: Iterable[Any]) -> np.ndarray | None:
    """Cluster [V] of each product in the first bundle that has several."""
    for each in recommenders:
        path = _path_of(each)
        if path is not None:
            bundle = _stamp.read_bundle(path)
            rows = Ids("replay: the bundle", catalog_ids(bundle.catalog)).find_in(catalog, "the replay")
            described = [(cluster["id"], cluster["rows"]) for cluster in bundle.clusters]
        elif isinstance(each, ClusteredRecommender):
            rows = Ids("replay: the clusters", each.item_ids_).find_in(catalog, "the replay")
            described = [(cluster, part) for cluster, (part, _) in zip(each.models, each._parts)]
        else:
            continue
        if len(described) > 1:
            clusters = np.full(len(catalog), -1, np.int64)
            for cluster, part in described:
                clusters[rows[part]] = cluster
            return clusters
    return None
