"""Sessions as they are trained on: every event with its place, its weight, and the event after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from ibis import _

from ..prepared.layout import SESSION_COLUMNS, SESSION_ORDER
from ..sources.faults import day
from ..sources.fields import MILLION
from .options import Options
from .visits import SESSION

if TYPE_CHECKING:
    import ibis.expr.types as ir

_ORDER = ("timestamp", "item_id", "event_type")  # in which no two events of a session are alike: see visits.SAME
_CENT = MILLION // 100
_LEAST, _MOST = MILLION // 10, 10  # the millionths, and the times, by which a value changes a weight at most
_MOST_VALUE = 9_000_000 * MILLION  # of an event, beyond which it is cut


def without_repeats(events: ir.Table) -> ir.Table:
    """Of events of one product that follow each other in a session, the first."""
    order = ibis.window(group_by=SESSION, order_by=_in_order(events))
    return events.mutate(before=events.item_id.lag().over(order)).filter(
        _.before.isnull() | (_.before != _.item_id)
    ).drop("before")  # fmt: skip


def weighed(events: ir.Table, options: Options, *, first: int, end: int) -> ir.Table:
    """With `value_millionths`, null where the price is unknown, and `weight_millionths`, for a window of the days `first`
    to before `end`.

    All of it is integers below 2^53, which engines divide alike, though some by floats: kind times value times age, each
    in millionths, the rest cut off.
    """
    value = _value(events)
    weight = ibis.cases(*((events.event_type == kind, w) for kind, w in options.weights.items())).cast("int64")
    if options.value:
        usual = options.value // _CENT
        cents = ibis.cases((value > _MOST * options.value, _MOST * usual), else_=value // _CENT)
        share = (cents * MILLION) // usual
        # Spelt out, as engines differ in what the least of a number and null is.
        weight = _times(weight, ibis.cases((value.isnull(), MILLION), (share < _LEAST, _LEAST), else_=share))
    if options.half_life:
        age = (end - 1 - day(events.timestamp)).cast("int64")
        shares = [(age == days, round(MILLION * 0.5 ** (days / options.half_life))) for days in range(end - first)]
        weight = _times(weight, ibis.cases(*shares, else_=0))
    return events.mutate(value_millionths=value, weight_millionths=weight)


def laid_out(events: ir.Table, *, visitors: bool, min_length: int) -> ir.Table:
    """Weighed events of sessions of `min_length` or more with their places and what follows, in the columns of prepared sessions.

    A session that began before the first of these events begins with it, as it would if no day before were there.
    `visitors`: whether the shop knows visitors, so that a session's id is the visitor's and its own.
    """
    order = ibis.window(group_by=SESSION, order_by=_in_order(events))
    whole = ibis.window(group_by=SESSION, order_by=_in_order(events), preceding=None, following=None)  # in one sort
    placed = events.mutate(
        position=ibis.row_number().over(order).cast("int64"),
        next_item_id=_.item_id.lead().over(order),
        next_weight_millionths=_.weight_millionths.lead().over(order),
        next_timestamp=_.timestamp.lead().over(order),
        session_start=_.timestamp.min().over(whole),
        session_end=_.timestamp.max().over(whole),
        length=_.count().over(whole),
    )
    by_pause = placed.visitor_id.concat("/", placed.session_start.cast("string"))
    of_shop = placed.visitor_id.concat("/", placed.session_id) if visitors else placed.session_id
    named = placed.mutate(session_id=of_shop.coalesce(by_pause))
    return named.filter(_.length >= min_length).select(*SESSION_COLUMNS)


def in_file_order(examples: ir.Table) -> ir.Table:
    return examples.order_by(*SESSION_ORDER)


def _in_order(events: ir.Table) -> list[ir.Value]:
    return [events[name].asc(nulls_first=True) for name in _ORDER]


def _value(events: ir.Table) -> ir.IntegerValue:
    """Price times quantity, which is 1 where it is unknown."""
    price, quantity = events.price_millionths, events.quantity.fill_null(1)
    # As floats, only to see whether it fits.
    large = price.cast("float64") * quantity.cast("float64") > float(_MOST_VALUE)
    return ibis.cases(
        ((price < 0) | (quantity < 0), ibis.null("int64")), (large, ibis.literal(_MOST_VALUE)), else_=price * quantity
    ).cast("int64")  # fmt: skip


def _times(weight: ir.IntegerValue, factor: ir.IntegerValue) -> ir.IntegerValue:
    return ((weight * factor) // MILLION).cast("int64")
