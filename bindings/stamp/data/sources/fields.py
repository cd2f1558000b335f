"""Values of raw columns as the table of events has them: texts, integers, millionths.

All is integers and strings, so that engines agree. What cannot be read is null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis

if TYPE_CHECKING:
    import ibis.expr.types as ir

MILLION = 1_000_000
_MOST_MILLIONTHS = 9_000_000_000  # units: floats hold every millionth up to 2^53 of them
_WHOLE = r"^-?[0-9]{1,18}$"
NUMBER = r"^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$"


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
        exact = ibis.cases((number.between(-(2.0**53), 2.0**53), number))  # and no NaN: engines refuse to floor one
        return ibis.cases((exact.floor() == exact, exact.cast("int64")))
    return ibis.null("int64")


def millionths(value: ir.Value) -> ir.IntegerValue:
    """Of a number of any kind, or of a text of one. What lies between two goes to the nearest, half upwards."""
    if value.type().is_string():
        value = ibis.cases((value.re_search(NUMBER), value.try_cast("float64")))
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
