"""Reading sessions: every kind of input against a pandas groupby, splits, bad input."""

import gzip
import resource
import subprocess
import sys

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

import stamp


@pytest.fixture
def frame():
    random = np.random.default_rng(0)
    n = 500
    return pd.DataFrame(
        {
            "session_id": random.integers(0, 60, n),
            "item_id": [f"sku-{i}" for i in random.integers(0, 40, n)],
            "timestamp": pd.to_datetime(1_600_000_000 + random.integers(0, 400, n), unit="s"),
            "price": random.random(n).round(2),
        }
    )


def truth(frame):
    """Sessions by pandas: stable in time, ordered by their last event."""
    groups = [g.sort_values("timestamp", kind="stable") for _, g in frame.groupby("session_id", sort=False)]
    groups.sort(key=lambda g: g["timestamp"].iloc[-1])
    return groups


def check(sessions, frame):
    groups = truth(frame)
    assert len(sessions) == len(groups)
    assert sessions.n_events == len(frame)
    # Sessions that end at the same moment stand in the order of their first rows, as groupby(sort=False) has them.
    for i, group in enumerate(groups):
        assert sessions.session(i).tolist() == group["item_id"].tolist()
    np.testing.assert_allclose(
        np.asarray(sessions.columns["price"]), np.concatenate([g["price"].to_numpy() for g in groups])
    )
    assert sessions.timestamps.tolist() == [t for g in groups for t in g["timestamp"].dt.to_pydatetime()]


def test_every_kind_of_input(frame, tmp_path):
    check(stamp.Sessions.from_frame(frame), frame)
    check(stamp.Sessions.from_frame(pl.from_pandas(frame)), frame)
    check(stamp.Sessions.from_frame(pa.Table.from_pandas(frame)), frame)
    check(stamp.Sessions.from_frame(duckdb.sql("select * from frame")), frame)
    check(stamp.Sessions.from_frame({c: frame[c].to_numpy() for c in frame}), frame)
    check(stamp.Sessions.from_frame(frame.assign(item_id=frame["item_id"].astype("category"))), frame)
    check(stamp.Sessions.from_frame(frame.assign(timestamp=frame["timestamp"].dt.tz_localize("Europe/Paris"))),
          frame.assign(timestamp=frame["timestamp"].dt.tz_localize("Europe/Paris").dt.tz_convert("UTC").dt.tz_localize(None)))  # fmt: skip
    check(
        stamp.Sessions.from_frame(frame.assign(timestamp=frame["timestamp"].astype("datetime64[s]").astype("int64"))),
        frame,
    )
    check(stamp.Sessions.from_frame(frame.assign(timestamp=frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S"))), frame)
    check(stamp.Sessions.from_frame(frame.assign(session_id="s" + frame["session_id"].astype(str))), frame)
    for name, separator in (("e.csv", ","), ("e.tsv", "\t")):
        frame.to_csv(tmp_path / name, sep=separator, index=False)
        check(stamp.Sessions.from_frame(tmp_path / name), frame)
        (tmp_path / (name + ".gz")).write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        check(stamp.Sessions.from_frame(str(tmp_path / (name + ".gz"))), frame)
    frame.to_parquet(tmp_path / "e.parquet")
    check(stamp.Sessions.from_frame(tmp_path / "e.parquet"), frame)


def test_one_session_per_line(tmp_path):
    lists = [[3, 1, 2], [2], [1, 1]]
    (tmp_path / "s.tsv").write_text("session_id\titems\n7\t3 1 2\n8\t2\n9\t1 1\n")
    table = pa.table({"items": pa.array(lists)})
    for data in (lists, tmp_path / "s.tsv", table, pl.DataFrame({"items": lists}), pd.DataFrame({"items": lists})):
        sessions = stamp.Sessions.from_frame(data)
        assert [sessions.session(i).tolist() for i in range(3)] == lists
        assert sessions.item_ids.dtype == np.int64
    words = stamp.Sessions.from_frame([["a b", "c"], ["c"]])
    assert words.session(0).tolist() == ["a b", "c"]


def test_columns_of_other_names_and_no_timestamps(frame):
    renamed = frame.drop(columns="timestamp").rename(columns={"session_id": "s", "item_id": "i"})
    sessions = stamp.Sessions.from_frame(renamed, session_id="s", item_id="i")
    assert sessions.timestamps is None
    first = renamed[renamed["s"] == renamed["s"].iloc[0]]["i"].tolist()
    assert sessions.session(0).tolist() == first


def test_ids_stay_what_they_are(tmp_path):
    assert stamp.Sessions.from_frame([["1", "2"]]).item_ids.tolist() == ["1", "2"]
    assert stamp.Sessions.from_frame([["007", "7"]]).n_items == 2
    assert stamp.Sessions.from_frame({"items": ["007 7", " 7  8 "]}).item_ids.tolist() == ["007", "7", "8"]
    path = tmp_path / "lines.csv"
    path.write_text("items,timestamp,shop\n1  2,2,a\n,0,b\n3 1 ,1,c\n")
    lines = stamp.Sessions.from_frame(path)
    assert [lines.session(i).tolist() for i in range(2)] == [[3, 1], [1, 2]]  # by time, without the empty one
    assert lines.columns["shop"].tolist() == ["c", "c", "a", "a"]
    frame = pd.DataFrame({"session_id": [1, 1], "item_id": pd.array(["a", pd.NA], "string")})
    with pytest.raises(ValueError, match="'item_id' has 1 missing values, the first in row 1"):
        stamp.Sessions.from_frame(frame)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"a": 1}], "expected one list of product ids"),
        (["abc"], "expected one list of product ids"),
        ([[1, "a"]], "all integers or all strings"),
        ([[2**70]], "beyond 64-bit"),
        ({"session_id": [1, 1], "item_id": [1, 2], "more": [1]}, "differ in length: session_id 2, item_id 2, more 1"),
        ({"session_id": [1], "item_id": [1], "timestamp": [""]}, "'timestamp' has 1 missing"),
    ],
)
def test_what_cannot_be_read_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        stamp.Sessions.from_frame(data)


