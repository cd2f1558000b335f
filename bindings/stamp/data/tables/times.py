"""Moments and spans of time, as microseconds."""

from __future__ import annotations

import datetime
import decimal
import re
from typing import Any

import numpy as np

from .columns import Column, arrow_missing, inexact_from, is_arrow, is_missing, require_complete

_EXPECTED = "expected datetimes, unix time or ISO 8601 texts"

# Units of unix time: the least size of a number that is of it, and the factor and divisor that make microseconds of it.
# Milliseconds begin in March 1973, where seconds end in the year 5138; so it goes on.
_UNITS = (
    ("seconds", 0, 1_000_000, 1),
    ("milliseconds", 10**11, 1_000, 1),
    ("microseconds", 10**14, 1, 1),
    ("nanoseconds", 10**17, 1, 1_000),
)

# A moment as ISO 8601 has it: date, time, sign, hours and minutes of the offset.
_ISO = re.compile(
    r"\s*(\d{4}-\d\d(?:-\d\d)?)(?:[T ](\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?) ?(?:Z|UTC|GMT|([+-])(\d\d):?(\d\d)?)?)?\s*"
)
_ZONE = r"[T ].*(Z|[+-]\d\d(:?\d\d)?)$"  # at the end of a moment, for Arrow's expressions, too
_NAMES = ("UTC", "GMT")  # which Arrow does not read
_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?([eE][+-]?\d+)?\s*")


def microseconds(what: str, column: Column) -> np.ndarray:
    """Times [n] as int64 microseconds since 1970, by what the values are, whatever they come in.

    Datetimes of any unit, dates, unix time, ISO 8601 texts, texts of unix time; without an offset UTC. Unix time is in
    seconds, milli-, micro- or nanoseconds by its size (below 10¹¹, 10¹⁴, 10¹⁷ and above), a whole column in one of them.
    Messages of ValueErrors begin with `what`, and name value and row.
    """
    if is_arrow(column):
        return _from_arrow(what, column)
    values = np.asarray(column)
    if values.dtype.kind == "M":
        return _from_datetimes(what, values)
    if values.dtype.kind in "iuf":
        return _from_numbers(what, values)
    if values.dtype.kind in "OU":
        return _from_objects(what, values.tolist())
    raise ValueError(f"{what} has dtype {values.dtype} with values like {values[:1].tolist()}; {_EXPECTED}")


def _from_arrow(what: str, column: Column) -> np.ndarray:
    import pyarrow as pa

    require_complete(what, arrow_missing(column))
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        finer = pa.types.is_timestamp(column.type) and column.type.unit == "ns"  # the last three digits go
        try:
            return column.cast(pa.timestamp("us"), safe=not finer).cast(pa.int64()).to_numpy()
        except pa.ArrowInvalid as error:
            raise ValueError(f"{what} has a time that microseconds cannot hold: {error}") from None
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return _from_numbers(what, column.to_numpy(zero_copy_only=False))
    if pa.types.is_large_string(column.type):
        times = _texts_by_arrow(what, column)
        if times is not None:
            return times
    return _from_objects(what, column.to_pylist())


def _from_datetimes(what: str, values: np.ndarray) -> np.ndarray:
    require_complete(what, np.isnat(values))
    times = values.astype("datetime64[us]")
    coarser = np.datetime_data(values.dtype)[0] not in ("ns", "ps", "fs", "as")
    for row in {int(values.argmin()), int(values.argmax())} if len(values) and coarser else ():
        if times[row].astype(values.dtype) != values[row]:
            raise ValueError(f"{what} has {values[row]} in row {row}, which microseconds cannot hold")
    return times.astype(np.int64)


