"""Verdicts: is one recommender better than another, or was it luck? Paired over the same questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...base.checks import whole_number
from ...data.tables.columns import take
from ..metrics.registry import Metric, MetricAt, metric_at
from ..replays.results import Replay
from ..splits.windows import short_moments
from .bootstrap import holm, least_resamples, percentile_interval, resampled_sums, two_sided_p
from .comparisons import Comparison
from .rows import Row


def compare(
    replay: Replay | Sequence[Replay],
    *,
    baseline: str,
    metrics: Sequence[str] = ("hr", "mrr"),
    zone: str | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare recommenders with a baseline over the same questions: differences, intervals, and verdicts.

    Questions of one visitor resemble each other, so visitors are resampled (sessions where visitors are unknown), all
    their questions at once. Recommenders share the resamples: what makes a visitor easy for both cancels out of the
    difference. A metric is a mean over the questions it applies to, the ratio of two sums over the resampled units.

    Parameters
    ----------
    replay : Replay, or list of Replay
        Several are windows (:func:`replay_windows`) of the same recommenders and zones: their questions are pooled, and
        a visitor who comes back is one unit. Questions must not be in two of them.
    baseline : str
        Name of the recommender that the others are compared with.
    metrics : list of str
        As "hr@20"; without "@", of each zone's own length.
    zone : str, optional
        One zone; else all.
    confidence : float
        Of the intervals; a verdict needs a p below 1 − confidence after correction.
    resamples, seed : int
        Of the bootstrap. 100 resamples or more.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        There is nothing to compare, no metric applies to questions of two visitors, a name is unknown, a metric lacks
        what it needs, an option is out of its range, or there are too few resamples for so many comparisons.

    Notes
    -----
    - Percentile intervals of the difference: Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapter
      13. Paired, for evaluating retrieval: Sakai, "Evaluating evaluation metrics based on the bootstrap" (SIGIR 2006).
    - ``p = 2 · min((1 + #{d* ≤ 0}), (1 + #{d* ≥ 0})) / (1 + R)``, at most 1: see :func:`bootstrap.two_sided_p`.
    - Holm (1979) over all comparisons of the call that have a p: zones × metrics × (recommenders − 1).
    - Coverage, Gini index and other metrics of a whole set of lists are shown without an interval. The bootstrap fails
      for them: a resample leaves out 37 % of its units (1/e), so it covers less of the catalog than what it was drawn
      from, and its interval can miss the very value it is about. Their difference in each window
      (:meth:`Comparison.window_table`) says more. Over windows they are the mean of the windows' values.
    - "weighted_hr" is taken as the mean of weighted hits over the mean weight of all questions, which is held fixed.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=1000, products=100)
    >>> train, test = shop.sessions.split_by_time("7D")
    >>> models = {
    ...     "popularity": stamp.PopularityRecommender().fit(train),
    ...     "stamp": stamp.StampRecommender(dim=16, epochs=5).fit(train, progress=False),
    ... }
    >>> asked = stamp.offline.replay(models, test, train=train)
    >>> stamp.offline.compare(asked, baseline="popularity", metrics=["hr@20"]).rows[0].verdict
    'better'
    """
    replays = list(replay) if isinstance(replay, Sequence) else [replay]
    names, zones = _require_alike(replays, baseline, zone)
    others = [name for name in names if name != baseline]
    if isinstance(metrics, str) or not metrics:
        raise ValueError(f"compare: metrics is {metrics!r}, expected a list like ['hr', 'mrr@20']")
    asked = {z: [metric_at("compare", metric, replays, z) for metric in metrics] for z in zones}
    for z in zones:
        if len({a.label for a in asked[z]}) < len(metrics):
            raise ValueError(f"compare: metrics has one twice: {list(metrics)}")
    if not 0 < confidence < 1:
        raise ValueError(f"compare: confidence is {confidence}, expected a number between 0 and 1, like 0.95")
    whole_number("compare: resamples", resamples, least=100)
    whole_number("compare: seed", seed, least=0)
    comparisons = sum(a.metric.per_question for z in zones for a in asked[z]) * len(others)
    least = least_resamples(comparisons, confidence)
    if resamples < least:
        raise ValueError(
            f"compare: {resamples:,} resamples cannot show any of {comparisons:,} comparisons at a confidence of "
            f"{confidence}; give {least:,} or more, or compare less"
        )

    rows: list[Row] = []
    intervals: dict[tuple[str, str], tuple[float, float]] = {}
    for z in zones:
        paired = _Paired(replays, z, [a for a in asked[z] if a.metric.per_question], names)
        paired.resample(resamples, seed)
        for a in asked[z]:
            if a.metric.per_question:
                intervals[z, a.label] = paired.interval(a, baseline, confidence)
                rows += [paired.row(a, name, baseline, confidence) for name in others]
            else:
                rows += [_whole(replays, z, a, name, baseline) for name in others]
    corrected = holm(np.array([row.p for row in rows]))
    by_label = {a.label: a.metric for z in zones for a in asked[z]}
    rows = [
        replace(row, p_holm=float(p), verdict=_verdict(row, float(p), by_label[row.metric], 1 - confidence))
        for row, p in zip(rows, corrected)
    ]
    if all(math.isnan(row.difference) for row in rows):
        row = rows[0]
        raise ValueError(
            f"compare: '{row.metric}' of '{row.recommender}' and '{baseline}' in zone '{row.zone}' applies to "
            f"{row.questions} questions of {row.units} visitors or sessions, expected 2 of these or more for both; so "
            "does every comparison"
        )
    return Comparison(
        rows=rows,
        names=names,
        baseline=baseline,
        baseline_intervals=intervals,
        comparisons=int(np.count_nonzero(~np.isnan(corrected))),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        units="sessions" if replays[0].questions[zones[0]].visitor is None else "visitors",
        windows=_window_names(replays) if len(replays) > 1 else [],
    )


