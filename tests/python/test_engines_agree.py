"""DuckDB, Spark and BigQuery (on ZetaSQL) give the same rows of the same clicks, however those are written."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stamp
from random_clicks import KINDS, random_clicks
from raw_samples import write_sample
from stamp.data.preparation.visits import in_sessions
from stamp.data.sources.faults import Limits, day, reason, row_faults
from stamp.data.sources.opening import open_events

NOW = 1_777_593_600_000_000
LIMITS = Limits(now=NOW, start=0, end=NOW - 10**12)
SLOW = settings(
    max_examples=2, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


CATALOG = pa.table({
    "item_id": ["SKU-0001", "SKU-0002", "SKU-0001", "SKU-0900", None],
    "price": pa.array([19.99, None, 0.1, 5.0, 1.0]),
    "available": [True, False, True, None, True],
    "updated": pa.array([0, 1, 2, 3, 4], pa.timestamp("us", "UTC")),
    "colour": ["red", "", "grün", None, "x"],
})  # fmt: skip


def judged(clicks, engine):
    """The table of events with why rows are faulty, and the good ones in sessions, by the numbers of rows."""
    events = open_events(engine.table(clicks.raw), engine, mapping=clicks.mapping).events
    events = engine.keep(events.mutate(reason=reason(row_faults(events, LIMITS)), day=day(events.time_us)))
    good = in_sessions(events.filter(events.reason.isnull()).drop("reason"), gap=1_800_000_000)
    placed = good.select("event_id", "duplicate", "session_start")
    return tuple(
        {row.pop("event_id"): row for row in engine.rows(table).to_pylist()} for table in (events, placed)
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@SLOW
@given(seed=st.integers(0, 2**32))
def test_random_clicks_are_the_same_events_on_every_engine(kind, duck, spark, big_query, seed):
    clicks = random_clicks(kind, seed)
    events, placed = judged(clicks, duck)
    assert {number: row["time_us"] for number, row in events.items()} == clicks.times
    assert len(placed) > 5
    for engine in (spark, big_query):
        others, others_placed = judged(clicks, engine)
        different = {number: (row, others.get(number)) for number, row in events.items() if row != others.get(number)}
        raw = {number: clicks.raw.slice(int(number), 1).to_pylist() for number in different}
        assert not different, (engine.name, raw, different)
        assert placed == others_placed, engine.name


def test_prepared_data_are_the_same_files_on_every_engine(duck, spark, big_query, big_client, tmp_path):
    sample = write_sample("ga4", tmp_path / "ga4", events=100)
    for table in sample.source.iterdir():
        big_client.tables[f"shop.clicks.{table.name}"] = pq.read_table(table)
    options = {
        "now": datetime.datetime(2026, 5, 1, tzinfo=datetime.timezone.utc), "min_support": 2, "held_out": "1D",
        "weights": {"order": 3}, "value": 20, "half_life": 7, "collapse_repeats": True, "progress": False,
        "bot_events_a_day": 4, "catalog": CATALOG,
    }  # fmt: skip
    made = {}
    for engine, source in ((duck, sample.source), (spark, sample.source), (big_query, "bigquery://clicks.events_*")):
        prepared = stamp.data.prepare(source, out=tmp_path / engine.name, engine=engine, **options)
        names = (
            path.relative_to(tmp_path / engine.name).as_posix() for path in (tmp_path / engine.name).rglob("*.parquet")
        )
        made[engine.name] = sorted(names), prepared.counts  # names hold hashes of what is in the files
    assert made["duckdb"][1]["train_events"] > 20 and prepared.quarantined["bot"] > 3
    assert made["spark"] == made["duckdb"]
    assert made["bigquery"] == made["duckdb"]
