"""Values of raw columns as the table of events has them: texts, integers, millionths, microseconds.

All is integers and strings, so that engines agree. What cannot be read is null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

from ..engines.engine import Engine
from .mapping import TIME_UNITS
from .zones import utc_micros

if TYPE_CHECKING:
    import ibis.expr.types as ir

MILLION = 1_000_000
_MOST_MILLIONTHS = 9_000_000_000  # units: floats hold every millionth up to 2^53 of them
_WHOLE = r"^-?[0-9]{1,18}$"
_NUMBER = r"^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$"
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?( ?(Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?))?)?$"
)
_NAMED_UTC = r" ?(Z|UTC|GMT)$"
_OFFSET = r" ?[+-][0-9]{2}(:?[0-9]{2})?$"


def text(value: ir.Value) -> ir.StringValue:
    """As it is written; an empty one is null."""
    written: ir.StringValue = value if value.type().is_string() else value.cast("string")
    return written.nullif("")


def integer(value: ir.Value) -> ir.IntegerValue:
    """Of 64 bits; a float that is whole; a text of digits, of 18 at most."""
    kind = value.type()
    if kind.is_integer():
        return value.cast("int64")
    if kind.is_string():
        return ibis.cases((value.re_search(_WHOLE), value.try_cast("int64")))
    if kind.is_floating() or kind.is_decimal():
        number = value.cast("float64")
        return ibis.cases((number.between(-(2.0**53), 2.0**53) & (number.floor() == number), number.cast("int64")))
    return ibis.null("int64")


def millionths(value: ir.Value) -> ir.IntegerValue:
    """Of a number of any kind, or of a text of one. What lies between two goes to the nearest, half upwards."""
    if value.type().is_string():
        value = ibis.cases((value.re_search(_NUMBER), value.try_cast("float64")))
    elif not value.type().is_numeric():
        return ibis.null("int64")
    number = value.cast("float64")
    return ibis.cases(
        (number.between(-_MOST_MILLIONTHS, _MOST_MILLIONTHS), (number * float(MILLION) + 0.5).floor().cast("int64"))
    )


def item(value: ir.Value, ids: str) -> ir.Value:
    """A product's id, as the mapping says: an integer or a text."""
    kind = value.type()
    if ids == "text":
        return text(integer(value).cast("string") if kind.is_floating() else value)
    return text(value) if kind.is_string() and ids == "as they are" else integer(value)


def micros(engine: Engine, value: ir.Value, unit: str | None, zone: str | None) -> ir.IntegerValue:
    """Microseconds since 1970 in UTC of a time of any kind; `unit` is there where numbers are times."""
    kind = value.type()
    if kind.is_timestamp():
        found = engine.micros(value)
        return utc_micros(found, zone) if kind.timezone is None and zone is not None else found
    if kind.is_date():
        found = engine.micros(value.cast("timestamp"))
        return found if zone is None else utc_micros(found, zone)
    if unit is not None:
        return unix(value, unit)
    return _iso(engine, value, zone) if kind.is_string() else ibis.null("int64")


def unix(value: ir.Value, unit: str) -> ir.IntegerValue:
    """Of a number, or a text of one: exact where it is whole, else to the nearest microsecond."""
    whole = integer(value)
    if unit == "ns":
        # The last three digits go: as texts, since engines divide large integers as floats.
        digits = whole.cast("string")
        return ibis.cases((digits.length() > 3, digits.left(digits.length() - 3).try_cast("int64")))
    factor = TIME_UNITS[unit]
    exact = ibis.cases((whole.between(-(2**62) // factor, 2**62 // factor), whole * factor))
    if value.type().is_integer():
        return exact
    if value.type().is_string():
        value = ibis.cases((value.re_search(_NUMBER), value.try_cast("float64")))
    number = value.cast("float64") * float(factor)
    nearest = ibis.cases((number.between(-(2.0**53), 2.0**53), (number + 0.5).floor().cast("int64")))
    return ibis.coalesce(exact, nearest)


def _iso(engine: Engine, value: ir.StringValue, zone: str | None) -> ir.IntegerValue:
    """ISO 8601, with T or a space, with an offset or without."""
    whole = value.strip()
    whole = ibis.cases((whole.re_search(_ISO), whole)).re_replace(_NAMED_UTC, "+00:00").replace("T", " ")
    local = ibis.cases((whole.length() > 10, whole.re_replace(_OFFSET, "")), else_=whole)  # -02 ends a date, too
    offset = whole.substr(local.length()).replace(" ", "").replace(":", "")
    seconds = ibis.cases(
        (local.length() == 10, local.concat(" 00:00:00")), (local.length() == 16, local.concat(":00")), else_=local
    ).left(26)  # which ends with microseconds
    shown = engine.micros(seconds.try_cast("timestamp"))
    hours, minutes = offset.substr(1, 2).try_cast("int64"), offset.substr(3, 2).nullif("").try_cast("int64")
    ahead = (hours * 60 + minutes.fill_null(0)) * 60 * MILLION
    unzoned = shown if zone is None else utc_micros(shown, zone)
    return ibis.cases((offset == "", unzoned), (offset.left(1) == "-", shown + ahead), else_=shown - ahead)
