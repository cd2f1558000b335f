"""Reading what users have: columns of every make, names that are not there, files that cannot be read."""

import array
import collections
import datetime
import decimal
import uuid

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

import stamp
from stamp.offline import ab

EVENTS = {"session_id": ["a", "a", "b", "b"], "item_id": ["x", "y", "x", "z"], "shop": ["p", "q", "p", None],
          "click": ["c1", "c2", "c3", "c4"]}  # fmt: skip
LISTS = [["x", "y"], ["x", "z"]]


def lists(sessions):
    return [sessions.session(i).tolist() for i in range(len(sessions))]


def listed(column):
    """Values of a kept column, None where missing."""
    values = column.to_pylist() if isinstance(column, pa.Array) else column.tolist()
    return [None if value is None or value != value else value for value in values]


def events():
    frame = pl.DataFrame(EVENTS)
    names = ["x", "y", "z"]
    yield "polars", frame
    yield "polars, categories", frame.cast(pl.Categorical)
    yield "polars, enum", frame.with_columns(pl.col("item_id").cast(pl.Enum(names)), pl.col("shop").cast(pl.Enum("pq")))
    yield "polars, in parts", pl.concat([frame[:1], frame[1:]], rechunk=False)
    yield "polars, series", {name: frame[name] for name in EVENTS}
    table = pa.table(EVENTS)
    for kind in (pa.string_view(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
        yield f"arrow, {kind}", table.cast(pa.schema([(name, kind) for name in EVENTS]))
    codes = [column.combine_chunks().dictionary_encode() for column in table.columns]
    views = [pa.DictionaryArray.from_arrays(each.indices, each.dictionary.cast(pa.string_view())) for each in codes]
    yield "arrow, dictionary of views", pa.table(views, names=list(EVENTS))
    runs = {name: pa.compute.run_end_encode(column.combine_chunks()) for name, column in zip(EVENTS, table.columns)}
    yield "arrow, runs", pa.table(runs)
    yield "arrow, record batch", pa.record_batch(EVENTS)
    yield "arrow, json", table.set_column(2, "shop", pa.ExtensionArray.from_storage(
        pa.json_(), table["shop"].combine_chunks()))  # fmt: skip
    yield "pandas", pd.DataFrame(EVENTS)
    yield "pandas, categories", pd.DataFrame(EVENTS).astype("category")
    yield "pandas, string", pd.DataFrame(EVENTS).astype("string")
    yield "pandas, python strings", pd.DataFrame(EVENTS).astype(pd.StringDtype("python"))
    yield "pandas, pyarrow", pd.DataFrame(EVENTS).convert_dtypes(dtype_backend="pyarrow")
    yield "pandas, objects with NA", pd.DataFrame(EVENTS).astype(object).where(lambda f: f.notna(), pd.NA)
    yield "pandas, series", {name: pd.Series(values, dtype="category") for name, values in EVENTS.items()}
    yield "duckdb", duckdb.from_arrow(table)
    yield "duckdb, numpy", duckdb.from_arrow(table).fetchnumpy()  # masked arrays
    yield "lists", EVENTS
    yield "lists with NA", {**EVENTS, "shop": ["p", "q", "p", pd.NA]}
    yield "bytes", {**EVENTS, "item_id": np.array([b"x", b"y", b"x", b"z"])}
    yield "views of keys", {name: dict(enumerate(values)).values() for name, values in EVENTS.items()}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in events()])
def test_texts_of_every_make(data):
    sessions = stamp.Sessions.from_frame(data)
    assert lists(sessions) == LISTS
    assert listed(sessions.columns["shop"]) == EVENTS["shop"]
    assert lists(sessions.select(np.array([False, True]))) == LISTS[1:]
    products = stamp.Products.from_frame(data, item_id="click", keep="shop")
    codes, values = products.codes("shop", products._catalog)
    assert [values[code] if code >= 0 else None for code in codes] == EVENTS["shop"]
    arm = {"visitor": data["item_id"], "revenue": [1.0, 2, 3, 4]} if isinstance(data, dict) else None
    if arm is not None:
        assert ab.means(control=arm, treatment=arm, visitor="visitor").control.visitors == 3


