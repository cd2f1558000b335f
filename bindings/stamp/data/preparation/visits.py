"""Events in their sessions: a pause begins one, or the shop says which it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from ibis import _

from ..engines.engine import Engine
from .cleaning import by_content

if TYPE_CHECKING:
    import ibis.expr.types as ir

# Of prepared data's events.
STORED = (
    "visitor_id", "session_id", "session_start", "timestamp", "item_id", "event_type", "price_millionths", "quantity",
    "currency", "category", "brand",
)  # fmt: skip
SESSION = ["visitor_id", "session_id", "session_start"]  # equal for events of one session, and for no others
# What events are needed for sessions: engines sort them, and shall not carry what nobody asks for.
USED = (
    "session_id", "time_us", "item_id", "event_type", "price_millionths", "quantity", "currency", "category", "brand",
)  # fmt: skip
SAME = ("time_us", "item_id", "event_type", "session_id")  # of a visitor: one event, sent twice


def in_sessions(events: ir.Table, *, gap: int | None, known: ir.Table | None = None) -> ir.Table:
    """Good events with `duplicate`, whether the visitor's event before it is the same one, and `session_start`.

    A session begins with an event `gap` microseconds or less before which its visitor did nothing, whatever midnights lie
    between, and `session_start` is its time; null where `gap` is None, as the shop's sessions are taken.

    `known` are the stored events of the `gap` before these, whose sessions go on here.
    """
    events = events.mutate(known_start=ibis.null("int64"))
    if known is not None:
        before = known.mutate(time_us=_.timestamp, known_start=_.session_start)
        nothing = {name: ibis.null(events[name].type()) for name in events.columns if name not in before.columns}
        events = events.union(before.mutate(**nothing).select(*events.columns))
    order = ibis.window(group_by="visitor_id", order_by=by_content(events))
    same = ibis.and_(*(events[name].identical_to(events[name].lag().over(order)) for name in SAME))
    pause = events.time_us - events.time_us.lag().over(order)
    events = events.mutate(duplicate=same & pause.notnull(), pause=pause)
    if gap is None:
        return events.mutate(session_start=ibis.null("int64")).drop("pause", "known_start")
    begins = ibis.cases((events.pause.isnull() | (events.pause > gap), events.time_us))
    # Of events of one time any may be first: all of them are seen, as the range ends with the time, not with the row.
    so_far = ibis.range_window(preceding=None, following=0, group_by="visitor_id", order_by="time_us")
    start = events.known_start.coalesce(begins).max().over(so_far)
    return events.mutate(session_start=start).filter(_.known_start.isnull()).drop("pause", "known_start")


def sent_twice(good: ir.Table, placed: ir.Table, engine: Engine) -> ir.Table:
    """Of all that the shop said of good events, those that are duplicates in `placed`, where they are in sessions."""
    again = engine.keep(placed.filter(_.duplicate).select("visitor_id", *SAME).distinct())  # so that it knows how few
    never_null = ("visitor_id", "time_us", "item_id", "event_type")
    equal = [good[name] == again[name] for name in never_null]
    alike = good.semi_join(again, [*equal, good.session_id.identical_to(again.session_id)])
    rest = [alike[name].asc(nulls_first=True) for name in ("raw_event_type", "malformed")]
    order = ibis.window(group_by=["visitor_id", *SAME], order_by=[*by_content(alike), *rest])
    return engine.keep(alike.mutate(place=ibis.row_number().over(order)).filter(_.place > 0).drop("place"))


def stored(events: ir.Table) -> ir.Table:
    """As prepared data keep them, duplicates left out, and `day`."""
    return events.filter(~_.duplicate).rename(timestamp="time_us").select("day", *STORED)
