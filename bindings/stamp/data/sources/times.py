"""Times of any kind as microseconds since 1970 in UTC, in steps, so that no step's expression repeats those before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
from ibis import _

from ..engines.engine import Engine
from .fields import MILLION, NUMBER, integer
from .mapping import TIME_UNITS
from .zones import utc_micros

if TYPE_CHECKING:
    import ibis.expr.types as ir

_SAMPLE = 10_000  # rows that say what unit times are in
_UNITS = (("s", 10**11), ("ms", 10**14), ("us", 10**17), ("ns", 2**63))  # and what they are below (docs/data.md)
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?( ?(Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?))?)?$"
)
_ZONE = r" ?(Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?)$"


def with_micros(
    rows: ir.Table, engine: Engine, unit: str | None, zone: str | None, *, of: str = "time", named: str = "time_us"
) -> ir.Table:
    """`rows` with a column of int64 more, of their column `of`, null where that cannot be read. `unit` is there where numbers
    are times."""
    time = rows[of]
    kind = time.type()
    if kind.is_timestamp() or kind.is_date():
        timed = rows.mutate(**{named: engine.micros(time if kind.is_timestamp() else time.cast("timestamp"))})
        if zone is None or (kind.is_timestamp() and kind.timezone is not None):
            return timed
        return timed.mutate(**{named: utc_micros(timed[named], zone)})
    if unit is not None:
        return rows.mutate(**{named: unix(time, unit)})
    return _of_iso(rows, engine, zone, of, named) if kind.is_string() else rows.mutate(**{named: ibis.null("int64")})


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
        value = ibis.cases((value.re_search(NUMBER), value.try_cast("float64")))
    number = value.cast("float64") * float(factor)
    nearest = ibis.cases((number.between(-(2.0**53), 2.0**53), (number + 0.5).floor().cast("int64")))
    return ibis.coalesce(exact, nearest)


def _of_iso(rows: ir.Table, engine: Engine, zone: str | None, of: str, named: str) -> ir.Table:
    """ISO 8601, with T or a space, with an offset or without."""
    whole, local, offset, shown, ahead = (f"{of}_{step}" for step in ("whole", "local", "offset", "shown", "ahead"))
    kept = rows.columns
    rows = rows.mutate(**{whole: _[of].strip()})
    rows = rows.mutate(**{whole: ibis.cases((_[whole].re_search(_ISO), _[whole]))})
    rows = rows.mutate(**{local: ibis.cases((_[whole].length() > 10, _[whole].re_replace(_ZONE, "")), else_=_[whole])})
    till_seconds = ibis.cases((_[local].length() == 10, " 00:00:00"), (_[local].length() == 16, ":00"), else_="")
    rows = rows.mutate(**{
        offset: _[whole].substr(_[local].length()).replace(" ", "").replace(":", ""),
        local: _[local].replace("T", " ").concat(till_seconds),
    })  # fmt: skip
    rows = rows.mutate(**{
        shown: engine.micros(rows[local].left(26).try_cast("timestamp")),  # which ends with microseconds
        ahead: ibis.cases((_[offset].left(1).isin(["+", "-"]), _minutes(_[offset]) * (60 * MILLION))),
    })  # fmt: skip
    moment = ibis.cases(
        (rows[offset] == "", rows[shown] if zone is None else utc_micros(rows[shown], zone)),
        (rows[offset].left(1) == "+", rows[shown] - rows[ahead]),
        (rows[offset].left(1) == "-", rows[shown] + rows[ahead]),
        else_=rows[shown],
    )
    return rows.mutate(**{named: moment}).select(*dict.fromkeys((*kept, named)))


def _minutes(offset: ir.StringValue) -> ir.IntegerValue:
    """Of "+0530" or "+05"."""
    return offset.substr(1, 2).try_cast("int64") * 60 + offset.substr(3, 2).try_cast("int64").fill_null(0)


def find_unit(engine: Engine, times: ir.Value) -> tuple[str, int] | None:
    """The unit of times that are numbers, by the first of them, and one of these; None where most are none.
    ValueError where they could be in two units."""
    if not (times.type().is_numeric() or times.type().is_string()):
        return None
    seconds = unix(times, "s")  # whatever the unit: the number, times a million
    number = ibis.cases((seconds.notnull(), seconds // MILLION), else_=integer(times))
    sample = (
        times.name("time").as_table().select(number=number.abs(), there=times.notnull()).filter(_.there).limit(_SAMPLE)
    )
    found = engine.values(
        sample.aggregate(least=_.number.min(), most=_.number.max(), numbers=_.number.count(), times=_.count())
    )  # fmt: skip
    if 2 * found["numbers"] <= found["times"]:
        return None
    low, high = (next(unit for unit, below in _UNITS if found[end] < below) for end in ("least", "most"))
    if low != high:
        raise ValueError(
            f"times are numbers, of which {found['least']} is unix time in {low} and {found['most']} in {high}; say time_unit"
        )
    return high, found["most"]