def _from_objects(what: str, values: list[Any]) -> np.ndarray:
    families = list(map(_family, values))
    gone = (family == "" or is_missing(value) for family, value in zip(families, values))
    require_complete(what, np.fromiter(gone, bool, len(values)))
    for row, family in enumerate(families):
        if family is None or family != families[0]:
            others = "" if family is None else f" and {values[0]!r} in row 0"
            raise ValueError(f"{what} has {values[row]!r} in row {row}{others}; {_EXPECTED}, all of one kind")
    if not values:
        return np.empty(0, np.int64)
    if families[0] == "text":
        return _from_texts(what, values)
    if families[0] == "number":
        return _from_numbers(what, _as_numbers(what, values))
    utc = datetime.timezone.utc
    plain = [v.astimezone(utc).replace(tzinfo=None) if getattr(v, "tzinfo", None) else v for v in values]
    return _from_datetimes(what, np.array(plain, "datetime64[us]"))


def _family(value: Any) -> str | None:
    """ "text", "number" or "date"; "" for an empty text, which is missing; None for what is no time."""
    if isinstance(value, str):
        return "text" if value.strip() else ""
    if isinstance(value, (int, float, np.integer, np.floating, decimal.Decimal)) and not isinstance(value, bool):
        return "number"
    return "date" if isinstance(value, (datetime.date, np.datetime64)) else None


def _as_numbers(what: str, values: list[Any]) -> np.ndarray:
    """int64 [n] where all are whole, float64 [n] otherwise; shorter floats [n] where one is among them."""
    shorter = {type(v) for v in values} & {np.float16, np.float32}
    if shorter:
        return np.array(values, np.result_type(*shorter))
    try:
        whole = all(isinstance(v, (int, np.integer)) or float(v).is_integer() for v in values)
        return np.array([int(v) for v in values], np.int64) if whole else np.array([float(v) for v in values])
    except OverflowError:
        row = next(row for row, v in enumerate(values) if abs(v) >= 2**63)
        raise ValueError(f"{what} has {values[row]} in row {row}, which is no unix time") from None


def _from_numbers(what: str, values: np.ndarray) -> np.ndarray:
    """Of unix time, in the unit that the number of largest size is of; ValueError where another is not."""
    if values.dtype.kind == "f":
        require_complete(what, ~np.isfinite(values))
        short = np.abs(values) >= inexact_from(values.dtype) if values.itemsize < 8 else np.zeros(0, bool)
        if short.any():
            row = int(np.argmax(short))
            raise ValueError(f"{what} has {values[row]} in row {row}, which {values.dtype} does not hold to the second; "
                             "hand over integers, float64 or datetimes")  # fmt: skip
        values = values.astype(np.float64, copy=False)
    if not len(values):
        return np.empty(0, np.int64)
    far = max(int(values.argmin()), int(values.argmax()), key=lambda row: abs(int(values[row])))
    if abs(int(values[far])) >= 2**63:
        raise ValueError(f"{what} has {values[far]} in row {far}, which is no unix time")
    unit, least, factor, divisor = _unit_of(values[far])
    small = (values < least) & (values > -least) if least else np.zeros(0, bool)
    if small.any():
        row = int(np.argmax(small))
        raise ValueError(
            f"{what} has {values[far]} in row {far}, which is unix time in {unit}, and {values[row]} in row {row}, which "
            f"is {_unit_of(values[row])[0]}; expected one unit"
        )
    if _are_calendar_dates(values):
        raise ValueError(f"{what} has {values[0]} in row 0, a date written as a number; hand over datetimes, or texts as "
                         "2020-09-13")  # fmt: skip
    if values.dtype.kind == "f":
        return (np.round(values * factor) if divisor == 1 else np.floor(values / divisor)).astype(np.int64)
    times = values.astype(np.int64)
    times *= factor
    times //= divisor
    return times


def _unit_of(value: Any) -> tuple[str, int, int, int]:
    return next(unit for unit in reversed(_UNITS) if abs(int(value)) >= unit[1])