def numbers_of_every_make():
    yield "polars", pl.DataFrame({"item_id": [3, 1, 3, 2]}).cast(pl.UInt8)["item_id"]
    yield "pandas Int64", pd.array([3, 1, 3, 2], "Int64")
    yield "pandas category", pd.Series([3, 1, 3, 2], dtype="category")
    yield "pandas pyarrow", pd.Series([3, 1, 3, 2], dtype="int64[pyarrow]")
    yield "arrow dictionary", pa.array([3, 1, 3, 2]).dictionary_encode()
    yield "arrow runs", pa.compute.run_end_encode(pa.array([3, 1, 3, 2]))
    yield "array", np.array([3, 1, 3, 2], np.int16)


@pytest.mark.parametrize("ids", [pytest.param(ids, id=name) for name, ids in numbers_of_every_make()])
def test_integers_of_every_make(ids):
    sessions = stamp.Sessions.from_frame({"session_id": [1, 1, 2, 2], "item_id": ids, "kept": ids})
    assert lists(sessions) == [[3, 1], [3, 2]] and sessions.item_ids.dtype == np.int64
    assert listed(sessions.columns["kept"]) == [3, 1, 3, 2]


def test_parquet_with_views_of_strings(tmp_path):
    table = pa.table(EVENTS)
    pa.parquet.write_table(table.cast(pa.schema([(name, pa.string_view()) for name in EVENTS])), tmp_path / "e.parquet")
    assert pa.parquet.read_schema(tmp_path / "e.parquet").field("item_id").type == pa.string_view()
    assert lists(stamp.Sessions.from_frame(tmp_path / "e.parquet")) == LISTS


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([1, 2, 3, None], pa.decimal128(9, 2)), [decimal.Decimal(n) for n in (1, 2, 3)]),
        (pa.array([1, 2, 3, None], pa.decimal256(60, 2)), [decimal.Decimal(n) for n in (1, 2, 3)]),
        (pa.array([[1], [], [2, 3], None], pa.list_view(pa.int64())), [[1], [], [2, 3]]),
        (pa.array([[1, 2], [3, 4], [5, 6], None], pa.list_(pa.int64(), 2)), [[1, 2], [3, 4], [5, 6]]),
        (pa.array([["a"], [], ["b", None], None], pa.list_(pa.string_view())), [["a"], [], ["b", None]]),
        (pl.Series([["a"], [], ["b", "a"], None], dtype=pl.List(pl.Categorical)), [["a"], [], ["b", "a"]]),
        (pa.array([{"x": "a"}, {"x": None}, {"x": "b"}, None], pa.struct([("x", pa.string_view())])),
         [{"x": "a"}, {"x": None}, {"x": "b"}]),
        (pl.Series([{"x": "a"}, {"x": None}, {"x": "b"}, None], dtype=pl.Struct({"x": pl.Categorical})),
         [{"x": "a"}, {"x": None}, {"x": "b"}]),
        (pa.nulls(4), [None, None, None]),
        (pa.array([b"a", b"b", b"\xff", None], pa.binary_view()), [b"a", b"b", b"\xff"]),
        (pl.Series([datetime.time(1), datetime.time(2), datetime.time(3), None]), [datetime.time(h) for h in (1, 2, 3)]),
        (pl.Series([1, 2, 3, None], dtype=pl.Duration("ms")), [datetime.timedelta(milliseconds=n) for n in (1, 2, 3)]),
    ],
    ids=lambda value: str(getattr(value, "type", getattr(value, "dtype", ""))),
)  # fmt: skip
def test_columns_of_every_type_are_kept(column, values):
    """In the order of the events, which is not that of the rows."""
    data = {"session_id": [1, 1, 2, 2], "item_id": [1, 2, 3, 4], "timestamp": [1, 2, 4, 3], "kept": column}
    sessions = stamp.Sessions.from_frame(data)
    assert listed(sessions.columns["kept"]) == [*values[:2], None, values[2]]
    sliced = stamp.Sessions.from_frame({"session_id": [1, 1], "item_id": [1, 2], "kept": column[1:3]})
    assert listed(sliced.columns["kept"]) == values[1:3]


