"""Which products of the data train together: clusters, and those that are too small for a model of their own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import _stamp
from ..data.products import Products
from ..data.tables.ids import Ids
from ..models.train_reports import FORMAT, TrainReport
from .clusters import CatalogClusters
from .jobs import Job, Settings, versions
from .training_data import TrainingData, training_data
from .warm_starts import WarmStart


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Which products of the data train together."""

    data: TrainingData
    ids: list[int]  # of the clusters, rising
    labels: np.ndarray  # [V of data] int32: place in `ids` of the cluster whose model has the product, or -1
    into: dict[int, int]  # the cluster that each merged one ended up in
    own: dict[int, tuple[int, int, int]]  # products, examples, inside of each cluster by itself
    merged: dict[int, tuple[int, int, int]]  # the same, with all that was merged into it
    clusters_fingerprint: str
    products: Products | None  # whose attributes content rows are of

    @classmethod
    def make(
        cls,
        data: Any,
        clusters: CatalogClusters | str | os.PathLike[str],
        min_examples: int,
        reading: Mapping[str, Any] | None,
        products: Products | None = None,
        *,
        objectives: Sequence[str] = (),
    ) -> Plan:
        if isinstance(clusters, (str, os.PathLike)):
            clusters = CatalogClusters.load(clusters)
        ids = np.unique(np.asarray(clusters.ids, np.int64))
        if not len(ids):
            raise ValueError("train_cluster: there are no clusters")
        found = training_data(data, clusters, reading, objectives)
        labels = _labels(found, clusters, ids)
        own = found.count(ids, labels, {})
        into = merge(clusters, {cluster: inside for cluster, (_, _, inside) in own.items()}, min_examples)
        final = np.searchsorted(ids, np.array([into.get(cluster, cluster) for cluster in own])).astype(np.int32)
        labels = np.where(labels >= 0, final[labels], np.int32(-1))
        merged = found.count(ids, labels, into) if into else own
        return cls(found, ids.tolist(), labels, into, own, merged, str(clusters.fingerprint), products)

    def require(self, call: str, cluster_id: int) -> None:
        if cluster_id not in self.own:
            few = ", ".join(map(str, self.ids[:20])) + (", …" if len(self.ids) > 20 else "")
            raise ValueError(f"{call}: there is no cluster {cluster_id!r}, expected one of {few}")

    def identity(self, cluster_id: int, settings: Settings, warm_start: WarmStart | None) -> str:
        """Equal for calls that would give the same model: of data, clusters, config, attributes that count and the weights to
        begin with."""
        parts = {
            "format": FORMAT,
            "data": self.data.fingerprint,
            "clusters": self.clusters_fingerprint,
            "cluster": cluster_id,
            "config": settings.to_dict(),
            "products": None if self.products is None else self.products.fingerprint_of(settings.content),
            "warm_start": None if warm_start is None else warm_start.identity,
        }
        return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()

    def report(self, cluster_id: int, settings: Settings, identity: str, **values: Any) -> TrainReport:
        """The report of a cluster, with what is known of it before any training."""
        into = self.into.get(cluster_id)
        products, examples, inside = (self.merged if into is None else self.own)[cluster_id]
        report = TrainReport(
            cluster=cluster_id,
            status="trained" if into is None else "merged",
            into=into,
            products=products,
            examples=examples,
            inside=inside,
            data=self.data.fingerprint,
            clusters=self.clusters_fingerprint,
            config=settings.to_dict(),
            versions=versions(),
            identity=identity,
        )
        return dataclasses.replace(report, **values)

    def job(
        self, report: TrainReport, settings: Settings, out: pathlib.Path, device: str, warm_start: WarmStart | None
    ) -> Job:
        """What trains a cluster, cut from the data."""
        cluster = report.cluster
        members = np.flatnonzero((self.labels == self.ids.index(cluster)) & (self.data.clicks > 0))
        if not len(members):
            raise ValueError(f"train_cluster: no product of cluster {cluster} occurs in the data")
        rows = np.full(len(self.labels), -1, np.int32)
        rows[members] = np.arange(len(members), dtype=np.int32)
        seen = self.data.seen_from([each for each in self.ids if self.into.get(each, each) == cluster])
        sessions, *counted = _stamp.cluster_sessions(seen, rows, keep_misses=settings.validation > 0)
        if (*counted,) != self.merged[cluster][1:]:
            raise ValueError(
                f"train_cluster: the data have {counted[0]:,} examples of cluster {cluster}, {counted[1]:,} of them inside, "
                f"but were counted to have {self.merged[cluster][1]:,} and {self.merged[cluster][2]:,}; prepare them anew"
            )
        attributes: list[_stamp.Attribute] = []
        if settings.content and self.products is not None:
            ids = Ids("the products of the cluster", self.data.item_ids[members])
            catalog = _stamp.Catalog(ids.kind)
            ids.add_to(catalog)
            attributes = self.products.columns_of(catalog)
        return Job(
            report, settings, str(out), device, warm_start, self.data.item_ids[members], self.data.clicks[members], sessions,
            attributes,
        )  # fmt: skip


def _labels(data: TrainingData, clusters: CatalogClusters, ids: np.ndarray) -> np.ndarray:
    """Place in `ids` of the cluster of each product of the data, or -1."""
    given = np.asarray(clusters.labels, np.int64)
    place = np.minimum(np.searchsorted(ids, given), len(ids) - 1)
    place = np.where(ids[place] == given, place, -1).astype(np.int32)
    rows = Ids("train_cluster: clusters", np.asarray(clusters.item_ids)).find_in(data.catalog, "the data")
    labels = np.full(len(data.catalog), -1, np.int32)
    labels[rows[rows >= 0]] = place[rows >= 0]
    if not (labels >= 0).any():
        raise ValueError("train_cluster: no product of the data is in any cluster")
    return labels


def merge(clusters: CatalogClusters, inside: Mapping[int, int], min_examples: int) -> dict[int, int]:
    """The cluster that each one too small for a model of its own ends up in.

    From the fewest examples up (then by id): one with fewer than `min_examples` examples to train on joins its parent,
    or what that has joined, which then has the examples of both. One whose parent is none, or has joined it, stays.
    """
    into: dict[int, int] = {}

    def joined(cluster: int) -> int:
        while cluster in into:
            cluster = into[cluster]
        return cluster

    examples, waiting = dict(inside), set(inside)
    while waiting:
        smallest = min(waiting, key=lambda cluster: (examples[cluster], cluster))
        if examples[smallest] >= min_examples:
            break
        waiting.remove(smallest)
        parent = clusters.parent(smallest)
        if parent is None:
            continue
        if int(parent) not in examples:
            raise ValueError(f"train_cluster: the parent of cluster {smallest} is {parent!r}, which is no cluster")
        target = joined(int(parent))
        if target != smallest:
            into[smallest] = target
            examples[target] += examples[smallest]
    return {cluster: joined(cluster) for cluster in into}
