"""The counters of a source, asked of its engine: the profile of what was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..engines.engine import Engine
from ..sources.faults import Limits
from ..sources.mapping import KINDS
from . import counters
from .counters import LENGTHS, NULLABLE
from .profile import Catalog, Day, Profile

if TYPE_CHECKING:
    import ibis.expr.types as ir

_VISITS = ("visitors", "known", "without_items", "bots", "bot_rows", "shared", "shared_rows", "orders",
           "orders_without_view", "sessions", "several", "tied", *(f"length__{name}" for name in LENGTHS))  # fmt: skip
_PRODUCTS = ("products", "without_visitors", "squares", "top_rows", "known_rows")
_SPANS = ("ended", "long")


def measure(events: ir.Table, engine: Engine, limits: Limits, *, catalog: ir.Table | None = None) -> Profile:
    """The profile of a table of events, and of a catalog (`item_id` and attributes), if there is one."""
    reasons = counters.fault_names(events, limits)
    marked = counters.with_reasons(events, limits)
    rows = _by_day(engine, counters.rows_of_days(marked, reasons))
    undated = {name: rows[None][f"fault__{name}"] for name in reasons} if None in rows else {}
    numbers = [number for number in rows if number is not None]
    has_ids = any(rows[number]["null__event_id"] < rows[number]["usable"] for number in numbers)
    has_sessions = any(rows[number]["null__session_id"] < rows[number]["usable"] for number in numbers)
    visits = _by_day(engine, counters.visits_of_days(marked, limits))
    products = _by_day(engine, counters.products_of_days(marked))
    repeats = _by_day(engine, counters.repeats_of_days(marked, by_id=has_ids))
    spans = _by_day(engine, counters.spans_of_days(marked)) if has_sessions else {}
    unlisted = None if catalog is None else _by_day(engine, counters.unlisted_of_days(marked, catalog))
    values: dict[int, dict[str, dict[str, int]]] = {number: {} for number in numbers}
    for row in engine.rows(counters.values_of_days(marked)).to_pylist():
        values[row["day"]].setdefault(row["column"], {})[row["value"]] = row["n"]
    days = {
        number: _day(
            rows[number],
            reasons,
            visits=_some(visits.get(number, {}), _VISITS, unless={"known"} if number - 1 not in rows else ()),
            products=_some(
                products.get(number, {}), _PRODUCTS, unless={"known_rows"} if number - 1 not in rows else ()
            ),
            top=sorted(products[number]["top"] or []) if number in products else [],
            repeats=repeats.get(number, {}).get("repeats", 0),
            spans=_some(spans.get(number, {}), _SPANS),
            values={column: dict(sorted(found.items())) for column, found in sorted(values[number].items())},
            unlisted=None if unlisted is None else unlisted.get(number, {}).get("unlisted", 0),
        )
        for number in sorted(numbers)
    }
    return Profile(
        item_ids=str(events.schema()["item_id"]),
        days=days,
        undated=undated,
        catalog=None if catalog is None else _catalog(engine, marked, catalog),
    )


def _by_day(engine: Engine, aggregate: ir.Table) -> dict[int | None, dict[str, Any]]:
    return {row["day"]: row for row in engine.rows(aggregate).to_pylist()}


def _some(row: Mapping[str, Any], names: Iterable[str], *, unless: Iterable[str] = ()) -> dict[str, int]:
    """Sums of nothing are null in SQL."""
    return {name: row.get(name) or 0 for name in names if name not in unless}


def _day(row: Mapping[str, Any], reasons: list[str], **others: Any) -> Day:
    def part(prefix: str, names: Iterable[str]) -> dict[str, int]:
        return {name: row[f"{prefix}__{name}"] for name in names}

    patterns = (*counters.PATTERNS, "other")
    return Day(
        rows=row["rows"],
        usable=row["usable"],
        faults=part("fault", reasons),
        malformed_fields=row["malformed_fields"],
        kinds=part("kind", KINDS),
        nulls=part("null", NULLABLE),
        not_positive=row["not_positive"],
        unreadable=row["unreadable"],
        item_id=part("item_id", patterns),
        visitor_id=part("visitor_id", patterns),
        hours=[row[f"hour__{hour}"] for hour in range(24)],
        **others,
    )


def _catalog(engine: Engine, marked: ir.Table, catalog: ir.Table) -> Catalog:
    counts = engine.values(counters.catalog_counts(marked, catalog))
    return Catalog(
        rows=counts["rows"] or 0,
        products=counts["products"],
        without_rows=counts["without_rows"],
        attributes={name.partition("__")[2]: count for name, count in counts.items() if name.startswith("attribute__")},
    )
