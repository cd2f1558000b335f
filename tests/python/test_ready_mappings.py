"""Raw samples of every format become the table of events that they were written from, with no further word."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raw_events import COLUMNS, in_order
from raw_files import write_csv
from raw_samples import SAMPLES, write_sample
from stamp.data.sources.opening import open_events


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_read_with_no_further_word(name, duck, tmp_path):
    sample = write_sample(name, tmp_path / "sample")
    opened = open_events(str(sample.source), duck)
    assert tuple(opened.events.columns) == COLUMNS
    assert in_order(duck.rows(opened.events).to_pylist()) == in_order(sample.rows)
    assert f"The columns are those of {sample.mapping}." in opened.notes


def test_intraday_tables_of_whole_days_are_left_out(duck, tmp_path):
    sample = write_sample("ga4", tmp_path / "sample")
    opened = open_events(str(sample.source), duck)
    assert "Left out: events_intraday_ of 20260331, of which there are whole days." in opened.notes


def test_a_ready_mapping_is_asked_for_by_name(duck, tmp_path):
    sample = write_sample("retailrocket", tmp_path / "sample")
    opened = open_events(sample.source, duck, mapping="retailrocket")
    assert in_order(duck.rows(opened.events).to_pylist()) == in_order(sample.rows)
    assert opened.notes == []
    with pytest.raises(
        ValueError, match=r"events.csv: the mapping otto does not fit the columns event, itemid, timestamp"
    ):
        open_events(sample.source, duck, mapping="otto")


def test_columns_that_nothing_fits_are_said_with_what_to_do(duck, tmp_path):
    write_csv(tmp_path / "clicks.csv", ("who", "what", "when"), [("1", "2", "2026-01-01")])
    with pytest.raises(
        ValueError, match=r"no mapping fits the columns what, when, who; choose one of ga4, .*or write a map"
    ):
        open_events(tmp_path / "clicks.csv", duck)


def test_columns_that_two_mappings_fit_are_an_error(duck, tmp_path):
    names = ("timestamp", "visitorid", "event", "itemid", "session_id", "item_id")
    write_csv(tmp_path / "clicks.csv", names, [("1", "2", "view", "3", "4", "5")])
    with pytest.raises(
        ValueError, match=r"the mappings retailrocket, plain_columns fit the columns .*; choose one of them"
    ):
        open_events(tmp_path / "clicks.csv", duck)
    found = open_events(tmp_path / "clicks.csv", duck, mapping="plain_columns")
    assert duck.rows(found.events.select("session_id", "item_id")).to_pylist() == [{"session_id": "4", "item_id": "5"}]


def test_a_column_may_be_missing_in_some_files_but_not_one_that_is_needed(duck, tmp_path):
    write_csv(tmp_path / "1.csv", ("visitor_id", "item_id", "timestamp"), [("a", "x", "2026-01-01")])
    write_csv(tmp_path / "2.csv", ("price", "timestamp", "visitor_id", "item_id"), [("1.5", "2026-01-02", "a", "y")])
    rows = duck.rows(open_events(tmp_path, duck).events.select("item_id", "price_millionths")).to_pylist()
    assert sorted(map(str, rows)) == [
        "{'item_id': 'x', 'price_millionths': None}",
        "{'item_id': 'y', 'price_millionths': 1500000}",
    ]
    write_csv(tmp_path / "3.csv", ("timestamp", "visitor_id", "product"), [("2026-01-02", "a", "y")])
    with pytest.raises(
        ValueError, match=r"3.csv: plain columns: item_id is 'item_id', which is none of the columns times"
    ):
        open_events(tmp_path, duck)


def test_columns_that_a_format_may_lack_are_said(duck, tmp_path):
    time, product = "2026-01-01T00:00:00Z", [{"product": {"id": "x"}}]
    row = {"eventType": "detail-page-view", "visitorId": "v", "eventTime": time, "productDetails": product}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "events.parquet")
    opened = open_events(tmp_path / "events.parquet", duck)
    assert opened.notes == [
        "The columns are those of Google Retail.",
        "There is no session_id, no quantity, no currency.",
    ]
    (found,) = duck.rows(opened.events).to_pylist()
    assert (found["visitor_id"], found["item_id"], found["event_type"], found["quantity"]) == ("v", "x", "view", None)
    pq.write_table(pa.Table.from_pylist([{**row, "productDetails": [{"quantity": 1}]}]), tmp_path / "events.parquet")
    with pytest.raises(
        ValueError, match=r"Google Retail: item_id is 'productDetails.product.id', which is none of the col"
    ):
        open_events(tmp_path / "events.parquet", duck)


def test_a_trimmed_export_of_ga4_is_read(duck, tmp_path):
    sample = write_sample("ga4", tmp_path / "sample", events=30)
    table = pa.concat_tables(pq.read_table(folder) for folder in sample.source.glob("events_2*"))
    items = [[{key: each[key] for key in ("item_id", "price")} for each in row] for row in table["items"].to_pylist()]
    index = table.schema.get_field_index("items")
    pq.write_table(table.set_column(index, "items", pa.array(items)), tmp_path / "events.parquet")
    opened = open_events(tmp_path / "events.parquet", duck)
    assert opened.notes[-1] == "There is no quantity, no category, no brand."
    assert {row["brand"] for row in duck.rows(opened.events).to_pylist()} == {None}
