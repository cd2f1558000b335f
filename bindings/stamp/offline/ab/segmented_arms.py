"""An arm whose visitors have segments: which one a visitor is of, and the rows of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...data.tables.columns import Column, find_missing, is_arrow, take
from ...data.tables.ids import Ids
from ...data.tables.times import microseconds
from .reading import read_arm

UNKNOWN = "(unknown)"


class SegmentedArm:
    """`table`: all rows of an arm. Messages of ValueErrors begin with `what`."""

    def __init__(self, what: str, data: Any, segment: str, *, visitor: str | None, time: str | None):
        if time is not None and visitor is None:
            raise ValueError(f"{what}: time is '{time}' without visitor, so each row is a visitor and has but one time")
        self.table = read_arm(what, data, [segment] if time is None else [segment, time], visitor, others=True)
        self._names, of_row = _codes(self.table[segment])
        if visitor is None:
            self._of_visitor = self._of_row = of_row
            return
        ids = Ids(f"{what}: {visitor}", self.table[visitor]).numbers()
        _, first_row, who = np.unique(ids, return_index=True, return_inverse=True)
        when = np.zeros(len(who), np.int64)
        if time is not None:
            when = microseconds(f"{what}: {time}", self.table[time])
        known = np.flatnonzero(of_row >= 0)
        known = known[np.lexsort((when[known], who[known]))]
        visitors, at = np.unique(who[known], return_index=True)
        earliest = known[at]
        self._of_visitor, begun = np.full(len(first_row), -1), np.zeros(len(first_row), np.int64)
        self._of_visitor[visitors], begun[visitors] = of_row[earliest], when[earliest]
        self._of_row = self._of_visitor[who]
        torn = known[(of_row[known] != self._of_row[known]) & (when[known] == begun[who[known]])]
        if len(torn):
            row = torn[0]
            one, other = (self._names[code] for code in (self._of_row[row], of_row[row]))
            moment = f"at their earliest {time}" if time else "and there is no column time= to say which came first"
            raise ValueError(
                f"{what}: {segment} has several values for {len(np.unique(who[torn])):,} visitors, '{one}' and '{other}' for "
                f"{visitor} {self.table[visitor][int(row)]}, {moment}; expected one a visitor"
            )

    def visitors(self) -> dict[str, int]:
        """How many visitors each segment has."""
        codes, counts = np.unique(self._of_visitor, return_counts=True)
        return {self._names[code]: count for code, count in zip(codes.tolist(), counts.tolist())}

    def of_segment(self, segment: str) -> dict[str, Column]:
        """The rows of the segment's visitors."""
        code = {name: code for code, name in self._names.items()}.get(segment, -2)
        rows = np.flatnonzero(self._of_row == code)
        return {name: take(column, rows) for name, column in self.table.items()}


def _codes(column: Column) -> tuple[dict[int, str], np.ndarray]:
    """Segments by their codes, and the code of each row; -1 for what says nothing."""
    values = column.to_pylist() if is_arrow(column) else column.tolist()
    texts = ["" if missing else str(value) for value, missing in zip(values, find_missing(values))]
    texts = ["" if text == UNKNOWN else text for text in texts]
    names = {name: code for code, name in enumerate(sorted({*texts} - {""}))} | {"": -1}
    codes = np.fromiter((names[text] for text in texts), np.int64, len(texts))
    return {code: name or UNKNOWN for name, code in names.items()}, codes
