"""Raw clicks to sessions: stamp.data.prepare beside the same steps in pandas, in polars and on Spark.

    python benchmarks/prepare.py [--events 1e6 5e6 20e6 100e6] [--peers pandas polars spark] [--peer-events 5e6 20e6] [--memory 8]

Made-up clicks of 28 days and 500,000 products (a fiftieth of the events, where these are few), in Parquet, one row an event, in the columns of REES46. All read them, leave
out events that are there twice, begin a session after 30 minutes of silence, leave out products of fewer than 5 events and
sessions of fewer than 2 until nothing changes, give each event its place and the one after it, and write Parquet sorted by
the end of the session. Each run is a process of its own; the numbers of events that are left must be equal. pandas and polars
take what memory they want.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time

from common import record, resident_mib, worker

CHUNK = 5_000_000  # events of a file
MOST_PRODUCTS, DAYS = 500_000, 28
START = 1_790_000_000_000_000 // 86_400_000_000 * 86_400_000_000
MIN_SUPPORT, MIN_LENGTH, GAP = 5, 2, 30 * 60 * 1_000_000


def make(events: int, folder: pathlib.Path) -> None:
    """Files in the order of time. A session walks from a product to those near it; popularity has a long tail."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(5)
    products = min(MOST_PRODUCTS, events // 50)
    price = np.round(np.exp(random.normal(3.2, 0.8, products)), 2)
    files = -(-events // CHUNK)
    for number in range(files):
        n = min(CHUNK, events - number * CHUNK)
        sessions = n // 3
        length = 1 + random.geometric(1 / 3.5, sessions)
        of = np.repeat(np.arange(sessions), length)[:n]
        first = (np.cumsum(length) - length)[of]
        begin = START + ((number + random.random(sessions)) * DAYS / files * 86_400e6).astype(np.int64)
        walked = np.cumsum(random.exponential(60e6, n).astype(np.int64))
        moment = begin[of] + walked - walked[first]
        base = (products * random.random(sessions) ** 3).astype(np.int64)
        item = np.minimum(products - 1, base[of] + random.exponential(20, n).astype(np.int64))
        visitor = 500_000_000 + random.integers(0, max(1, events // 12), sessions)[of]
        order = np.argsort(moment, kind="stable")
        item, of = item[order], of[order]
        kinds = pa.array(["view", "cart", "purchase"])
        kind = pa.DictionaryArray.from_arrays(np.digitize(random.random(n), [0.9, 0.97]).astype(np.int32), kinds)
        table = pa.table({
            "event_time": pa.array(moment[order], pa.timestamp("us", "UTC")),
            "event_type": kind.cast(pa.string()),
            "product_id": item,
            "category_id": 2_053_013_552_226_107_603 + item % 1000,
            "category_code": pa.array([f"department.{c:02}.kind.{c:03}" for c in range(1000)]).take(pa.array(item % 1000)),
            "brand": pa.array([f"brand-{b:05}" for b in range(5000)]).take(pa.array(item % 5000)),
            "price": price[item],
            "user_id": visitor[order],
            "user_session": pa.array([f"{number:04}-{s:032x}" for s in range(sessions)]).take(pa.array(of)),
        })  # fmt: skip
        pq.write_table(table, folder / f"{number:04}.parquet", row_group_size=500_000)


def by_stamp(source: pathlib.Path, out: pathlib.Path, memory: float) -> int:
    import stamp.data

    with stamp.data.DuckDBEngine(memory=round(memory * 2**30), spill=out.parent) as engine:
        return _prepared(source, out, engine)


def by_spark(source: pathlib.Path, out: pathlib.Path, memory: float) -> int:
    from pyspark.sql import SparkSession

    import stamp.data

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # of what packs batches
    heap = f"{memory:g}g" if memory == int(memory) else f"{round(memory * 1024)}m"
    session = SparkSession.builder.master("local[*]").config("spark.driver.memory", heap).getOrCreate()
    with stamp.data.SparkEngine(session) as engine:
        return _prepared(source, out, engine)


def _prepared(source: pathlib.Path, out: pathlib.Path, engine) -> int:
    import stamp.data

    prepared = stamp.data.prepare(
        str(source), out=out, mapping="rees46", sessions="by pause", min_support=MIN_SUPPORT, min_length=MIN_LENGTH,
        engine=engine, progress=False,
    )  # fmt: skip
    return prepared.counts["train_events"]


def by_pandas(source: pathlib.Path, out: pathlib.Path, _memory: float) -> int:
    import pandas as pd

    names = ["user_id", "event_time", "product_id", "event_type", "price", "category_code", "brand"]
    events = pd.read_parquet(source, columns=names)
    events = events.sort_values(["user_id", "event_time", "product_id", "event_type"], kind="stable")
    events = events.drop_duplicates(["user_id", "event_time", "product_id", "event_type"])
    pause = events.groupby("user_id").event_time.diff()
    events["session"] = (pause.isna() | (pause > pd.Timedelta(microseconds=GAP))).cumsum()
    while True:
        n = len(events)
        events = events[events.groupby("product_id").product_id.transform("size") >= MIN_SUPPORT]
        events = events[events.groupby("session").session.transform("size") >= MIN_LENGTH]
        if len(events) == n:
            break
    sessions = events.groupby("session")
    events = events.assign(
        position=sessions.cumcount(), next_item=sessions.product_id.shift(-1), next_time=sessions.event_time.shift(-1),
        session_end=sessions.event_time.transform("max"),
    )  # fmt: skip
    events.sort_values(["session_end", "session", "position"]).to_parquet(out)
    return len(events)


def by_polars(source: pathlib.Path, out: pathlib.Path, _memory: float) -> int:
    import polars as pl

    names = ["user_id", "event_time", "product_id", "event_type", "price", "category_code", "brand"]
    key = ["user_id", "event_time", "product_id", "event_type"]
    events = pl.scan_parquet(source).select(names).unique(key, keep="any").sort(key).collect(engine="streaming")
    pause = pl.col("event_time").diff().over("user_id")
    begins = pause.is_null() | (pause > pl.duration(microseconds=GAP))
    events = events.with_columns(session=begins.cum_sum())
    while True:
        n = len(events)
        events = events.filter(pl.len().over("product_id") >= MIN_SUPPORT)
        events = events.filter(pl.len().over("session") >= MIN_LENGTH)
        if len(events) == n:
            break
    events = events.with_columns(
        position=pl.int_range(pl.len()).over("session"), next_item=pl.col("product_id").shift(-1).over("session"),
        next_time=pl.col("event_time").shift(-1).over("session"), session_end=pl.col("event_time").max().over("session"),
    )  # fmt: skip
    events.sort("session_end", "session", "position").write_parquet(out)
    return len(events)


BY = {"stamp": by_stamp, "spark": by_spark, "pandas": by_pandas, "polars": by_polars}


class Spilled(threading.Thread):
    """The most bytes that lay beside the result while it was made."""

    def __init__(self, folder: pathlib.Path):
        super().__init__(daemon=True)
        self.folder, self.most = folder, 0

    def run(self) -> None:
        while True:
            size = 0
            for path in self.folder.glob("stamp-*/**/*"):
                try:
                    size += path.stat().st_size
                except FileNotFoundError:
                    continue
            self.most = max(self.most, size)
            time.sleep(1)


def measure(by: str, source: pathlib.Path, memory: float) -> dict:
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        spilled = Spilled(pathlib.Path(folder))
        spilled.start()
        wall, cpu = time.perf_counter(), time.process_time()
        left = BY[by](source, pathlib.Path(folder) / "out", memory)
        return {
            "seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu, "left": left,
            "peak_mib": resident_mib("VmHWM"), "spilled_mib": spilled.most / 2**20,
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=float, nargs="+", default=[1e6, 5e6, 20e6, 100e6])
    parser.add_argument("--peers", nargs="*", default=["pandas", "polars", "spark"], choices=[*BY])
    parser.add_argument("--peer-events", type=float, nargs="+", default=[5e6, 20e6])
    parser.add_argument("--folder", help="for the clicks and what is made of them; the system's by default")
    parser.add_argument("--memory", type=float, default=8, help="GiB that DuckDB, or Spark's heap, may hold")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(measure(args.worker[0], pathlib.Path(args.worker[1]), args.memory)))
        return
    for events in map(int, args.events):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            source = pathlib.Path(folder) / "clicks"
            source.mkdir()
            make(events, source)
            size = sum(file.stat().st_size for file in source.iterdir()) / 2**20
            left = None
            for by in ("stamp", *(args.peers if events in args.peer_events else ())):
                if by == "spark" and events > 5e6:
                    continue
                try:
                    found = worker(__file__, "--worker", by, source, "--memory", args.memory)
                except RuntimeError as error:  # out of memory, mostly
                    print(f"{by}, {events:,} events: {error}")
                    found = {"failed": True}
                left = left or found.get("left")
                if found.get("left", left) != left:
                    raise AssertionError(f"{by} left {found['left']:,} events, stamp {left:,}")
                record("prepare", {"by": by, "events": events, "memory_gib": args.memory, "source_mib": size, **found},
                       threads=2)  # fmt: skip
            shutil.rmtree(source)


if __name__ == "__main__":
    main()
