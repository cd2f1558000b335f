"""Small samples in the formats of logs that shops made public."""

import datetime
import pathlib

from raw_events import DAY, Event, event_row
from raw_files import Sample, floor_to, lines_of, write_csv, write_json_lines, zulu

_REES46_KINDS = {"view": "view", "cart": "cart", "remove": "remove_from_cart", "order": "purchase"}


def rees46(folder: pathlib.Path, events: list[Event]) -> Sample:
    header = (
        "event_time",
        "event_type",
        "product_id",
        "category_id",
        "category_code",
        "brand",
        "price",
        "user_id",
        "user_session",
    )
    written = [
        (f"{event.at():%Y-%m-%d %H:%M:%S} UTC", _REES46_KINDS[event.kind], 1_000_000 + line.product,
         2053013555631882655 + line.product % 3, line.category, line.brand, f"{line.price:.2f}", event.visitor,
         f"{event.session:08x}-6f71-4b7f-9c1d-0242ac120002")
        for event, line in lines_of(events)
    ]  # fmt: skip
    write_csv(folder / "2019-Oct.csv", header, written)
    rows = [
        event_row(
            visitor_id=str(event.visitor),
            session_id=f"{event.session:08x}-6f71-4b7f-9c1d-0242ac120002",
            time_us=floor_to(event.time_us, 1_000_000),
            item_id=1_000_000 + line.product,
            event_type=event.kind,
            raw_event_type=_REES46_KINDS[event.kind],
            price_millionths=line.price_millionths,
            category=line.category,
            brand=line.brand,
        )
        for event, line in lines_of(events)
    ]
    return Sample(folder / "2019-Oct.csv", "REES46", rows)


_RETAILROCKET_KINDS = {"view": "view", "cart": "addtocart", "order": "transaction"}


def retailrocket(folder: pathlib.Path, events: list[Event]) -> Sample:
    events = [event for event in events if event.kind in _RETAILROCKET_KINDS]
    written = [
        (event.time_us // 1000, event.visitor, _RETAILROCKET_KINDS[event.kind], line.product,
         event.number if event.kind == "order" else None)
        for event, line in lines_of(events)
    ]  # fmt: skip
    write_csv(folder / "events.csv", ("timestamp", "visitorid", "event", "itemid", "transactionid"), written)
    rows = [
        event_row(
            visitor_id=str(event.visitor),
            time_us=floor_to(event.time_us, 1000),
            item_id=line.product,
            event_type=event.kind,
            raw_event_type=_RETAILROCKET_KINDS[event.kind],
        )
        for event, line in lines_of(events)
    ]
    return Sample(folder / "events.csv", "RetailRocket", rows)


_OTTO_KINDS = {"view": "clicks", "cart": "carts", "order": "orders"}


def otto(folder: pathlib.Path, events: list[Event]) -> Sample:
    """A session a line, its events within; a visitor is a session."""
    events = [event for event in events if event.kind in _OTTO_KINDS]
    sessions: dict[int, list[dict[str, object]]] = {}
    for event, line in lines_of(sorted(events, key=lambda event: event.time_us)):
        inner = {"aid": line.product, "ts": event.time_us // 1000, "type": _OTTO_KINDS[event.kind]}
        sessions.setdefault(event.session, []).append(inner)
    write_json_lines(folder / "train.jsonl", ({"session": key, "events": inner} for key, inner in sessions.items()))
    rows = [
        event_row(
            visitor_id=str(event.session),
            session_id=str(event.session),
            time_us=floor_to(event.time_us, 1000),
            item_id=line.product,
            event_type=event.kind,
            raw_event_type=_OTTO_KINDS[event.kind],
        )
        for event, line in lines_of(events)
    ]
    return Sample(folder / "train.jsonl", "OTTO", rows)


def yoochoose(folder: pathlib.Path, events: list[Event]) -> Sample:
    """Two files without a line of names, of different columns: what was clicked, and what was bought."""
    of_kind = {kind: list(lines_of(event for event in events if event.kind == kind)) for kind in ("view", "order")}
    # A category is 1 to 12, 0 for none, S for an offer, or a brand where it is longer.
    clicks = [
        (e.session, zulu(e.at()), 214_536_000 + each.product, each.product % 3 or "S") for e, each in of_kind["view"]
    ]
    buys = [
        (e.session, zulu(e.at()), 214_536_000 + each.product, each.price_millionths // 1_000_000, each.quantity)
        for e, each in of_kind["order"]
    ]
    write_csv(folder / "yoochoose-clicks.dat", None, clicks)
    write_csv(folder / "yoochoose-buys.dat", None, buys)
    rows = [
        event_row(
            visitor_id=str(event.session),
            session_id=str(event.session),
            time_us=floor_to(event.time_us, 1000),
            item_id=214_536_000 + line.product,
            event_type=kind,
            raw_event_type={"view": "click", "order": "buy"}[kind],
            price_millionths=floor_to(line.price_millionths, 1_000_000) if kind == "order" else None,
            quantity=line.quantity if kind == "order" else None,
            category=str(line.product % 3 or "S") if kind == "view" else None,
        )
        for kind, of in of_kind.items()
        for event, line in of
    ]
    return Sample(folder, "Yoochoose", rows)


def diginetica(folder: pathlib.Path, events: list[Event]) -> Sample:
    """Times are milliseconds since the session began, beside its day; most users are not known."""
    events = [event for event in events if event.kind == "view"]
    written = [
        (event.session, event.visitor if event.visitor % 4 == 0 else "NA", line.product,
         (event.time_us - event.session_start) // 1000, event.session_start // DAY)
        for event, line in lines_of(events)
    ]  # fmt: skip
    epoch = datetime.date(1970, 1, 1)
    named = [(*row[:-1], (epoch + datetime.timedelta(days=row[-1])).isoformat()) for row in written]
    header = ("sessionId", "userId", "itemId", "timeframe", "eventdate")
    write_csv(folder / "train-item-views.csv", header, named, delimiter=";")
    rows = [
        event_row(
            visitor_id=str(session),
            session_id=str(session),
            time_us=day * DAY + since * 1000,
            item_id=product,
            event_type="view",
        )
        for session, _, product, since, day in written
    ]
    return Sample(folder / "train-item-views.csv", "Diginetica", rows)
