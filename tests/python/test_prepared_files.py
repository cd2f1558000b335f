"""The writing side of prepared data: part files, what lists them, and a new state in the place of an old one."""

import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import re
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stamp.base.folders import Folder
from stamp.data.prepared.manifest import FILE, ClusterCounts, Manifest, fingerprint, publish, read_manifest
from stamp.data.prepared.parts import ROW_GROUP, PartFile, PartWriter
from stamp.data.prepared.prepared import Prepared, open_prepared


def events(rows, seed=0):
    rng = np.random.default_rng(seed)
    days = np.sort(rng.integers(19_000, 19_003, rows))
    return pa.table(
        {
            "day": pa.array(days),
            "visitor_id": pa.array([f"visitor {n}" for n in rng.integers(0, 99, rows)]),
            "time_us": pa.array(days * 86_400_000_000 + np.arange(rows)),
            "price_millionths": pa.array([None if n % 3 else int(n) for n in rng.integers(0, 10**9, rows)], pa.int64()),
        }
    )


def write(target, table, folder="events", batch=1000, **options):
    writer = PartWriter(target, folder, table.schema, **options)
    for rows in table.to_batches(max_chunksize=batch):
        writer.write(rows)
    return writer.close()


def manifest(*files, **more):
    return Manifest(**{"window": {}, "options": {}, "mapping": {}, "item_ids": "integer", "counts": {},
                       "quarantined": {}, "files": tuple(files), **more})  # fmt: skip


# Part files


