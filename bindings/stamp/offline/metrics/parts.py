"""Lists as metrics see them: a stretch of the questions of one zone, with what was relevant and what stood before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..recordings.sets import Sets, members, pieces, take
from .facts import Facts


class Part:
    """Questions `first` to `last` - 1 of a zone, and one recommender's lists.

    Attributes
    ----------
    facts : Facts
    rows, scores : arrays [n,K]
    listed : bool [n,K]
        Where a list holds a product.
    target, event, session : arrays [n]
        As of :class:`Questions`.
    """

    def __init__(self, facts: Facts, name: str, zone: str, first: int, last: int):
        recording = facts.recording
        lists, questions = recording.lists[name, zone], recording.questions[zone]
        self.facts, self.zone, self.first, self.last = facts, zone, first, last
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
        return self.judged(members(self._sets(kind), self.rows, self.facts.recording.V) >= 0)

    def n_relevant(self, kind: str | None = None) -> np.ndarray:
        """How many products the rest of the session has: int64 [n]."""
        return np.diff(self._sets(kind)[0])

    def seen(self) -> np.ndarray:
        """Where products stand that the session held before: bool [n,K]."""
        return members(self._cut(self.facts.seen(self.zone)), self.rows, self.facts.recording.V) >= 0

    def worth(self) -> np.ndarray:
        """What the events of the rest of the session are worth, of each listed product: float64 [n,K]."""
        sets, sums = self.facts.worth(self.zone)
        begin = int(sets[0][self.first])
        places = members(self._cut(sets), self.rows, self.facts.recording.V)
        return self.judged(np.where(places >= 0, np.append(sums, 0.0)[np.where(places >= 0, begin + places, -1)], 0.0))

    def is_kind(self, kind: str) -> np.ndarray:
        """Whether the next event is of the type `kind`: bool [n]."""
        return self.facts.event_types[self.event] == kind

    def judged(self, gains: np.ndarray) -> np.ndarray:
        """Gains [n,K] as they count: in the places served, or, conservatively, last among products of equal score."""
        if self.facts.recording.ties == "served" or not gains.any():
            return gains
        new = np.ones(self.scores.shape, bool)
        new[:, 1:] = self.scores[:, 1:] != self.scores[:, :-1]  # NaN, of pins, differs from all
        group = np.cumsum(new, axis=1)
        order = np.lexsort((gains, group), axis=1)
        return np.take_along_axis(gains, order, axis=1)

    def _sets(self, kind: str | None) -> Sets:
        if kind is None:
            return self._cut(self.facts.recording.questions[self.zone].remaining)
        return self._cut(self.facts.rest(self.zone, kind))

    def _cut(self, sets: Sets) -> Sets:
        return take(sets, self.first, self.last)


def parts(facts: Facts, name: str, zone: str) -> Iterator[Part]:
    """The lists of one recommender in one zone, so many at a time that they fit in memory."""
    for first, last in pieces(*facts.recording.lists[name, zone].rows.shape):
        yield Part(facts, name, zone, first, last)


def up_to(values: np.ndarray, ks: Sequence[int]) -> np.ndarray:
    """Sums [n,len(ks)] of the first k columns of values [n,K]."""
    return np.cumsum(values, axis=1, dtype=np.float64)[:, np.asarray(ks) - 1]
