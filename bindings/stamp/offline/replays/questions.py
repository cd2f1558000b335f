"""The questions of a zone: which events are asked about, and what was known at each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.sessions import Sessions
from ..recordings.columns import column_of, texts_of
from ..recordings.questions import Questions
from ..recordings.sets import distinct
from ..recordings.zones import Zone


@dataclass(frozen=True)
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
    has its own. None where one of the parts does not know them."""
    if any("visitor_id" not in part.columns for part in parts):
        return None
    columns = [column_of(part, "visitor_id")[part._core.offsets[:-1]] for part in parts]
    ends = np.cumsum([len(column) for column in columns])[:-1]
    if all(column.dtype.kind in "iu" for column in columns):
        return np.split(np.unique(np.concatenate(columns), return_inverse=True)[1].astype(np.int64), ends)
    codes: dict[Any, int] = {}
    values = [value for column in columns for value in column.tolist()]
    known = [v if v is not None and v == v else ("unknown", i) for i, v in enumerate(values)]
    return np.split(np.array([codes.setdefault(v, len(codes)) for v in known], np.int64), ends)
