"""Events of a window as sessions: what preparing raw clicks, and laying prepared data out anew, have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import ibis
import pyarrow.compute as pc
from ibis import _

from ...base.folders import Folder
from ...base.progress import Steps
from ..engines.engine import Engine
from ..prepared.manifest import Manifest
from ..prepared.parts import PartFile, PartWriter
from ..sources.dates import date_of
from ..sources.faults import DAY
from .examples import in_file_order, laid_out, weighed, without_repeats
from .options import Options
from .support import supported_items
from .visits import SESSION

if TYPE_CHECKING:
    import ibis.expr.types as ir


class Window:
    """Events of days that follow each other, what was counted of them, and the files that are written.

    Whoever makes one sets `_first` and `_end`, its days since 1970, and `_window_events`.
    """

    _first: int
    _end: int
    _window_events: ir.Table

    def __init__(
        self,
        engine: Engine,
        options: Options,
        target: Folder,
        mapping: Mapping[str, Any],
        steps: Steps,
        stack: contextlib.ExitStack,
    ):
        self._engine, self._options, self._target, self._mapping = engine, options, target, mapping
        self._steps, self._stack = steps, stack
        self._counts: dict[str, int] = {}
        self._quarantined: dict[str, int] = {}
        self._files: list[PartFile] = []

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
        visitors = self._mapping.get("visitor_id") is not None
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