def test_splits(frame):
    sessions = stamp.Sessions.from_frame(frame)
    ends = np.array([g["timestamp"].iloc[-1] for g in truth(frame)], "datetime64[us]")
    for span, moment in (("1min", ends.max() - np.timedelta64(60, "s")), (ends[20], ends[20])):
        train, test = sessions.split_by_time(span)
        assert len(train) == (ends < moment).sum()
        assert len(train) + len(test) == len(sessions)
        assert test.session(0).tolist() == sessions.session(len(train)).tolist()
        assert len(test.columns["price"]) == test.n_events
    train, test = sessions.split_last(0.25)
    assert len(test) == round(len(sessions) * 0.25)
    for wrong in (0, 1, -1, 2):
        with pytest.raises(ValueError, match="fraction"):
            sessions.split_last(wrong)
    for wrong in ("100W", "soon"):
        with pytest.raises(ValueError, match="split_by_time"):
            sessions.split_by_time(wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="item_id"), "no column 'item_id'"),
        (lambda f: f.assign(timestamp=f["timestamp"].where(f.index != 7)), "column 'timestamp' has 1 missing.*row 7"),
        (lambda f: f.assign(item_id=f["item_id"].where(f.index != 3)), "column 'item_id' has 1 missing.*row 3"),
        (lambda f: f.assign(item_id=f["price"]), "column 'item_id' has .* in row 0"),
        (lambda f: f.assign(item_id=[1, "a"] * 250), "all integers or all strings"),
        (lambda f: f.assign(weight=-1.0), "column 'weight' has -1.0 in row 0"),
        (lambda f: f.assign(weight="x"), "column 'weight' is not numeric"),
        (lambda f: f.assign(timestamp="yesterday"), "column 'timestamp'"),
        (lambda f: f.assign(session_id=np.nan), "column 'session_id'"),
        (lambda f: 17, "cannot read int"),
        (lambda f: "no/such/file.csv", "there is no file"),
    ],
)
def test_bad_input_is_named(frame, change, message):
    with pytest.raises(ValueError, match=message):
        stamp.Sessions.from_frame(change(frame))


def test_empty_data(frame):
    empty = stamp.Sessions.from_frame(frame.iloc[:0])
    assert len(empty) == 0
    with pytest.raises(ValueError, match="no events"):
        stamp.StampRecommender().fit(empty)
    assert len(stamp.Sessions.from_frame([])) == 0


def test_memory_stays_within_three_times_the_integers():
    """In a process of its own: peak memory above what the arrays themselves take."""
    code = """
import numpy as np, stamp, resource
n = 4_000_000
columns = {"session_id": np.repeat(np.arange(n // 4), 4), "item_id": np.random.default_rng(0).integers(0, 50_000, n),
           "timestamp": np.arange(n)}
stamp.Sessions.from_frame([[1, 2]])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stamp.Sessions.from_frame(columns)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024 / (3 * 8 * n))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(out) < 3
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0


def test_real_data(real_data):
    diginetica = stamp.Sessions.from_frame(real_data / "diginetica" / "train.tsv.gz")
    assert len(diginetica) == 186_670
    week = stamp.Sessions.from_frame(real_data / "yoochoose_week" / "sessions.tsv.gz")
    assert week.n_events == 107_242
    split = np.asarray(week.columns["split"])
    train, test = week.split_by_time(np.datetime64("2014-09-29T01:00"))
    assert len(train) + len(test) == len(week)
    assert set(split.tolist()) == {"train", "test"}
    sample = stamp.Sessions.from_frame(real_data / "sample" / "sessions.tsv.gz")  # not in order of time
    assert len(sample) == 2_986
    assert (np.diff(sample.timestamps[:20].astype(np.int64)) >= 0).any()
