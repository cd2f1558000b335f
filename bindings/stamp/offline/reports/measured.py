"""What a policy is judged on: a replay, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...base.policies import Estimate
from ..metrics.registry import find_metric, split_at
from ..replays.results import Replay
from ..verdicts.bootstrap import percentile_interval, resampled_sums
from .policy import Check


class MeasuredReplay:
    """The recommender `name` of a replay. Intervals are drawn as :func:`compare` draws them: of visitors or sessions,
    all their questions at once.

    A relative difference is judged by the resampled ratios of both values, so that what is uncertain in the other's
    value counts too. Metrics of a whole set of lists, latencies and faults have no interval (see :func:`compare`).
    """

    def __init__(self, replay: Replay, name: str, *, resamples: int, seed: int):
        self._replay, self._name = replay, name
        self._resamples, self._seed = resamples, seed

    @property
    def zones(self) -> Sequence[str]:
        return list(self._replay.zones)

    def estimate(self, check: Check, zone: str, confidence: float) -> Estimate:
        lists = self._replay.lists[self._name, zone]
        if check.fault:
            return Estimate(value=lists.faults[check.fault])
        if check.metric.startswith("latency_p"):
            if not len(lists.latency):
                raise ValueError("no single request was timed")
            percent = float(check.metric.removeprefix("latency_p").removesuffix("_ms"))
            return Estimate(value=1e3 * float(np.percentile(lists.latency, percent)))
        return self._estimate(check, zone, confidence, [self._name])

    def difference(self, check: Check, zone: str, confidence: float) -> Estimate:
        if check.no_worse_than not in self._replay.names:
            raise ValueError(f"there is no recommender '{check.no_worse_than}' among {', '.join(self._replay.names)}")
        return self._estimate(check, zone, confidence, [self._name, check.no_worse_than])

    def _estimate(self, check: Check, zone: str, confidence: float, names: Sequence[str]) -> Estimate:
        """Of one recommender, or of the first against the second."""
        metric, k = split_at(check.metric)
        assert k is not None
        where = self._where(check, zone)

        def statistic(values: np.ndarray) -> np.ndarray:
            if len(names) == 1:
                return values[..., 0]
            difference = values[..., 0] - values[..., 1]
            return difference if check.by_percent is None else difference / values[..., 1]

        with np.errstate(invalid="ignore", divide="ignore"):  # no question, or nothing to relate to: NaN, not judged
            if not find_metric(metric)[0].per_question:
                whole = [self._replay.aggregate(metric, name=n, zone=zone, k=k, where=where) for n in names]
                return Estimate(value=float(statistic(np.array(whole))))
            values = [self._replay.values(metric, name=n, zone=zone, k=k)[where] for n in names]
            if metric == "weighted_hr":  # over the weights of the questions asked for, as Replay.aggregate has it
                values = [column / self._replay._mean_weight(zone, where) for column in values]
            columns = _sums(values, self._replay.questions[zone].unit[where])
            if not columns.any():
                raise ValueError("no question to measure it on")
            total = columns.sum(axis=0)
            resampled = resampled_sums(columns, resamples=self._resamples, seed=self._seed)
            found = statistic(resampled[:, 0::2] / resampled[:, 1::2])
            low, high = percentile_interval(found[:, None], confidence)
            value = float(statistic(total[0::2] / total[1::2]))
        if not np.isfinite((value, *low, *high)).all():  # it would pass or fail by what it does not know
            raise ValueError(
                "its interval has no ends: some resamples have no such question, or nothing to relate it to"
            )  # fmt: skip
        units = int(columns[:, 1::2].any(axis=1).sum())
        return Estimate(value=value, low=float(low[0]), high=float(high[0]), units=units)

    def _where(self, check: Check, zone: str) -> np.ndarray:
        """Which questions are in all groups of the check [N]."""
        chosen = np.ones(len(self._replay.questions[zone]), bool)
        for cut, group in check.where.items():
            labels, names = self._replay.cut(cut, zone)
            if group not in names:
                raise ValueError(f"there is no group '{group}' of {cut} among {', '.join(names[:10])}")
            chosen &= labels == names.index(group)
        return chosen


def _sums(values: Sequence[np.ndarray], unit: np.ndarray) -> np.ndarray:
    """By visitor or session: the sum of each of the values, and the questions that it is of."""
    _, unit = np.unique(unit, return_inverse=True)
    n = 1 + int(unit.max(initial=-1))
    columns = []
    for column in values:
        applies = ~np.isnan(column)
        columns += [np.bincount(unit[applies], column[applies], n), np.bincount(unit[applies], None, n)]
    return np.stack(columns, axis=-1)
