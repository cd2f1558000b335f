"""Products: what a shop knows of them beside their sessions."""

from __future__ import annotations

import datetime
import functools
import hashlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from .. import _stamp
from .prepared.prepared import is_prepared, open_prepared, refuse_options
from .prepared.product_columns import COUNTED, product_columns
from .tables.column_reader import ColumnName, listed_names
from .tables.columns import Column, is_arrow, is_missing, object_array, type_name
from .tables.ids import AUTO, Ids, are_texts, as_written, catalog_ids, pack_strings, require_one_kind
from .tables.reading import open_columns

Texts = tuple[np.ndarray, list[str]]  # codes [n] int32 into distinct values, -1 where missing


class Products:
    """A table of products: an id each, and attributes that are texts or numbers. Made by :meth:`from_frame`.

    Attributes
    ----------
    item_ids : array [n]
    attributes : dict of str to str
        Names of the attributes, and whether each is a "text" or a "number".
    """

    def __init__(self, catalog: _stamp.Catalog, ids: Ids, columns: dict[str, Texts | np.ndarray]):
        self._catalog = catalog
        self._ids = ids
        self._columns = columns

    @classmethod
    def from_frame(
        cls,
        data: Any,
        *,
        item_id: ColumnName = "item_id",
        categories: ColumnName | Collection[ColumnName] = (),
        numbers: ColumnName | Collection[ColumnName] = (),
        keep: ColumnName | Collection[ColumnName] | None = None,
        separator: str | None = None,
        names: Sequence[str] | None = None,
        ids: str = AUTO,
    ) -> Products:
        """Read products from a table or a file, one product a row.

        Every column but `item_id` is an attribute. Texts, integers, dates and times are categories, compared as texts;
        floats and truth values are numbers. A column of a text file that holds ``0101`` is of texts. Values may be missing;
        an empty text is missing too, as text files cannot tell the two apart.

        Parameters
        ----------
        data : pandas, polars or pyarrow frame, DuckDB relation, mapping of columns, path, or prepared data
            Paths are CSV, TSV or Parquet, gzipped or not, or a directory of Parquet files. Prepared data are opened, or
            their folder or URL; `price`, in whole units, is an attribute there, and what preparation counts
            (``first_seen``, ``last_seen``, ``events``, ``price_millionths``) where `keep` names it.
        item_id : str
            Name of the column of product ids.
        categories : name or collection of names
            Columns of floats that are categories: pandas makes floats of integers where some are missing.
        numbers : name or collection of names
            Columns of integers that are numbers, a price in cents say.
        keep : name or collection of names, optional
            Columns that are attributes beside those: all by default, ``()`` for none. Files are read no further.
        separator, names, ids
            As of :meth:`Sessions.from_frame`.

        Raises
        ------
        ValueError
            A column or an id is missing, an id stands twice, or a value is of a kind that cannot be.

        Examples
        --------
        >>> import stamp
        >>> products = stamp.Products.from_frame({"item_id": [7, 8], "brand": ["a", None], "price": [1.5, 2.0]})
        >>> products
        Products(2 products; texts: brand; numbers: price)
        """
        of_preparation: Collection[str] = ()
        if is_prepared(data):
            refuse_options(prepared := open_prepared(data), {"separator": separator, "names": names})
            reader, of_preparation = product_columns("from_frame", prepared), COUNTED
        else:
            reader = open_columns("from_frame", data, separator=separator, names=names)
        item_id, of_categories, of_numbers = str(item_id), listed_names(categories), listed_names(numbers)
        others = [n for n in reader.names if n not in of_preparation] if keep is None else listed_names(keep)
        both = sorted({*of_categories} & {*of_numbers})
        if both:
            raise ValueError(f"{reader.what(both[0])} is named in both categories and numbers")
        reader.require([item_id], in_all_files=True)
        as_text = are_texts("from_frame", ids)
        written = {item_id: functools.partial(as_written, as_text=as_text)}
        table = reader.read([item_id, *of_categories, *of_numbers, *others], written)
        products = Ids(reader.what(item_id), table.pop(item_id), as_text=as_text)
        catalog = _stamp.Catalog(products.kind)
        rows = products.add_to(catalog)
        if len(catalog) < len(rows):
            first = int(np.argmax(rows != np.arange(len(rows))))  # rows fall behind at the first id that stood before
            raise ValueError(
                f"{reader.where}: product {catalog.ids()[rows[first]]} stands twice, the second in row {first}"
            )
        return cls(catalog, products, {
            name: _attribute(reader.what(name), table[name], name in of_categories, name in of_numbers)
            for name in reader.names if name in table
        })  # fmt: skip

    def __len__(self) -> int:
        return len(self._catalog)

    @property
    def kind(self) -> str:
        """Of the product ids: "integers" or "strings"."""
        return self._ids.kind

    @property
    def item_ids(self) -> np.ndarray:
        return catalog_ids(self._catalog)

    @property
    def attributes(self) -> dict[str, str]:
        return {name: "text" if isinstance(column, tuple) else "number" for name, column in self._columns.items()}

    def fingerprint_of(self, names: bool | Collection[str]) -> str | None:
        """Equal for tables with equal attributes of these names, True for all, hexadecimal; None for no name."""
        columns = {name: column for name, column in self._columns.items() if names is True or name in (names or ())}
        if not columns:
            return None
        kinds = {name: self.attributes[name] for name in columns}
        digest = hashlib.blake2b(repr((self.kind, kinds, self.item_ids.tolist())).encode(), digest_size=16)
        for column in columns.values():
            codes = column[0] if isinstance(column, tuple) else column
            digest.update(np.ascontiguousarray(codes).tobytes())
            digest.update(repr(column[1] if isinstance(column, tuple) else None).encode())
        return digest.hexdigest()

    def add_to(self, catalog: _stamp.Catalog) -> None:
        """Add the product ids to a catalog; those that it has keep their rows."""
        self._ids.add_to(catalog)

    def codes(self, name: str, catalog: _stamp.Catalog) -> Texts:
        """A text attribute of the products of `catalog`: codes [V] int32, -1 where missing, and what they stand for."""
        self._require(name, "text", "categories")
        codes, values = self._columns[name]
        return self._laid_out(codes, -1, catalog), values

    def numbers(self, name: str, catalog: _stamp.Catalog) -> np.ndarray:
        """An attribute that is a number, of the products of `catalog`: float32 [V], NaN where missing."""
        self._require(name, "number", "numbers")
        column = self._columns[name]
        assert isinstance(column, np.ndarray)
        return self._laid_out(column, np.nan, catalog)

    def columns_of(self, catalog: _stamp.Catalog, names: Collection[str] | None = None) -> list[_stamp.Attribute]:
        """Attributes of the products of `catalog` as the library takes them; all where no `names` are given."""
        return [
            (name, *self.codes(name, catalog)) if kind == "text" else (name, self.numbers(name, catalog))
            for name, kind in self.attributes.items()
            if names is None or name in names
        ]

    def _laid_out(self, values: np.ndarray, missing: float, catalog: _stamp.Catalog) -> np.ndarray:
        require_one_kind("Products", self._catalog, "the catalog", catalog)
        rows = self._ids.find_in(catalog, "the catalog")
        column = np.full(len(catalog), missing, values.dtype)
        column[rows[rows >= 0]] = values[rows >= 0]
        return column

    def _require(self, name: str, kind: str, option: str) -> None:
        found = self.attributes.get(name)
        if found is None:
            raise ValueError(f"Products: no attribute '{name}', expected one of {', '.join(self._columns) or 'none'}")
        if found != kind:
            raise ValueError(
                f"Products: attribute '{name}' is a {found}; name it in from_frame({option}=…) if it is a {kind}"
            )

    def __repr__(self) -> str:
        kinds = (("texts", "text"), ("numbers", "number"))
        named = [(title, [n for n, found in self.attributes.items() if found == kind]) for title, kind in kinds]
        listed = "".join(f"; {title}: {', '.join(names)}" for title, names in named if names)
        return f"Products({len(self):,} products{listed})"


