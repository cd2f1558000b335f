"""Days since 1970 as dates, and back; moments as microseconds."""

from __future__ import annotations

import datetime

_EPOCH = datetime.date(1970, 1, 1).toordinal()


def date_of(day: int) -> str:
    """ISO date. The number itself, in words, where it is beyond the calendar."""
    ordinal = _EPOCH + day
    return (
        datetime.date.fromordinal(ordinal).isoformat()
        if 1 <= ordinal <= datetime.date.max.toordinal()
        else f"day {day}"
    )


def day_of(date: str) -> int:
    """Of an ISO date. ValueError where it is none."""
    return datetime.date.fromisoformat(date).toordinal() - _EPOCH


def weekday_of(day: int) -> str:
    return ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")[day % 7]


def day_given(what: str, given: str | datetime.date) -> int:
    """Of a date, or a text as 2026-11-28. ValueError, beginning with `what`, for anything else."""
    try:
        return day_of(given.isoformat()[:10] if isinstance(given, datetime.date) else given)
    except (TypeError, ValueError):
        raise ValueError(f"{what} is {given!r}, expected a day, as '2026-11-28'") from None


def micros_of(moment: datetime.datetime) -> int:
    """Microseconds since 1970 in UTC; a moment without a zone is in UTC."""
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
    return (zoned - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)
