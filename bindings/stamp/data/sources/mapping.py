"""Mappings: which columns of a shop's raw clicks mean what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import ibis.expr.types as ir

# A column, or a path to a field within one ("product.id"); several, of which the first that is not null counts; or what
# makes a column of the table (an Ibis deferred expression, a function).
Field: TypeAlias = "str | Sequence[str] | Callable[[ir.Table], ir.Value]"

KINDS = ("view", "cart", "remove", "order")
TIME_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}  # a factor, but for nanoseconds: those are divided
ITEM_IDS = ("as they are", "integer", "text")


@dataclass(frozen=True, kw_only=True)
class EventMapping:
    """What the columns of raw clicks are.

    Attributes
    ----------
    name : str
        What messages call it.
    item_id, time : field
        A field is the name of a column, or a path to a field within one ("product.id"); a sequence of these, of which the
        first that is not null counts; or an Ibis expression: a function of the table, or deferred (``ibis._.sku.upper()``).
    visitor_id, session_id : field, optional
        At least one of them. Without visitors each session is one; without sessions a visitor's pauses make them.
    event_type : field, optional
        What the shop calls the kind of the event; without it all are views.
    event_types : dict of str to str
        What the shop's kinds mean: "view", "cart", "remove" (from the cart) or "order". Others are faults of their rows,
        unless `only` leaves them out.
    price, quantity, currency, category, brand, event_id : field, optional
        The price of one; the shop's own id of the event, by which duplicates are known.
    time_unit : {"s", "ms", "us", "ns"}, optional
        Of times that are numbers. Without it the size of the numbers says.
    time_zone : str, optional
        Of times without a zone, as "Europe/Berlin"; UTC by default. Of an hour that a clock shows twice the first is meant.
    item_ids : {"as they are", "integer", "text"}
        Integers stay integers, texts texts, or all are made one of them. Text files hold texts.
    only : field, optional
        A truth value: whether a row is about products at all. Rows that are not are counted, and no faults.
    unnest : str, optional
        A column of lists: each element is an event, whose fields stand below the column's name ("items.item_id").
    columns : dict of str to str
        Types of the columns that are read, in Ibis' words: for files that have none of their own, as JSON.
    separator : str, optional
        Of text files: by default what their name says.
    names : sequence of str, optional
        Of the columns of text files that do not begin with a line of them.
    """

    name: str = "the mapping"
    item_id: Field
    time: Field
    visitor_id: Field | None = None
    session_id: Field | None = None
    event_type: Field | None = None
    event_types: Mapping[str, str] = field(default_factory=dict)
    price: Field | None = None
    quantity: Field | None = None
    currency: Field | None = None
    category: Field | None = None
    brand: Field | None = None
    event_id: Field | None = None
    time_unit: str | None = None
    time_zone: str | None = None
    item_ids: str = "as they are"
    only: Field | None = None
    unnest: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    separator: str | None = None
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.visitor_id is None and self.session_id is None:
            raise ValueError(f"{self.name}: neither visitor_id nor session_id is there; a session needs one of them")
        if self.event_type is not None and not self.event_types:
            raise ValueError(f"{self.name}: event_type without event_types maps nothing; say what its values mean, as "
                             '{"detail-page-view": "view", …}')  # fmt: skip
        for raw, kind in self.event_types.items():
            if kind not in KINDS:
                raise ValueError(f"{self.name}: event_types[{raw!r}] is {kind!r}, expected one of {', '.join(KINDS)}")
        for option, values in (("time_unit", TIME_UNITS), ("item_ids", ITEM_IDS)):
            value = getattr(self, option)
            if value not in values and not (option == "time_unit" and value is None):
                raise ValueError(f"{self.name}: {option} is {value!r}, expected one of {', '.join(values)}")

    def fields(self) -> dict[str, Field]:
        """Those that are there, by what they are."""
        named = ("visitor_id", "session_id", "time", "item_id", "event_type", "price", "quantity", "currency", "category",
                 "brand", "event_id", "only")  # fmt: skip
        return {name: getattr(self, name) for name in named if getattr(self, name) is not None}

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what was said, functions as their names or expressions."""
        said: dict[str, Any] = {}
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if value is None or value == {} or value == each.default:
                continue
            said[each.name] = getattr(value, "__name__", str(value)) if callable(value) else _plain(value)
        return said


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return value if isinstance(value, str) else list(value)
