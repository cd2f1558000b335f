"""Business rules (docs/rules.md)."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..base.json_text import strict_json_text


def rules_text(what: str, rules: Any) -> str:
    """A list of rules as the library takes it, empty for none. Raises ValueError, beginning with `what`, for what is none."""
    if isinstance(rules, (str, bytes, Mapping)) or not isinstance(rules, Iterable):
        raise ValueError(f"{what} is {rules!r}, expected a list of rules")
    listed = list(rules)
    return strict_json_text(what, listed) if listed else ""


def rules_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a list of rules and of a bundle's rules file.

    It knows the shapes of rules, not a catalog: attributes and kinds of ids are checked when rules meet one.

    Examples
    --------
    >>> import stamp
    >>> stamp.rules_schema()["title"]
    'Business rules of stamp'
    """
    text = importlib.resources.files(__package__).joinpath("rules.schema.json").read_text(encoding="utf-8")
    return json.loads(text)