class _Paired:
    """Metrics of recommenders in one zone, over the same resamples of its units.

    Arrays are [..., metrics, recommenders].
    """

    def __init__(self, replays: Sequence[Replay], zone: str, asked: Sequence[MetricAt], names: Sequence[str]):
        self._zone, self._asked, self._names = zone, list(asked), list(names)
        units = _units(replays, zone)
        n, shape = 1 + max(int(unit.max()) for unit in units), (len(asked), len(names))
        self._columns = np.zeros((n, *shape, 2))  # sums and counts of each unit, NaN left out
        self._by_window = np.full((len(replays), *shape), np.nan)
        for w, (replay, unit) in enumerate(zip(replays, units)):
            for a, at in enumerate(asked):
                for j, name in enumerate(names):
                    values = replay.values(at.name, name=name, zone=zone, k=at.k)
                    there = ~np.isnan(values)
                    self._columns[:, a, j, 0] += np.bincount(unit[there], values[there], minlength=n)
                    self._columns[:, a, j, 1] += np.bincount(unit[there], minlength=n)
                    if there.any():
                        self._by_window[w, a, j] = values[there].mean()
        self._questions = self._columns[..., 1].sum(axis=0)
        self._units = (self._columns[..., 1] > 0).sum(axis=0)
        self._columns[:, self._units < 2] = 0  # of one visitor alone nothing can be said
        with np.errstate(invalid="ignore"):  # nor of none: NaN
            self._means = self._columns[..., 0].sum(axis=0) / self._columns[..., 1].sum(axis=0)
        self._resampled = np.empty((0, *shape))

    def resample(self, resamples: int, seed: int) -> None:
        columns = self._columns.reshape(len(self._columns), -1)
        sums = resampled_sums(columns, resamples=resamples, seed=seed).reshape(resamples, *self._columns.shape[1:])
        with np.errstate(invalid="ignore"):  # a resample without any question that a metric applies to: NaN
            self._resampled = sums[..., 0] / sums[..., 1]

    def interval(self, at: MetricAt, name: str, confidence: float) -> tuple[float, float]:
        """Of one recommender alone."""
        low, high = percentile_interval(self._resampled[:, self._asked.index(at), self._names.index(name)], confidence)
        return float(low), float(high)

    def row(self, at: MetricAt, name: str, baseline: str, confidence: float) -> Row:
        """Without correction and verdict, which are of all rows together."""
        a, i, j = self._asked.index(at), self._names.index(baseline), self._names.index(name)
        value, reference = float(self._means[a, j]), float(self._means[a, i])
        value_low, value_high = self.interval(at, name, confidence)
        differences = _difference(self._resampled[:, a, j], self._resampled[:, a, i])
        low, high = percentile_interval(differences, confidence)
        difference = float(_difference(self._means[a, j], self._means[a, i]))
        return Row(
            zone=self._zone,
            metric=at.label,
            recommender=name,
            value=value,
            value_low=value_low,
            value_high=value_high,
            baseline_value=reference,
            difference=difference,
            low=float(low),
            high=float(high),
            relative=_ratio(difference, reference),
            p=float(two_sided_p(differences)),
            p_holm=math.nan,
            verdict="",
            questions=int(min(self._questions[a, i], self._questions[a, j])),
            units=int(min(self._units[a, i], self._units[a, j])),
            by_window=tuple((self._by_window[:, a, j] - self._by_window[:, a, i]).tolist()),
        )


