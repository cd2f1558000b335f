"""Ids of products and sessions: 64-bit integers or texts, and where they stand in a catalog."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .._stamp import Catalog
from .columns import Column, arrow_missing, is_arrow, object_array, require_complete


class Ids:
    """A column of ids: 64-bit integers, or strings in Arrow's layout. Messages of ValueErrors begin with `what`."""

    def __init__(self, what: str, column: Column):
        self.integers: np.ndarray | None = None
        if is_arrow(column):
            import pyarrow as pa

            if pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            require_complete(what, arrow_missing(column))
            if (
                pa.types.is_string(column.type)
                or pa.types.is_large_string(column.type)
                or str(column.type) == "string_view"
            ):
                column = column.cast(pa.large_string())
                _, offsets, data = column.buffers()
                self.offsets = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
                self.bytes = data if data is not None else b""
                return
            column = column.to_numpy(zero_copy_only=False)
        values = _numpy_ids(what, np.asarray(column))
        if isinstance(values, list):
            self.bytes, self.offsets = pack_strings(values)
        else:
            if values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max:
                raise ValueError(f"{what} has an id beyond 64-bit signed integers")
            self.integers = np.ascontiguousarray(values, np.int64)

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

    def find_in(self, catalog: Catalog) -> np.ndarray:
        """Rows [n] int32 of the ids, -1 for unknown ones."""
        if catalog.kind != self.kind:
            return np.full(len(self), -1, np.int32)
        if self.integers is None:
            return catalog.find_strings(self.bytes, self.offsets)
        return catalog.find_integers(self.integers)

    def numbers(self) -> np.ndarray:
        """64-bit integers [n] that are equal where the ids are."""
        if self.integers is not None:
            return self.integers
        return self.add_to(Catalog("strings")).astype(np.int64)


def _numpy_ids(what: str, values: np.ndarray) -> np.ndarray | list[str]:
    if values.dtype.kind in "iub":
        return values
    if values.dtype.kind == "f":
        require_complete(what, ~np.isfinite(values))
        whole = values.astype(np.int64)
        if not np.array_equal(whole, values):
            row = int(np.argmax(whole != values))
            raise ValueError(f"{what} has {values[row]} in row {row}; ids are integers or strings")
        return whole
    if values.dtype.kind in "US":
        return values.astype(str).tolist()
    if values.dtype.kind == "O":
        listed = values.tolist()
        require_complete(what, np.fromiter((v is None or v != v for v in listed), bool, len(listed)))
        if all(isinstance(v, (int, np.integer)) for v in listed):
            try:
                return np.array(listed, dtype=np.int64)
            except OverflowError:
                raise ValueError(f"{what} has an id beyond 64-bit signed integers") from None
        for row, value in enumerate(listed):
            if not isinstance(value, str):
                raise ValueError(f"{what} has {value!r} in row {row}; ids are all integers or all strings")
        return listed
    raise ValueError(f"{what} has dtype {values.dtype}; ids are integers or strings")


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


def listed(what: str, ids: Iterable[Any]) -> list[Any]:
    """Product ids as a list. Raises ValueError for what is one id; messages begin with `what`."""
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise ValueError(f"{what} is {ids!r}, expected a list of product ids")
    return list(ids)


def find_rows(what: str, ids: Iterable[Any], catalog: Catalog) -> np.ndarray:
    """Rows [n] int32 of a list of product ids, -1 for unknown ones. Messages of ValueErrors begin with `what`."""
    values = object_array(listed(what, ids))
    return Ids(what, values).find_in(catalog) if len(values) else np.empty(0, np.int32)
