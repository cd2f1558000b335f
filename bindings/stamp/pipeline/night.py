"""One night of a shop: its day, where each thing lies, and what serves meanwhile."""

from __future__ import annotations

import dataclasses
import datetime
import os
from functools import cached_property
from typing import Any

from ..store import Release, Store
from .shop import Shop
from .sources import source_fingerprint
from .work import Work

FORMAT = 1  # of what a run keeps
KINDS = ("judged", "released")  # what is trained: through the day before, to be judged by the last; and through that


@dataclasses.dataclass(frozen=True)
class Night:
    """A run of the pipeline: the day it is of, and what steps need to know of it.

    Attributes
    ----------
    date : date
        The last day of the data, in UTC.
    started : datetime
        When it was first begun: what is resumed has the same.
    champion : str or None
        What served then.
    anew : bool
        Prepare all days of the source again.
    """

    shop: Shop
    work: Work
    date: datetime.date
    started: datetime.datetime
    champion: str | None
    anew: bool = False
    progress: bool = False

    @classmethod
    def open(
        cls,
        shop: Shop,
        work: Work,
        date: datetime.date,
        now: datetime.datetime,
        *,
        anew: bool = False,
        progress: bool = False,
        look: bool = False,
    ) -> Night:
        """That of this day, begun now or earlier; only to `look` at it, nothing is written. Raises RuntimeError where the
        store cannot be written to, which would else be found out at the end."""
        for day in work.days("runs", "run.json"):
            owner = work.read_json(f"runs/{day}/run.json")["shop"]
            if owner != shop.name:
                raise ValueError(
                    f"{work.folder.url} is the work of the shop {owner}, not of {shop.name}: give each a work of its own"
                )
        path = f"runs/{date}/run.json"
        begun = work.read_json(path)
        if begun is not None and begun.get("format") == FORMAT:
            started = datetime.datetime.fromisoformat(begun["started"])
            night = cls(shop, work, date, started, begun["champion"], anew=anew, progress=progress)
            night.serving()  # is of this shop
            return night
        started = now.astimezone(datetime.timezone.utc).replace(microsecond=0)
        night = cls(shop, work, date, started, None, anew=anew, progress=progress)
        champion = night.serving()
        night = dataclasses.replace(night, champion=None if champion is None else champion.name)
        if not look:
            night.store.require_writable()
            work.write_json(path, {
                "format": FORMAT, "shop": shop.name, "date": str(date), "started": started.isoformat(),
                "champion": night.champion,
            })  # fmt: skip
        return night

    @property
    def end(self) -> datetime.date:
        """The day before which the data end."""
        return self.date + datetime.timedelta(1)

    def path(self, name: str) -> str:
        """Of what this run makes, in the work folder."""
        return f"runs/{self.date}/{name}"

    def url(self, name: str) -> str:
        return self.work.url(self.path(name))

    @property
    def prepared(self) -> str:
        """URL of the data of all days, which tomorrow's are appended to."""
        return self.work.url("prepared")

    @cached_property
    def raw(self) -> list[Any]:
        """What decides which raw clicks and products are read, and as what: of tables, of which nobody knows whether they
        changed, their names."""
        given = self.shop.given
        catalog = given.get("catalog")
        return [
            str(self.end),
            source_fingerprint(self.shop.source) or self.shop.source,
            None if catalog is None else source_fingerprint(catalog) or catalog,
            [given.get(name) for name in ("mapping", "catalog_columns")],
        ]

    @property
    def source(self) -> dict[str, Any]:
        """Options of what reads raw clicks."""
        given = self.shop.given
        return {name: given[name] for name in ("mapping", "catalog", "catalog_columns", "engine") if name in given}

    @cached_property
    def store(self) -> Store:
        return Store(self.shop.store)

    def serving(self) -> Release | None:
        """The release that serves, or did before one of this night; None where there is none. Raises ValueError where it is
        another shop's."""
        alias = self.store.aliases().get(self.shop.alias)
        for name in () if alias is None else (alias.release, *alias.previous):
            found = self.store.release(name)
            if found.made_by.get("shop", self.shop.name) != self.shop.name:
                raise ValueError(
                    f"{self.shop.alias} of {self.store.url} is at {name} of the shop {found.made_by['shop']}, and this is "
                    f"{self.shop.name}: give each a store, or an alias, of its own"
                )
            if not self.made(found):
                return found
        return None

    def expected(self, champion: str | None) -> str | None:
        """What the alias must be at to be moved: the champion that the release was judged against, or another release of
        this night, which took its place."""
        alias = self.store.aliases().get(self.shop.alias)
        return alias.release if alias is not None and self.made(self.store.release(alias.release)) else champion

    def made(self, release: Release) -> bool:
        """Whether it is of this night."""
        return (release.made_by.get("shop"), release.made_by.get("date")) == (self.shop.name, str(self.date))

    def release_path(self, release: Release) -> str:
        """A local bundle of a release of the store, fetched once."""
        place = self.work.aside(self.path(f"releases/{release.name}"))
        if not os.path.exists(place):  # it is renamed when it is whole
            self.store.export(release.name, place)
        return place
