"""Which values of which options a search goes through."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...models.stamp_recommender import StampRecommender

_NOT_SEARCHED = {
    "preset": "make one search of each preset",
    "device": "give it to search",
    "precision": "give it to search",
    "monitor": "give it to search",
    "min_history": "it also decides which events are asked about, so values would not compare; give it in options",
    "checkpoint_seconds": "a search writes no checkpoints",
}


def check_space(space: Mapping[str, Any], base: StampRecommender, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of choices and {"low", "high", "log"}, of values that each option can have."""
    if not isinstance(space, Mapping) or not space:
        raise ValueError(f"search: space is {space!r}, expected a mapping of options to their values, one or more")
    params = base.get_params()
    found: dict[str, Any] = {}
    for name, given in space.items():
        what = f"search: space['{name}']"
        if name in _NOT_SEARCHED:
            raise ValueError(f"{what} cannot be searched: {_NOT_SEARCHED[name]}")
        if name not in params:
            known = ", ".join(known for known in params if known not in _NOT_SEARCHED)
            raise ValueError(f"{what}: unknown option, expected one of {known}")
        if name in fixed:
            raise ValueError(f"{what}: options fixes it to {fixed[name]!r}; leave out one of the two")
        is_list = isinstance(given, (list, np.ndarray))
        values = _choices(what, given) if is_list else _range(what, given, params[name])
        ends = values if isinstance(values, list) else [values["low"], values["high"]]
        for value in ends:
            try:
                StampRecommender(**{**params, name: value})
            except ValueError as error:
                raise ValueError(f"{what} has {value!r}: {error}") from None
        found[name] = values
    return found


def _choices(what: str, given: Any) -> list[Any]:
    choices = [value.item() if isinstance(value, np.generic) else value for value in given]
    if not choices or any(a == b for i, a in enumerate(choices) for b in choices[:i]):
        raise ValueError(f"{what} is {choices!r}, expected one choice or more, each once")
    return choices


def _range(what: str, given: Any, default: Any) -> dict[str, Any]:
    if isinstance(given, Mapping) and {"low", "high"} <= set(given) <= {"low", "high", "log"}:
        low, high, log = given["low"], given["high"], given.get("log", False)
    elif isinstance(given, tuple) and (len(given) == 2 or (len(given) == 3 and given[2] == "log")):
        low, high, log = given[0], given[1], len(given) == 3
    else:
        raise ValueError(f"{what} is {given!r}, expected a list of choices, (low, high) or (low, high, 'log')")
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        raise ValueError(f"{what} is {given!r}, expected a list of choices, as {default!r} is no number")
    kind, wanted = (numbers.Integral, "whole numbers") if isinstance(default, int) else (numbers.Real, "numbers")
    if any(isinstance(end, bool) or not isinstance(end, kind) or not math.isfinite(end) for end in (low, high)):
        raise ValueError(f"{what} is {given!r}, expected {wanted}")
    if not isinstance(log, bool):
        raise ValueError(f"{what}: log is {log!r}, expected true or false")
    if low >= high or (log and low <= 0):
        raise ValueError(f"{what} is {given!r}, expected low below high{', and above 0 for log' if log else ''}")
    return {"low": type(default)(low), "high": type(default)(high), "log": log}


def is_range_of_floats(values: Any) -> bool:
    return isinstance(values, dict) and isinstance(values["low"], float)
