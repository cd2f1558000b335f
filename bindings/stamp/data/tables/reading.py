"""Whatever people keep events in, as columns.

Neither pandas, polars nor DuckDB is imported: what they hand over is read through numpy or Arrow's C interface.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .column_reader import ColumnReader
from .columns import errors_named, import_pyarrow
from .conversion import as_column, is_pandas
from .parquet_files import is_parquet, parquet_columns
from .text_files import text_columns

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def open_columns(
    call: str, data: Any, *, separator: str | None = None, names: Sequence[str] | None = None
) -> ColumnReader:
    """The columns of a file, a frame, a table or a mapping. Messages of ValueErrors begin with `call`.

    Parameters
    ----------
    separator : str, optional
        Between the values of text files; by default what the file's name says. Other data have none, and take none.
    names : sequence of str, optional
        Of the columns of a text file that does not begin with them.
    """
    if isinstance(data, (str, os.PathLike)):
        return _file_columns(call, os.fspath(data), separator, names)
    _require_text_file(call, type(data).__name__, separator, names)
    if isinstance(data, Mapping):
        return _columns_of(call, list(data), list(data.values()).__getitem__)
    if is_pandas(data) and hasattr(data, "columns"):
        return _columns_of(call, data.columns, lambda place: data.iloc[:, place])
    if hasattr(data, "get_columns"):  # of polars, whose columns of Python's objects Arrow has no type for
        return _columns_of(call, data.columns, data.to_series)
    if is_column(data) or not (hasattr(data, "__arrow_c_stream__") or hasattr(data, "fetch_arrow_table")):
        raise ValueError(
            f"{call}: cannot read {type(data).__name__}; expected a pandas, polars or pyarrow frame, a DuckDB relation, "
            "a mapping of columns, a list of lists or a path to CSV, TSV or Parquet (a file, or a directory of Parquet)"
        )
    pyarrow = import_pyarrow("reading this table")
    with errors_named(f"{call}: Arrow cannot hold this {type(data).__name__}"):
        # Relations of older versions of DuckDB have no stream.
        table = pyarrow.table(data) if hasattr(data, "__arrow_c_stream__") else data.fetch_arrow_table()
    return _columns_of(call, table.column_names, table.column)


def _require_text_file(call: str, data: str, separator: str | None, names: Sequence[str] | None) -> None:
    """Raises ValueError for what only text files have, where `data` is none."""
    if names is not None:
        raise ValueError(f"{call}: names are of a text file without a line of them, not of {data}")
    if separator is not None:
        raise ValueError(f"{call}: separator is of a text file, not of {data}")


def is_column(data: Any) -> bool:
    """Whether it is one column of values, and no table."""
    return hasattr(data, "__array__") and not hasattr(data, "columns") and not hasattr(data, "schema")


def _columns_of(call: str, names: Iterable[Any], values_at: Callable[[int], Any]) -> ColumnReader:
    names = [str(name) for name in names]
    return ColumnReader(
        call,
        names,
        lambda places, _: (as_column(f"{call}: column '{names[place]}'", values_at(place)) for place in places),
    )


def _file_columns(call: str, path: str, separator: str | None, names: Sequence[str] | None) -> ColumnReader:
    import_pyarrow(f"reading {path}")
    if not os.path.exists(path):
        raise ValueError(f"{call}: there is no file {path}")
    if is_parquet(path):
        _require_text_file(call, path, separator, names)
        return parquet_columns(call, path)
    name = path.lower().removesuffix(".gz")
    if separator is None:
        separator = next((_SEPARATORS[suffix] for suffix in _SEPARATORS if name.endswith(suffix)), None)
    if separator is None:
        raise ValueError(
            f"{call}: {path} is of unknown kind; expected .csv, .tsv or .parquet, or a separator for another text file"
        )
    return text_columns(f"{call}: {path}", path, separator, names)
