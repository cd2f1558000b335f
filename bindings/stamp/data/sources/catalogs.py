"""A shop's catalog, every row of it, with the ids that its events have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..sources import fields
from ..sources.opening import OpenedEvents, open_table

if TYPE_CHECKING:
    import ibis.expr.types as ir


def open_catalog(catalog: Any, opened: OpenedEvents, columns: Mapping[str, str]) -> ir.Table:
    """`item_id`, of the type that the events have, and the other columns as attributes; empty texts are null.

    Raises
    ------
    ValueError
        There is no such catalog or column, or its ids are of another type than those of the events.
    """
    table = open_table(catalog, opened.engine)
    name = columns.get("item_id", "item_id")
    if name not in table.columns:
        raise ValueError(f"catalog: item_id is '{name}', which is none of the columns {', '.join(table.columns)}")
    ids, wanted = fields.item(table[name], opened.mapping.item_ids), opened.events.schema()["item_id"]
    if ids.type() != wanted:
        raise ValueError(
            f"catalog: '{name}' is {table.schema()[name]}, product ids of the events are {wanted}; expected one type, which "
            "item_ids of the mapping can make of both"
        )
    others = {each: table[each] for each in table.columns if each not in (name, "item_id")}
    return table.select(
        item_id=ids, **{each: value.nullif("") if value.type().is_string() else value for each, value in others.items()}
    )
