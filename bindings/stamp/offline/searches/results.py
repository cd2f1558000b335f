"""What a search found: its trials, as a table and a figure, and the options to go on with."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ...base.tables import Table
from ...models.stamp_recommender import StampRecommender
from .figures import plot_trials
from .space import is_range_of_floats
from .trials import Trial


@dataclass(frozen=True, kw_only=True, repr=False)
class SearchResult:
    """What :func:`search` found.

    Attributes
    ----------
    trials : list of Trial
    best : Trial or None
        The finished one with the highest value, the first of equals.
    preset : str
    options : dict
        The fixed ones, monitor included.
    space : dict
        Of each searched option the list of choices, or ``{"low": …, "high": …, "log": …}``.
    metric : str
        Name of the values: the monitor, or "objective".
    stopped : {"finished", "interrupted"}
    """

    trials: list[Trial]
    preset: str
    options: dict[str, Any]
    space: dict[str, Any]
    metric: str
    stopped: str

    @property
    def best(self) -> Trial | None:
        finished = [trial for trial in self.trials if trial.outcome == "finished"]
        return max(finished, key=lambda trial: -math.inf if trial.value is None else trial.value, default=None)

    @property
    def best_options(self) -> dict[str, Any]:
        """Options for ``StampRecommender(**best_options)`` to be fitted on all data: those of the best trial, for the
        epochs that were best.

        Raises
        ------
        ValueError
            No trial was finished.
        """
        best = self.best
        if best is None or best.best_epoch is None:
            raise ValueError(f"best_options: none of {len(self.trials)} trials was finished")
        found = {"preset": self.preset, **self.options, **best.options, "epochs": best.best_epoch}
        if "patience" in found:
            found["patience"] = 0  # nothing is held out that could judge
        return found

    def recommender(self, **changes: Any) -> StampRecommender:
        """One with :attr:`best_options`, not fitted: ``result.recommender().fit(everything)`` is the tuned model."""
        return StampRecommender(**{**self.best_options, **changes})

    def table(self) -> Table:
        """A row for each trial: its options, value, best epoch, and the monitor after each epoch."""
        columns = ["trial", *self.space, self.metric, "best epoch", "outcome", "seconds", "by epoch"]
        rows = [
            [t.number, *t.options.values(), t.value, t.best_epoch, t.outcome, t.seconds,
             " ".join(f"{value:.4f}" for value in t.epochs)]
            for t in self.trials
        ]  # fmt: skip
        formats = {name: ".4g" for name, values in self.space.items() if is_range_of_floats(values)}
        stopped = "" if self.stopped == "finished" else f", {self.stopped}"
        return Table(
            columns,
            rows,
            title=f"{self.preset}, {len(self.trials)} trials{stopped}",
            notes=[self._summary(), *(f"trial {t.number} {t.outcome}: {t.reason}" for t in self.trials if t.reason)],
            formats={**formats, "seconds": ",.1f"},
        )

    def _summary(self) -> str:
        best = self.best
        if best is None:
            return "No trial was finished."
        return f"Best: trial {best.number}, {self.metric} {best.value:.4f} after epoch {best.best_epoch}."

    def plot(self) -> Any:
        """A figure: values by trial with the best so far, and by each searched option.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        return plot_trials(self.trials, best=self.best, space=self.space, metric=self.metric, title=self._summary())

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        best = self.best
        return {
            "preset": self.preset, "options": self.options, "space": self.space, "metric": self.metric,
            "stopped": self.stopped, "trials": [asdict(trial) for trial in self.trials],
            "best": None if best is None else asdict(best),
            "best_options": None if best is None else self.best_options,
        }  # fmt: skip

    def __repr__(self) -> str:
        return self.table().to_text()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
