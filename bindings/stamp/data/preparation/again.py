"""Prepared data laid out anew: the same events, as sessions by other options."""

from __future__ import annotations

import contextlib
import dataclasses

from ...base.folders import Folder
from ...base.progress import Steps
from ..engines.engine import Engine
from ..prepared.copies import copy_files
from ..prepared.layout import EVENTS, PRODUCTS
from ..prepared.prepared import Prepared
from .options import Options
from .visits import STORED
from .window import Window

_FIXED = ("sessions", "gap", "max_id_characters", "bot_events_a_day", "bot_events_an_hour", "days")  # made the events


def options_again(source: Prepared, options: Options) -> Options:
    """Those of the source, where they made its events. Raises ValueError for one that was given otherwise."""
    for name in _FIXED:
        there, given = source.options[name], getattr(options, name)
        if given != there and given != getattr(Options(), name):
            raise ValueError(
                f"prepare: {source.url} was prepared with {name} = {there!r}, not {given!r}, which made its events; prepare "
                "the raw clicks anew"
            )
    return dataclasses.replace(options, **{name: source.options[name] for name in _FIXED})


class PreparationAgain(Window):
    """Sessions of the events that prepared data hold. The products are theirs, too; events and what is in quarantine stay
    where they are."""

    def __init__(
        self,
        source: Prepared,
        options: Options,
        target: Folder,
        engine: Engine,
        steps: Steps,
        stack: contextlib.ExitStack,
    ):
        super().__init__(engine, options, target, source.mapping, steps, stack)
        self._first, self._end = int(source.window["first"]), int(source.window["end"])
        self._counts = {name: source.counts[name] for name in ("window_events", "products")}
        self._quarantined = dict(source.quarantined)
        self._source = source
        files = source.manifest.below(EVENTS)
        self._window_events = engine.read_parquet([source.target.readable(file.path) for file in files]).select(*STORED)

    def take_products(self) -> None:
        """Those of the source, whose window it is."""
        self._files += copy_files(self._source, self._target, self._source.manifest.below(PRODUCTS))
