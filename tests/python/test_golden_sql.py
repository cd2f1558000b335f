"""The SQL that BigQuery gets, in files that people can read (golden_sql/), each type-checked by ZetaSQL.

STAMP_WRITE_GOLDEN=1 pytest tests/python/test_golden_sql.py writes them anew.
"""

import os
import pathlib
import re

import pyarrow as pa
import pytest

from raw_analytics import GA4_SCHEMA
from stamp.data.engines.bigquery import BigQueryEngine
from stamp.data.preparation.catalog import products, seen_products
from stamp.data.preparation.cleaning import with_reasons
from stamp.data.preparation.examples import in_file_order, laid_out, weighed, without_repeats
from stamp.data.preparation.options import Options, weights_of
from stamp.data.preparation.support import supported_items
from stamp.data.preparation.visits import STORED, USED, in_sessions, stored
from stamp.data.sources.faults import Limits, reason, row_faults
from stamp.data.sources.mapping import EventMapping
from stamp.data.sources.opening import open_events
from zetasql_bigquery import ZetaSqlClient

FOLDER = pathlib.Path(__file__).parent / "golden_sql"
LIMITS = Limits(now=1_777_593_600_000_000, start=1_775_001_600_000_000)
NUMBERS = ("time_us", "price_millionths", "quantity", "session_start", "timestamp", "day")


def empty(*names):
    fields = [(name, pa.int64() if name in NUMBERS else pa.string()) for name in names]
    return pa.schema(fields).empty_table()


EVENTS = ("visitor_id", "session_id", "time_us", "item_id", "event_type", "raw_event_type", "price_millionths", "quantity",
          "currency", "category", "brand", "event_id", "malformed")  # fmt: skip
TABLES = {
    "shop.analytics.events_20260401": GA4_SCHEMA.empty_table(),
    "shop.analytics.events_intraday_20260402": GA4_SCHEMA.empty_table(),
    "shop.raw.clicks": empty("user", "product", "clicked", "kind", "price"),
    "shop.stamp.events": empty(*EVENTS),
    "shop.stamp.good": empty("day", "visitor_id", *USED),
    "shop.stamp.stored": empty(*STORED),
}


def ga4_reader(engine):
    return open_events("bigquery://analytics.events_*", engine).events


def reader_of_texts(engine):
    """Times as ISO 8601, with and without an offset."""
    mapping = EventMapping(visitor_id="user", item_id="product", time="clicked", event_type="kind", price="price",
                           event_types={"look": "view", "buy": "order"})  # fmt: skip
    return open_events("bigquery://raw.clicks", engine, mapping=mapping).events


def faults(engine):
    events = engine.read_table("bigquery://stamp.events")
    return events.mutate(reason=reason(row_faults(events, LIMITS)))


def quarantine(engine):
    return with_reasons(engine.read_table("bigquery://stamp.events"), LIMITS, engine, event_ids=True)


def sessions(engine):
    return stored(in_sessions(engine.read_table("bigquery://stamp.good"), gap=1_800_000_000))


def support(engine):
    items, _ = supported_items(engine.read_table("bigquery://stamp.stored"), engine, min_support=5, min_length=2)
    return items


def examples(engine):
    options = Options(weights=weights_of({"order": 3}), value=20_000_000, half_life=2)
    events = without_repeats(engine.read_table("bigquery://stamp.stored"))
    return in_file_order(laid_out(weighed(events, options, first=20_540, end=20_544), visitors=True, min_length=2))


def products_seen(engine):
    return products(seen_products(engine.read_table("bigquery://stamp.stored")), None)


GOLDEN = (ga4_reader, reader_of_texts, faults, quarantine, sessions, support, examples, products_seen)


@pytest.mark.parametrize("make", GOLDEN, ids=lambda make: make.__name__)
def test_sql_is_what_people_have_read(make, zetasql):
    client = ZetaSqlClient(zetasql, TABLES)  # which type-checks whatever it is asked
    with BigQueryEngine(dataset="scratch", client=client, storage_client=object()) as engine:
        expression = make(engine)
        engine.rows(expression)
    text = ";\n\n".join(map(readable, client.queries)) + ";\n"
    path = FOLDER / f"{make.__name__}.sql"
    if os.environ.get("STAMP_WRITE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
    assert len(text.splitlines()) < 400


def test_every_file_is_of_a_test():
    assert {path.stem for path in FOLDER.glob("*.sql")} == {make.__name__ for make in GOLDEN}


def readable(sql):
    """Without names that are drawn by chance, and names of columns that are left out in an order by chance."""
    sql = re.sub(r"t[0-9a-f]{32}_stamp_", "kept_", sql)
    drawn = dict.fromkeys(re.findall(r"ibis_[a-z_]*_[a-z2-7]{26}", sql))
    for number, name in enumerate(drawn):
        sql = sql.replace(name, f"{name[:-27]}_{number}")
    return re.sub(r"EXCEPT \((.*?)\)", lambda found: f"EXCEPT ({', '.join(sorted(found[1].split(', ')))})", sql)
