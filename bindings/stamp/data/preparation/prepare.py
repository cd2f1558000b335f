"""stamp.data.prepare: from raw clicks to prepared data."""

from __future__ import annotations

import contextlib
import datetime
import glob
import os
from collections.abc import Mapping
from typing import Any

from ...base.folders import Folder, is_url
from ...base.progress import Steps
from ...base.streams import tell
from ..engines.duckdb import DuckDBEngine
from ..engines.engine import Engine
from ..engines.opening import ENGINES
from ..prepared.layout import EVENTS
from ..prepared.manifest import FILE, Manifest, publish, read_manifest
from ..prepared.prepared import Prepared, open_prepared
from ..sources.dates import day_given, micros_of
from ..sources.mapping import EventMapping
from ..sources.opening import open_events
from .again import PreparationAgain, options_again
from .options import Options
from .work import Preparation


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
        Raw clicks (docs/data_preparation.md). Or prepared data, or their URL: their events are laid out anew, in the same
        sessions, by other support, weights and what is held out; the raw clicks are not read, `out` has no events of its
        own, and the options that made the events stay as they are.
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
        Days after which an event weighs half, beside the `oldest_weight` of training. By default all days weigh alike.
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
    options = Options.read(
        sessions=sessions, gap=gap, collapse_repeats=collapse_repeats, weights=weights, value=value, half_life=half_life,
        min_support=min_support, min_length=min_length, held_out=held_out, bot_events_a_day=bot_events_a_day,
        bot_events_an_hour=bot_events_an_hour, days=days,
    )  # fmt: skip
    end_day = None if end is None else day_given("prepare: end", end)
    target = Folder(out)
    old = read_manifest(target)
    again = _prepared(source)
    if again is not None:
        _refuse(
            again,
            mapping=mapping,
            catalog=catalog,
            catalog_columns=catalog_columns or None,
            end=end,
            append=append or None,
        )
        if target.is_at(again.target):
            raise ValueError(f"prepare: out is {target.url}, which the events are in; lay them out in another folder")
        options = options_again(again, options)
    moment = datetime.datetime.now(datetime.timezone.utc) if now is None else now
    with contextlib.ExitStack() as stack:
        engine = engine or stack.enter_context(DuckDBEngine())
        steps = Steps("prepare", shown=progress, done=engine.progress)
        if again is not None:
            anew = PreparationAgain(again, options, target, engine, steps, stack)
            anew.lay_out_sessions()
            anew.take_products()
            manifest = anew.manifest()
        else:
            with steps("reading"):
                opened = open_events(source, engine, mapping=mapping)
            for note in opened.notes if progress else ():
                tell(f"prepare: {note}")
            if append:
                _require_same(target, old, options, opened.mapping)
            work = Preparation(opened, options, target, old if append else None, micros_of(moment), steps, stack)
            work.find_window(end_day)
            work.store_events()
            work.lay_out_sessions()
            work.list_products(catalog, catalog_columns or {})
            manifest = work.manifest()
    return Prepared(target, publish(target, manifest))  # what is published is taken back no more


def _prepared(source: Any) -> Prepared | None:
    """Where the source is prepared data already."""
    if isinstance(source, Prepared):
        return source
    if not isinstance(source, (str, os.PathLike)) or glob.has_magic(os.fspath(source)):
        return None
    text = os.fspath(source)
    if is_url(text) and text.partition("://")[0] in ENGINES:
        return None
    return open_prepared(source) if Folder(source).size(FILE) is not None else None


def _refuse(source: Prepared, **given: Any) -> None:
    """What is said of raw clicks alone."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"prepare: {name} is {value!r}, but {source.url} is prepared already: that is for raw clicks"
            )


def _require_same(target: Folder, old: Manifest | None, options: Options, mapping: EventMapping) -> None:
    """Raises ValueError where what is there was prepared otherwise: the days would not fit together."""
    if old is None:
        raise ValueError(
            f"prepare: {target.url} holds no prepared data to append to; prepare them without append first"
        )
    if not old.below(EVENTS):
        raise ValueError(f"prepare: {target.url} was laid out from other prepared data: append to those")
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
