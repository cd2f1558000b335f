"""What another release would have earned, from a log of what was shown with its probability."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...base.checks import whole_number
from ..verdicts.bootstrap import FEW_UNITS, percentile_interval, resampled_sums
from .estimators import ESTIMATORS, Weighted, estimates_of
from .exposures import ExposureLog, floats
from .outcomes import fitted_outcomes
from .policies import Evaluated, Policy, Probabilities
from .results import OffPolicyEstimate, OffPolicyEstimates, SlotEstimates

LEAST_EFFECTIVE, LEAST_REWARDS = 200.0, 10.0  # docs/off_policy.md says why
LARGEST_WEIGHT = 1000.0  # what is shown less often than this for once that it would be is out of the log's reach
_NEGLIGIBLE = 0.001  # of what a policy shows
_STRAYS = 5.0  # standard errors of the mean weight
_OVERLAP = ("refuse", "leave out")


def estimate(
    log: ExposureLog,
    policy: Policy | ArrayLike,
    *,
    outcome: tuple[Any, Any] | None = None,
    without_overlap: str = "refuse",
    least_effective: float = LEAST_EFFECTIVE,
    least_rewards: float = LEAST_REWARDS,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> OffPolicyEstimates:
    """Estimate what another policy would have earned in the requests of a log, slot by slot.

    Parameters
    ----------
    log : ExposureLog
        What was shown, with rewards and propensities.
    policy : RankedLists, ExploredLists, Probabilities, or array [N]
        What would have been shown. An array is the probability of what the log showed, row by row.
    outcome : (array [N], array [N]), optional
        Expected rewards by a model that has not seen these rows: of the product that the log showed, and of what the policy
        would show there. Where absent they are learnt from the log, product by product and slot by slot, by other units
        than those that are predicted.
    without_overlap : {"refuse", "leave out"}
        What to do with a slot where the policy would show what the log could not have shown, in more than a thousandth of
        all cases: refuse, or estimate for the other requests alone. It could not have shown what has no propensity there,
        or one below a thousandth of the policy's own; where the log does not say what else could have been shown, what it
        never shows at that slot.
    least_effective, least_rewards : float
        Below this effective sample size, or effective number of rows with a reward, estimates are refused: their intervals
        would be too narrow.
    confidence : float
        Of the intervals.
    resamples, seed : int
        Of the bootstrap; `seed` deals units into folds, too.

    Returns
    -------
    OffPolicyEstimates

    Raises
    ------
    ValueError
        An option cannot be, or policy or outcome do not fit the log.

    Notes
    -----
    The estimand of slot j is the mean reward of the product at slot j, over the requests in which the log showed one there,
    had the policy chosen it. What stands in other slots is taken to make no difference to it. Both probabilities are those of
    the product at that slot, whatever stands before it (the item-position model of Li et al., "Offline Evaluation of Ranking
    Policies with Click Models", KDD 2018). An empty place earns 0.

    Intervals are percentiles of the bootstrap over visitors (requests where they are unknown), all of whose rows are drawn
    together. The estimate of all slots is of rows: the mean over products shown.

    Examples
    --------
    Each of two products is shown half of the time, "b" is clicked more often, and the policy would always show it:

    >>> import numpy as np
    >>> from stamp.offline import off_policy
    >>> random = np.random.default_rng(0)
    >>> shown = random.integers(0, 2, 2000)
    >>> log = off_policy.ExposureLog.from_rows(
    ...     item_id=np.array(["a", "b"])[shown],
    ...     slot=np.ones(2000),
    ...     reward=random.random(2000) < np.array([0.1, 0.3])[shown],
    ...     propensity=np.full(2000, 0.5),
    ... )
    >>> found = off_policy.estimate(log, off_policy.RankedLists([["b"]] * 2000))
    >>> dr = found[1]["dr"]
    >>> dr.low < 0.3 < dr.high, dr.verdict, round(found[1].effective)
    (True, 'higher', 1043)
    """
    _check(log, without_overlap, confidence, resamples, seed)
    least = _Least(least_effective, least_rewards)
    if hasattr(policy, "recommend") or isinstance(policy, (str, os.PathLike)):
        what = type(policy).__name__
        raise ValueError(
            f"estimate: policy is {what}, expected what it would have listed: ask(recommender, histories, zone=…)"
        )
    evaluated = (policy if isinstance(policy, Policy) else Probabilities(policy)).on(log)
    uncovered = _uncovered(log, evaluated)
    weighted = _weigh(log, evaluated, outcome, seed)
    slots = np.unique(log.slot).tolist()
    found = []
    for slot in [*slots, *([None] if len(slots) > 1 else [])]:
        rows = np.flatnonzero(log.slot == slot) if slot is not None else np.arange(len(log))
        found.append(
            _of_slot(slot, weighted, uncovered, rows, log.units, without_overlap, least, confidence, resamples, seed)
        )
    return OffPolicyEstimates(
        slots=tuple(found),
        estimand=_estimand(without_overlap, found),
        units=log.units,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        least_effective=least_effective,
        least_rewards=least_rewards,
        notes=(*log.notes, *_notes(found, weighted)),
    )


@dataclass(frozen=True)
class _Least:
    effective: float
    rewards: float

    def __post_init__(self) -> None:
        for name, value in (("effective", self.effective), ("rewards", self.rewards)):
            if not value >= 1:
                raise ValueError(f"estimate: least_{name} is {value!r}, expected 1 or more")


def _check(log: Any, without_overlap: str, confidence: float, resamples: int, seed: int) -> None:
    if not isinstance(log, ExposureLog):
        raise ValueError(f"estimate: log is {type(log).__name__}, expected an ExposureLog (see ExposureLog.from_rows)")
    if not len(log):
        raise ValueError("estimate: the log is empty; expected a row for each product shown")
    if without_overlap not in _OVERLAP:
        raise ValueError(f"estimate: without_overlap is {without_overlap!r}, expected 'refuse' or 'leave out'")
    if not 0 < confidence < 1:
        raise ValueError(f"estimate: confidence is {confidence!r}, expected between 0 and 1")
    whole_number("estimate: resamples", resamples, least=1)
    whole_number("estimate: seed", seed, least=0)


def _uncovered(log: ExposureLog, evaluated: Evaluated) -> np.ndarray:
    """How much of what the policy shows the log could not have shown, by row [N]."""
    choices = evaluated.choices
    if choices is None:
        return np.zeros(len(log))
    if log.choices is not None:
        logged = log.choices.of_entries(choices)
        beyond = choices.probabilities > LARGEST_WEIGHT * logged
    else:
        V = len(log.catalog)
        seen = np.zeros(
            (int(log.slot.max()) + 1, V + 1), bool
        )  # the last column, which -1 finds, is of unknown products
        seen[log.slot, log.item] = True
        beyond = (choices.probabilities > 0) & ~seen[log.slot[choices.row], choices.items]
    return choices.sums(np.where(beyond, choices.probabilities, 0.0))


def _weigh(log: ExposureLog, evaluated: Evaluated, outcome: Any, seed: int) -> Weighted:
    choices, square, predicted, direct = evaluated.choices, None, None, None
    if choices is not None and log.choices is not None:
        logged = log.choices.of_entries(choices)
        reached = choices.probabilities <= LARGEST_WEIGHT * logged
        squares = np.divide(choices.probabilities**2, logged, out=np.zeros(len(logged)), where=reached & (logged > 0))
        square = choices.sums(squares)
    if outcome is not None:
        try:
            predicted, direct = outcome
        except (TypeError, ValueError):
            raise ValueError(
                f"estimate: outcome is {type(outcome).__name__}, expected two arrays: rewards of what was shown, and of what "
                "the policy would show"
            ) from None
        predicted = floats("estimate: outcome[0]", predicted, len(log))
        direct = floats("estimate: outcome[1]", direct, len(log))
    elif choices is not None:
        predicted, direct = fitted_outcomes(log, choices, seed)
    return Weighted(
        unit=log.unit,
        reward=log.reward,
        weight=evaluated.shown / log.propensity,
        mass=np.ones(len(log)) if choices is None else choices.sums(choices.probabilities),
        square=square,
        predicted=predicted,
        direct=direct,
    )


def _of_slot(
    slot: int | None, weighted: Weighted, uncovered: np.ndarray, rows: np.ndarray, units: str, without_overlap: str,
    least: _Least, confidence: float, resamples: int, seed: int,
) -> SlotEstimates:  # fmt: skip
    share = float(uncovered[rows].mean())
    kept = rows
    if without_overlap == "leave out":
        kept = rows[uncovered[rows] <= _NEGLIGIBLE]
    part = weighted.take(kept)
    sums = part.sums()
    values = {name: float(value) for name, value in estimates_of(sums.sum(axis=0)).items()}
    effective, low, high = part.effective(), np.nan, np.nan
    refused = _reason(part, share, rows, kept, uncovered, len(sums), units, least, without_overlap)
    estimates = []
    if len(sums):
        drawn = estimates_of(resampled_sums(sums, resamples=resamples, seed=seed))
        low, high = map(float, percentile_interval(drawn["log"], confidence))
        for name in ESTIMATORS if not refused else ():
            if np.isnan(values[name]):
                continue
            ends = map(float, percentile_interval(drawn[name], confidence))
            lower, upper = map(float, percentile_interval(drawn[name] - drawn["log"], confidence))
            verdict = "higher" if lower > 0 else "lower" if upper < 0 else "no difference shown"
            one = dict(zip(("low", "high"), ends))
            estimates.append(
                OffPolicyEstimate(estimator=name, value=values[name], **one, change=values[name] - values["log"],
                                  change_low=lower, change_high=upper, verdict=verdict)
            )  # fmt: skip
    return SlotEstimates(
        slot=slot,
        rows=len(kept),
        units=len(sums),
        left_out=len(rows) - len(kept),
        uncovered=share,
        effective=effective,
        effective_rewards=part.effective_rewards(),
        mean_weight=float(part.weight.mean()) if len(kept) else np.nan,
        log=values["log"],
        log_low=low,
        log_high=high,
        estimates=tuple(estimates),
        refused=refused,
    )


def _reason(
    part: Weighted, share: float, rows: np.ndarray, kept: np.ndarray, uncovered: np.ndarray, count: int, units: str,
    least: _Least, without_overlap: str,
) -> str:  # fmt: skip
    """Why there is no estimate; "" where there is."""
    if not len(kept):
        return "in no request could the log have shown what the policy would"
    if without_overlap == "refuse" and share > _NEGLIGIBLE:
        lists = int((uncovered[rows] > _NEGLIGIBLE).sum())
        return (
            f"the log could not have shown {100 * share:.3g} % of what the policy would (in {lists:,} of {len(rows):,} rows); "
            "without_overlap='leave out' estimates for the others alone"
        )
    effective = part.effective()
    if effective < least.effective:
        why = ": the log rarely shows what the policy would" if len(kept) >= least.effective else ""
        return (
            f"the effective sample size is {effective:.1f} of {len(kept):,} rows, {least.effective:g} are needed{why}"
        )
    if count < FEW_UNITS:
        return f"there are {count} {units}, {FEW_UNITS} are needed for an interval"
    strays = part.strays()
    if abs(strays) > _STRAYS:
        return (
            f"the mean weight is {part.weight.mean():.4g} where {part.mass.mean():.4g} is expected, {abs(strays):.1f} standard "
            "errors off: propensities are not those that the log was shown by, or the policy shows what the log never did"
        )
    rewards = part.effective_rewards()
    if rewards < least.rewards:
        return (
            f"of what the policy would show {rewards:.1f} effective rows have a reward, {least.rewards:g} are needed: the "
            "interval would be too narrow"
        )
    return ""


def _estimand(without_overlap: str, found: list[SlotEstimates]) -> str:
    said = "value: mean reward of the product at the slot, had the policy chosen it, whatever stands in other slots"
    if without_overlap == "leave out" and any(each.left_out for each in found):
        return f"{said}; of the requests alone in which the log could have shown what the policy would."
    return f"{said}; over the requests in which the log showed one there."


def _notes(found: list[SlotEstimates], weighted: Weighted) -> list[str]:
    notes = []
    for each in found:
        name = f"slot {'all' if each.slot is None else each.slot}"
        if each.left_out:
            notes.append(f"{name}: {each.left_out:,} of {each.rows + each.left_out:,} rows are left out.")
        elif each.uncovered > 0 and not each.refused:
            notes.append(
                f"{name}: {100 * each.uncovered:.2g} % of what the policy would show is out of the log's reach."
            )
    if weighted.direct is None:
        notes.append("no doubly robust estimate: of probabilities of what was shown alone it needs outcome=….")
    return notes
