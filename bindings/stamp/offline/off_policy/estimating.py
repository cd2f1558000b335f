"""What another release would have earned, from a log of what was shown with its probability."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ...base.checks import whole_number
from ..verdicts.bootstrap import percentile_interval, resampled_sums
from .estimators import ESTIMATORS, Weighted, estimates_of
from .exposures import ExposureLog, floats
from .outcomes import fitted_outcomes
from .policies import Evaluated, Policy, Probabilities
from .refusals import LEAST_EFFECTIVE, LEAST_REWARDS, Demands, Reach
from .results import OffPolicyEstimate, OffPolicyEstimates, SlotEstimates


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
        Expected rewards by a model that has not seen these rows: of the product that the log showed, and of what the
        policy would show there. Where absent they are learnt from the log, product by product and slot by slot, by
        other units than those that are predicted.
    without_overlap : {"refuse", "leave out"}
        What to do with a slot where the policy would show what the log could not have shown, in more than a thousandth
        of all cases: refuse, or estimate for the other requests alone. It could not have shown what has no propensity
        there, or one below a thousandth of the policy's own; where the log does not say what else could have been
        shown, what it never shows at that slot.
    least_effective, least_rewards : float
        Below this effective sample size, or effective number of rows with a reward, estimates are refused: their
        intervals would be too narrow.
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
    The estimand of slot j is the mean reward of the product at slot j, over the requests in which the log showed one
    there, had the policy chosen it. What stands in other slots is taken to make no difference to it. Both probabilities
    are those of the product at that slot, whatever stands before it (the item-position model of Li et al., "Offline
    Evaluation of Ranking Policies with Click Models", KDD 2018). An empty place earns 0.

    Intervals are percentiles of the bootstrap over visitors (requests where they are unknown), all of whose rows are
    drawn together. The estimate of all slots is of rows: the mean over products shown.

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
    _check(log, confidence, resamples, seed)
    demands = Demands(least_effective, least_rewards, without_overlap)
    if hasattr(policy, "recommend") or isinstance(policy, (str, os.PathLike)):
        what = type(policy).__name__
        raise ValueError(
            f"estimate: policy is {what}, expected what it would have listed: ask(recommender, histories, zone=…)"
        )
    evaluated = (policy if isinstance(policy, Policy) else Probabilities(policy)).on(log)
    reach = Reach.of(log, evaluated)
    weighted = _weigh(log, evaluated, reach, outcome, seed)
    slots = np.unique(log.slot).tolist()
    found = []
    for slot in [*slots, *([None] if len(slots) > 1 else [])]:
        rows = np.arange(len(log)) if slot is None else np.flatnonzero(log.slot == slot)
        kept = demands.kept(reach, rows)
        part = weighted.take(kept)
        found.append(
            _estimated(
                part,
                confidence=confidence,
                resamples=resamples,
                seed=seed,
                slot=slot,
                left_out=len(rows) - len(kept),
                uncovered=float(reach.uncovered[rows].mean()),
                refused=demands.refuse(part, reach, rows, log.units),
            )
        )
    return OffPolicyEstimates(
        slots=tuple(found),
        estimand=_estimand(found),
        units=log.units,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        least_effective=least_effective,
        least_rewards=least_rewards,
        notes=(*log.notes, *_notes(found, weighted)),
    )


def _check(log: Any, confidence: float, resamples: int, seed: int) -> None:
    if not isinstance(log, ExposureLog):
        raise ValueError(f"estimate: log is {type(log).__name__}, expected an ExposureLog (see ExposureLog.from_rows)")
    if not isinstance(confidence, (int, float)) or not 0 < confidence < 1:
        raise ValueError(f"estimate: confidence is {confidence!r}, expected between 0 and 1")
    whole_number("estimate: resamples", resamples, least=100)
    whole_number("estimate: seed", seed, least=0)


def _weigh(log: ExposureLog, evaluated: Evaluated, reach: Reach, outcome: Any, seed: int) -> Weighted:
    choices, predicted, direct = evaluated.choices, None, None
    if outcome is not None:
        try:
            predicted, direct = outcome
        except (TypeError, ValueError):
            raise ValueError(
                f"estimate: outcome is {type(outcome).__name__}, expected two arrays: rewards of what was shown, and "
                "of what the policy would show"
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
        square=reach.square,
        predicted=predicted,
        direct=direct,
    )


def _estimated(
    part: Weighted, *, confidence: float, resamples: int, seed: int, refused: str, **more: Any
) -> SlotEstimates:
    """Of some rows, with intervals; `more` is what else is known of the slot."""
    sums = part.sums()
    values = {name: float(value) for name, value in estimates_of(sums.sum(axis=0)).items()}
    intervals = {name: (np.nan, np.nan) for name in values}
    changes = dict(intervals)
    if len(sums):
        drawn = estimates_of(resampled_sums(sums, resamples=resamples, seed=seed))
        intervals = {name: _interval(each, confidence) for name, each in drawn.items()}
        changes = {name: _interval(each - drawn["log"], confidence) for name, each in drawn.items()}
    estimates = []
    for name in ESTIMATORS:
        if refused or np.isnan(values[name]):
            continue
        low, high = changes[name]
        estimates.append(
            OffPolicyEstimate(
                estimator=name,
                value=values[name],
                low=intervals[name][0],
                high=intervals[name][1],
                change=values[name] - values["log"],
                change_low=low,
                change_high=high,
                verdict="higher" if low > 0 else "lower" if high < 0 else "no difference shown",
            )
        )
    return SlotEstimates(
        rows=len(part.unit),
        units=len(sums),
        effective=part.effective(),
        effective_rewards=part.effective_rewards(),
        mean_weight=float(part.weight.mean()) if len(sums) else np.nan,
        log=values["log"],
        log_low=intervals["log"][0],
        log_high=intervals["log"][1],
        estimates=tuple(estimates),
        refused=refused,
        **more,
    )


def _interval(drawn: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = percentile_interval(drawn, confidence)
    return float(low), float(high)


def _estimand(found: list[SlotEstimates]) -> str:
    said = "value: mean reward of the product at the slot, had the policy chosen it, whatever stands in other slots"
    if any(each.left_out for each in found):
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
