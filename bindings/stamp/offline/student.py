"""Student's t and the normal distribution, two-sided, without SciPy."""

from __future__ import annotations

import math


def normal_two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


def t_two_sided(t: float, freedom: float) -> float:
    """P(|T| > |t|) = I_x(freedom / 2, 1/2) at x = freedom / (freedom + t²) (Abramowitz and Stegun 26.5.27)."""
    if math.isnan(t) or math.isnan(freedom):
        return math.nan
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t), t * t / (freedom + t * t))


def t_critical(confidence: float, freedom: float) -> float:
    """t with P(|T| > t) = 1 − confidence, by bisection; 0 where there is no spread."""
    if math.isnan(freedom):
        return 0.0
    low, high = 0.0, 1.0
    while t_two_sided(high, freedom) > 1 - confidence:
        high *= 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if t_two_sided(middle, freedom) > 1 - confidence else (low, middle)
    return high


def _incomplete_beta(a: float, b: float, x: float, y: float) -> float:
    """Regularised I_x(a, b), y = 1 − x, by its continued fraction (Abramowitz and Stegun 26.5.8, by Lentz's method)."""
    if x <= 0 or y <= 0:
        return float(x > 0)
    if x > (a + 1) / (a + b + 2):  # where the fraction of the other tail converges fast
        return 1 - _incomplete_beta(b, a, y, x)
    log_x, log_y = (math.log(u) if u < 0.5 else math.log1p(-v) for u, v in ((x, y), (y, x)))
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * log_x + b * log_y) / a
    tiny = 1e-300
    value, c, d = 1.0, math.inf, 1.0
    for i in range(1, 10_000):
        m = i // 2
        if i % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / (1 + term * d or tiny)
        c = 1 + term / c or tiny
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * value
