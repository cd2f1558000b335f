"""What a comparison found: a row for each recommender, zone and metric, as tables, a figure and JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...base.json_text import json_text
from ...base.tables import Table
from .bootstrap import FEW_UNITS
from .comparison_figure import draw_comparison
from .rows import Row


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes
    ----------
    rows : list of Row
        By zone, then metric, then recommender.
    names : list of str
        Of the recommenders, in the order of the replay; figures have them in this order, and so in the same colours.
    baseline : str
        The one of them that the others are compared with.
    baseline_intervals : dict of (str, str) to (float, float)
        By zone and metric, of the baseline alone.
    comparisons : int
        How many were made, and corrected for.
    confidence, resamples, seed
        As given.
    units : str
        What was resampled: "visitors" or "sessions".
    windows : list of str
        Where more than one replay was given.
    """

    rows: list[Row]
    names: list[str]
    baseline: str
    baseline_intervals: dict[tuple[str, str], tuple[float, float]]
    comparisons: int
    confidence: float
    resamples: int
    seed: int
    units: str
    windows: list[str]

    def table(self) -> Table:
        """A row for each recommender, zone and metric."""
        zones = len({row.zone for row in self.rows}) > 1
        head = ["zone"] if zones else []
        head += ["metric", "recommender", "value", "baseline", "difference", "low", "high", "relative", "p", "p (Holm)"]
        head += ["same sign", "verdict"] if self.windows else ["verdict"]
        rows: list[list[Any]] = []
        for row in self.rows:
            cells: list[Any] = [row.zone] if zones else []
            cells += [row.metric, row.recommender, row.value, row.baseline_value, row.difference, row.low, row.high]
            cells += [row.relative, row.p, row.p_holm]
            cells += [_agreement(row)] if self.windows else []
            rows.append([*cells, row.verdict or None])
        signed = dict.fromkeys(("difference", "low", "high"), "+.4f")
        return Table(
            head,
            rows,
            title=f"Beside {self.baseline}",
            notes=self._notes(),
            formats={**signed, "relative": "+.1%", "p": ".4f", "p (Holm)": ".4f"},
        )

    def window_table(self) -> Table:
        """Differences in each window, and in how many the sign is that of the whole.

        Raises
        ------
        ValueError
            One replay was compared.
        """
        if not self.windows:
            raise ValueError("window_table: one replay was compared; see stamp.offline.replay_windows for several")
        zones = len({row.zone for row in self.rows}) > 1
        head = [*(["zone"] if zones else []), "metric", "recommender", *self.windows, "all", "same sign"]
        rows = [
            [
                *([row.zone] if zones else []),
                row.metric,
                row.recommender,
                *row.by_window,
                row.difference,
                _agreement(row),
            ]
            for row in self.rows
        ]
        formats = dict.fromkeys([*self.windows, "all"], "+.4f")
        return Table(head, rows, title=f"Difference from {self.baseline} by window", formats=formats)

    def to_dict(self) -> dict[str, Any]:
        """Everything, NaN as None."""
        intervals = [
            {"zone": zone, "metric": metric, "low": _number(low), "high": _number(high)}
            for (zone, metric), (low, high) in self.baseline_intervals.items()
        ]
        rows = [{name: _number(value) for name, value in asdict(row).items()} for row in self.rows]
        rest = {
            name: getattr(self, name)
            for name in ("names", "baseline", "comparisons", "confidence", "resamples", "seed", "units", "windows")
        }
        return {**rest, "rows": rows, "baseline_intervals": intervals, "notes": self._notes()}

    def to_text(self) -> str:
        return self.table().to_text()

    def to_markdown(self) -> str:
        return self.table().to_markdown()

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON."""
        return json_text(self.to_dict(), ensure_ascii=False)

    def plot(self, *, zone: str | None = None) -> Any:
        """Metrics side by side with intervals: see :func:`stamp.offline.plot_comparison`."""
        return draw_comparison(
            self.rows,
            names=self.names,
            baseline=self.baseline,
            baseline_intervals=self.baseline_intervals,
            note=f"{100 * self.confidence:g} % intervals, bootstrap over {self.units}; verdicts after Holm's "
            f"correction for {self.comparisons:,} comparisons",
            zone=zone,
        )

    def __repr__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def _notes(self) -> list[str]:
        level = f"{100 * self.confidence:g} %"
        sizes = {(row.zone, row.questions, row.units) for row in self.rows if row.units > 1}
        asked = max((size[1] for size in sizes), default=0)
        drawn = max((size[2] for size in sizes), default=0)
        notes = [
            f"low, high: {level} interval of the paired difference, bootstrap over {self.units} ({self.resamples:,} "
            f"resamples, seed {self.seed}); up to {asked:,} questions of {drawn:,} {self.units} a row.",
            f"verdict: p after Holm's correction for the {self.comparisons:,} comparisons made is below "
            f"{1 - self.confidence:.4g}; an interval that leaves 0 out is not enough.",
        ]
        few = min((size[2] for size in sizes), default=FEW_UNITS)
        if few < FEW_UNITS:
            notes.append(f"only {few:,} {self.units} in a row: percentile intervals of so few are too narrow.")
        if any(not row.verdict for row in self.rows):
            notes.append("Metrics of a whole set of lists have no value per question, so no interval and no verdict.")
        if self.windows:
            notes.append(f"{len(self.windows)} windows, pooled; same sign: those whose difference points the same way.")
        return notes


def _agreement(row: Row) -> str:
    same = sum(np.sign(d) == np.sign(row.difference) for d in row.by_window)
    return f"{same} of {len(row.by_window)}"


def _number(value: Any) -> Any:
    """As JSON can have it: NaN is None, a tuple is a list."""
    if isinstance(value, tuple):
        return [_number(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
