"""DuckDB, embedded: within a bound of memory, beyond which it goes on in a folder."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import ibis
import ibis.expr.datatypes as dt
from ibis.common.exceptions import TableNotFound

from ...base.memory import available_memory
from .engine import Engine, TextTables
from .spill import SpillFolder

if TYPE_CHECKING:
    import ibis.expr.types as ir

_SHARE = 0.6  # of the memory that is free, by default: Arrow, Parquet's writer and Python want some beside
_LEAST = 64 << 20  # bytes of memory
_BATCH = 131_072  # rows that are handed over together


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def epoch_us(times: dt.timestamp) -> dt.int64:
    """DuckDB's own."""


def from_json(text: dt.string, structure: dt.string) -> dt.unknown:
    """DuckDB's own, whose type is that of `structure`."""


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def json_valid(text: dt.string) -> dt.boolean:
    """DuckDB's own."""


class DuckDBEngine(Engine):
    """DuckDB in this process.

    Parameters
    ----------
    memory : int, optional
        Bytes that it may hold: by default 60 % of what the machine, or the container, has free. Sorts and joins beyond it
        go on in `spill`.
    spill : str or path, optional
        Folder for what does not fit, as large as the events; by default the system's for temporary files. What is written
        there is removed at the end, what a killed process left by the next one.
    threads : int, optional
        By default as many as there are cores.

    Raises
    ------
    ValueError
        `memory` or `threads` cannot be, or `spill` is no folder.
    RuntimeError
        `spill` cannot be written to.
    """

    name = "duckdb"

    def __init__(
        self, *, memory: int | None = None, spill: str | os.PathLike[str] | None = None, threads: int | None = None
    ):
        super().__init__()
        memory = max(_LEAST, int(_SHARE * available_memory())) if memory is None else memory
        if memory < _LEAST:
            raise ValueError(f"engine: memory is {memory} bytes, expected 64 MiB or more")
        self.memory = memory
        folder = SpillFolder(spill)
        self.spill = folder.path
        self._removed = weakref.finalize(self, folder.remove)
        options: dict[str, Any] = {
            "memory_limit": f"{memory}B",
            "temp_directory": self.spill,
            "preserve_insertion_order": False,
        }
        if threads is not None:
            options["threads"] = threads
        self.connection = ibis.duckdb.connect(**options)
        self._raw: duckdb.DuckDBPyConnection = self.connection.con
        self._raw.execute("SET TimeZone = 'UTC'")
        self._raw.execute("SET enable_progress_bar = true")  # it is counted, and told by others
        self._raw.execute("SET enable_progress_bar_print = false")

    def close(self) -> None:
        self.connection.disconnect()
        self._removed()

    def read_parquet(self, paths: Sequence[str]) -> ir.Table:
        self._reach(paths)
        types = self._run(
            "SELECT name, coalesce(logical_type, type) AS kind, min(file_name) AS file FROM parquet_schema($1) "
            "WHERE type IS NOT NULL GROUP BY ALL ORDER BY ALL", [list(paths)]
        )  # fmt: skip
        first: dict[str, tuple[str, str]] = {}
        for name, kind, file in types:
            family = _FAMILIES.get(kind, kind)
            other = first.setdefault(name, (family, file))
            if other[0] != family:
                raise ValueError(
                    f"{file}: column '{name}' is {kind}, in {other[1]} it is {other[0]}; expected one type in all files"
                )
        name = self._name()  # not by Ibis, which would have DuckDB download its own reader of s3://
        read = f"read_parquet([{', '.join(map(_text, paths))}], union_by_name = true)"
        self._run(f"CREATE TEMP VIEW {name} AS FROM {read}")
        return self.connection.table(name)

    def read_text(
        self, paths: Sequence[str], *, separator: str, names: Sequence[str], header: bool, columns: Sequence[str]
    ) -> TextTables:
        self._reach(paths)
        name, rejects = self._name(), self._name()
        every = ", ".join(f"{_text(column)}: 'VARCHAR'" for column in names)
        self._run(
            f"CREATE TABLE {name} AS SELECT {', '.join(map(_quoted, columns))} FROM read_csv(["
            f"{', '.join(map(_text, paths))}], auto_detect = false, columns = {{{every}}}, header = {header}, "
            f"delim = {_text(separator)}, quote = '\"', escape = '\"', ignore_errors = true, store_rejects = true, "
            f"rejects_limit = 0, rejects_table = '{rejects}', rejects_scan = '{rejects}_scans')"
        )
        unreadable = self._name()  # as the table of rejects goes with its connection's next
        self._run(f"CREATE TABLE {unreadable} AS SELECT DISTINCT ON (file_id, line) csv_line AS line FROM {rejects}")
        return TextTables(rows=self.connection.table(name), unreadable=self.connection.table(unreadable))

    def read_json(self, paths: Sequence[str], *, columns: Mapping[str, str] | None) -> ir.Table:
        self._reach(paths)
        options: dict[str, Any] = {"format": "newline_delimited", "ignore_errors": True}
        if columns is not None:
            duck = self.connection.compiler.type_mapper
            options["columns"] = {name: duck.to_string(ibis.dtype(kind)) for name, kind in columns.items()}
        with self._errors_named():
            read = self.connection.read_json(list(paths), table_name=self._name(), **options)
        return self.keep(read)

    def progress(self) -> float | None:
        percent = self._raw.query_progress()
        return None if percent < 0 else percent / 100

    def rows(self, expression: ir.Table) -> Any:
        with self._errors_named():
            return super().rows(expression)

    def read_table(self, url: str) -> ir.Table:
        path, _, table = url.removeprefix("duckdb://").rpartition("/")
        if not pathlib.Path(path).is_file():
            raise ValueError(f"source {url}: there is no file {path!r}; expected duckdb://<file>/<table>")
        alias = self._name()
        try:
            self._raw.execute(f"ATTACH {_text(path)} AS {alias} (READ_ONLY)")
            return self.connection.table(table, database=(alias, "main"))
        except duckdb.Error as error:
            raise ValueError(f"source {url}: {error}") from None
        except TableNotFound:
            raise ValueError(f"source {url}: there is no such table in the file") from None

    def json_objects(self, text: ir.StringValue, names: Sequence[str]) -> ir.ArrayValue:
        fields = ", ".join(f'{json.dumps(name)}: "VARCHAR"' for name in names)
        kind = dt.Array(dt.Struct(dict.fromkeys(names, dt.string)))
        objects = ibis.udf.scalar.builtin(from_json, signature=((dt.string, dt.string), kind))
        return ibis.cases((json_valid(text), objects(text, f"[{{{fields}}}]")))

    def table(self, data: Any) -> ir.Table:
        if isinstance(data, duckdb.DuckDBPyRelation):
            data = data.to_arrow_reader(_BATCH)
        elif isinstance(data, ibis.Table) and data._find_backends()[0] and not self._has(data):
            data = data.to_pyarrow_batches()
        else:
            return super().table(data)
        name, lent = self._name(), self._name()
        self._raw.register(lent, data)
        self._run(f"CREATE TABLE {name} AS FROM {lent}")
        self._raw.unregister(lent)
        return self.connection.table(name)

    def micros(self, times: ir.TimestampValue) -> ir.IntegerValue:
        return epoch_us(times)

    def keep(self, expression: ir.Table) -> ir.Table:
        with self._errors_named():
            return self.connection.create_table(self._name(), expression)

    def batches(self, expression: ir.Table) -> Iterator[Any]:
        # An order of the expression is kept whatever preserve_insertion_order says: it is a sort.
        with (
            self._errors_named(),
            contextlib.closing(self.connection.to_pyarrow_batches(expression, chunk_size=_BATCH)) as reader,
        ):
            yield from reader

    def _run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._errors_named():
            return self._raw.execute(sql, parameters).fetchall()

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        """What the machine lacks, and files that are not what they seem."""
        try:
            yield
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            raise RuntimeError(
                f"DuckDB, of {self.memory / 2**30:.1f} GiB of memory and the folder {self.spill} for what is beyond it "
                f"(engine: memory, spill): {error}"
            ) from error
        except duckdb.InvalidInputException as error:
            raise ValueError(f"DuckDB cannot read the source: {error}") from error

    def _reach(self, paths: Sequence[str]) -> None:
        """Files at URLs are read through fsspec, since DuckDB's own readers of them are downloads."""
        for scheme in {path.partition("://")[0] for path in paths if "://" in path}:
            if scheme not in self._raw.list_filesystems():
                import fsspec

                self._raw.register_filesystem(fsspec.filesystem(scheme))


# Types that widen into each other.
_FAMILIES = {
    **dict.fromkeys(("INT32", "INT64"), "an integer"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "a float"),
    **dict.fromkeys(("UTF8Type()", "StringType()", "BYTE_ARRAY"), "a text"),
}


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
