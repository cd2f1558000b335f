"""The release policy: what a candidate must show before it may go on (docs/report.md)."""

from __future__ import annotations

import importlib.resources
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...base.policies import (
    Estimate,
    Judgement,
    Verdict,
    Wrong,
    checks_of,
    judged,
    not_judged,
    read_policy,
    require_format,
    require_name,
    require_number,
    require_object,
    require_one_of,
)
from ..metrics.registry import find_metric, split_at
from ..recordings.questions import FAULTS
from ..verdicts.bootstrap import FEW_UNITS

LATENCIES = ("latency_p50_ms", "latency_p90_ms", "latency_p95_ms", "latency_p99_ms")


def policy_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a policy file.

    It knows the shapes of checks, not a release: zones, cuts and recommenders are looked for when a policy is judged.

    Examples
    --------
    >>> import stamp.offline
    >>> stamp.offline.policy_schema()["title"]
    'Release policy of stamp'
    """
    text = importlib.resources.files(__package__).joinpath("policy.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


class Measured(Protocol):
    """What a policy is judged on. A ValueError says why something was not measured."""

    @property
    def zones(self) -> Sequence[str]: ...

    def estimate(self, check: Check, zone: str, confidence: float) -> Estimate:
        """Of the candidate."""

    def difference(self, check: Check, zone: str, confidence: float) -> Estimate:
        """Candidate less the other; relative to the other's value, as a share, where the check says `by_percent`."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must hold. See the schema for what goes with what.

    Attributes
    ----------
    metric : str
        "hr@20", "latency_p99_ms"; empty where a fault is counted.
    fault : str
    zone : str or None
        None: in every zone.
    where : dict of str to str
        Only the questions of these groups, by cut.
    at_least, at_most : float or None
    no_worse_than : str or None
        Name of another recommender.
    by, by_percent : float or None
        What may be lost against it: in units of the metric, or per cent of its value.
    """

    metric: str = ""
    fault: str = ""
    zone: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    at_least: float | None = None
    at_most: float | None = None
    no_worse_than: str | None = None
    by: float | None = None
    by_percent: float | None = None

    @property
    def subject(self) -> str:
        groups = "".join(f", {cut} = {group}" for cut, group in self.where.items())
        return (self.metric or f"faults: {self.fault}") + groups

    @property
    def verb(self) -> str:
        return "is" if self.no_worse_than is None else f"differs from {self.no_worse_than} by"

    @property
    def requirement(self) -> str:
        if self.no_worse_than is None:
            return f"at least {_text(self.at_least)}" if self.at_most is None else f"at most {_text(self.at_most)}"
        lost = f"{_text(self.by_percent)} %" if self.by is None else _text(self.by)
        return f"no worse than {self.no_worse_than} by more than {lost}"

    def shown(self, number: float) -> str:
        """What was measured, with the sign of a difference and per cent of a share."""
        if self.no_worse_than is None:
            return _text(number)
        return f"{number:+.5f}" if self.by_percent is None else f"{100 * number:+.2f} %"

    def to_dict(self) -> dict[str, Any]:
        """As in the file: what says nothing is left out."""
        return {name: value for name, value in vars(self).items() if value is not None and value not in ("", {})}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Checks that a release must pass, all of them.

    Attributes
    ----------
    checks : sequence of Check
    confidence : float
        Of the two-sided intervals. A check is judged on the worse end of its interval, so that at 0.95 a candidate that
        is worse by just what may be lost passes 2.5 % of the time: the usual test of non-inferiority (Piaggio et al.,
        CONSORT, JAMA 308, 2012).
    min_units : int
        Visitors, or sessions where visitors are unknown, below which an interval is not relied on.

    Examples
    --------
    >>> import stamp.offline
    >>> checks = [{"metric": "hr@20", "no_worse_than": "current", "by_percent": 1}]
    >>> policy = stamp.offline.Policy.read({"format": 1, "checks": checks})
    >>> policy.checks[0].requirement
    'no worse than current by more than 1 %'
    """

    checks: Sequence[Check]
    confidence: float = 0.95
    min_units: int = FEW_UNITS

    @classmethod
    def read(cls, source: str | os.PathLike[str] | Mapping[str, Any]) -> Policy:
        """Read a policy from a JSON file, or from what such a file holds.

        Raises
        ------
        ValueError
            There is no such file, it is not JSON, or it is no policy; the message has the path of the key.
        """
        return read_policy(source, _policy)

    def judge(self, measured: Measured) -> Verdict:
        """Hold every check against what was measured, in every zone it is for."""
        return Verdict([
            self._judge(check, zone, measured)
            for check in self.checks
            for zone in (measured.zones if check.zone is None else [check.zone])
        ])  # fmt: skip

    def _judge(self, check: Check, zone: str, measured: Measured) -> Judgement:
        try:
            found, more_is_good, needed = self._measure(check, zone, measured)
        except ValueError as reason:
            return not_judged(check, zone, str(reason))
        return judged(check, zone, found, needed=needed, more_is_good=more_is_good)

    def _measure(self, check: Check, zone: str, measured: Measured) -> tuple[Estimate, bool, float]:
        """What is to be judged, whether more of it is good, and what its worse end must reach."""
        if zone not in measured.zones:
            raise ValueError(f"there is no zone '{zone}' among {', '.join(measured.zones)}")
        if check.no_worse_than is None:
            found = measured.estimate(check, zone, self.confidence)
            more_is_good = check.at_most is None
            needed = check.at_least if check.at_most is None else check.at_most
        else:
            found = measured.difference(check, zone, self.confidence)
            more_is_good = _better(check.metric) == "higher"
            lost = check.by if check.by_percent is None else check.by_percent / 100
            assert lost is not None
            needed = -lost if more_is_good else lost
        assert needed is not None
        if not math.isfinite(found.value):
            raise ValueError("there is no question to measure it on")
        if found.has_interval and found.units < self.min_units:
            raise ValueError(
                f"its interval would be of {found.units:,} visitors or sessions, {self.min_units:,} are needed"
            )  # fmt: skip
        return found, more_is_good, needed


