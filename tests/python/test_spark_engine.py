"""Spark reads what DuckDB reads, beside a user's session that stays as it is."""

import datetime
import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raw_events import in_order
from raw_samples import write_sample
from stamp.data.sources.opening import open_events

UTC = datetime.timezone.utc


# Of each kind of file, and of nesting.
@pytest.mark.parametrize("name", ["ga4", "segment_warehouse", "snowplow_tsv", "yoochoose", "plain_json_lines"])
def test_samples_are_read_with_no_further_word(name, spark, tmp_path):
    sample = write_sample(name, tmp_path / "sample")
    opened = open_events(sample.source, spark)
    assert in_order(spark.rows(opened.events).to_pylist()) == in_order(sample.rows)
    assert f"The columns are those of {sample.mapping}." in opened.notes


LINES = b'\xef\xbb\xbfa,b,c\n1,2,3\n4,5\n6,7,8,9\n"x ""y""\nz",,""\n1,\xff\xfe,2\n7,8,9,\n"\xc3\xbc",\\"q,"a"\n \xe2\x80\x93,\x00,"b,"\n'


@pytest.mark.parametrize("packed", [False, True])
def test_lines_that_are_no_rows_are_those_that_duckdb_finds(packed, spark, duck, tmp_path):
    path = tmp_path / ("lines.csv.gz" if packed else "lines.csv")
    path.write_bytes(gzip.compress(LINES) if packed else LINES)
    found = []
    for engine in (spark, duck):
        read = engine.read_text([str(path)], separator=",", names=["a", "b", "c"], header=True, columns=["c", "b"])
        lines = [line.rstrip("\n") for line in engine.rows(read.unreadable)["line"].to_pylist()]
        found.append(
            (sorted(engine.rows(read.rows).to_pylist(), key=repr), len(lines), {"4,5", "6,7,8,9"} <= set(lines))
        )
    assert found[0] == found[1]
    assert found[0][1:] == (3, True)
    assert {"c": "9", "b": "8"} in found[0][0]


JSON_LINES = """{"a": "x", "n": 1.5, "p": {"id": 7}, "l": [{"k": 1}, {"k": "b"}]}
{broken
"text"
[1]
null

{"a": true, "n": "q", "p": {"id": null}}
{"a": {"z":1}, "n": 12345678901234567890, "p": {}, "l": []}
{"a": "ü", "l": [{"j": 1}]}
{"a": "y", "l": "none"}
{"a": "cut
"""


def test_json_lines_are_the_rows_that_duckdb_reads(spark, duck, tmp_path):
    (tmp_path / "lines.jsonl").write_text(JSON_LINES, encoding="utf-8")
    columns = {"a": "string", "n": "string", "p": "struct<id: string>", "l": "array<struct<k: string>>"}
    found = [
        sorted(engine.rows(engine.read_json([str(tmp_path / "lines.jsonl")], columns=columns)).to_pylist(), key=repr)
        for engine in (spark, duck)
    ]
    assert found[0] == found[1]
    assert found[0].count(dict.fromkeys(columns)) == 5  # what is no object
    assert {"a": "x", "n": "1.5", "p": {"id": "7"}, "l": [{"k": "1"}, {"k": "b"}]} in found[0]


def test_files_of_several_widths_are_read_and_of_several_types_are_not(spark, tmp_path):
    pq.write_table(pa.table({"id": pa.array([1], pa.int32()), "x": ["a"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"id": pa.array([2**40], pa.int64())}), tmp_path / "2.parquet")
    paths = [str(tmp_path / name) for name in ("1.parquet", "2.parquet")]
    rows = spark.rows(spark.read_parquet(paths)).to_pylist()
    assert sorted(rows, key=repr) == [{"id": 1, "x": "a"}, {"id": 2**40, "x": None}]
    pq.write_table(pa.table({"id": ["007"]}), tmp_path / "3.parquet")
    with pytest.raises(
        ValueError, match=r"3.parquet: column 'id' is string, in .*1.parquet it is bigint; expected one type"
    ):
        spark.read_parquet([*paths, str(tmp_path / "3.parquet")])


TABLE = pa.table({
    "id": pa.array([2**63 - 1, None, -1]),
    "moment": pa.array([1, None, 2], pa.timestamp("ns", "Europe/Berlin")).cast(pa.timestamp("us", "Europe/Berlin"), safe=False),
    "shown": pa.array([datetime.datetime(2026, 7, 1, 12), None, datetime.datetime(1969, 12, 31)], pa.timestamp("us")),
    "name": ["ü", None, ""],
})  # fmt: skip


def test_arrow_goes_in_and_out_as_it_is(spark):
    table = spark.table(TABLE)
    assert spark.rows(table.drop("moment")).to_pylist() == TABLE.drop_columns("moment").to_pylist()
    assert table.moment.type().timezone == "UTC"
    assert table.shown.type().timezone is None
    micros = spark.rows(table.select(moment=spark.micros(table.moment), shown=spark.micros(table.shown)))
    assert micros.to_pydict() == {"moment": [0, None, 0], "shown": [1782907200000000, None, -86400000000]}


def test_frames_and_tables_of_the_users_session_are_sources(spark, spark_session):
    # The text is a moment in the zone of the session that it was written in.
    text = "SELECT 'v' AS visitor_id, 7 AS item_id, CAST('2026-03-01 12:00:00' AS TIMESTAMP) AS timestamp"
    expected = int(datetime.datetime(2026, 3, 1, 17, tzinfo=UTC).timestamp()) * 10**6
    frame = spark_session.sql(text)
    spark_session.sql(f"CREATE TABLE clicks USING PARQUET AS {text}")
    try:
        for source in (frame, "spark://default.clicks"):
            rows = spark.rows(open_events(source, spark).events.select("visitor_id", "item_id", "time_us")).to_pylist()
            assert rows == [{"visitor_id": "v", "item_id": 7, "time_us": expected}]
    finally:
        spark_session.sql("DROP TABLE clicks")
    with pytest.raises(
        ValueError, match=r"source spark://default.nowhere: .*TABLE_OR_VIEW_NOT_FOUND.*spark://<database>"
    ):
        open_events("spark://default.nowhere", spark)


def test_batches_come_in_order_and_kept_tables_stay(spark):
    table = spark.table(pa.table({"n": list(range(90_000))}))
    kept = spark.keep(table.mutate(back=-table.n).filter(table.n % 3 == 0))
    batches = list(spark.batches(kept.order_by("back")))
    assert len(batches) > 1
    assert pa.Table.from_batches(batches)["back"].to_pylist() == list(range(-89_997, 1, 3))
    assert spark.values(kept.aggregate(n=kept.n.count())) == {"n": 30_000}


def test_a_file_that_spark_has_no_codec_for_is_named(spark, tmp_path):
    sample = write_sample("plain_csv_zstd", tmp_path / "sample")
    with pytest.raises(
        ValueError, match=r"Spark cannot read the source: .*events.csv.zst.*native zStandard library not"
    ):
        spark.rows(open_events(sample.source, spark).events)
