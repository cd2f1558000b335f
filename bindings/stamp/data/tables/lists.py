"""Columns of lists: whole sessions, one a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from .columns import (
    Column,
    arrow_missing,
    find_missing,
    import_pyarrow,
    is_arrow,
    is_list,
    object_array,
    require_complete,
    type_name,
)
from .ids import as_written

# A list that was written as a text: in brackets, with commas, or integers with something else between them.
_WRITTEN = r"^\s*[\[({].*[\])}]\s*$|,|^\s*\d+(\s*[;|]\s*\d+)+\s*$"


def split_lists(what: str, column: Column, *, as_text: bool) -> tuple[Column, np.ndarray]:
    """One list, or one text of ids between spaces, a row: all ids laid end to end, and the length of each list.

    Ids in lists stay what they are; those in texts are as :func:`as_written` has them. Messages of ValueErrors begin with
    `what`.
    """
    if not is_arrow(column):
        if column.dtype.kind in "iu":  # sessions of one event each
            return column, np.ones(len(column), np.int64)
        rows = column.tolist()
        require_complete(what, find_missing(rows))
        if not rows or not all(isinstance(row, str) for row in rows):
            return _laid_out(what, rows)
        column = import_pyarrow("reading sessions as text").array(rows, "large_string")
    import pyarrow as pa
    import pyarrow.compute as pc

    require_complete(what, arrow_missing(column))
    if pa.types.is_large_string(column.type):
        return _split_texts(what, column, as_text)
    if pa.types.is_integer(column.type):
        return column, np.ones(len(column), np.int64)
    if not pa.types.is_large_list(column.type) or pa.types.is_nested(column.type.value_type):
        raise ValueError(
            f"{what} is of type {type_name(column.type)}, expected lists of ids, or texts of ids between spaces"
        )
    flat, lengths = column.flatten(), pc.list_value_length(column).to_numpy().astype(np.int64)
    _require_complete_lists(what, arrow_missing(flat), lengths)
    return flat, lengths


def _laid_out(what: str, rows: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    for place, row in enumerate(rows):
        if not is_list(row):
            raise ValueError(f"{what} has {row!r} in row {place}, expected a list of ids as in other rows")
    lists = [list(row) for row in rows]
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    flat = [item for row in lists for item in row]
    _require_complete_lists(what, find_missing(flat), lengths)
    return object_array(flat), lengths


def _require_complete_lists(what: str, missing: np.ndarray, lengths: np.ndarray) -> None:
    if missing.any():
        row = int(np.searchsorted(np.cumsum(lengths), np.argmax(missing), "right"))
        raise ValueError(
            f"{what} has {int(missing.sum())} missing ids within its lists, the first in row {row}; drop them"
        )


def _split_texts(what: str, column: Any, as_text: bool) -> tuple[Column, np.ndarray]:
    import pyarrow.compute as pc

    written = pc.match_substring_regex(column, _WRITTEN).to_numpy(zero_copy_only=False)
    if written.any():
        row = int(np.argmax(written))
        raise ValueError(
            f"{what} has the text {column[row].as_py()!r} in row {row}, which is a list written as a text; hand over "
            "lists (of json.loads, say), or write ids with spaces between them"
        )
    parts = pc.utf8_split_whitespace(column)
    flat, parents = parts.flatten(), pc.list_parent_indices(parts)
    filled = pc.not_equal(flat, "")
    flat, parents = flat.filter(filled), parents.filter(filled).to_numpy()
    return as_written(flat, as_text=as_text), np.bincount(parents, minlength=len(column))
