"""What goes into quarantine beside the faults of rows: machines, and events that are sent twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from ibis import _

from ..engines.engine import Engine
from ..sources.faults import Limits, day, reason, row_faults

if TYPE_CHECKING:
    import ibis.expr.types as ir

# What tells events of one moment apart: what they are, never the order in which they came.
CONTENT = ("time_us", "item_id", "event_type", "session_id", "price_millionths", "quantity", "currency", "category", "brand",
           "event_id")  # fmt: skip
_HOUR = 3_600_000_000  # microseconds


def by_content(events: ir.Table) -> list[ir.Value]:
    """To order by, as far as it is there: alike on every engine, nulls first."""
    return [events[name].asc(nulls_first=True) for name in CONTENT if name in events.columns]


def with_reasons(events: ir.Table, limits: Limits, engine: Engine, *, event_ids: bool) -> ir.Table:
    """The events with `day`, and `reason`: why one goes into quarantine, null where it stays.

    `event_ids`: whether the shop's own ids tell which are the same. Duplicates without are found where events stand in
    order, in :mod:`.visits`.
    """
    judged = events.mutate(day=day(events.time_us), reason=reason(row_faults(events, limits)))
    if event_ids:
        judged = _with_duplicate_ids(judged)
    bots = _bot_days(judged.filter(_.reason.isnull()).select("visitor_id", "day", "time_us"), limits, engine)
    found = judged.left_join(bots, ["visitor_id", "day"])
    return found.select(*events.columns, "day", reason=_.reason.coalesce(ibis.cases((_.is_bot, "bot"))))


def _bot_days(events: ir.Table, limits: Limits, engine: Engine) -> ir.Table:
    """visitor_id, day and is_bot, which is true, of visitors with more events on a day, or in an hour of it, than people
    have."""
    few = min(limits.bot_events_a_day, limits.bot_events_an_hour)
    # A group of hours for each visitor would be as many rows as sessions: only busy days have theirs. Those are kept, or an
    # engine would hold all events to look at them twice.
    busy = engine.keep(events.group_by("visitor_id", "day").aggregate(a_day=_.count()).filter(_.a_day > few))
    of_busy = events.semi_join(busy, ["visitor_id", "day"])
    by_hour = of_busy.group_by("visitor_id", "day", hour=(_.time_us // _HOUR).cast("int64")).aggregate(n=_.count())
    by_day = by_hour.group_by("visitor_id", "day").aggregate(a_day=_.n.sum(), an_hour=_.n.max())
    bots = by_day.filter((_.a_day > limits.bot_events_a_day) | (_.an_hour > limits.bot_events_an_hour))
    return engine.keep(bots.select("visitor_id", "day", is_bot=ibis.literal(True)))


def _with_duplicate_ids(judged: ir.Table) -> ir.Table:
    """Of good events of one id and product all but the first are duplicates. (One event may be of several products.)"""
    alike = ibis.window(
        group_by=["event_id", "item_id", judged.reason.isnull()], order_by=[*by_content(judged), judged.visitor_id]
    )  # fmt: skip
    again = judged.event_id.notnull() & judged.reason.isnull() & (ibis.row_number().over(alike) > 0)
    return judged.mutate(reason=judged.reason.coalesce(ibis.cases((again, "duplicate"))))
