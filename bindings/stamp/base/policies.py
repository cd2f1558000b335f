"""Policies: checks read from JSON, held against what was measured, and what became of them.

What a check may ask for is for whoever measures to say: here are keys, numbers, bounds and intervals.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from .files import read_text

_Policy = TypeVar("_Policy")


class Wrong(Exception):
    """What is wrong with a policy, after the path of its key."""


def read_policy(
    source: str | os.PathLike[str] | Mapping[str, Any], parse: Callable[[Any], _Policy], *, what: str = "policy"
) -> _Policy:
    """What `parse` makes of a JSON file, or of what such a file holds; it raises :class:`Wrong`. `what` it is, in messages.

    Raises
    ------
    ValueError
        There is no such file, it is not JSON, or it is none; the message has the path of the key.
    """
    if isinstance(source, Mapping):
        name, given = what, source
    else:
        name, text = pathlib.Path(source).name, read_text(what, source)
        try:
            given = json.loads(text, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{what} {os.fspath(source)}: not JSON: {error}") from None
    try:
        return parse(given)
    except Wrong as wrong:
        raise ValueError(f"{name}: {wrong}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a key that stands twice: which of the two was meant nobody knows."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in an object")
    return found


def require_format(given: Mapping[str, Any], format: int) -> None:
    if "format" not in given or given["format"] != format or isinstance(given["format"], bool):
        raise Wrong(f"format is {given.get('format')!r}, expected {format}")


def require_object(path: str, given: Any, keys: Sequence[str]) -> None:
    """An object that has none but these keys."""
    if not isinstance(given, Mapping):
        raise Wrong(f"{path} is {given!r}, expected an object")
    for key in given:
        if key not in keys:
            raise Wrong(f"{path} has the key {key!r}, expected some of {', '.join(keys)}")


def require_one_of(path: str, given: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Exactly one of these keys."""
    found = [key for key in keys if key in given]
    if len(found) != 1:
        raise Wrong(f"{path} has {' and '.join(found) or 'no bound'}, expected one of {', '.join(keys)}")


def checks_of(given: Mapping[str, Any]) -> Sequence[Any]:
    """What `checks` lists, at least one."""
    checks = given.get("checks")
    if not isinstance(checks, Sequence) or isinstance(checks, str) or not checks:
        raise Wrong(f"checks is {checks!r}, expected a list of at least one check")
    return checks


def require_name(path: str, given: Any) -> str:
    if not (isinstance(given, str) and given):
        raise Wrong(f"{path} is {given!r}, expected a name")
    return given


def require_number(path: str, given: Any, *, low: float, below: float = math.inf, whole: bool = False) -> float:
    """A number of `low` or more and below `below`."""
    good = isinstance(given, (int, float)) and not isinstance(given, bool) and abs(given) <= sys.float_info.max
    if not good or given < low or given >= below or (whole and given != int(given)):
        kind = "a whole number" if whole else "a number"
        lowest = f" of {low:g} or more" if low > -math.inf else ""
        highest = f"{' and' if lowest else ''} below {below:g}" if below < math.inf else ""
        raise Wrong(f"{path} is {given!r}, expected {kind}{lowest}{highest}")
    return given


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What was measured, and between what its interval lies; NaN ends where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    units: int = 0  # visitors or sessions that the interval was drawn from

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.low) and not math.isnan(self.high)


class Requirement(Protocol):
    """A check, as verdicts tell of it."""

    @property
    def subject(self) -> str:
        """What is looked at."""

    @property
    def verb(self) -> str:
        """What stands between the subject and what was measured: "is", say."""

    @property
    def requirement(self) -> str:
        """What it must be: "at least 0.2", say."""

    def shown(self, number: float) -> str:
        """What was measured, in words."""

    def to_dict(self) -> dict[str, Any]:
        """As in the policy's file."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What became of a check in a zone: of a page, or of time.

    Attributes
    ----------
    outcome : {"passed", "warned", "failed", "not judged"}
        What warned may go on, and people should know of it. What could not be judged has not passed.
    value, bound, needed : float
        What was measured, its worse end that was judged, and what that was held against. Where a release must be no
        worse than another, all are of the difference (a share, where the check says `by_percent`). NaN where not judged.
    sentence : str
    """

    check: Requirement
    zone: str
    outcome: Literal["passed", "warned", "failed", "not judged"]
    value: float
    bound: float
    needed: float
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN."""
        numbers = {name: getattr(self, name) for name in ("value", "bound", "needed")}
        return {
            "check": self.check.to_dict(),
            "zone": self.zone,
            "outcome": self.outcome,
            **{name: number if math.isfinite(number) else None for name, number in numbers.items()},
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Verdict:
    """What became of a policy: it passed where every check did, or only warned, in every zone it is for."""

    judgements: list[Judgement]

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """A sentence for each check that did not pass."""
        return [j.sentence for j in self.judgements if j.outcome not in ("passed", "warned")]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each check that passed, but should be looked at."""
        return [j.sentence for j in self.judgements if j.outcome == "warned"]

    def to_dict(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "reasons": self.reasons,
            "warnings": self.warnings,
            "checks": [j.to_dict() for j in self.judgements],
        }


def judged(check: Requirement, zone: str, found: Estimate, *, needed: float, more_is_good: bool) -> Judgement:
    """By the worse end of the interval, or by the value where there is none.

    The sentence has what was measured, and what is asked for: whether it passed is the outcome's to say.
    """
    bound = (found.low if more_is_good else found.high) if found.has_interval else found.value
    interval = f" (between {check.shown(found.low)} and {check.shown(found.high)})" if found.has_interval else ""
    measured = f"{check.subject} in {zone} {check.verb} {check.shown(found.value)}{interval}"
    return Judgement(
        check=check,
        zone=zone,
        outcome="passed" if (bound >= needed if more_is_good else bound <= needed) else "failed",
        value=found.value,
        bound=bound,
        needed=needed,
        sentence=f"{measured}; it must be {check.requirement}.",
    )


def not_judged(check: Requirement, zone: str, reason: str) -> Judgement:
    nan = math.nan
    sentence = f"{check.subject} in {zone} could not be judged: {reason}."
    return Judgement(
        check=check, zone=zone, outcome="not judged", value=nan, bound=nan, needed=nan, sentence=sentence
    )  # fmt: skip
