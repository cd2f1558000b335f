"""Products as of the end of the window: what the catalog says, and what visitors did with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ibis
from ibis import _

from ..engines.engine import Engine
from ..sources import fields
from ..sources.times import find_unit, with_micros

if TYPE_CHECKING:
    import ibis.expr.types as ir

_UNDERSTOOD = ("price", "available", "updated")  # columns of a catalog, beside its ids
_SEEN = ("item_id", "first_seen", "last_seen", "events", "available", "price_millionths")


def seen_products(events: ir.Table) -> ir.Table:
    """item_id, first_seen, last_seen, events, and the last price, category and brand that events had: of those of one
    moment the largest."""
    named = ("price_millionths", "category", "brand")
    last = {name: f"{name}_known" for name in named}
    found = events.group_by("item_id").aggregate(
        first_seen=_.timestamp.min(), last_seen=_.timestamp.max(), events=_.count(),
        **{at: events.timestamp.max(where=events[name].notnull()) for name, at in last.items()},
    )  # fmt: skip
    joined = events.select("item_id", "timestamp", *named).inner_join(
        found.select("item_id", *last.values()), "item_id"
    )
    then = {name: joined.timestamp == joined[at] for name, at in last.items()}
    latest = (
        joined.filter(ibis.or_(*then.values()))
        .group_by("item_id")
        .aggregate(**{name: joined[name].max(where=there) for name, there in then.items()})
    )
    return found.drop(*last.values()).left_join(latest, "item_id").drop("item_id_right")


def latest_products(engine: Engine, catalog: ir.Table, columns: Mapping[str, str], *, end: int) -> ir.Table:
    """Of each product of an opened catalog the latest row that was there before `end` (microseconds): item_id, available,
    price_millionths and all other columns as attributes. `columns` are those that are called otherwise.

    Raises
    ------
    ValueError
        A column that is named is missing, or one is called as what prepared products have of their own.
    """
    names = {what: columns.get(what, what) for what in _UNDERSTOOD}
    for what, name in names.items():
        if name not in catalog.columns and what in columns:
            raise ValueError(f"catalog: {what} is '{name}', which is none of the columns {', '.join(catalog.columns)}")
    there = {what: catalog[name] for what, name in names.items() if name in catalog.columns}
    others = [name for name in catalog.columns if name != "item_id" and name not in names.values()]
    for name in others:
        if name in _SEEN:
            raise ValueError(
                f"catalog: '{name}' is an attribute, and what prepared products have of their own; rename it"
            )
    read: dict[str, Any] = {
        "available": _truth(there["available"]) if "available" in there else ibis.null("boolean"),
        "price_millionths": fields.millionths(there["price"]) if "price" in there else ibis.null("int64"),
        "updated": there.get("updated", ibis.literal(0)),
    }
    rows = catalog.select("item_id", *others, **read).filter(_.item_id.notnull())
    if "updated" in there:
        unit, _example = find_unit(engine, rows.updated) or (None, None)
        rows = with_micros(rows, engine, unit, None, of="updated", named="updated")
    rows = rows.filter(_.updated.fill_null(0) < end)
    contents = [rows[name].asc(nulls_first=True) for name in rows.columns if name != "updated"]
    latest = ibis.window(group_by="item_id", order_by=[rows.updated.desc(nulls_first=False), *contents])
    return rows.mutate(place=ibis.row_number().over(latest)).filter(_.place == 0).drop("place", "updated")


def products(seen: ir.Table, catalog: ir.Table | None) -> ir.Table:
    """Products of the catalog and of the events, in the order of their ids; what the catalog knows goes first."""
    if catalog is None:
        joined = seen.mutate(available=ibis.null("boolean"))
    else:
        joined = seen.outer_join(catalog, "item_id", rname="{name}_listed")
        twice = [name for name in seen.columns if name in catalog.columns]
        listed = {name: joined[f"{name}_listed"].coalesce(joined[name]) for name in twice}
        joined = joined.mutate(**listed).drop(*(f"{name}_listed" for name in twice))
        joined = joined.mutate(events=_.events.fill_null(0))
    others = [name for name in joined.columns if name not in _SEEN]
    return joined.select(*_SEEN, *others).order_by("item_id")


def _truth(value: ir.Value) -> ir.BooleanValue:
    """Of truth values, of numbers (a stock above 0), and of the words that shops write."""
    kind = value.type()
    if kind.is_boolean():
        return value
    if kind.is_numeric():
        return value > 0
    word = value.cast("string").lower()
    return ibis.cases(
        (word.isin(["true", "yes", "1", "in_stock", "in stock", "instock", "available"]), True),
        (word.isin(["false", "no", "0", "out_of_stock", "out of stock", "outofstock", "unavailable", ""]), False),
    )
