"""Numbers and truth values that callers hand over, NumPy's too, checked before any work."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

_MOST = 2**63 - 1  # of the library


def plain(value: Any) -> Any:
    """NumPy's scalars as Python's, all else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def whole_number(what: str, value: Any, *, least: int = -_MOST) -> int:
    """`value` as an int, of NumPy's integers too. Raises ValueError, beginning with `what`, where it is no whole number
    of `least` or more, or beyond 64 bits."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)) or not least <= number <= _MOST:
        bound = f" of {least} or more" if least > -_MOST else ""
        raise ValueError(f"{what} is {value!r}, expected a whole number{bound}")
    return number


def truth(what: str, value: Any) -> bool:
    """`value` as a bool, NumPy's too. Raises ValueError, beginning with `what`, for anything else."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{what} is {value!r}, expected True or False")
    return bool(value)


def share(what: str, value: Any) -> float:
    """`value` as a float from 0 to 1. Raises ValueError, beginning with `what`, for anything else, NaN too."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
        raise ValueError(f"{what} is {value!r}, expected a number from 0 to 1")
    return float(value)


def list_lengths(call: str, k: Any) -> list[int]:
    """One list length or several. Raises ValueError where there is none, or one cannot be."""
    if isinstance(k, (str, bytes)) or not isinstance(k, Iterable):
        k = [k]
    ks = [whole_number(f"{call}: k", each, least=1) for each in k]
    if not ks:
        raise ValueError(f"{call}: k is empty, expected one list length or more")
    return ks
