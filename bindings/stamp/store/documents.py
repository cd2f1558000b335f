"""The JSON documents of a store: each says its format, and times are of UTC."""

from __future__ import annotations

import datetime
import json
from typing import Any

from .._stamp import __version__


def document(format: int, contents: dict[str, Any]) -> str:
    return json.dumps({"format": format, **contents}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def parsed(where: str, text: str, format: int, what: str) -> dict[str, Any]:
    """What :func:`document` wrote. Raises ValueError, which begins with `where`, for what is no `what` of this format."""
    try:
        read = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from None
    if not isinstance(read, dict) or not isinstance(read.get("format"), int):
        raise ValueError(f"{where} does not say its format: it is no {what}")
    if read["format"] != format:
        raise ValueError(
            f"{where} is a {what} of format {read['format']}, this is stamp {__version__}, which reads format {format}; use "
            "the version that wrote it"
        )
    return read


def time_text(time: datetime.datetime) -> str:
    return time.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def time_of(what: str, given: str | datetime.datetime) -> datetime.datetime:
    """Raises ValueError, which begins with `what`, for no time, or one without its distance from UTC."""
    try:
        time = (
            given
            if isinstance(given, datetime.datetime)
            else datetime.datetime.fromisoformat(given.replace("Z", "+00:00"))
        )
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError(f"{what} is {given!r}, expected a time with its zone, as 2026-11-28T02:00:00Z")
    return time
