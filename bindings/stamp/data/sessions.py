"""Sessions: what visitors did, with the shop's own product ids."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from .. import _stamp
from ..base.checks import whole_number
from .objectives import check_name, check_names, kinds_of_events
from .prepared.prepared import is_prepared, open_sessions, refuse_options
from .prepared.session_events import VALUE, all_sessions
from .tables.column_reader import ColumnName, ColumnReader, listed_names
from .tables.columns import Column, is_arrow, is_list, numbers, object_array, take
from .tables.conversion import as_column
from .tables.ids import AUTO, Ids, are_texts, as_texts, as_written, catalog_ids
from .tables.lists import split_lists
from .tables.reading import is_column, open_columns
from .tables.times import microseconds, parse_span

_OF_EVENTS = ("session_id", "item_id", "timestamp", "weight")
_OF_SESSIONS = ("items", "timestamp", "weight")  # a row each


def _one_session_a_row(data: Any) -> Column:
    """A column of lists. Raises ValueError for what holds anything else."""
    sessions: Any = data if isinstance(data, (list, tuple)) else as_column("from_frame: the sessions", data)
    if is_arrow(sessions):
        sessions = sessions.to_pylist()
    for session in sessions:
        if not is_list(session):
            raise ValueError(
                f"from_frame: the {type(data).__name__} holds {session!r}, expected one list of product ids a session"
            )
    return object_array(map(list, sessions))


def _find_columns(
    reader: ColumnReader, keep: ColumnName | Collection[ColumnName] | None, given: Mapping[str, ColumnName | None]
) -> tuple[dict[str, str], dict[str, str]]:
    """Names of the columns that are read, by what they are, and of those that are kept, by what they are kept as."""
    named = {role: str(name) for role, name in given.items() if name is not None}
    reader.require(named.values())
    there = {**{role: role for role in given if role in reader.names}, **named}
    by_session = "items" in named or ("items" in there and "item_id" not in there)
    if by_session and "item_id" in named:
        raise ValueError(
            f"{reader.where}: item_id is '{named['item_id']}' and items is '{there['items']}'; name one of them: a row "
            "is one event or one session"
        )
    for role in () if by_session else ("session_id", "item_id"):
        if role not in there:
            raise ValueError(
                f"{reader.where}: no column '{role}' among {', '.join(reader.names) or 'none'}; expected session_id and "
                "item_id, or items with one session per row, or the names of such columns"
            )
    columns = {role: there[role] for role in (_OF_SESSIONS if by_session else _OF_EVENTS) if role in there}
    reader.require(columns.values(), in_all_files=True)
    if keep is None:
        understood = {*columns.values(), *named.values(), there.get("session_id")}
        others = [name for name in reader.names if name not in understood]
    else:
        others = listed_names(keep)
        reader.require(others)
    kept: dict[str, str] = {role: named[role] for role in ("visitor_id", "event_type", "value") if role in named}
    for name in others:
        if kept.setdefault(name, name) != name:
            raise ValueError(
                f"{reader.where}: {name} is '{kept[name]}', but there is a column '{name}', too; say which others to keep"
            )
    return columns, kept


def _kept_of_prepared(keep: ColumnName | Collection[ColumnName] | None) -> dict[str, str]:
    """Columns of prepared sessions by the names that they are kept as."""
    names = ["visitor_id", "event_type", VALUE] if keep is None else listed_names(keep)
    return {name: "value_millionths" if name == VALUE else name for name in names}


class Sessions:
    """Visitors' sessions in order of time, 4 bytes an event. Made by :meth:`from_frame`.

    Attributes
    ----------
    columns : dict of str to array
        Every column that is not understood, in the order of the events here.
    objectives : tuple of str
        What events have labels for (:meth:`labelled`); empty where they have none.
    """

    def __init__(
        self,
        core: _stamp.Sessions,
        catalog: _stamp.Catalog,
        columns: dict[str, Column] | None = None,
        objectives: tuple[str, ...] = (),
    ):
        self._core = core
        self._catalog = catalog
        self.columns = columns or {}
        self.objectives = objectives
        self._ids: np.ndarray | None = None

    @classmethod
    def from_frame(
        cls,
        data: Any,
        *,
        session_id: ColumnName | None = None,
        item_id: ColumnName | None = None,
        items: ColumnName | None = None,
        timestamp: ColumnName | None = None,
        weight: ColumnName | None = None,
        visitor_id: ColumnName | None = None,
        event_type: ColumnName | None = None,
        value: ColumnName | None = None,
        keep: ColumnName | Collection[ColumnName] | None = None,
        separator: str | None = None,
        names: Sequence[str] | None = None,
        ids: str = AUTO,
    ) -> Sessions:
        """Read sessions from a table, a file or lists.

        One event per row (columns `session_id` and `item_id`), or one session per row (column `items`: a list, or ids
        between spaces). Events are put in order of time within their session, rows of equal time in the order they
        came in; sessions in the order of their last event. Repeated events are kept: they are what visitors did.

        Parameters
        ----------
        data : pandas, polars or pyarrow frame, DuckDB relation, mapping of columns, lists, path, or prepared data
            Paths are CSV, TSV or Parquet, gzipped or not, or a directory of Parquet files, whose folders
            ``day=2026-01-01`` are a column, too. A list, a Series or an array of lists holds one session each. Prepared
            data, their folder or URL, or ``prepared/held_out``, what was held out of them, say themselves what their
            columns are, and stream: sessions that end together are in the order of their ids.
        session_id, item_id, items, timestamp, weight, visitor_id, event_type, value : str or int, optional
            Names of the columns: what is named must be there; without a name, the column that is called as the parameter
            is, where there is one. `timestamp` (datetimes, unix time or ISO 8601, docs/data.md; else the order of the rows
            decides) and `weight` (of the example whose target the event is, 0 or more; 0 is history only) may be absent,
            as may the last three, which are kept for :mod:`stamp.offline`. In a table of one session per row every column
            holds for all events of the session, `session_id` is not needed, and empty sessions are dropped.
        keep : name or collection of names, optional
            Other columns to keep in :attr:`columns`: all by default, ``()`` for none. Files are read no further. Of
            prepared data visitor_id, event_type and value (in whole units) by default, which hold more than the sessions.
        separator : str, optional
            Between the values of a text file, one character: by default a comma for .csv, else a tab.
        names : sequence of str, optional
            Of the columns of a text file that does not begin with a line of them.
        ids : {"auto", "text"}
            Ids are integers or strings, as they come. Those of text files, and ids between spaces, are integers where all
            of a column are written as integers are, else strings ("007" stays that); "text" makes strings of all ids.

        Raises
        ------
        ValueError
            A column or a value is missing, or of a type that cannot be; the message names column and row. An empty text is
            a missing id. A file cannot be read; the message names it.

        Examples
        --------
        >>> import stamp
        >>> stamp.Sessions.from_frame([["shirt", "shoes"], ["shoes", "socks", "shoes"]])
        Sessions(2 sessions, 5 events, 3 products)
        """
        if isinstance(data, (list, tuple)) or is_column(data):
            data = {"items" if items is None else str(items): _one_session_a_row(data)}
        named = {
            "session_id": session_id, "item_id": item_id, "items": items, "timestamp": timestamp, "weight": weight,
            "visitor_id": visitor_id, "event_type": event_type, "value": value,
        }  # fmt: skip
        as_text = are_texts("from_frame", ids)
        if is_prepared(data):
            prepared, rows = open_sessions(data)
            refuse_options(prepared, {**named, "separator": separator, "names": names})
            return cls(*all_sessions("from_frame", prepared, rows, _kept_of_prepared(keep), as_text=as_text))
        reader = open_columns("from_frame", data, separator=separator, names=names)
        columns, kept = _find_columns(reader, keep, named)
        of_ids = [of[role] for of in (columns, kept) for role in ("session_id", "item_id", "visitor_id") if role in of]
        written: dict[str, Any] = dict.fromkeys(of_ids, functools.partial(as_written, as_text=as_text))
        if "items" in columns:
            written[columns["items"]] = lambda texts: texts
        table = reader.read([*columns.values(), *kept.values()], written)

        def column(role: str) -> tuple[str, Column]:
            """What messages about it begin with, and its values."""
            return reader.what(columns[role]), table[columns[role]]

        if "items" in columns:
            what, lists = column("items")
            flat, lengths = split_lists(what, lists, as_text=as_text)
            visits = np.repeat(np.arange(len(lengths)), lengths)
            products = Ids(f"{what}, all lists end to end,", flat, as_text=as_text)
            others = [columns[role] for role in ("timestamp", "weight") if role in columns]
            table = {name: take(table[name], visits) for name in (*others, *kept.values())}  # which hold for all events
        else:
            visits = Ids(*column("session_id"), as_text=as_text).numbers()
            products = Ids(*column("item_id"), as_text=as_text)
        if as_text and "visitor_id" in kept:
            visitors = kept["visitor_id"]
            table[visitors] = as_texts(reader.what(visitors), table[visitors])
        catalog = _stamp.Catalog(products.kind)
        core, order = _stamp.Sessions.from_events(
            visits,
            products.add_to(catalog),
            microseconds(*column("timestamp")) if "timestamp" in columns else None,
            numbers(*column("weight")) if "weight" in columns else None,
            with_order=bool(kept),
        )
        if order is None:
            return cls(core, catalog)
        return cls(core, catalog, {name: take(table[source], order) for name, source in kept.items()})

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

    @property
    def lengths(self) -> np.ndarray:
        """Events of each session [len]. ``sessions.select(sessions.lengths <= 1000)`` leaves robots out."""
        return np.diff(self._core.offsets)

    def session(self, index: int) -> np.ndarray:
        """Product ids of session `index`, in order."""
        index = whole_number("session: index", index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"session {index} of {len(self)}")
        begin, end = self._core.offsets[index % len(self) :][:2]
        return self.item_ids[self._core.items[begin:end]]

    def split_by_time(self, span: Any) -> tuple[Sessions, Sessions]:
        """Earlier and later sessions; a session belongs to the side of its last event.

        Parameters
        ----------
        span : str, timedelta, datetime or number
            The length of the later part ("7D", "12h"), or the moment where it begins (a datetime, unix time, ISO 8601).

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
        if not isinstance(fraction, (int, float, np.number)) or not 0 < fraction < 1:
            raise ValueError(f"split_last: fraction is {fraction!r}, expected a number between 0 and 1")
        return self._split(len(self) - max(1, round(len(self) * fraction)), f"split_last({fraction})")

    def _split(self, count: int, call: str) -> tuple[Sessions, Sessions]:
        if not 0 < count < len(self):
            raise ValueError(f"{call}: leaves {count} of {len(self)} sessions before the split and the rest after it")
        parts = []
        for first, last in ((0, count), (count, len(self))):
            begin, end = self._core.offsets[first], self._core.offsets[last]
            columns = {name: column[int(begin) : int(end)] for name, column in self.columns.items()}
            parts.append(Sessions(self._core.slice(first, last), self._catalog, columns, self.objectives))
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
        lengths = self.lengths
        return self._with_events(np.flatnonzero(np.repeat(mask, lengths)), lengths[mask])

    def _with_events(self, events: np.ndarray, lengths: np.ndarray) -> Sessions:
        """Sessions of these lengths, of these `events` [n], laid end to end, with all that is known of them."""
        core = self._core

        def of_each(values: np.ndarray) -> np.ndarray:
            return values[events] if len(values) else values

        chosen = _stamp.Sessions(
            core.items[events],
            np.concatenate(([0], np.cumsum(lengths))),
            of_each(core.timestamps),
            of_each(core.weights),
            of_each(core.labels),
        )
        columns = {name: take(column, events) for name, column in self.columns.items()}
        return Sessions(chosen, self._catalog, columns, self.objectives)

    def labelled(self, objectives: Sequence[str]) -> Sessions:
        """The same sessions, whose events say what they lead to, for training on several objectives at once.

        An event leads to "order" where an event of its product and of that type comes at or after it in its session.
        Labels are of whole sessions: they go with their events where sessions are split, selected or cut for clusters.

        Parameters
        ----------
        objectives : sequence of str
            1 to 3 types of events of the column `event_type`, beside "click", which every target is for.

        Returns
        -------
        Sessions
            With :attr:`objectives`, in their order; labels that were there are gone.

        Raises
        ------
        ValueError
            No event is of such a type; a name is given twice, is "click" or no text; there are none or too many; the
            sessions have no column `event_type`.

        Examples
        --------
        >>> import stamp
        >>> visit = {"session_id": [1, 1, 1, 1], "item_id": ["shirt", "shoes", "shirt", "shirt"],
        ...          "event_type": ["view", "view", "order", "view"]}
        >>> stamp.Sessions.from_frame(visit).labelled(["order"]).labels("order")
        array([ True, False,  True, False])
        """
        return labelled_for("labelled", self, check_names("labelled", objectives))

    def labels(self, objective: str) -> np.ndarray:
        """bool [events]: whether each leads to an objective of :attr:`objectives`. ValueError for another."""
        if objective not in self.objectives:
            raise ValueError(
                f"labels: objective is {objective!r}, expected one of {', '.join(self.objectives) or 'none'}, which "
                "these sessions are labelled for (Sessions.labelled)"
            )
        return (self._core.labels >> self.objectives.index(objective) & 1).astype(bool)

    def leading_to(self, objective: str) -> Sessions:
        """The same sessions, whose only targets are events that lead to an objective, as :meth:`labelled` has it.

        ``stamp.evaluate(model, test.leading_to("order"))`` is how often what is ordered is found. All other events have
        weight 0, and are history; weights of targets, labels and columns stay as they are.

        Parameters
        ----------
        objective : str
            A type of events of the column `event_type`.

        Raises
        ------
        ValueError
            No event is of such a type, it is "click", or the sessions have no column `event_type`.

        Examples
        --------
        >>> import stamp
        >>> visit = {"session_id": [1, 1, 1, 1], "item_id": ["hat", "shoes", "shirt", "shirt"],
        ...          "event_type": ["view", "view", "view", "order"]}
        >>> sessions = stamp.Sessions.from_frame(visit)
        >>> popular = stamp.PopularityRecommender().fit(sessions)
        >>> stamp.evaluate(popular, sessions).examples, stamp.evaluate(popular, sessions.leading_to("order")).examples
        (3, 2)
        """
        leads = self._leading("leading_to", [check_name("leading_to: objective is", objective)]) > 0
        core = self._core
        weights = np.where(leads, core.weights if len(core.weights) else np.float32(1), np.float32(0))
        chosen = _stamp.Sessions(core.items, core.offsets, core.timestamps, weights, core.labels)
        return Sessions(chosen, self._catalog, self.columns, self.objectives)

    def _leading(self, call: str, names: Sequence[str], *, all_there: bool = True) -> np.ndarray:
        """uint8 [events]: bit k of an event says that it leads to names[k]."""
        kinds = kinds_of_events(call, self.columns, names, all_there=all_there)
        return _stamp.leading_labels(self._core, kinds)

    def rows_in(self, catalog: _stamp.Catalog, what: str, of: str) -> _stamp.Sessions:
        """The same sessions in the rows of another catalog, -1 where it lacks a product. ValueError where it has ids of
        another kind: `what` these sessions are, and whose products the catalog has (`of`)."""
        if catalog is self._catalog:
            return self._core
        rows = Ids(what, self.item_ids).find_in(catalog, of)
        core = self._core
        known = np.append(rows, np.int32(-1))  # an unknown event, -1, stays so
        return _stamp.Sessions(known[core.items], core.offsets, core.timestamps, core.weights, core.labels)

    def __repr__(self) -> str:
        times = self.timestamps
        span = f", {times.min()} to {times.max()}" if times is not None and len(times) else ""
        return f"Sessions({len(self):,} sessions, {self.n_events:,} events, {self.n_items:,} products{span})"


def labelled_for(call: str, sessions: Sessions, objectives: Sequence[str], *, all_there: bool = True) -> Sessions:
    """With labels for what a model learns beside clicks, where that is anything and they have others or none. Raises
    ValueError, which begins with `call`, as :meth:`Sessions.labelled`; for a type that is not there where all should be."""
    names, core = (*objectives,), sessions._core
    if sessions.objectives == names or not names:
        return sessions
    labels = sessions._leading(call, names, all_there=all_there)
    labelled = _stamp.Sessions(core.items, core.offsets, core.timestamps, core.weights, labels)
    return Sessions(labelled, sessions._catalog, sessions.columns, names)