def sessions_a_row():
    ids = [[1, 2, 3], [4]]
    yield "lists", {"items": ids}
    yield "tuples", {"items": [(1, 2, 3), (4,)]}
    yield "arrays", {"items": [np.array([1, 2, 3]), np.array([4])]}
    yield "objects", {"items": np.array([ids[0], ids[1], None], object)[:2]}
    yield "pandas", pd.DataFrame({"items": ids})
    yield "pandas of arrays", pd.DataFrame({"items": [np.array(row) for row in ids]})
    yield "polars", pl.DataFrame({"items": ids})
    yield "polars texts", pl.DataFrame({"items": ["1 2 3", "4"]})
    yield "polars categories of texts", pl.DataFrame({"items": ["1 2 3", "4"]}).cast(pl.Categorical)
    for kind in (pa.list_, pa.large_list, pa.list_view, pa.large_list_view):
        yield f"arrow {kind.__name__}", pa.table({"items": pa.array(ids, kind(pa.int32()))})
    yield "a list of arrays", [np.array(row) for row in ids]
    yield "a series of pandas", pd.Series(ids)
    yield "a series of polars", pl.Series(ids)
    yield "an array of Arrow", pa.array(ids)
    yield "chunks of Arrow", pa.chunked_array([ids[:1], ids[1:]])
    yield "a column of Arrow's that begins later", pa.array([[7], *ids])[1:]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in sessions_a_row()])
def test_sessions_of_different_length(data):
    sessions = stamp.Sessions.from_frame(data)
    assert lists(sessions) == [[1, 2, 3], [4]] and sessions.item_ids.dtype == np.int64


def test_sessions_of_one_length():
    frames = [{"items": [[1, 2], [3, 4]]}, {"items": np.array([[1, 2], [3, 4]])}, np.array([[1, 2], [3, 4]]),
              pl.DataFrame({"items": [[1, 2], [3, 4]]}, schema={"items": pl.Array(pl.Int64, 2)})]  # fmt: skip
    for data in frames:
        assert lists(stamp.Sessions.from_frame(data)) == [[1, 2], [3, 4]]
    words = pl.DataFrame({"items": [["a", "b"], ["c"]]}, schema={"items": pl.List(pl.Categorical)})
    assert lists(stamp.Sessions.from_frame(words)) == [["a", "b"], ["c"]]
    assert lists(stamp.Sessions.from_frame({"items": [1, 2]})) == lists(stamp.Sessions.from_frame([[1], [2]]))
    empty = pa.table({"items": pa.array([[], []], pa.list_(pa.null()))})
    assert len(stamp.Sessions.from_frame(empty)) == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.DataFrame({"items": [[1, 2], None]}), "column 'items' has 1 missing values, the first in row 1"),
        (pl.DataFrame({"items": [[1, 2], None]}), "column 'items' has 1 missing values, the first in row 1"),
        (pd.DataFrame({"items": [[1, 2], [3, None]]}), "column 'items' has 1 missing ids within its lists, the first in row 1"),
        (pl.DataFrame({"items": [[1, 2], [], [3, None]]}), "'items' has 1 missing ids within its lists, the first in row 2"),
        ({"items": [[1, pd.NA], [2]]}, "column 'items' has 1 missing ids within its lists, the first in row 0"),
        ({"items": [[1, 2], 3]}, "column 'items' has 3 in row 1, expected a list of ids"),
        ({"items": [[1, 2], "3"]}, "column 'items' has '3' in row 1, expected a list of ids"),
        ({"items": [[1, "a"]]}, "column 'items', all lists end to end, has 'a' in row 1|all integers or all strings"),
        (pa.table({"items": [[[1]], [[2]]]}), "column 'items' is of type list<item: list<item: int64>>, expected lists of ids"),
        (pa.table({"items": [1.5]}), "column 'items' is of type double"),
        ({"items": ["[1, 2]", "[3]"]}, r"column 'items' has the text '\[1, 2\]' in row 0.*hand over lists"),
        ({"items": ["a b", "('c', 'd')"]}, r"column 'items' has the text .* in row 1"),
        ({"items": ["4 5", "1,2"]}, "column 'items' has the text '1,2' in row 1.*spaces between them"),
        ({"items": ["1|2|3"]}, "column 'items' has the text"),
        (pl.DataFrame({"items": ["1; 2"]}), "column 'items' has the text"),
        (pd.Series(["a b", "c"]), "the Series holds 'a b', expected one list of product ids a session"),
        (pd.Series([[1], None]), "the Series holds None, expected one list"),
        (pl.Series([1, 2]), "the Series holds 1, expected one list"),
        (pd.DataFrame([[1, 2, 3]], columns=["session_id", "item_id", "item_id"]), "column 'item_id' stands 2 times"),
        (pa.table([[1], [2], [3]], names=["session_id", "item_id", "item_id"]), "column 'item_id' stands 2 times"),
        (pd.DataFrame([[1, 2, 3, 4]], columns=["session_id", "item_id", "x", "x"]), "column 'x' stands 2 times"),
        ({"session_id": [1], "item_id": [1], 1: [2], "1": [3]}, "column '1' stands 2 times"),
        (pd.DataFrame([[1, 2]]), "no column 'session_id' among 0, 1"),
        ({"session_id": [1, 1], "item_id": [1, "a"]}, "all integers or all strings"),  # numpy would make texts of both
        ({"session_id": [1, 1], "item_id": ["a", float("nan")]}, "'item_id' has 1 missing values, the first in row 1"),
        ({"session_id": [1, 1], "item_id": np.ma.array([1, 2], mask=[0, 1])}, "'item_id' has 1 missing values"),
        ({"session_id": [1, 1], "item_id": np.array([b"a", b"\xe9"])}, "column 'item_id' holds bytes that are no UTF-8"),
        ({"session_id": [1], "item_id": np.zeros((1, 2))}, "column 'item_id'"),
        (pl.DataFrame({"session_id": [1], "item_id": [1]}).cast(pl.Int128), "column 'session_id': .*format"),
        (pl.DataFrame({"session_id": [1], "item_id": [1]}).lazy(), "cannot read LazyFrame"),
    ],
)  # fmt: skip
def test_odd_shapes_are_named(data, message):
    with pytest.raises(ValueError, match=message):
        stamp.Sessions.from_frame(data)


