"""Laying prepared sessions out by cluster: one sort, cut into files."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, Any

from ...base.extras import import_extra
from ...base.folders import Folder
from .copies import copy_files
from .labels import fingerprint_of, read_labels
from .layout import CATALOG, HELD_OUT, NONE, PRODUCTS, SESSION_COLUMNS, SESSION_ORDER, SESSIONS
from .manifest import ClusterCounts, publish, read_manifest
from .parts import PartFile, PartWriter
from .prepared import Prepared, open_prepared

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from ..engines.engine import Engine


def partition(
    prepared: Prepared | str | os.PathLike[str],
    labels: Any,
    *,
    out: str | os.PathLike[str] | None = None,
    engine: Engine | None = None,
) -> Prepared:
    """Lay the sessions of prepared data out by cluster, so that training one cluster reads its own files alone.

    Sessions are sorted once. Products of no cluster have one of their own, -1. Data that are laid out by the same labels
    already stay as they are. A kill leaves the old state whole.

    Parameters
    ----------
    prepared : Prepared, or the path or URL of such data
    labels : pandas, polars or pyarrow frame, DuckDB relation, mapping of columns, or path
        The cluster of each product: columns ``item_id`` and ``cluster``, a whole number, -1 for none. Of
        :class:`stamp.CatalogClusters`, ``{"item_id": clusters.item_ids, "cluster": clusters.labels}``.
    out : path or URL, optional
        Where the sessions are laid out, the products and what was held out beside them; events and what is in quarantine
        stay where they are. By default the sessions of `prepared` are replaced.
    engine : Engine, optional
        What sorts: by default DuckDB in this process (:class:`stamp.data.DuckDBEngine`), within its bound of memory.

    Raises
    ------
    ValueError
        There are no such data, no product of the sessions is in a cluster, or the labels cannot be.
    RuntimeError
        Something cannot be read or written.

    Examples
    --------
    >>> import stamp.data
    >>> stamp.data.partition("prepared/", {"item_id": [1, 2, 3], "cluster": [0, 0, 1]})  # doctest: +SKIP
    Prepared('prepared', 2026-01-01 to 2026-01-30, 1,204,311 events, 2 clusters, 64 files, 51.3 MB)
    """
    for package in ("ibis", "duckdb"):
        import_extra(package, purpose="partition", extra="prepare")
    from ..engines.duckdb import DuckDBEngine

    source = open_prepared(prepared)
    target = source.target if out is None else Folder(out)
    read_manifest(target)  # before any work: what cannot be replaced
    table = read_labels("partition: labels", labels, source.item_ids)
    fingerprint = fingerprint_of(table)
    if target.is_at(source.target) and source.manifest.labels == fingerprint:
        return source
    with contextlib.ExitStack() as stack:
        engine = engine or stack.enter_context(DuckDBEngine())
        paths = [source.target.readable(file.path) for file in source.manifest.below(SESSIONS)]
        if not paths:
            raise ValueError(f"partition: {source.url} has no sessions")
        rows = _with_clusters(engine.read_parquet(paths), engine.table(table))
        catalog = engine.keep(_catalog(rows))
        clusters = _counts(engine.rows(_of_clusters(catalog)), engine.rows(_pairs(rows)))
        if not clusters.keys() - {NONE}:
            raise ValueError(f"partition: no product of the sessions of {source.url} is in any cluster")
        by_cluster = rows.order_by("cluster", *SESSION_ORDER)[["cluster", *SESSION_COLUMNS]]
        sessions = stack.enter_context(PartWriter(target, SESSIONS, by_cluster.schema().to_pyarrow(), cut_by="cluster"))
        sessions.write_all(engine.batches(by_cluster))
        in_order = catalog.order_by(*SESSION_ORDER)[["item_id", "events"]]
        products = stack.enter_context(PartWriter(target, CATALOG, in_order.schema().to_pyarrow()))
        products.write_all(engine.batches(in_order))
        files = [*sessions.close(), *products.close(), *_others(source, target)]
    manifest = dataclasses.replace(source.manifest, files=tuple(files), clusters=clusters, labels=fingerprint)
    return Prepared(target, publish(target, manifest))


def _with_clusters(sessions: ir.Table, labels: ir.Table) -> ir.Table:
    """Rows of sessions with `cluster`, and `next_cluster`: null at the session's end."""
    following = labels.rename(next_item_id="item_id", next_label="cluster")
    own = labels.rename(label="cluster")
    rows = sessions[SESSION_COLUMNS].left_join(own, "item_id").left_join(following, "next_item_id")
    return rows.select(
        *SESSION_COLUMNS,
        cluster=rows.label.fill_null(NONE),
        next_cluster=rows.next_item_id.notnull().ifelse(rows.next_label.fill_null(NONE), None),
    )


def _catalog(rows: ir.Table) -> ir.Table:
    """The products: their cluster, their events, and where in the order of the sessions they first occur."""
    import ibis

    first = ibis.struct({name: rows[name] for name in SESSION_ORDER})
    found = rows.group_by("item_id", "cluster").aggregate(events=rows.count(), first=first.min())
    return found.select("item_id", "cluster", "events", **{name: found.first[name] for name in SESSION_ORDER})


def _of_clusters(catalog: ir.Table) -> ir.Table:
    found = catalog.group_by("cluster").aggregate(products=catalog.count(), events=catalog.events.sum().cast("int64"))
    return found.order_by("cluster")


def _pairs(rows: ir.Table) -> ir.Table:
    """Examples of each cluster by the cluster of their target."""
    examples = rows.filter(rows.next_weight_millionths > 0)
    return examples.group_by("cluster", "next_cluster").aggregate(examples=examples.count())


def _counts(of_clusters: Any, pairs: Any) -> dict[int, ClusterCounts]:
    targets: dict[int, dict[int, int]] = {row["cluster"]: {} for row in of_clusters.to_pylist()}
    for row in pairs.to_pylist():
        targets[row["cluster"]][row["next_cluster"]] = row["examples"]
    return {
        row["cluster"]: ClusterCounts(
            products=row["products"],
            events=row["events"],
            examples=sum(targets[row["cluster"]].values()),
            inside=targets[row["cluster"]].get(row["cluster"], 0),
            next=dict(sorted(targets[row["cluster"]].items())),
        )
        for row in of_clusters.to_pylist()
    }


def _others(source: Prepared, target: Folder) -> list[PartFile]:
    """Files that the laid out data have beside their sessions; written, where they are elsewhere."""
    if target.is_at(source.target):
        laid_out = {file.path for folder in (SESSIONS, CATALOG) for file in source.manifest.below(folder)}
        return [file for file in source.files if file.path not in laid_out]
    return copy_files(
        source, target, [file for folder in (PRODUCTS, HELD_OUT) for file in source.manifest.below(folder)]
    )
