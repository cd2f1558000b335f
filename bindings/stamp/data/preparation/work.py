"""What preparing is, step by step: the window, its events, their sessions, products."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
from ibis import _

from ...base.folders import Folder
from ...base.progress import Steps
from ..prepared.manifest import Manifest
from ..prepared.parts import PartFile
from ..sources.catalogs import open_catalog
from ..sources.dates import date_of, day_of
from ..sources.faults import DAY, Limits, day
from ..sources.opening import OpenedEvents
from . import catalog as catalogs
from .cleaning import with_reasons
from .options import Options
from .visits import STORED, USED, in_sessions, sent_twice, stored
from .window import Window

if TYPE_CHECKING:
    import ibis.expr.types as ir

_STORED_ORDER = ("visitor_id", "timestamp", "item_id", "event_type", "session_id")  # no two are alike in: visits.SAME
_AGAIN = 3  # days that an appended day prepares again: GA4 rewrites its tables for so long


class Preparation(Window):
    """One call of :func:`prepare`: its steps in their order."""

    def __init__(
        self,
        opened: OpenedEvents,
        options: Options,
        target: Folder,
        old: Manifest | None,
        now: int,
        steps: Steps,
        stack: contextlib.ExitStack,
    ):
        super().__init__(opened.engine, options, target, opened.mapping.to_dict(), steps, stack)
        self._opened, self._old = opened, old
        self._given = opened.mapping.session_id is not None and options.sessions == "as given"
        self._limits = Limits(
            now=now,
            sessions=self._given,
            max_id_characters=options.max_id_characters,
            bot_events_a_day=options.bot_events_a_day,
            bot_events_an_hour=options.bot_events_an_hour,
        )

    def find_window(self, end: int | None) -> None:
        """The days of the window, and from which of them on events are read."""
        events, latest = self._opened.events, self._limits.now + self._limits.skew
        with self._steps("finding the window"):
            known = events.time_us <= latest
            found = self._engine.values(events.aggregate(
                events=_.count(), first=day(events.time_us.min(where=known)), last=day(events.time_us.max(where=known))
            ))  # fmt: skip
            self._counts["rows"] = self._engine.values(self._opened.raw.aggregate(n=_.count()))["n"]
        self._counts["events"] = found["events"]
        if found["last"] is None:
            raise ValueError(
                f"prepare: source {self._opened.source} has {found['events']:,} events, none of which has a time up to now"
            )
        old_end = int(self._old.window["end"]) if self._old else 0
        self._end = end if end is not None else max(found["last"] + 1, old_end)
        first = found["first"] if self._old is None else min(found["first"], int(self._old.window["first"]))
        self._first = first if self._options.days is None else max(first, self._end - self._options.days)
        self._from = self._first if self._old is None else max(self._first, old_end - _AGAIN, found["first"])

    def store_events(self) -> None:
        """Events of the days that are read, sessionised, and those that go into quarantine."""
        engine, events = self._engine, self._opened.events
        latest = self._limits.now + self._limits.skew
        inside = events.time_us.between(self._from * DAY, self._end * DAY - 1) | (events.time_us > latest)
        with self._steps("sessions of the days"):
            outside = events.filter(events.time_us.notnull() & ~inside).aggregate(n=_.count())
            self._counts["outside_window"] = engine.values(outside)["n"]
            judged = with_reasons(
                events.filter(events.time_us.isnull() | inside), self._limits, engine,
                event_ids=self._opened.mapping.event_id is not None,
            )  # fmt: skip
            good = judged.filter(_.reason.isnull()).drop("reason")
            gap = None if self._given else self._options.gap
            if not self._given:
                good = good.mutate(session_id=ibis.null("string"))
            known = self._known_before()
            placed = engine.keep(in_sessions(good.select("day", "visitor_id", *USED), gap=gap, known=known))
        new = stored(placed)
        with self._steps("writing events"):
            files = self._write(
                "events", new.order_by("day", *(new[n].asc(nulls_first=True) for n in _STORED_ORDER)), "day"
            )
        kept = self._kept_days(files)
        self._window_events = new.drop("day")
        if kept:
            before = engine.read_parquet([self._target.readable(file.path) for file in kept])
            self._window_events = self._window_events.union(before.select(*STORED))
        self._files += [*kept, *files]
        self._quarantine(judged, sent_twice(good, placed, engine))
        self._counts["kept"] = sum(file.rows for file in files)
        self._check_counts()
        self._counts["window_events"] = self._counts["kept"] + sum(file.rows for file in kept)
        if not self._counts["window_events"]:
            raise ValueError(
                f"prepare: none of the {self._counts['events']:,} events of {self._opened.source} can be used: "
                f"{_listed(self._quarantined) or 'all lie outside the window'}"
            )

    def _check_counts(self) -> None:
        """Nothing may be lost in silence, whatever an engine does."""
        out = {"kept": self._counts["kept"], "quarantined": sum(self._quarantined.values()),
               "outside the window": self._counts["outside_window"]}  # fmt: skip
        if self._counts["events"] != sum(out.values()):
            raise RuntimeError(
                f"prepare: {self._counts['events']:,} events went in, and {sum(out.values()):,} came out "
                f"({', '.join(f'{n:,} {what}' for what, n in out.items())}): the engine lost some, or the source changed "
                "while it was read; nothing was published"
            )

    def _known_before(self) -> ir.Table | None:
        """Stored events whose sessions may go on in the first day that is read."""
        if self._old is None or self._given:
            return None
        since = max(self._first * DAY, self._from * DAY - self._options.gap)
        files = [file for file in self._old.below("events") if since // DAY <= _day_of_path(file.path) < self._from]
        if not files:
            return None
        read = self._engine.read_parquet([self._target.readable(file.path) for file in files])
        return read.select(*STORED).filter(_.timestamp >= since, _.timestamp < self._from * DAY)

    def _kept_days(self, new: list[PartFile]) -> list[PartFile]:
        """Files of days that are not read again. Raises ValueError where one that is read lost most of what it had."""
        if self._old is None:
            return []
        old: dict[int, int] = {}
        for file in self._old.below("events"):
            old[_day_of_path(file.path)] = old.get(_day_of_path(file.path), 0) + file.rows
        for each, rows in sorted(old.items()):
            now = sum(file.rows for file in new if _day_of_path(file.path) == each)
            if self._from <= each < self._end and now < rows // 2:
                raise ValueError(
                    f"prepare: {date_of(each)} has {now:,} events in {self._opened.source}, and {rows:,} in "
                    f"{self._target.url}; days that are appended, or prepared again, must be whole"
                )
        return [file for file in self._old.below("events") if self._first <= _day_of_path(file.path) < self._from]

    def _quarantine(self, judged: ir.Table, duplicates: ir.Table) -> None:
        columns = self._opened.events.columns
        faulty = judged.filter(_.reason.notnull()).select(*columns, "reason")
        again = duplicates.mutate(reason=ibis.literal("duplicate")).select(*columns, "reason")
        left = faulty.union(again).group_by("reason", *columns).aggregate(rows=_.count())
        with self._steps("writing the quarantine"):
            order = [left[name].asc(nulls_first=True) for name in ("reason", *columns)]
            files = self._write("quarantine", left.order_by(order), "reason", self._count_quarantined)
        self._files += files

    def _count_quarantined(self, batch: Any) -> None:
        by_reason = pa.Table.from_batches([batch]).group_by("reason").aggregate([("rows", "sum")])
        for each in by_reason.to_pylist():
            self._quarantined[each["reason"]] = self._quarantined.get(each["reason"], 0) + each["rows_sum"]

    def list_products(self, catalog: Any, columns: Mapping[str, str]) -> None:
        """Products of the catalog and of all events of the window."""
        listed = None
        if catalog is not None:
            with self._steps("reading the catalog"):
                rows = open_catalog(catalog, self._opened, columns)
                listed = self._engine.keep(catalogs.latest_products(self._engine, rows, columns, end=self._end * DAY))
        with self._steps("writing products"):
            seen = catalogs.seen_products(self._window_events)
            self._files += self._write("products", catalogs.products(seen, listed), None)
        self._counts["products"] = sum(file.rows for file in self._files if file.path.startswith("products/"))


def _listed(quarantined: Mapping[str, int]) -> str:
    return ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(quarantined.items(), key=lambda each: -each[1]))


def _day_of_path(path: str) -> int:
    """Days since 1970 of events/day=2026-11-28/part-…"""
    return day_of(path.split("/")[1].removeprefix("day="))
