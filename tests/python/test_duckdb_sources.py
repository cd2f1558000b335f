"""What DuckDB reads beside files of this machine: files at any URL, tables, relations."""

import pathlib

import duckdb
import fsspec
import ibis
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raw_events import in_order
from raw_samples import write_sample
from stamp.data.sources.opening import open_events


def rows_of(source, duck):
    return in_order(duck.rows(open_events(source, duck).events).to_pylist())


@pytest.mark.parametrize("name", ["ga4", "google_retail", "rees46", "plain_folder", "plain_csv_gzip", "plain_csv_zstd"])
def test_files_are_read_at_any_url(name, duck, tmp_path):
    sample = write_sample(name, tmp_path / "sample")
    memory = fsspec.filesystem("memory")
    for path in (tmp_path / "sample").rglob("*"):
        if path.is_file():
            memory.pipe(f"/{tmp_path.name}-{name}/{path.relative_to(tmp_path)}", path.read_bytes())
    try:
        url = f"memory://{tmp_path.name}-{name}/{sample.source.relative_to(tmp_path)}"
        assert rows_of(url, duck) == in_order(sample.rows)
    finally:
        memory.rm(f"/{tmp_path.name}-{name}", recursive=True)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    return write_sample("plain_parquet", tmp_path_factory.mktemp("tables") / "sample")


def test_a_table_of_a_file_is_a_source(duck, parquet, tmp_path):
    with duckdb.connect(tmp_path / "it's a shop.duckdb") as connection:
        connection.execute(f"CREATE TABLE clicks AS FROM '{parquet.source}'")
    assert rows_of(f"duckdb://{tmp_path}/it's a shop.duckdb/clicks", duck) == in_order(parquet.rows)
    with pytest.raises(ValueError, match=r"shop.duckdb/nowhere: there is no such table in the file"):
        open_events(f"duckdb://{tmp_path}/it's a shop.duckdb/nowhere", duck)
    with pytest.raises(
        ValueError, match=r"duckdb://nowhere.duckdb/clicks: there is no file 'nowhere.duckdb'; expected duckdb"
    ):
        open_events("duckdb://nowhere.duckdb/clicks", duck)
    (tmp_path / "no.duckdb").write_bytes(b"x" * 10_000)
    with pytest.raises(ValueError, match=r"no.duckdb/clicks: .*not a valid DuckDB database file"):
        open_events(f"duckdb://{tmp_path}/no.duckdb/clicks", duck)


def test_tables_of_other_connections_are_sources(duck, parquet):
    relation = duckdb.connect().sql(f"FROM '{parquet.source}'")
    assert rows_of(relation, duck) == in_order(parquet.rows)
    elsewhere = ibis.duckdb.connect().read_parquet(parquet.source)
    assert rows_of(elsewhere, duck) == in_order(parquet.rows)
    ours = duck.connection.read_parquet(parquet.source)
    assert rows_of(ours, duck) == in_order(parquet.rows)


@pytest.mark.parametrize("kind", [pa.table, pd.DataFrame, pl.DataFrame])
def test_frames_are_sources(kind, duck, parquet):
    table = pq.read_table(parquet.source)
    frame = {pa.table: table, pd.DataFrame: table.to_pandas(), pl.DataFrame: pl.from_arrow(table)}[kind]
    assert rows_of(frame, duck) == in_order(parquet.rows)


def test_a_source_that_is_not_there_is_named(duck, tmp_path):
    with pytest.raises(ValueError, match=r"source nowhere.csv: there is no file"):
        open_events(pathlib.Path("nowhere.csv"), duck)
    with pytest.raises(ValueError, match=r"source memory://nowhere: there is no file"):
        open_events("memory://nowhere", duck)
    with pytest.raises(
        ValueError, match=r"a table of another engine than duckdb; give engine=stamp.data.BigQueryEngine\("
    ):
        open_events("bigquery://shop.clicks.events", duck)
