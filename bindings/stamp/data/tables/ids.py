"""Ids of products, sessions and visitors: 64-bit integers or texts, and where they stand in a catalog."""

from __future__ import annotations

import decimal
import re
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..._stamp import Catalog
from .columns import (
    Column,
    arrow_missing,
    find_missing,
    inexact_from,
    is_arrow,
    is_missing,
    object_array,
    require_complete,
)

AUTO = "auto"
CHOICES = (AUTO, "text")  # what a caller may say of ids: that their values show their kind, or that all are texts
_REMEDY = "from_frame(ids='text'), or --ids text on the command line, makes texts of all"
_INTEGER = re.compile("0|-?[1-9][0-9]*")  # one that comes back from an integer as it was written


def are_texts(call: str, ids: str) -> bool:
    """Whether a caller's `ids`, one of CHOICES, makes texts of all ids."""
    if ids not in CHOICES:
        raise ValueError(f"{call}: ids is {ids!r}, expected one of {', '.join(CHOICES)}")
    return ids != AUTO


class Ids:
    """A column of ids: 64-bit integers, or strings in Arrow's layout. Messages of ValueErrors begin with `what`.

    Integers are integers, whole Decimals, and whole floats that no other integer rounds to; strings are texts and UUIDs.
    None, NaN and empty texts are missing, which no id may be. With `as_text` all are strings.
    """

    def __init__(self, what: str, column: Column, *, as_text: bool = False):
        self.what = what
        self.integers: np.ndarray | None = None
        if is_arrow(column):
            import pyarrow as pa

            require_complete(what, arrow_missing(column))
            if as_text and pa.types.is_integer(column.type):
                column = column.cast(pa.large_string())
            if pa.types.is_large_string(column.type):
                _, offsets, data = column.buffers()
                self.offsets = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
                self.bytes = data if data is not None else b""
                require_complete(what, np.diff(self.offsets) == 0)
                return
            is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
            column = column.to_numpy(zero_copy_only=False) if is_number else object_array(column.to_pylist())
        ids = _plain_ids(what, np.asarray(column), as_text)
        if as_text and isinstance(ids, np.ndarray):
            ids = list(map(str, ids.tolist()))
        if isinstance(ids, list):
            self.bytes, self.offsets = pack_strings(ids)
        elif ids.dtype == np.uint64 and len(ids) and ids.max() > np.iinfo(np.int64).max:
            raise _too_large(what)
        else:
            self.integers = np.ascontiguousarray(ids, np.int64)

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

    def find_in(self, catalog: Catalog, of: str) -> np.ndarray:
        """Rows [n] int32 of the ids, -1 for unknown ones. ValueError where those of the catalog, whose they are `of` says,
        are of another kind."""
        require_one_kind(self.what, self, of, catalog)
        if not len(self) or not len(catalog):
            return np.full(len(self), -1, np.int32)
        if self.integers is None:
            return catalog.find_strings(self.bytes, self.offsets)
        return catalog.find_integers(self.integers)

    def numbers(self) -> np.ndarray:
        """64-bit integers [n] that are equal where the ids are."""
        if self.integers is not None:
            return self.integers
        return self.add_to(Catalog("strings")).astype(np.int64)


def require_one_kind(what: str, ids: Ids | Catalog, of: str, others: Ids | Catalog) -> None:
    """Raises ValueError where ids, whose they are `what` and `of` say, are of two kinds, so that none would be found among
    the others. None at all are of any kind."""
    if ids.kind != others.kind and len(ids) and len(others):
        raise ValueError(
            f"{what} has ids that are {ids.kind} ({_first(ids)!r}), those of {of} are {others.kind} ({_first(others)!r}); "
            f"expected one kind; {_REMEDY}"
        )


def _first(ids: Ids | Catalog) -> int | str:
    if isinstance(ids, Catalog):
        return catalog_ids(ids)[:1].tolist()[0]
    if ids.integers is not None:
        return int(ids.integers[0])
    begin, end = ids.offsets[:2].tolist()
    return bytes(memoryview(ids.bytes)[begin:end]).decode()


def plain_id(value: Any) -> int | str | None:
    """The integer or text that an id of any type stands for; None for what is no id."""
    if isinstance(value, (str, uuid.UUID)):
        return str(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, decimal.Decimal):
        return int(value) if value.is_finite() and value == int(value) else None
    if isinstance(value, (float, np.floating)):
        return int(value) if abs(float(value)) < inexact_from(type(value)) and value == int(value) else None
    return None


def _plain_ids(what: str, values: np.ndarray, as_text: bool) -> np.ndarray | list[str]:
    """Integers [n], or texts."""
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind == "f":
        require_complete(what, ~np.isfinite(values))
        _refuse(what, values, (np.abs(values) >= inexact_from(values.dtype)) | (values != np.floor(values)))
        return values.astype(np.int64)
    if values.dtype.kind not in "OUS":
        raise ValueError(f"{what} has dtype {values.dtype}; ids are integers or strings")
    given = (values.astype(str) if values.dtype.kind == "S" else values).tolist()
    ids, types = given, set(map(type, given))
    if types - {str} and types - {int}:
        require_complete(what, np.fromiter(map(is_missing, given), bool, len(given)))
        ids = list(map(plain_id, given))
        types = set(map(type, ids))
        _refuse(what, given, np.fromiter((id is None for id in ids), bool, len(ids)))
    if str in types:
        require_complete(what, np.fromiter((id == "" for id in ids), bool, len(ids)))
    if as_text:
        return list(map(str, ids))
    if len(types) > 1:
        row = next(row for row, id in enumerate(ids) if type(id) is not type(ids[0]))
        raise ValueError(
            f"{what} has {given[0]!r} in row 0 and {given[row]!r} in row {row}; ids are all integers or all strings"
        )
    if types == {str}:
        return ids
    try:
        return np.array(ids, np.int64)
    except OverflowError:
        raise _too_large(what) from None


