"""Raw clicks opened: a source, a mapping and an engine make the table of events."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ibis

from ..engines.engine import Engine
from .events import column, events_of, rows_about_products, unreadable_events, without_missing
from .files import check_whole, find_files, find_separator, first_names
from .mapping import EventMapping
from .reading import MappingChoice, read_files
from .times import find_unit

if TYPE_CHECKING:
    import ibis.expr.types as ir


_ENGINES = {"duckdb": "DuckDBEngine()", "spark": "SparkEngine()", "bigquery": "BigQueryEngine(dataset=…)"}  # of tables


@dataclass(frozen=True, kw_only=True)
class OpenedEvents:
    """A source as the table of events.

    Attributes
    ----------
    source : str
        As messages name it.
    mapping : EventMapping
    engine : Engine
    raw : ibis table
        The rows of the source, each once.
    events : ibis table
        See :func:`stamp.data.sources.events.events_of`; rows that are no events are left out.
    notes : sequence of str
        What was found out rather than said: sentences.
    """

    source: str
    mapping: EventMapping
    engine: Engine
    raw: ir.Table
    events: ir.Table
    notes: Sequence[str]


def open_events(
    source: Any, engine: Engine, *, mapping: EventMapping | str | os.PathLike[str] | None = None
) -> OpenedEvents:
    """Read a source as the table of events.

    Parameters
    ----------
    source : path, fsspec URL, pattern, folder, table of the engine, or pyarrow, pandas or polars frame
        Files are CSV and its kin, JSON lines or Parquet, gzipped, zstd or not; those of a folder and all below it. Tables
        are those of Ibis, or URLs: "duckdb://shop.duckdb/clicks", "spark://shop.clicks", "bigquery://project.shop.clicks".
    engine : Engine
    mapping : EventMapping, name of a ready one, or path of a JSON file, optional
        By default the ready one that fits the columns.

    Raises
    ------
    ValueError
        There is no such source, or it is cut off; no mapping fits, a column that it names is missing, its times could be in
        two units, or no row has what it maps.
    """
    notes: list[str] = []
    choice = MappingChoice(mapping, notes)
    lines = None
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        if name.startswith(f"{engine.name}://"):
            raw = engine.read_table(name)
            mapping = choice.of(name, raw.columns)
        elif (other := _ENGINES.get(name.partition("://")[0])) is not None:
            raise ValueError(
                f"source {name}: a table of another engine than {engine.name}; give engine=stamp.data.{other}"
            )
        else:
            raw, lines, mapping = read_files(name, engine, choice)
    else:
        name, raw = f"a {type(source).__name__}", engine.table(source)
        mapping = choice.of(name, raw.columns)
    try:
        rows = rows_about_products(raw, mapping, engine)
        if choice.mapping is None:
            mapping, missing = without_missing(mapping, rows)
            notes += [f"There is no {', no '.join(missing)}."] if missing else []
        unit = mapping.time_unit or _time_unit(rows, mapping, engine, notes)
        events = events_of(rows, mapping, engine, unit)
    except ValueError as error:
        raise ValueError(f"source {name}, {mapping.name}: {error}") from None
    if lines is not None:
        events = ibis.union(events, unreadable_events(lines, events))
        raw = ibis.union(raw.select(row=ibis.literal(1)), lines.select(row=ibis.literal(1)))
    return OpenedEvents(source=name, mapping=mapping, engine=engine, raw=raw, events=events, notes=notes)


def open_table(source: Any, engine: Engine) -> ir.Table:
    """Any source as it is, of which nothing is known: a catalog. ValueError where there is none."""
    if not isinstance(source, (str, os.PathLike)):
        return engine.table(source)
    if os.fspath(source).startswith(f"{engine.name}://"):
        return engine.read_table(os.fspath(source))
    files = find_files(os.fspath(source))
    check_whole(files.paths)
    if files.kind == "parquet":
        return engine.read_parquet(files.paths)
    if files.kind == "json":
        return engine.read_json(files.paths, columns=None)
    separator = find_separator(files.paths[0], files.separator)
    tables = []
    for path in files.paths:
        names = first_names(path, separator)
        read = engine.read_text([path], separator=separator, names=names, header=True, columns=sorted(names))
        tables.append(read.rows)
    return ibis.union(*tables)


def _time_unit(rows: ir.Table, mapping: EventMapping, engine: Engine, notes: list[str]) -> str | None:
    found = find_unit(engine, column(rows, "time", mapping.time))
    if found is None:
        return None
    unit, example = found
    notes.append(f"Times are numbers as {example}: unix time in {unit}.")
    return unit
