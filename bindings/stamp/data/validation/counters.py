"""Counters of days: Ibis aggregates of the table of events. All are integers, so that engines agree.

One scan counts rows (:func:`rows_of_days`); others are there for what one grouped aggregate cannot count: visits
(a visitor's events), products, repeats, values of columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import ibis

from ..sources.faults import DAY, Limits, day, reason, row_faults
from ..sources.mapping import KINDS

if TYPE_CHECKING:
    import ibis.expr.types as ir

TOP = 100  # products, and values of a column, that are told by name
NULLABLE = ("session_id", "price_millionths", "quantity", "currency", "category", "brand", "event_id")
MIXED = ("raw_event_type", "currency", "category", "brand")  # columns whose values are counted
LENGTHS = {
    "1": (1, 1),
    "2": (2, 2),
    "3_to_4": (3, 4),
    "5_to_8": (5, 8),
    "9_to_16": (9, 16),
    "17_or_more": (17, None),
}  # of sessions
PATTERNS = {"digits": r"^[0-9]+$", "decimal": r"^[0-9]+[.][0-9]*$"}  # and "other"
# Prices are counted in ten bands a decade, from a hundredth to a million: fine enough to make deciles of any shop's.
PRICE_EDGES = tuple(round(10_000 * 10 ** (step / 10)) for step in range(81))  # millionths
# Control characters, the sign for what could not be decoded, and UTF-8 that was read as Latin-1.
_UNREADABLE = "\\p{Cc}|\ufffd|[\u00c2\u00c3][\u0080-\u00bf]"
_HOUR = DAY // 24
_LONG_SESSION = DAY  # no visit lasts longer
# A shared id is active through the day or, where the shop gives sessions, in more of them than a person has.
_SHARED_SPAN = 18 * _HOUR
_SHARED_SESSIONS = 50
_NAME = 100  # letters of a value that is counted by name


def with_reasons(events: ir.Table, limits: Limits) -> ir.Table:
    """The table of events with `day` (null where a row is of no day, or of none that is judged) and `reason` (null of
    rows that are usable)."""
    faults = row_faults(events, limits)
    misplaced = ibis.or_(*(faults[name] for name in ("future", "before_window", "after_window")))
    return events.mutate(
        day=ibis.cases((events.time_us.notnull() & ~misplaced, day(events.time_us))), reason=reason(faults)
    )


def fault_names(events: ir.Table, limits: Limits) -> list[str]:
    return list(row_faults(events, limits))


def rows_of_days(events: ir.Table, reasons: list[str]) -> ir.Table:
    """A row for each day, and one for none: the counters that one scan gives."""
    usable = events.reason.isnull()
    counts = {"rows": events.count(), "usable": events.count(where=usable)}
    counts |= {f"fault__{name}": events.count(where=events.reason == name) for name in reasons}
    # Other fields that cannot be read leave a row usable.
    counts["malformed_fields"] = events.count(where=usable & events.malformed.notnull())
    counts |= {f"kind__{kind}": events.count(where=usable & (events.event_type == kind)) for kind in KINDS}
    counts |= {f"null__{name}": events.count(where=usable & events[name].isnull()) for name in NULLABLE}
    counts["not_positive"] = events.count(where=usable & (events.price_millionths <= 0))
    for name in ("item_id", "visitor_id"):
        counts |= _patterns(name, events[name], usable)
    texts = [events[name] for name in ("visitor_id", "item_id", "category", "brand") if events[name].type().is_string()]
    unreadable = ibis.or_(*(text.re_search(_UNREADABLE).fill_null(False) for text in texts))
    counts["unreadable"] = events.count(where=usable & unreadable)
    hour = (events.time_us % DAY) // _HOUR
    counts |= {f"hour__{h}": events.count(where=usable & (hour == h)) for h in range(24)}
    return events.group_by("day").aggregate(**counts)


def _patterns(name: str, column: ir.Value, usable: ir.BooleanValue) -> dict[str, ir.IntegerScalar]:
    if not column.type().is_string():
        return {f"{name}__digits": column.count(where=usable), f"{name}__decimal": ibis.literal(0), f"{name}__other": ibis.literal(0)}  # fmt: skip
    like = {pattern: column.re_search(written) for pattern, written in PATTERNS.items()}
    counts = {f"{name}__{pattern}": column.count(where=usable & holds) for pattern, holds in like.items()}
    return {**counts, f"{name}__other": column.count(where=usable & ~like["digits"] & ~like["decimal"])}


def visits_of_days(events: ir.Table, limits: Limits) -> ir.Table:
    """A row for each day: what visitors did. A visitor's session is one of the shop's, or else the whole day.

    Grouped by hour, session, visitor and day, one after the other, so that the events are scanned once.
    """
    dated = events.filter(events.day.notnull(), events.visitor_id.notnull())
    usable = dated.reason.isnull()
    hours = dated.group_by("day", "visitor_id", "session_id", hour=(dated.time_us % DAY) // _HOUR).aggregate(
        n=dated.count(where=usable),
        views=dated.count(where=usable & (dated.event_type == "view")),
        orders=dated.count(where=usable & (dated.event_type == "order")),
        items=dated.item_id.count(),
        first=dated.time_us.min(where=usable),
        last=dated.time_us.max(where=usable),
    )
    sessions = hours.group_by("day", "visitor_id", "session_id").aggregate(
        n=hours.n.sum(), views=hours.views.sum(), orders=hours.orders.sum(), items=hours["items"].sum(),
        first=hours["first"].min(), last=hours["last"].max(), given=hours.session_id.count(),
    )  # fmt: skip
    busiest = hours.group_by("day", "visitor_id", "hour").aggregate(n=hours.n.sum())
    busiest = busiest.group_by("day", "visitor_id").aggregate(busiest=busiest.n.max())
    visitors = sessions.group_by("day", "visitor_id").aggregate(
        n=sessions.n.sum(), sessions=sessions.count(where=sessions.n > 0), views=sessions.views.sum(),
        orders=sessions.orders.sum(), items=sessions["items"].sum(), given=sessions.given.sum(),
        first=sessions["first"].min(), last=sessions["last"].max(),
        several=sessions.count(where=sessions.n > 1),
        tied=sessions.count(where=(sessions.n > 1) & (sessions["first"] == sessions["last"])),
        **{f"length__{name}": sessions.count(where=_within(sessions.n, *ends)) for name, ends in LENGTHS.items()},
    )  # fmt: skip
    visitors = visitors.join(busiest, ["day", "visitor_id"])
    visitors = visitors.mutate(before=visitors.day.lag().over(group_by="visitor_id", order_by="day"))
    bot = (visitors.n > limits.bot_events_a_day) | (visitors.busiest > limits.bot_events_an_hour)
    shared = bot & ibis.ifelse(
        visitors.given > 0, visitors.sessions >= _SHARED_SESSIONS, visitors["last"] - visitors["first"] >= _SHARED_SPAN
    )
    there = visitors.n > 0
    return visitors.group_by("day").aggregate(
        visitors=visitors.count(where=there),
        known=visitors.count(where=there & (visitors.before == visitors.day - 1)),
        without_items=visitors.count(where=visitors["items"] == 0),
        bots=visitors.count(where=bot),
        bot_rows=visitors.n.sum(where=bot),
        shared=visitors.count(where=shared),
        shared_rows=visitors.n.sum(where=shared),
        orders=visitors.orders.sum(),
        orders_without_view=visitors.orders.sum(where=visitors.views == 0),
        sessions=visitors.sessions.sum(),
        several=visitors.several.sum(),
        tied=visitors.tied.sum(),
        **{f"length__{name}": visitors[f"length__{name}"].sum() for name in LENGTHS},
    )


def _within(n: ir.IntegerValue, low: int, high: int | None) -> ir.BooleanValue:
    return n >= low if high is None else n.between(low, high)


def spans_of_days(events: ir.Table) -> ir.Table:
    """A row for each day: the shop's sessions that ended on it, and those of them that last longer than a day."""
    given = events.filter(events.reason.isnull(), events.session_id.notnull(), events.session_id != events.visitor_id)
    sessions = given.group_by("visitor_id", "session_id").aggregate(
        first=given.time_us.min(), last=given.time_us.max(), day=given.day.max()
    )
    long = sessions["last"] - sessions["first"] > _LONG_SESSION
    return sessions.group_by("day").aggregate(ended=sessions.count(), long=sessions.count(where=long))


