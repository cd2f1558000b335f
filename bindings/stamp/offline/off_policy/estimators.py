"""The estimators on plain arrays: sums of units, from which all of them follow, and effective sample sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ESTIMATORS = ("ips", "snips", "dr")


@dataclass(frozen=True, eq=False)
class Weighted:
    """Rows of a log [n], and what the evaluated policy makes of them."""

    unit: np.ndarray  # int64: codes
    reward: np.ndarray
    weight: np.ndarray  # of the product shown: evaluated / logged probability
    mass: np.ndarray  # chance that the evaluated policy shows anything: what the weight is on average
    square: np.ndarray | None  # of the weight, on average over what could have been shown; None: unknown
    predicted: np.ndarray | None  # reward of the product shown, by the outcome model; None: there is none
    direct: np.ndarray | None  # reward of what the evaluated policy shows, by the outcome model

    def take(self, rows: np.ndarray) -> Weighted:
        def of(column: np.ndarray | None) -> np.ndarray | None:
            return None if column is None else column[rows]

        return Weighted(self.unit[rows], self.reward[rows], self.weight[rows], self.mass[rows], of(self.square),
                        of(self.predicted), of(self.direct))  # fmt: skip

    def sums(self) -> np.ndarray:
        """By unit [U, 6]: rows, rewards, weights, masses, weighted rewards, doubly robust terms."""
        _, code = np.unique(self.unit, return_inverse=True)
        columns = [np.ones(len(self.unit)), self.reward, self.weight, self.mass, self.weight * self.reward]
        if self.predicted is not None and self.direct is not None:
            columns.append(self.direct + self.weight * (self.reward - self.predicted))
        else:
            columns.append(np.full(len(self.unit), np.nan))
        return np.stack([np.bincount(code, weights=column) for column in columns], axis=1)

    def effective(self) -> float:
        """The effective sample size of the weights: (Σw)² / Σw² (Kish, *Survey Sampling*, 1965), and at most the same
        with the mean of w² over all that could have been shown, where it is known: large weights of products that are
        shown rarely are mostly not among the rows."""
        seen = _kish(self.weight.sum(), (self.weight**2).sum())
        return seen if self.square is None else min(seen, _kish(self.mass.sum(), self.square.sum()))

    def effective_rewards(self) -> float:
        """The effective number of rows with a reward: (Σ|wr|)² / Σ(wr)²."""
        earned = np.abs(self.weight * self.reward)
        return _kish(earned.sum(), (earned**2).sum())

    def strays(self) -> float:
        """By how many standard errors the mean weight is off what it should be, the mean mass."""
        _, code = np.unique(self.unit, return_inverse=True)
        off = np.bincount(code, weights=self.weight - self.mass)
        spread = float(np.sqrt((off**2).sum()))
        # What rounding leaves of weights that are all 1 is nothing.
        return float(off.sum()) / spread if spread > 1e-9 * len(self.weight) else 0.0


def _kish(total: float, squares: float) -> float:
    return float(total**2 / squares) if squares > 0 else 0.0


def estimates_of(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Of sums [..., 6] of :meth:`Weighted.sums`, over units or resamples: the mean reward of the log, and the
    estimators.

    - "ips": Σ w r / n (Horvitz and Thompson, JASA 1952).
    - "snips": Σ w r / Σ w, times the share of places that the policy fills (Swaminathan and Joachims, NeurIPS 2015).
    - "dr": Σ (q(policy) + w (r − q(shown))) / n (Dudík, Langford and Li, ICML 2011).
    """
    n, reward, weight, mass, weighted, robust = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"log": reward / n, "ips": weighted / n, "snips": weighted / weight * (mass / n), "dr": robust / n}
