"""What a policy may show in each row of a log, with probabilities: lists of products laid end to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _stamp
from ...data.tables.ids import Ids

_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Choices:
    """Row i may show items[offsets[i] … offsets[i+1]-1], rows of a catalog, with those probabilities; -1 stands for
    products that the catalog has not. What is missing to 1 is the chance that nothing is shown."""

    offsets: np.ndarray  # int64 [N+1]
    items: np.ndarray  # int32 [n]
    probabilities: np.ndarray  # float64 [n]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def row(self) -> np.ndarray:
        """Of each entry [n]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Of values of entries [n], by row [N]."""
        return np.bincount(self.row, weights=values, minlength=len(self))

    def of(self, item: np.ndarray) -> np.ndarray:
        """The probability of one product in each row [N]; 0 where it is none of the choices."""
        same = (self.items == np.repeat(item, np.diff(self.offsets))) & (self.items >= 0)
        return self.sums(np.where(same, self.probabilities, 0.0))

    def of_entries(self, others: Choices) -> np.ndarray:
        """The probabilities of the entries of others [m], in the same rows; 0 for what is none of these choices."""
        if not len(self.items):
            return np.zeros(len(others.items))
        span = np.int64(max(self.items.max(initial=0), others.items.max(initial=0))) + 2
        keys = self.row * span + self.items + 1
        order = np.argsort(keys, kind="stable")
        sought = others.row * span + others.items + 1
        places = np.minimum(np.searchsorted(keys, sought, sorter=order), len(keys) - 1)
        found = (keys[order[places]] == sought) & (others.items >= 0)
        return np.where(found, self.probabilities[order[places]], 0.0)

    @staticmethod
    def of_slots(candidates: np.ndarray, probabilities: np.ndarray, request: np.ndarray, slot: np.ndarray) -> Choices:
        """Of rows that are slots [N] (from 0) of lists request [N], whose candidates [R,M] stand at slots with
        probabilities [R,M,k]."""
        chances = probabilities[request, :, np.minimum(slot, probabilities.shape[2] - 1)]
        chances[slot >= probabilities.shape[2]] = 0
        possible = chances > 0
        offsets = np.concatenate(([0], np.cumsum(possible.sum(axis=1))))
        return Choices(offsets, candidates[request][possible].astype(np.int32), chances[possible])

    @staticmethod
    def read(what: str, given: Any, n: int, catalog: _stamp.Catalog) -> Choices:
        """(offsets, item_ids, probabilities) as callers hand them over; products are added to the catalog. Messages of
        ValueErrors begin with `what`."""
        try:
            offsets, item_ids, probabilities = given
            offsets, chances = np.asarray(offsets, np.int64), np.asarray(probabilities, np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"{what} is {type(given).__name__}, expected (offsets, item_ids, probabilities)") from None
        items = Ids(f"{what}: item_ids", np.asarray(item_ids)).add_to(catalog)
        if chances.shape != items.shape:
            raise ValueError(f"{what} has {len(items)} products and probabilities of shape {chances.shape}")
        if offsets.shape != (n + 1,) or offsets[0] != 0 or offsets[-1] != len(items) or (np.diff(offsets) < 0).any():
            raise ValueError(f"{what} has offsets {offsets}, expected {n + 1} from 0 to {len(items)}")
        choices = Choices(offsets, items, chances)
        keys = choices.row * np.int64(len(catalog)) + items
        if len(np.unique(keys)) < len(keys):
            raise ValueError(f"{what} names a product twice in one row")
        choices.check(what)
        return choices

    def check(self, what: str) -> None:
        """Raises ValueError where these are no probabilities."""
        wrong = ~((self.probabilities >= 0) & (self.probabilities <= 1 + _ROUNDING))
        if wrong.any():
            entry = int(np.argmax(wrong))
            raise ValueError(
                f"{what} has the probability {self.probabilities[entry]:g} in row {self.row[entry]}, expected 0 to 1"
            )
        sums = self.sums(self.probabilities)
        if (sums > 1 + _ROUNDING).any():
            row = int(np.argmax(sums))
            raise ValueError(f"{what} adds up to {sums[row]:g} in row {row}, expected 1 at most")
