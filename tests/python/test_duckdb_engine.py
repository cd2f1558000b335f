"""DuckDB within its bounds: memory, the folder that it spills to, and what is left there."""

import datetime
import gzip
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import stamp.data

_BEGUN = """
import sys, time, stamp.data
engine = stamp.data.DuckDBEngine(spill=sys.argv[1])
print(engine.spill, flush=True)
time.sleep(60)
"""


def begun(folder):
    process = subprocess.Popen([sys.executable, "-c", _BEGUN, str(folder)], stdout=subprocess.PIPE, text=True)
    return process, pathlib.Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "stamp-prepare-of-somebody").mkdir()
    living, its_folder = begun(tmp_path)
    killed, left = begun(tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left.is_dir()
    with stamp.data.DuckDBEngine(spill=tmp_path) as engine:
        mine = pathlib.Path(engine.spill)
        assert mine.is_dir() and not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "stamp-prepare-of-somebody", its_folder])
    living.kill()
    living.wait()


def one_visitor(events):
    random = np.random.default_rng(1)
    pauses = np.where(random.random(events) < 0.002, 2_400_000_000, random.integers(1, 4_000_000, events))
    times = 1_790_000_000_000_000 + np.cumsum(pauses)
    return pa.table({
        "visitor_id": pa.array(["v"] * events), "item_id": random.integers(0, 500, events), "timestamp": times,
    })  # fmt: skip


OPTIONS = {"bot_events_a_day": 10**9, "bot_events_an_hour": 10**9, "progress": False}
NOW = datetime.datetime(2200, 1, 1)


def test_a_visitor_with_a_million_events_fits_in_half_a_gigabyte(tmp_path):
    pq.write_table(one_visitor(1_000_000), tmp_path / "clicks.parquet")
    source = str(tmp_path / "clicks.parquet")
    quarantined = stamp.data.prepare(
        pa.concat_tables([one_visitor(1200).set_column(2, "timestamp", pa.array(1_790_000_000_000_000 + np.arange(1200))),
                          pa.table({"visitor_id": ["w", "w"], "item_id": [1, 2], "timestamp": [1_790_000_000_000_000] * 2})]),
        out=tmp_path / "machine", min_support=1, now=NOW, progress=False,
    ).quarantined  # fmt: skip
    assert quarantined == {"bot": 1200}
    with stamp.data.DuckDBEngine(memory=512 << 20, threads=2, spill=tmp_path) as engine:
        prepared = stamp.data.prepare(source, out=tmp_path / "p", now=NOW, engine=engine, **OPTIONS)
    assert prepared.counts["kept"] == 1_000_000
    assert prepared.counts["train_sessions"] > 1500


_FULL = """
import resource, signal, sys, stamp.data, test_duckdb_engine as t
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
engine = stamp.data.DuckDBEngine(memory=64 << 20, threads=1, spill=sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
try:
    stamp.data.prepare(sys.argv[1], out=sys.argv[3], now=t.NOW, engine=engine, **t.OPTIONS)
except RuntimeError as error:
    print(error)
"""


def test_a_disk_that_is_full_while_spilling_is_named_and_nothing_is_lost(tmp_path):
    pq.write_table(one_visitor(1_000_000), tmp_path / "clicks.parquet")
    few = stamp.data.prepare(one_visitor(3000), out=tmp_path / "p", now=NOW, min_support=1, **OPTIONS)
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", _FULL, tmp_path / "clicks.parquet", tmp_path, tmp_path / "p"]
    said = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "spill" in said.stdout and str(tmp_path) in said.stdout, said
    there = stamp.data.open_prepared(tmp_path / "p")
    there.verify()
    assert there.fingerprint == few.fingerprint


def test_files_that_are_cut_off_or_of_several_types_are_named(tmp_path):
    """Before anything is made of what is left of them."""
    rows = one_visitor(5000)
    pq.write_table(rows, tmp_path / "whole.parquet")
    text = b"visitor_id,item_id,timestamp\n" + b"v,1,2026-01-01T00:00:00Z\n" * 50_000
    with pa.CompressedOutputStream(tmp_path / "whole.zst", "zstd") as file:
        file.write(text)
    cut = {
        "cut.parquet": (tmp_path / "whole.parquet").read_bytes()[:-9],
        "cut.csv.gz": gzip.compress(text, mtime=0)[:-40],
        "cut.csv.zst": (tmp_path / "whole.zst").read_bytes()[:-20],
    }
    for name, content in cut.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}"):
            stamp.data.prepare(str(tmp_path / name), out=tmp_path / "p", **OPTIONS)
        assert not (tmp_path / "p").exists()
    (tmp_path / "days").mkdir()
    pq.write_table(rows, tmp_path / "days" / "1.parquet")
    pq.write_table(rows.set_column(1, "item_id", rows["item_id"].cast(pa.string())), tmp_path / "days" / "2.parquet")
    with pytest.raises(
        ValueError, match=r"days/[12].parquet: column 'item_id' is .*days/[12].parquet it is .*one type"
    ):
        stamp.data.prepare(str(tmp_path / "days"), out=tmp_path / "p", **OPTIONS)


def test_a_line_that_is_cut_off_is_in_quarantine(tmp_path):
    text = "visitor_id,item_id,timestamp\n" + "".join(f"v,{n % 3},2026-01-01T00:00:{n:02}Z\n" for n in range(60))
    (tmp_path / "cut.csv").write_text(text + "v,1,2026-0")
    (tmp_path / "shorter.csv").write_text(text + "v,1")
    for name, reason in (("cut.csv", "malformed_time"), ("shorter.csv", "malformed_row")):
        prepared = stamp.data.prepare(str(tmp_path / name), out=tmp_path / "p", **OPTIONS)
        assert (prepared.counts["kept"], prepared.quarantined) == (60, {reason: 1})


def test_bounds_that_cannot_be_are_said(tmp_path):
    with pytest.raises(ValueError, match="memory is 1000 bytes, expected 64 MiB or more"):
        stamp.data.DuckDBEngine(memory=1000)
    with pytest.raises(ValueError, match="spill is '.*nowhere', which is no folder"):
        stamp.data.DuckDBEngine(spill=tmp_path / "nowhere")
