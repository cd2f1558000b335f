"""Offline testing: what recommenders would have shown in recorded sessions, and how good that was (docs/offline.md)."""

from .metrics import METRICS, Metric
from .policy import Check, Estimate, Judgement, Measured, Policy, Verdict, policy_schema
from .questions import Lists, Questions
from .replay import Replay
from .replay import Replay, replay
from .report import Report, report
from .tables import Table
from .zones import Zone, cart, home, product_page

__all__ = [
    "METRICS",
    "Check",
    "Estimate",
    "Judgement",
    "Lists",
    "Measured",
    "Metric",
    "Policy",
    "Questions",
    "Replay",
    "Report",
    "Table",
    "Verdict",
    "Zone",
    "cart",
    "home",
    "policy_schema",
    "product_page",
    "replay",
    "report",
]
