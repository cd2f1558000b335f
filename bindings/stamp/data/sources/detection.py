"""Which mapping fits the columns of raw clicks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from . import analytics, public_logs
from .mapping import KINDS, EventMapping

_HOW = (
    'or write a mapping: EventMapping(visitor_id=…, item_id=…, time=…), or a JSON file as {"visitor_id": "user", "item_id": '
    '"product", "time": "at"}'
)


def plain_columns(names: Collection[str]) -> EventMapping | None:
    """Columns with our own names, as :meth:`stamp.Sessions.from_frame` understands them."""
    visitors = [name for name in ("visitor_id", "user_id") if name in names][:1]
    if not {"item_id", "timestamp"} <= set(names) or not (visitors or "session_id" in names):
        return None
    optional = ("session_id", "price", "quantity", "currency", "category", "brand", "event_id")
    found: dict[str, Any] = {name: name for name in optional if name in names}
    if visitors:
        found["visitor_id"] = visitors[0]
    if "event_type" in names:
        found |= {"event_type": "event_type", "event_types": {kind: kind for kind in KINDS}}
    columns = {name: "string" for name in ("item_id", "timestamp", *visitors, *optional, "event_type") if name in names}
    return EventMapping(name="plain columns", item_id="item_id", time="timestamp", columns=columns, **found)


# By the name that is asked for. Each makes a mapping for the names of columns, or None where it does not fit.
READY: dict[str, Callable[[Collection[str]], EventMapping | None]] = {
    make.__name__: make
    for make in (
        analytics.ga4,
        analytics.google_retail,
        analytics.snowplow,
        analytics.segment,
        analytics.segment_warehouse,
        public_logs.rees46,
        public_logs.retailrocket,
        public_logs.otto,
        public_logs.yoochoose,
        public_logs.diginetica,
        plain_columns,
    )
}


def detect_mapping(names: Collection[str]) -> EventMapping:
    """The one that fits the names of the columns. ValueError where none or several do, with what to do."""
    fitting = {name: mapping for name, make in READY.items() if (mapping := make(names)) is not None}
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    which = f"the mappings {', '.join(fitting)} fit" if fitting else "no mapping fits"
    choose = "choose one of them" if fitting else f"choose one of {', '.join(READY)}"
    raise ValueError(f"{which} the columns {', '.join(sorted(names))}; {choose}, {_HOW}")


def ready_mapping(name: str, names: Collection[str]) -> EventMapping:
    """The one that is asked for. ValueError where there is none of that name, or it lacks columns."""
    if name not in READY:
        raise ValueError(f"there is no mapping {name!r}; expected one of {', '.join(READY)}, {_HOW}")
    mapping = READY[name](names)
    if mapping is None:
        raise ValueError(f"the mapping {name} does not fit the columns {', '.join(sorted(names))}; {_HOW}")
    return mapping
