"""Small samples of what analytics tools collect: each format's fields, nesting, units, zones and quirks."""

import datetime
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from raw_events import SHOP_ZONE, Event, Line, event_row
from raw_files import Rows, Sample, floor_to, lines_of, write_csv, write_json_lines, zulu

# GA4's export to BigQuery, as its tables lie in a bucket.

_GA4_KINDS = {
    "view": "view_item",
    "cart": "add_to_cart",
    "remove": "remove_from_cart",
    "order": "purchase",
    "page": "page_view",
}
_GA4_VALUE = pa.struct([
    ("string_value", pa.string()), ("int_value", pa.int64()), ("float_value", pa.float64()),
    ("double_value", pa.float64()),
])  # fmt: skip
GA4_SCHEMA = pa.schema([
    ("event_date", pa.string()),
    ("event_timestamp", pa.int64()),
    ("event_name", pa.string()),
    ("event_params", pa.list_(pa.struct([("key", pa.string()), ("value", _GA4_VALUE)]))),
    ("event_bundle_sequence_id", pa.int64()),
    ("user_id", pa.string()),
    ("user_pseudo_id", pa.string()),
    ("device", pa.struct([("category", pa.string()), ("language", pa.string())])),
    ("ecommerce", pa.struct([("transaction_id", pa.string()), ("purchase_revenue", pa.float64())])),
    ("items", pa.list_(pa.struct([
        ("item_id", pa.string()), ("item_name", pa.string()), ("item_brand", pa.string()),
        ("item_variant", pa.string()), ("item_category", pa.string()), ("item_category2", pa.string()),
        ("price_in_usd", pa.float64()), ("price", pa.float64()), ("quantity", pa.int64()),
        ("item_revenue", pa.float64()),
    ]))),
])  # fmt: skip


def _ga4_param(key: str, **value: object) -> dict[str, object]:
    return {
        "key": key,
        "value": {**dict.fromkeys(("string_value", "int_value", "float_value", "double_value")), **value},
    }


def _ga4_row(event: Event) -> dict[str, object]:
    params = [
        _ga4_param("page_location", string_value="https://shop.example/p"),
        _ga4_param("engaged_session_event", int_value=1),
    ]
    params.append(_ga4_param("ga_session_id", int_value=event.session))
    if event.lines:
        params.append(_ga4_param("currency", string_value="USD"))
    items = [
        {
            "item_id": f"SKU-{line.product:04}",
            "item_brand": line.brand or "(not set)",
            "item_category": line.category or "(not set)",
            "item_category2": "(not set)",
            "price": line.price,
            "price_in_usd": line.price,
            "quantity": None if event.kind == "view" else line.quantity,
        }
        for line in event.lines
    ]
    return {
        "event_date": event.at(SHOP_ZONE).strftime("%Y%m%d"),  # of the property's zone
        "event_timestamp": event.time_us,
        "event_name": _GA4_KINDS[event.kind],
        "event_params": params,
        "event_bundle_sequence_id": event.number,
        "user_pseudo_id": f"{event.visitor}.1700000000",
        "device": {"category": "mobile", "language": "en-us"},
        "ecommerce": {"transaction_id": f"T{event.number}"} if event.kind == "order" else None,
        "items": items,
    }


def ga4(folder: pathlib.Path, events: list[Event]) -> Sample:
    """A folder a table; the last day's is the intraday one, the day before has both (the daily one is complete)."""
    rows = [_ga4_row(event) for event in events]
    days = sorted({row["event_date"] for row in rows})
    for day in days:
        table = pa.Table.from_pylist([row for row in rows if row["event_date"] == day], GA4_SCHEMA)
        for name in [f"events_{day}"] if day != days[-1] else [f"events_intraday_{day}"]:
            (folder / name).mkdir(parents=True)
            half = len(table) // 2
            pq.write_table(table.slice(0, half), folder / name / "000000000000.parquet")
            pq.write_table(table.slice(half), folder / name / "000000000001.parquet")
        if day == days[-2]:
            (folder / f"events_intraday_{day}").mkdir()
            pq.write_table(table.slice(0, 5), folder / f"events_intraday_{day}" / "000000000000.parquet")
    return Sample(folder, "GA4", ga4_rows(events))


def ga4_rows(events: list[Event]) -> Rows:
    return [
        event_row(
            visitor_id=f"{event.visitor}.1700000000",
            session_id=str(event.session),
            time_us=event.time_us,
            item_id=f"SKU-{line.product:04}",
            event_type=event.kind,
            raw_event_type=_GA4_KINDS[event.kind],
            price_millionths=line.price_millionths,
            quantity=None if event.kind == "view" else line.quantity,
            currency="USD",
            category=line.category,
            brand=line.brand,
        )
        for event, line in lines_of(events)
    ]


# Google's Retail API (user events as they are imported).

