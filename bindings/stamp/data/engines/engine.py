"""What preparation asks of an engine. All else is Ibis."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ibis

if TYPE_CHECKING:
    import ibis.expr.types as ir
    from typing_extensions import Self


@dataclass(frozen=True, kw_only=True)
class TextTables:
    """Text files as an engine reads them.

    Attributes
    ----------
    rows : ibis table
        Every column a string.
    unreadable : ibis table
        `line`: the text of each line that has other than one value a column, or is no UTF-8.
    """

    rows: ir.Table
    unreadable: ir.Table


class Engine(abc.ABC):
    """Reads what is outside as tables, keeps results, and hands rows over as Arrow.

    Attributes
    ----------
    name : str
    connection : ibis backend
        On a session of its own, whose time zone is UTC.
    """

    name: str
    connection: Any

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def close(self) -> None:
        """Ends the session, and removes what it kept."""

    @abc.abstractmethod
    def read_parquet(self, paths: Sequence[str]) -> ir.Table:
        """Columns by name, those of all files together. ValueError where one is of several types, naming the files."""

    @abc.abstractmethod
    def read_text(
        self, paths: Sequence[str], *, separator: str, names: Sequence[str], header: bool, columns: Sequence[str]
    ) -> TextTables:
        """CSV and its kin, compressed or not: the `names` of all columns, whether the files begin with a line of them, and
        the `columns` that are wanted."""

    @abc.abstractmethod
    def read_json(self, paths: Sequence[str], *, columns: Mapping[str, str] | None) -> ir.Table:
        """JSON lines, compressed or not. `columns`: Ibis types of those that are wanted, or None: all, as they look. A
        line that is no JSON is a row of nulls."""

    @abc.abstractmethod
    def read_table(self, url: str) -> ir.Table:
        """A table of a database of this engine: what follows "name://". ValueError where there is none."""

    @abc.abstractmethod
    def json_objects(self, text: ir.StringValue, names: Sequence[str]) -> ir.ArrayValue:
        """Of a JSON list of objects, the values with these names as strings; null where it is no such list."""

    @abc.abstractmethod
    def micros(self, times: ir.TimestampValue) -> ir.IntegerValue:
        """Microseconds since 1970. Times without a zone are taken as they are."""

    @abc.abstractmethod
    def keep(self, expression: ir.Table) -> ir.Table:
        """The rows of an expression, worked out once, as a table that is there until :meth:`close`."""

    @abc.abstractmethod
    def batches(self, expression: ir.Table) -> Iterator[Any]:
        """The rows as pyarrow record batches, in the order of the expression, without holding them all."""

    def progress(self) -> float | None:
        """The share of the query that runs that is done, 0 to 1; None where none runs, or nobody knows. Any thread may
        ask."""
        return None

    def rows(self, expression: ir.Table) -> Any:
        """The rows as a pyarrow table: for small results."""
        return self.connection.to_pyarrow(expression)

    def values(self, expression: ir.Table) -> dict[str, Any]:
        """The one row of an aggregate."""
        return self.rows(expression).to_pylist()[0]

    def table(self, data: Any) -> ir.Table:
        """A table of the engine's connection as it is, or a pyarrow, pandas or polars one that is small enough to travel."""
        return data if isinstance(data, ibis.Table) else ibis.memtable(data)

    def _has(self, table: ir.Table) -> bool:
        """Whether a table is of this engine's connection."""
        backends, _ = table._find_backends()
        return backends == [self.connection]

    def _name(self) -> str:
        return f"stamp_{next(self._numbers)}"
