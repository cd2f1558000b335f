"""What is wrong with a row: the predicates that validation counts and preparation puts into quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis

if TYPE_CHECKING:
    import ibis.expr.types as ir

DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Beyond what a row, or a visitor, is a fault.

    Attributes
    ----------
    start, end : int or None
        The window, in microseconds since 1970 in UTC, without its end.
    now : int
        Microseconds: what is more than `skew` later lies in the future.
    skew : int
        Microseconds that a clock may be ahead; 5 minutes.
    sessions : bool
        Whether a row needs a session of the shop's.
    max_id_characters : int
        Of a product's id; a URL that was taken for one is longer.
    bot_events_a_day, bot_events_an_hour : int
        A visitor with more on a day, or in an hour, is a machine, and all its events of that day go. People who look at a
        product each six seconds for a whole hour are rare.
    """

    start: int | None = None
    end: int | None = None
    now: int
    skew: int = 300_000_000
    sessions: bool = False
    max_id_characters: int = 512
    bot_events_a_day: int = 1000
    bot_events_an_hour: int = 600


def day(micros: ir.IntegerValue) -> ir.IntegerValue:
    """Days since 1970, in UTC."""
    return (micros // DAY).cast("int64")


def row_faults(events: ir.Table, limits: Limits) -> dict[str, ir.BooleanValue]:
    """By reason, in this order: the first that holds is why a row goes into quarantine. None is ever null."""
    time, malformed = events.time_us, events.malformed.fill_null("")
    long = (
        events.item_id.length() > limits.max_id_characters if events.item_id.type().is_string() else ibis.literal(False)
    )
    return {
        "malformed_row": malformed == "row",
        "no_visitor": events.visitor_id.isnull(),
        "no_session": events.session_id.isnull() if limits.sessions else ibis.literal(False),
        "malformed_item": (malformed == "item_id") | long.fill_null(False),
        "no_item": events.item_id.isnull(),
        "malformed_time": malformed == "time",
        "no_time": time.isnull(),
        "future": (time > limits.now + limits.skew).fill_null(False),
        "before_window": ibis.literal(False) if limits.start is None else (time < limits.start).fill_null(False),
        "after_window": ibis.literal(False) if limits.end is None else (time >= limits.end).fill_null(False),
        "unknown_event_type": events.event_type.isnull(),
    }


def reason(faults: dict[str, ir.BooleanValue]) -> ir.StringValue:
    """The first that holds, null where none does."""
    return ibis.cases(*((holds, ibis.literal(name)) for name, holds in faults.items()))
