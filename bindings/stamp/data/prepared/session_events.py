"""The events of prepared sessions as the library takes them: all of them, or what one cluster sees."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._stamp import Catalog, Sessions, leading_labels
from ..tables.columns import Column, text_bits
from ..tables.conversion import as_column
from ..tables.ids import Ids
from .layout import CATALOG, HELD_OUT, cluster_folders
from .manifest import FILE
from .prepared import Prepared
from .rows import session_rows, table_rows

if TYPE_CHECKING:
    import pyarrow as pa

_KINDS = {"integer": "integers", "text": "strings"}  # what the manifest and catalogs call ids
_MILLION = 1_000_000
VALUE = "value"  # what value_millionths is called where it is kept, in whole units


def all_sessions(
    call: str, prepared: Prepared, table: str, keep: Mapping[str, str], *, as_text: bool
) -> tuple[Sessions, Catalog, dict[str, Column]]:
    """All sessions of a table, "sessions" or "held_out", by session_end and session_id, their products in the order in which they first occur, and columns that
    are kept, by the names that they are kept as.

    Memory grows by what sessions hold, and by what is kept. Raises as :func:`session_rows`; messages about ids begin with
    `call`.
    """
    n = sum(file.rows for file in prepared.manifest.below(table))
    items, times, weights = np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.float32)
    starts = [np.empty(0, np.int64)]
    kept: dict[str, list[Any]] = {name: [] for name in keep}
    catalog = Catalog("strings" if as_text else _KINDS[prepared.item_ids])
    end, in_session = 0, 0  # events so far: of all sessions, and of the last one
    columns = ("item_id", "timestamp", "weight_millionths", *keep.values())
    folders = [HELD_OUT] if table == HELD_OUT else list(cluster_folders(prepared.manifest).values())
    for rows, starting in _sessions_of(session_rows(prepared, columns, folders)):
        begin, end = end, end + len(starting)
        items[begin:end] = _item_ids(call, prepared, rows, as_text=as_text).add_to(catalog)
        times[begin:end] = _integers(prepared, rows, "timestamp")
        weights[begin:end] = _integers(prepared, rows, "weight_millionths") / _MILLION
        found = np.flatnonzero(starting)
        starts.append(found + begin)
        in_session = _check_positions(prepared, _integers(prepared, rows, "position"), found, in_session)
        for name, column in keep.items():
            kept[name] += rows[column].chunks
    offsets = np.append(np.concatenate(starts), n)
    what = f"{call}: {prepared.url}: column"
    others = {name: _whole(f"{what} '{keep[name]}'", name, kept.pop(name)) for name in keep}
    return Sessions(items, offsets, times, weights), catalog, others


def catalog_of_sessions(call: str, prepared: Prepared) -> tuple[Catalog, np.ndarray]:
    """The products of the sessions in the order in which they first occur, as :func:`all_sessions` has them, and the
    events of each [V]. Of partitioned data. Raises as :func:`table_rows`."""
    catalog, clicks = Catalog(_KINDS[prepared.item_ids]), [np.empty(0, np.int64)]
    for batch in table_rows(prepared, prepared.manifest.below(CATALOG), ("item_id", "events")):
        _item_ids(call, prepared, batch).add_to(catalog)
        clicks.append(_integers(prepared, batch, "events"))
    return catalog, np.concatenate(clicks)


def sessions_seen_from(
    call: str, prepared: Prepared, clusters: Collection[int], catalog: Catalog, objectives: Sequence[str] = ()
) -> Sessions:
    """Sessions as far as some clusters see them, in rows of `catalog`: their own events, and as events of no known
    product (-1) what a visitor did directly after one, and that something was before the first. :func:`cluster_sessions`
    makes of these what it makes of all sessions.

    With `objectives`, types of events, they have labels of what each leads to, as in the whole: the events of a product
    are in one cluster. Those of no known product lead to nothing.

    Raises
    ------
    ValueError
        As :func:`session_rows`; a product is not in the catalog.
    """
    columns = ["item_id", "timestamp", "weight_millionths", "next_weight_millionths", "next_timestamp"]
    columns += ["event_type"] if objectives else []
    parts: list[tuple[np.ndarray, ...]] = []
    starts = [np.empty(0, np.int64)]
    end = 0  # events so far, those of no known product among them
    last = np.zeros((3, 1), np.int64)  # position, next weight (-1: none) and next time of the row before
    last[1] = -1
    folders = cluster_folders(prepared.manifest)
    chosen = [folder for cluster, folder in folders.items() if cluster in clusters]
    for table, starting in _sessions_of(session_rows(prepared, columns, chosen)):
        rows = _item_ids(call, prepared, table).find_in(catalog, "the catalog of the sessions")
        if (rows < 0).any():
            raise ValueError(f"{prepared.url}: the catalog lacks products of the sessions; partition the data anew")
        position, weight = _integers(prepared, table, "position"), _integers(prepared, table, "weight_millionths")
        time = _integers(prepared, table, "timestamp")
        next_weight = _integers(prepared, table, "next_weight_millionths", -1)
        next_time = _integers(prepared, table, "next_timestamp", -1)
        here = np.stack([position, next_weight, next_time])
        before = np.concatenate([last, here[:, :-1]], axis=1)
        last = here[:, -1:]
        # Whether a visitor left the clusters after the row before, and came into them with this one.
        left = np.where(starting, before[1] >= 0, position != before[0] + 1)
        came = starting & (position > 0)
        own = np.cumsum(1 + left + came) - 1
        n = int(own[-1]) + 1
        items, times, weights = np.full(n, -1, np.int32), np.zeros(n, np.int64), np.zeros(n, np.int64)
        items[own], times[own], weights[own] = rows, time, weight
        kinds = np.zeros(n if objectives else 0, np.uint8)
        if objectives:
            kinds[own] = text_bits(
                as_column(f"{call}: {prepared.url}: column 'event_type'", table["event_type"]), objectives
            )
        outside = (own - 1 - came)[left]
        times[outside], weights[outside] = before[2][left], before[1][left]
        parts.append((items, times, weights, kinds))
        starts.append((own - came)[starting] + end)
        end += n
    if last[1, 0] >= 0:
        parts.append((np.full(1, -1, np.int32), last[2], last[1], np.zeros(1 if objectives else 0, np.uint8)))
        end += 1
    if not parts:
        return Sessions(np.empty(0, np.int32), np.zeros(1, np.int64))
    items, times, weights, kinds = (np.concatenate(column) for column in zip(*parts))
    offsets, weights = np.append(np.concatenate(starts), end), (weights / _MILLION).astype(np.float32)
    seen = Sessions(items, offsets, times, weights)
    return Sessions(items, offsets, times, weights, leading_labels(seen, kinds)) if objectives else seen


def _sessions_of(tables: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Tables of rows, and which of them [n] begin a session."""
    import pyarrow.compute as pc

    last = None
    for table in tables:
        ids = table["session_id"].combine_chunks()
        starting = np.ones(len(ids), bool)
        starting[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
        starting[0] = ids[0].as_py() != last
        last = ids[-1].as_py()
        yield table, starting


def _check_positions(prepared: Prepared, positions: np.ndarray, starts: np.ndarray, in_session: int) -> int:
    """Raises ValueError where the rows are not of whole sessions; the number of rows of the last session so far.
    `in_session`: that of the last session of the rows before."""
    before = np.zeros(len(positions), np.int64)
    before[starts] = starts
    expected = np.arange(len(positions)) - np.maximum.accumulate(before)
    expected[: starts[0] if len(starts) else len(positions)] += in_session
    if (positions != expected).any():
        raise ValueError(f"{prepared.url}: the positions of a session are not 0, 1, 2, …; prepare the data anew")
    return int(expected[-1]) + 1


def _integers(prepared: Prepared, table: Any, name: str, missing: int | None = None) -> np.ndarray:
    """int64 [n] of a table or a batch. Raises ValueError for values that are missing, unless `missing` stands for them."""
    import pyarrow.compute as pc

    column = table.column(name)
    if missing is not None:
        column = pc.fill_null(column, missing)
    if column.null_count:
        raise ValueError(
            f"{prepared.url}: column '{name}' has {column.null_count} missing values; prepare the data anew"
        )
    return np.asarray(column, np.int64)


def _item_ids(call: str, prepared: Prepared, table: Any, *, as_text: bool = False) -> Ids:
    """Product ids of a table or a batch. Raises ValueError where they are of another kind than the manifest says."""
    what = f"{call}: {prepared.url}: column 'item_id'"
    ids = Ids(what, as_column(what, table.column("item_id")), as_text=as_text)
    expected = "strings" if as_text else _KINDS[prepared.item_ids]
    if ids.kind != expected and len(ids):
        raise ValueError(f"{what} has {ids.kind}, {FILE} says that they are {expected}; prepare the data anew")
    return ids


def _whole(what: str, name: str, chunks: list[Any]) -> Column:
    """A column that is kept."""
    import pyarrow as pa

    column = as_column(what, pa.chunked_array(chunks) if chunks else pa.nulls(0))
    if name != VALUE:
        return column
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False) / _MILLION