_RETAIL_KINDS = {
    "view": "detail-page-view",
    "cart": "add-to-cart",
    "remove": "remove-from-cart",
    "order": "purchase-complete",
    "page": "home-page-view",
}


def google_retail(folder: pathlib.Path, events: list[Event]) -> Sample:
    def written(event: Event) -> dict[str, object]:
        row: dict[str, object] = {
            "eventType": _RETAIL_KINDS[event.kind],
            "visitorId": f"v{event.visitor}",
            "sessionId": f"s{event.session}",
            "eventTime": zulu(event.at(), "microseconds"),
            "userInfo": {"userAgent": "Mozilla/5.0"},
            "uri": "https://shop.example/",
        }
        if event.lines:
            row["productDetails"] = [
                {
                    "product": {"id": f"{line.product:05}"},
                    **({} if event.kind == "view" else {"quantity": line.quantity}),
                }
                for line in event.lines
            ]
        if event.kind == "order":
            revenue = round(sum(line.price * line.quantity for line in event.lines), 2)
            row["purchaseTransaction"] = {"id": f"T{event.number}", "revenue": revenue, "currencyCode": "EUR"}
        return row

    write_json_lines(folder / "user_events.jsonl", map(written, events))
    rows = [
        event_row(
            visitor_id=f"v{event.visitor}",
            session_id=f"s{event.session}",
            time_us=event.time_us,
            item_id=f"{line.product:05}",
            event_type=event.kind,
            raw_event_type=_RETAIL_KINDS[event.kind],
            quantity=None if event.kind == "view" else line.quantity,
            currency="EUR" if event.kind == "order" else None,
        )
        for event, line in lines_of(events)
    ]
    return Sample(folder / "user_events.jsonl", "Google Retail", rows)


# Snowplow's atomic.events with the e-commerce schemas.

SNOWPLOW_ACTION = "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1"
SNOWPLOW_PRODUCT = "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1"
_SNOWPLOW_KINDS = {"view": "product_view", "cart": "add_to_cart", "remove": "remove_from_cart", "order": "transaction"}
_SNOWPLOW_SCHEMA = pa.schema([
    ("app_id", pa.string()), ("platform", pa.string()), ("collector_tstamp", pa.timestamp("us", "UTC")),
    ("dvce_created_tstamp", pa.timestamp("us", "UTC")), ("derived_tstamp", pa.timestamp("us", "UTC")),
    ("event", pa.string()), ("event_name", pa.string()), ("event_id", pa.string()), ("user_id", pa.string()),
    ("domain_userid", pa.string()), ("domain_sessionid", pa.string()), ("domain_sessionidx", pa.int64()),
    (SNOWPLOW_ACTION, pa.struct([("type", pa.string()), ("name", pa.string())])),
    (SNOWPLOW_PRODUCT, pa.list_(pa.struct([
        ("id", pa.string()), ("name", pa.string()), ("category", pa.string()), ("price", pa.float64()),
        ("list_price", pa.float64()), ("quantity", pa.int64()), ("brand", pa.string()), ("currency", pa.string()),
    ]))),
])  # fmt: skip


def _snowplow_row(event: Event) -> dict[str, object]:
    skew = datetime.timedelta(seconds=event.visitor % 90 - 45)  # of the device's clock, which derived_tstamp is free of
    products = [
        {
            "id": f"P{line.product}",
            "name": f"Product {line.product}",
            "category": line.category,
            "price": line.price,
            "list_price": line.price,
            "quantity": None if event.kind == "view" else line.quantity,
            "brand": line.brand,
            "currency": "SEK",
        }
        for line in event.lines
    ]
    return {
        "app_id": "shop",
        "platform": "web",
        "collector_tstamp": event.at() + datetime.timedelta(milliseconds=130),
        "dvce_created_tstamp": event.at() + skew,
        "derived_tstamp": event.at(),
        "event": "unstruct" if event.lines else "page_view",
        "event_name": "snowplow_ecommerce_action" if event.lines else "page_view",
        "event_id": f"{event.number:08x}-0000-4000-8000-000000000000",
        "domain_userid": f"{event.visitor:064x}",
        "domain_sessionid": f"{event.session:064x}",
        "domain_sessionidx": 1,
        SNOWPLOW_ACTION: {"type": _SNOWPLOW_KINDS[event.kind], "name": None} if event.lines else None,
        SNOWPLOW_PRODUCT: products,
    }


def snowplow_rows(events: list[Event]) -> Rows:
    return [
        event_row(
            visitor_id=f"{event.visitor:064x}",
            session_id=f"{event.session:064x}",
            time_us=event.time_us,
            item_id=f"P{line.product}",
            event_type=event.kind,
            raw_event_type=_SNOWPLOW_KINDS[event.kind],
            price_millionths=line.price_millionths,
            quantity=None if event.kind == "view" else line.quantity,
            currency="SEK",
            category=line.category,
            brand=line.brand,
            event_id=f"{event.number:08x}-0000-4000-8000-000000000000",
        )
        for event, line in lines_of(events)
    ]


