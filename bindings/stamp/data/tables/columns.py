"""Columns of values as the library takes them, whatever they were kept in.

A column is a numpy array or a pyarrow Array.
"""

from __future__ import annotations

import decimal
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...base.extras import import_extra

Column = Any  # numpy.ndarray or pyarrow.Array
_NUMERIC = (bool, int, float, str, decimal.Decimal, np.bool_, np.integer, np.floating)


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


def as_numpy(column: Column) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False) if is_arrow(column) else np.asarray(column)


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


def plain_texts(column: Column) -> np.ndarray:
    """Values [n] of any kind as texts, "" where missing."""
    values = as_numpy(column)
    if values.dtype.kind not in "Of":  # which alone can say that a value is missing
        return values.astype(str)
    return np.where(find_missing(values.tolist()), "", values.astype(str))


def different_texts(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """The texts [k] that :func:`plain_texts` has of a column, and the place of each value [n] among them."""
    if is_arrow(column):  # without a Python object a value; what is missing is one of them
        encoded = column.dictionary_encode(null_encoding="encode")
        values = encoded.dictionary
        if values.null_count and str(values.type).startswith(
            ("int", "uint")
        ):  # which NumPy would make numbers like 1.0 of
            values = values.cast("string")
        return plain_texts(values), as_numpy(encoded.indices)
    texts = plain_texts(column).tolist()
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    return np.array([*places], str), np.fromiter(map(places.__getitem__, texts), np.int64, len(texts))


def text_bits(column: Column, texts: Sequence[str]) -> np.ndarray:
    """uint8 [n]: bit k of a value says that it is texts[k], of which there are up to 8."""
    different, places = different_texts(column)
    bits = np.zeros(len(different), np.uint8)
    for k, text in enumerate(texts):
        bits[different == text] |= np.uint8(1 << k)
    return bits[places]


def require_complete(what: str, missing: np.ndarray) -> None:
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(f"{what} has {int(missing.sum())} missing values, the first in row {row}; drop or fill them")


def is_list(value: Any) -> bool:
    """Whether it has values in an order: it is no text, and no mapping or set, whose order nobody chose."""
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping, set, frozenset))


def object_array(values: Iterable[Any]) -> np.ndarray:
    """One cell [n] for each value, lists and tuples too."""
    return np.array([*values, None], object)[:-1]


def inexact_from(kind: Any) -> float:
    """The size from which on a float stands for several integers: 2⁵³ for doubles."""
    return float(2 ** (np.finfo(kind).nmant + 1))


def numbers(what: str, column: Column) -> np.ndarray:
    """Finite floats [n] of 0 or more, 32 bits each; of truth values, numbers, Decimals, and texts of numbers."""
    if is_arrow(column):
        require_complete(what, arrow_missing(column))
        column = column.to_numpy(zero_copy_only=False)
    given = np.asarray(column)
    if given.dtype.kind == "O":
        require_complete(what, find_missing(given))
        odd = [not issubclass(kind, _NUMERIC) for kind in map(type, given)]
        if any(odd):
            row = odd.index(True)
            raise ValueError(f"{what} has {given[row]!r} in row {row}, which is not numeric")
    elif given.dtype.kind not in "biufU":
        raise ValueError(f"{what} has dtype {given.dtype} with values like {given[:1].tolist()}, which are not numeric")
    try:
        values = given.astype(np.float64, copy=False)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{what} is not numeric: {error}") from error
    wrong = ~((values >= 0) & (values <= np.finfo(np.float32).max))
    if wrong.any():
        row = int(np.argmax(wrong))
        kind = "a number that 32 bits hold" if values[row] > 0 else "0 or more"
        raise ValueError(f"{what} has {given[row]} in row {row}, expected {kind}")
    return values.astype(np.float32)