def _attribute(what: str, column: Column, as_category: bool, as_number: bool) -> Texts | np.ndarray:
    """Codes and values of a column of texts, float32 [n] of one of numbers."""
    values = _from_arrow(what, column) if is_arrow(column) else np.asarray(column)
    if values.dtype.kind == "M":
        values = np.array([None if str(t) == "NaT" else str(t) for t in values], object)
    listed = values.tolist()
    if values.dtype.kind not in "biufUO" or any(isinstance(v, (list, tuple, dict, np.ndarray)) for v in listed):
        raise ValueError(
            f"{what} has dtype {values.dtype} with values like {listed[0]!r}; attributes are texts or numbers"
        )
    present = np.fromiter((not is_missing(v) and v != "" for v in listed), bool, len(listed))
    kinds = {type(v) for v, there in zip(listed, present) if there}
    if all(issubclass(kind, (str, datetime.date)) for kind in kinds):
        number = False
    elif all(issubclass(kind, (int, float, np.number)) for kind in kinds):
        number = not all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in kinds)
    else:
        row, value = next((row, v) for row, v in enumerate(listed) if present[row] and not isinstance(v, str))
        raise ValueError(f"{what} has {value!r} in row {row}; attributes are all texts or all numbers")
    if as_number or (number and not as_category):
        numbers = np.full(len(values), np.nan, np.float32)
        try:
            numbers[present] = values[present].astype(np.float32)
        except ValueError as error:
            raise ValueError(f"{what} is not numeric: {error}") from error
        return numbers
    catalog = _stamp.Catalog("strings")
    codes = np.full(len(values), -1, np.int32)
    codes[present] = catalog.add_strings(*pack_strings([_text(v) for v, there in zip(listed, present) if there]))
    return codes, list(catalog.ids())


def _text(value: Any) -> str:
    """As a text; whole floats as the integers that a frame could not hold beside missing values."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _from_arrow(what: str, column: Column) -> np.ndarray:
    import pyarrow as pa

    if pa.types.is_temporal(column.type):
        column = column.cast(pa.string())
    elif pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    elif pa.types.is_nested(column.type):
        raise ValueError(f"{what} holds values of type {type_name(column.type)}; attributes are texts or numbers")
    if column.null_count:  # which numpy would make floats of integers for
        return object_array(column.to_pylist())
    return column.to_numpy(zero_copy_only=False)