def test_names_may_be_numbers():
    frame = pd.DataFrame([[1, 7, 20], [1, 8, 10]])
    sessions = stamp.Sessions.from_frame(frame, session_id=0, item_id=1, timestamp=2)
    assert lists(sessions) == [[8, 7]]
    assert stamp.Products.from_frame(frame, item_id=1, numbers=2).attributes == {"0": "text", "2": "number"}


def test_only_what_is_read_must_stand_once():
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=["session_id", "item_id", "x", "x"])
    assert lists(stamp.Sessions.from_frame(frame, keep=())) == [[2]]


def test_uuids_and_decimals_pass():
    ids = [uuid.UUID(int=n) for n in (1, 2)]
    table = pa.table({"session_id": [1, 1], "item_id": pa.array([id.bytes for id in ids], pa.uuid())})
    assert lists(stamp.Sessions.from_frame(table)) == [[str(id) for id in ids]]
    lists_of = pa.table(
        {"items": pa.array([[id.bytes for id in ids]], pa.list_(pa.binary(16))).cast(pa.list_(pa.uuid()))}
    )
    assert lists(stamp.Sessions.from_frame(lists_of)) == [[str(id) for id in ids]]
    price = pa.array([decimal.Decimal("1.50"), None], pa.decimal128(9, 2))
    products = stamp.Products.from_frame({"item_id": [1, 2], "price": price})
    assert products.attributes == {"price": "number"}
    weights = pa.array([decimal.Decimal("0.5"), decimal.Decimal(2)])
    sessions = stamp.Sessions.from_frame({"session_id": [1, 1], "item_id": [1, 2], "weight": weights})
    assert sessions._core.weights.tolist() == [0.5, 2]


NAMED = ("session_id", "item_id", "timestamp", "weight", "visitor_id", "event_type", "value", "keep")


