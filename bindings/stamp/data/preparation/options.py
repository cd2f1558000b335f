"""How events become sessions: the options of :func:`prepare`, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...base.checks import truth, whole_number
from ..sources.fields import MILLION
from ..sources.mapping import KINDS
from ..tables.times import parse_span

DAY = 86_400_000_000  # microseconds
_MOST = 100  # of a weight: times ten for its value, and in millionths twice over, it fits in 53 bits


@dataclass(frozen=True, kw_only=True)
class Options:
    """See :func:`stamp.data.preparation.prepare.prepare` for what they mean.

    Attributes
    ----------
    gap, held_out : int
        Microseconds; 0: none are held out.
    half_life : int
        Days; 0: events of all days weigh alike.
    weights : dict of str to int
        Millionths, by kind.
    value : int
        Millionths of a unit of the currency; 0: the value does not matter.
    """

    sessions: str = "as given"
    gap: int = 30 * 60 * MILLION
    collapse_repeats: bool = False
    weights: Mapping[str, int] = field(default_factory=dict)
    value: int = 0
    half_life: int = 0
    min_support: int = 5
    min_length: int = 2
    held_out: int = 0
    days: int | None = None
    max_id_characters: int = 512
    bot_events_a_day: int = 1000
    bot_events_an_hour: int = 600

    @classmethod
    def read(cls, **given: Any) -> Options:
        """From what callers write: "30min", "7D", weights by kind; None, as what is not given, is the default. Raises
        ValueError for what cannot be."""
        parse: dict[str, Callable[[str, Any], Any]] = {
            "sessions": _sessions,
            **dict.fromkeys(("gap", "held_out"), span),
            "collapse_repeats": truth,
            "weights": lambda _, value: weights_of(value),
            "value": lambda what, value: millionths_of(what, value, most=1_000_000),
            **dict.fromkeys(("half_life", "days"), whole_days),
            **dict.fromkeys(("min_support", "min_length", "bot_events_a_day", "bot_events_an_hour"), _at_least_1),
        }
        read = {name: parse[name](f"prepare: {name}", value) for name, value in given.items() if value is not None}
        return cls(**{"weights": weights_of({}), **read})

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "weights": dict(self.weights)}


def _sessions(what: str, value: Any) -> str:
    if value not in ("as given", "by pause"):
        raise ValueError(f"{what} is {value!r}, expected one of 'as given', 'by pause'")
    return str(value)


def _at_least_1(what: str, value: Any) -> int:
    return whole_number(what, value, least=1)


def span(what: str, value: Any, *, least: int = 1) -> int:
    """Microseconds of "30min", "7D" or a timedelta. Raises ValueError, beginning with `what`, for anything else."""
    kind, length = parse_span(what, value)
    if kind != "span" or length < least:
        raise ValueError(f"{what} is {value!r}, expected a span as '30min' or '7D'")
    return length


def whole_days(what: str, value: Any) -> int:
    """Of "30D", a timedelta, or a number of days."""
    if isinstance(value, int) and not isinstance(value, bool):
        return whole_number(what, value, least=1)
    length = span(what, value)
    if length % DAY:
        raise ValueError(f"{what} is {value!r}, expected whole days, as '28D'")
    return length // DAY


def millionths_of(what: str, value: Any, *, most: float) -> int:
    """Raises ValueError, beginning with `what`, for what is no number of 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise ValueError(f"{what} is {value!r}, expected a number of 0 to {most:,}")
    return round(value * MILLION)


def weights_of(given: Mapping[str, Any]) -> dict[str, int]:
    """Millionths by kind, of all kinds: those that are not given weigh 1, and what left the cart nothing."""
    for kind in given:
        if kind not in KINDS:
            raise ValueError(f"prepare: weights has {kind!r}, expected some of {', '.join(KINDS)}")
    full = {"view": 1, "cart": 1, "remove": 0, "order": 1, **given}
    return {kind: millionths_of(f"prepare: weights[{kind!r}]", full[kind], most=_MOST) for kind in KINDS}
