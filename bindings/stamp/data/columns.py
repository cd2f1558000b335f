"""Columns of values as the library takes them, whatever they were kept in.

A column is a numpy array or a pyarrow Array.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..base.extras import import_extra

Column = Any  # numpy.ndarray or pyarrow.Array


def import_pyarrow(purpose: str) -> Any:
    return import_extra("pyarrow", purpose=purpose, extra="data")


def is_arrow(column: Column) -> bool:
    return type(column).__module__.startswith("pyarrow")


def take(column: Column, order: np.ndarray) -> Column:
    return column.take(order) if is_arrow(column) else column[order]


def arrow_missing(column: Column) -> np.ndarray:
    return column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)


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


def split_lists(what: str, column: Column) -> tuple[Column, np.ndarray]:
    """One list, or one text of ids between spaces, a row: all ids laid end to end, and the length of each list.

    Ids in lists stay what they are; those in texts are integers where all are written as integers are.
    """
    if not is_arrow(column):
        rows = np.asarray(column, object).tolist()
        if not any(isinstance(row, str) for row in rows):
            lists = [list(row) for row in rows]
            flat = [item for row in lists for item in row]
            return object_array(flat), np.fromiter(map(len, lists), np.int64, len(lists))
        column = import_pyarrow("reading sessions as text").array(rows)
    import pyarrow as pa
    import pyarrow.compute as pc

    require_complete(what, arrow_missing(column))
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
