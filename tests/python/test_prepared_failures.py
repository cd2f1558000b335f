"""Prepared data when things go wrong: kills, full disks; and how much memory reading takes."""

import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

import stamp
import stamp.data
from small_prepared import prepare, session_schema, visits
from stamp.base.folders import Folder
from stamp.data.prepared.manifest import FILE, publish
from stamp.data.prepared.parts import PartWriter
from stamp.data.prepared.prepared import open_prepared
from test_prepared_files import events, manifest, write

WRITING = """
import sys
from test_prepared_files import events, manifest, write
from stamp.data.prepared.manifest import publish
from stamp.base.folders import Folder

target, tables = Folder(sys.argv[1]), [events(20_000, seed) for seed in range(3)]
print("ready", flush=True)
for state in range(10**6):
    files = write(target, tables[state % 3], batch=500, cut_by="day", max_rows=2000)
    publish(target, manifest(*files, counts={"state": state % 3}))
"""

PARTITION = """
import sys
import stamp.data
from test_prepared_partition import COLUMNS

engine = stamp.data.DuckDBEngine(memory=256 << 20)
stamp.data.partition(sys.argv[1], COLUMNS, engine=engine)
print("ready", flush=True)
for state in range(10**6):
    stamp.data.partition(sys.argv[1], COLUMNS.assign(cluster=COLUMNS["cluster"] % (2 + state % 4)), engine=engine)
"""


def kill_while(script, folder, seconds):
    """Start a script that works on a folder for ever, and kill it so long after it has begun."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, folder],
        stdout=subprocess.PIPE,
        text=True,
        cwd=pathlib.Path(__file__).parent,
        env={**os.environ, "TMPDIR": str(folder.parent)},  # for what a killed engine leaves
    ) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def test_a_kill_at_any_moment_leaves_a_state_whole(tmp_path):
    chance, found = random.Random(0), set()
    tables = [events(20_000, seed) for seed in range(3)]
    publish(Folder(tmp_path), manifest(*write(Folder(tmp_path), tables[0], cut_by="day", max_rows=2000)))
    for _ in range(6):
        kill_while(WRITING, tmp_path, chance.uniform(0.05, 0.6))
        prepared = open_prepared(tmp_path)
        prepared.verify()
        state = prepared.counts["state"]
        found.add(state)
        expected = write(Folder(f"memory://{tmp_path}"), tables[state], cut_by="day", max_rows=2000)
        assert prepared.files == tuple(expected)
    assert len(found) > 1  # it did get on
    # What the next call publishes is whole, and needs nothing of what was left.
    publish(Folder(tmp_path), manifest(*write(Folder(tmp_path), tables[1])))
    open_prepared(tmp_path).verify()


def test_a_kill_while_sessions_are_laid_out_leaves_them_readable(tmp_path):
    frame, chance = visits(1000), random.Random(1)
    expected = stamp.Sessions.from_frame(prepare(tmp_path / "before", frame))._core.fingerprint()
    prepare(tmp_path / "prepared", frame, max_rows=500)
    for _ in range(4):
        kill_while(PARTITION, tmp_path / "prepared", chance.uniform(0.02, 0.9))
        open_prepared(tmp_path / "prepared").verify()
        assert stamp.Sessions.from_frame(tmp_path / "prepared", keep=())._core.fingerprint() == expected


@pytest.fixture
def small_files():
    """No file of this process may be larger than 60 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("url", ["{}", "memory://{}"])
def test_a_file_that_cannot_be_written_is_named_and_loses_nothing(tmp_path, url, small_files):
    target = Folder(url.format(tmp_path / "prepared"))
    old = publish(target, manifest(*write(target, events(3000), cut_by="day")))
    large = events(200_000, 1)
    for call in (
        lambda: write(target, large, cut_by="day", max_rows=2000, folder="products")[10**9],  # small enough
        lambda: write(target, large, cut_by="day"),
    ):
        with pytest.raises((RuntimeError, IndexError)) as error:
            call()
    message = f"^cannot write {target.url}/events/day=2022-01-08/part-00000: .*File too large"
    assert re.match(message, str(error.value)), error.value
    open_prepared(target.url).verify()
    assert open_prepared(target.url).manifest == old
    there = {path for path in target.list() if not path.startswith("products/")}
    assert there == {FILE, *(file.path for file in old.files)}
    assert not [path for path in tmp_path.rglob(".*")]


@pytest.fixture
def small_disk(tmp_path):
    """Of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("NOT TESTED: a small disk takes root to mount")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_is_named_and_loses_nothing(tmp_path, small_disk):
    target = Folder(small_disk / "prepared")
    old = publish(target, manifest(*write(target, events(20_000), cut_by="day")))
    with pytest.raises(
        RuntimeError, match=rf"^cannot write {small_disk}/prepared/events/.*part-000\d\d.*No space left"
    ):
        write(target, events(500_000, 1), cut_by="day", max_rows=5000)
    assert {*target.list()} == {FILE, *(file.path for file in old.files)}
    # What is laid out elsewhere does not fit there; what is there stays.
    source = prepare(tmp_path / "source", visits(8000))
    labels = {"item_id": visits(8000)["item_id"].unique().tolist()}
    labels["cluster"] = list(range(len(labels["item_id"])))
    with pytest.raises(RuntimeError, match=rf"^cannot write {small_disk}/prepared/.*No space left"):
        stamp.data.partition(source, labels, out=small_disk / "prepared")
    open_prepared(small_disk / "prepared").verify()
    assert {*target.list()} == {FILE, *(file.path for file in old.files)}
    open_prepared(tmp_path / "source").verify()


READING = """
import pathlib, sys
import numpy as np
import pyarrow as pa
import stamp

def peak():  # MiB; what getrusage says may be of the process before
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024

before = peak()
sessions = stamp.Sessions.from_frame(sys.argv[1], keep=())
print(len(sessions), peak() - before, pa.default_memory_pool().max_memory() >> 20)
expected = np.arange(len(sessions) * 8) % 8
assert (sessions.item_ids[sessions._core.items] == expected).all() and (sessions.lengths == 8).all()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="which says what a process has held at most")
def test_reading_holds_little_more_than_the_sessions(tmp_path):
    """The columns that are read take 1.6 GB, the sessions 82 MB, twice while they are handed over."""
    sessions, length, target = 600_000, 8, Folder(tmp_path)
    schema = session_schema("integer").append(pa.field("cluster", pa.int64()))
    with PartWriter(target, "sessions", schema, cut_by="cluster") as writer:
        for cluster in range(length):  # the event at that place of all sessions
            for first in range(0, sessions, 20_000):
                numbers = np.arange(first, first + 20_000)
                ids = pa.array([f"{number:0300}" for number in numbers])
                time, n = pa.array(numbers * 100 + cluster), len(numbers)
                columns = {"session_id": ids, "visitor_id": ids, "timestamp": time, "next_timestamp": time,
                           "session_start": pa.array(numbers * 100), "session_end": pa.array(numbers * 100 + length - 1),
                           "weight_millionths": pa.array(np.full(n, 10**6)), "event_type": pa.array(["view"] * n)}  # fmt: skip
                same = {name: pa.array(np.full(n, cluster)) for name in schema.names if name not in columns}
                arrays = [{**same, **columns}[name] for name in schema.names]
                writer.write(pa.RecordBatch.from_arrays(arrays, schema=schema))
    publish(target, manifest(*writer.close()))
    done = subprocess.run([sys.executable, "-c", READING, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, peak, of_arrow = map(int, done.stdout.split())
    assert count == sessions
    assert peak < 800 and of_arrow < 400, done.stdout