def _are_calendar_dates(values: np.ndarray) -> bool:
    """Whether all numbers are dates of 1900 to 2100 as 20200913, followed by hours and minutes (and seconds) or not."""
    low, high = int(values.min()), int(values.max())
    for rest in (1, 10**4, 10**6):
        if 1900_01_01 <= low // rest and high // rest <= 2100_12_31:
            month_day = (values // rest) % 10_000
            month, day = month_day // 100, month_day % 100
            return bool(((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all())
    return False


def _from_texts(what: str, texts: list[str]) -> np.ndarray:
    try:
        import pyarrow as pa
    except ImportError:
        pass
    else:
        times = _texts_by_arrow(what, pa.array(texts, pa.large_string()))
        if times is not None:
            return times
    if all(map(_NUMBER.fullmatch, texts)):
        return _from_numbers(what, _as_numbers(what, list(map(decimal.Decimal, texts))))
    moments, offsets = [], np.zeros(len(texts), np.int64)
    for row, text in enumerate(texts):
        found = _ISO.fullmatch(text)
        if found is None:
            raise ValueError(f"{what} has {text!r} in row {row}; {_EXPECTED}")
        date, time, sign, hours, minutes = found.groups()
        moments.append(date if time is None else f"{date}T{time}")
        if sign:
            offsets[row] = int(sign + "1") * (int(hours) * 60 + int(minutes or 0))
    try:
        times = np.array(moments, "datetime64[us]").astype(np.int64)
    except ValueError:
        row = next(row for row, moment in enumerate(moments) if not _exists(moment))
        raise ValueError(f"{what} has {texts[row]!r} in row {row}, which does not exist; {_EXPECTED}") from None
    return times - offsets * 60_000_000


def _exists(moment: str) -> bool:
    try:
        np.datetime64(moment)
    except ValueError:
        return False
    return True


def _texts_by_arrow(what: str, texts: Column) -> np.ndarray | None:
    """The fast way for what most texts are: all plain numbers, or all ISO 8601. Else None."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(texts) and _NUMBER.fullmatch(texts[0].as_py()):
        for pattern, exact in ((r"^-?\d{1,18}$", pa.int64()), (r"^-?\d{1,12}(\.\d*)?$", pa.float64())):
            if pc.all(pc.match_substring_regex(texts, pattern)).as_py():
                return _from_numbers(what, texts.cast(exact).to_numpy())
        return None
    if len(texts) and texts[0].as_py().endswith(_NAMES):
        texts = pc.replace_substring_regex(texts, " ?(UTC|GMT)$", "Z")
    zoned = bool(len(texts)) and re.search(_ZONE, texts[0].as_py()) is not None
    try:
        return _cast(texts, zoned)
    except pa.ArrowInvalid:
        pass
    texts = pc.replace_substring_regex(texts, " ?(UTC|GMT)$", "Z")
    with_zone = pc.match_substring_regex(texts, _ZONE).to_numpy(zero_copy_only=False)
    times = np.empty(len(texts), np.int64)
    try:
        for zoned, rows in ((True, with_zone), (False, ~with_zone)):
            times[rows] = _cast(texts.filter(pa.array(rows)), zoned)
    except pa.ArrowInvalid:
        return None
    return times


def _cast(texts: Column, zoned: bool) -> np.ndarray:
    import pyarrow as pa

    return texts.cast(pa.timestamp("us", "UTC" if zoned else None)).cast(pa.int64()).to_numpy()


_SPANS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_span(call: str, value: Any) -> tuple[str, int]:
    """("span", microseconds) for "7D", "12h" or a timedelta; ("time", microseconds since 1970) for a moment, which is what
    :func:`microseconds` takes. Messages of ValueErrors begin with `call`."""
    if isinstance(value, datetime.timedelta):
        return "span", round(value.total_seconds() * 1e6)
    if isinstance(value, np.timedelta64):
        return "span", int(value.astype("timedelta64[us]").astype(np.int64))
    if isinstance(value, str):
        digits = value.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ").strip()
        unit = value[len(digits) :].strip()
        unit = unit if unit == "M" else unit.lower()  # months and minutes are not to be confused
        if unit in _SPANS:
            try:
                return "span", round(float(digits) * _SPANS[unit] * 1e6)
            except ValueError:
                pass
    try:
        return "time", int(microseconds(call, [value])[0])
    except (ValueError, TypeError):
        raise ValueError(f"{call}: {value!r} is neither a span like '7D' or '12h', a timedelta, nor a moment") from None
