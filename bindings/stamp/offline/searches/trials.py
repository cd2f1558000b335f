"""A trial: one training of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training.

    Attributes
    ----------
    number : int
        0 for the first.
    options : dict
        Of those that are searched.
    outcome : str
        "finished"; "pruned", when its epochs fell behind those of others; "diverged"; "failed", out of memory.
    value : float or None
        Of the objective, which only a finished trial has; without one, of the monitor in the best epoch that was.
    best_epoch : int or None
        Of the monitor, 1 for the first.
    epochs : tuple of float
        The monitor on validation after each.
    seconds : float
    reason : str
        Where diverged or failed.
    """

    number: int
    options: dict[str, Any]
    outcome: str
    value: float | None
    best_epoch: int | None
    epochs: tuple[float, ...]
    seconds: float
    reason: str = ""
