"""Metrics of kinds of questions with their intervals, and beside the best of the trivial baselines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...base.checks import whole_number
from ..replays.results import Replay
from ..verdicts.bootstrap import percentile_interval, resampled_sums
from .results import ColdStartRow


@dataclass(frozen=True)
class Resampling:
    """Options of the bootstrap over visitors, or sessions where these are unknown."""

    confidence: float
    resamples: int
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ValueError(
                f"cold_start: confidence is {self.confidence}, expected a number between 0 and 1, like 0.95"
            )
        whole_number("cold_start: resamples", self.resamples, least=100)


def judge(
    replays: Sequence[Replay],
    zone: str,
    names: Sequence[str],
    trivial: Collection[str],
    groups: Mapping[str, np.ndarray],
    metrics: Sequence[str],
    ks: Sequence[int],
    resampling: Resampling,
) -> list[ColdStartRow]:
    """A row for each group (bool [N]) that has questions, metric, k and recommender.

    The replays ask the same N questions in `zone`; each of `names`, the `trivial` among them, is in one of them.
    """
    values = {
        (metric, k, name): each.values(metric, name=name, zone=zone, k=k)
        for metric in metrics for k in ks for each in replays for name in each.names
    }  # fmt: skip
    unit = np.unique(replays[0].questions[zone].unit, return_inverse=True)[1]
    rows = []
    for kind, chosen in groups.items():
        if not chosen.any():
            continue
        units, of = np.unique(unit[chosen], return_inverse=True)
        for metric in metrics:
            for k in ks:
                columns = np.stack([values[metric, k, name][chosen] for name in names], axis=1)
                rows += _rows(columns, of, len(units), names, trivial, resampling, (zone, kind, f"{metric}@{k}"))
    return rows


def _rows(
    values: np.ndarray,
    unit: np.ndarray,
    units: int,
    names: Sequence[str],
    trivial: Collection[str],
    resampling: Resampling,
    what: tuple[str, str, str],
) -> list[ColdStartRow]:
    """Of values [n,M], a column for each of `names`, of questions that are `unit`'s [n] of so many."""
    there = ~np.isnan(values)
    sums = np.stack([np.bincount(unit, column, minlength=units) for column in np.nan_to_num(values).T], axis=1)
    counts = np.stack([np.bincount(unit, column, minlength=units) for column in there.T], axis=1)
    M = len(names)
    drawn = resampled_sums(np.hstack([sums, counts]), resamples=resampling.resamples, seed=resampling.seed)
    with np.errstate(invalid="ignore", divide="ignore"):  # of no question: NaN
        means = sums.sum(axis=0) / counts.sum(axis=0)
        resampled = drawn[:, :M] / drawn[:, M:]
        best = max((names.index(name) for name in trivial), key=lambda i: np.nan_to_num(means[i], nan=-1.0))
        ratio, ratios = means / means[best], resampled / resampled[:, [best]]
    ratio[~np.isfinite(ratio)] = np.nan
    ratios[~np.isfinite(ratios)] = np.nan
    low, high = percentile_interval(resampled, resampling.confidence)
    less, more = percentile_interval(resampled - resampled[:, [best]], resampling.confidence)
    ratio_low, ratio_high = percentile_interval(ratios, resampling.confidence)
    listed, kind, metric = what
    return [
        ColdStartRow(
            listed=listed,
            clicks=kind,
            metric=metric,
            recommender=name,
            trivial=name in trivial,
            value=float(means[i]),
            low=float(low[i]),
            high=float(high[i]),
            best_trivial=names[best],
            difference=float(means[i] - means[best]),
            difference_low=float(less[i]),
            difference_high=float(more[i]),
            ratio=float(ratio[i]),
            ratio_low=float(ratio_low[i]),
            ratio_high=float(ratio_high[i]),
            questions=len(values),
            units=units,
        )
        for i, name in enumerate(names)
    ]