def products_of_days(events: ir.Table) -> ir.Table:
    """A row for each day: how its rows are spread over products. `top` is a list of ids, in no order."""
    dated = events.filter(events.day.notnull(), events.item_id.notnull())
    products = dated.group_by("day", "item_id").aggregate(
        n=dated.count(where=dated.reason.isnull()), visited=dated.visitor_id.count()
    )
    products = products.mutate(
        before=products.day.lag().over(group_by="item_id", order_by="day"),
        rank=ibis.row_number().over(group_by="day", order_by=[products.n.desc(), products.item_id.asc()]),
    )
    there = products.n > 0
    return products.group_by("day").aggregate(
        products=products.count(where=there),
        without_visitors=products.count(where=products.visited == 0),
        squares=(products.n * products.n).sum().cast("int64"),
        top_rows=products.n.max(),
        known_rows=products.n.sum(where=products.before == products.day - 1),
        top=products.item_id.cast("string").collect(where=there & (products["rank"] < TOP)),
    )


def repeats_of_days(events: ir.Table, *, by_id: bool) -> ir.Table:
    """A row for each day: `repeats`, usable rows that have the visitor, time, product and kind of another; with `by_id`
    also those that have the product and event id of another. (One event may be of several products.)"""
    usable = events.filter(events.reason.isnull())
    same = usable.group_by("day", "visitor_id", "time_us", "item_id", "raw_event_type").aggregate(
        n=usable.count(), id=usable.event_id.min()
    )
    if not by_id:
        return same.group_by("day").aggregate(repeats=(same.n - 1).sum())
    # Of an id one is left; rows without one repeat no id.
    ids = same.group_by("day", "item_id", "id").aggregate(n=same.n.sum(), different=same.count())
    kept = ibis.ifelse(ids.id.isnull(), ids.different, 1)
    return ids.group_by("day").aggregate(repeats=(ids.n - kept).sum())


