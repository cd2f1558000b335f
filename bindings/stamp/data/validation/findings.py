"""Findings: what is not as it should be, where, by how much, and how bad that is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..sources.dates import date_of
from .checks import CHECKS
from .policy import DataPolicy

Severity = Literal["info", "warning", "error"]
_VERBS = {"warning": "warns", "error": "stops"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    check : str
        One of :data:`CHECKS`.
    severity : {"info", "warning", "error"}
        What the policy makes of it: it goes on, it goes on and people should look, it stops.
    day : str or None
        ISO date (UTC); None where it is no day's.
    column : str or None
    value, bound : float
        What was measured, and what it is above; of "info", the bound of a warning, or NaN where there is none.
    sentence : str
    """

    check: str
    severity: Severity
    day: str | None
    column: str | None
    value: float
    bound: float
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN."""
        return {**asdict(self), "bound": self.bound if math.isfinite(self.bound) else None}


class Findings:
    """Collects what is found, as a policy judges it, and what was looked at."""

    def __init__(self, policy: DataPolicy):
        self.policy = policy
        self.found: list[Finding] = []
        self.looked: set[str] = set()

    def look(
        self,
        check: str,
        value: float,
        sentence: str,
        *,
        day: int | None = None,
        column: str | None = None,
        widened: Callable[[float], float] = lambda stated: stated,
        told: bool = False,
    ) -> None:
        """Hold a measure against the policy. `widened` is the bound that one stated in the policy comes to on this day;
        with `told`, what is above zero is told as "info" where it is below all bounds."""
        self.looked.add(check)
        rule = self.policy.rule(check)
        warn, stop = (None if bound is None else widened(bound) for bound in (rule.warn, rule.stop))
        severity: Severity
        if stop is not None and value > stop:
            severity, bound = "error", stop
        elif warn is not None and value > warn:
            severity, bound = "warning", warn
        elif told and value > 0:
            severity, bound = "info", math.nan if warn is None else warn
        else:
            return
        where = "" if day is None else f"{date_of(day)}: "
        end = f"; it {_VERBS[severity]} above {CHECKS[check].shown(bound)}" if severity in _VERBS else ""
        self.found.append(
            Finding(
                check=check,
                severity=severity,
                day=None if day is None else date_of(day),
                column=column,
                value=value,
                bound=bound,
                sentence=f"{where}{sentence}{end}.",
            )
        )
