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
        types = dict.fromkeys(written, pa.large_binary())  # of which we can say where it is not UTF-8
        with errors_named(where):
            table = csv.read_csv(path, reading, parse, csv.ConvertOptions(include_columns=wanted, column_types=types))
        columns = dict(zip(wanted, table.columns))
        del table  # so that what is converted goes
        for name in wanted:
            what = f"{where}: column '{name}'"
            column = as_column(what, _as_text(what, columns.pop(name)))
            yield written[name](column) if name in written else column

    return ColumnReader(where, found, read)


def _as_text(what: str, column: Any) -> Any:
    """A column of bytes, which Arrow also makes of texts that are not UTF-8, as texts; others as they are."""
    import pyarrow as pa

    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        return column
    try:
        return column.cast(pa.large_string())
    except pa.ArrowInvalid:
        row, value = next((row, value) for row, value in enumerate(column.to_pylist()) if not _is_utf8(value))
        raise ValueError(f"{what} has {value!r} in row {row}, which is not UTF-8; {_REMEDY}") from None


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
