"""What was asked in a zone, and what a recommender answered: plain arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

FAULTS = ("short", "duplicates", "unknown", "nan", "anchor", "seen")


class Questions:
    """The N questions of one zone, in the order of the events. Rows are those of :attr:`Recording.item_ids`.

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
