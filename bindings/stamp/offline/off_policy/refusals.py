"""When there is no estimate: what the log could not have shown, and how much of the rest is too little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..verdicts.bootstrap import FEW_UNITS
from .estimators import Weighted
from .exposures import ExposureLog
from .policies import Evaluated

LEAST_EFFECTIVE, LEAST_REWARDS = 200.0, 10.0  # docs/off_policy.md says why
_LARGEST_WEIGHT = 1000.0  # what is logged that much less often than the policy shows it is out of the log's reach
_NEGLIGIBLE = 0.001  # of what a policy shows
_STRAYS = 5.0  # standard errors of the mean weight
_OVERLAP = ("refuse", "leave out")


@dataclass(frozen=True, eq=False)
class Reach:
    """How far the log reaches into what a policy shows.

    uncovered float64 [N]: how much of what it shows in a row the log could not have shown there. square float64 [N]:
    the mean square of the weight over what the log could have shown; None where nobody knows.
    """

    uncovered: np.ndarray
    square: np.ndarray | None

    @staticmethod
    def of(log: ExposureLog, evaluated: Evaluated) -> Reach:
        choices = evaluated.choices
        if choices is None:
            return Reach(np.zeros(len(log)), None)
        shown = choices.probabilities
        if log.choices is None:
            # The last column, which -1 finds, is of products that the log does not know.
            seen = np.zeros((int(log.slot.max()) + 1, len(log.catalog) + 1), bool)
            seen[log.slot, log.item] = True
            beyond = ~seen[log.slot[choices.row], choices.items]
            return Reach(choices.sums(np.where(beyond, shown, 0.0)), None)
        logged = log.choices.of_entries(choices)
        beyond = shown > _LARGEST_WEIGHT * logged
        squares = np.divide(shown**2, logged, out=np.zeros(len(logged)), where=~beyond & (logged > 0))
        return Reach(choices.sums(np.where(beyond, shown, 0.0)), choices.sums(squares))


@dataclass(frozen=True)
class Demands:
    """What an estimate has to meet: options of :func:`estimate`."""

    least_effective: float
    least_rewards: float
    without_overlap: str

    def __post_init__(self) -> None:
        for name, value in (("effective", self.least_effective), ("rewards", self.least_rewards)):
            if not isinstance(value, (int, float)) or not value >= 1:
                raise ValueError(f"estimate: least_{name} is {value!r}, expected 1 or more")
        if self.without_overlap not in _OVERLAP:
            raise ValueError(f"estimate: without_overlap is {self.without_overlap!r}, expected 'refuse' or 'leave out'")

    def kept(self, reach: Reach, rows: np.ndarray) -> np.ndarray:
        """Those of the rows that an estimate is of."""
        return rows[reach.uncovered[rows] <= _NEGLIGIBLE] if self.without_overlap == "leave out" else rows

    def refuse(self, part: Weighted, reach: Reach, rows: np.ndarray, units: str) -> str:
        """Why there is no estimate of a part of the rows, those that were kept; "" where there is."""
        n, effective, rewards = len(part.unit), part.effective(), part.effective_rewards()
        uncovered, share = reach.uncovered[rows], float(reach.uncovered[rows].mean())
        if not n:
            return "in no request could the log have shown what the policy would"
        if self.without_overlap == "refuse" and share > _NEGLIGIBLE:
            where = f"{np.count_nonzero(uncovered > _NEGLIGIBLE):,} of {len(rows):,} rows"
            return (
                f"the log could not have shown {100 * share:.3g} % of what the policy would (in {where}); "
                "without_overlap='leave out' estimates for the others alone"
            )
        if effective < self.least_effective:
            why = ": the log rarely shows what the policy would" if n >= self.least_effective else ""
            return (
                f"the effective sample size is {effective:.1f} of {n:,} rows, {self.least_effective:g} are needed{why}"
            )
        count = len(np.unique(part.unit))
        if count < FEW_UNITS:
            return f"there are {count} {units}, {FEW_UNITS} are needed for an interval"
        strays = part.strays()
        if abs(strays) > _STRAYS:
            return (
                f"the mean weight is {part.weight.mean():.4g} where {part.mass.mean():.4g} is expected, "
                f"{abs(strays):.1f} standard errors off: propensities are not those that the log was shown by, or the "
                "policy shows what the log never did"
            )
        if rewards < self.least_rewards:
            return (
                f"of what the policy would show {rewards:.1f} effective rows have a reward, {self.least_rewards:g} are "
                "needed: the interval would be too narrow"
            )
        return ""
