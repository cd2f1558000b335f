"""One column of values, from whatever it is kept in.

What comes out is a numpy array [n], or a pyarrow Array of a type that Arrow has all its functions for: the rest of the
library asks for no other.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .columns import Column, errors_named, find_missing, import_pyarrow, is_arrow, object_array


def as_column(what: str, values: Any) -> Column:
    """Values [n] of any make; lists of lists, and arrays of more dimensions, give one list a row. Messages of
    ValueErrors begin with `what`."""
    if is_arrow(values):
        return _arrow_column(what, values)
    if is_pandas(values):
        return _pandas_column(what, values)
    if str(getattr(values, "dtype", "")) == "Object":  # of polars, which hands Arrow the objects' addresses
        return _listed_column(what, values.to_list())
    if hasattr(values, "__arrow_c_stream__") or hasattr(values, "__arrow_c_array__"):  # of polars, say
        pyarrow = import_pyarrow("reading this column")
        with errors_named(what):
            column = pyarrow.chunked_array(values)
        return _arrow_column(what, column)
    if isinstance(values, (set, frozenset)):
        raise ValueError(f"{what} is a {type(values).__name__}, whose order nobody chose; expected a list or an array")
    if not hasattr(values, "__array__") and isinstance(values, Iterable) and not isinstance(values, (str, bytes)):
        return _listed_column(what, list(values))
    return _numpy_column(what, values)


def is_pandas(values: Any) -> bool:
    return type(values).__module__.startswith("pandas")


def _listed_column(what: str, values: list[Any]) -> Column:
    if any(issubclass(kind, Iterable) and not issubclass(kind, (str, bytes, Mapping)) for kind in {*map(type, values)}):
        return _numpy_column(what, object_array(map(_plain_list, values)))
    array = np.asarray(values)
    if array.dtype.kind in "US":  # which lose NULs at the end, and hold numbers and NaN among texts as texts
        array = object_array(_decoded(what, value) if isinstance(value, bytes) else value for value in values)
    if array.dtype.kind == "f" and all(isinstance(value, int) for value in values):
        array = object_array(values)  # of more than 64 bits
    return _numpy_column(what, array)


def _plain_list(value: Any) -> Any:
    """An array, or a Series, as a list; anything else as it is."""
    to_list = getattr(value, "tolist", getattr(value, "to_list", None))
    return value if to_list is None else to_list()


def _decoded(what: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} holds bytes that are no UTF-8: {error}") from None


def _numpy_column(what: str, values: Any) -> np.ndarray:
    array = np.atleast_1d(np.asarray(values))
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):  # of DuckDB, say
        return _without(array.astype(object), np.ma.getmaskarray(values))
    if array.ndim > 1:
        return object_array(array.tolist())
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{what} holds bytes that are no UTF-8: {error}") from None
    if array.dtype.kind in "OT":  # T: texts of numpy 2 of any length
        if any(isinstance(value, np.ndarray) for value in array):
            array = object_array(value.tolist() if isinstance(value, np.ndarray) else value for value in array)
        return _without(array.astype(object, copy=False), find_missing(array))
    return array


def _without(objects: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """A column where what is missing is None."""
    if missing.any():
        objects = objects.copy()
        objects[missing] = None
    return objects


def _pandas_column(what: str, values: Any) -> Column:
    import pandas

    series = values if isinstance(values, pandas.Series) else pandas.Series(values)
    if isinstance(series.dtype, pandas.DatetimeTZDtype):
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    dtype = series.dtype
    if hasattr(dtype, "pyarrow_dtype") or getattr(dtype, "storage", None) == "pyarrow":
        return _arrow_column(what, series.array.__arrow_array__())
    if isinstance(dtype, np.dtype):
        return _numpy_column(what, series.to_numpy())
    missing = series.isna().to_numpy()
    if missing.any():
        return _without(np.asarray(series.astype(object), object), missing)
    return _numpy_column(what, series.to_numpy(getattr(dtype, "numpy_dtype", None)))


def _arrow_column(what: str, column: Any) -> Any:
    """A pyarrow Array or ChunkedArray as one Array of a plain type."""
    import pyarrow as pa

    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    chunks = [plain(chunk) for chunk in chunks] or [pa.nulls(0, plain_type(column.type))]
    whole = pa.concat_arrays(chunks) if len(chunks) > 1 else chunks[0]
    if pa.types.is_null(whole.type):
        return whole.cast(pa.large_string())
    if pa.types.is_large_string(whole.type):
        with errors_named(what):
            whole.validate(full=True)  # what should be UTF-8 is nobody's promise, in Parquet say
    return whole


def plain_type(kind: Any) -> Any:
    """The type that values of an Arrow type are handed on as: one that all of Arrow's functions know. Texts and lists are
    those without a limit of 2 GiB."""
    import pyarrow as pa

    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            return pa.large_string()
        return pa.bool_() if kind.extension_name == "arrow.bool8" else plain_type(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if types.is_string(kind) or _is_any(kind, "string_view"):
        return pa.large_string()
    if types.is_binary(kind) or _is_any(kind, "binary_view"):
        return pa.large_binary()
    if _is_any(kind, "list", "large_list", "fixed_size_list", "list_view", "large_list_view"):
        return pa.large_list(plain_type(kind.value_type))
    if types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if types.is_struct(kind):
        return pa.struct([(field.name, plain_type(field.type)) for field in kind])
    if types.is_timestamp(kind) and kind.tz is not None:  # an instant in any zone
        return pa.timestamp(kind.unit, "UTC")
    if _is_any(kind, "decimal32", "decimal64"):
        return pa.decimal128(kind.precision, kind.scale)
    return kind


def _is_any(kind: Any, *names: str) -> bool:
    """Whether it is one of the types that not every pyarrow knows."""
    from pyarrow import types

    return any(getattr(types, f"is_{name}", lambda kind: False)(kind) for name in names)


def plain(column: Any) -> Any:
    """A pyarrow Array as one of its plain type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, wanted = column.type, plain_type(column.type)
    if kind == wanted:
        return column
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            stored = column.storage.to_pylist()
            return pa.array([None if id is None else str(uuid.UUID(bytes=id)) for id in stored], wanted)
        return plain(column.storage).cast(wanted)
    if pa.types.is_dictionary(kind):
        return plain(column.dictionary).take(column.indices)
    if pa.types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(column))
    if pa.types.is_large_list(wanted):  # without a cast, which some versions of Arrow do wrongly for views
        ends = np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy())
        offsets = pa.array(np.concatenate(([0], ends)), pa.int64())
        return pa.LargeListArray.from_arrays(offsets, plain(column.flatten()), mask=column.is_null())
    if pa.types.is_struct(kind):
        return pa.StructArray.from_arrays(
            [plain(part) for part in column.flatten()], fields=[*wanted], mask=column.is_null()
        )
    if pa.types.is_map(kind):
        return pa.array(column.to_pylist(), wanted)
    return column.cast(wanted)
