"""Which products are seen often enough to learn from, in sessions that are long enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from ibis import _

from ..engines.engine import Engine
from .visits import SESSION

if TYPE_CHECKING:
    import ibis.expr.types as ir


def supported_items(events: ir.Table, engine: Engine, *, min_support: int, min_length: int) -> tuple[ir.Table, int]:
    """The products (`item_id`) that have `min_support` events or more in sessions that have `min_length` events or more
    of such products; and how many rounds it took.

    Leaving out products shortens sessions, and leaving out sessions takes support from products, until neither changes
    anything. The products say it all: a session stays if it has enough events of them.
    """
    items = _counted(events, engine, min_support)
    there = engine.values(items.aggregate(n=_.count()))["n"]
    for rounds in range(1, there + 2):
        long = long_enough(events, items, min_length)
        items = _counted(long, engine, min_support)
        left = engine.values(items.aggregate(n=_.count()))["n"]
        if left == there:
            return items, rounds
        there = left
    raise AssertionError("each round leaves out a product or is the last")


def long_enough(events: ir.Table, items: ir.Table, min_length: int) -> ir.Table:
    """The events of these products in sessions that have `min_length` of them or more."""
    of_items = events.semi_join(items, "item_id")
    if min_length <= 1:
        return of_items
    counted = of_items.mutate(length=_.count().over(ibis.window(group_by=SESSION)))
    return counted.filter(_.length >= min_length).drop("length")


def _counted(events: ir.Table, engine: Engine, min_support: int) -> ir.Table:
    counts = events.group_by("item_id").aggregate(n=_.count())
    return engine.keep(counts.filter(_.n >= min_support).select("item_id"))
