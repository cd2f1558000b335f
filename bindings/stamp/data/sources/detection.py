"""Which mapping fits the columns of raw clicks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .mapping import KINDS, EventMapping


def detect_mapping(columns: Iterable[str]) -> EventMapping:
    """By the names of the columns. ValueError where none fits, with what would."""
    there = set(columns)
    if {"item_id", "timestamp"} <= there and there & {"visitor_id", "session_id"}:
        optional = ("visitor_id", "session_id", "price", "quantity", "currency", "category", "brand", "event_id")
        found: dict[str, Any] = {name: name for name in optional if name in there}
        if "event_type" in there:
            found |= {"event_type": "event_type", "event_types": {kind: kind for kind in KINDS}}
        return EventMapping(name="plain columns", item_id="item_id", time="timestamp", **found)
    raise ValueError(f"no mapping fits the columns {', '.join(sorted(there))}; expected item_id, timestamp and visitor_id or "
                     "session_id, or a mapping that names the columns")  # fmt: skip
