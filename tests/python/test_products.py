"""Products: attributes of any type, by the rows of a catalog."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import stamp
from stamp import _stamp

TABLE = {
    "item_id": ["a", "b", "c", "d"],
    "brand": ["x", None, "", "y"],
    "size": [3, 1, 3, 2],
    "shelf": [4, None, 4, 9],
    "price": [1.5, None, -2.0, 0.0],
    "sold": [True, False, False, True],
    "since": [datetime.date(2024, 1, 2), None, datetime.date(2024, 1, 2), datetime.date(2023, 5, 6)],
}


def texts(products, name, catalog):
    codes, values = products.codes(name, catalog)
    assert codes.dtype == np.int32 and len(set(values)) == len(values)
    return [None if code < 0 else values[code] for code in codes]


def frames():
    yield {name: np.array(values, object) for name, values in TABLE.items()}
    yield pa.table(TABLE)
    yield pl.DataFrame(TABLE)
    yield pd.DataFrame({**TABLE, "shelf": pd.array(TABLE["shelf"], "Int64")})
    yield pd.DataFrame(TABLE).astype({"brand": "category", "since": "datetime64[s]"})


@pytest.mark.parametrize("data", list(frames()), ids=lambda d: type(d).__module__.split(".")[0])
def test_attributes_by_rows_of_a_catalog(data):
    products = stamp.Products.from_frame(data, categories=["shelf"])
    assert len(products) == 4 and products.item_ids.tolist() == TABLE["item_id"]
    assert products.attributes == {"brand": "text", "size": "text", "shelf": "text", "price": "number",
                                   "sold": "number", "since": "text"}  # fmt: skip
    catalog = _stamp.Catalog("strings")
    catalog.add_strings(b"dbnewca", [0, 1, 2, 5, 6, 7])  # d, b, new, c, a
    assert texts(products, "brand", catalog) == ["y", None, None, None, "x"]  # an empty text is missing
    assert texts(products, "size", catalog) == ["2", "1", None, "3", "3"]
    assert texts(products, "shelf", catalog) == ["9", None, None, "4", "4"]
    assert [t and t[:10] for t in texts(products, "since", catalog)] == [
        "2023-05-06", None, None, "2024-01-02", "2024-01-02"]  # fmt: skip
    np.testing.assert_array_equal(products.numbers("price", catalog), np.float32([0, np.nan, np.nan, -2, 1.5]))
    np.testing.assert_array_equal(products.numbers("sold", catalog), np.float32([1, 0, np.nan, 0, 1]))


def test_integers_are_numbers_where_named_so():
    products = stamp.Products.from_frame({"id": [5, 6], "cents": [199, 250]}, item_id="id", numbers=["cents"])
    assert products.attributes == {"cents": "number"} and products.kind == "integers"
    catalog = _stamp.Catalog("integers")
    catalog.add_integers([6, 5])
    assert products.numbers("cents", catalog).tolist() == [250, 199]
    assert products.numbers("cents", _stamp.Catalog("strings")).tolist() == []
    assert repr(products) == "Products(2 products; numbers: cents)"


def test_files(tmp_path):
    pd.DataFrame(TABLE).to_csv(tmp_path / "items.csv", index=False)
    products = stamp.Products.from_frame(tmp_path / "items.csv")
    catalog = _stamp.Catalog("strings")
    products.add_to(catalog)
    assert texts(products, "brand", catalog) == ["x", None, None, "y"]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ({"item_id": ["a", "b", "a"]}, {}, "product a stands twice, the second in row 2"),
        ({"id": [1]}, {}, "no column 'item_id' among id"),
        ({"item_id": [1]}, {"numbers": ["price"]}, "no column 'price'"),
        ({"item_id": [1], "x": [1]}, {"numbers": ["x"], "categories": ["x"]}, "both categories and numbers"),
        ({"item_id": [1, None]}, {}, "missing values"),
        ({"item_id": [1, 2], "x": np.array(["a", 2], object)}, {}, "column 'x' has 2 in row 1"),
        ({"item_id": [1, 2], "x": ["a", "b"]}, {"numbers": ["x"]}, "column 'x' is not numeric"),
        ({"item_id": [1], "x": np.ones((1, 2))}, {}, "column 'x' has dtype"),
        (pa.table({"item_id": [1], "x": [[1, 2]]}), {}, "column 'x' holds values of type list"),
        (7, {}, "cannot read int"),
    ],
)
def test_tables_that_cannot_be_are_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        stamp.Products.from_frame(data, **options)


def test_asking_for_what_is_not_there():
    products = stamp.Products.from_frame({"item_id": [1], "brand": ["x"], "price": [1.5]})
    catalog = _stamp.Catalog("integers")
    for call, message in (
        (lambda: products.codes("colour", catalog), "no attribute 'colour', expected one of brand, price"),
        (lambda: products.codes("price", catalog), r"'price' is a number; name it in from_frame\(categories=…\)"),
        (lambda: products.numbers("brand", catalog), r"'brand' is a text; name it in from_frame\(numbers=…\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
