"""Local times as UTC, by integers alone, so that every engine counts alike."""

from __future__ import annotations

import datetime
import functools
import zoneinfo
from typing import TYPE_CHECKING

import ibis

if TYPE_CHECKING:
    import ibis.expr.types as ir

_FIRST, _LAST = 1990, 2050  # years whose changes are known
_SECOND = 1_000_000


def utc_micros(local: ir.IntegerValue, zone: str) -> ir.IntegerValue:
    """Microseconds since 1970 in UTC of those that a clock in the zone showed.

    An hour that the clock shows twice is the first of the two, one that it skips is as if it had not been put forward.
    """
    first, changes = _changes(zone)
    branches = []
    for moment, before, after in changes:
        # What is shown up to the later of both readings of the change is of the time before.
        branches.append((local < (moment + max(before, after)) * _SECOND, local - before * _SECOND))
    last = changes[-1][2] if changes else first
    return ibis.cases(*branches, else_=local - last * _SECOND) if branches else local - last * _SECOND


@functools.lru_cache
def _changes(zone: str) -> tuple[int, list[tuple[int, int, int]]]:
    """The first offset, and of each change (unix seconds, offset before, offset after), in seconds."""
    try:
        info = zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"time_zone is {zone!r}, which is no zone; expected a name as 'Europe/Berlin'") from None

    def offset(moment: int) -> int:
        found = datetime.datetime.fromtimestamp(moment, info).utcoffset()
        assert found is not None
        return int(found.total_seconds())

    start, end = (
        int(datetime.datetime(year, 1, 1, tzinfo=datetime.timezone.utc).timestamp()) for year in (_FIRST, _LAST)
    )
    changes = []
    for day in range(start, end, 86400):
        low, high = day, day + 86400
        if offset(low) == offset(high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
        changes.append((high, offset(low), offset(high)))
    return offset(start), changes
