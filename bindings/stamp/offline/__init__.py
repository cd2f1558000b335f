"""Offline testing: what recommenders would have shown in recorded sessions, and how good that was (docs/offline.md).

May import: base, data, models, serving.
"""

from ..base.policies import Estimate, Judgement, Verdict
from ..base.tables import Table
from . import ab, off_policy
from .calibration.reliability import Reliability, reliability
from .cold.cold_start import cold_start
from .cold.results import ColdStart, ColdStartRow
from .metrics.registry import METRICS, Metric
from .recordings.questions import Lists, Questions
from .recordings.zones import Zone, cart, home, product_page
from .replays.replay import replay
from .replays.results import Replay
from .replays.windows import replay_windows
from .reports.policy import Check, Measured, Policy, policy_schema
from .reports.report import Report, report
from .searches.results import SearchResult
from .searches.search import search
from .searches.trials import Trial
from .splits.hiding import hide_products
from .splits.leakage import LeakageError, LeakageReport, check_leakage
from .splits.windows import Window, Windows, windows
from .verdicts.compare import compare
from .verdicts.comparisons import Comparison
from .verdicts.figures import plot_by, plot_comparison, plot_coverage, plot_tradeoff

__all__ = [
    "METRICS",
    "Check",
    "ColdStart",
    "ColdStartRow",
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
    "Reliability",
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
    "cold_start",
    "compare",
    "hide_products",
    "home",
    "off_policy",
    "plot_by",
    "plot_comparison",
    "plot_coverage",
    "plot_tradeoff",
    "policy_schema",
    "product_page",
    "reliability",
    "replay",
    "replay_windows",
    "report",
    "search",
    "windows",
]
