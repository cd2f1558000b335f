"""What all results of A/B arithmetic share: they turn into JSON, and print shares alike."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from ...base.json_text import json_value


class Result:
    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON can hold them: None where a value cannot be had."""
        return json_value(dataclasses.asdict(self))  # type: ignore[call-overload]


def percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:+.1f} %"
