"""JSON as every reader takes it: it has no NaN, no infinity and none of NumPy's types."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .checks import plain


def json_text(value: Any, **options: Any) -> str:
    """Results as JSON: NumPy's numbers and arrays as Python's, and null where a number is not finite."""
    return json.dumps(json_value(value), allow_nan=False, **options)


def strict_json_text(what: str, value: Any) -> str:
    """What was given as JSON, NumPy's numbers and arrays as Python's. Raises ValueError, beginning with `what`, for what
    JSON cannot hold, a number that is not finite included."""
    try:
        return json.dumps(_plain_keys(value), default=_of_numpy, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what}: JSON cannot hold it: {error}") from None


def _of_numpy(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{value!r} is of type {type(value).__name__}")


def _plain_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {plain(key): _plain_keys(each) for key, each in value.items()}
    return [_plain_keys(each) for each in value] if isinstance(value, (list, tuple)) else value


def json_value(value: Any) -> Any:
    """Results as JSON can hold them: plain values in dicts and lists, None where a number is not finite."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {plain(key): json_value(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(each) for each in value]
    return value
