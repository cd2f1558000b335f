"""The engines of the tests are what they are taken for."""

import pyarrow as pa
import pytest

from engine_harness import SPARK_ZONE

NESTED = pa.list_(pa.struct([("key", pa.string()), ("value", pa.struct([("i", pa.int64()), ("f", pa.float64())]))]))
VALUES = pa.table({
    "i": pa.array([1, None, 2**63 - 1]),
    "s": pa.array(["a", None, "ü\n'\"\\"]),
    "ts": pa.array([0, None, 10**15 + 1], pa.timestamp("us", "UTC")),
    "naive": pa.array([0, None, -1], pa.timestamp("us")),
    "day": pa.array([0, None, -1], pa.date32()),
    "f": pa.array([1.5, None, 2**-40]),
    "b": pa.array([True, None, False]),
    "nested": pa.array([[{"key": "x", "value": {"i": 1, "f": None}}, {"key": None, "value": None}], None, []], NESTED),
})  # fmt: skip


def test_zetasql_gives_back_what_it_is_given(zetasql):
    found = zetasql.execute("SELECT * FROM raw", {"raw": VALUES})
    assert found.schema == VALUES.schema
    expected = VALUES.to_pylist()
    expected[1]["nested"] = []  # BigQuery has no array that is NULL
    assert [{**row, "nested": row["nested"] or []} for row in found.to_pylist()] == expected


def test_zetasql_computes_as_bigquery_does(zetasql):
    sql = """SELECT i, UNIX_MICROS(ts) AS micros, EXTRACT(HOUR FROM TIMESTAMP '2026-03-29 00:00:00') AS hour,
        ARRAY(SELECT one.value.i FROM UNNEST(nested) AS one WHERE one.key = 'x')[SAFE_OFFSET(0)] AS x, SAFE_CAST(s AS INT64) AS n
        FROM raw QUALIFY ROW_NUMBER() OVER (ORDER BY i NULLS LAST) < 3 ORDER BY i"""
    assert zetasql.execute(sql, {"raw": VALUES}).to_pylist() == [
        {"i": 1, "micros": 0, "hour": 0, "x": 1, "n": None},
        {"i": 2**63 - 1, "micros": 10**15 + 1, "hour": 0, "x": None, "n": None},
    ]
    assert zetasql.check(sql, {"raw": VALUES.schema}).names == ["i", "micros", "hour", "x", "n"]
    assert (
        zetasql.check("SELECT day FROM shop.clicks.raw", {"shop.clicks.raw": VALUES.schema}).field(0).type
        == pa.date32()
    )


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT ts > naive FROM raw", "TIMESTAMP, DATETIME"),
        ("SELECT CAST(i AS INT32) FROM raw", "Type not found"),
        ("SELECT nope FROM raw", "Unrecognized name"),
        ("SELECT i FROM other", "Table not found"),
        ("SELECT ts AS at FROM raw", "keyword AT"),
    ],
)
def test_zetasql_refuses_what_bigquery_does(zetasql, sql, message):
    from zetasql.core.exceptions import ServerError

    with pytest.raises(ServerError, match=message):
        zetasql.check(sql, {"raw": VALUES.schema})


def test_sparks_session_is_in_a_zone_of_its_own(spark_session):
    assert spark_session.conf.get("spark.sql.session.timeZone") == SPARK_ZONE
    text = spark_session.sql("SELECT CAST(timestamp_micros(0) AS STRING) AS text").toArrow().to_pylist()
    assert text == [{"text": "1969-12-31 19:00:00"}]
