"""What a replay has found: a recording, and all that can be said about it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ...base.checks import list_lengths, whole_number
from ...base.tables import Table
from ..metrics import qualities
from ..metrics.cuts import cut_questions
from ..metrics.facts import Facts
from ..metrics.parts import parts
from ..metrics.registry import METRICS, Metric, find_metric, lacks, metric_at, split_at
from ..recordings.questions import Lists
from ..recordings.recording import Recording

_KS = (5, 10, 20)
_QUANTILES = (0.5, 0.95, 0.99)
_KINDS = 8  # types of events that a table of all metrics has columns for


class Replay(Recording):
    """Questions, and the lists that recommenders answered. Made by :func:`replay`, or by hand of plain arrays.

    Attributes
    ----------
    names : list of str
        Of the recommenders.
    zones : dict of str to Zone
    questions : dict of str to Questions
        By zone.
    lists : dict of (str, str) to Lists
        By recommender and zone.
    item_ids : array [V]
        Ids of the rows that are used everywhere.
    clicks : int64 [V] or None
        In training.
    sessions, train : Sessions or None
    products : Products or None
    embeddings : float32 [V,D] or None
        By which pairs on a list are compared; rows of 0 or NaN where a product has none.
    clusters : int64 [V] or None
        Of a bundle; -1 where a product has none.
    ties : {"served", "conservative"}
        Relevant products count where they were served, or at the last place among listed products of equal score.
    leakage : LeakageReport or None
        Of `train` and `sessions`.
    notes : list of str
        What a reader of any figure should know.
    """

    @cached_property
    def facts(self) -> Facts:
        return Facts(self)

    def values(self, metric: str, *, name: str, zone: str, k: int) -> np.ndarray:
        """A metric question by question.

        Parameters
        ----------
        metric : str
            A key of :data:`METRICS` whose ``per_question`` is true, or ``"hr:TYPE"`` for one type of events.
        name, zone : str
            Of the recommender, and of the zone.
        k : int
            Length that lists are cut to.

        Returns
        -------
        float64 [N]
            NaN where the metric does not apply (no purchase is left, an empty list). The mean of the others is the
            metric.

        Raises
        ------
        ValueError
            There is no such metric, recommender, zone or k, or the replay lacks what the metric needs.
        """
        return self._values(metric, name, zone, [k])[:, 0]

    def aggregate(self, metric: str, *, name: str, zone: str, k: int, where: np.ndarray | None = None) -> float:
        """A metric of all questions of a zone, or of those `where` (bool [N]) says; any metric, those of all lists
        together included. NaN where it applies to none."""
        return float(self._aggregates(metric, name, zone, [k], where)[0])

    def metrics(
        self, *, k: Sequence[int] | int | None = None, metrics: Collection[str] | None = None, zone: str | None = None
    ) -> Table:
        """All metrics, or some, of every recommender.

        Parameters
        ----------
        k : int or sequence of int, optional
            List lengths; the longest of 5, 10 and 20 that a zone's lists reach where absent.
        metrics : collection of str, optional
            Names, each for every k, or "hr@20" for one. All that the replay has what they need for, where absent.
        zone : str, optional
            Of one zone only.

        Returns
        -------
        Table
            A row per recommender and zone; columns "hr@20" and so on, and quantiles of the time of one request in ms.
            Of a length beyond its own a zone has no values.

        Raises
        ------
        ValueError
            There is no such metric or zone, the replay lacks what a metric needs, or no lists are that long.
        """
        zones = self._zones(zone)
        longest = max((self.lists[key].k for key in self.lists if key[1] in zones), default=1)
        ks = sorted({_usual(self.length(of)) for of in zones}) if k is None else list_lengths("metrics", k)
        wanted, notes = self._wanted(metrics)
        columns = list(dict.fromkeys((name, at) for name, one in wanted for at in ([one] if one is not None else ks)))
        for metric, at in columns:
            if not 1 <= at <= longest:
                raise ValueError(f"{metric}@{at} is asked for, but the longest lists have {longest} products")
        rows = []
        for name, of_zone in self._pairs(zones):
            K = self.lists[name, of_zone].k
            found: dict[tuple[str, int], float] = {}
            for metric in dict.fromkeys(name for name, _ in columns):
                lengths = [at for other, at in columns if other == metric and at <= K]
                if lengths:
                    values = self._aggregates(metric, name, of_zone, lengths, None)
                    found.update(zip(((metric, at) for at in lengths), values))
            latency = self.lists[name, of_zone].latency
            times = np.quantile(latency, _QUANTILES) * 1e3 if len(latency) else np.full(len(_QUANTILES), np.nan)
            rows.append([name, *([of_zone] if len(zones) > 1 else []), len(self.questions[of_zone]),
                         *(found.get(column, np.nan) for column in columns), *times])  # fmt: skip
            faults = [f"{count:,} {fault}" for fault, count in self.lists[name, of_zone].faults.items() if count]
            if faults:
                notes.append(f"{name} in {of_zone}: {', '.join(faults)}")
        head = ["recommender", *(["zone"] if len(zones) > 1 else []), "questions"]
        quantiles = [f"p{100 * q:.0f} ms" for q in _QUANTILES]
        named = [f"{metric}@{at}" for metric, at in columns]
        return Table(
            [*head, *named, *quantiles],
            rows,
            title=zones[0] if len(zones) == 1 else "",
            notes=[*self.notes, *notes],
            formats=dict.fromkeys(quantiles, ".3f"),
        )

    def by(self, cut: Any, *, metric: str = "hr", k: int | None = None, zone: str | None = None) -> Table:
        """A metric for each kind of question.

        Parameters
        ----------
        cut : str or mapping
            See :meth:`cut`.
        metric : str
            With or without its k: "hr", "hr@10".
        k : int, optional
            Where the metric does not say; each zone's own length where absent.
        zone : str, optional
            Of one zone only.

        Returns
        -------
        Table
            A row per kind (and zone): its questions, their share, and the metric of each recommender.

        Raises
        ------
        ValueError
            There is no such cut, metric or zone, the replay lacks what it needs, or a zone's lists are shorter.
        """
        if k is not None and split_at(metric)[1] is None:
            metric = f"{metric}@{whole_number('by: k', k, least=1)}"
        zones = self._zones(zone)
        asked = {of_zone: metric_at("by", metric, [self], of_zone) for of_zone in zones}
        rows: list[list[Any]] = []
        for of_zone, at in asked.items():
            labels, kinds = self.cut(cut, of_zone)
            counts = np.bincount(labels, minlength=len(kinds))
            missing = np.full(len(kinds), np.nan)
            columns = [
                self._by_kind(at.name, name, of_zone, at.k, labels, len(kinds))
                if (name, of_zone) in self.lists
                else missing
                for name in self.names
            ]
            for kind, count, values in zip(kinds, counts.tolist(), np.stack(columns, axis=1).tolist()):
                rows.append([kind, *([of_zone] if len(zones) > 1 else []), count, count / len(labels), *values])
        what = cut if isinstance(cut, str) else "cluster"
        labels_of = list(dict.fromkeys(at.label for at in asked.values()))
        return Table(
            [what, *(["zone"] if len(zones) > 1 else []), "questions", "share", *self.names],
            rows,
            title=f"{', '.join(labels_of)} by {what}",
            notes=[f"{of_zone}: {at.label}" for of_zone, at in asked.items()] if len(labels_of) > 1 else [],
            formats={"share": ".1%"},
        )

    def cut(self, cut: Any, zone: str) -> tuple[np.ndarray, list[str]]:
        """Questions sorted into kinds.

        Parameters
        ----------
        cut : str or mapping
            "session_length", "position" (events before the target), "popularity", "training_clicks" (of the target: 0,
            1 to 10, more), "cold" (whether training saw the target), "cluster" (of a bundle), a text or number attribute
            of the products (of the target), a column of the sessions (of the target's event), or a mapping of products
            to kinds. Numbers of many values are cut at their quartiles.

        Returns
        -------
        labels : int64 [N]
        names : list of str
            labels[i] is an index into these; all of them occur.
        """
        self.require_zone(zone)
        return cut_questions(self.facts, cut, zone)

    def churn(self, a: str, b: str, *, zone: str, k: int) -> float:
        """How much of the lists changes from one recommender to another, yesterday's model and today's say: 1 - the
        mean share of the longer list that both have; 0 for the same products, 1 for none in common."""
        return qualities.churn(*(self._lists(name, zone, k).rows[:, :k] for name in (a, b)))

    def _zones(self, zone: str | None) -> list[str]:
        if zone is None:
            return list(self.zones)
        self.require_zone(zone)
        return [zone]

    def _pairs(self, zones: Sequence[str]) -> list[tuple[str, str]]:
        return [(name, zone) for zone in zones for name in self.names if (name, zone) in self.lists]

    def _lists(self, name: str, zone: str, k: int) -> Lists:
        self.require_zone(zone)
        if (name, zone) not in self.lists:
            raise ValueError(f"Replay: recommender is '{name}', expected one of {', '.join(self.names)}")
        lists = self.lists[name, zone]
        if not 1 <= k <= lists.k:
            raise ValueError(
                f"Replay: k is {k}, expected 1 to {lists.k}, as long as lists of zone '{zone}' were asked for"
            )
        return lists

    def _wanted(self, metrics: Collection[str] | None) -> tuple[list[tuple[str, int | None]], list[str]]:
        """(name, k or None for every k) of what a table shows, and notes on what it cannot."""
        if metrics is not None:
            return [split_at(text) for text in ([metrics] if isinstance(metrics, str) else metrics)], []
        wanted: list[tuple[str, int | None]] = []
        left_out: dict[str, list[str]] = {}
        for metric in METRICS.values():
            reason = lacks(self, metric, None)
            if reason:
                left_out.setdefault(reason, []).append(metric.name)
            else:
                wanted.append((metric.name, None))
        notes = [f"left out: {', '.join(names)}, for want of {reason}" for reason, names in left_out.items()]
        if not lacks(self, METRICS["hr"], "any"):
            kinds = self.facts.kinds_of_events
            wanted += [(f"{name}:{kind}", None) for kind in kinds[:_KINDS] for name in ("hr", "recall")]
            if len(kinds) > _KINDS:
                notes.append(f"by type: the {_KINDS} most frequent of {len(kinds)} types of events; name others")
        return wanted, notes

    def _found(self, text: str, name: str, zone: str, ks: Sequence[int]) -> tuple[Metric, str | None, Lists]:
        """The metric and the lists, checked."""
        metric, kind = find_metric(text)
        lists = self._lists(name, zone, max(ks, default=1))
        self._lists(name, zone, min(ks, default=1))
        reason = lacks(self, metric, kind)
        if reason:
            raise ValueError(f"{text} needs {reason}")
        if kind and kind not in self.facts.kinds_of_events:
            known = ", ".join(sorted(self.facts.kinds_of_events))
            raise ValueError(f"{text}: no event is of type '{kind}', expected one of {known}")
        return metric, kind, lists

    def _values(self, text: str, name: str, zone: str, ks: Sequence[int]) -> np.ndarray:
        """[N,len(ks)], one pass for all k."""
        metric, kind, lists = self._found(text, name, zone, ks)
        if metric.of_part is None:
            raise ValueError(f"{text} is of all lists together, so it has no value per question; see Replay.aggregate")
        values = np.empty((len(lists.rows), len(ks)))
        for part in parts(self.facts, name, zone):
            values[part.first : part.last] = metric.of_part(part, ks, kind)
        return values

    def _aggregates(self, text: str, name: str, zone: str, ks: Sequence[int], where: np.ndarray | None) -> list[float]:
        metric, _, lists = self._found(text, name, zone, ks)
        chosen = self._where(where, zone)
        if metric.of_lists is not None:
            unit = self.questions[zone].unit[chosen]
            return [metric.of_lists(self.facts, lists.rows[chosen, :k], unit) for k in ks]
        values = self._values(text, name, zone, ks)[chosen]
        if metric.name == "weighted_hr":  # over the weights of the questions asked for
            values = values / self._mean_weight(zone, chosen)
        counts = (~np.isnan(values)).sum(axis=0)
        sums = np.nansum(values, axis=0)
        return np.divide(sums, counts, out=np.full(len(ks), np.nan), where=counts > 0).tolist()

    def _by_kind(self, text: str, name: str, zone: str, k: int, labels: np.ndarray, kinds: int) -> np.ndarray:
        """A metric of the questions of each kind [kinds]; labels [N]."""
        metric, _, lists = self._found(text, name, zone, [k])
        if metric.of_lists is not None:
            unit, rows = self.questions[zone].unit, lists.rows[:, :k]
            of_kind = (labels == kind for kind in range(kinds))
            return np.array([metric.of_lists(self.facts, rows[where], unit[where]) for where in of_kind], np.float64)
        values = self._values(text, name, zone, [k])[:, 0]
        if metric.name == "weighted_hr":
            totals = np.bincount(labels, self._weights(zone), minlength=kinds)
            values = values / (totals / np.bincount(labels, minlength=kinds))[labels]
        applies = ~np.isnan(values)
        counts = np.bincount(labels[applies], minlength=kinds)
        sums = np.bincount(labels[applies], values[applies], minlength=kinds)
        return np.divide(sums, counts, out=np.full(kinds, np.nan), where=counts > 0)

    def _where(self, where: np.ndarray | None, zone: str) -> Any:
        if where is None:
            return slice(None)
        where = np.asarray(where)
        if where.dtype != bool or where.shape != (len(self.questions[zone]),):
            raise ValueError(
                f"Replay: where is {where.dtype} of shape {where.shape}, expected bool of {len(self.questions[zone])}"
            )
        return where

    def _mean_weight(self, zone: str, chosen: Any) -> float:
        """Of the chosen questions, relative to the mean of the zone's."""
        weights = self._weights(zone)
        return float(weights[chosen].mean()) if len(weights[chosen]) else np.nan

    def _weights(self, zone: str) -> np.ndarray:
        """Of the questions [N], relative to their mean."""
        assert self.sessions is not None
        weights = self.sessions._core.weights[self.questions[zone].event].astype(np.float64)
        return weights / weights.mean()

    def __repr__(self) -> str:
        asked = ", ".join(f"{len(questions):,} questions in {zone}" for zone, questions in self.questions.items())
        return f"Replay({', '.join(self.names)}; {asked}; {self.V:,} products)"


def _usual(longest: int) -> int:
    """The length that tables show of lists of at most so many products."""
    return max((k for k in _KS if k <= longest), default=longest)
