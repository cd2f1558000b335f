"""The engine of BigQuery, on ZetaSQL: it runs BigQuery's SQL, so that rows are those that BigQuery would give."""

import datetime
import os
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import stamp
from raw_events import in_order
from raw_samples import write_sample
from stamp.data.sources.opening import open_events


@pytest.fixture(scope="module")
def tables(big_client, tmp_path_factory):
    """The samples that shops have as tables: rows that must come out, and the URL, by the sample."""
    folder = tmp_path_factory.mktemp("tables")
    samples = {name: write_sample(name, folder / name) for name in ("ga4", "snowplow", "segment_warehouse")}
    for day in samples["ga4"].source.iterdir():
        big_client.tables[f"shop.clicks.{day.name}"] = pq.read_table(day)
    big_client.tables["shop.clicks.atomic"] = pq.read_table(samples["snowplow"].source)
    kinds = [pq.read_table(kind) for kind in samples["segment_warehouse"].source.iterdir()]
    big_client.tables["shop.clicks.segment"] = pa.concat_tables(kinds, promote_options="default")
    names = {"ga4": "events_*", "snowplow": "atomic", "segment_warehouse": "segment"}
    return {name: (samples[name].rows, f"bigquery://shop.clicks.{table}") for name, table in names.items()}


@pytest.mark.parametrize("name", ["ga4", "snowplow", "segment_warehouse"])
def test_tables_are_read_with_no_further_word(name, tables, big_query, capsys):
    rows, url = tables[name]
    opened = open_events(url, big_query)
    assert in_order(big_query.rows(opened.events).to_pylist()) == in_order(rows)
    if name == "ga4":
        assert capsys.readouterr().err == "Left out: events_intraday_ of 20260331, of which there is the whole day.\n"


def test_a_wildcard_reads_no_table_but_those_it_is_for(tables, big_query, big_client):
    rows, _ = tables["ga4"]
    big_query.rows(open_events("bigquery://clicks.events_2026033*", big_query).events)
    assert "_TABLE_SUFFIX` IN ('0', '1')" in big_client.queries[-1]
    with pytest.raises(
        ValueError, match=r"source bigquery://clicks.event_2025\*: there is no such table in shop.clicks"
    ):
        open_events("bigquery://clicks.event_2025*", big_query)
    with pytest.raises(ValueError, match=r"source bigquery://clicks.nowhere: there is no such table"):
        open_events("bigquery://clicks.nowhere", big_query)
    with pytest.raises(ValueError, match=r"source bigquery://nowhere: expected bigquery://project.dataset.table"):
        open_events("bigquery://nowhere", big_query)


def test_a_large_query_is_said_and_a_too_large_one_does_not_run(tables, big_query, big_client, capsys, monkeypatch):
    _, url = tables["snowplow"]
    events = open_events(url, big_query).events
    capsys.readouterr()
    monkeypatch.setattr(big_query, "_say_above", 10_000)
    big_query.rows(events)
    assert "BigQuery: a query reads 0 GiB" in capsys.readouterr().err
    before = len(big_client.queries)
    monkeypatch.setattr(big_query, "_allow", 20_000)
    with pytest.raises(ValueError, match=r"BigQuery: a query reads 0 GiB, 0 GiB are allowed \(engine: allow\)"):
        big_query.keep(events)
    assert len(big_client.queries) == before


def test_arrow_goes_in_and_out_as_it_is(big_query):
    given = pa.table({
        "id": pa.array([2**63 - 1, None, -1]),
        "moment": pa.array([1, None, 2], pa.timestamp("us", "UTC")),
        "shown": pa.array([datetime.datetime(2026, 7, 1, 12), None, datetime.datetime(1969, 12, 31)], pa.timestamp("us")),
        "name": ["ü", None, ""],
    })  # fmt: skip
    table = big_query.table(given)
    assert big_query.rows(table).to_pylist() == given.to_pylist()
    micros = big_query.rows(table.select(moment=big_query.micros(table.moment), shown=big_query.micros(table.shown)))
    assert micros.to_pydict() == {"moment": [1, None, 2], "shown": [1782907200000000, None, -86400000000]}
    kept = big_query.keep(table.filter(table.id > 0))
    assert big_query.values(kept.aggregate(n=kept.id.count())) == {"n": 1}


def test_what_bigquery_cannot_read_is_said(big_query, tmp_path):
    sample = write_sample("retailrocket", tmp_path / "sample")
    with pytest.raises(ValueError, match=r"events.csv: BigQuery does not say which lines .* DuckDB or Spark"):
        open_events(sample.source, big_query)
    parquet = write_sample("plain_parquet", tmp_path / "parquet")
    with pytest.raises(ValueError, match=r"events.parquet: BigQuery reads files at gs:// alone"):
        open_events(parquet.source, big_query)


def test_the_data_set_of_results_must_be_there(big_client):
    with pytest.raises(ValueError, match=r"engine: dataset is 'nowhere': Not found: Dataset shop:nowhere"):
        stamp.data.BigQueryEngine(dataset="nowhere", client=big_client, storage_client=object())


def test_live(tmp_path, duck):
    """On BigQuery itself: the sample goes up, and prepared data come down as DuckDB makes them."""
    project = os.environ.get("STAMP_BIGQUERY_PROJECT")
    if not project:
        pytest.skip(
            "NOT TESTED ON BigQuery: STAMP_BIGQUERY_PROJECT names no project (whose data set stamp_tests is used)"
        )
    dataset = os.environ.get("STAMP_BIGQUERY_DATASET", "stamp_tests")
    sample = write_sample("plain_parquet", tmp_path / "sample")
    options = {"min_support": 2, "now": datetime.datetime(2026, 5, 1, tzinfo=datetime.timezone.utc), "progress": False}
    expected = stamp.data.prepare(sample.source, out=tmp_path / "duck", engine=duck, **options)
    with stamp.data.BigQueryEngine(project=project, dataset=dataset, say_above=0, allow=1 << 30) as engine:
        begin = time.time()
        opened = open_events(pq.read_table(sample.source), engine)
        assert in_order(engine.rows(opened.events).to_pylist()) == in_order(sample.rows)
        found = stamp.data.prepare(pq.read_table(sample.source), out=tmp_path / "big", engine=engine, **options)
        print(f"BigQuery took {time.time() - begin:.0f} s")
    assert files_below(tmp_path / "big") == files_below(tmp_path / "duck")
    assert found.counts == expected.counts


def files_below(folder):
    """Names hold hashes of what is in the files."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))
