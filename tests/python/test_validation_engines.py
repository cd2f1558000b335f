"""The counters of a day are the same on DuckDB, on Spark and in BigQuery's SQL."""

import ibis
import numpy as np
import pyarrow as pa
import pytest

import stamp.data
from made_clicks import MAPPING
from stamp.data.sources.faults import DAY, Limits
from stamp.data.sources.opening import open_events
from stamp.data.validation.measuring import measure
from test_validation_counters import limits_of, messy


class InZetaSql:
    """What measuring asks of an engine: each expression as BigQuery's SQL, on tables that travel with it."""

    def __init__(self, zetasql, tables):
        self.zetasql, self.tables = zetasql, tables

    def rows(self, expression):
        return self.zetasql.execute(ibis.to_sql(expression, dialect="bigquery"), self.tables)

    def values(self, expression):
        return self.rows(expression).to_pylist()[0]


@pytest.fixture(scope="module")
def few():
    """A table of events of 400 rows on three days, with all that may be wrong; and a catalog."""
    made = messy(4)
    random = np.random.default_rng(0)
    times = made.columns["timestamp"]
    first = min(time for time in times if time is not None) // DAY
    early = np.array([time is None or time < (first + 3) * DAY or time > (first + 300) * DAY for time in times])
    made.keep(early)
    made.keep(random.random(len(made.columns["timestamp"])) < 400 / len(made.columns["timestamp"]))
    again = np.arange(20)
    made.add(**{name: values[again] for name, values in made.columns.items()})
    return made


@pytest.fixture(scope="module")
def expected(few):
    with stamp.data.DuckDBEngine() as engine:
        opened = open_events(few.table(), engine, mapping=MAPPING)
        events = engine.rows(opened.events)
        limits = Limits(now=limits_of(few).now, bot_events_a_day=12, bot_events_an_hour=6)
        profile = measure(opened.events, engine, limits, catalog=engine.table(few.catalog_table()))
    assert len(profile.days) == 3 and sum(day.repeats for day in profile.days.values()) >= 10
    assert sum(day.visits["bots"] for day in profile.days.values()) and sum(profile.undated.values())
    return events, limits, profile


def test_spark(few, expected, spark_session):
    events, limits, profile = expected
    with stamp.data.SparkEngine(spark_session) as spark:
        assert measure(spark.table(events), spark, limits, catalog=spark.table(few.catalog_table())) == profile


def test_bigquery(few, expected, zetasql):
    events, limits, profile = expected
    catalog = few.catalog_table()
    tables = {"events": pa.table(events), "items": catalog}
    unbound = {name: ibis.table(ibis.Schema.from_pyarrow(table.schema), name=name) for name, table in tables.items()}
    found = measure(unbound["events"], InZetaSql(zetasql, tables), limits, catalog=unbound["items"])
    assert found == profile
