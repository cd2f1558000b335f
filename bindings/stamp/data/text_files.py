"""CSV, TSV and other text files with a separator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .column_reader import ColumnReader, Written, listed_names
from .columns import Column, errors_named
from .conversion import as_column

_REMEDY = "convert the file first: iconv -f latin1 -t utf-8, say"


def text_columns(where: str, path: str, separator: str, names: Sequence[str] | None) -> ColumnReader:
    """The columns of a text file, gzipped or not; `names` of them where it does not begin with a line of names."""
    import pyarrow as pa
    from pyarrow import csv

    if len(separator) != 1 or not separator.isascii() or separator in '\r\n"':
        raise ValueError(
            f"{where}: separator is {separator!r}, expected one character of ASCII, neither quote nor newline"
        )
    parse = csv.ParseOptions(delimiter=separator)
    reading = csv.ReadOptions(column_names=None if names is None else listed_names(names))
    with errors_named(where), csv.open_csv(path, read_options=reading, parse_options=parse) as reader:
        try:
            found = reader.schema.names
        except UnicodeDecodeError:
            raise ValueError(f"{where}: the names of the columns are not UTF-8; {_REMEDY}") from None

    def read(places: Sequence[int], written: Written) -> Iterable[Column]:
        wanted = [found[place] for place in places]
        types = dict.fromkeys(written, pa.large_string())
        with errors_named(where):
            table = csv.read_csv(path, reading, parse, csv.ConvertOptions(include_columns=wanted, column_types=types))
        columns = dict(zip(wanted, table.columns))
        del table  # so that what is converted goes
        for name in wanted:
            column = columns.pop(name)
            _require_text(f"{where}: column '{name}'", column)
            column = as_column(f"{where}: column '{name}'", column)
            yield written[name](column) if name in written else column

    return ColumnReader(where, found, read)


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
