"""The table of events: what every source becomes, whatever it looked like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ibis

from ..engines.engine import Engine
from . import fields
from .mapping import EventMapping, Field
from .times import with_micros

if TYPE_CHECKING:
    import ibis.expr.types as ir


_OPTIONAL = ("session_id", "price", "quantity", "currency", "category", "brand", "event_id")


def rows_about_products(raw: ir.Table, mapping: EventMapping, engine: Engine) -> ir.Table:
    """The rows that the mapping is for, each element of its list a row; a row whose list is empty is one, too."""
    raw = _parsed(raw, mapping, engine)
    if mapping.only is not None:
        raw = raw.filter(column(raw, "only", mapping.only).fill_null(False))
    if mapping.unnest is None:
        return raw
    name = mapping.unnest.rpartition(".")[2]
    return raw.mutate(**{name: column(raw, "unnest", mapping.unnest)}).unnest(name, keep_empty=True)


def without_missing(mapping: EventMapping, rows: ir.Table) -> tuple[EventMapping, list[str]]:
    """A ready mapping without the optional fields that these rows have no columns for, and which those are."""
    left: dict[str, Any] = {}
    for name in _OPTIONAL:
        given = getattr(mapping, name)
        if callable(given) or isinstance(given, str):
            left[name] = given if _is_there(rows, given) else None
        elif given is not None:
            left[name] = tuple(path for path in given if _is_there(rows, path)) or None
    return replace(mapping, **left), [name for name, given in left.items() if given is None]


def _is_there(rows: ir.Table, given: Field) -> bool:
    try:
        column(rows, "", given)
    except (ValueError, AttributeError, KeyError):  # the latter two of a function
        return False
    return True


def _parsed(raw: ir.Table, mapping: EventMapping, engine: Engine) -> ir.Table:
    """JSON texts as the fields that the mapping looks for in them."""
    wanted: dict[str, list[str]] = {}
    for given in mapping.fields().values():
        for path in () if callable(given) else [given] if isinstance(given, str) else given:
            name, _, field = path.partition(".")
            if field and path not in raw.columns and name in raw.columns and raw[name].type().is_string():
                wanted.setdefault(name, []).append(field)
    parsed = {}
    for name, fields_there in wanted.items():
        text = raw[name].nullif("")
        if name == mapping.unnest:
            parsed[name] = engine.json_objects(text, fields_there)
        else:
            parsed[name] = engine.json_objects(ibis.literal("[").concat(text, "]"), fields_there)[0]
    return raw.mutate(**parsed) if parsed else raw


def events_of(rows: ir.Table, mapping: EventMapping, engine: Engine, time_unit: str | None) -> ir.Table:
    """Of what :func:`rows_about_products` gives, one event a row, with these columns.

    visitor_id, session_id : string, null where there is none
    time_us : int64, microseconds since 1970 in UTC, null where missing or malformed
    item_id : string or int64, as the mapping says
    event_type : string, "view", "cart", "remove" or "order"; null for a kind that the mapping does not know
    raw_event_type : string, as the shop writes it
    price_millionths : int64, of a unit of the currency
    quantity : int64
    currency, category, brand, event_id : string
    malformed : string, the first field that is there and cannot be read; "row" where all of a row is null; else null
    """
    given = rows.select(**{name: column(rows, name, of) for name, of in mapping.fields().items() if name != "only"})
    timed = with_micros(given, engine, time_unit, mapping.time_zone)
    raw = {name: timed[name] for name in given.columns}
    read = {
        "time": timed.time_us,
        "item_id": fields.item(raw["item_id"], mapping.item_ids),
        "price_millionths": fields.millionths(raw["price"]) if "price" in raw else ibis.null("int64"),
        "quantity": fields.integer(raw["quantity"]) if "quantity" in raw else ibis.null("int64"),
    }

    def written(name: str) -> ir.StringValue:
        return fields.text(raw[name]) if name in raw else ibis.null("string")

    def unreadable(name: str, what: str) -> ir.BooleanValue:
        return read[what].isnull() & written(name).notnull()

    kind = written("event_type")
    empty = [value.isnull() for value in raw.values()]
    checked = (("item_id", "item_id"), ("time", "time"), ("price", "price_millionths"), ("quantity", "quantity"))
    visitor = written("visitor_id") if "visitor_id" in raw else written("session_id")
    return timed.select(
        visitor_id=visitor,
        session_id=written("session_id"),
        time_us=read["time"],
        item_id=read["item_id"],
        event_type=_kind(kind, mapping) if "event_type" in raw else ibis.literal("view"),
        raw_event_type=kind,
        price_millionths=read["price_millionths"],
        quantity=read["quantity"],
        currency=written("currency"),
        category=written("category"),
        brand=written("brand"),
        event_id=written("event_id"),
        malformed=ibis.cases(
            (ibis.and_(*empty), "row"), *((unreadable(name, what), name) for name, what in checked if name in raw)
        ),
    )


def unreadable_events(lines: ir.Table, like: ir.Table) -> ir.Table:
    """Lines of files that are no rows, as events of which nothing is known but the text, as the kind that they say."""
    nothing = {name: ibis.null(kind) for name, kind in like.schema().items()}
    return lines.select(**{**nothing, "raw_event_type": lines.line, "malformed": ibis.literal("row")})


def _kind(raw: ir.StringValue, mapping: EventMapping) -> ir.StringValue:
    return ibis.cases(*((raw == each, ours) for each, ours in mapping.event_types.items()))


def column(table: ir.Table, what: str, given: Field) -> ir.Value:
    """What a field of a mapping is. ValueError where the table has no such column."""
    if isinstance(given, str):
        return _at(table, what, given)
    if isinstance(given, Sequence):
        found = [_at(table, what, path) for path in given]
        texts = any(each.type().is_string() for each in found)
        return ibis.coalesce(*(each.cast("string") if texts else each for each in found))
    return given.resolve(table) if isinstance(given, ibis.Deferred) else given(table)


def _at(table: ir.Table, what: str, path: str) -> ir.Value:
    """A column, or a field within one."""
    if path in table.columns:
        return table[path]
    first, *rest = path.split(".")
    found: Any = table[first] if first in table.columns else None
    for name in rest:
        within = found is not None and found.type().is_struct() and name in found.type().names
        found = found[name] if within else None
    if found is None:
        raise ValueError(f"{what} is '{path}', which is none of the columns {', '.join(table.columns)}")
    return found