def _text(number: float | None) -> str:
    assert number is not None
    return f"{number:,.0f}" if number == int(number) else f"{number:.5g}"


def _policy(given: Any) -> Policy:
    require_object("the policy", given, ("format", "checks", "confidence", "min_units"))
    require_format(given, 1)
    options: dict[str, Any] = {}
    if "confidence" in given:
        options["confidence"] = require_number("confidence", given["confidence"], low=0.5, below=1)
    if "min_units" in given:
        options["min_units"] = int(require_number("min_units", given["min_units"], low=2, whole=True))
    return Policy(checks=tuple(_check(f"checks[{i}]", check) for i, check in enumerate(checks_of(given))), **options)


_BOUND = ("metric", "zone", "where", "at_least", "at_most")
_NO_WORSE = ("metric", "zone", "where", "no_worse_than", "by", "by_percent")
_LATENCY = ("metric", "zone", "at_most")
_FAULT = ("fault", "zone", "at_most")


def _check(path: str, given: Any) -> Check:
    if not isinstance(given, Mapping):
        raise Wrong(f"{path} is {given!r}, expected an object")
    keys: tuple[str, ...]
    if "fault" in given:
        keys = _FAULT
        if given["fault"] not in FAULTS:
            raise Wrong(f"{path}.fault is {given['fault']!r}, expected one of {', '.join(FAULTS)}")
    elif "metric" in given:
        metric = given["metric"]
        if not isinstance(metric, str):
            raise Wrong(f"{path}.metric is {metric!r}, expected a text")
        if metric in LATENCIES:
            keys = _LATENCY
        else:
            keys = _NO_WORSE if "no_worse_than" in given else _BOUND
            try:
                better = _better(metric)
            except ValueError as error:
                raise Wrong(f"{path}.{error}") from None
            if keys is _NO_WORSE and better == "neither":
                raise Wrong(
                    f"{path}.metric is '{metric}', of which neither more nor less is better: bound it by at_least or "
                    "at_most"
                )
    else:
        raise Wrong(f"{path} has neither metric nor fault")
    require_object(path, given, keys)
    require_one_of(path, given, [key for key in keys if key in ("at_least", "at_most", "by", "by_percent")])
    read: dict[str, Any] = {}
    for key, value in given.items():
        read[key] = value
        if key in ("zone", "no_worse_than"):
            read[key] = require_name(f"{path}.{key}", value)
        if key == "where":
            read[key] = _where(f"{path}.where", value)
        if key in ("at_least", "at_most"):
            low = 0 if keys in (_LATENCY, _FAULT) else -math.inf
            read[key] = require_number(f"{path}.{key}", value, low=low, whole=keys is _FAULT)
        if key in ("by", "by_percent"):
            read[key] = require_number(f"{path}.{key}", value, low=0, below=100 if key == "by_percent" else math.inf)
    return Check(**read)


def _better(metric: str) -> str:
    """Whether "higher", "lower" or "neither" is better; a ValueError where there is no such metric at a length."""
    name, k = split_at(metric)
    found, _ = find_metric(name)
    if k is None:
        raise ValueError(f"metric is '{metric}', expected it with a length of the list, as {metric}@20")
    return found.better


def _where(path: str, given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping) or not given:
        raise Wrong(f"{path} is {given!r}, expected an object of the group by cut")
    for cut, group in given.items():
        if not isinstance(group, str):
            raise Wrong(f"{path}.{cut} is {group!r}, expected the name of a group")
    return dict(given)
