"""Whatever people keep events in, as columns; ids and times of any type, as the library wants them.

A column is a numpy array or a pyarrow Array. Neither pandas, polars nor DuckDB is imported: what they hand over is
read through numpy or Arrow's C interface.
"""

from __future__ import annotations

import datetime
import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._stamp import Catalog

Column = Any  # numpy.ndarray or pyarrow.Array


def _pyarrow(purpose: str) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"{purpose} needs pyarrow: pip install 'stamp[data]'") from error
    return pyarrow


def _is_arrow(column: Column) -> bool:
    return type(column).__module__.startswith("pyarrow")


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
        return _table_columns(_pyarrow("reading this table").table(data))
    if hasattr(data, "fetch_arrow_table"):  # DuckDB relations of older versions
        return _table_columns(data.fetch_arrow_table())
    raise ValueError(
        f"from_frame: cannot read {type(data).__name__}; expected a pandas, polars or pyarrow frame, a DuckDB relation, "
        "a mapping of columns, a list of lists or a path to CSV, TSV or Parquet (a file, or a directory of them)"
    )


def _read_file(path: str) -> Any:
    _pyarrow(f"reading {path}")
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
    return values if _is_arrow(values) else np.atleast_1d(np.asarray(values))


def _pandas_column(series: Any) -> np.ndarray:
    if getattr(series.dtype, "tz", None) is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    if isinstance(series.dtype, np.dtype):
        return np.asarray(series)
    objects = series.astype(object)
    return np.asarray(objects.where(series.notna(), None) if series.isna().any() else objects, object)


def take(column: Column, order: np.ndarray) -> Column:
    return column.take(order) if _is_arrow(column) else column[order]


def _arrow_missing(column: Column) -> np.ndarray:
    return column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)


def _require_complete(what: str, missing: np.ndarray) -> None:
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(f"{what} has {int(missing.sum())} missing values, the first in row {row}; drop or fill them")


def _numpy_ids(what: str, values: np.ndarray) -> np.ndarray | list[str]:
    if values.dtype.kind in "iub":
        return values
    if values.dtype.kind == "f":
        _require_complete(what, ~np.isfinite(values))
        whole = values.astype(np.int64)
        if not np.array_equal(whole, values):
            row = int(np.argmax(whole != values))
            raise ValueError(f"{what} has {values[row]} in row {row}; ids are integers or strings")
        return whole
    if values.dtype.kind in "US":
        return values.astype(str).tolist()
    if values.dtype.kind == "O":
        listed = values.tolist()
        _require_complete(what, np.fromiter((v is None or v != v for v in listed), bool, len(listed)))
        if all(isinstance(v, (int, np.integer)) for v in listed):
            try:
                return np.array(listed, dtype=np.int64)
            except OverflowError:
                raise ValueError(f"{what} has an id beyond 64-bit signed integers") from None
        for row, value in enumerate(listed):
            if not isinstance(value, str):
                raise ValueError(f"{what} has {value!r} in row {row}; ids are all integers or all strings")
        return listed
    raise ValueError(f"{what} has dtype {values.dtype}; ids are integers or strings")


def pack_strings(strings: Sequence[str]) -> tuple[bytes, np.ndarray]:
    """UTF-8 bytes laid end to end, and the n+1 places where each string begins and the last ends."""
    encoded = [s.encode() for s in strings]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
    return b"".join(encoded), offsets


class Ids:
    """A column of ids: 64-bit integers, or strings in Arrow's layout. Messages of ValueErrors begin with `what`."""

    def __init__(self, what: str, column: Column):
        self.integers: np.ndarray | None = None
        if _is_arrow(column):
            import pyarrow as pa

            if pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            _require_complete(what, _arrow_missing(column))
            if (
                pa.types.is_string(column.type)
                or pa.types.is_large_string(column.type)
                or str(column.type) == "string_view"
            ):
                column = column.cast(pa.large_string())
                _, offsets, data = column.buffers()
                self.offsets = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
                self.bytes = data if data is not None else b""
                return
            column = column.to_numpy(zero_copy_only=False)
        values = _numpy_ids(what, np.asarray(column))
        if isinstance(values, list):
            self.bytes, self.offsets = pack_strings(values)
        else:
            if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
                raise ValueError(f"{what} has an id beyond 64-bit signed integers")
            self.integers = np.ascontiguousarray(values, np.int64)

    @property
    def kind(self) -> str:
        return "strings" if self.integers is None else "integers"

    def __len__(self) -> int:
        return len(self.offsets) - 1 if self.integers is None else len(self.integers)

    def add_to(self, catalog: Catalog) -> np.ndarray:
        """Rows [n] int32 of the ids, new ones added."""
        if self.integers is None:
            return catalog.add_strings(self.bytes, self.offsets)
        return catalog.add_integers(self.integers)

    def find_in(self, catalog: Catalog) -> np.ndarray:
        """Rows [n] int32 of the ids, -1 for unknown ones."""
        if catalog.kind != self.kind:
            return np.full(len(self), -1, np.int32)
        if self.integers is None:
            return catalog.find_strings(self.bytes, self.offsets)
        return catalog.find_integers(self.integers)

    def numbers(self) -> np.ndarray:
        """64-bit integers [n] that are equal where the ids are."""
        if self.integers is not None:
            return self.integers
        return self.add_to(Catalog("strings")).astype(np.int64)


def object_array(values: Iterable[Any]) -> np.ndarray:
    """One cell [n] for each value, lists and tuples too."""
    return np.array([*values, None], object)[:-1]


