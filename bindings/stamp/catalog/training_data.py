"""What clusters train on: all sessions, read once, or prepared data, of which each cluster reads its own files."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import _stamp
from ..data.objectives import kept_for
from ..data.prepared.labels import fingerprint_of, read_labels
from ..data.prepared.layout import CATALOG, SESSIONS
from ..data.prepared.manifest import ClusterCounts, fingerprint
from ..data.prepared.prepared import Prepared, is_prepared, open_prepared
from ..data.prepared.session_events import catalog_of_sessions, sessions_seen_from
from ..data.sessions import Sessions, labelled_for
from ..data.tables.ids import Ids, catalog_ids
from .clusters import CatalogClusters

Counts = tuple[int, int, int]  # products, examples, and those whose target is inside


class TrainingData(abc.ABC):
    """Sessions, as planning and cutting trainings see them.

    Attributes
    ----------
    catalog : Catalog
        Of the V products, in the order in which they first occur.
    item_ids, clicks : arrays [V]
    fingerprint : str
        Equal where the data are.
    """

    catalog: _stamp.Catalog
    item_ids: np.ndarray
    clicks: np.ndarray
    fingerprint: str

    @abc.abstractmethod
    def count(self, ids: np.ndarray, labels: np.ndarray, into: Mapping[int, int]) -> dict[int, Counts]:
        """Of every cluster. `labels` [V]: the place in `ids` of the cluster of each product, or -1, where those that are
        keys of `into` are merged already."""

    @abc.abstractmethod
    def seen_from(self, clusters: Sequence[int]) -> _stamp.Sessions:
        """Sessions of which cluster_sessions makes what these clusters, merged, see of all."""


def training_data(
    data: Any, clusters: CatalogClusters, reading: Mapping[str, Any] | None, objectives: Sequence[str] = ()
) -> TrainingData:
    """`data` and `reading` as of train_cluster, whose messages begin so, with labels for `objectives`."""
    if is_prepared(data):
        if reading:
            raise ValueError("train_cluster: reading is for data that are not prepared")
        return PartitionedData(open_prepared(data), clusters, objectives)
    if not isinstance(data, Sessions):
        given = reading or {}
        data = Sessions.from_frame(data, **{"keep": kept_for(objectives, given), **given})
    elif reading:
        raise ValueError("train_cluster: reading is for data that is read here, data is a Sessions")
    return WholeData(labelled_for("train_cluster", data, objectives))


class WholeData(TrainingData):
    def __init__(self, sessions: Sessions):
        self._core = sessions._core
        self.catalog, self.item_ids = sessions._catalog, sessions.item_ids
        self.clicks = _stamp.item_counts(self._core, len(self.catalog))
        self.fingerprint = _fingerprint(self._core, self.item_ids)

    def count(self, ids: np.ndarray, labels: np.ndarray, into: Mapping[int, int]) -> dict[int, Counts]:
        examples, inside = _stamp.count_cluster_examples(self._core, labels, len(ids))
        products = np.bincount(labels[(labels >= 0) & (self.clicks > 0)], minlength=len(ids))
        return dict(zip(ids.tolist(), zip(products.tolist(), examples.tolist(), inside.tolist())))

    def seen_from(self, clusters: Sequence[int]) -> _stamp.Sessions:
        return self._core


class PartitionedData(TrainingData):
    """Nothing but the products is held, and the counts of the manifest; a cluster's files are read when it is cut."""

    def __init__(self, prepared: Prepared, clusters: CatalogClusters, objectives: Sequence[str]):
        """Raises ValueError where the sessions are not laid out by these clusters, or no event can be what an objective
        names. Whether there is one, no cluster knows."""
        _require_laid_out(prepared, clusters)
        _require_types(prepared, objectives)
        self._prepared, self._objectives = prepared, objectives
        self.catalog, self.clicks = catalog_of_sessions("train_cluster", prepared)
        self.item_ids = catalog_ids(self.catalog)
        files = [*prepared.manifest.below(SESSIONS), *prepared.manifest.below(CATALOG)]
        self.fingerprint = f"prepared-{fingerprint(tuple(files))[:16]}"  # not that of the same sessions in memory

    def count(self, ids: np.ndarray, labels: np.ndarray, into: Mapping[int, int]) -> dict[int, Counts]:
        groups: dict[int, list[int]] = {cluster: [] for cluster in ids.tolist()}
        for cluster in groups:
            groups[into.get(cluster, cluster)].append(cluster)
        return {cluster: _summed(self._prepared.clusters, members) for cluster, members in groups.items()}

    def seen_from(self, clusters: Sequence[int]) -> _stamp.Sessions:
        return sessions_seen_from("train_cluster", self._prepared, clusters, self.catalog, self._objectives)


def _require_laid_out(prepared: Prepared, clusters: CatalogClusters) -> None:
    given = {"item_id": clusters.item_ids, "cluster": clusters.labels}
    labels = fingerprint_of(read_labels("train_cluster: clusters", given, prepared.item_ids))
    if prepared.manifest.labels != labels:
        found = "not laid out by cluster" if prepared.manifest.labels is None else "laid out by other clusters"
        raise ValueError(
            f"train_cluster: {prepared.url} is {found}; lay it out by these first (stamp.data.partition, or stamp "
            "partition on the command line), or hand over Sessions.from_frame of it, which reads all of it"
        )


def _require_types(prepared: Prepared, objectives: Sequence[str]) -> None:
    for name in objectives:
        if name not in prepared.event_types:
            raise ValueError(
                f"train_cluster: no event of {prepared.url} is of type {name!r}; its mapping knows "
                f"{', '.join(prepared.event_types)}"
            )


def _summed(counts: Mapping[int, ClusterCounts], clusters: Iterable[int]) -> Counts:
    """Of clusters that are one."""
    there = [cluster for cluster in clusters if cluster in counts]
    inside = sum(counts[cluster].next.get(other, 0) for cluster in there for other in there)
    return (
        sum(counts[cluster].products for cluster in there),
        sum(counts[cluster].examples for cluster in there),
        inside,
    )


def _fingerprint(core: _stamp.Sessions, item_ids: np.ndarray) -> str:
    """Of the events and the ids of their products."""
    ids, digest = Ids("the data", item_ids), hashlib.blake2b(digest_size=8)
    parts: tuple[Any, ...] = (ids.bytes, ids.offsets) if ids.integers is None else (ids.integers,)
    for part in parts:
        digest.update(part)
    return f"{core.fingerprint()}-{digest.hexdigest()}"