def test_files_are_cut_by_day_and_size_and_hold_all_rows(tmp_path):
    table = events(10_000)
    files = write(Folder(tmp_path), table, cut_by="day", max_rows=1500)
    assert {file.path for file in files} == {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.parquet")}
    read = []
    for file in files:
        path = tmp_path / file.path
        day, number, digest = re.fullmatch(r"events/day=(.*)/part-(\d{5})-(\w{12})\.parquet", file.path).groups()
        content = path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256 and file.sha256.startswith(digest)
        assert len(content) == file.bytes
        part = pq.ParquetFile(path).read()
        assert part.column_names == ["visitor_id", "time_us", "price_millionths"]
        assert part.num_rows == file.rows <= 1500
        day = (datetime.date.fromisoformat(day) - datetime.date(1970, 1, 1)).days
        read.append(part.to_pandas().assign(day=day, number=int(number)))
    together = pd.concat(read)
    for _, of_day in together.groupby("day"):
        assert of_day["number"].unique().tolist() == list(range(-(-len(of_day) // 1500)))
    pd.testing.assert_frame_equal(
        together[table.column_names].reset_index(drop=True), table.to_pandas(), check_dtype=False
    )
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".parquet"]


def test_the_same_rows_give_the_same_files_whatever_batches_they_come_in(tmp_path):
    table = events(6 * ROW_GROUP)
    results = [
        write(Folder(tmp_path / str(batch)), table, batch=batch, cut_by="day", max_rows=ROW_GROUP + 7)
        for batch in (999, ROW_GROUP, 10**6)
    ]
    assert results[0] == results[1] == results[2] and len(results[0]) > 3
    other = table.set_column(2, "time_us", pa.array(table["time_us"].to_numpy() + (np.arange(len(table)) == 5)))
    assert write(Folder(tmp_path / "other"), other, cut_by="day", max_rows=ROW_GROUP + 7)[0] != results[0][0]


@pytest.mark.parametrize("url", ["file://{}/prepared", "local://{}/prepared", "memory://{}/prepared"])
def test_urls_hold_the_same_files_as_folders(tmp_path, url):
    table = events(2000)
    target, folder = Folder(url.format(tmp_path)), Folder(tmp_path / "folder/")
    files = write(target, table, cut_by="day")
    assert files == write(folder, table, cut_by="day")
    assert target.list() == folder.list() == {file.path: file.bytes for file in files}
    assert target.list("events/day=2022-01-08") == {files[0].path: files[0].bytes}
    assert target.list("products") == {}
    for file in files:
        with target.open(file.path) as content:
            assert hashlib.sha256(content.read()).hexdigest() == file.sha256
    target.publish("a/b.json", "1")
    target.publish("a/b.json", "2é")
    assert target.read_text("a/b.json") == "2é" and target.size("a/b.json") == 3
    target.remove("a/b.json")
    target.remove("a/b.json")
    assert target.size("a/b.json") is None
    with pytest.raises(ValueError, match=r"prepared/a/b\.json: there is no such file"):
        target.read_text("a/b.json")


def test_texts_that_folders_cannot_be_called_are_quoted(tmp_path):
    table = pa.table({"reason": ["a/b", "a/b", "ü=1"], "rows": [1, 2, 3]})
    files = write(Folder(tmp_path), table, "quarantine", cut_by="reason")
    assert [file.path.split("/")[1] for file in files] == ["reason=a%2Fb", "reason=%C3%BC%3D1"]
    read = pq.read_table(tmp_path / "quarantine", partitioning="hive").to_pandas()
    assert read.sort_values("rows")["reason"].tolist() == ["a/b", "a/b", "ü=1"]


def test_rows_that_do_not_come_as_they_should_are_refused_and_leave_nothing(tmp_path):
    target, table = Folder(tmp_path), events(9)
    schema = pa.schema([("reason", pa.string()), ("rows", pa.int64())])

    def batch(reasons):
        return pa.record_batch(
            [pa.array(reasons, pa.string()), pa.array(range(len(reasons)), pa.int64())], schema=schema
        )

    for rows, message in (
        (table.to_batches()[0], "rows have the columns day int64, .* expected reason string, rows int64"),
        (batch(["bot", None]), "a row has no reason"),
        (batch(["bot", "duplicate", "bot"]), "reason 'bot' comes again after 'duplicate'; sort the rows by reason"),
    ):
        writer = PartWriter(target, "quarantine", schema, cut_by="reason")
        writer.write(batch(["a bot"]))
        with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path))}/quarantine: {message}"):
            writer.write(rows)
        assert target.list() == {} and not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_error_takes_back_what_was_written_but_not_what_was_there(tmp_path):
    target, table = Folder(tmp_path), events(3000)
    there = write(target, table.slice(0, 1000))
    with pytest.raises(KeyError), PartWriter(target, "events", table.schema, max_rows=1000) as writer:
        writer.write(table.to_batches()[0])  # whose first file is there
        assert len(target.list()) == 3
        raise KeyError
    assert target.list() == {there[0].path: there[0].bytes}
    assert not [path for path in tmp_path.rglob(".*")]


def test_batches_that_are_made_while_others_are_written_give_the_same_files(tmp_path):
    table = events(10_000)
    writer = PartWriter(Folder(tmp_path / "beside"), "events", table.schema, cut_by="day", max_rows=1500)
    writer.write_all(iter(table.to_batches(max_chunksize=700)))
    assert writer.close() == write(Folder(tmp_path / "one by one"), table, cut_by="day", max_rows=1500)


@pytest.mark.parametrize("fails", ["making", "writing", "writing the last"])
def test_an_error_beside_leaves_nothing(tmp_path, fails):
    table = events(10_000)
    batches = table.to_batches(max_chunksize=700)
    wrong = pa.record_batch({"other": [1]})

    def made():
        yield from batches[:8]
        if fails == "making":
            raise KeyError("made")
        yield wrong
        yield from batches[8:] if fails == "writing" else ()

    writer = PartWriter(Folder(tmp_path), "events", table.schema, cut_by="day", max_rows=1500)
    with pytest.raises(KeyError if fails == "making" else ValueError, match="made|rows have the columns"):
        writer.write_all(made())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_no_rows_are_no_files(tmp_path):
    with PartWriter(Folder(tmp_path), "events", events(0).schema, cut_by="day") as writer:
        pass
    assert writer.close() == [] and Folder(tmp_path).list() == {}


# The manifest


