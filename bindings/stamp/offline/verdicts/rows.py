"""What a comparison says of one recommender, in one zone, by one metric."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One recommender against the baseline, in one zone, by one metric.

    Attributes
    ----------
    value, value_low, value_high : float
        Of the recommender, with the interval of itself alone.
    baseline_value : float
    difference, low, high : float
        value − baseline_value, with the interval of the paired difference.
    relative : float
        difference / baseline_value.
    p, p_holm : float
        Two-sided; before and after Holm's correction for all comparisons of the call.
    verdict : str
        "better", "worse" or "no difference shown"; "different" for metrics of which neither more nor less is better;
        "too little data" where p is not known; "" for metrics of a whole set of lists, which have no interval.
    by_window : tuple of float
        Difference in each window.
    questions, units : int
        Questions to which the metric applies, and visitors (or sessions) that asked them; the fewer, of the two.
    """

    zone: str
    metric: str
    recommender: str
    value: float
    value_low: float
    value_high: float
    baseline_value: float
    difference: float
    low: float
    high: float
    relative: float
    p: float
    p_holm: float
    verdict: str
    questions: int
    units: int
    by_window: tuple[float, ...]
