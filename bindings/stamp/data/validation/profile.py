"""The profile of a shop's days: what is kept, so that what is usual needs no second look at old clicks."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...base.json_text import json_text
from ..sources.dates import date_of, day_of
from .places import read_at, write_at

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Day:
    """Counters of one day (UTC).

    Attributes
    ----------
    rows, usable : int
        All, and those without a fault; what follows is of usable rows, where it does not say otherwise.
    faults : dict of str to int
        Rows by the first fault that holds.
    malformed_fields : int
        Rows with a field that is there and cannot be read, other than the product's id and the time.
    kinds, nulls : dict of str to int
        Rows of each kind of event; rows without a value, by column.
    not_positive, unreadable, repeats : int
    item_id, visitor_id : dict of str to int
        Rows by how the id is written: "digits", "decimal", "other".
    hours : list of int
        24, by hour of the day (UTC).
    visits, products : dict of str to int
        See :func:`visits_of_days` and :func:`products_of_days`; "known", "known_rows" are missing on the first day that
        was read, whose day before is not known.
    top : list of str
        The 100 products of most rows, sorted.
    spans : dict of str to int
        See :func:`spans_of_days`.
    values : dict of str to dict of str to int
        Rows of the day by value, of "raw_event_type", "currency", "category", "brand" (the 100 most frequent values) and
        "price" (numbers of bands).
    unlisted : int or None
        Rows of products that the catalog lacks; None without a catalog.
    """

    rows: int
    usable: int
    faults: Mapping[str, int]
    malformed_fields: int
    kinds: Mapping[str, int]
    nulls: Mapping[str, int]
    not_positive: int
    unreadable: int
    repeats: int
    item_id: Mapping[str, int]
    visitor_id: Mapping[str, int]
    hours: list[int]
    visits: Mapping[str, int]
    products: Mapping[str, int]
    top: list[str]
    spans: Mapping[str, int]
    values: Mapping[str, Mapping[str, int]]
    unlisted: int | None = None

    def share(self, count: int) -> float:
        """Of the day's rows."""
        return count / self.rows if self.rows else 0.0

    def usable_share(self, count: int) -> float | None:
        return count / self.usable if self.usable else None


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Counters of a catalog: its rows, products, products without a row of events, and those with a value by attribute."""

    rows: int
    products: int
    without_rows: int
    attributes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Counters by day, merged over nights.

    Attributes
    ----------
    item_ids : str
        "string" or "int64".
    days : dict of int to Day
        By days since 1970.
    undated : dict of str to int
        Rows of no day (without a time, in the future, outside of the window) by fault, of what was read last.
    catalog : Catalog or None
        The last one.

    Examples
    --------
    >>> import stamp
    >>> profile = stamp.data.Profile.read("prepared/profile.json")  # doctest: +SKIP
    """

    item_ids: str
    days: Mapping[int, Day]
    undated: Mapping[str, int] = field(default_factory=dict)
    catalog: Catalog | None = None

    @property
    def dates(self) -> list[str]:
        """ISO dates of its days."""
        return [date_of(day) for day in sorted(self.days)]

    def merged(self, newer: Profile) -> Profile:
        """With the days of another: where both have one, the newer counters, but what only the older could know (of the
        day before) stays."""
        days = dict(self.days)
        for number, day in newer.days.items():
            old = days.get(number)
            days[number] = day if old is None else _kept(old, day)
        return Profile(
            item_ids=newer.item_ids,
            days=dict(sorted(days.items())),
            undated=newer.undated,
            catalog=self.catalog if newer.catalog is None else newer.catalog,
        )

    def to_dict(self) -> dict[str, Any]:
        """As in the file."""
        return {
            "format": FORMAT,
            "item_ids": self.item_ids,
            "days": {date_of(number): dataclasses.asdict(day) for number, day in sorted(self.days.items())},
            "undated": dict(self.undated),
            "catalog": None if self.catalog is None else dataclasses.asdict(self.catalog),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Written to a path or URL, whole or not at all. RuntimeError where it cannot be."""
        write_at(path, json_text(self.to_dict(), ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Profile:
        """A profile's file. ValueError, which names it, where there is none, or it is no profile of this version."""
        text = read_at("profile", path)
        try:
            return cls.of(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"profile {os.fspath(path)}: {error}") from None

    @classmethod
    def of(cls, given: Any) -> Profile:
        """What :meth:`to_dict` gave. ValueError, TypeError or KeyError where it did not."""
        if not isinstance(given, Mapping) or given.get("format") != FORMAT:
            found = given.get("format") if isinstance(given, Mapping) else given
            raise ValueError(f"its format is {found!r}, expected {FORMAT}")
        catalog = given["catalog"]
        return cls(
            item_ids=given["item_ids"],
            days={day_of(date): Day(**day) for date, day in given["days"].items()},
            undated=given["undated"],
            catalog=None if catalog is None else Catalog(**catalog),
        )


def _kept(old: Day, new: Day) -> Day:
    def with_known(name: str, counts: Mapping[str, int], before: Mapping[str, int]) -> Mapping[str, int]:
        return {**counts, name: before[name]} if name not in counts and name in before else counts

    return dataclasses.replace(
        new,
        visits=with_known("known", new.visits, old.visits),
        products=with_known("known_rows", new.products, old.products),
        unlisted=old.unlisted if new.unlisted is None else new.unlisted,
    )
