"""Which cluster each product is in, as sessions are laid out by."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tables.ids import Ids, plain_id
from ..tables.reading import open_columns
from .layout import NONE

if TYPE_CHECKING:
    import pyarrow as pa

_REMEDY = "prepare the data with ids of the same kind"


def read_labels(call: str, labels: Any, item_ids: str) -> pa.Table:
    """Labels as a table of item_id and cluster (int64), sorted by item_id, without products of no cluster.

    Parameters
    ----------
    labels : what Sessions.from_frame reads a table from
        Columns item_id and cluster; -1 is no cluster.
    item_ids : "integer" or "text"
        What the products' ids are, in the prepared data.

    Raises
    ------
    ValueError
        A column is missing, a product stands twice or has an id of the other kind, a cluster is no whole number of -1 or
        more. Messages begin with `call`.
    """
    import pyarrow as pa

    reader = open_columns(call, labels)
    table = reader.read(["item_id", "cluster"])
    ids, clusters = Ids(reader.what("item_id"), table["item_id"]), _clusters(reader.what("cluster"), table["cluster"])
    kind = "integer" if ids.integers is not None else "text"
    if len(ids) and kind != item_ids:
        raise ValueError(f"{ids.what} has ids of kind {kind}, the prepared data of kind {item_ids}; {_REMEDY}")
    column = _as_arrow(ids, item_ids)
    if len(column.unique()) < len(column):
        values, counts = column.value_counts().flatten()
        twice = values[int(np.argmax(counts.to_numpy()))].as_py()
        raise ValueError(f"{ids.what}: product {twice!r} stands twice; a product is in one cluster")
    read = pa.table({"item_id": column, "cluster": clusters})
    return read.filter(clusters != NONE).sort_by("item_id")


def fingerprint_of(labels: pa.Table) -> str:
    """Of labels as :func:`read_labels` has them: equal where, and only where, all products have the same clusters."""
    column = labels["item_id"].combine_chunks()
    ids = Ids("labels", column.cast("large_string") if column.type == "string" else column)
    digest = hashlib.sha256()
    parts: tuple[Any, ...] = (np.diff(ids.offsets), _bytes(ids)) if ids.integers is None else (ids.integers,)
    for part in parts:
        digest.update(part)
    digest.update(labels["cluster"].to_numpy())
    return digest.hexdigest()


def _clusters(what: str, column: Any) -> np.ndarray:
    values = Ids(what, column).integers
    if values is None or (values < NONE).any():
        wrong = column[0] if values is None else values[np.argmax(values < NONE)]
        raise ValueError(f"{what} has {plain_id(wrong) or wrong!r}, expected whole numbers of {NONE} or more")
    return values


def _as_arrow(ids: Ids, item_ids: str) -> Any:
    import pyarrow as pa

    if not len(ids):
        return pa.array([], pa.int64() if item_ids == "integer" else pa.string())
    if ids.integers is not None:
        return pa.array(ids.integers)
    offsets = pa.py_buffer(np.ascontiguousarray(ids.offsets))
    return pa.LargeStringArray.from_buffers(len(ids), offsets, pa.py_buffer(ids.bytes)).cast(pa.string())


def _bytes(ids: Ids) -> memoryview:
    return memoryview(ids.bytes)[int(ids.offsets[0]) : int(ids.offsets[-1])]
