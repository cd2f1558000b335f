"""What preparing is, step by step: the window, its events, their sessions, products."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc
from ibis import _

from ...base.folders import Folder
from ...base.progress import Steps
from ..prepared.manifest import Manifest
from ..prepared.parts import PartFile, PartWriter
from ..sources.catalogs import open_catalog
from ..sources.dates import date_of, day_of
from ..sources.faults import DAY, Limits, day
from ..sources.opening import OpenedEvents
from . import catalog as catalogs
from .cleaning import with_reasons
from .examples import in_file_order, laid_out, weighed, without_repeats
from .options import Options
from .support import supported_items
from .visits import SESSION, STORED, USED, in_sessions, sent_twice, stored

if TYPE_CHECKING:
    import ibis.expr.types as ir

_STORED_ORDER = ("visitor_id", "timestamp", "item_id", "event_type", "session_id")  # no two are alike in: visits.SAME
_AGAIN = 3  # days that an appended day prepares again: GA4 rewrites its tables for so long


class Preparation:
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
        self._opened, self._options, self._target, self._old = opened, options, target, old
        self._engine, self._visitors = opened.engine, opened.mapping.visitor_id is not None
        self._given = opened.mapping.session_id is not None and options.sessions == "as given"
        self._limits = Limits(
            now=now,
            sessions=self._given,
            max_id_characters=options.max_id_characters,
            bot_events_a_day=options.bot_events_a_day,
            bot_events_an_hour=options.bot_events_an_hour,
        )
        self._mapping = opened.mapping.to_dict()
        self._steps, self._stack = steps, stack
        self._counts: dict[str, int] = {}
        self._quarantined: dict[str, int] = {}
        self._files: list[PartFile] = []

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

    def lay_out_sessions(self) -> None:
        """Sessions of all days of the window, filtered by support, in the order in which they are read."""
        engine, options = self._engine, self._options
        events = self._window_events
        if options.collapse_repeats:
            events = engine.keep(without_repeats(events))
            left = engine.values(events.aggregate(n=_.count()))["n"]
            self._counts["repeats"] = self._counts["window_events"] - left
        split = self._end * DAY - options.held_out
        if options.held_out:
            events = engine.keep(events.mutate(ends=_.timestamp.max().over(ibis.window(group_by=SESSION))))
        train = events.filter(_.ends < split).drop("ends") if options.held_out else events
        with self._steps("support of products"):
            items, rounds = supported_items(
                train, engine, min_support=options.min_support, min_length=options.min_length
            )  # fmt: skip
        self._counts["support_rounds"] = rounds
        with self._steps("writing sessions"):
            self._write_sessions("sessions/cluster=0", train.semi_join(items, "item_id"), "train")
        if options.held_out:
            with self._steps("writing held-out sessions"):
                self._write_sessions("held_out", events.filter(_.ends >= split).drop("ends"), "held_out")

    def _write_sessions(self, folder: str, events: ir.Table, what: str) -> None:
        weighed_events = weighed(events, self._options, first=self._first, end=self._end)
        visitors = self._visitors
        examples = laid_out(weighed_events, visitors=visitors, min_length=self._options.min_length)
        counted = {f"{what}_events": 0, f"{what}_sessions": 0}

        def count(batch: Any) -> None:
            counted[f"{what}_events"] += batch.num_rows
            counted[f"{what}_sessions"] += pc.sum(pc.equal(batch["position"], 0)).as_py()

        self._files += self._write(folder, in_file_order(examples), None, count)
        self._counts |= counted
        if what == "train" and not counted["train_events"]:
            raise ValueError(
                f"prepare: of {self._counts['window_events']:,} events none is in a session of {self._options.min_length} or "
                f"more products with {self._options.min_support} or more events; lower min_support, or give more days"
            )

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

    @property
    def _item_ids(self) -> str:
        return "text" if self._window_events.item_id.type().is_string() else "integer"

    def manifest(self) -> Manifest:
        """What readers see from now on."""
        days = {
            "first_day": date_of(self._first),
            "last_day": date_of(self._end - 1),
            "first": self._first,
            "end": self._end,
        }
        return Manifest(
            window=days,
            options=self._options.to_dict(),
            mapping=self._mapping,
            item_ids=self._item_ids,
            counts=self._counts,
            quarantined=dict(sorted(self._quarantined.items())),
            files=tuple(self._files),
        )

    def _write(
        self, folder: str, rows: ir.Table, cut_by: str | None, look: Callable[[Any], None] | None = None
    ) -> list[PartFile]:
        """Files of sorted rows, taken back where the whole does not come to its end."""
        writer = PartWriter(self._target, folder, rows.schema().to_pyarrow(), cut_by=cut_by)
        self._stack.push(lambda kind, *_: writer.take_back() if kind is not None else None)
        batches = self._engine.batches(rows)
        writer.write_all(batches if look is None else _seen(batches, look))
        return writer.close()


def _seen(batches: Iterator[Any], look: Callable[[Any], None]) -> Iterator[Any]:
    for batch in batches:
        look(batch)
        yield batch


def _listed(quarantined: Mapping[str, int]) -> str:
    return ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(quarantined.items(), key=lambda each: -each[1]))


def _day_of_path(path: str) -> int:
    """Days since 1970 of events/day=2026-11-28/part-…"""
    return day_of(path.split("/")[1].removeprefix("day="))
