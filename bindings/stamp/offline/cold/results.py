"""What a cold-start test found: a row for each kind of target, metric and recommender, as tables and JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ...base.json_text import json_text
from ...base.tables import Table
from ..verdicts.bootstrap import FEW_UNITS

ALL, NEW = "all products", "new products"  # what lists are made of
NOBODY, FIRST, EVERY = "0", "0, first in the visit", "all"  # new targets, those that are no repeats, and all together


@dataclass(frozen=True)
class ColdStartRow:
    """One recommender on the targets of one kind, by one metric.

    Attributes
    ----------
    listed : str
        What the lists are made of: "all products", or "new products" alone.
    clicks : str
        Clicks of the targets in training, "1 to 10" say; "all"; or "0, first in the visit": new products that the visit
        has not held before.
    metric : str
        As "hr@10".
    recommender : str
    trivial : bool
        Whether it is one of the trivial baselines.
    value, low, high : float
        With the interval of itself alone.
    best_trivial : str
        The trivial baseline of the largest value on the same targets, by the same metric.
    difference, difference_low, difference_high : float
        value − that of the best trivial baseline, paired.
    ratio, ratio_low, ratio_high : float
        value / that of the best trivial baseline, paired; NaN where that is 0, or in any resample.
    questions, units : int
        Targets, and the visitors (or sessions) whose they are.
    """

    listed: str
    clicks: str
    metric: str
    recommender: str
    trivial: bool
    value: float
    low: float
    high: float
    best_trivial: str
    difference: float
    difference_low: float
    difference_high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    questions: int
    units: int


@dataclass(frozen=True)
class ColdStart:
    """What :func:`cold_start` found.

    Attributes
    ----------
    rows : list of ColdStartRow
        By what is listed, then clicks of the targets, metric and recommender.
    names : list of str
        Of the recommenders, the trivial baselines last.
    trivial : list of str
        Of the trivial baselines.
    attribute : str
        That is the category.
    new_products : int
        Products without a click in training: those of the shop, and those that only the test has.
    products : int
        All.
    confidence, resamples, seed
        As given.
    units : str
        What was resampled: "visitors" or "sessions".
    notes : list of str
        What a reader of any figure should know.
    """

    rows: list[ColdStartRow]
    names: list[str]
    trivial: list[str]
    attribute: str
    new_products: int
    products: int
    confidence: float
    resamples: int
    seed: int
    units: str
    notes: list[str]

    def row(self, recommender: str, metric: str, *, clicks: str, listed: str = ALL) -> ColdStartRow:
        """That of one recommender, metric and kind of targets.

        Raises
        ------
        ValueError
            There is no such row.
        """
        for each in self.rows:
            if (each.recommender, each.metric, each.clicks, each.listed) == (recommender, metric, clicks, listed):
                return each
        raise ValueError(
            f"ColdStart: no row of recommender {recommender!r}, metric {metric!r}, clicks {clicks!r}, listed {listed!r}; "
            f"expected {_or(each.recommender for each in self.rows)}; {_or(each.metric for each in self.rows)}; "
            f"{_or(each.clicks for each in self.rows)}; {_or(each.listed for each in self.rows)}"
        )

    def table(self, metric: str | None = None) -> Table:
        """A row for each recommender and kind of targets.

        Parameters
        ----------
        metric : str, optional
            One metric, as "hr@10"; else all.

        Raises
        ------
        ValueError
            There is no such metric.
        """
        metrics = list(dict.fromkeys(row.metric for row in self.rows))
        if metric is not None and metric not in metrics:
            raise ValueError(f"ColdStart: metric is {metric!r}, expected one of {', '.join(metrics)}")
        shown = [row for row in self.rows if metric in (None, row.metric)]
        head = ["listed", "clicks", "targets", "metric", "recommender", "value", "low", "high"]
        head += ["× best trivial", "× low", "× high"]
        cells = [
            [
                *(row.listed, row.clicks, row.questions, row.metric, row.recommender, row.value, row.low, row.high),
                *(row.ratio, row.ratio_low, row.ratio_high),
            ]
            for row in shown
        ]
        formats = dict.fromkeys(head[-3:], ".2f")
        return Table(head, cells, title="Targets by their clicks in training", notes=self._said(), formats=formats)

    def to_dict(self) -> dict[str, Any]:
        """Everything, NaN as None."""
        rows = [{name: _finite(value) for name, value in asdict(row).items()} for row in self.rows]
        return {**asdict(self), "rows": rows, "notes": self._said()}

    def to_text(self) -> str:
        return self.table().to_text()

    def to_markdown(self) -> str:
        return self.table().to_markdown()

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON."""
        return json_text(self.to_dict(), ensure_ascii=False)

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def _said(self) -> list[str]:
        few = min((row.units for row in self.rows), default=FEW_UNITS)
        return [
            f"{self.new_products:,} of {self.products:,} products have no click in training. Lists of new products alone "
            "are judged on targets that are new.",
            f"low, high: {100 * self.confidence:g} % intervals, bootstrap over {self.units} ({self.resamples:,} resamples, "
            f"seed {self.seed}); those of × best trivial are paired.",
            *([f"only {few:,} {self.units} in a row: intervals of so few are too narrow."] if few < FEW_UNITS else []),
            *self.notes,
        ]


def _or(values: Any) -> str:
    return ", ".join(map(repr, dict.fromkeys(values)))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
