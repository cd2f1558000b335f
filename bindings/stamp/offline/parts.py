"""Lists as metrics see them: a stretch of the questions of one zone, with what was relevant and what stood before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .results import Replay

_ENTRIES = 1 << 21  # of lists that are judged at once, which bounds memory
_EVENTS = 1 << 22  # of the sets that are laid out at once

Sets = tuple[np.ndarray, np.ndarray]  # offsets [N+1] and rows, ascending within each set


def pieces(n: int, k: int) -> Iterator[tuple[int, int]]:
    """First and last of so many of n lists of k products at a time that they fit in memory."""
    step = max(1, _ENTRIES // max(1, k))
    for first in range(0, n, step):
        yield first, min(n, first + step)


def take(sets: Sets, first: int, last: int) -> Sets:
    """The sets first … last-1."""
    offsets, rows = sets
    begin, end = int(offsets[first]), int(offsets[last])
    return offsets[first : last + 1] - begin, rows[begin:end]


def members(sets: Sets, lists: np.ndarray, V: int) -> np.ndarray:
    """Where the rows lists [N,K] stand in the sets [N]: places in the sets' rows, -1 where they do not."""
    offsets, rows = sets
    if not len(rows) or not lists.size:
        return np.full(lists.shape, -1, np.int64)
    owner = np.repeat(np.arange(len(lists), dtype=np.int64), np.diff(offsets))
    keys = owner * (V + 1) + rows
    sought = np.arange(len(lists), dtype=np.int64)[:, None] * (V + 1) + np.where(lists < 0, V, lists)
    places = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
    return np.where(keys[places] == sought, places, -1)


def distinct(
    events: np.ndarray, begin: np.ndarray, end: np.ndarray, V: int, amounts: np.ndarray | None = None
) -> tuple[Sets, np.ndarray]:
    """The distinct rows of events[begin … end-1] of each question, -1 left out; and what `amounts` [events] of each sum
    to."""
    lengths = np.maximum(end - begin, 0)
    total = np.concatenate(([0], np.cumsum(lengths)))
    counts, rows, sums = np.zeros(len(begin), np.int64), [], []
    first = 0
    while first < len(begin):
        last = max(first + 1, int(np.searchsorted(total, total[first] + _EVENTS, "right")) - 1)
        length = lengths[first:last]
        owner = np.repeat(np.arange(last - first), length)
        event = np.arange(len(owner)) + np.repeat(begin[first:last] - (total[first:last] - total[first]), length)
        kept = events[event] >= 0
        keys = owner[kept] * np.int64(V) + events[event][kept]
        unique, inverse = np.unique(keys, return_inverse=True)
        counts[first:last] = np.bincount(unique // max(1, V), minlength=last - first)
        rows.append((unique % max(1, V)).astype(np.int32))
        if amounts is not None:
            sums.append(np.bincount(inverse, weights=amounts[event][kept], minlength=len(unique)))
        first = last
    offsets = np.concatenate(([0], np.cumsum(counts)))
    flat = np.concatenate(rows) if rows else np.empty(0, np.int32)
    return (offsets, flat), np.concatenate(sums) if sums else np.empty(0)


class Part:
    """Questions `first` to `last` - 1 of a zone, and one recommender's lists.

    Attributes
    ----------
    rows, scores : arrays [n,K]
    listed : bool [n,K]
        Where a list holds a product.
    target, event, session : arrays [n]
        As of :class:`Questions`.
    """

    def __init__(self, replay: Replay, name: str, zone: str, first: int, last: int):
        lists, questions = replay.lists[name, zone], replay.questions[zone]
        self.replay, self.zone, self.first, self.last = replay, zone, first, last
        self.rows, self.scores = lists.rows[first:last], lists.scores[first:last]
        self.listed = self.rows >= 0
        self.target, self.event = questions.target[first:last], questions.event[first:last]
        self.session = questions.session[first:last]

    def __len__(self) -> int:
        return self.last - self.first

    def gather(self, table: np.ndarray) -> np.ndarray:
        """table [V] of the listed products [n,K]; of empty places whatever stands last."""
        return table[self.rows]

    def hits(self) -> np.ndarray:
        """Where the target stands: bool [n,K]."""
        return self.judged((self.rows == self.target[:, None]) & self.listed)

    def relevant(self, kind: str | None = None) -> np.ndarray:
        """Where products of the rest of the session stand: bool [n,K]; `kind`: only those with such events there."""
        return self.judged(members(self._sets(kind), self.rows, self.replay.V) >= 0)

    def n_relevant(self, kind: str | None = None) -> np.ndarray:
        """How many products the rest of the session has: int64 [n]."""
        return np.diff(self._sets(kind)[0])

    def seen(self) -> np.ndarray:
        """Where products stand that the session held before: bool [n,K]."""
        return members(self._cut(self.replay.facts.seen(self.zone)), self.rows, self.replay.V) >= 0

    def worth(self) -> np.ndarray:
        """What the events of the rest of the session are worth, of each listed product: float64 [n,K]."""
        sets, sums = self.replay.facts.worth(self.zone)
        begin = int(sets[0][self.first])
        places = members(self._cut(sets), self.rows, self.replay.V)
        return self.judged(np.where(places >= 0, np.append(sums, 0.0)[np.where(places >= 0, begin + places, -1)], 0.0))

    def is_kind(self, kind: str) -> np.ndarray:
        """Whether the next event is of the type `kind`: bool [n]."""
        return self.replay.facts.event_types[self.event] == kind

    def judged(self, gains: np.ndarray) -> np.ndarray:
        """Gains [n,K] as they count: in the places served, or, conservatively, last among products of equal score."""
        if self.replay.ties == "served" or not gains.any():
            return gains
        new = np.ones(self.scores.shape, bool)
        new[:, 1:] = self.scores[:, 1:] != self.scores[:, :-1]  # NaN, of pins, differs from all
        group = np.cumsum(new, axis=1)
        order = np.lexsort((gains, group), axis=1)
        return np.take_along_axis(gains, order, axis=1)

    def _sets(self, kind: str | None) -> Sets:
        replay = self.replay
        return self._cut(replay.questions[self.zone].remaining if kind is None else replay.facts.rest(self.zone, kind))

    def _cut(self, sets: Sets) -> Sets:
        return take(sets, self.first, self.last)


def parts(replay: Replay, name: str, zone: str) -> Iterator[Part]:
    """The lists of one recommender in one zone, so many at a time that they fit in memory."""
    for first, last in pieces(*replay.lists[name, zone].rows.shape):
        yield Part(replay, name, zone, first, last)


def up_to(values: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """Sums [n,len(ks)] of the first k columns of values [n,K]."""
    return np.cumsum(values, axis=1, dtype=np.float64)[:, np.asarray(ks) - 1]
