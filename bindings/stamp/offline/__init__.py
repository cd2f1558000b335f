"""Offline testing: what recommenders would have shown in recorded sessions, and how good that was (docs/offline.md)."""

from .leakage import LeakageError, LeakageReport, check_leakage
from .metrics import METRICS, Metric
from .plots import plot_by, plot_comparison, plot_coverage, plot_tradeoff
from .questions import Lists, Questions
from .replay import Replay, replay
from .tables import Table
from .verdicts import Comparison, compare
from .windows import Window, Windows, replay_windows, windows
from .zones import Zone, cart, home, product_page

__all__ = [
    "METRICS",
    "Comparison",
    "LeakageError",
    "LeakageReport",
    "Lists",
    "Metric",
    "Questions",
    "Replay",
    "Table",
    "Window",
    "Windows",
    "Zone",
    "cart",
    "check_leakage",
    "compare",
    "home",
    "plot_by",
    "plot_comparison",
    "plot_coverage",
    "plot_tradeoff",
    "product_page",
    "replay",
    "replay_windows",
    "windows",
]