def _refuse(what: str, values: Sequence[Any] | np.ndarray, wrong: np.ndarray) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        value = values[row].item() if isinstance(values, np.ndarray) else values[row]
        whole = isinstance(value, (float, np.floating)) and value == np.floor(value)
        why = "a float that stands for several integers" if whole else "ids are integers or strings"
        raise ValueError(f"{what} has {value!r} in row {row}; {why}")


def _too_large(what: str) -> ValueError:
    return ValueError(f"{what} has an id beyond 64-bit signed integers; {_REMEDY}")


def as_texts(what: str, column: Column) -> Column:
    """Ids that are kept, as texts; None where missing. Messages of ValueErrors begin with `what`."""
    given = column.to_pylist() if is_arrow(column) else column.tolist()
    missing = find_missing(given)
    ids = [None if gone else plain_id(value) for value, gone in zip(given, missing)]
    _refuse(what, given, np.array([id is None for id in ids], bool) & ~missing)
    return object_array(None if id is None else str(id) for id in ids)


def as_written(column: Column, *, as_text: bool) -> Column:
    """Ids of a text file, as Arrow's texts: integers where all are written as integers are, so that nothing is lost, else
    the texts, as all are with `as_text`; null where empty.

    A text that others write for a missing number (NULL, NaN) is one among integers, and an id among texts.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    empty = pc.equal(column, "")
    if pc.any(empty).as_py():
        column = pc.if_else(empty, None, column)
    if as_text:
        return column
    integers = _as_integers(column)
    if integers is None:
        nulls = pa.array(pyarrow.csv.ConvertOptions().null_values, column.type)
        integers = _as_integers(pc.if_else(pc.is_in(column, nulls), None, column))
    return column if integers is None else integers


def _as_integers(texts: Column) -> Column | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    # A cast that fails does so row by row, which takes ten times as long: most columns of other values begin with one.
    if not pc.all(pc.match_substring_regex(texts.slice(0, 1000), f"^({_INTEGER.pattern})$"), min_count=0).as_py():
        return None
    try:
        integers = texts.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    # Arrow reads these, too, which would not come back as they were: 007, -0, 0x1F.
    odd = pc.or_(pc.and_(pc.starts_with(texts, "0"), pc.not_equal(texts, "0")), pc.starts_with(texts, "-0"))
    return None if pc.any(odd).as_py() else integers


def typed(what: str, texts: list[str], catalog: Catalog) -> list[Any]:
    """Ids as somebody types them, of the kind that those of a catalog are."""
    if catalog.kind == "strings":
        return list(texts)
    for text in texts:
        if not _INTEGER.fullmatch(text):
            raise ValueError(f"{what} has '{text}', expected an integer, as the product ids of this bundle are")
    return list(map(int, texts))


def pack_strings(strings: Sequence[str]) -> tuple[bytes, np.ndarray]:
    """UTF-8 bytes laid end to end, and the n+1 places where each string begins and the last ends."""
    encoded = [s.encode() for s in strings]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
    return b"".join(encoded), offsets


def catalog_ids(catalog: Catalog) -> np.ndarray:
    """Product ids [V] of a catalog, in the order of its rows: int64, or str objects."""
    ids = catalog.ids()
    return ids if isinstance(ids, np.ndarray) else object_array(ids)


def listed(what: str, ids: Iterable[Any], *, of: str = "product ids") -> list[Any]:
    """Product ids, or whatever else is said, as a list. Raises ValueError for what is one id; messages begin with `what`."""
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise ValueError(f"{what} is {ids!r}, expected a list of {of}")
    column: Column = ids
    return column.to_pylist() if is_arrow(column) else list(column)


def events_listed(what: str, ids: Iterable[Any]) -> list[Any]:
    """Product ids in their order, as a list. Raises ValueError as :func:`listed`, and for sets, which have no order."""
    if isinstance(ids, (set, frozenset)):
        raise ValueError(f"{what} is a {type(ids).__name__}, whose order nobody chose; expected a list of product ids")
    return listed(what, ids)


def find_rows(what: str, ids: Iterable[Any], catalog: Catalog, of: str) -> np.ndarray:
    """Rows [n] int32 of a list of product ids, -1 for unknown ones. ValueError where those of the catalog, whose they are
    `of` says, are of another kind; messages begin with `what`."""
    if isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype.kind in "iu":
        return Ids(what, ids).find_in(catalog, of)
    values = listed(what, ids)
    return Ids(what, object_array(values)).find_in(catalog, of) if values else np.empty(0, np.int32)
