"""Moments and spans of time, as microseconds."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

from .columns import Column, arrow_missing, is_arrow, require_complete


def microseconds(what: str, column: Column) -> np.ndarray:
    """Times [n] as int64 microseconds since 1970: datetimes of any unit, unix seconds, ISO 8601 strings."""
    if is_arrow(column):
        import pyarrow as pa

        require_complete(what, arrow_missing(column))
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            return column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_numpy()
        column = column.to_numpy(zero_copy_only=False)
    values = np.asarray(column)
    if values.dtype.kind == "M":
        require_complete(what, np.isnat(values))
        return values.astype("datetime64[us]").astype(np.int64)
    if values.dtype.kind in "iuf":
        if values.dtype.kind == "f":
            require_complete(what, ~np.isfinite(values))
        far = np.abs(values.astype(np.float64)) > 1e11
        if far.any():
            raise ValueError(
                f"{what} has {values[int(np.argmax(far))]}, which is no unix time in seconds before the year 5000; divide "
                "milliseconds by 1000, or hand over datetimes"
            )
        return (
            values.astype(np.int64) * 1_000_000 if values.dtype.kind != "f" else np.round(values * 1e6).astype(np.int64)
        )
    if values.dtype.kind in "OU":
        require_complete(what, np.fromiter((v is None or v != v for v in values.tolist()), bool, len(values)))
        try:
            times = values.astype("datetime64[us]")
        except (ValueError, TypeError):
            pass
        else:
            require_complete(what, np.isnat(times))
            return times.astype(np.int64)
    raise ValueError(
        f"{what} has dtype {values.dtype} with values like {values[:1].tolist()}; expected "
        "datetimes, unix seconds or ISO 8601 strings"
    )


_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_span(call: str, value: Any) -> tuple[str, int]:
    """("span", microseconds) for "7D", "12h" or a timedelta; ("time", microseconds since 1970) for a moment. Messages of
    ValueErrors begin with `call`."""
    if isinstance(value, datetime.timedelta):
        return "span", round(value.total_seconds() * 1e6)
    if isinstance(value, np.timedelta64):
        return "span", int(value.astype("timedelta64[us]").astype(np.int64))
    if isinstance(value, str):
        digits = value.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ").strip()
        unit = value[len(digits) :].strip()
        unit = unit if unit == "M" else unit.lower()  # months and minutes are not to be confused
        if unit in _UNITS:
            try:
                return "span", round(float(digits) * _UNITS[unit] * 1e6)
            except ValueError:
                pass
    try:
        if isinstance(value, datetime.datetime) and value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        if isinstance(value, (int, float)):
            return "time", round(value * 1e6)
        return "time", int(np.datetime64(value, "us").astype(np.int64))
    except (ValueError, TypeError):
        raise ValueError(
            f"{call}: {value!r} is neither a span like '7D' or '12h', a timedelta, nor a moment"
        ) from None