def snowplow(folder: pathlib.Path, events: list[Event]) -> Sample:
    pq.write_table(pa.Table.from_pylist(list(map(_snowplow_row, events)), _SNOWPLOW_SCHEMA), folder / "events.parquet")
    return Sample(folder / "events.parquet", "Snowplow", snowplow_rows(events))


def snowplow_tsv(folder: pathlib.Path, events: list[Event]) -> Sample:
    """As a warehouse unloads it: times are texts, and what is nested is JSON."""

    def written(event: Event) -> list[object]:
        row = _snowplow_row(event)
        texts = {name: value.isoformat(sep=" ") for name, value in row.items() if isinstance(value, datetime.datetime)}
        nested = {name: json.dumps(row[name]) if row[name] else None for name in (SNOWPLOW_ACTION, SNOWPLOW_PRODUCT)}
        return [{**row, **texts, **nested}.get(name) for name in _SNOWPLOW_SCHEMA.names]

    write_csv(folder / "events.tsv", _SNOWPLOW_SCHEMA.names, map(written, events), delimiter="\t")
    return Sample(folder / "events.tsv", "Snowplow", snowplow_rows(events))


# Segment's specification of e-commerce, version 2, as RudderStack has it, too.

_SEGMENT_KINDS = {
    "view": "Product Viewed",
    "cart": "Product Added",
    "remove": "Product Removed",
    "order": "Order Completed",
}


def _segment_product(line: Line, event: Event) -> dict[str, object]:
    product: dict[str, object] = {
        "product_id": f"prod_{line.product}",
        "sku": f"{line.product:06}",
        "price": line.price,
    }
    product |= {"quantity": line.quantity} if event.kind != "view" else {}
    product |= {name: value for name, value in (("category", line.category), ("brand", line.brand)) if value}
    return product


def segment_rows(events: list[Event]) -> Rows:
    return [
        event_row(
            visitor_id=f"anon-{event.visitor}",
            time_us=floor_to(event.time_us, 1000),
            item_id=f"prod_{line.product}",
            event_type=event.kind,
            raw_event_type=_SEGMENT_KINDS[event.kind],
            price_millionths=line.price_millionths,
            quantity=None if event.kind == "view" else line.quantity,
            currency="GBP",
            category=line.category,
            brand=line.brand,
            event_id=f"ajs-{event.number}",
        )
        for event, line in lines_of(events)
    ]


def segment(folder: pathlib.Path, events: list[Event]) -> Sample:
    """JSON lines, as they are sent: one product is in the properties, those of an order in a list."""

    def written(event: Event) -> dict[str, object]:
        at = zulu(event.at())
        row: dict[str, object] = {
            "anonymousId": f"anon-{event.visitor}",
            "messageId": f"ajs-{event.number}",
            "context": {"library": {"name": "analytics.js"}},
            "originalTimestamp": at,
            "receivedAt": zulu(event.at() + datetime.timedelta(seconds=1)),
            "timestamp": at,
            "userId": None,
        }
        if event.kind == "page":
            return {**row, "type": "page", "name": "Home", "properties": {"url": "https://shop.example/"}}
        products = [_segment_product(line, event) for line in event.lines]
        about = {"order_id": f"T{event.number}", "products": products} if event.kind == "order" else products[0]
        return {**row, "type": "track", "event": _SEGMENT_KINDS[event.kind], "properties": {**about, "currency": "GBP"}}

    write_json_lines(folder / "segment.jsonl", map(written, events))
    return Sample(folder / "segment.jsonl", "Segment", segment_rows(events))


def segment_warehouse(folder: pathlib.Path, events: list[Event]) -> Sample:
    """A table a kind of event, each with columns of its own; the products of an order are one JSON text."""
    for kind, name in _SEGMENT_KINDS.items():
        table = name.lower().replace(" ", "_")
        rows = []
        for event in (event for event in events if event.kind == kind):
            at = event.at() - datetime.timedelta(microseconds=event.time_us % 1000)
            products = [_segment_product(line, event) for line in event.lines]
            order = {"order_id": f"T{event.number}", "products": json.dumps(products, ensure_ascii=False)}
            rows.append({
                "id": f"ajs-{event.number}",
                "anonymous_id": f"anon-{event.visitor}",
                "event": table,
                "event_text": name,
                "original_timestamp": at,
                "received_at": at + datetime.timedelta(seconds=1),
                "timestamp": at,
                **(order if kind == "order" else products[0]),
                "currency": "GBP",
            })  # fmt: skip
        names = dict.fromkeys(name for row in rows for name in row)
        (folder / table).mkdir()
        columns = {name: [row.get(name) for row in rows] for name in names}
        pq.write_table(pa.table(columns), folder / table / "part-0.parquet")
    return Sample(folder, "Segment", segment_rows(events))
