"""Sessions and products from prepared data."""

import dataclasses
import pathlib
import re
import resource

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import stamp
from small_prepared import ordered, plain_frame, prepare, session_schema, visits, write_table
from stamp.data.prepared import parts as parts_module
from stamp.data.prepared import rows as rows_module
from stamp.data.prepared.manifest import publish
from stamp.data.prepared.prepared import open_prepared


def lay_out(url, frame, labels, **options):
    """By cluster, by pandas."""
    prepared = prepare(url, frame, **options)
    with_cluster = ordered(frame).assign(cluster=frame["item_id"].map(labels).fillna(-1).astype(int))
    with_cluster = with_cluster.sort_values("cluster", kind="stable")
    schema = session_schema(prepared.item_ids).append(pa.field("cluster", pa.int64()))
    table = pa.Table.from_pandas(with_cluster[schema.names], schema, preserve_index=False)
    files = write_table(prepared.target, "sessions", table, cut_by="cluster", max_rows=options.get("max_rows", 1000))
    others = [file for file in prepared.files if not file.path.startswith("sessions/")]
    publish(prepared.target, dataclasses.replace(prepared.manifest, files=(*files, *others), labels="made here"))
    return open_prepared(url)


def assert_same(found, expected):
    core, of = found._core, expected._core
    assert core.fingerprint() == of.fingerprint()
    for name in ("items", "offsets", "timestamps", "weights"):
        ours, theirs = getattr(core, name), getattr(of, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert found.item_ids.tolist() == expected.item_ids.tolist()


def as_list(column):
    return column.to_pylist() if hasattr(column, "to_pylist") else column.tolist()


LABELS = {item * 1_000_003 - 5: item // 8 for item in range(50)}  # products beyond are in no cluster


@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("max_rows", [100_000, 113])
def test_sessions_are_those_of_one_frame_with_the_same_rows(tmp_path, texts, max_rows):
    frame = visits(texts=texts)
    assert frame.groupby("session_end")["session_id"].nunique().max() > 2
    expected = stamp.Sessions.from_frame(plain_frame(frame))
    prepared = prepare(tmp_path, frame, max_rows=max_rows)
    for data in (prepared, tmp_path, f"{tmp_path}/", f"file://{tmp_path}"):
        found = stamp.Sessions.from_frame(data)
        assert_same(found, expected)
        assert list(found.columns) == ["visitor_id", "event_type", "value"]
        for name in ("visitor_id", "event_type"):
            assert as_list(found.columns[name]) == as_list(expected.columns[name])
        value = np.array([np.nan if v is None or v is pd.NA else v for v in as_list(expected.columns["value"])], float)
        np.testing.assert_array_equal(found.columns["value"], value)


@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("held", [1, 40, 1 << 20])
@pytest.mark.parametrize("open_files", [3, 700])
def test_clusters_merge_into_the_same_sessions(tmp_path, texts, held, open_files, monkeypatch):
    """Also where next to nothing is held of each, where a session is longer than that, and where files are closed between
    their parts."""
    monkeypatch.setattr(rows_module, "_OPEN", open_files)
    monkeypatch.setattr(parts_module, "ROW_GROUP", 29)
    frame = visits(texts=texts)
    monkeypatch.setattr(rows_module, "_HELD", held)
    monkeypatch.setattr(rows_module, "_FEWEST", 3)
    labels = {f"sku-ü{item}": label for item, label in LABELS.items()} if texts else LABELS
    prepared = lay_out(tmp_path, frame, labels, max_rows=113)
    assert {file.path.split("/")[1] for file in prepared.files} == {f"cluster={n}" for n in range(-1, 7)}
    found = stamp.Sessions.from_frame(prepared, keep=["session_id", "position", "value"])
    assert_same(found, stamp.Sessions.from_frame(plain_frame(frame)))
    assert as_list(found.columns["session_id"]) == frame["session_id"].tolist()
    assert as_list(found.columns["position"]) == frame["position"].tolist()
    np.testing.assert_array_equal(found.columns["value"], frame["value_millionths"].astype(float).to_numpy() / 1e6)


def test_a_thousand_clusters_are_merged_with_few_files_open(tmp_path, monkeypatch):
    frame = visits(3000, products=1200, group=4)
    prepared = lay_out(tmp_path, frame, {item: number for number, item in enumerate(sorted({*frame["item_id"]}))})
    assert len(prepared.files) > 900
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        found = stamp.Sessions.from_frame(prepared, keep=())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert_same(found, stamp.Sessions.from_frame(plain_frame(frame)))


def test_many_sessions_that_end_together_are_read_whatever_is_held(tmp_path, monkeypatch):
    frame = visits(200, end=1).assign(session_end=99_000_000)
    frame = ordered(frame.assign(timestamp=frame["timestamp"].where(frame["next_timestamp"].notna(), 99_000_000)))
    monkeypatch.setattr(rows_module, "_HELD", 1)
    monkeypatch.setattr(rows_module, "_FEWEST", 7)
    lay_out(tmp_path, frame, LABELS)
    found = stamp.Sessions.from_frame(tmp_path, keep=())
    assert_same(found, stamp.Sessions.from_frame(plain_frame(frame), keep=()))
    assert found.columns == {}


def test_only_wanted_columns_are_read(tmp_path, monkeypatch):
    prepare(tmp_path, visits())
    read = set()
    import pyarrow.parquet as pq

    iter_batches = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda *given, **named: (read.update(named["columns"]), iter_batches(*given, **named))[1],
    )
    assert stamp.Sessions.from_frame(tmp_path, keep=()).columns == {}
    assert read == {"session_id", "position", "session_end", "item_id", "timestamp", "weight_millionths"}
    assert list(stamp.Sessions.from_frame(tmp_path, keep="visitor_id").columns) == ["visitor_id"]
    assert read == {"session_id", "position", "session_end", "item_id", "timestamp", "weight_millionths", "visitor_id"}


def test_ids_may_be_texts_and_urls_any(tmp_path):
    frame = visits(50)
    prepare(f"memory://{tmp_path}/prepared", frame)
    found = stamp.Sessions.from_frame(f"memory://{tmp_path}/prepared", ids="text", keep=())
    assert_same(found, stamp.Sessions.from_frame(plain_frame(frame), ids="text", keep=()))


@pytest.mark.parametrize("url", ["{}", "memory://{}"])
def test_what_was_held_out_is_read_by_its_path(tmp_path, url, monkeypatch):
    url, early, late = url.format(tmp_path / "prepared"), visits(100), visits(50, seed=1)
    prepared = prepare(url, early)
    with pytest.raises(ValueError, match="prepared: nothing was held out; prepare the data with held_out"):
        stamp.Sessions.from_frame(f"{url}/held_out")
    later = prepare(f"{url}-later", late, folder="held_out", max_rows=77)
    files = [file.path for file in later.files]
    for path in files:
        with later.target.open(path) as content:
            scratch = prepared.target.scratch("held_out")
            pathlib.Path(scratch).write_bytes(content.read())
            prepared.target.put(path, scratch)
    publish(prepared.target, dataclasses.replace(prepared.manifest, files=(*prepared.files, *later.files)))
    assert_same(stamp.Sessions.from_frame(f"{url}/held_out/"), stamp.Sessions.from_frame(plain_frame(late)))
    assert_same(stamp.Sessions.from_frame(url), stamp.Sessions.from_frame(plain_frame(early)))
    if "://" not in url:
        monkeypatch.chdir(url)
        assert_same(stamp.Sessions.from_frame("held_out"), stamp.Sessions.from_frame(plain_frame(late)))
    # Data that happen to be called so are what they are.
    prepare(f"{url}/held_out", early)
    assert_same(stamp.Sessions.from_frame(f"{url}/held_out"), stamp.Sessions.from_frame(plain_frame(early)))


def test_no_sessions_at_all(tmp_path):
    prepare(tmp_path, visits(3).iloc[:0])
    found = stamp.Sessions.from_frame(tmp_path)
    assert len(found) == 0 and found.n_events == 0 and found.columns["value"].tolist() == []


def test_what_prepared_data_leave_open_is_not_asked(tmp_path):
    prepare(tmp_path, visits(9))
    for options in ({"item_id": "sku"}, {"separator": ";"}, {"value": "price"}, {"names": ["a"]}):
        with pytest.raises(ValueError, match=f"from_frame: {next(iter(options))} is .*, but .* is prepared"):
            stamp.Sessions.from_frame(tmp_path, **options)
    with pytest.raises(ValueError, match="no column 'colour' among session_id, position, "):
        stamp.Sessions.from_frame(tmp_path, keep=["colour"])


def test_data_that_are_not_whole_are_refused(tmp_path):
    frame = visits(60)
    gap = frame.drop(index=frame.index[(frame["position"] == 1)][3]).reset_index(drop=True)
    for name, rows, message in (
        ("gap", gap, "the positions of a session are not 0, 1, 2"),
        ("order", frame.iloc[::-1], "its rows are not in the order of session_end"),
        ("cut", frame.iloc[1:], "the positions of a session are not 0, 1, 2"),
        ("null", frame.assign(weight_millionths=None), "column 'weight_millionths' has .* missing values"),
    ):
        prepare(tmp_path / name, rows)
        with pytest.raises(ValueError, match=message):
            stamp.Sessions.from_frame(tmp_path / name)
    prepared = prepare(tmp_path / "kind", frame)
    publish(prepared.target, dataclasses.replace(prepared.manifest, item_ids="text"))
    with pytest.raises(ValueError, match=r"column 'item_id' has integers, prepared\.json says that they are strings"):
        stamp.Sessions.from_frame(tmp_path / "kind")
    prepared = prepare(tmp_path / "altered", frame)
    path = tmp_path / "altered" / prepared.files[0].path
    path.write_bytes(b"x" * prepared.files[0].bytes)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} was altered: it is no Parquet file"):
        stamp.Sessions.from_frame(tmp_path / "altered")
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} has 1 bytes"):
        stamp.Sessions.from_frame(prepared)
    path.unlink()
    with pytest.raises(
        ValueError, match=f"cannot read {re.escape(str(path))}: there is no such file; open what it is of again"
    ):
        stamp.Sessions.from_frame(prepared)


