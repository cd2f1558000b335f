"""The data policy: which findings stop the night, which warn, and where (docs/validation.md)."""

from __future__ import annotations

import importlib.resources
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...base.policies import (
    Wrong,
    checks_of,
    read_policy,
    require_format,
    require_number,
    require_object,
)
from .checks import CHECKS


def data_policy_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a data policy's file."""
    text = importlib.resources.files(__package__).joinpath("policy.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What becomes of the findings of one check, in units of its measure.

    Attributes
    ----------
    check : str
        One of :data:`CHECKS`.
    warn, stop : float or None
        It warns above the one and stops above the other; never, where None.
    """

    check: str
    warn: float | None = None
    stop: float | None = None

    @property
    def subject(self) -> str:
        return self.check

    @property
    def verb(self) -> str:
        return "is"

    @property
    def requirement(self) -> str:
        shown = CHECKS[self.check].shown
        bounds = [(self.warn, "warns above"), (self.stop, "stops above")]
        return ", ".join(f"{what} {shown(bound)}" for bound, what in bounds if bound is not None) or "passes"

    def shown(self, number: float) -> str:
        return CHECKS[self.check].shown(number)

    def to_dict(self) -> dict[str, Any]:
        """As in the file."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return given if len(given) > 1 else {**given, "pass": True}


@dataclass(frozen=True, kw_only=True)
class DataPolicy:
    """Rules of single checks; those without one keep the bounds of :data:`CHECKS`, the default policy.

    Examples
    --------
    >>> import stamp
    >>> policy = stamp.data.DataPolicy.read({"format": 1, "checks": [{"check": "duplicates", "warn": 0.05, "stop": 0.3}]})
    >>> policy.rule("duplicates").requirement
    'warns above 5.00 %, stops above 30.0 %'
    """

    rules: Sequence[Rule] = ()

    @classmethod
    def read(cls, source: str | os.PathLike[str] | Mapping[str, Any]) -> DataPolicy:
        """Read a policy from a JSON file, or from what such a file holds.

        Raises
        ------
        ValueError
            There is no such file, it is not JSON, or it is no policy; the message has the path of the key.
        """
        return read_policy(source, _policy)

    def rule(self, check: str) -> Rule:
        for rule in self.rules:
            if rule.check == check:
                return rule
        return Rule(check=check, warn=CHECKS[check].warn, stop=CHECKS[check].stop)


def _policy(given: Any) -> DataPolicy:
    require_object("the policy", given, ("format", "checks"))
    require_format(given, 1)
    rules: list[Rule] = []
    for place, each in enumerate(checks_of(given)):
        rule = _rule(f"checks[{place}]", each)
        if any(other.check == rule.check for other in rules):
            raise Wrong(f"checks[{place}].check is '{rule.check}' a second time")
        rules.append(rule)
    return DataPolicy(rules=tuple(rules))


def _rule(path: str, given: Any) -> Rule:
    require_object(path, given, ("check", "warn", "stop", "pass"))
    if given.get("check") not in CHECKS:
        raise Wrong(f"{path}.check is {given.get('check')!r}, expected one of {', '.join(CHECKS)}")
    bounds = {key: require_number(f"{path}.{key}", given[key], low=0) for key in ("warn", "stop") if key in given}
    if "pass" in given:
        if given["pass"] is not True:
            raise Wrong(f"{path}.pass is {given['pass']!r}, expected true")
        if bounds:
            raise Wrong(f"{path} has pass and {' and '.join(bounds)}: what passes has no bound")
    elif not bounds:
        raise Wrong(f"{path} has no bound, expected warn, stop or both, or pass")
    elif len(bounds) == 2 and bounds["stop"] < bounds["warn"]:
        raise Wrong(f"{path}.stop is {bounds['stop']:g}, expected no less than warn, {bounds['warn']:g}")
    return Rule(check=given["check"], **bounds)
