"""A/B results by segment: one table, corrected for the number of its rows, and whether the lift differs between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...base.tables import Table
from ..verdicts.bootstrap import holm
from .arguments import check_share
from .distributions import chi_square_above
from .effects import Effect
from .results import Result
from .segmented_arms import SegmentedArm
from .split import SampleRatio, sample_ratio

_WHOLE = "all visitors"
_MISMATCH = 0.001  # sample_ratio's alpha


@dataclass(frozen=True, kw_only=True)
class SegmentEffect:
    """One metric in one segment, or in all visitors.

    Attributes
    ----------
    metric : str
    segment : str or None
        None: all visitors.
    effect : Effect or None
        Of these visitors alone; None where they are too few to compare.
    p_holm : float
        p after Holm's correction for all rows of segments; of all visitors p itself.
    verdict : str
        "higher", "lower" or "no difference shown", by `p_holm`; "too little data" where there is no p.
    reason : str
        Why there is no effect.
    """

    metric: str
    segment: str | None
    effect: Effect | None
    p_holm: float
    verdict: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Heterogeneity:
    """Whether the lift of a metric differs between segments.

    Attributes
    ----------
    metric : str
    q : float
        Cochran's Q; NaN with fewer than two segments that have a lift.
    freedom : int
        Segments that have a lift, less one.
    p, p_holm : float
        Before and after Holm's correction for the metrics of the call.
    differs : bool
        Whether `p_holm` is below 1 − confidence.
    """

    metric: str
    q: float
    freedom: int
    p: float
    p_holm: float
    differs: bool


@dataclass(frozen=True, kw_only=True, repr=False)
class Segments(Result):
    """What :func:`by_segment` found.

    Attributes
    ----------
    rows : tuple of SegmentEffect
        By metric: all visitors, then the segments, those with most visitors first.
    heterogeneity : tuple of Heterogeneity
        One for each metric.
    splits : dict of str or None to SampleRatio
        Whether the visitors of each segment were split as planned; of all visitors by None, as in `rows`.
    confidence : float
        Of intervals, each row alone, and of verdicts.
    """

    rows: tuple[SegmentEffect, ...]
    heterogeneity: tuple[Heterogeneity, ...]
    splits: dict[str | None, SampleRatio]
    confidence: float

    def table(self) -> Table:
        """A row for each metric and segment; what to mind are its notes."""
        head = ["metric", "segment", "visitors", "control", "treatment", "lift", "low", "high", "p", "p (Holm)"]
        rows = []
        for row in self.rows:
            split, effect = self.splits[row.segment], row.effect
            cells: list[Any] = [row.metric, row.segment or _WHOLE, split.control + split.treatment]
            if effect is None:
                cells += [math.nan] * 7
            else:
                lift = effect.relative
                cells += [effect.control.value, effect.treatment.value, lift.value, lift.low, lift.high, effect.p]
                cells += [row.p_holm if row.segment else math.nan]
            rows.append([*cells, row.verdict])
        formats = {**dict.fromkeys(("control", "treatment"), ",.5f"), **dict.fromkeys(("lift", "low", "high"), "+.1%")}
        formats |= dict.fromkeys(("p", "p (Holm)"), ".3g")
        return Table([*head, "verdict"], rows, notes=self._notes(), formats=formats)

    def _notes(self) -> list[str]:
        compared = sum(row.segment is not None and not math.isnan(row.p_holm) for row in self.rows)
        notes = [
            f"low, high: {100 * self.confidence:.4g} % interval of the lift, of each row alone; verdicts of segments: p "
            f"after Holm's correction for the {compared} comparisons made of them, of all visitors p itself."
        ]
        for found in self.heterogeneity:
            if math.isnan(found.q):
                notes.append(f"{found.metric}: fewer than two segments have a lift, so none can differ.")
                continue
            said = "the lift differs between segments"
            if not found.differs:
                said = "no difference of the lift between segments is shown: go by the row of all visitors"
            notes.append(
                f"{found.metric}: {said} (Cochran's Q = {found.q:.3g}, df {found.freedom}, p = {found.p_holm:.3g})."
            )
        for name, split in self.splits.items():
            if split.mismatch:
                notes.append(
                    f"{name or _WHOLE}: {100 * split.share:.3f} % of visitors are in treatment where {100 * split.expected:.3f} % were "
                    f"planned (p = {split.p:.3g}): trust no row of it before it is known why."
                )
        for row in self.rows:
            for note in row.effect.notes if row.effect else [row.reason]:
                notes.append(f"{row.metric}, {row.segment or _WHOLE}: {note}.")
        return notes

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON can hold them; `splits` as a list with `segment` in each, as `rows` is."""
        fields = super().to_dict()
        fields["splits"] = [{"segment": name, **split} for name, split in fields["splits"].items()]
        return fields

    def __repr__(self) -> str:
        return self.table().to_text()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def by_segment(*, control: Any, treatment: Any, segment: str, metrics: Sequence[Callable[..., Effect]],
               visitor: str | None = None, time: str | None = None, expected: float = 0.5,
               confidence: float = 0.95) -> Segments:  # fmt: skip
    """Compare arms in all visitors and in each segment of them: desktop and mobile, new and returning.

    Parameters
    ----------
    control, treatment : table
        Visitor rows of any kind that :meth:`Sessions.from_frame` reads, with the column `segment` and what `metrics` need.
    segment : str
        Column of segments. A missing or empty value says nothing; visitors of whom no row says anything are "(unknown)".
    metrics : sequence of callables
        :func:`proportions`, :func:`ratio` or :func:`means`, other columns and options by ``functools.partial``.
    visitor : str, optional
        Column of visitors, where the table has several rows of one.
    time : str, optional
        Column of moments. A visitor who has several segments, having come by phone and by desktop, is of the one of the
        earliest row: later ones may be what the treatment did. Without `time` such a visitor is an error.
    expected : float
        The share of visitors meant for the treatment, in every segment (:func:`sample_ratio`).
    confidence : float
        Of the intervals and verdicts.

    Returns
    -------
    Segments

    Raises
    ------
    ValueError
        As the metrics raise for all visitors; a column that is missing, a visitor of several segments without `time` or with
        several at the earliest one, no metric, or one twice.

    Notes
    -----
    - The row of all visitors is the comparison that was planned, and says what the metric's own call says. Rows of segments
      are looks at the same data, so their p-values are corrected together, over segments × metrics (Holm 1979).
    - Whether the lift *differs* between segments is another question than whether it is shown in one and not in the next:
      Cochran, "The combination of estimates from different experiments", Biometrics 1954. With y = log(t/c) of each segment,
      var(y) ≈ var(t)/t² + var(c)/c² and w = 1/var(y), Q = Σ w (y − Σwy/Σw)² is chi-square with segments − 1 degrees of
      freedom where all lifts are one. Segments whose values are not above 0 have no lift, and no part in it.
    - Splits are checked in each segment at 0.001 over the number of segments. A mismatch in segments where the whole has
      none says that the treatment changes in which segment visitors are counted.

    Examples
    --------
    >>> import numpy as np
    >>> from stamp.offline import ab
    >>> def arm(desktop, mobile):
    ...     return {
    ...         "device": np.repeat(["desktop", "mobile"], 1000),
    ...         "converted": np.r_[np.arange(1000) < desktop, np.arange(1000) < mobile],
    ...     }
    >>> found = ab.by_segment(
    ...     control=arm(100, 50), treatment=arm(150, 50), segment="device", metrics=[ab.proportions]
    ... )
    >>> [(row.segment, round(row.p_holm, 4), row.verdict) for row in found.rows]
    [(None, 0.0051, 'higher'), ('desktop', 0.0014, 'higher'), ('mobile', 1.0, 'no difference shown')]
    >>> found.heterogeneity[0].differs
    False
    """
    check_share("by_segment", "confidence", confidence)
    if callable(metrics) or not metrics:
        raise ValueError(f"by_segment: metrics is {metrics!r}, expected a list like [proportions, means]")
    arms = {
        name: SegmentedArm(f"by_segment: {name}", data, segment, visitor=visitor, time=time)
        for name, data in (("control", control), ("treatment", treatment))
    }
    options: dict[str, Any] = {"confidence": confidence} | ({"visitor": visitor} if visitor is not None else {})
    sizes = {name: arm.visitors() for name, arm in arms.items()}
    names = sorted(sizes["control"] | sizes["treatment"], key=lambda s: (-sum(n.get(s, 0) for n in sizes.values()), s))

    wholes = [metric(**{name: arm.table for name, arm in arms.items()}, **options) for metric in metrics]
    if len({whole.metric for whole in wholes}) < len(wholes):
        raise ValueError(f"by_segment: metrics has one twice: {', '.join(whole.metric for whole in wholes)}")
    found: list[list[Effect | str]] = [[] for _ in metrics]
    for name in names:
        tables = {arm: of.of_segment(name) for arm, of in arms.items()}
        for effects, metric in zip(found, metrics):
            try:
                effects.append(metric(**tables, **options))
            except ValueError as error:  # what all visitors passed: there are too few of these
                effects.append(str(error))

    p = [effect.p if isinstance(effect, Effect) else math.nan for effects in found for effect in effects]
    rows = []
    for whole, effects, p_holm in zip(wholes, found, holm(np.array(p)).reshape(len(metrics), -1)):
        rows.append(SegmentEffect(metric=whole.metric, segment=None, effect=whole, p_holm=whole.p,
                                  verdict=_verdict(whole, whole.p, confidence)))  # fmt: skip
        rows += [_row(whole.metric, *of, confidence) for of in zip(names, effects, p_holm.tolist())]
    return Segments(
        rows=tuple(rows),
        heterogeneity=_heterogeneity(wholes, found, confidence),
        splits=_splits(sizes, names, expected),
        confidence=confidence,
    )


