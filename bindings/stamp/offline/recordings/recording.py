"""What a replay records: questions, lists, and what was known of products. Plain data, which metrics are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...data.products import Products
from ...data.sessions import Sessions
from ..splits.leakage import LeakageReport
from .questions import Lists, Questions
from .zones import Zone

TIES = ("served", "conservative")


class Recording:
    """Questions, and the lists that recommenders answered. Attributes are those of :class:`stamp.offline.Replay`."""

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
        embeddings: Any = None,
        clusters: Any = None,
        ties: str = "served",
        leakage: LeakageReport | None = None,
        notes: Sequence[str] = (),
    ):
        self.names = list(dict.fromkeys(name for name, _ in lists))
        self.zones = dict(zones)
        self.questions = dict(questions)
        self.lists = dict(lists)
        self.item_ids = np.asarray(item_ids)
        self.clicks = None if clicks is None else np.asarray(clicks, np.int64)
        self.sessions, self.train, self.products = sessions, train, products
        self.embeddings = None if embeddings is None else np.asarray(embeddings, np.float32)
        self.clusters = None if clusters is None else np.asarray(clusters, np.int64)
        self.ties, self.leakage, self.notes = ties, leakage, list(notes)
        for what in ("clicks", "embeddings", "clusters"):
            per_product = getattr(self, what)
            if per_product is not None and len(per_product) != len(self.item_ids):
                raise ValueError(f"Replay: {what} is of {len(per_product)} products, expected {len(self.item_ids)}")
        if ties not in TIES:
            raise ValueError(f"Replay: ties is {ties!r}, expected one of {', '.join(TIES)}")
        for name, zone in self.lists:
            if zone not in self.questions or zone not in self.zones:
                raise ValueError(
                    f"Replay: the lists of '{name}' are of zone '{zone}', expected one of {list(self.zones)}"
                )
            if len(self.lists[name, zone].rows) != len(self.questions[zone]):
                raise ValueError(
                    f"Replay: '{name}' has {len(self.lists[name, zone].rows)} lists in zone '{zone}', expected "
                    f"{len(self.questions[zone])}, one a question"
                )

    @property
    def V(self) -> int:
        """Products of the union of all catalogs."""
        return len(self.item_ids)

    def length(self, zone: str) -> int:
        """Of the lists that everybody was asked for in a zone."""
        self.require_zone(zone)
        return min((lists.k for (_, of), lists in self.lists.items() if of == zone), default=self.zones[zone].k)

    def require_zone(self, zone: str) -> None:
        if zone not in self.zones:
            raise ValueError(f"Replay: zone is '{zone}', expected one of {', '.join(self.zones)}")
