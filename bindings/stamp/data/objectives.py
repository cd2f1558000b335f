"""What a shop wants of an event: which events are of the types that objectives are named by."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import _stamp
from .tables.columns import Column, different_texts, text_bits

CLICK = "click"  # the objective that every target is for, whatever its type
_SHOWN = 10  # types, in messages


def check_name(what: str, name: Any) -> str:
    """The name of an objective beside "click". Raises ValueError, which begins with `what`, for what cannot be."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"{what} {name!r}, expected the name of a type of events, as 'order'")
    if name == CLICK:
        raise ValueError(f"{what} '{CLICK}', which every target is for; name a type of events beside it")
    return name


def check_names(call: str, objectives: Any) -> tuple[str, ...]:
    """Names of objectives beside "click". Raises ValueError, which begins with `call`, for what cannot be."""
    most = _stamp.Sessions.most_labels
    if not isinstance(objectives, Sequence) or isinstance(objectives, (str, bytes)):
        raise ValueError(f"{call}: objectives is {objectives!r}, expected a list of types of events, as ['order']")
    for name in objectives:
        check_name(f"{call}: objectives has", name)
    if len({*objectives}) < len(objectives):
        twice = next(name for name in objectives if objectives.count(name) > 1)
        raise ValueError(f"{call}: objectives has '{twice}' twice")
    if not 1 <= len(objectives) <= most:
        raise ValueError(f"{call}: objectives has {len(objectives)} names, expected 1 to {most}")
    return (*objectives,)


def kept_for(objectives: Sequence[str], reading: Mapping[str, Any]) -> tuple[str, ...]:
    """What training on these keeps of data that are read for it, where `reading`, options of
    :meth:`Sessions.from_frame`, does not name that."""
    return ("event_type",) if objectives and reading.get("event_type") is None else ()


def weights_of(call: str, objective: Any) -> dict[str, float]:
    """What a list is to serve, by the names of objectives; nothing where it is None. Raises ValueError, which begins with
    `call`, for what is no dictionary of numbers of 0 or more, one of them above 0."""
    if objective is None:
        return {}
    if not isinstance(objective, Mapping) or not objective:
        raise ValueError(
            f"{call}: objective is {objective!r}, expected weights by name, as {{'click': 0.7, 'order': 0.3}}"
        )
    for name, weight in objective.items():
        if not isinstance(name, str):
            raise ValueError(f"{call}: objective names {name!r}, expected a text, as 'order'")
        if isinstance(weight, bool) or not isinstance(weight, numbers.Real) or not 0 <= float(weight) < np.inf:
            raise ValueError(f"{call}: objective has {weight!r} for '{name}', expected a number of 0 or more")
    if not any(objective.values()):
        raise ValueError(f"{call}: objective is {objective!r}, expected a weight above 0")
    return {name: float(weight) for name, weight in objective.items()}


def kinds_of_events(
    call: str, columns: Mapping[str, Column], names: Sequence[str], *, all_there: bool = True
) -> np.ndarray:
    """uint8 [events]: bit k of an event says that names[k] is its type.

    Raises
    ------
    ValueError
        There is no column event_type, or no event of such a type, where all should be there. Messages begin with `call`.
    """
    if "event_type" not in columns:
        raise ValueError(
            f"{call}: these sessions have no column event_type, only {', '.join(columns) or 'none'}; name or keep it "
            "where they are read (event_type=)"
        )
    bits = text_bits(columns["event_type"], names)
    for k, name in enumerate(names):
        if all_there and not (bits & np.uint8(1 << k)).any():
            raise ValueError(f"{call}: no event is of type {name!r}; {_known(columns['event_type'])}")
    return bits


def _known(column: Column) -> str:
    """The most frequent types first, of equals by name."""
    types, places = different_texts(column)
    counts = np.bincount(places, minlength=len(types))
    there = sorted((-int(count), str(text)) for text, count in zip(types, counts) if text)
    shown = ", ".join(text for _, text in there[:_SHOWN])
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    return f"this log knows {shown or 'none'}{more}"
