"""Offline testing: what recommenders would have shown in recorded sessions, and how good that was (docs/offline.md)."""

from .metrics import METRICS, Metric
from .questions import Lists, Questions
from .replay import Replay, replay
from .tables import Table
from .zones import Zone, cart, home, product_page

__all__ = [
    "METRICS",
    "Lists",
    "Metric",
    "Questions",
    "Replay",
    "Table",
    "Zone",
    "cart",
    "home",
    "product_page",
    "replay",
]
