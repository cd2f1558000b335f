"""Parquet: a file, or all files of a folder."""

from __future__ import annotations

import glob
import os
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .column_reader import ColumnReader, Written
from .columns import Column, errors_named, type_name
from .conversion import as_column, plain, plain_type

_SUFFIXES = (".parquet", ".pq")


def is_parquet(path: str) -> bool:
    return os.path.isdir(path) or path.lower().endswith(_SUFFIXES)


def parquet_columns(call: str, path: str) -> ColumnReader:
    """The columns of a file, or of all files in a folder and below, in the order of their paths.

    Files may lack columns, or have nothing but nulls there; types must agree in those columns that are read. A folder
    that is called ``day=2026-01-01`` gives a column, too, unless the files have one of that name.
    """
    paths = _paths_below(path) if os.path.isdir(path) else [path]
    if not paths:
        raise ValueError(f"{call}: the directory {path} holds no .parquet files")
    files = [_File.open(call, name, folder=path) for name in paths]
    columns: Counter[str] = Counter()
    for file in files:
        columns |= Counter(file.names)
    keys = [key for key in dict.fromkeys(key for file in files for key in file.keys) if key not in columns]
    names = [*columns.elements(), *keys]
    lacking = {name: file.path for file in reversed(files) for name in columns if name not in file.types}

    def read(places: Sequence[int], _: Written) -> Iterable[Column]:
        import pyarrow as pa

        wanted = [names[place] for place in places]
        types = {name: _common_type(call, name, files) for name in wanted if name not in keys}
        parts: dict[str, list[Any]] = {name: [] for name in types}
        for file in files:
            with errors_named(f"{call}: {file.path}"):
                columns = file.read(list(types))
            for name, chunks in columns.items():
                with errors_named(f"{call}: {file.path}: column '{name}'"):
                    parts[name] += [plain(chunk).cast(types[name]) for chunk in chunks]
        for name in wanted:  # one after the other, so that only one is there twice
            column = _of_folders(name, files) if name in keys else pa.chunked_array(parts.pop(name), types[name])
            yield as_column(f"{call}: {path}: column '{name}'", column)

    return ColumnReader(f"{call}: {path}", names, read, lacking)


def _paths_below(folder: str) -> list[str]:
    """Files whose names, and whose folders' names, begin with a dot or an underscore are of the tools that write them."""
    found = (glob.glob(f"**/*{suffix}", root_dir=folder, recursive=True) for suffix in _SUFFIXES)
    paths = (path for paths in found for path in paths if not any(part[0] in "._" for part in path.split(os.sep)))
    return [os.path.join(folder, path) for path in sorted(paths)]


@dataclass(frozen=True)
class _File:
    path: str  # as it was named
    names: list[str]
    types: dict[str, Any]  # of its columns, by name
    keys: dict[str, str | None]  # of the folders that it lies in
    rows: int

    @classmethod
    def open(cls, call: str, path: str, folder: str) -> _File:
        import pyarrow.parquet

        with errors_named(f"{call}: {path}"), pyarrow.parquet.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
        return cls(
            path, schema.names, dict(zip(schema.names, schema.types)), _keys(os.path.relpath(path, folder)), rows
        )

    def read(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Chunks of columns; of nulls where the file has no such column."""
        import pyarrow as pa
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(self.path) as file:
            table = file.read([name for name in names if name in self.types])
        return {name: table.column(name).chunks if name in self.types else [pa.nulls(self.rows)] for name in names}


def _keys(path: str) -> dict[str, str | None]:
    """What the folders of a path say in the manner of Hive: day=2026-01-01."""
    parts = [part.partition("=") for part in path.split(os.sep)[:-1]]
    return {
        urllib.parse.unquote(key): None if value == "__HIVE_DEFAULT_PARTITION__" else urllib.parse.unquote(value)
        for key, sign, value in parts
        if sign
    }


def _of_folders(key: str, files: Sequence[_File]) -> Any:
    """A column of what the folders say: integers where all are written as integers are, else texts."""
    import pyarrow as pa

    values = [file.keys.get(key) for file in files]
    column = pa.array(values, pa.large_string())
    try:
        integers = column.cast(pa.int64())
        if integers.cast(column.type).equals(column):
            column = integers
    except pa.ArrowInvalid:
        pass
    return pa.chunked_array([pa.repeat(value, file.rows) for value, file in zip(column, files)])


def _common_type(call: str, name: str, files: Sequence[_File]) -> Any:
    """The plain type that holds what all files have in a column."""
    import pyarrow as pa

    common, first = pa.null(), ""
    for file in files:
        if name not in file.types:
            continue
        kind = plain_type(file.types[name])
        try:
            both = [pa.schema([(name, each)]) for each in (common, kind)]
            common = pa.unify_schemas(both, promote_options="permissive").field(0).type
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            raise ValueError(
                f"{call}: column '{name}' is {type_name(common)} in {first} and {type_name(kind)} in {file.path}; write "
                "them alike, or read other columns alone"
            ) from None
        if not pa.types.is_null(kind):
            first = first or file.path
    return common
