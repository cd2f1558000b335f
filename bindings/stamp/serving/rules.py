"""Business rules (docs/rules.md)."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any


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
