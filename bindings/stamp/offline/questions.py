"""What was asked in a zone, and what a recommender answered: plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..data.sessions import Sessions
from .facts import column_of, texts_of
from .parts import distinct
from .zones import Zone

FAULTS = ("short", "duplicates", "unknown", "nan", "anchor", "seen")


class Questions:
    """The N questions of one zone, in the order of the events. Rows are those of :attr:`Replay.item_ids`.

    Attributes
    ----------
    session : int64 [N]
        Index of the session.
    event : int64 [N]
        Index of the target among all events; the question is asked after the event before it.
    anchor : int32 [N]
        Row of the current product, the last that was read; -1 where there is none.
    target : int32 [N]
        Row of the next event; -1 where no catalog has it.
    visitor : int64 [N] or None
        Codes of visitors. None where unknown: sessions stand for them.
    remaining : (int64 [N+1], int32 [n])
        Offsets and rows: the distinct products of the rest of the session, that of `target` included, ascending.
    """

    def __init__(
        self,
        *,
        session: ArrayLike,
        event: ArrayLike,
        anchor: ArrayLike,
        target: ArrayLike,
        remaining: tuple[ArrayLike, ArrayLike],
        visitor: ArrayLike | None = None,
    ):
        self.session = np.asarray(session, np.int64)
        self.event = np.asarray(event, np.int64)
        self.anchor = np.asarray(anchor, np.int32)
        self.target = np.asarray(target, np.int32)
        self.visitor = None if visitor is None else np.asarray(visitor, np.int64)
        self.remaining = (np.asarray(remaining[0], np.int64), np.asarray(remaining[1], np.int32))
        for name in ("event", "anchor", "target", "visitor"):
            column = getattr(self, name)
            if column is not None and column.shape != self.session.shape:
                shape = self.session.shape
                raise ValueError(f"Questions: {name} has shape {column.shape}, expected {shape} as session")
        offsets, rows = self.remaining
        if len(offsets) != len(self) + 1 or offsets[0] != 0 or offsets[-1] != len(rows) or (np.diff(offsets) < 0).any():
            raise ValueError(
                f"Questions: remaining has offsets {offsets}, expected {len(self) + 1} from 0 to {len(rows)}"
            )

    def __len__(self) -> int:
        return len(self.session)

    @property
    def unit(self) -> np.ndarray:
        """Whose question each is [N]: the visitor's, or the session's where visitors are unknown."""
        return self.session if self.visitor is None else self.visitor


class Lists:
    """What one recommender answered in one zone.

    Attributes
    ----------
    rows : int32 [N,K]
        Products in the order served; -1 after the end, and where a faulty entry stood.
    scores : float32 [N,K]
        NaN where unknown.
    faults : dict of str to int
        How often a list was "short" (fewer than K though the catalog has more), and entries that were "duplicates",
        "unknown" products, of a "nan" score, the "anchor" or "seen" though the zone excludes them. Their places stay
        empty, and count as misses.
    seconds : float
        Time to answer all questions.
    latency : float64 [m]
        Seconds of each of m single requests, on one thread.
    """

    def __init__(
        self,
        *,
        rows: ArrayLike,
        scores: ArrayLike | None = None,
        faults: Mapping[str, int] | None = None,
        seconds: float = 0.0,
        latency: ArrayLike = (),
    ):
        self.rows = np.asarray(rows, np.int32)
        if self.rows.ndim != 2:
            raise ValueError(f"Lists: rows has shape {self.rows.shape}, expected [N,K]")
        self.scores = np.full(self.rows.shape, np.nan, np.float32) if scores is None else np.asarray(scores, np.float32)
        if self.scores.shape != self.rows.shape:
            raise ValueError(f"Lists: scores has shape {self.scores.shape}, expected {self.rows.shape} as rows")
        self.faults = {**dict.fromkeys(FAULTS, 0), **(faults or {})}
        self.seconds = seconds
        self.latency = np.asarray(latency, np.float64)

    @property
    def k(self) -> int:
        """Of the longest list, K."""
        return self.rows.shape[1]


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