def test_a_manifest_comes_back_as_it_was(tmp_path):
    file = PartFile("sessions/cluster=-1/part-00000-abc.parquet", 3, 4, "abc")
    counts = ClusterCounts(products=1, events=3, examples=2, inside=1, next={-1: 1, 7: 1})
    written = manifest(
        file, window={"first_day": "2026-01-01"}, options={"gap": "30min", "wéights": [1, None]}, counts={"rows": 5},
        mapping={"visitor_id": "user"}, quarantined={"bot": 2}, clusters={7: counts}, labels="123", item_ids="text",
        replaced=("a",),
    )  # fmt: skip
    Folder(tmp_path).publish(FILE, written.to_json())
    assert read_manifest(Folder(tmp_path)) == written
    plain = json.loads((tmp_path / FILE).read_text())
    assert plain["format"] == 1 and plain["stamp"] == written.stamp
    assert plain["fingerprint"] == hashlib.sha256(f"{file.path}\0abc\n".encode()).hexdigest()
    assert read_manifest(Folder(tmp_path / "nothing")) is None


def test_the_fingerprint_is_of_paths_and_contents_in_any_order():
    files = [PartFile(f"events/part-{n}", 1, 1, f"{n:064}") for n in range(3)]
    assert fingerprint(tuple(files)) == fingerprint(tuple(files[::-1])) == manifest(*files).fingerprint
    for changed in (dataclasses.replace(files[0], sha256="1"), dataclasses.replace(files[0], path="b")):
        assert fingerprint((changed, *files[1:])) != fingerprint(tuple(files))
    assert fingerprint(tuple(files[1:])) != fingerprint(tuple(files))


@pytest.mark.parametrize(("text", "message"), [
    ("{", "is not JSON"),
    ("[1]", "does not say its format"),
    ('{"name": "a wedding cake"}', "does not say its format"),
    ('{"format": 2, "stamp": "9.1"}', r"is of format 2, this is stamp .* reads format 1; prepare .* wrote them, 9\.1"),
    ('{"format": 1}', "is of format 1, but damaged: KeyError"),
    ('{"format": 1, "window": 3}', "is of format 1, but damaged"),
])  # fmt: skip
def test_other_manifests_are_refused_and_stay(tmp_path, text, message):
    (tmp_path / FILE).write_text(text)
    for call in (open_prepared, lambda path: publish(Folder(path), manifest())):
        with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / FILE))} {message}"):
            call(tmp_path)
    assert (tmp_path / FILE).read_text() == text


def test_a_new_state_removes_the_files_of_the_old_one_and_nothing_else(tmp_path):
    target, table = Folder(tmp_path), events(3000)
    first = write(target, table, max_rows=1000)
    publish(target, manifest(*first))
    (tmp_path / "events/part-00009-ffffffffffff.parquet").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    second = write(target, pa.concat_tables([table.slice(0, 1000), table.slice(7)]), max_rows=1000)
    assert second[0] == first[0]
    publish(target, manifest(*second))
    assert {*target.list()} == {
        FILE, "notes.txt", "events/part-00009-ffffffffffff.parquet", *(file.path for file in second),
    }  # fmt: skip
    open_prepared(tmp_path).verify()


def test_files_that_a_kill_left_go_with_the_next_state(tmp_path, monkeypatch):
    target, table = Folder(tmp_path), events(3000)
    first = write(target, table, max_rows=1000)
    publish(target, manifest(*first))
    second = write(target, table.slice(1))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Folder, "remove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        publish(target, manifest(*second))
    assert open_prepared(tmp_path).files == tuple(second)
    assert {file.path for file in first} < {*target.list()}
    third = write(target, table.slice(2))
    publish(target, manifest(*third, first[1]))
    assert {*target.list()} == {FILE, third[0].path, first[1].path}


