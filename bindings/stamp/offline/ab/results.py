"""What all results of A/B arithmetic share: they turn into JSON, and print shares alike."""

from __future__ import annotations

import dataclasses
import math
from typing import Any


def _plain(value: Any) -> Any:
    """As JSON can hold it: None for NaN."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value


class Result:
    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON can hold them: None where a value cannot be had."""
        return _plain(dataclasses.asdict(self))  # type: ignore[call-overload]


def percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:+.1f} %"