def test_urls_without_prepared_data_are_named(tmp_path):
    with pytest.raises(ValueError, match=rf"memory://{tmp_path}/none holds no prepared\.json"):
        stamp.Sessions.from_frame(f"memory://{tmp_path}/none")


# Products

PRODUCTS = pa.table({
    "item_id": [7, 8, 9], "first_seen": [1, 2, 3], "last_seen": [4, 5, 6], "events": [7, 8, 9],
    "available": [True, False, None], "price_millionths": pa.array([1_500_000, None, 3], pa.int64()),
    "brand": ["a", None, "ü"], "size": [1.5, 2.5, None],
})  # fmt: skip


def test_products_have_their_attributes_and_a_price(tmp_path):
    prepared = prepare(tmp_path, visits(9), products=PRODUCTS)
    for data in (prepared, tmp_path, f"file://{tmp_path}"):
        found = stamp.Products.from_frame(data)
        assert found.item_ids.tolist() == [7, 8, 9]
        assert found.attributes == {"available": "number", "brand": "text", "size": "number", "price": "number"}
        np.testing.assert_array_equal(found.numbers("price", found._catalog), np.array([1.5, np.nan, 3e-6], np.float32))
        assert found.numbers("available", found._catalog).tolist()[:2] == [1, 0]
        codes, values = found.codes("brand", found._catalog)
        assert codes.tolist() == [0, -1, 1] and values == ["a", "ü"]


