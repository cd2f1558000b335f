"""stamp.data.prepare: from raw clicks to prepared data."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc
from ibis import _

from ...base.checks import truth, whole_number
from ...base.streams import tell
from ..engines.duckdb import DuckDBEngine
from ..engines.engine import Engine
from ..prepared.manifest import Manifest, publish, read_manifest
from ..prepared.parts import PartFile, PartWriter
from ..prepared.prepared import Prepared
from ..prepared.target import Target
from ..sources.faults import DAY, Limits, day
from ..sources.mapping import EventMapping
from ..sources.opening import OpenedEvents, open_events, open_table
from . import catalog as catalogs
from .cleaning import with_reasons
from .examples import in_file_order, laid_out, weighed, without_repeats
from .options import Options, day_of, millionths_of, span, weights_of, whole_days
from .support import supported_items
from .visits import SESSION, STORED, in_sessions, stored

if TYPE_CHECKING:
    import ibis.expr.types as ir

_STORED_ORDER = ("visitor_id", "timestamp", "item_id", "event_type", "session_id", "price_millionths", "quantity", "currency",
                 "category", "brand")  # fmt: skip
_AGAIN = 3  # days that an appended day prepares again: GA4 rewrites its tables for so long


def prepare(
    source: Any,
    *,
    out: str | os.PathLike[str],
    mapping: EventMapping | str | os.PathLike[str] | None = None,
    catalog: Any = None,
    catalog_columns: Mapping[str, str] | None = None,
    end: str | datetime.date | None = None,
    days: int | str | None = None,
    append: bool = False,
    sessions: str = "as given",
    gap: Any = "30min",
    collapse_repeats: bool = False,
    weights: Mapping[str, float] | None = None,
    value: float | None = None,
    half_life: int | str | None = None,
    min_support: int = 5,
    min_length: int = 2,
    held_out: Any = None,
    bot_events_a_day: int = 1000,
    bot_events_an_hour: int = 600,
    now: datetime.datetime | None = None,
    engine: Engine | None = None,
    progress: bool = True,
) -> Prepared:
    """Prepare raw clicks for training.

    Every row of the source comes out as an event of a session, or in quarantine with the reason. The same source and
    options give the same files. What stood at `out` stays whole until the new data are, and is then replaced.

    Parameters
    ----------
    source : path, fsspec URL, pattern, folder, Ibis table of the engine, or pyarrow, pandas or polars frame
        Raw clicks (docs/data_preparation.md).
    out : path or fsspec URL
        Folder of the prepared data.
    mapping : EventMapping, name of a ready one, or path of a JSON file, optional
        What the columns are: by default the ready one that fits them.
    catalog : like `source`, optional
        Products: of each the latest row before the window's end. Its other columns are attributes.
    catalog_columns : dict of str to str, optional
        Columns of the catalog by what they are, where they are called otherwise: item_id, price, available, updated.
    end : day, optional
        The day before which the window ends, in UTC; by default that after the last event.
    days : int or span, optional
        The length of the window, "28D"; by default it begins with the first event.
    append : bool
        Add the source's days to what is at `out`, whose last three days are prepared again, and slide the window. The
        other options must be those that it was prepared with. The result is that of preparing all days anew.
    sessions : {"as given", "by pause"}
        Those of the shop where the mapping has them, or a visitor's events without a pause of `gap`.
    gap : span
        A longer pause begins a new session: that is how the server tells visits apart, too (`visits.session_gap_s`).
    collapse_repeats : bool
        Of events of one product that follow each other, keep the first.
    weights : dict of str to float, optional
        Of examples by the kind of their target, 0 to 100: views, carts and orders weigh 1, and what leaves the cart 0 (it
        is history only).
    value : float, optional
        The price times quantity at which an event weighs as its kind does; others in proportion, from a tenth to ten
        times. By default values do not matter.
    half_life : int or span, optional
        Days after which an event weighs half. By default all days weigh alike.
    min_support, min_length : int
        Products of fewer events, and sessions of fewer, are left out, until all that stays has as many.
    held_out : span, optional
        Sessions that end in this last part of the window are held out, for measuring.
    bot_events_a_day, bot_events_an_hour : int
        A visitor with more is a machine, and its events of that day go into quarantine.
    now : datetime, optional
        What lies more than five minutes after it goes into quarantine. By default the time there is.
    engine : Engine, optional
        What does the work: by default DuckDB in this process (:class:`stamp.data.DuckDBEngine`).
    progress : bool
        Say what is done, on standard error.

    Raises
    ------
    ValueError
        The source, a mapping, the catalog or an option cannot be; no event is left; or `out` holds what is no prepared
        data, or was prepared with other options than are appended to.
    RuntimeError
        Something cannot be written, or the disk is full.

    Examples
    --------
    >>> import stamp.data
    >>> stamp.data.prepare("events.csv", out="prepared")  # doctest: +SKIP
    Prepared('prepared', 2026-11-01 to 2026-11-28, 1,204,311 events, 31 files, 51.3 MB)
    """
    options = Options(
        sessions=_one_of("sessions", sessions, ("as given", "by pause")),
        gap=span("prepare: gap", gap),
        collapse_repeats=truth("prepare: collapse_repeats", collapse_repeats),
        weights=weights_of(weights or {}),
        value=0 if value is None else millionths_of("prepare: value", value, most=1_000_000),
        half_life=0 if half_life is None else whole_days("prepare: half_life", half_life),
        min_support=whole_number("prepare: min_support", min_support, least=1),
        min_length=whole_number("prepare: min_length", min_length, least=1),
        held_out=0 if held_out is None else span("prepare: held_out", held_out),
        bot_events_a_day=whole_number("prepare: bot_events_a_day", bot_events_a_day, least=1),
        bot_events_an_hour=whole_number("prepare: bot_events_an_hour", bot_events_an_hour, least=1),
        days=None if days is None else whole_days("prepare: days", days),
    )
    end_day = None if end is None else day_of("prepare: end", end)
    target = Target(out)
    old = read_manifest(target)
    moment = datetime.datetime.now(datetime.timezone.utc) if now is None else now
    with contextlib.ExitStack() as stack:
        engine = engine or stack.enter_context(DuckDBEngine())
        steps = _Steps(progress)
        with steps("reading"):
            opened = open_events(source, engine, mapping=mapping)
        for note in opened.notes if progress else ():
            tell(f"prepare: {note}")
        if append:
            _require_same(target, old, options, opened.mapping)
        work = _Preparation(opened, options, target, old if append else None, _micros(moment), steps, stack)
        work.find_window(end_day)
        work.store_events()
        work.lay_out_sessions()
        work.list_products(catalog, catalog_columns or {})
        manifest = work.manifest()
    return Prepared(target, publish(target, manifest))  # what is published is taken back no more


def _micros(moment: datetime.datetime) -> int:
    """Of a moment; one without a zone is in UTC."""
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
    return (zoned - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)


def _one_of(name: str, value: Any, values: tuple[str, ...]) -> str:
    if value not in values:
        raise ValueError(f"prepare: {name} is {value!r}, expected one of {', '.join(map(repr, values))}")
    return str(value)


def _require_same(target: Target, old: Manifest | None, options: Options, mapping: EventMapping) -> None:
    """Raises ValueError where what is there was prepared otherwise: the days would not fit together."""
    if old is None:
        raise ValueError(
            f"prepare: {target.url} holds no prepared data to append to; prepare them without append first"
        )
    for what, there, given in (
        ("options", old.options, options.to_dict()),
        ("mapping", old.mapping, mapping.to_dict()),
    ):
        for name in sorted({*there, *given}):
            if there.get(name) != given.get(name):
                raise ValueError(
                    f"prepare: {target.url} was prepared with {what} {name} = {there.get(name)!r}, not "
                    f"{given.get(name)!r}; append with the same, or prepare all days anew"
                )


class _Steps:
    """Says what was done, and how long it took."""

    def __init__(self, shown: bool):
        self._shown = shown

    @contextlib.contextmanager
    def __call__(self, title: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self._shown:
            tell(f"prepare: {title}, {time.perf_counter() - start:.1f} s")


class _Preparation:
    """One call of :func:`prepare`: its steps in their order."""

    def __init__(
        self,
        opened: OpenedEvents,
        options: Options,
        target: Target,
        old: Manifest | None,
        now: int,
        steps: _Steps,
        stack: contextlib.ExitStack,
    ):
        self._opened, self._options, self._target, self._old = opened, options, target, old
        self._engine = opened.engine
        self._given = opened.mapping.session_id is not None and options.sessions == "as given"
        self._limits = Limits(
            now=now,
            sessions=self._given,
            max_id_characters=options.max_id_characters,
            bot_events_a_day=options.bot_events_a_day,
            bot_events_an_hour=options.bot_events_an_hour,
        )
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
            judged = with_reasons(
                events.filter(events.time_us.isnull() | inside), self._limits, engine,
                event_ids=self._opened.mapping.event_id is not None,
            )  # fmt: skip
            good = judged.filter(_.reason.isnull()).drop("reason")
            gap = None if self._given else self._options.gap
            if not self._given:
                good = good.mutate(session_id=ibis.null("string"))
            placed = engine.keep(in_sessions(good, gap=gap, known=self._known_before()))
        new = stored(placed)
        with self._steps("writing events"):
            files = self._write(
                "events", new.order_by("day", *(new[n].asc(nulls_first=True) for n in _STORED_ORDER)), "day"
            )
        kept = self._kept_days(files)
        self._window_events = new.drop("day")
        if kept:
            before = engine.read_parquet([self._target.place(file.path) for file in kept])
            self._window_events = self._window_events.union(before.select(*STORED))
        self._files += [*kept, *files]
        self._quarantine(judged, placed)
        self._counts["kept"] = sum(file.rows for file in files)
        self._counts["outside_window"] = self._counts["events"] - self._counts["kept"] - sum(self._quarantined.values())
        self._counts["window_events"] = self._counts["kept"] + sum(file.rows for file in kept)
        if not self._counts["window_events"]:
            raise ValueError(
                f"prepare: none of the {self._counts['events']:,} events of {self._opened.source} can be used: "
                f"{_listed(self._quarantined) or 'all lie outside the window'}"
            )

    def _known_before(self) -> ir.Table | None:
        """Stored events whose sessions may go on in the first day that is read."""
        if self._old is None or self._given:
            return None
        since = max(self._first * DAY, self._from * DAY - self._options.gap)
        files = [file for file in self._old.below("events") if since // DAY <= _day_of_path(file.path) < self._from]
        if not files:
            return None
        read = self._engine.read_parquet([self._target.place(file.path) for file in files])
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
                    f"prepare: {_date(each)} has {now:,} events in {self._opened.source}, and {rows:,} in "
                    f"{self._target.url}; days that are appended, or prepared again, must be whole"
                )
        return [file for file in self._old.below("events") if self._first <= _day_of_path(file.path) < self._from]

    def _quarantine(self, judged: ir.Table, placed: ir.Table) -> None:
        columns = self._opened.events.columns
        faulty = judged.filter(_.reason.notnull()).select(*columns, "reason")
        duplicates = placed.filter(_.duplicate).mutate(reason=ibis.literal("duplicate")).select(*columns, "reason")
        left = faulty.union(duplicates).group_by("reason", *columns).aggregate(rows=_.count())
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
        visitors = self._opened.mapping.visitor_id is not None
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
                listed = self._engine.keep(catalogs.read_catalog(
                    self._engine, open_table(catalog, self._engine), columns, item_ids=self._item_ids, end=self._end * DAY
                ))  # fmt: skip
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
            "first_day": _date(self._first),
            "last_day": _date(self._end - 1),
            "first": self._first,
            "end": self._end,
        }
        return Manifest(
            window=days,
            options=self._options.to_dict(),
            mapping=self._opened.mapping.to_dict(),
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
        for batch in self._engine.batches(rows):
            if look is not None:
                look(batch)
            writer.write(batch)
        return writer.close()


def _listed(quarantined: Mapping[str, int]) -> str:
    return ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(quarantined.items(), key=lambda each: -each[1]))


def _date(number: int) -> str:
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=number)).isoformat()


def _day_of_path(path: str) -> int:
    """Days since 1970 of events/day=2026-11-28/part-…"""
    return day_of("events", path.split("/")[1].removeprefix("day="))
