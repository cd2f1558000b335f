"""Whatever people keep events in, as columns.

Neither pandas, polars nor DuckDB is imported: what they hand over is read through numpy or Arrow's C interface.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .columns import Column, import_pyarrow, is_arrow


def read_columns(data: Any) -> dict[str, Column]:
    """Columns of a file, a frame, a table or a mapping, by name."""
    if isinstance(data, (str, os.PathLike)):
        return _table_columns(_read_file(os.fspath(data)))
    if isinstance(data, Mapping):
        columns = {str(name): _as_numpy(values) for name, values in data.items()}
        if len({len(column) for column in columns.values()}) > 1:
            lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
            raise ValueError(f"from_frame: the columns differ in length: {lengths}")
        return columns
    if type(data).__module__.startswith("pandas"):
        return {str(name): _pandas_column(data[name]) for name in data.columns}
    if hasattr(data, "__arrow_c_stream__"):
        return _table_columns(import_pyarrow("reading this table").table(data))
    if hasattr(data, "fetch_arrow_table"):  # DuckDB relations of older versions
        return _table_columns(data.fetch_arrow_table())
    raise ValueError(
        f"from_frame: cannot read {type(data).__name__}; expected a pandas, polars or pyarrow frame, a DuckDB relation, "
        "a mapping of columns, a list of lists or a path to CSV, TSV or Parquet (a file, or a directory of them)"
    )


def _read_file(path: str) -> Any:
    import_pyarrow(f"reading {path}")
    if os.path.isdir(path):
        return _read_parquet_files(path)
    if not os.path.isfile(path):
        raise ValueError(f"from_frame: there is no file {path}")
    name = path.lower().removesuffix(".gz")
    if name.endswith((".parquet", ".pq")):
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path)
    if not name.endswith((".csv", ".tsv", ".txt")):
        raise ValueError(f"from_frame: {path} is of unknown kind; expected .csv, .tsv or .parquet, gzipped or not")
    import pyarrow.csv

    options = pyarrow.csv.ParseOptions(delimiter="," if name.endswith(".csv") else "\t")
    try:
        return pyarrow.csv.read_csv(path, parse_options=options)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"from_frame: {path}: {error}") from error


def _read_parquet_files(folder: str) -> Any:
    """All .parquet files in a folder and below, as one table, in the order of their paths."""
    import pyarrow.parquet

    files = sorted(glob.glob(os.path.join(glob.escape(folder), "**", "*.parquet"), recursive=True))
    if not files:
        raise ValueError(f"from_frame: the directory {folder} holds no .parquet files")
    return pyarrow.concat_tables([pyarrow.parquet.read_table(file) for file in files])


def _table_columns(table: Any) -> dict[str, Column]:
    import pyarrow as pa

    def whole(column: Any) -> Column:
        if pa.types.is_string(column.type):  # which ends at 2 GiB
            column = column.cast(pa.large_string())
        return column.combine_chunks()

    return {name: whole(table.column(name)) for name in table.column_names}


def _as_numpy(values: Any) -> Column:
    return values if is_arrow(values) else np.atleast_1d(np.asarray(values))


def _pandas_column(series: Any) -> np.ndarray:
    if getattr(series.dtype, "tz", None) is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    if isinstance(series.dtype, np.dtype):
        return np.asarray(series)
    objects = series.astype(object)
    return np.asarray(objects.where(series.notna(), None) if series.isna().any() else objects, object)