def _row(metric: str, segment: str, effect: Effect | str, p_holm: float, confidence: float) -> SegmentEffect:
    if isinstance(effect, str):
        return SegmentEffect(metric=metric, segment=segment, effect=None, p_holm=math.nan, verdict="too little data",
                             reason=effect)  # fmt: skip
    verdict = _verdict(effect, p_holm, confidence)
    return SegmentEffect(metric=metric, segment=segment, effect=effect, p_holm=p_holm, verdict=verdict)


def _verdict(effect: Effect, p: float, confidence: float) -> str:
    if math.isnan(p):
        return "too little data"
    if p >= 1 - confidence:
        return "no difference shown"
    return "higher" if effect.difference.value > 0 else "lower"


def _heterogeneity(
    wholes: list[Effect], found: list[list[Effect | str]], confidence: float
) -> tuple[Heterogeneity, ...]:
    tests = []
    for effects in found:
        lifts = [
            _log_ratio(e) for e in effects if isinstance(e, Effect) and e.control.value > 0 and e.treatment.value > 0
        ]
        y, variance = np.array([lift for lift in lifts if lift[1] > 0]).reshape(-1, 2).T
        w = 1 / variance
        q = float((w * (y - (w @ y) / w.sum()) ** 2).sum()) if len(y) > 1 else math.nan
        freedom = max(len(y) - 1, 0)
        tests.append((q, freedom, chi_square_above(q, freedom) if freedom else math.nan))
    corrected = holm(np.array([p for *_, p in tests])).tolist()
    return tuple(
        Heterogeneity(metric=whole.metric, q=q, freedom=freedom, p=p, p_holm=p_holm, differs=p_holm < 1 - confidence)
        for whole, (q, freedom, p), p_holm in zip(wholes, tests, corrected)
    )


def _log_ratio(effect: Effect) -> tuple[float, float]:
    """log(t/c) and its variance, by the delta method: nearer to normal than the lift, and weighed alike up and down."""
    c, t = effect.control, effect.treatment
    return math.log(t.value / c.value), t.variance / t.value**2 + c.variance / c.value**2


def _splits(sizes: dict[str, dict[str, int]], names: list[str], expected: float) -> dict[str | None, SampleRatio]:
    counts: dict[str | None, list[int]] = {None: [sum(n.values()) for n in sizes.values()]}
    counts |= {name: [n.get(name, 0) for n in sizes.values()] for name in names}
    return {
        name: sample_ratio(*pair, expected=expected, alpha=_MISMATCH / (1 if name is None else len(names)))
        for name, pair in counts.items()
    }
