"""Replay: any number of recommenders over held-out sessions, event by event, as zones would ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..products import Products
from ..sessions import Sessions
from .questions import Lists, Questions
from .tables import Table
from .zones import Zone


class Replay:
    """Questions, and the lists that recommenders answered. Made by :func:`replay`, or by hand of plain arrays.

    Attributes
    ----------
    names : list of str
        Of the recommenders.
    zones : dict of str to Zone
    questions : dict of str to Questions
        By zone.
    lists : dict of (str, str) to Lists
        By recommender and zone.
    item_ids : array [V]
        Ids of the rows that are used everywhere.
    clicks : int64 [V] or None
        In training.
    sessions, train : Sessions or None
    products : Products or None
    """

    def __init__(
        self,
        *,
        zones: Mapping[str, Zone],
        questions: Mapping[str, Questions],
        lists: Mapping[tuple[str, str], Lists],
        item_ids: Any,
        clicks: Any = None,
        sessions: Sessions | None = None,
        train: Sessions | None = None,
        products: Products | None = None,
        embeddings: np.ndarray | None = None,
        ties: str = "served",
    ):
        self.names = list(dict.fromkeys(name for name, _ in lists))
        self.zones = dict(zones)
        self.questions = dict(questions)
        self.lists = dict(lists)
        self.item_ids = np.asarray(item_ids)
        self.clicks = None if clicks is None else np.asarray(clicks, np.int64)
        self.sessions, self.train, self.products = sessions, train, products
        self.embeddings = embeddings
        self.ties = ties
        if ties not in ("served", "conservative"):
            raise ValueError(f"replay: ties is {ties!r}, expected 'served' or 'conservative'")
        for name, zone in self.lists:
            if zone not in self.questions or zone not in self.zones:
                raise ValueError(f"Replay: the lists of '{name}' are of zone '{zone}', expected one of {list(self.zones)}")
            if len(self.lists[name, zone].rows) != len(self.questions[zone]):
                raise ValueError(
                    f"Replay: '{name}' has {len(self.lists[name, zone].rows)} lists in zone '{zone}', expected "
                    f"{len(self.questions[zone])}, one a question"
                )

    def values(self, metric: str, *, name: str, zone: str, k: int) -> np.ndarray:
        raise NotImplementedError

    def aggregate(self, metric: str, *, name: str, zone: str, k: int, where: np.ndarray | None = None) -> float:
        raise NotImplementedError

    def metrics(
        self, *, k: Sequence[int] | int | None = None, metrics: Collection[str] | None = None, zone: str | None = None
    ) -> Table:
        raise NotImplementedError

    def by(self, cut: Any, *, metric: str = "hr", k: int = 20, zone: str | None = None) -> Table:
        raise NotImplementedError

    def cut(self, cut: Any, zone: str) -> tuple[np.ndarray, list[str]]:
        raise NotImplementedError

    def churn(self, a: str, b: str, *, zone: str, k: int) -> float:
        raise NotImplementedError
