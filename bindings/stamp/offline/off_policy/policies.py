"""What is evaluated: probabilities, fixed lists, or lists that are explored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...base.checks import whole_number
from ...data.tables.ids import events_listed, find_rows
from .choices import Choices
from .exposures import ExposureLog, floats
from .plackett_luce import slot_probabilities

_EMPTY = -2  # a place of a list where nothing stands; -1 is a product that the log does not know


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A policy on the rows of a log."""

    shown: np.ndarray  # float64 [N]: of what the log showed
    choices: Choices | None  # all that it shows; None: unknown


@runtime_checkable
class Policy(Protocol):
    def on(self, log: ExposureLog) -> Evaluated:
        """What it would show at the slots of the log. Raises ValueError where it does not fit the log."""
        ...


class Probabilities:
    """How likely the evaluated policy shows what.

    Parameters
    ----------
    probabilities : array
        [N]: of the product that the log showed, row by row. With `item_ids`: [n] of products, the same in all rows, or
        [N,n].
    item_ids : array [n], optional
        Which products. What is missing to 1 in a row is the chance that nothing is shown.

    Raises
    ------
    ValueError
        A probability is missing, below 0 or above 1, or a row adds up to more than 1.

    Notes
    -----
    Of the products shown alone nobody can say what else the policy would show: there is no doubly robust estimate
    without `outcome`, and what the log never shows can be told by a mean weight below 1 alone.
    """

    def __init__(self, probabilities: Any, *, item_ids: Any = None):
        self.item_ids = None if item_ids is None else events_listed("Probabilities: item_ids", item_ids)
        try:
            self.probabilities = np.asarray(probabilities, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Probabilities: probabilities are not numeric: {error}") from None
        wrong = ~((self.probabilities >= 0) & (self.probabilities <= 1))
        if wrong.any():
            place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            at = ", ".join(map(str, place))
            raise ValueError(f"Probabilities: [{at}] is {self.probabilities[place]:g}, expected 0 to 1")
        if self.item_ids is not None and len(set(self.item_ids)) < len(self.item_ids):
            raise ValueError("Probabilities: item_ids names a product twice")

    def on(self, log: ExposureLog) -> Evaluated:
        N, given = len(log), self.probabilities
        if self.item_ids is None:
            return Evaluated(floats("Probabilities", given, N), None)
        n = len(self.item_ids)
        if given.shape not in ((n,), (N, n)):
            raise ValueError(
                f"Probabilities: shape {given.shape}, expected ({n},) or ({N}, {n}): of {n} products, and {N} rows of "
                "the log"
            )
        rows = find_rows("Probabilities: item_ids", self.item_ids, log.catalog, "the log")
        table = np.broadcast_to(given, (N, n))
        possible = table > 0
        choices = Choices(
            np.concatenate(([0], np.cumsum(possible.sum(axis=1)))),
            np.broadcast_to(rows, (N, n))[possible],
            table[possible],
        )
        choices.check("Probabilities")
        return Evaluated(choices.of(log.item), choices)


class RankedLists:
    """The lists that a recommender would have shown, one for each list of the log, in the order of
    :attr:`ExposureLog.requests`.

    Parameters
    ----------
    lists : sequence [R] of sequences of product ids
        Best first; the first is at slot 1. May be shorter than those of the log: then nothing stands at later slots,
        and nothing is earned there.
    scores : sequence [R] of sequences of float, optional
        Of the same products, for :meth:`explored`; NaN is a pin.

    Raises
    ------
    ValueError
        A list is none, has a product twice, or other scores than products.

    See Also
    --------
    ask : the lists of a recommender of stamp.
    """

    def __init__(self, lists: Sequence[Iterable[Any]], *, scores: Sequence[Iterable[float]] | None = None):
        self.lists = [events_listed(f"RankedLists: list {at}", each) for at, each in enumerate(lists)]
        for at, each in enumerate(self.lists):
            if len(set(each)) < len(each):
                raise ValueError(f"RankedLists: list {at} has a product twice: {each}")
        self.scores: list[np.ndarray] | None = None
        if scores is not None:
            self.scores = [np.asarray(each, np.float64) for each in scores]
            if len(self.scores) != len(self.lists):
                raise ValueError(f"RankedLists: scores are of {len(self.scores)} lists, expected {len(self.lists)}")
            for at, (each, own) in enumerate(zip(self.lists, self.scores)):
                if own.shape != (len(each),):
                    raise ValueError(f"RankedLists: list {at} has {len(each)} products and scores of shape {own.shape}")

    def __len__(self) -> int:
        return len(self.lists)

    def explored(self, strength: float, *, k: int) -> ExploredLists:
        """The same lists explored: the first k of an order that Plackett-Luce draws of all products of a list, as the
        server does where `explore` is `strength` and `explore_among` the length of the lists."""
        return ExploredLists(self, strength, k=k)

    def rows(self, log: ExposureLog) -> np.ndarray:
        """The lists as rows of the log's catalog: int64 [R,M], -1 unknown products, -2 after the end."""
        if len(self) != len(log.requests):
            raise ValueError(
                f"RankedLists: {len(self)} lists, expected {len(log.requests)}, one for each list of the log"
            )
        there = self._there()
        rows = np.full(there.shape, _EMPTY, np.int64)
        rows[there] = find_rows("RankedLists", [id for each in self.lists for id in each], log.catalog, "the log")
        return rows

    def padded_scores(self) -> np.ndarray:
        """[R,M], -inf after the end."""
        if self.scores is None:
            raise ValueError("RankedLists: exploring needs scores=…")
        scores = np.full(self._there().shape, -np.inf)
        scores[self._there()] = np.concatenate([*self.scores, np.empty(0)])
        return scores

    def _there(self) -> np.ndarray:
        lengths = np.fromiter(map(len, self.lists), np.int64, len(self.lists))
        return np.arange(max(1, lengths.max(initial=0))) < lengths[:, None]

    def on(self, log: ExposureLog) -> Evaluated:
        rows = self.rows(log)
        rows = np.pad(rows, ((0, 0), (0, max(0, int(log.slot.max()) - rows.shape[1]))), constant_values=_EMPTY)
        listed = rows[log.request, log.slot - 1]
        there = listed != _EMPTY
        offsets = np.concatenate(([0], np.cumsum(there)))
        choices = Choices(offsets, listed[there].astype(np.int32), np.ones(int(there.sum())))
        return Evaluated((listed == log.item).astype(np.float64), choices)


class ExploredLists:
    """Lists that are drawn by Plackett-Luce; made by :meth:`RankedLists.explored`.

    Parameters
    ----------
    lists : RankedLists
        The candidates, with scores.
    strength : float
        Above 0: a product is taken with a probability ∝ exp(score / strength) among those that are left.
    k : int
        Slots that are shown.
    """

    def __init__(self, lists: RankedLists, strength: float, *, k: int):
        self.lists, self.k = lists, check_exploration("ExploredLists", strength, k)
        self.strength = float(strength)
        self.logits = lists.padded_scores() / strength

    def on(self, log: ExposureLog) -> Evaluated:
        probabilities = slot_probabilities(self.logits, self.k)
        choices = Choices.of_slots(self.lists.rows(log), probabilities, log.request, log.slot - 1)
        return Evaluated(choices.of(log.item), choices)


def check_exploration(call: str, strength: float, k: int) -> int:
    """k. Raises ValueError, beginning with `call`."""
    if not (isinstance(strength, (int, float, np.number)) and 0 < strength < np.inf):
        raise ValueError(f"{call}: strength is {strength!r}, expected a number above 0")
    return whole_number(f"{call}: k", k, least=1)
