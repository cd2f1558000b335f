"""CSV, TSV and other text files with a separator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .column_reader import ColumnReader
from .columns import Column
from .conversion import as_column


def text_columns(where: str, path: str, separator: str, names: Sequence[str] | None) -> ColumnReader:
    """The columns of a text file, gzipped or not; `names` of them where it does not begin with a line of names."""
    from pyarrow import csv

    if len(separator) != 1 or not separator.isascii() or separator in '\r\n"':
        raise ValueError(
            f"{where}: separator is {separator!r}, expected one character of ASCII, neither quote nor newline"
        )
    parse = csv.ParseOptions(delimiter=separator)
    reading = csv.ReadOptions(column_names=names)
    with _named(where), csv.open_csv(path, read_options=reading, parse_options=parse) as reader:
        found = reader.schema.names

    def read(places: Sequence[int]) -> Iterable[Column]:
        wanted = [found[place] for place in places]
        with _named(where):
            table = csv.read_csv(
                path, reading, parse, csv.ConvertOptions(include_columns=wanted, include_missing_columns=False)
            )
        columns = dict(zip(wanted, table.columns))
        del table  # so that what is converted goes
        for name in wanted:
            column = columns.pop(name)
            _require_text(f"{where}: column '{name}'", column)
            yield as_column(f"{where}: column '{name}'", column)

    return ColumnReader(where, found, read)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Errors of reading say where."""
    import pyarrow

    try:
        yield
    except UnicodeDecodeError:
        raise ValueError(f"{where}: the names of the columns are not UTF-8; {_REMEDY}") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{where}: {error}") from error


_REMEDY = "convert the file first: iconv -f latin1 -t utf-8, say"


def _require_text(what: str, column: Any) -> None:
    """Raises ValueError for a column of bytes: Arrow reads texts that are not UTF-8 as such."""
    from pyarrow import types

    if not types.is_binary(column.type):
        return
    for row, value in enumerate(column.to_pylist()):
        try:
            value.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{what} has {value!r} in row {row}, which is not UTF-8; {_REMEDY}") from None
