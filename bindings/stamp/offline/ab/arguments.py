"""Arguments that several calls check alike."""

from __future__ import annotations

from typing import Any


def check_share(call: str, name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{call}: {name} is {value}, expected between 0 and 1")


def whole(call: str, name: str, count: Any) -> int:
    try:
        if count >= 0 and count == int(count):
            return int(count)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{call}: {name} is {count!r}, expected a whole number of 0 or more")