@pytest.mark.parametrize("parameter", NAMED)
def test_a_named_column_that_is_not_there(parameter):
    data = {"session_id": [1, 1], "item_id": [1, 2], "time": [1, 2]}
    with pytest.raises(ValueError, match="no column 'tiem' among session_id, item_id, time"):
        stamp.Sessions.from_frame(data, **{parameter: "tiem"})
    with pytest.raises(ValueError, match=f"no column '{parameter}' among items"):  # though defaults may be absent
        stamp.Sessions.from_frame({"items": [[1, 2]]}, **{parameter: parameter})
    assert len(stamp.Sessions.from_frame({"items": [[1, 2]]})) == 1


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: stamp.Sessions.from_frame({"session_id": [1], "item_id": [2]}, items="basket"), "no column 'basket' among session_id, item_id"),
        (lambda: stamp.Sessions.from_frame({"items": [[1]]}, item_id="sku"), "no column 'sku' among items"),
        (lambda: stamp.Sessions.from_frame({"items": [[1]], "sku": [1]}, item_id="sku", items="items"), "item_id is 'sku' and items is 'items'"),
        (lambda: stamp.Sessions.from_frame({"session_id": [1], "sku": [1]}), "no column 'item_id' among session_id, sku"),
        (lambda: stamp.Sessions.from_frame({"session_id": [1], "item_id": [1], "value": [1], "eur": [1]}, value="eur"),
         "value is 'eur', but there is a column 'value', too"),
        (lambda: stamp.Products.from_frame({"item_id": [1]}, keep=["brand"]), "no column 'brand' among item_id"),
        (lambda: stamp.Products.from_frame({"item_id": [1]}, categories="brand"), "no column 'brand' among item_id"),
        (lambda: stamp.Products.from_frame({"item_id": [1]}, numbers=["price"]), "no column 'price' among item_id"),
        (lambda: stamp.Products.from_frame({"sku": [1]}), "no column 'item_id' among sku"),
        (lambda: ab.means(control={"revenue": [1.0, 2]}, treatment={"sales": [1.0, 2]}),
         "means: treatment: no column 'revenue' among sales"),
        (lambda: ab.ratio(control={"clicks": [1.0, 2]}, treatment={}), "ratio: control: no column 'impressions' among clicks"),
        (lambda: ab.proportions(control={"converted": [1, 0]}, treatment=(1, 2), visitor="who"),
         "proportions: control: no column 'who' among converted"),
        (lambda: ab.means(control="nobody.csv", treatment=[1, 2]), "means: control: there is no file nobody.csv"),
    ],
)  # fmt: skip
def test_a_column_that_is_not_there_is_named_with_those_that_are(read, message):
    with pytest.raises(ValueError, match=message):
        read()


def test_columns_by_name():
    data = {"visit": [1, 1, 2], "sku": ["a", "b", "c"], "item_id": [7, 8, 9], "uid": [5, 5, 6], "kind": ["v", "b", "v"],
            "other": [0.0, 1.0, 2.0], "items": [[1], [2], [3]]}  # fmt: skip
    named = {"session_id": "visit", "item_id": "sku", "visitor_id": "uid", "event_type": "kind"}
    sessions = stamp.Sessions.from_frame(data, **named)
    assert lists(sessions) == [["a", "b"], ["c"]]
    assert {name: listed(column) for name, column in sessions.columns.items()} == {
        "visitor_id": [5, 5, 6], "event_type": ["v", "b", "v"], "item_id": [7, 8, 9], "other": [0, 1, 2],
        "items": [[1], [2], [3]],
    }  # fmt: skip
    assert sorted(stamp.Sessions.from_frame(data, **named, keep="other").columns) == [
        "event_type",
        "other",
        "visitor_id",
    ]
    assert sorted(stamp.Sessions.from_frame(data, **named, keep=()).columns) == ["event_type", "visitor_id"]
    by_session = stamp.Sessions.from_frame(data, items="items", visitor_id="visit", keep=["items", "sku"])
    assert lists(by_session) == [[1], [2], [3]] and by_session.columns["sku"].tolist() == ["a", "b", "c"]
    assert listed(by_session.columns["visitor_id"]) == [1, 1, 2] and listed(by_session.columns["items"]) == [
        [1],
        [2],
        [3],
    ]
    shared = stamp.Sessions.from_frame(data, session_id="uid", item_id="sku", visitor_id="uid", keep=())
    assert listed(shared.columns["visitor_id"]) == [5, 5, 6]