def values_of_days(events: ir.Table) -> ir.Table:
    """Rows of (day, column, value, n): how often the :data:`TOP` values of a column are there on a day, and the bands of
    prices, as the numbers of their edges."""
    dated = events.filter(events.day.notnull())
    parts = []
    for name in MIXED:
        counts = dated.select("day", value=dated[name].substr(0, _NAME)).filter(ibis._.value.notnull())
        counts = counts.group_by("day", "value").aggregate(n=ibis._.count())
        ranked = counts.mutate(
            rank=ibis.row_number().over(group_by="day", order_by=[counts.n.desc(), counts.value.asc()])
        )
        parts.append(ranked.filter(ranked["rank"] < TOP).select("day", "value", "n", column=ibis.literal(name)))
    priced = dated.select("day", price=dated.price_millionths).filter(ibis._.price > 0)
    bands = priced.select("day", value=_band(priced.price, 0, len(PRICE_EDGES)).cast("string"))
    parts.append(
        bands.group_by("day", "value")
        .aggregate(n=ibis._.count())
        .select("day", "value", "n", column=ibis.literal("price"))
    )
    return ibis.union(*parts)


def _band(price: ir.IntegerValue, low: int, high: int) -> ir.IntegerValue:
    """The number of edges from `low` to `high` that a price has reached, by halving: 7 comparisons a row."""
    if low == high:
        return ibis.literal(low)
    middle = (low + high) // 2
    return ibis.ifelse(price < PRICE_EDGES[middle], _band(price, low, middle), _band(price, middle + 1, high))


def unlisted_of_days(events: ir.Table, catalog: ir.Table) -> ir.Table:
    """A row for each day: `unlisted`, usable rows whose product the catalog lacks."""
    usable = events.filter(events.reason.isnull())
    clicked = usable.group_by("day", "item_id").aggregate(n=usable.count())
    missing = clicked.anti_join(catalog.select("item_id").distinct(), "item_id")
    return missing.group_by("day").aggregate(unlisted=missing.n.sum())


def catalog_counts(events: ir.Table, catalog: ir.Table) -> Mapping[str, ir.IntegerScalar]:
    """One row: rows and products of the catalog, those without a usable row of events, and by attribute those that have it."""
    usable = events.filter(events.reason.isnull())
    attributes = [name for name in catalog.columns if name != "item_id"]
    known = catalog.filter(catalog.item_id.notnull())
    products = known.group_by("item_id").aggregate(
        rows=known.count(), **{name: known[name].count() for name in attributes}
    )
    clicked = usable.select("item_id").distinct().mutate(clicked=ibis.literal(1))
    products = products.left_join(clicked, "item_id")
    return products.aggregate(
        rows=products.rows.sum(),
        products=products.count(),
        without_rows=products.count(where=products.clicked.isnull()),
        **{f"attribute__{name}": products.count(where=products[name] > 0) for name in attributes},
    )
