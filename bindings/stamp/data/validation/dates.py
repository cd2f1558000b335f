"""Days since 1970 as dates, and back."""

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
