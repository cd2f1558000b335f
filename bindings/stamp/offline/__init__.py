"""Offline testing: what recommenders would have shown in recorded sessions, and how good that was (docs/offline.md).

May import: base, data, models, serving.
"""

from . import ab
from .leakage import LeakageError, LeakageReport, check_leakage
from .metrics import METRICS, Metric
from .plots import plot_by, plot_comparison, plot_coverage, plot_tradeoff
from .policy import Check, Estimate, Judgement, Measured, Policy, Verdict, policy_schema
from .questions import Lists, Questions
from .replay import Replay, replay
from .report import Report, report
from .search import search
from .tables import Table
from .trials import SearchResult, Trial
from .verdicts import Comparison, compare
from .windows import Window, Windows, replay_windows, windows
from .zones import Zone, cart, home, product_page

__all__ = [
    "METRICS",
    "Check",
    "Comparison",
    "Estimate",
    "Judgement",
    "LeakageError",
    "LeakageReport",
    "Lists",
    "Measured",
    "Metric",
    "Policy",
    "Questions",
    "Replay",
    "Report",
    "SearchResult",
    "Table",
    "Trial",
    "Verdict",
    "Window",
    "Windows",
    "Zone",
    "ab",
    "cart",
    "check_leakage",
    "compare",
    "home",
    "plot_by",
    "plot_comparison",
    "plot_coverage",
    "plot_tradeoff",
    "policy_schema",
    "product_page",
    "replay",
    "replay_windows",
    "report",
    "search",
    "windows",
]