def test_objects_of_polars_are_what_they_are():
    first, second = uuid.UUID(int=1), uuid.UUID(int=2)
    frame = pl.DataFrame({
        "session_id": [1, 1, 1], "item_id": pl.Series([first, second, first], dtype=pl.Object), "shop": ["p", None, "q"]
    })  # fmt: skip
    for data in (frame, {name: frame[name] for name in frame.columns}):
        sessions = stamp.Sessions.from_frame(data)
        assert lists(sessions) == [[str(first), str(second), str(first)]]
        assert listed(sessions.columns["shop"]) == ["p", None, "q"]


@pytest.mark.parametrize(
    "rows",
    [
        [range(3), range(2)],
        [pd.Series([0, 1, 2]), pd.Series([0, 1])],
        [pl.Series([0, 1, 2]), pl.Series([0, 1])],
        [array.array("q", [0, 1, 2]), array.array("q", [0, 1])],
        [collections.deque([0, 1, 2]), collections.deque([0, 1])],
        [pa.array([0, 1, 2]), pa.array([0, 1])],
    ],
    ids=lambda rows: type(rows[0]).__module__ + "." + type(rows[0]).__name__,
)
def test_rows_of_whatever_has_an_order(rows):
    assert lists(stamp.Sessions.from_frame({"items": rows})) == [[0, 1, 2], [0, 1]]


@pytest.mark.parametrize(
    "data", [[{1, 2}], {"items": [frozenset([1, 2])]}, {"session_id": {1, 2}, "item_id": [1, 2]}, {"items": [{1}, [2]]}]
)
def test_sets_have_no_order(data):
    with pytest.raises(ValueError, match="set|{"):
        stamp.Sessions.from_frame(data)


def test_texts_with_nul_at_their_end():
    sessions = stamp.Sessions.from_frame({"session_id": [1, 1, 1], "item_id": ["a\0", "a", b"b"]})
    assert lists(sessions) == [["a\0", "a", "b"]]


@pytest.mark.parametrize(
    "weight, message",
    [
        (np.array(["2020-01-01"], "M8[us]"), "datetime64"),
        (pa.array([datetime.datetime(2020, 1, 1)]), "datetime64"),
        ([datetime.datetime(2020, 1, 1)], r"datetime.datetime\(2020.* in row 0, which is not numeric"),
        ([1 + 2j], "complex"),
        (np.array([1 + 2j], object), r"\(1\+2j\) in row 0"),
        ([1e39], r"has 1e\+39 in row 0, expected a number that 32 bits hold"),
        (["1e39"], r"has 1e39 in row 0"),
        ([10**400], r"is not numeric"),
        ([-1e39], r"has -1e\+39 in row 0, expected 0 or more"),
        ([None], "missing"),
    ],
)
def test_what_is_no_weight(weight, message):
    with pytest.raises(ValueError, match=f"column 'weight'.*{message}"):
        stamp.Sessions.from_frame({"session_id": [1], "item_id": [1], "weight": weight})


@pytest.mark.parametrize(
    "weight", [[True], [1], [1.0], ["1.0"], [decimal.Decimal(1)], np.float16([1]), pa.array(["1"])]
)
def test_weights_of_every_make(weight):
    sessions = stamp.Sessions.from_frame({"session_id": [1], "item_id": [1], "weight": weight})
    assert sessions._core.weights.tolist() == [1.0]


def test_text_makes_texts_of_visitors_too():
    data = {"session_id": [1, 1, 1], "item_id": ["a", "b", "c"], "who": [1, None, "1"]}
    sessions = stamp.Sessions.from_frame(data, visitor_id="who", ids="text")
    assert sessions.columns["visitor_id"].tolist() == ["1", None, "1"]
    with pytest.raises(ValueError, match=r"column 'who' has 1.5 in row 0"):
        stamp.Sessions.from_frame({**data, "who": [1.5, 1, 2]}, visitor_id="who", ids="text")


def test_text_makes_texts_of_session_ids_too():
    data = {"session_id": [1, "1", 2**70], "item_id": ["a", "b", "c"]}
    assert lists(stamp.Sessions.from_frame(data, ids="text")) == [["a", "b"], ["c"]]
    with pytest.raises(ValueError, match="--ids text"):
        stamp.Sessions.from_frame({"session_id": [1, 2**70, 3], "item_id": ["a", "b", "c"]})
