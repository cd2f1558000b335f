"""Files of raw clicks as tables, and the mapping for their columns."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import ibis

from ..engines.daily_tables import partial_days
from ..engines.engine import Engine
from .detection import READY, detect_mapping, ready_mapping
from .files import Files, check_whole, find_files, find_separator, first_names, first_values, json_names
from .mapping import EventMapping
from .mapping_files import read_mapping
from .public_logs import names_of_yoochoose

if TYPE_CHECKING:
    import ibis.expr.types as ir

_NEEDED = ("visitor_id", "session_id", "time", "item_id")  # in every file; the others may be in some


class MappingChoice:
    """What was said of the mapping: one, the name of a ready one, a file with one, or None: what fits. `notes` gets a
    sentence on what was found."""

    def __init__(self, said: EventMapping | str | os.PathLike[str] | None, notes: list[str]):
        self._name: str | None = None
        self.mapping: EventMapping | None = None
        if isinstance(said, EventMapping):
            self.mapping = said
        elif isinstance(said, str) and said in READY:
            self._name = said
        elif said is not None:
            self.mapping = read_mapping(said)
        self.notes = notes

    def of(self, source: str, names: Collection[str]) -> EventMapping:
        """For these columns. ValueError where none fits."""
        if self.mapping is not None:
            return self.mapping
        try:
            mapping = detect_mapping(names) if self._name is None else ready_mapping(self._name, names)
        except ValueError as error:
            raise ValueError(f"source {source}: {error}") from None
        if self._name is None:
            self.notes.append(f"The columns are those of {mapping.name}.")
        return mapping


def read_files(source: str, engine: Engine, choice: MappingChoice) -> tuple[ir.Table, ir.Table | None, EventMapping]:
    """The rows, the lines that are none, and the mapping. ValueError as :func:`stamp.data.sources.opening.open_events`."""
    files = _without_partial_days(find_files(source), choice.notes)
    check_whole(files.paths)
    if files.kind == "text":
        return _read_text(source, files, engine, choice)
    if files.kind == "parquet":
        raw = engine.read_parquet(files.paths)
        return raw, None, choice.of(source, raw.columns)
    mapping = choice.of(source, json_names(files.paths[0]) if choice.mapping is None else ())
    return engine.read_json(files.paths, columns=mapping.columns or None), None, mapping


def _without_partial_days(files: Files, notes: list[str]) -> Files:
    partial = partial_days(files.paths)
    if not partial:
        return files
    notes.append(f"Left out: events_intraday_ of {', '.join(partial)}, of which there are whole days.")
    left_out = {path for paths in partial.values() for path in paths}
    return replace(files, paths=[path for path in files.paths if path not in left_out])


def _read_text(
    source: str, files: Files, engine: Engine, choice: MappingChoice
) -> tuple[ir.Table, ir.Table, EventMapping]:
    said = choice.mapping
    header = said is None or said.names is None
    separator = said.separator if said is not None and said.separator else None
    if separator is None:
        separator = find_separator(files.paths[0], files.separator)
    if said is None and names_of_yoochoose(first_values(files.paths[0], separator)):
        header = False
    alike: dict[tuple[str, ...], list[str]] = {}  # files by the names of their columns
    for path in files.paths:
        alike.setdefault(tuple(_names_in(path, separator, header, said)), []).append(path)
    every = list(dict.fromkeys(name for names in alike for name in names))
    mapping = choice.of(source, every)
    wanted = _columns_wanted(mapping, every)
    rows, lines = [], []
    for names, paths in alike.items():
        _check_needed(mapping, names, paths[0])
        here = [name for name in wanted if name in names]
        read = engine.read_text(paths, separator=separator, names=list(names), header=header, columns=here)
        rows.append(
            read.rows.select(**{name: read.rows[name] if name in here else ibis.null("string") for name in wanted})
        )
        lines.append(read.unreadable)
    return ibis.union(*rows), ibis.union(*lines), mapping


def _names_in(path: str, separator: str, header: bool, said: EventMapping | None) -> Sequence[str]:
    if header:
        return first_names(path, separator)
    values = first_values(path, separator)
    found = names_of_yoochoose(values) if said is None else (said.names or ())[: len(values)]
    if found is None:
        raise ValueError(
            f"{path}: the first line holds {', '.join(map(repr, values))}; expected as many as in the first file"
        )
    return found


def _columns_wanted(mapping: EventMapping, names: Sequence[str]) -> list[str]:
    """In one order, whatever that of the file; all of them where a function may ask for any."""
    wanted: set[str] = set()
    for what, given in mapping.fields().items():
        if callable(given):
            return sorted(names)
        for path in [given] if isinstance(given, str) else given:
            wanted.add(_column_of(mapping, what, path, names))
    return sorted(wanted)


def _column_of(mapping: EventMapping, what: str, path: str, names: Sequence[str], file: str = "") -> str:
    """The column itself, or the one in whose JSON the rest of the path is."""
    for name in (path, path.partition(".")[0]):
        if name in names:
            return name
    raise ValueError(f"{file}{mapping.name}: {what} is '{path}', which is none of the columns {', '.join(names)}")


def _check_needed(mapping: EventMapping, names: Sequence[str], path: str) -> None:
    for what, given in mapping.fields().items():
        if what in _NEEDED and not callable(given):
            for each in [given] if isinstance(given, str) else given:
                _column_of(mapping, what, each, names, f"{path}: ")