def test_products_have_what_preparation_counts_where_it_is_asked_for(tmp_path):
    prepare(tmp_path, visits(9), products=PRODUCTS)
    found = stamp.Products.from_frame(tmp_path, keep=["brand"], numbers=["events", "price_millionths"])
    assert found.attributes == {"events": "number", "price_millionths": "number", "brand": "text"}
    assert found.numbers("events", found._catalog).tolist() == [7, 8, 9]
    own = PRODUCTS.append_column("price", pa.array([1.0, 2.0, 3.0]))
    prepare(tmp_path / "own", visits(9), products=own)
    priced = stamp.Products.from_frame(tmp_path / "own", keep="price", ids="text")
    assert priced.numbers("price", priced._catalog).tolist() == [1, 2, 3] and priced.item_ids.tolist() == [
        "7",
        "8",
        "9",
    ]


def test_prepared_data_without_products_say_so(tmp_path):
    prepare(tmp_path, visits(9))
    with pytest.raises(
        ValueError, match=f"from_frame: {re.escape(str(tmp_path))}/products: no column 'item_id' among none"
    ):
        stamp.Products.from_frame(tmp_path)
    with pytest.raises(ValueError, match="from_frame: separator is ';', but .* is prepared"):
        stamp.Products.from_frame(tmp_path, separator=";")
