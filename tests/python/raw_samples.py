"""Small files as shops have them, written from `raw_events`, and the rows of the table of events that must come out. What
a format cannot say is null there."""

import gzip
import pathlib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from raw_analytics import ga4, google_retail, segment, segment_warehouse, snowplow, snowplow_tsv
from raw_events import SHOP_ZONE, Event, Line, event_row, true_events
from raw_files import Rows, Sample, lines_of, write_csv, write_json_lines
from raw_logs import diginetica, otto, rees46, retailrocket, yoochoose

# Tables with our own names of columns.

_PLAIN = (
    "visitor_id",
    "session_id",
    "timestamp",
    "item_id",
    "event_type",
    "price",
    "quantity",
    "currency",
    "category",
    "brand",
    "event_id",
)


def _plain(event: Event, line: Line) -> dict[str, object]:
    return {
        "visitor_id": f"{event.visitor:04}",
        "session_id": str(event.session),
        "timestamp": event.at(),
        "item_id": f"item {line.product}",
        "event_type": event.kind,
        "price": line.price,
        "quantity": line.quantity,
        "currency": "EUR",
        "category": line.category,
        "brand": line.brand,
        "event_id": f"{event.number}/{line.product}",
    }


def plain_rows(events: list[Event]) -> Rows:
    rows = []
    for event, line in lines_of(events):
        row = _plain(event, line)
        del row["timestamp"], row["price"]
        rows.append(
            event_row(**row, time_us=event.time_us, price_millionths=line.price_millionths, raw_event_type=event.kind)
        )
    return rows


def _plain_text(event: Event, line: Line) -> dict[str, object]:
    """Times have the offset of a zone in which the clocks change."""
    return {**_plain(event, line), "timestamp": event.at(SHOP_ZONE).isoformat(timespec="microseconds")}


def plain_csv(folder: pathlib.Path, events: list[Event]) -> Sample:
    write_csv(folder / "events.csv", _PLAIN, (_plain_text(*each).values() for each in lines_of(events)))
    return Sample(folder / "events.csv", "plain columns", plain_rows(events))


def plain_csv_gzip(folder: pathlib.Path, events: list[Event]) -> Sample:
    path = plain_csv(folder, events).source
    (folder / "events.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return Sample(folder / "events.csv.gz", "plain columns", plain_rows(events))


def plain_csv_zstd(folder: pathlib.Path, events: list[Event]) -> Sample:
    path = plain_csv(folder, events).source
    with pa.CompressedOutputStream(folder / "events.csv.zst", "zstd") as file:
        file.write(path.read_bytes())
    path.unlink()
    return Sample(folder / "events.csv.zst", "plain columns", plain_rows(events))


def plain_json_lines(folder: pathlib.Path, events: list[Event]) -> Sample:
    """What is not known is not written."""
    rows = [{key: value for key, value in _plain_text(*each).items() if value is not None} for each in lines_of(events)]
    write_json_lines(folder / "events.jsonl", rows)
    return Sample(folder / "events.jsonl", "plain columns", plain_rows(events))


def plain_parquet(folder: pathlib.Path, events: list[Event]) -> Sample:
    pq.write_table(pa.Table.from_pylist([_plain(*each) for each in lines_of(events)]), folder / "events.parquet")
    return Sample(folder / "events.parquet", "plain columns", plain_rows(events))


def plain_folder(folder: pathlib.Path, events: list[Event]) -> Sample:
    """A folder a day, two files each."""
    rows = [_plain(*each) for each in lines_of(events)]
    for day in sorted({f"{row['timestamp']:%Y-%m-%d}" for row in rows}):
        table = pa.Table.from_pylist([row for row in rows if f"{row['timestamp']:%Y-%m-%d}" == day])
        (folder / f"day={day}").mkdir()
        half = len(table) // 2
        pq.write_table(table.slice(0, half), folder / f"day={day}" / "part-0.parquet")
        pq.write_table(table.slice(half), folder / f"day={day}" / "part-1.parquet")
    return Sample(folder, "plain columns", plain_rows(events))


SAMPLES: dict[str, Callable[[pathlib.Path, list[Event]], Sample]] = {
    make.__name__: make
    for make in (
        ga4, google_retail, snowplow, snowplow_tsv, segment, segment_warehouse, rees46, retailrocket, otto, yoochoose,
        diginetica, plain_csv, plain_csv_gzip, plain_csv_zstd, plain_json_lines, plain_parquet, plain_folder,
    )
}  # fmt: skip


def write_sample(name: str, folder: pathlib.Path, *, events: int | None = None) -> Sample:
    """One of SAMPLES in a new folder, of all events or of so many."""
    folder.mkdir(parents=True)
    return SAMPLES[name](folder, true_events()[:events])