@pytest.mark.parametrize("written", [False, True])
def test_what_cannot_be_published_leaves_the_old_state_and_no_new_files(tmp_path, monkeypatch, written):
    """Or the new one, where it was there when the error came."""
    target, table = Folder(tmp_path), events(3000)
    old = publish(target, manifest(*write(target, table, max_rows=1000)))
    new = manifest(*write(target, table.slice(0, 2500), max_rows=1000))
    assert len({*new.files} & {*old.files}) == 2
    write_text = Folder.publish

    def fail(self, path, text):
        if written:
            write_text(self, path, text)
        raise RuntimeError("no space left")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="no space left"):
        patched.setattr(Folder, "publish", fail)
        publish(target, new)
    assert open_prepared(tmp_path).files == (new if written else old).files
    open_prepared(tmp_path).verify()
    if not written:
        assert {*target.list()} == {FILE, *(file.path for file in old.files)}


# Opening


def test_opening_tells_what_is_wrong_with_the_files(tmp_path):
    target = Folder(tmp_path)
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))} holds no prepared.json: .* not finished"):
        open_prepared(tmp_path)
    files = write(target, events(2000))
    publish(target, manifest(*files, window={"first_day": "2022-01-08", "last_day": "2022-01-10"}))
    prepared = open_prepared(f"{tmp_path}/")
    prepared.verify()
    assert isinstance(prepared, Prepared) and open_prepared(prepared) is prepared
    assert repr(prepared).startswith(f"Prepared('{tmp_path}', 2022-01-08 to 2022-01-10, 0 events, 1 files, ")
    assert prepared.fingerprint == fingerprint(tuple(files))
    path = pathlib.Path(tmp_path / files[0].path)
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    with pytest.raises(
        ValueError, match=rf"{re.escape(str(path))} was altered: its SHA-256 is .* prepare the data anew"
    ):
        open_prepared(tmp_path).verify()
    path.write_bytes(content[:-1])
    size = rf"{re.escape(str(path))} has {len(content) - 1:,} bytes, prepared.json says {len(content):,} bytes"
    with pytest.raises(ValueError, match=size):
        open_prepared(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} is missing"):
        prepared.verify()


def test_urls_that_cannot_be_read_are_named():
    with pytest.raises(ValueError, match="^nonsense://bucket/prepared: "):
        Folder("nonsense://bucket/prepared")
    with pytest.raises(ImportError, match="^dbfs2?://x|^oss://bucket/prepared: .*ossfs"):
        Folder("oss://bucket/prepared")


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    target = Folder(tmp_path)
    files = write(target, events(10))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "somewhere")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(RuntimeError, match=rf"^cannot read {re.escape(str(tmp_path))}/{files[0].path}: no permission"):
        target.open(files[0].path)
    monkeypatch.undo()
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(
        RuntimeError, match=rf"^cannot write {re.escape(str(tmp_path))}/products/part-00000-.*no permission"
    ):
        write(target, events(10), "products")
    assert {*target.list()} == {files[0].path} and not [*tmp_path.rglob(".*")]
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    for scheme, extra in (("gs", "gcs"), ("s3", "s3"), ("memory", "prepare")):
        with pytest.raises(
            ImportError, match=rf"{scheme}://bucket/prepared needs fsspec: pip install 'stamp-recommender\[{extra}\]'"
        ):
            open_prepared(f"{scheme}://bucket/prepared")
    Folder(f"file://{tmp_path}").publish("a", "b")


def test_files_may_be_read_by_whoever_may_read_new_files(tmp_path):
    target, before = Folder(tmp_path), os.umask(0o027)
    try:
        files = write(target, events(10))
        target.publish(FILE, "{}")
    finally:
        os.umask(before)
    for path in (files[0].path, FILE):
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name != "posix", reason="folders that nobody writes to")
def test_places_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    target = Folder(tmp_path / "file/prepared")
    for call in (
        lambda: target.publish("a.json", ""),
        lambda: PartWriter(target, "events", events(1).schema).write(events(1).to_batches()[0]),
    ):
        with pytest.raises(RuntimeError, match=f"^cannot write {re.escape(str(tmp_path))}/file/prepared/"):
            call()
