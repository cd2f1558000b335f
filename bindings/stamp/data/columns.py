"""Columns of values as the library takes them, whatever they were kept in.

A column is a numpy array or a pyarrow Array.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..base.extras import import_extra

Column = Any  # numpy.ndarray or pyarrow.Array


def import_pyarrow(purpose: str) -> Any:
    return import_extra("pyarrow", purpose=purpose, extra="data")


@contextmanager
def errors_named(where: str) -> Iterator[None]:
    """Errors of reading with Arrow become ValueErrors that begin with `where`."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{where}: {error}") from error


def is_arrow(column: Column) -> bool:
    return type(column).__module__.startswith("pyarrow")


def type_name(kind: Any) -> str:
    """An Arrow type as it was handed over: texts and lists are made large ones here."""
    return str(kind).replace("large_", "")


def take(column: Column, order: np.ndarray) -> Column:
    return column.take(order) if is_arrow(column) else column[order]


def arrow_missing(column: Column) -> np.ndarray:
    return column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)


def is_missing(value: Any) -> bool:
    """None, and what is not equal to itself: NaN, NaT, pandas' NA."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # NA, whose comparisons are neither true nor false
        return True
    except ValueError:  # an array
        return False


def find_missing(values: Collection[Any]) -> np.ndarray:
    """bool [n]"""
    if {*map(type, values)} <= {str, int, bytes, list, tuple}:  # a tenth of the time of asking each
        return np.zeros(len(values), bool)
    return np.fromiter(map(is_missing, values), bool, len(values))


def require_complete(what: str, missing: np.ndarray) -> None:
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(f"{what} has {int(missing.sum())} missing values, the first in row {row}; drop or fill them")


def object_array(values: Iterable[Any]) -> np.ndarray:
    """One cell [n] for each value, lists and tuples too."""
    return np.array([*values, None], object)[:-1]


def numbers(what: str, column: Column) -> np.ndarray:
    """Finite floats [n] of 0 or more."""
    if is_arrow(column):
        require_complete(what, arrow_missing(column))
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
