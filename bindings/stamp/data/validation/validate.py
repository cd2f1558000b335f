"""Validation of a shop's clicks: measured, held against what is usual, judged."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Mapping
from typing import Any

from ...base.checks import whole_number
from ..engines.engine import Engine
from ..sources.catalogs import open_catalog
from ..sources.dates import date_of, day_given, micros_of
from ..sources.faults import DAY, Limits
from ..sources.mapping import EventMapping
from ..sources.opening import open_events
from .bands import DAYS
from .catalog_checks import check_catalog
from .contents import DRAWN
from .day_checks import check_days
from .findings import Findings
from .judging import Judged
from .measuring import measure
from .mix_checks import check_mix, check_prices, check_visitors
from .policy import DataPolicy
from .profile import Profile
from .report import ValidationReport
from .row_checks import check_rows

_NIGHT = 2  # hours from midnight: a shop that has none of both at the beginning of a source is cut there
_FAR = 28  # days without a row that a source's days lie on both sides of


def validate(
    source: Any,
    *,
    mapping: EventMapping | str | os.PathLike[str] | None = None,
    catalog: Any = None,
    catalog_columns: Mapping[str, str] | None = None,
    end: str | datetime.date | None = None,
    days: int | None = None,
    profile: Profile | str | os.PathLike[str] | None = None,
    policy: DataPolicy | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    bot_events_a_day: int = Limits.bot_events_a_day,
    bot_events_an_hour: int = Limits.bot_events_an_hour,
    now: datetime.datetime | None = None,
    engine: Engine | None = None,
    title: str | None = None,
    command: str | None = None,
) -> ValidationReport:
    """Look at raw clicks before they are prepared: at each day that is new, beside what is usual of it.

    Parameters
    ----------
    source : path, fsspec URL, pattern, folder, Ibis table of the engine, or pyarrow, pandas or polars frame
        See :func:`stamp.data.sources.opening.open_events`.
    mapping : EventMapping, name of a ready one, or path of a JSON file, optional
        What its columns mean; by default the ready one that fits them.
    catalog : the same kinds, optional
        Products, a row each: a column of ids, and attributes.
    catalog_columns : dict of str to str, optional
        Columns of the catalog by what they are, where they are called otherwise: item_id.
    end : day, optional
        The day before which the window ends, in UTC; by default that after the last event. Where it is given, the days
        before it must be there, and rows of other days are faults.
    days : int, optional
        The length of a window that has an end; by default it begins with the first event.
    profile : Profile, or path of its file, optional
        Of the night before. Days that it has are not judged again, unless they have changed.
    policy : DataPolicy, dict, or path of a JSON file, optional
        What stops and what warns; by default the bounds of :data:`CHECKS`.
    bot_events_a_day, bot_events_an_hour : int
        A visitor with more is a machine; those of :func:`stamp.data.prepare`.
    now : datetime, optional
        In UTC where it has no zone. What lies more than five minutes after it is in the future; where it is given and no
        end is, the day before it must be there. By default the time there is.
    engine : Engine, optional
        By default DuckDB in this process.
    title, command : str, optional
        Of the report; the command is shown as the way to make it again.

    Returns
    -------
    ValidationReport
        Its `profile` is what the next night wants.

    Raises
    ------
    ValueError
        The source, the mapping, the catalog, the policy, the profile or the window cannot be.
    RuntimeError
        The engine could not go on.

    Examples
    --------
    >>> import stamp
    >>> report = stamp.data.validate("clicks.parquet", catalog="items.csv")  # doctest: +SKIP
    >>> report.passed  # doctest: +SKIP
    True
    """
    judged_by = _policy(policy)
    before = profile if profile is None or isinstance(profile, Profile) else Profile.read(profile)
    moment = micros_of(datetime.datetime.now(datetime.timezone.utc) if now is None else now)
    today = moment // DAY
    first, after = _window(end, days)
    limits = Limits(
        now=moment,
        start=None if first is None else first * DAY,
        end=None if after is None else after * DAY,
        bot_events_a_day=whole_number("validate: bot_events_a_day", bot_events_a_day, least=1),
        bot_events_an_hour=whole_number("validate: bot_events_an_hour", bot_events_an_hour, least=1),
    )
    with contextlib.ExitStack() as stack:
        if engine is None:
            from ..engines.duckdb import DuckDBEngine

            engine = stack.enter_context(DuckDBEngine())
        opened = open_events(source, engine, mapping=mapping)
        products = None if catalog is None else open_catalog(catalog, opened, catalog_columns or {})
        measured = measure(opened.events, engine, limits, catalog=products)
    measured, outside = _without_far_days(measured, before) if after is None else (measured, 0)
    expected = _expected(measured, before, first, after, today, insist=now is not None)
    merged = measured if before is None else before.merged(measured)
    cut = _days_cut(measured, before, today, first=first, after=after)
    new = [number for number in _new_days(measured, before, today) if number not in cut]
    # What is usual takes four weeks, and how much that varies the four before; the page shows some more.
    oldest = min([*new, max(merged.days, default=0) - DRAWN]) - 2 * DAYS
    judged = Judged(
        findings=Findings(judged_by),
        days={number: day for number, day in merged.days.items() if number not in cut and number >= oldest},
        judged=new,
        measured=measured,
        before=before,
        event_types=list(opened.mapping.event_types),
    )
    empty = not measured.days and not any(measured.undated.values())
    judged.findings.look("no_rows", float(empty), f"source {opened.source}: there is no row")
    check_rows(judged, outside=outside)
    check_days(judged, [number for number in expected if number not in cut])
    drift = check_mix(judged)
    check_visitors(judged)
    check_prices(judged)
    check_catalog(judged)
    created = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return ValidationReport(
        title=title or f"Data validation: {os.path.basename(opened.source.rstrip('/')) or opened.source}",
        created=created,
        findings=judged.findings,
        judged=[date_of(number) for number in judged.judged],
        measured=measured,
        profile=merged,
        drift=drift,
        notes=[
            *opened.notes,
            *(
                f"{date_of(number)} is not judged: the source begins or ends within it, or may."
                for number in sorted(cut)
            ),
        ],
        command=command,
    )


def _policy(given: DataPolicy | Mapping[str, Any] | str | os.PathLike[str] | None) -> DataPolicy:
    if given is None:
        return DataPolicy()
    return given if isinstance(given, DataPolicy) else DataPolicy.read(given)


def _window(end: str | datetime.date | None, days: int | None) -> tuple[int | None, int | None]:
    """The first day, and the one after the last."""
    if end is None:
        if days is not None:
            raise ValueError(f"validate: days is {days!r} without an end; say where the window ends")
        return None, None
    after = day_given("validate: end", end)
    return (None if days is None else after - whole_number("validate: days", days, least=1)), after


def _without_far_days(measured: Profile, before: Profile | None) -> tuple[Profile, int]:
    """The days that lie together with most rows, none of them before the profile's last, and the rows of those that lie far
    from them: in 1970, where a unit is wrong."""
    known = measured.days if before is None else {**before.days, **measured.days}
    blocks: list[list[int]] = []
    for number in sorted(known):
        if not blocks or number - blocks[-1][-1] > _FAR:
            blocks.append([])
        blocks[-1].append(number)
    if before is not None and before.days:
        blocks = [block for block in blocks if block[-1] >= max(before.days)]
    if not blocks:
        return measured, 0
    rows = [sum(measured.days[number].rows for number in block if number in measured.days) for block in blocks]
    kept = set(blocks[rows.index(max(rows))])
    outside = sum(day.rows for number, day in measured.days.items() if number not in kept)
    days = {number: day for number, day in measured.days.items() if number in kept}
    return Profile(item_ids=measured.item_ids, days=days, undated=measured.undated, catalog=measured.catalog), outside


def _expected(
    measured: Profile, before: Profile | None, first: int | None, after: int | None, today: int, *, insist: bool
) -> range:
    """Days that must be there: from the window's first, or the source's (or what follows the profile), to the window's
    last, or the source's; to yesterday where `insist`. Today is not over."""
    there = list(measured.days)
    if first is None:
        if before is not None and before.days:
            there.append(max(before.days) + 1)
        if not there:
            return range(0)
        first = min(there)
    if after is None:
        after = today if insist else max(measured.days, default=first - 1) + 1
    return range(first, min(after, today))


def _days_cut(
    measured: Profile, before: Profile | None, today: int, *, first: int | None, after: int | None
) -> set[int]:
    """Days that may not be whole, where there are others: today; the last, of a source whose end nobody says and that does
    not reach to yesterday; the first, of which the first hours are missing and no day before is known."""
    numbers = sorted(measured.days)
    if len(numbers) < 2:
        return set()
    known = {} if before is None else before.days
    cut = {number for number in numbers if number >= today}
    if after is None and numbers[-1] < today - 1:
        cut.add(numbers[-1])
    if first is None and numbers[0] - 1 not in known and not sum(measured.days[numbers[0]].hours[:_NIGHT]):
        cut.add(numbers[0])
    return cut


def _new_days(measured: Profile, before: Profile | None, today: int) -> list[int]:
    """Days that are over, and that the profile has not, or with other counts of rows."""
    known = {} if before is None else before.days
    return [
        number
        for number, day in sorted(measured.days.items())
        if number < today
        and (number not in known or (known[number].rows, known[number].usable) != (day.rows, day.usable))
    ]
