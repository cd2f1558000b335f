"""The questions of a zone: which events are asked about, and what was known at each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ... import _stamp
from ...data.sessions import Sessions
from ...data.tables.columns import is_arrow, is_missing, object_array, take
from ...data.tables.ids import Ids, require_one_kind
from ..recordings.columns import texts_of
from ..recordings.questions import Questions
from ..recordings.sets import distinct
from ..recordings.zones import Zone


@dataclass(frozen=True, eq=False)
class History:
    """What had happened before each question: events[begin … end-1], rows, the last of which is the current product."""

    events: np.ndarray
    begin: np.ndarray
    end: np.ndarray


def ask(
    sessions: Sessions,
    rows: np.ndarray,
    V: int,
    zone: Zone,
    *,
    min_history: int,
    past: tuple[Sessions, np.ndarray] | None = None,
) -> tuple[Questions, History, list[str]]:
    """The questions of a zone, what was known at each, and notes. `rows` [events] of a catalog of V products; `past`:
    the sessions of training, and their rows."""
    core = sessions._core
    lengths, n = np.diff(core.offsets), len(rows)
    session = np.repeat(np.arange(len(core)), lengths)
    first = core.offsets[session]  # event of the session
    known, notes = visitors(sessions), []
    visitor = None if known is None else known[0]
    before = History(rows, first, np.arange(n))
    if zone.earlier_sessions and visitor is None:
        notes.append(f"{zone.name}: sessions have no visitor_id, so earlier sessions are not read")
    elif zone.earlier_sessions:
        if past is not None and "visitor_id" not in past[0].columns:
            notes.append(f"{zone.name}: training has no visitor_id, so earlier sessions are those that were replayed")
            past = None
        parts = [(sessions, rows)] if past is None else [past, (sessions, rows)]
        before = _earlier_too(parts)
        if any(not len(part._core.timestamps) for part, _ in parts):
            notes.append(f"{zone.name}: sessions have no timestamps, so earlier ones are those that stand before")
    is_target = core.weights > 0 if len(core.weights) else np.ones(n, bool)
    asked = is_target & (before.end - before.begin >= min_history)
    if zone.after:
        if "event_type" not in sessions.columns:
            raise ValueError(
                f"replay: zone '{zone.name}' asks after {tuple(zone.after)}, but there is no column event_type"
            )
        types = texts_of(sessions, "event_type")
        asked[1:] &= np.isin(types[:-1], [*zone.after])
        asked &= np.arange(n) > first
    event = np.flatnonzero(asked)
    if not len(event):
        after = f" after {', '.join(zone.after)}" if zone.after else ""
        raise ValueError(
            f"replay: zone '{zone.name}' has no question in {sessions!r}{after}, min_history {min_history}"
        )
    events = before.events
    history = History(events, before.begin[event], before.end[event])
    remaining, _ = distinct(np.where(is_target, rows, -1), event, core.offsets[session[event] + 1], V)
    questions = Questions(
        session=session[event],
        event=event,
        anchor=np.where(history.end > history.begin, events[history.end - 1], -1),
        target=rows[event],
        visitor=None if visitor is None else visitor[session[event]],
        remaining=remaining,
    )
    return questions, history, notes


def _earlier_too(parts: Sequence[tuple[Sessions, np.ndarray]]) -> History:
    """What each visitor did before each event of the last part, in any of them, in order of time; without times in the
    order in which it stands."""
    of_session = visitors(*(sessions for sessions, _ in parts))
    assert of_session is not None
    of_event = [np.repeat(v, np.diff(sessions._core.offsets)) for v, (sessions, _) in zip(of_session, parts)]
    rows, visitor = np.concatenate([rows for _, rows in parts]), np.concatenate(of_event)
    times = [sessions._core.timestamps for sessions, _ in parts]
    keys = [np.concatenate(times)] if all(map(len, times)) else []
    timeline = np.lexsort((np.arange(len(rows)), *keys, visitor))
    place = np.empty(len(rows), np.int64)
    place[timeline] = np.arange(len(rows))
    own = slice(len(rows) - len(of_event[-1]), None)
    return History(rows[timeline], np.searchsorted(visitor[timeline], visitor[own]), place[own])


def visitors(*parts: Sessions) -> list[np.ndarray] | None:
    """Codes [sessions] of the visitors of each part, by the first event of each session; a session of an unknown one
    has its own. None where one of the parts does not know them. ValueError where their ids are of two kinds."""
    if any("visitor_id" not in part.columns for part in parts):
        return None
    of_parts = [_visitor_ids(part) for part in parts]
    catalog = _stamp.Catalog(next((ids.kind for ids, _ in of_parts if len(ids)), "integers"))
    codes = []
    for ids, known in of_parts:
        require_one_kind("replay: visitor_id of sessions", ids, "train", catalog)
        codes.append(np.full(len(known), -1, np.int64))
        codes[-1][known] = ids.add_to(catalog) if len(ids) else 0
    named = len(catalog)
    for each in codes:
        unknown = each < 0
        each[unknown] = named + np.arange(unknown.sum())
        named += int(unknown.sum())
    return codes


def _visitor_ids(part: Sessions) -> tuple[Ids, np.ndarray]:
    """Of the sessions whose visitor is known, and which these are: bool [sessions]."""
    column = take(part.columns["visitor_id"], part._core.offsets[:-1])
    values = np.asarray(column) if not is_arrow(column) else object_array(column.to_pylist())
    known = np.ones(len(values), bool)
    if values.dtype.kind not in "iu":
        known = np.array([not is_missing(value) and value != "" for value in values.tolist()], bool)
    return Ids("replay: visitor_id", values[known]), known
