"""What was asked in a zone, and what a recommender answered: plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..sessions import Sessions
from .facts import column_of
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
    sessions: Sessions, rows: np.ndarray, V: int, zone: Zone, *, min_history: int
) -> tuple[Questions, History, list[str]]:
    """The questions of a zone, what was known at each, and notes. `rows` [events] of a catalog of V products."""
    core = sessions._core
    lengths, n = np.diff(core.offsets), len(rows)
    session = np.repeat(np.arange(len(core)), lengths)
    first = core.offsets[session]  # event of the session
    visitor, notes = visitors(sessions), []
    events, begin, end = rows, first, np.arange(n)
    if zone.earlier_sessions and visitor is None:
        notes.append(f"{zone.name}: sessions have no visitor_id, so earlier sessions are not read")
    elif zone.earlier_sessions:
        assert visitor is not None
        if len(core.timestamps):
            timeline = np.lexsort((np.arange(n), core.timestamps, visitor[session]))
        else:
            timeline = np.lexsort((np.arange(n), visitor[session]))
            notes.append(f"{zone.name}: sessions have no timestamps, so earlier ones are those that stand before")
        events, end = rows[timeline], np.empty(n, np.int64)
        end[timeline] = np.arange(n)
        begin = np.searchsorted(visitor[session][timeline], visitor[session])
    is_target = core.weights > 0 if len(core.weights) else np.ones(n, bool)
    asked = is_target & (end - begin >= min_history)
    if zone.after:
        if "event_type" not in sessions.columns:
            raise ValueError(
                f"replay: zone '{zone.name}' asks after {tuple(zone.after)}, but there is no column event_type"
            )
        types = column_of(sessions, "event_type").astype(str)
        asked[1:] &= np.isin(types[:-1], [*zone.after])
        asked &= np.arange(n) > first
    event = np.flatnonzero(asked)
    if not len(event):
        after = f" after {', '.join(zone.after)}" if zone.after else ""
        raise ValueError(
            f"replay: zone '{zone.name}' has no question in {sessions!r}{after}, min_history {min_history}"
        )
    history = History(events, begin[event], end[event])
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


def visitors(sessions: Sessions) -> np.ndarray | None:
    """Codes [sessions] of visitors, by the first event of each session; a session of an unknown one has its own."""
    if "visitor_id" not in sessions.columns:
        return None
    values = column_of(sessions, "visitor_id")[sessions._core.offsets[:-1]]
    if values.dtype.kind in "iu":
        return np.unique(values, return_inverse=True)[1].astype(np.int64)
    codes: dict[Any, int] = {}
    known = [v if v is not None and v == v else ("unknown", i) for i, v in enumerate(values.tolist())]
    return np.array([codes.setdefault(v, len(codes)) for v in known], np.int64)
