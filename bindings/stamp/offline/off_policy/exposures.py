"""What was shown, what came of it, and how likely it was to be shown: a row a product shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import _stamp
from ...base.checks import plain
from ...data.tables.columns import Column
from ...data.tables.ids import Ids, catalog_ids
from .choices import Choices


@dataclass(frozen=True, kw_only=True, eq=False)
class ExposureLog:
    """Products that were shown, in N rows. Made by :meth:`from_rows`, :func:`read_exposures` or :func:`explore`.

    Attributes
    ----------
    catalog : Catalog
        Ids of the products that rows are of.
    item : int32 [N]
        Row of the catalog of the product that was shown.
    slot : int64 [N]
        The place it was shown at, from 1.
    reward : float64 [N]
        What came of it: 1 for a click, or a price.
    propensity : float64 [N]
        How likely this product was to stand at this slot, whatever stands before it; above 0.
    request : int64 [N]
        Which list a row is of: places in `requests`.
    requests : array [R]
        Ids of the lists, in their order.
    unit : int64 [N]
        Codes of what is independent and so resampled: visitors, or requests where they are unknown.
    units : str
        "visitors" or "requests".
    choices : Choices or None
        What else could have been shown, with its probabilities, in each row. None: unknown.
    notes : tuple of str
        What a reader of any figure should know.
    """

    catalog: _stamp.Catalog
    item: np.ndarray
    slot: np.ndarray
    reward: np.ndarray
    propensity: np.ndarray
    request: np.ndarray
    requests: np.ndarray
    unit: np.ndarray
    units: str
    choices: Choices | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.item)

    @property
    def item_ids(self) -> np.ndarray:
        """Ids [N] of the products that were shown."""
        return catalog_ids(self.catalog)[self.item]

    def __repr__(self) -> str:
        slots = len(np.unique(self.slot))
        return (
            f"ExposureLog({len(self):,} products shown in {len(self.requests):,} lists, {slots} slots; "
            f"{np.count_nonzero(self.reward):,} with a reward)"
        )

    @classmethod
    def from_rows(
        cls,
        *,
        item_id: Column,
        slot: Column,
        reward: Column,
        propensity: Column,
        request: Column | None = None,
        visitor: Column | None = None,
        choices: tuple[Any, Any, Any] | None = None,
    ) -> ExposureLog:
        """Of columns, one value a product shown.

        Parameters
        ----------
        item_id : array [N]
            Integers or texts.
        slot : array [N] of int
            From 1.
        reward : array [N] of float
            Any finite numbers.
        propensity : array [N] of float
            How likely this product was to be shown at this slot of this list: above 0, 1 at most. Not given the
            products before it.
        request : array [N], optional
            Ids of the lists that rows are of; each a list of its own where absent.
        visitor : array [N], optional
            What rows are resampled by; the lists where absent.
        choices : (offsets [N+1], item_ids [n], probabilities [n]), optional
            All that could have been shown in each row: row i has those from offsets[i] to offsets[i+1]-1. Without it
            only what the log never shows at a slot is known to be out of reach.

        Raises
        ------
        ValueError
            No rows, lengths that differ, a value that is missing or cannot be, a list that has two products at one
            slot.

        Examples
        --------
        >>> from stamp.offline import off_policy
        >>> off_policy.ExposureLog.from_rows(
        ...     item_id=["a", "b", "a"], slot=[1, 1, 1], reward=[0, 1, 0], propensity=[0.5, 0.5, 0.5]
        ... )
        ExposureLog(3 products shown in 3 lists, 1 slots; 1 with a reward)
        """
        what = "ExposureLog"
        ids = Ids(f"{what}: item_id", _column(item_id))
        n = len(ids)
        if not n:
            raise ValueError(f"{what}: there are no rows; expected one a product shown")
        chances = floats(f"{what}: propensity", propensity, n)
        wrong = ~((chances > 0) & (chances <= 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{what}: propensity is {chances[row]:g} in row {row}, expected above 0 and 1 at most: what was shown "
                "could be shown"
            )
        catalog = _stamp.Catalog(ids.kind)
        item = ids.add_to(catalog)
        lists, requests = _codes(f"{what}: request", np.arange(n) if request is None else request, n)
        unit = lists if visitor is None else _codes(f"{what}: visitor", visitor, n)[0]
        log = cls(
            catalog=catalog,
            item=item,
            slot=_slots(f"{what}: slot", slot, n),
            reward=floats(f"{what}: reward", reward, n),
            propensity=chances,
            request=lists,
            requests=requests,
            unit=unit,
            units="requests" if visitor is None else "visitors",
            choices=None if choices is None else Choices.read(f"{what}: choices", choices, n, catalog),
        )
        log._check()
        return log

    def _check(self) -> None:
        place = np.lexsort((self.slot, self.request))
        same = (np.diff(self.request[place]) == 0) & (np.diff(self.slot[place]) == 0)
        if same.any():
            row = place[int(np.argmax(same)) + 1]
            name = plain(self.requests[self.request[row]])
            raise ValueError(
                f"ExposureLog: list {name!r} has two products at slot {self.slot[row]}; expected one a slot"
            )
        if self.choices is not None:
            own = self.choices.of(self.item)
            wrong = ~np.isclose(own, self.propensity, rtol=1e-6, atol=0)
            if wrong.any():
                row = int(np.argmax(wrong))
                raise ValueError(
                    f"ExposureLog: row {row} has a propensity of {self.propensity[row]:g}, and {own[row]:g} for the "
                    "same product in choices; expected the same"
                )


def floats(what: str, column: Any, n: int) -> np.ndarray:
    """Finite floats [n]. Messages of ValueErrors begin with `what`."""
    try:
        values = np.asarray(column, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is not numeric: {error}") from None
    if values.shape != (n,):
        raise ValueError(f"{what} has shape {values.shape}, expected one value for each of the {n} rows")
    wrong = ~np.isfinite(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{what} is {values[row]} in row {row}, expected a finite number")
    return values


def _column(values: Any) -> Column:
    return values if hasattr(values, "dtype") or hasattr(values, "type") else np.asarray(values)


def _slots(what: str, column: Any, n: int) -> np.ndarray:
    most = 10_000  # lists are as long as their slots go
    values = floats(what, column, n)
    wrong = (values < 1) | (values > most) | (values != np.floor(values))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{what} is {values[row]:g} in row {row}, expected a whole number of 1 to {most:,}")
    return values.astype(np.int64)


def _codes(what: str, column: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes [n] in the order of first occurrence, and the ids that they stand for."""
    ids = Ids(what, _column(column))
    if len(ids) != n:
        raise ValueError(f"{what} has {len(ids)} values, expected one for each of the {n} rows")
    catalog = _stamp.Catalog(ids.kind)
    return ids.add_to(catalog).astype(np.int64), catalog_ids(catalog)


def explored_rows(
    *,
    catalog: _stamp.Catalog,
    candidates: np.ndarray,
    probabilities: np.ndarray,
    places: np.ndarray,
    reward: np.ndarray,
    requests: Sequence[Any] | np.ndarray,
    unit: np.ndarray,
    units: str,
    notes: tuple[str, ...] = (),
) -> ExposureLog:
    """The log of explored lists.

    candidates [R,M] are rows of the catalog; probabilities [R,M,k] of each at each slot; places [R,k] of those that
    were shown, -1 after the end; reward [R,k]; unit [R].
    """
    request, slot = np.nonzero(places >= 0)
    shown = places[request, slot]
    return ExposureLog(
        catalog=catalog,
        item=candidates[request, shown].astype(np.int32),
        slot=slot + 1,
        reward=reward[request, slot].astype(np.float64),
        propensity=probabilities[request, shown, slot],
        request=request,
        requests=np.asarray(requests),
        unit=unit[request],
        units=units,
        choices=Choices.of_slots(candidates, probabilities, request, slot),
        notes=notes,
    )
