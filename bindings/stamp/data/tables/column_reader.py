"""Columns that are somewhere, and can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .columns import Column

ColumnName = str | int  # pandas numbers columns that have no names
Written = Mapping[str, Callable[[Column], Column]]  # what a column becomes, by its name, of the texts of a text file


def listed_names(names: ColumnName | Iterable[ColumnName]) -> list[str]:
    """Names of columns, several or one, as texts."""
    return [str(names)] if isinstance(names, (str, int)) else [str(name) for name in names]


class ColumnReader:
    """The columns of a frame or of files: their names, and a way to read some of them.

    Attributes
    ----------
    where : str
        What messages begin with: the call, and the file.
    names : list of str
        Of all columns, in order. A name may stand twice as long as nobody reads that column.
    """

    def __init__(
        self,
        where: str,
        names: Iterable[Any],
        read: Callable[[Sequence[int], Written], Iterable[Column]],
        lacking: Mapping[str, str] | None = None,
    ):
        """`read` gives the columns at places among the names, as :meth:`read` has it; `lacking` a file that has no column of that name, though
        others have."""
        self.where = where
        self.names = [str(name) for name in names]
        self._read = read
        self._lacking = lacking or {}

    def what(self, name: str) -> str:
        """What messages about a column begin with."""
        return f"{self.where}: column '{name}'"

    def require(self, names: Iterable[str], *, in_all_files: bool = False) -> None:
        """Raises ValueError for a column that is not there; what some files lack is null there."""
        for name in names:
            if name not in self.names:
                raise ValueError(f"{self.where}: no column '{name}' among {', '.join(self.names) or 'none'}")
            if in_all_files and name in self._lacking:
                raise ValueError(f"{self.what(name)} is missing in {self._lacking[name]}")

    def read(self, names: Iterable[str], written: Written | None = None) -> dict[str, Column]:
        """Columns of the same length, by name. Those of text files have the types that they look like, but for `written`.

        Raises
        ------
        ValueError
            One is not there, stands twice or differs in length, or its values cannot be read.
        """
        names = list(dict.fromkeys(names))
        count = Counter(self.names)
        self.require(names)
        for name in names:
            if count[name] > 1:
                raise ValueError(f"{self.what(name)} stands {count[name]} times; rename it, or read others alone")
        columns = dict(zip(names, self._read([self.names.index(name) for name in names], written or {})))
        if len({len(column) for column in columns.values()}) > 1:
            lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
            raise ValueError(f"{self.where}: the columns differ in length: {lengths}")
        return columns