def _require_alike(replays: Sequence[Replay], baseline: str, zone: str | None) -> tuple[list[str], list[str]]:
    """Names of recommenders and of the zones asked about, which all replays share."""
    if not replays or not all(isinstance(replay, Replay) for replay in replays):
        raise ValueError("compare: expected a Replay (see stamp.offline.replay), or a list of them, one per window")
    if len({id(replay) for replay in replays}) < len(replays):
        raise ValueError("compare: a replay is in the list twice, so its questions would count twice")
    first = replays[0]
    for w, replay in enumerate(replays[1:], 1):
        for what in ("names", "zones"):
            mine, its = list(getattr(first, what)), list(getattr(replay, what))
            if set(mine) != set(its):
                raise ValueError(f"compare: the {what} of window {w} are {its}, those of window 0 are {mine}")
    if baseline not in first.names:
        raise ValueError(f"compare: baseline is {baseline!r}, expected one of {', '.join(map(repr, first.names))}")
    if len(first.names) < 2:
        raise ValueError(f"compare: {baseline!r} is the only recommender, expected one or more to compare it with")
    if zone is not None and zone not in first.zones:
        raise ValueError(f"compare: zone is {zone!r}, expected one of {', '.join(map(repr, first.zones))}")
    zones = list(first.zones) if zone is None else [zone]
    for w, replay in enumerate(replays):
        place = f" of window {w}" if len(replays) > 1 else ""
        for z in zones:
            missing = [name for name in first.names if (name, z) not in replay.lists]
            if missing:
                raise ValueError(
                    f"compare: {missing[0]!r} was not asked in zone '{z}'{place}; all are asked the same questions"
                )
            if not len(replay.questions[z]):
                raise ValueError(f"compare: zone '{z}'{place} has no questions")
    kinds = {replay.questions[z].visitor is None for replay in replays for z in zones}
    if len(kinds) > 1:
        raise ValueError("compare: visitors are known in some of the questions and not in others")
    return list(first.names), zones


def _units(replays: Sequence[Replay], zone: str) -> list[np.ndarray]:
    """What is resampled, numbered from 0 [N] for each replay: sessions, or visitors, who may come back in another."""
    numbers: dict[Any, int] = {}
    result = []
    for w, replay in enumerate(replays):
        questions = replay.questions[zone]
        codes, first, inverse = np.unique(questions.unit, return_index=True, return_inverse=True)
        ids: list[Any]
        if len(replays) == 1:
            ids = codes.tolist()
        elif questions.visitor is None:
            ids = [(w, code) for code in codes.tolist()]
        else:
            ids = _visitor_ids(replay, questions.event[first])
        result.append(np.array([numbers.setdefault(i, len(numbers)) for i in ids], np.int64)[inverse])
    return result


def _visitor_ids(replay: Replay, events: np.ndarray) -> list[Any]:
    """The visitors of events: codes are numbered anew in each replay."""
    column = None if replay.sessions is None else replay.sessions.columns.get("visitor_id")
    if column is None:
        raise ValueError("compare: replays of visitors are paired over windows by their sessions' column 'visitor_id'")
    return take(column, events).tolist()


def _whole(replays: Sequence[Replay], zone: str, at: MetricAt, name: str, baseline: str) -> Row:
    """A metric of a whole set of lists: values, and no interval."""
    values, references = (
        np.array([replay.aggregate(at.name, name=which, zone=zone, k=at.k) for replay in replays])
        for which in (name, baseline)
    )
    value, reference = float(values.mean()), float(references.mean())
    return Row(
        zone=zone,
        metric=at.label,
        recommender=name,
        value=value,
        value_low=math.nan,
        value_high=math.nan,
        baseline_value=reference,
        difference=value - reference,
        low=math.nan,
        high=math.nan,
        relative=_ratio(value - reference, reference),
        p=math.nan,
        p_holm=math.nan,
        verdict="",
        questions=sum(len(replay.questions[zone]) for replay in replays),
        units=0,
        by_window=tuple((values - references).tolist()),
    )


def _verdict(row: Row, p: float, metric: Metric, level: float) -> str:
    if not metric.per_question:
        return ""
    if math.isnan(p):
        return "too little data"
    if p >= level:
        return "no difference shown"
    if metric.better == "neither":
        return "different"
    return "better" if (row.difference > 0) == (metric.better == "higher") else "worse"


def _window_names(replays: Sequence[Replay]) -> list[str]:
    begins = [None if replay.sessions is None else replay.sessions.timestamps for replay in replays]
    if all(times is not None for times in begins):
        return short_moments(np.array([times.min() for times in begins if times is not None]))
    return [f"window {w}" for w in range(len(replays))]


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a − b, 0 where they differ by the rounding of sums alone: else equal recommenders could be told apart."""
    return np.where(np.isclose(a, b, rtol=1e-12, atol=0), 0.0, a - b)


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else math.nan
