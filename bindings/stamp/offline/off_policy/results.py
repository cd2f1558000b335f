"""What an off-policy estimate says: figures by slot, or why there are none."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ...base.json_text import json_value
from ...base.tables import Table

_ALL = "all"


@dataclass(frozen=True, kw_only=True)
class OffPolicyEstimate:
    """What the evaluated policy would have earned for each product shown, by one estimator.

    Attributes
    ----------
    estimator : {"ips", "snips", "dr"}
    value, low, high : float
        With the interval.
    change, change_low, change_high : float
        value − what the log earned, with the interval of the paired difference.
    verdict : {"higher", "lower", "no difference shown"}
        Than what the log earned: whether the interval of the change leaves 0 out.
    """

    estimator: str
    value: float
    low: float
    high: float
    change: float
    change_low: float
    change_high: float
    verdict: str


@dataclass(frozen=True, kw_only=True)
class SlotEstimates:
    """Of one slot, or of all slots together.

    Attributes
    ----------
    slot : int or None
        None: rows of all slots, each counted once.
    rows, units : int
        Of the log, that the figures are of.
    left_out : int
        Rows of lists in which the log could not have shown what the policy would.
    uncovered : float
        Share of what the policy would show that the log could not have shown; of all rows, those left out included.
    effective : float
        Effective sample size.
    effective_rewards : float
        Effective number of rows with a reward.
    mean_weight : float
        1, or the share of slots that the policy fills, but for chance.
    log, log_low, log_high : float
        What the log earned, in the same rows.
    estimates : tuple of OffPolicyEstimate
        Empty where they are refused.
    refused : str
        Why there are none; else "".
    """

    slot: int | None
    rows: int
    units: int
    left_out: int
    uncovered: float
    effective: float
    effective_rewards: float
    mean_weight: float
    log: float
    log_low: float
    log_high: float
    estimates: tuple[OffPolicyEstimate, ...]
    refused: str = ""

    def __getitem__(self, estimator: str) -> OffPolicyEstimate:
        for each in self.estimates:
            if each.estimator == estimator:
                return each
        names = ", ".join(each.estimator for each in self.estimates)
        why = f"refused: {self.refused}" if self.refused else f"expected one of {names}"
        raise ValueError(f"SlotEstimates: there is no '{estimator}' of slot {_name(self.slot)}; {why}")


@dataclass(frozen=True, kw_only=True, repr=False)
class OffPolicyEstimates:
    """What :func:`estimate` found.

    Attributes
    ----------
    slots : tuple of SlotEstimates
        By slot; all together last, where there are several.
    estimand : str
        What is estimated.
    units : str
        What was resampled: "visitors" or "requests".
    confidence, resamples, seed
        As given.
    least_effective, least_rewards : float
        Below this effective sample size, or effective number of rows with a reward, estimates are refused.
    notes : tuple of str
    """

    slots: tuple[SlotEstimates, ...]
    estimand: str
    units: str
    confidence: float
    resamples: int
    seed: int
    least_effective: float
    least_rewards: float
    notes: tuple[str, ...] = ()

    def __getitem__(self, slot: int | None) -> SlotEstimates:
        """Of one slot; None: of all together."""
        for each in self.slots:
            if each.slot == slot or (slot is None and len(self.slots) == 1):
                return each
        names = ", ".join(_name(each.slot) for each in self.slots)
        raise ValueError(f"OffPolicyEstimates: there is no slot {slot!r}; expected one of {names}")

    def table(self) -> Table:
        """A row for each slot and estimator; one without figures where they are refused. Reasons are notes."""
        head = ["slot", "rows", "ESS", "log", "estimator", "value", "low", "high", "change", "low of change",
                "high of change", "verdict"]  # fmt: skip
        rows: list[list[Any]] = []
        notes = [
            self.estimand,
            f"low, high: {100 * self.confidence:.4g} % intervals, bootstrap over {self.units} ({self.resamples:,} "
            f"resamples, seed {self.seed}), of each row alone; change: against what the log earned, paired.",
            f"ESS: effective sample size; refused below {self.least_effective:g}, or {self.least_rewards:g} effective "
            "rows with a reward.",
        ]
        for each in self.slots:
            start = [_name(each.slot), each.rows, each.effective, each.log]
            for one in each.estimates:
                figures = [one.value, one.low, one.high, one.change, one.change_low, one.change_high]
                rows.append([*start, one.estimator, *figures, one.verdict])
            if each.refused:
                rows.append([*start, None, *[math.nan] * 6, "refused"])
                notes.append(f"slot {_name(each.slot)} is refused: {each.refused}")
        formats: dict[str, str] = dict.fromkeys(("log", "value", "low", "high"), ",.5f")
        formats |= dict.fromkeys(("change", "low of change", "high of change"), "+,.5f")
        return Table(head, rows, notes=[*notes, *self.notes], formats={**formats, "ESS": ",.0f"})

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON can hold them: None where a value cannot be had."""
        return json_value(dataclasses.asdict(self))

    def __repr__(self) -> str:
        return self.table().to_text()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def _name(slot: int | None) -> str:
    return _ALL if slot is None else str(slot)
