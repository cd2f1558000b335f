"""Arms as callers hand them over: counts, or rows of visitors."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...data.tables.columns import Column
from ...data.tables.ids import Ids, as_written
from ...data.tables.reading import open_columns
from .arguments import whole


def counts_of(call: str, arm: str, data: tuple[Any, ...]) -> tuple[int, int]:
    if len(data) != 2:
        raise ValueError(f"{call}: {arm} is {data!r}, expected (conversions, visitors)")
    conversions, visitors = whole(call, f"{arm}'s conversions", data[0]), whole(call, f"{arm}'s visitors", data[1])
    if visitors == 0:
        raise ValueError(f"{call}: {arm} has no visitors")
    if conversions > visitors:
        raise ValueError(f"{call}: {arm} has {conversions} conversions of {visitors} visitors; count each visitor once")
    return conversions, visitors


def require_two(call: str, arm: str, values: np.ndarray) -> None:
    if len(values) < 2:
        raise ValueError(f"{call}: {arm} has one visitor, whose spread nobody knows; expected 2 or more")


def visitor_rows(
    call: str, arm: str, data: Any, names: tuple[str, ...], visitor: str | None, *, least: float = -math.inf
) -> list[np.ndarray]:
    """Columns [visitors] of finite floats, one for each name; of rows of `least` or more."""
    if _is_table(data):
        table = read_arm(f"{call}: {arm}", data, names, visitor)
        columns = [table[name] for name in names]
    elif visitor is not None:
        raise ValueError(f"{call}: {arm} is {type(data).__name__}, expected a table, as visitor is '{visitor}'")
    else:
        columns = [data] if len(names) == 1 else data
        if len(columns) != len(names):
            raise ValueError(f"{call}: {arm} has {len(columns)} arrays, expected {' and '.join(names)}")
    arrays = [_floats(f"{call}: {arm}: {name}", column, least) for name, column in zip(names, columns)]
    if len({len(array) for array in arrays}) > 1:
        lengths = " and ".join(str(len(array)) for array in arrays)
        raise ValueError(f"{call}: {arm} has {lengths} values, expected one of each a visitor")
    if not len(arrays[0]):
        raise ValueError(f"{call}: {arm} has no visitors")
    if visitor is None:
        return arrays
    _, code = np.unique(Ids(f"{call}: {arm}: {visitor}", table[visitor]).numbers(), return_inverse=True)
    return [np.bincount(code, weights=array) for array in arrays]


def read_arm(
    what: str, data: Any, names: Iterable[str], visitor: str | None, *, others: bool = False
) -> dict[str, Column]:
    """Columns of a table of visitors, and all `others` if asked for. Messages of ValueErrors begin with `what`."""
    if not _is_table(data):
        raise ValueError(f"{what} is {type(data).__name__}, expected a table with a row a visitor, or several")
    columns, ids = open_columns(what, data), [] if visitor is None else [visitor]
    columns.require(wanted := [*names, *ids])
    written = dict.fromkeys(ids, functools.partial(as_written, as_text=False))
    return columns.read(columns.names if others else wanted, written)


def _is_table(data: Any) -> bool:
    return isinstance(data, (Mapping, str, os.PathLike)) or hasattr(data, "columns")


def _floats(what: str, column: Any, least: float) -> np.ndarray:
    try:
        values = np.asarray(column, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is not numeric: {error}") from None
    if values.ndim != 1:
        raise ValueError(f"{what} has the shape {values.shape}, expected one value a visitor")
    wrong = ~np.isfinite(values) | (values < least)
    if wrong.any():
        row = int(np.argmax(wrong))
        of = f" of {least:g} or more" if least > -math.inf else ""
        raise ValueError(f"{what} has {values[row]} in row {row}, expected a number{of}; a visitor without one is a 0")
    return values
