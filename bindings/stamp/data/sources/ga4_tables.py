"""GA4's tables: a day each, and one of the day that is still on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .files import Files

_TABLE = re.compile(r"events_(intraday_)?(\d{8})(?!\d)")


def partial_days(names: Iterable[str]) -> Sequence[str]:
    """Names of intraday tables, or of files of them, whose day has a whole table, too: its events would count twice."""
    found = {name: _TABLE.search(name) for name in names}
    whole = {match[2] for match in found.values() if match and not match[1]}
    return [name for name, match in found.items() if match and match[1] and match[2] in whole]


def without_partial_days(files: Files, notes: list[str]) -> Files:
    left_out = set(partial_days(files.paths))
    if not left_out:
        return files
    days = sorted({match[2] for path in left_out if (match := _TABLE.search(path))})
    notes.append(f"Left out: events_intraday_ of {', '.join(days)}, of which there are whole days.")
    return replace(files, paths=[path for path in files.paths if path not in left_out])
