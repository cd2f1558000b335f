"""The normal distribution, Student's t and chi-square: SciPy's, of which `import stamp.offline` needs nothing."""

from __future__ import annotations

import math
from typing import Any

from ...base.extras import import_extra


def scipy_stats() -> Any:
    return import_extra("scipy.stats", purpose="A/B arithmetic", extra="offline")


def normal_quantile(probability: float) -> float:
    return float(scipy_stats().norm.ppf(probability))


def normal_critical(confidence: float) -> float:
    """z with P(|Z| ≤ z) = confidence."""
    return normal_quantile((1 + confidence) / 2)


def normal_two_sided(z: float) -> float:
    return float(2 * scipy_stats().norm.sf(abs(z)))


def t_critical(confidence: float, freedom: float) -> float:
    """t with P(|T| ≤ t) = confidence; 0 where there is no spread, which has no degrees of freedom."""
    return 0.0 if math.isnan(freedom) else float(scipy_stats().t.ppf((1 + confidence) / 2, freedom))


def t_two_sided(t: float, freedom: float) -> float:
    return float(2 * scipy_stats().t.sf(abs(t), freedom))


def chi_square_above(value: float, freedom: int) -> float:
    return float(scipy_stats().chi2.sf(value, freedom))
