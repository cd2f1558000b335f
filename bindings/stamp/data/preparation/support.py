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
    anything. Which products are left says it all: a session stays if it has enough events of them.

    A round looks at sessions of products that the last one left out, and at no others: many rounds change little.
    """
    live = engine.keep(long_enough(events.select(*SESSION, "item_id"), min_length))
    counts = engine.keep(live.group_by("item_id").aggregate(n=_.count()))
    gone = leaving = engine.keep(counts.filter(_.n < min_support).select("item_id"))
    short = engine.keep(live.select(*SESSION).limit(0))  # sessions that became too short
    rounds = 1
    while engine.values(leaving.aggregate(n=_.count()))["n"]:
        touched = _without(live.semi_join(leaving, "item_id").select(*SESSION).distinct(), short)
        rest = engine.keep(_with(live.anti_join(gone, "item_id"), touched))
        counted = rest.mutate(length=_.count().over(ibis.window(group_by=SESSION)))
        lost = engine.keep(counted.filter(_.length < min_length).drop("length"))
        short = engine.keep(short.union(lost.select(*SESSION).distinct()))
        fewer = lost.group_by("item_id").aggregate(less=_.count())
        counts = engine.keep(
            counts.anti_join(gone, "item_id").left_join(fewer, "item_id").select("item_id", n=_.n - _.less.fill_null(0))
        )
        leaving = engine.keep(counts.filter(_.n < min_support).select("item_id"))
        gone = engine.keep(gone.union(leaving))
        rounds += 1
    return counts.select("item_id"), rounds


def long_enough(events: ir.Table, min_length: int) -> ir.Table:
    """The events of sessions that have `min_length` of them or more."""
    if min_length <= 1:
        return events
    counted = events.mutate(length=_.count().over(ibis.window(group_by=SESSION)))
    return counted.filter(_.length >= min_length).drop("length")


def _with(events: ir.Table, sessions: ir.Table) -> ir.Table:
    return events.semi_join(sessions, _same(events, sessions))


def _without(events: ir.Table, sessions: ir.Table) -> ir.Table:
    return events.anti_join(sessions, _same(events, sessions))


def _same(left: ir.Table, right: ir.Table) -> list[ir.BooleanValue]:
    """Whether rows are of one session: of what tells sessions apart some is null everywhere."""
    return [left[name].identical_to(right[name]) for name in SESSION]
