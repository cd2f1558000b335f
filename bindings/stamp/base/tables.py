"""Tables: in terminals, notebooks, documents and files."""

from __future__ import annotations

import html
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from .checks import plain
from .extras import import_extra
from .json_text import json_text

_MISSING = "–"


class Table:
    """Named columns and rows of plain values.

    Parameters
    ----------
    columns : sequence of str
    rows : sequence of sequences
        One value a column: texts, numbers or None. NaN and None are shown as "–".
    title : str
    notes : sequence of str
        Lines below the table.
    formats : mapping of column to format specification
        How numbers of a column are shown; else integers as "1,234" and other numbers to 4 digits after the point.

    Raises
    ------
    ValueError
        A row has another number of values than there are columns, or a format names no column.

    Examples
    --------
    >>> from stamp.offline import Table
    >>> Table(["recommender", "hr@20", "n"], [["stamp", 0.5, 1200], ["popular", float("nan"), 7]], title="Product page")
    Product page
    recommender   hr@20      n
    stamp        0.5000  1,200
    popular           –      7
    """

    def __init__(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        title: str = "",
        notes: Sequence[str] = (),
        formats: Mapping[str, str] | None = None,
    ):
        self.columns = list(columns)
        self.rows = [[plain(value) for value in row] for row in rows]
        self.title = title
        self.notes = list(notes)
        self.formats = dict(formats or {})
        for index, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"Table: row {index} has {len(row)} values, expected {len(self.columns)}: {row}")
        for name in self.formats:
            if name not in self.columns:
                raise ValueError(f"Table: formats names column '{name}', expected one of {', '.join(self.columns)}")

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[Any]:
        """The values of one column."""
        if name not in self.columns:
            raise ValueError(f"Table: no column '{name}', expected one of {', '.join(self.columns)}")
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def to_text(self) -> str:
        """Columns side by side, numbers right-aligned."""
        cells = [self.columns, *self._cells()]
        widths = [max(map(len, column)) for column in zip(*cells)]
        right = self._right()
        lines = []
        for row in cells:
            padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right)]
            lines.append("  ".join(padded).rstrip())
        return "\n".join([*([self.title] if self.title else []), *lines, *self.notes])

    def to_markdown(self) -> str:
        """A table of GitHub's Markdown."""
        rule = ["---:" if right else "---" for right in self._right()]
        cells = [self.columns, *self._cells()]
        escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in cells]
        lines = ["| " + " | ".join(row) + " |" for row in [escaped[0], rule, *escaped[1:]]]
        parts = [[f"**{self.title}**", ""] if self.title else [], lines, *(["", note] for note in self.notes)]
        return "\n".join(line for part in parts for line in part)

    def to_dict(self) -> dict[str, Any]:
        """``{"title": …, "rows": [{column: value}], "notes": […]}``, NaN as None."""
        rows = [dict(zip(self.columns, [None if _is_missing(v) else v for v in row])) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": self.notes}

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON."""
        return json_text(self.to_dict(), ensure_ascii=False)

    def to_frame(self) -> Any:
        """A pandas DataFrame of the values, unformatted."""
        return import_extra("pandas", purpose="Table.to_frame").DataFrame(self.rows, columns=self.columns)

    def _right(self) -> list[bool]:
        """Whether a column holds numbers, as far as it holds anything."""
        columns = zip(*self.rows) if self.rows else ([] for _ in self.columns)
        kinds = [[v for v in column if v is not None] for column in columns]
        return [bool(values) and all(_is_number(v) for v in values) for values in kinds]

    def _cells(self) -> list[list[str]]:
        return [[self._cell(name, value) for name, value in zip(self.columns, row)] for row in self.rows]

    def _cell(self, name: str, value: Any) -> str:
        if _is_missing(value):
            return _MISSING
        if not _is_number(value):
            return str(value)
        return format(value, self.formats.get(name, ",d" if isinstance(value, int) else ".4f"))

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        align = [' style="text-align:right"' if right else ' style="text-align:left"' for right in self._right()]

        def line(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}{a}>{html.escape(c)}</{tag}>" for c, a in zip(cells, align)) + "</tr>"

        title = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        body = "".join(line(cells, "td") for cells in self._cells())
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table>{title}<thead>{line(self.columns, 'th')}</thead><tbody>{body}</tbody></table>{notes}"


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
