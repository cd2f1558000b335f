"""CSV, TSV and other text files with a separator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .column_reader import ColumnReader, Written, listed_names
from .columns import Column, errors_named
from .conversion import as_column
from .ids import as_written

# Integers that a float would not give back as they were written.
_LOST_IN_FLOATS = r"^[+-]?(0\d+|\d{19,})$"
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
            found, guessed = reader.schema.names, reader.schema  # types of the first block
        except UnicodeDecodeError:
            raise ValueError(f"{where}: the names of the columns are not UTF-8; {_REMEDY}") from None

    def read_table(names: Sequence[str], texts: Iterable[str]) -> Any:
        types = dict.fromkeys(texts, pa.large_binary())  # of which we can say where it is not UTF-8
        with errors_named(where):
            return csv.read_csv(path, reading, parse, csv.ConvertOptions(include_columns=names, column_types=types))

    def read(places: Sequence[int], written: Written) -> Iterable[Column]:
        wanted = [found[place] for place in places]
        texts = {*written, *(name for name in wanted if _is_number(guessed.field(name).type))}
        table = read_table(wanted, texts)
        columns = dict(zip(wanted, table.columns))
        late = [name for name in wanted if _is_number(columns[name].type)]  # whose first block had no values
        if late:
            columns |= zip(late, read_table(late, late).columns)
            texts |= {*late}
        del table  # so that what is converted goes
        for name in wanted:
            what = f"{where}: column '{name}'"
            column = as_column(what, _as_text(what, columns.pop(name)))
            yield written.get(name, _as_it_looks)(column) if name in texts else column

    return ColumnReader(where, found, read)


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or types.is_floating(kind)


def _as_it_looks(texts: Column) -> Column:
    """Numbers where every text comes back from them, as far as it matters: 1.50 may be 1.5, but 007 is not 7."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    trimmed = pc.utf8_trim_whitespace(texts)
    integers = as_written(trimmed, as_text=False)
    if pa.types.is_integer(integers.type):
        return integers
    if pc.any(pc.match_substring_regex(trimmed, _LOST_IN_FLOATS)).as_py():
        return pc.if_else(pc.equal(trimmed, ""), None, texts)
    nulls = pa.array(pyarrow.csv.ConvertOptions().null_values, texts.type)
    try:
        return pc.if_else(pc.is_in(trimmed, nulls), None, trimmed).cast(pa.float64())
    except pa.ArrowInvalid:
        return texts


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
