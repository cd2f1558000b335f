"""Reading files: text of every dialect, folders of Parquet, and what cannot be read, by the name that it was given."""

import functools
import gzip
import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

import stamp
from stamp.offline import ab

EVENTS = {"session_id": [1, 1, 2], "item_id": ["x", "y", "x"], "shop": ["p", "q", "p"]}


def lists(sessions):
    return [sessions.session(i).tolist() for i in range(len(sessions))]


def kept(sessions):
    return {name: column.to_pylist() for name, column in sessions.columns.items()}


def write(path, table, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.table({**table, **columns}), path)


def test_separators_and_files_without_names(tmp_path):
    """The public files as they are published: Diginetica's, Yoochoose's, RetailRocket's, MovieLens'."""
    (tmp_path / "train-item-views.csv").write_text(
        "sessionId;userId;itemId;timeframe;eventdate\n1;NA;81766;526309;2016-05-09\n1;NA;31331;1031018;2016-05-09\n"
    )
    diginetica = stamp.Sessions.from_frame(
        tmp_path / "train-item-views.csv",
        separator=";",
        session_id="sessionId",
        item_id="itemId",
        timestamp="eventdate",
    )
    assert lists(diginetica) == [[81766, 31331]] and str(diginetica.timestamps[0]) == "2016-05-09T00:00:00.000000"
    assert sorted(diginetica.columns) == ["timeframe", "userId"]

    raw = "1,2014-04-07T10:54:09.868Z,214536500,0\n1,2014-04-07T10:51:09.277Z,214536502,S\n2,2014-04-07T13:56:37.614Z,7,0\n"
    names = ["session_id", "timestamp", "item_id", "category"]
    for path, text in (("yoochoose-clicks.dat", raw.encode()), ("clicks.csv.gz", gzip.compress(raw.encode()))):
        (tmp_path / path).write_bytes(text)
        yoochoose = stamp.Sessions.from_frame(tmp_path / path, separator=",", names=names)
        assert lists(yoochoose) == [[214536502, 214536500], [7]] and kept(yoochoose) == {"category": ["S", "0", "0"]}
        assert str(yoochoose.timestamps[0]) == "2014-04-07T10:51:09.277000"

    (tmp_path / "events.csv").write_text(
        "timestamp,visitorid,event,itemid\n2015,257597,view,355908\n2016,257597,addtocart,9\n"
    )
    rocket = stamp.Sessions.from_frame(tmp_path / "events.csv", session_id="visitorid", item_id="itemid",
                                       visitor_id="visitorid", event_type="event")  # fmt: skip
    assert kept(rocket) == {"visitor_id": [257597, 257597], "event_type": ["view", "addtocart"]}

    (tmp_path / "u.data").write_text("196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    lens = stamp.Sessions.from_frame(
        tmp_path / "u.data", separator="\t", names=["session_id", "item_id", "rating", "timestamp"]
    )
    assert lists(lens) == [[242], [302]]

    (tmp_path / "items.csv").write_text("7;shoes\n8;hats\n")
    products = stamp.Products.from_frame(tmp_path / "items.csv", separator=";", names=["item_id", "category"])
    assert products.attributes == {"category": "text"} and products.item_ids.tolist() == [7, 8]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", b"session_id,item_id\n1,caf\xe9\n", {}, "a.csv: column 'item_id' has b'caf.xe9' in row 0, which is not UTF-8"),
        ("a.csv", b"session_id,item_id,shop\n1,2,a\n1,2,caf\xe9\n", {}, "a.csv: column 'shop' has b'caf.xe9' in row 1"),
        ("a.csv", b"session_id,item_id,caf\xe9\n1,2,3\n", {}, "a.csv: the names of the columns are not UTF-8"),
        ("a.tsv", "session_id\titem_id\n1\t2\n".encode("utf-16"), {}, "a.tsv: "),
        ("a.csv", b"", {}, "a.csv: Empty CSV file"),
        ("a.csv", b"session_id,item_id\n1,2\n1,2,3\n", {}, "a.csv: CSV parse error: Expected 2 columns, got 3"),
        ("a.csv", b"1,2\n1,3\n", {"names": ["session_id", "item_id", "x"]}, "a.csv: CSV parse error: Expected 3 columns, got 2"),
        ("a.csv", b"a;b\n1;2\n", {}, "a.csv: no column 'session_id' among a;b"),
        ("a.csv", b"a,b,a\n1,2,3\n", {"session_id": "a", "item_id": "b"}, "a.csv: column 'a' stands 2 times"),
        ("a.csv.gz", b"hello", {}, "a.csv.gz: "),
        ("a.csv.gz", gzip.compress(b"session_id,item_id\n" + b"1,2\n" * 9999, mtime=0)[:90], {}, "a.csv.gz: "),
        ("a.parquet", b"hello", {}, "a.parquet: Parquet"),
        ("a.parquet", b"", {}, "a.parquet: Parquet"),
        ("a.csv", b"a", {"separator": "::"}, "a.csv: separator is '::', expected one character"),
        ("a.csv", b"a", {"separator": ""}, "a.csv: separator is '', expected one character"),
        ("a.dat", b"a", {}, "a.dat is of unknown kind; expected .csv, .tsv or .parquet, or a separator"),
        ("a.parquet", b"a", {"names": ["a"]}, "names are of a text file without a line of them, not of a.parquet"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_named_as_they_were_given(tmp_path, monkeypatch, name, content, options, message):
    monkeypatch.chdir(tmp_path)
    pathlib.Path(name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^from_frame: {message}") as raised:
        stamp.Sessions.from_frame(name, **options)
    assert str(tmp_path) not in str(raised.value)


def test_texts_that_nobody_reads_may_be_what_they_are(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"session_id,item_id,shop\n1,2,caf\xe9\n")
    assert lists(stamp.Sessions.from_frame(tmp_path / "a.csv", keep=())) == [[2]]


@pytest.mark.parametrize("name", ["loop.csv", "loop.parquet", "folder"])
def test_unreadable_files_are_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = pathlib.Path(name if "." in name else f"{name}/loop.parquet")
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(path.name)
    with pytest.raises(ValueError, match=f"^from_frame: .*{name}"):
        stamp.Sessions.from_frame(name)
    with pytest.raises(ValueError, match=f"^means: control: .*{name}"):
        ab.means(control=name, treatment=[1, 2])


def test_texts_of_parquet_that_are_not_utf8(tmp_path):
    wrong = pa.array([b"x", b"y", b"caf\xe9"]).view(pa.string())
    write(tmp_path / "a.parquet", {**EVENTS, "item_id": wrong})
    with pytest.raises(ValueError, match="a.parquet: column 'item_id': Invalid UTF8 sequence at string index 2"):
        stamp.Sessions.from_frame(tmp_path / "a.parquet")


def test_a_mark_at_the_beginning_of_the_file(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfsession_id,item_id\n1,2\n")
    assert lists(stamp.Sessions.from_frame(tmp_path / "a.csv")) == [[2]]


def test_folders_of_parquet(tmp_path):
    """A column that is null on one day, that a day lacks, whose type is narrower, and what folders say."""
    ref = pa.array(["a", "b", None])
    write(tmp_path / "day=2026-01-01" / "hour=7" / "a.parquet", EVENTS, ref=ref, price=pa.array([1, 2, 3], pa.int32()))
    write(tmp_path / "day=2026-01-02" / "hour=8" / "b.parquet", EVENTS, ref=pa.nulls(3), price=[0.5, None, 1])
    write(tmp_path / "day=2026-01-03" / "hour=__HIVE_DEFAULT_PARTITION__" / "c.pq",
          {**EVENTS, "session_id": pa.array([5, 5, 5], pa.int32()), "item_id": pa.array(["x", "y", "z"]).dictionary_encode()},
          tag=[["a"], [], None])  # fmt: skip
    (tmp_path / "_temporary").mkdir()
    (tmp_path / "_temporary" / "half.parquet").write_bytes(b"PAR1")
    (tmp_path / "day=2026-01-03" / ".c.parquet.crc").write_bytes(b"crc")
    sessions = stamp.Sessions.from_frame(tmp_path)
    assert lists(sessions) == [["x", "y", "x", "y"], ["x", "x"], ["x", "y", "z"]]
    days = ["2026-01-01"] * 2 + ["2026-01-02"] * 2 + ["2026-01-01", "2026-01-02"] + ["2026-01-03"] * 3
    assert kept(sessions) == {
        "shop": ["p", "q", "p", "q", "p", "p", "p", "q", "p"],
        "ref": ["a", "b", None, None, None, None, None, None, None],
        "price": [1.0, 2.0, 0.5, None, 3.0, 1.0, None, None, None],
        "tag": [None, None, None, None, None, None, ["a"], [], None],
        "day": days,
        "hour": [7, 7, 8, 8, 7, 8, None, None, None],
    }
    assert kept(stamp.Sessions.from_frame(tmp_path, keep="day")) == {"day": days}
    assert kept(stamp.Sessions.from_frame(tmp_path / "day=2026-01-01", keep=["hour"])) == {"hour": [7, 7, 7]}
    assert lists(stamp.Sessions.from_frame(tmp_path, session_id="day", keep=())) == [
        ["x", "y", "x"],
        ["x", "y", "x"],
        ["x", "y", "z"],
    ]


def test_types_of_a_folder_that_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = pathlib.Path("events")
    write(folder / "1.parquet", EVENTS, ref=pa.nulls(3), note=["a", "b", "c"])
    write(folder / "2.parquet", EVENTS, ref=[1, 2, 3], note=[["a"], ["b"], ["c"]])
    write(folder / "3.parquet", EVENTS, ref=["1", "2", "3"])
    with pytest.raises(ValueError, match="column 'ref' is int64 in events/2.parquet and string in events/3.parquet"):
        stamp.Sessions.from_frame("events", keep=["ref"])
    with pytest.raises(ValueError, match="column 'note' is string in events/1.parquet and list"):
        stamp.Products.from_frame("events", keep=["note"])
    with pytest.raises(ValueError, match="events: column 'note' is missing in events/3.parquet"):
        stamp.Sessions.from_frame("events", item_id="note")
    assert lists(stamp.Sessions.from_frame("events", keep=())) == [["x", "y"] * 3, ["x"] * 3]
    write(folder / "4.parquet", {"item_id": [1]})
    with pytest.raises(ValueError, match="events: column 'session_id' is missing in events/4.parquet"):
        stamp.Sessions.from_frame("events", keep=())
    with pytest.raises(
        ValueError, match="column 'item_id' is string in events/1.parquet and int64 in events/4.parquet"
    ):
        stamp.Products.from_frame("events", keep=())
    (folder / "5.parquet").write_bytes(b"hello")
    with pytest.raises(ValueError, match="^from_frame: events/5.parquet: Parquet"):
        stamp.Sessions.from_frame("events")


def test_a_column_of_the_files_that_folders_name_too(tmp_path):
    write(tmp_path / "shop=elsewhere" / "a.parquet", EVENTS)
    assert kept(stamp.Sessions.from_frame(tmp_path)) == {"shop": ["p", "q", "p"]}


def test_folders_as_others_write_them(tmp_path):
    pl.DataFrame(EVENTS).with_columns(pl.col("shop").cast(pl.Categorical)).write_parquet(tmp_path / "a.parquet")
    pd.DataFrame(EVENTS).astype({"shop": "category"}).to_parquet(tmp_path / "b.parquet")
    sessions = stamp.Sessions.from_frame(tmp_path)
    assert lists(sessions) == [["x", "y", "x", "y"], ["x", "x"]] and kept(sessions)["shop"] == [
        "p",
        "q",
        "p",
        "q",
        "p",
        "p",
    ]


def test_memory_of_a_folder(tmp_path):
    """In a process of its own: peak memory above what was kept is that of one column, not of all."""
    n, columns = 500_000, 12
    for file in range(2):
        wide = {f"kept_{i}": np.arange(n) + i for i in range(columns)}
        write(tmp_path / f"{file}.parquet", {"session_id": np.arange(n), "item_id": np.arange(n) % 1000, **wide})
    code = f"""
import resource, stamp
from stamp.data.tables.reading import open_columns
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
open_columns("call", {str(tmp_path)!r}).read(["item_id"])
before = peak()
reader = open_columns("call", {str(tmp_path)!r})
table = reader.read(reader.names)
print((peak() - before) / sum(column.nbytes for column in table.values()))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(out) < 1.5, out


@pytest.mark.parametrize("name", ["manifest.json", "catalog.safetensors", "rules.json", "clusters/0.safetensors"])
def test_unreadable_files_of_models_are_named(fitted, tmp_path, monkeypatch, name):
    """They are read through an open folder, whose name is of no use to anybody."""
    monkeypatch.chdir(tmp_path)
    fitted.save("model")
    file = pathlib.Path("model", name)
    file.unlink()
    file.symlink_to(file.name)
    for read in (stamp.load, stamp.Recommender, stamp.verify_bundle, stamp.inspect_bundle):
        with pytest.raises(RuntimeError, match=f"model/{name}") as raised:
            read("model")
        assert "/proc" not in str(raised.value)


def test_unreadable_clusters_and_checkpoints_are_named(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("loop").symlink_to("loop")
    with pytest.raises(RuntimeError, match="cannot read loop: Too many levels"):
        stamp.CatalogClusters.load("loop")
    with pytest.raises(RuntimeError, match="cannot write loop: Too many levels"):
        stamp.StampRecommender(dim=8, epochs=1).fit(shop.sessions, checkpoint="loop", progress=False)


def test_json_that_is_not_utf8_is_named(fitted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("latin.json").write_bytes('{"build": [], "café": 1}'.encode("latin-1"))
    fitted.save("model")
    with pytest.raises(ValueError, match="^build_bundle: rules latin.json: not UTF-8: .* 0xe9 in position 18"):
        stamp.build_bundle({0: "model"}, out="bundle", rules="latin.json")
    with pytest.raises(ValueError, match="^policy latin.json: not UTF-8"):
        stamp.offline.Policy.read("latin.json")
    pathlib.Path("models").mkdir()
    pathlib.Path("models/report.json").write_text("{")
    with pytest.raises(RuntimeError, match="models/report.json is no report of train_clusters: "):
        stamp.load_clusters("models")


def test_columns_of_text_files_keep_what_a_number_would_lose(tmp_path):
    """0101 and 101 are two categories; 1.50 is a price all the same, and 5 a number after a space."""
    (tmp_path / "products.csv").write_text(
        "item_id,category,ean,price,stock,since\n"
        "1,0101,123456789012345678901,1.50, 5,2020-01-01\n2,101,5,NA, 6,2020-01-02\n3,,,2,,\n"
    )
    products = stamp.Products.from_frame(tmp_path / "products.csv", numbers="stock")
    assert products.attributes == {
        "category": "text", "ean": "text", "price": "number", "stock": "number", "since": "text"
    }  # fmt: skip
    texts = {name: products.codes(name, products._catalog)[1] for name in ("category", "ean")}
    assert texts == {"category": ["0101", "101"], "ean": ["123456789012345678901", "5"]}
    np.testing.assert_array_equal(products.numbers("price", products._catalog), np.float32([1.5, np.nan, 2]))

    (tmp_path / "events.csv").write_text("session_id,item_id,zip,page,share\n1,1,007,1,0.5\n1,2,7,2,-0\n1,3,,3,1\n")
    events = stamp.Sessions.from_frame(tmp_path / "events.csv")
    assert kept(events) == {"zip": ["007", "7", None], "page": [1, 2, 3], "share": [0.5, 0, 1]}

    (tmp_path / "arm.csv").write_text("visitor,converted,shop\na,1,007\nb,0,007\nc,1,7\nd,0,7\n")
    found = ab.by_segment(control=tmp_path / "arm.csv", treatment=tmp_path / "arm.csv", segment="shop",
                          metrics=[functools.partial(ab.means, value="converted")])  # fmt: skip
    assert {row.segment for row in found.rows} == {None, "007", "7"}


def test_instants_of_a_folder_are_of_any_zone(tmp_path):
    moments = np.array(["2020-09-13T12:26:40", "2020-09-13T12:26:41", "2020-09-13T12:26:42"], "M8[us]")
    for day, zone in enumerate(("UTC", "Europe/Berlin", "+02:00")):
        write(tmp_path / f"{day}.parquet", EVENTS, timestamp=pa.array(moments, pa.timestamp("us", zone)))
    times = stamp.Sessions.from_frame(tmp_path).timestamps
    assert sorted({*times.tolist()}) == moments.tolist() and len(times) == 9


def test_a_cast_that_fails_names_file_and_column(tmp_path):
    write(tmp_path / "0.parquet", EVENTS, value=pa.array([1.5, 2, 3]))
    write(tmp_path / "1.parquet", EVENTS, value=pa.array([1, 2**60 + 1, 3]))
    with pytest.raises(ValueError, match=r"1\.parquet: column 'value': Integer value .* not in range"):
        stamp.Sessions.from_frame(tmp_path)


def test_only_text_files_have_a_separator(tmp_path):
    write(tmp_path / "events.parquet", EVENTS)
    for data in (EVENTS, pd.DataFrame(EVENTS), tmp_path / "events.parquet"):
        with pytest.raises(
            ValueError, match="from_frame: separator is of a text file, not of (dict|DataFrame|/.*parquet)"
        ):
            stamp.Sessions.from_frame(data, separator=",")


def test_columns_whose_first_block_is_empty(tmp_path):
    rows = "".join(f"{row},1,\n" for row in range(300_000)) + "0,1,007\n0,2,7\n"  # Arrow looks at 1 MiB first
    (tmp_path / "events.csv").write_text("session_id,item_id,zip\n" + rows)
    events = stamp.Sessions.from_frame(tmp_path / "events.csv")
    assert {*events.columns["zip"].to_pylist()} - {None, ""} == {"007", "7"}
