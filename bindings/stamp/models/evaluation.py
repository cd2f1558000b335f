"""Measuring recommenders by the accepted protocol: every event is a target, ranked against the whole catalog."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..base.checks import list_lengths, truth, whole_number
from ..base.progress import make_bar
from ..data.objectives import weights_of
from ..data.sessions import Sessions
from .listing import _CatalogRecommender

_METRICS = ("hr", "mrr", "ndcg", "coverage", "popularity")


class Evaluation:
    """Metrics by list length.

    Attributes
    ----------
    at : dict of int to dict of str to float
        ``at[20]["hr"]``: share of targets among the first 20 (recall, for one target); ``mrr``: mean of 1/rank, 0 beyond
        the list; ``ndcg``: mean of 1/log2(rank+1); ``coverage``: share of the catalog in any list; ``popularity``: mean
        clicks of what is listed, relative to the most clicked product.
    examples : int
        Targets, all that follow included.
    cold_targets : int
        Targets that training never saw: misses.
    unanswered : int
        Others whose whole history training never saw, where the model needs one: misses.
    unreachable : int
        Others that no list can hold, as they belong to another cluster than the event before them, or as a baseline does
        not score them: misses.
    ceiling : float
        Share of the targets that are none of these: no ``hr`` can be higher.
    tied : int
        Targets that share their score with another product.
    """

    def __init__(self, result: dict[str, Any]):
        self.at = {int(k): values for k, values in result["at"].items()}
        self.examples: int = result["examples"]
        self.cold_targets: int = result["cold_targets"]
        self.unanswered: int = result["unanswered"]
        self.unreachable: int = result["unreachable"]
        self.tied: int = result["tied"]

    @property
    def ceiling(self) -> float:
        misses = self.cold_targets + self.unanswered + self.unreachable
        return (self.examples - misses) / max(1, self.examples)

    def to_dict(self) -> dict[str, float]:
        """Flat: ``{"hr@20": …, "mrr@20": …, …}``."""
        return {f"{name}@{k}": values[name] for k, values in self.at.items() for name in _METRICS}

    def _rows(self) -> list[list[str]]:
        return [[str(k), *(f"{values[name]:.4f}" for name in _METRICS)] for k, values in self.at.items()]

    def _footer(self) -> str:
        return (
            f"{self.examples:,} targets; misses among them: {self.cold_targets:,} cold, {self.unanswered:,} without any "
            f"known history, {self.unreachable:,} out of reach; {self.tied:,} tied"
        )

    def __repr__(self) -> str:
        head = ["k", *_METRICS]
        lines = ["".join(f"{cell:>11}" for cell in row) for row in [head, *self._rows()]]
        return "\n".join([*lines, self._footer()])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{cell}</th>" for cell in ("k", *_METRICS))
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in self._rows())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{self._footer()}</p>"


def evaluate(
    model: _CatalogRecommender,
    test: Sessions,
    *,
    k: Sequence[int] | int = (5, 10, 20),
    min_history: int = 1,
    last_only: bool = False,
    ties: str = "conservative",
    objective: Mapping[str, float] | None = None,
    progress: bool = False,
) -> Evaluation:
    """Rank the whole catalog for every target of `test`. Nothing is excluded, not even what was clicked before.

    Parameters
    ----------
    model : StampRecommender, ClusteredRecommender or a baseline
    k : sequence of int, or int
        List lengths.
    min_history : int
        An event of a weight above 0 is a target when so many come before it in its session.
    last_only : bool
        Only the last event of each session is a target.
    ties : {"conservative", "mean", "optimistic"}
        Products of equal score rank before the target, half of them, or after it. NaN is a miss.
    objective : dict of str to float, optional
        What lists are to serve, ``{"click": 0.7, "order": 0.3}`` say, of a model that was trained with such `objectives`;
        clicks alone where it is not given. Which events are targets stays as it is: ``test.leading_to("order")`` has those
        of products that are ordered later.

    Raises
    ------
    ValueError
        An option cannot be, the model is not fitted, its ids are of another kind than those of `test`, no event of
        `test` is a target, or the model has not learnt what `objective` names.
    """
    model._require_fitted("evaluate")
    if not isinstance(test, Sessions):
        raise ValueError(f"evaluate: test is {type(test).__name__}, expected stamp.Sessions (see Sessions.from_frame)")
    lengths = list_lengths("evaluate", k)
    min_history = whole_number("evaluate: min_history", min_history, least=1)
    last_only = truth("evaluate: last_only", last_only)
    bar = make_bar(len(test), "evaluate", "sessions") if progress else None

    def advance(done: int, _: int) -> None:
        if bar is not None:
            bar.update(done - bar.n)

    try:
        result = model._evaluate(
            test,
            k=lengths,
            min_history=min_history,
            last_only=last_only,
            ties=str(ties),
            objective=weights_of("evaluate", objective),
            progress=advance,
        )
    finally:
        if bar is not None:
            bar.close()
    evaluation = Evaluation(json.loads(result))
    if not evaluation.examples:
        raise ValueError(f"evaluate: no event of {test!r} has {min_history} or more before it in its session")
    return evaluation
