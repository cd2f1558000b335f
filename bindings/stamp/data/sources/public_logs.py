"""Ready mappings of logs that shops made public: REES46, RetailRocket, OTTO, Yoochoose, Diginetica."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import ibis

from . import fields
from .mapping import EventMapping

if TYPE_CHECKING:
    import ibis.expr.types as ir

_DAY_MS = 86_400_000


def rees46(names: Collection[str]) -> EventMapping | None:
    """REES46's shops of cosmetics and electronics (Kaggle, mkechinov)."""
    if not {"event_time", "event_type", "product_id", "user_id", "user_session"} <= set(names):
        return None
    return EventMapping(
        name="REES46",
        visitor_id="user_id",
        session_id="user_session",
        time="event_time",
        item_id="product_id",
        item_ids="integer",
        event_type="event_type",
        event_types={"view": "view", "cart": "cart", "remove_from_cart": "remove", "purchase": "order"},
        price="price" if "price" in names else None,
        category="category_code" if "category_code" in names else None,
        brand="brand" if "brand" in names else None,
    )


def retailrocket(names: Collection[str]) -> EventMapping | None:
    """RetailRocket's events.csv."""
    if not {"timestamp", "visitorid", "event", "itemid"} <= set(names):
        return None
    return EventMapping(
        name="RetailRocket",
        visitor_id="visitorid",
        time="timestamp",
        time_unit="ms",
        item_id="itemid",
        item_ids="integer",
        event_type="event",
        event_types={"view": "view", "addtocart": "cart", "transaction": "order"},
    )


def otto(names: Collection[str]) -> EventMapping | None:
    """OTTO's sessions as JSON lines: the events of each are a list."""
    if not {"session", "events"} <= set(names):
        return None
    return EventMapping(
        name="OTTO",
        session_id="session",
        unnest="events",
        time="events.ts",
        time_unit="ms",
        item_id="events.aid",
        item_ids="integer",
        event_type="events.type",
        event_types={"clicks": "view", "carts": "cart", "orders": "order"},
        columns={"session": "string", "events": "array<struct<aid: string, ts: string, type: string>>"},
    )


def yoochoose(names: Collection[str]) -> EventMapping | None:
    """Yoochoose's clicks and buys, once their columns have names: see :func:`names_of_yoochoose`."""
    if not set(_YOOCHOOSE) - {"quantity"} <= set(names):
        return None
    return EventMapping(
        name="Yoochoose",
        session_id="session",
        time="time",
        item_id="item",
        item_ids="integer",
        event_type=click_or_buy,
        event_types={"click": "view", "buy": "order"},
        price=price_of_buy,
        quantity="quantity" if "quantity" in names else None,
        category=category_of_click,
        separator=",",
        names=_YOOCHOOSE,
    )


_YOOCHOOSE = ("session", "time", "item", "category_or_price", "quantity")
_YOOCHOOSE_VALUES = (r"\d+", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", r"\d+", r"S|\d+", r"\d+")


def names_of_yoochoose(values: Sequence[str]) -> Sequence[str] | None:
    """Of the columns of clicks, four, or of buys, five, where the first line looks like one of theirs: there are no names."""
    fits = len(values) in (4, 5) and all(re.fullmatch(*each) for each in zip(_YOOCHOOSE_VALUES, values))
    return _YOOCHOOSE[: len(values)] if fits else None


def _is_buy(table: ir.Table) -> ir.BooleanValue:
    return table.quantity.notnull() if "quantity" in table.columns else ibis.literal(False)


def click_or_buy(table: ir.Table) -> ir.StringValue:
    """Only what was bought has a quantity."""
    return ibis.ifelse(_is_buy(table), "buy", "click")


def price_of_buy(table: ir.Table) -> ir.StringValue:
    return ibis.cases((_is_buy(table), table.category_or_price))


def category_of_click(table: ir.Table) -> ir.StringValue:
    """0 is that none is known."""
    return ibis.cases((~_is_buy(table), table.category_or_price.nullif("0")))


def diginetica(names: Collection[str]) -> EventMapping | None:
    """Diginetica's views and purchases of CIKM Cup 2016. Users are known of few sessions, so a session is a visitor."""
    if not {"sessionId", "itemId", "timeframe", "eventdate"} <= set(names):
        return None
    bought = "ordernumber" in names
    return EventMapping(
        name="Diginetica",
        session_id="sessionId",
        time=time_of_session,
        time_unit="ms",
        item_id="itemId",
        item_ids="integer",
        event_type=view_or_purchase if bought else None,
        event_types={"view": "view", "purchase": "order"} if bought else {},
        separator=";",
    )


def time_of_session(table: ir.Table) -> ir.IntegerValue:
    """Milliseconds: the day, and `timeframe`, those since the session began."""
    day = table.eventdate.try_cast("date") if table.eventdate.type().is_string() else table.eventdate.cast("date")
    return day.delta(ibis.date("1970-01-01"), unit="day").cast("int64") * _DAY_MS + fields.integer(table.timeframe)


def view_or_purchase(table: ir.Table) -> ir.StringValue:
    """Only purchases have the number of an order."""
    return ibis.ifelse(table.ordernumber.notnull(), "purchase", "view")
