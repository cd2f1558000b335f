"""Sessions: what visitors did, with the shop's own product ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .. import _stamp
from .columns import Column, numbers, object_array, split_lists, take
from .ids import Ids, catalog_ids
from .reading import read_columns
from .times import microseconds, parse_span


def _column(name: str) -> str:
    return f"from_frame: column '{name}'"


class Sessions:
    """Visitors' sessions in order of time, 4 bytes an event. Made by :meth:`from_frame`.

    Attributes
    ----------
    columns : dict of str to array
        Every column that is not understood, in the order of the events here.
    """

    def __init__(self, core: _stamp.Sessions, catalog: _stamp.Catalog, columns: dict[str, Column] | None = None):
        self._core = core
        self._catalog = catalog
        self.columns = columns or {}
        self._ids: np.ndarray | None = None

    @classmethod
    def from_frame(
        cls,
        data: Any,
        *,
        session_id: str = "session_id",
        item_id: str = "item_id",
        items: str = "items",
        timestamp: str = "timestamp",
        weight: str = "weight",
    ) -> Sessions:
        """Read sessions from a table, a file or lists.

        One event per row (columns `session_id` and `item_id`), or one session per row (column `items`: a list, or ids
        between spaces). Events are put in order of time within their session, rows of equal time in the order they
        came in; sessions in the order of their last event. Repeated events are kept: they are what visitors did.

        Parameters
        ----------
        data : pandas, polars or pyarrow frame, DuckDB relation, mapping of columns, list of lists, or path
            Paths are CSV, TSV or Parquet, gzipped or not, or a directory of Parquet files. A list of lists holds one
            session each.
        session_id, item_id, items, timestamp, weight : str
            Names of the columns. `timestamp` (datetimes, unix seconds or ISO 8601; else the order of the rows decides)
            and `weight` (of the example whose target the event is, 0 or more; 0 is history only) may be absent. All other
            columns are kept in :attr:`columns`. In a table of one session per row every column holds for all events of the session, and
            empty sessions are dropped.

        Raises
        ------
        ValueError
            A column or a value is missing, or of a type that cannot be; the message names column and row.

        Examples
        --------
        >>> import stamp
        >>> stamp.Sessions.from_frame([["shirt", "shoes"], ["shoes", "socks", "shoes"]])
        Sessions(2 sessions, 5 events, 3 products)
        """
        if isinstance(data, (list, tuple)):
            for session in data:
                if isinstance(session, (str, bytes, Mapping)) or not isinstance(session, Iterable):
                    raise ValueError(
                        f"from_frame: a list holds {session!r}, expected one list of product ids a session"
                    )
            data = {items: object_array(map(list, data))}
        table = read_columns(data)
        if item_id not in table and items in table:  # one session per row: its other columns hold for all its events
            flat, lengths = split_lists(_column(items), table.pop(items))
            row = np.repeat(np.arange(len(lengths)), lengths)
            rest = {name: take(column, row) for name, column in table.items() if name != session_id}
            table = {session_id: row, item_id: flat, **rest}
        for name in (session_id, item_id):
            if name not in table:
                raise ValueError(
                    f"from_frame: no column '{name}' among {', '.join(table) or 'none'}; expected '{session_id}' and "
                    f"'{item_id}', or '{items}' with one session per row"
                )
        ids = Ids(_column(item_id), table[item_id])
        catalog = _stamp.Catalog(ids.kind)
        rest = {name: c for name, c in table.items() if name not in (session_id, item_id, timestamp, weight)}
        core, order = _stamp.Sessions.from_events(
            Ids(_column(session_id), table[session_id]).numbers(),
            ids.add_to(catalog),
            microseconds(_column(timestamp), table[timestamp]) if timestamp in table else None,
            numbers(_column(weight), table[weight]) if weight in table else None,
            with_order=bool(rest),
        )
        if order is None:
            return cls(core, catalog)
        return cls(core, catalog, {name: take(column, order) for name, column in rest.items()})

    def __len__(self) -> int:
        return len(self._core)

    @property
    def n_events(self) -> int:
        return self._core.events

    @property
    def n_items(self) -> int:
        """Different products among the events."""
        return int(np.count_nonzero(_stamp.item_counts(self._core, len(self._catalog))))

    @property
    def item_ids(self) -> np.ndarray:
        """Product ids [V] of the catalog these sessions share with those they were split from."""
        if self._ids is None:
            self._ids = catalog_ids(self._catalog)
        return self._ids

    @property
    def timestamps(self) -> np.ndarray | None:
        """datetime64[us] [events], or None where unknown."""
        times = self._core.timestamps
        return times.view("datetime64[us]") if len(times) or not self.n_events else None

    def session(self, index: int) -> np.ndarray:
        """Product ids of session `index`, in order."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"session {index} of {len(self)}")
        begin, end = self._core.offsets[index % len(self) :][:2]
        return self.item_ids[self._core.items[begin:end]]

    def split_by_time(self, span: Any) -> tuple[Sessions, Sessions]:
        """Earlier and later sessions; a session belongs to the side of its last event.

        Parameters
        ----------
        span : str, timedelta, datetime or number
            The length of the later part ("7D", "12h"), or the moment where it begins (a datetime, unix seconds).

        Raises
        ------
        ValueError
            There are no timestamps, or one side would be empty.
        """
        times = self._core.timestamps
        if not len(times):
            raise ValueError("split_by_time: these sessions have no timestamps; split_last splits by order")
        kind, value = parse_span("split_by_time", span)
        moment = int(times.max()) - value if kind == "span" else value
        return self._split(self._core.count_before(moment), f"split_by_time({span!r})")

    def split_last(self, fraction: float) -> tuple[Sessions, Sessions]:
        """All but the last `fraction` of the sessions, and those; 0 < fraction < 1."""
        if not 0 < fraction < 1:
            raise ValueError(f"split_last: fraction is {fraction}, expected a number between 0 and 1")
        return self._split(len(self) - max(1, round(len(self) * fraction)), f"split_last({fraction})")

    def _split(self, count: int, call: str) -> tuple[Sessions, Sessions]:
        if not 0 < count < len(self):
            raise ValueError(f"{call}: leaves {count} of {len(self)} sessions before the split and the rest after it")
        parts = []
        for first, last in ((0, count), (count, len(self))):
            begin, end = self._core.offsets[first], self._core.offsets[last]
            columns = {name: column[int(begin) : int(end)] for name, column in self.columns.items()}
            parts.append(Sessions(self._core.slice(first, last), self._catalog, columns))
        return parts[0], parts[1]

    def select(self, mask: np.ndarray) -> Sessions:
        """The sessions where `mask` [len] is true, in their order.

        Raises
        ------
        ValueError
            `mask` is not one bool per session.
        """
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != (len(self),):
            raise ValueError(
                f"select: mask has dtype {mask.dtype} and shape {mask.shape}, expected one bool for each of "
                f"{len(self)} sessions"
            )
        core = self._core
        lengths = np.diff(core.offsets)
        events = np.flatnonzero(np.repeat(mask, lengths))
        offsets = np.concatenate(([0], np.cumsum(lengths[mask])))
        chosen = _stamp.Sessions(
            core.items[events],
            offsets,
            core.timestamps[events] if len(core.timestamps) else None,
            core.weights[events] if len(core.weights) else None,
        )
        return Sessions(chosen, self._catalog, {name: take(column, events) for name, column in self.columns.items()})

    def rows_in(self, catalog: _stamp.Catalog) -> _stamp.Sessions:
        """The same sessions in the rows of another catalog, -1 where it lacks a product."""
        if catalog is self._catalog:
            return self._core
        rows = Ids("the catalog", self.item_ids).find_in(catalog) if len(self._catalog) else np.empty(0, np.int32)
        core = self._core
        known = np.append(rows, np.int32(-1))  # an unknown event, -1, stays so
        return _stamp.Sessions(
            known[core.items],
            core.offsets,
            core.timestamps if len(core.timestamps) else None,
            core.weights if len(core.weights) else None,
        )

    def __repr__(self) -> str:
        times = self.timestamps
        span = f", {times.min()} to {times.max()}" if times is not None and len(times) else ""
        return f"Sessions({len(self):,} sessions, {self.n_events:,} events, {self.n_items:,} products{span})"
