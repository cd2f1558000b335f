"""GA4's tables: events_YYYYMMDD of each day, and events_intraday_YYYYMMDD of one that is still on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_TABLE = re.compile(r"events_(intraday_)?(\d{8})(?!\d)")


def partial_days(names: Iterable[str]) -> dict[str, Sequence[str]]:
    """Names of intraday tables, or of files of them, by their day, where the whole day is there, too: its events would count
    twice."""
    found = {name: _TABLE.search(name) for name in names}
    whole = {match[2] for match in found.values() if match and not match[1]}
    partial: dict[str, list[str]] = {}
    for name, match in found.items():
        if match and match[1] and match[2] in whole:
            partial.setdefault(match[2], []).append(name)
    return dict(sorted(partial.items()))
