"""Offline testing: what recommenders would have shown in recorded sessions, and how good that was (docs/offline.md)."""

from . import ab
from .questions import Lists, Questions
from .replay import Replay
from .search import search
from .tables import Table
from .trials import SearchResult, Trial
from .zones import Zone, cart, home, product_page

__all__ = [
    "Lists",
    "Questions",
    "Replay",
    "SearchResult",
    "Table",
    "Trial",
    "Zone",
    "ab",
    "cart",
    "home",
    "product_page",
    "search",
]