def catalog_ids(catalog: Catalog) -> np.ndarray:
    """Product ids [V] of a catalog, in the order of its rows: int64, or str objects."""
    ids = catalog.ids()
    return ids if isinstance(ids, np.ndarray) else object_array(ids)


def listed(what: str, ids: Iterable[Any]) -> list[Any]:
    """Product ids as a list. Raises ValueError for what is one id; messages begin with `what`."""
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise ValueError(f"{what} is {ids!r}, expected a list of product ids")
    return list(ids)


def find_rows(what: str, ids: Iterable[Any], catalog: Catalog) -> np.ndarray:
    """Rows [n] int32 of a list of product ids, -1 for unknown ones. Messages of ValueErrors begin with `what`."""
    values = object_array(listed(what, ids))
    return Ids(what, values).find_in(catalog) if len(values) else np.empty(0, np.int32)


def microseconds(what: str, column: Column) -> np.ndarray:
    """Times [n] as int64 microseconds since 1970: datetimes of any unit, unix seconds, ISO 8601 strings."""
    if _is_arrow(column):
        import pyarrow as pa

        _require_complete(what, _arrow_missing(column))
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            return column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_numpy()
        column = column.to_numpy(zero_copy_only=False)
    values = np.asarray(column)
    if values.dtype.kind == "M":
        _require_complete(what, np.isnat(values))
        return values.astype("datetime64[us]").astype(np.int64)
    if values.dtype.kind in "iuf":
        if values.dtype.kind == "f":
            _require_complete(what, ~np.isfinite(values))
        far = np.abs(values.astype(np.float64)) > 1e11
        if far.any():
            raise ValueError(
                f"{what} has {values[int(np.argmax(far))]}, which is no unix time in seconds before the year 5000; divide "
                "milliseconds by 1000, or hand over datetimes"
            )
        return (
            values.astype(np.int64) * 1_000_000 if values.dtype.kind != "f" else np.round(values * 1e6).astype(np.int64)
        )
    if values.dtype.kind in "OU":
        _require_complete(what, np.fromiter((v is None or v != v for v in values.tolist()), bool, len(values)))
        try:
            times = values.astype("datetime64[us]")
        except (ValueError, TypeError):
            pass
        else:
            _require_complete(what, np.isnat(times))
            return times.astype(np.int64)
    raise ValueError(
        f"{what} has dtype {values.dtype} with values like {values[:1].tolist()}; expected "
        "datetimes, unix seconds or ISO 8601 strings"
    )


def numbers(what: str, column: Column) -> np.ndarray:
    """Finite floats [n] of 0 or more."""
    if _is_arrow(column):
        _require_complete(what, _arrow_missing(column))
        column = column.to_numpy(zero_copy_only=False)
    try:
        values = np.asarray(column, np.float32)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what} is not numeric: {error}") from error
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{what} has {values[row]} in row {row}, expected 0 or more")
    return values


def split_lists(what: str, column: Column) -> tuple[Column, np.ndarray]:
    """One list, or one text of ids between spaces, a row: all ids laid end to end, and the length of each list.

    Ids in lists stay what they are; those in texts are integers where all are written as integers are.
    """
    if not _is_arrow(column):
        rows = np.asarray(column, object).tolist()
        if not any(isinstance(row, str) for row in rows):
            lists = [list(row) for row in rows]
            flat = [item for row in lists for item in row]
            return object_array(flat), np.fromiter(map(len, lists), np.int64, len(lists))
        column = _pyarrow("reading sessions as text").array(rows)
    import pyarrow as pa
    import pyarrow.compute as pc

    _require_complete(what, _arrow_missing(column))
    if pa.types.is_integer(column.type):  # sessions of one event each
        return column, np.ones(len(column), np.int64)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return column.flatten(), pc.list_value_length(column).to_numpy().astype(np.int64)
    parts = pc.utf8_split_whitespace(column)
    flat, parents = parts.flatten(), pc.list_parent_indices(parts)
    filled = pc.not_equal(flat, "")
    flat, parents = flat.filter(filled), parents.filter(filled).to_numpy()
    try:
        integers = flat.cast(pa.int64())
        if integers.cast(flat.type).equals(flat):
            flat = integers
    except pa.ArrowInvalid:
        pass
    return flat, np.bincount(parents, minlength=len(column))


_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_span(call: str, value: Any) -> tuple[str, int]:
    """("span", microseconds) for "7D", "12h" or a timedelta; ("time", microseconds since 1970) for a moment. Messages of
    ValueErrors begin with `call`."""
    if isinstance(value, datetime.timedelta):
        return "span", round(value.total_seconds() * 1e6)
    if isinstance(value, np.timedelta64):
        return "span", int(value.astype("timedelta64[us]").astype(np.int64))
    if isinstance(value, str):
        digits = value.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ").strip()
        unit = value[len(digits) :].strip()
        unit = unit if unit == "M" else unit.lower()  # months and minutes are not to be confused
        if unit in _UNITS:
            try:
                return "span", round(float(digits) * _UNITS[unit] * 1e6)
            except ValueError:
                pass
    try:
        if isinstance(value, datetime.datetime) and value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        if isinstance(value, (int, float)):
            return "time", round(value * 1e6)
        return "time", int(np.datetime64(value, "us").astype(np.int64))
    except (ValueError, TypeError):
        raise ValueError(
            f"{call}: {value!r} is neither a span like '7D' or '12h', a timedelta, nor a moment"
        ) from None
