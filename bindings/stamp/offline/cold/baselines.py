"""What a recommender of new products must beat: the popular of the visit's categories, chance, and mean rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ... import _stamp
from ...data.tables.ids import Ids, catalog_ids, find_rows
from ...models.stamp_recommender import StampRecommender
from .shop import Shop


class CategoryPopularity:
    """Products of the visit's categories: those of the category that most of its events are of first (of equals the
    latest), in a category the most clicked first, equals (all new ones are) at random. Then the other categories, the
    most clicked first, and last the products of no category.
    """

    def __init__(self, shop: Shop, *, only_new: bool, seed: int):
        self._shop = shop
        self._random = np.random.default_rng(seed)
        candidates = shop.new if only_new else np.arange(len(shop))
        group = shop.category[candidates]
        self._products = {code: candidates[group == code] for code in np.unique(group).tolist()}
        clicks = np.bincount(shop.category + 1, shop.clicks)  # of all products of a category, listed or not; 0: of none
        categories = [code for code in self._products if code >= 0]
        self._categories = sorted(categories, key=lambda code: -clicks[code + 1])

    def recommend(self, items: Iterable[Any], *, k: int) -> list[Any]:
        rows = find_rows("cold_start: a visit", items, self._shop.catalog, "the shop")
        codes = self._shop.category[rows[rows >= 0]].tolist()
        events = Counter(codes)
        latest = {code: place for place, code in enumerate(codes)}
        visited = sorted(latest, key=lambda code: (-events[code], -latest[code]))
        listed: list[int] = []
        for code in [*(c for c in visited if c >= 0), *(c for c in self._categories if c not in latest), -1]:
            if len(listed) >= k:
                break
            listed += self._ordered(code)
        return self._shop.item_ids[listed[:k]].tolist()

    def _ordered(self, code: int) -> list[int]:
        rows = self._products.get(code, np.empty(0, np.int64))
        return rows[np.lexsort((self._random.random(len(rows)), -self._shop.clicks[rows]))].tolist()


class RandomNew:
    """New products, each as likely as the other."""

    def __init__(self, shop: Shop, *, seed: int):
        self._ids = shop.item_ids[shop.new]
        self._random = np.random.default_rng(seed)

    def recommend(self, items: Iterable[Any], *, k: int) -> list[Any]:
        return self._ids[self._random.choice(len(self._ids), min(k, len(self._ids)), replace=False)].tolist()


def with_mean_rows(model: StampRecommender, shop: Shop, *, seed: int) -> StampRecommender:
    """The same network over the products of the shop, too: one that it has not learnt has the mean of the rows of its
    category's products, and of all rows where none of these was learnt. Those of a category tie, and stand in an order
    that is drawn once."""
    learnt = model.weights_["items"]
    catalog = _stamp.Catalog(shop.catalog.kind)
    Ids("cold_start: the model", model.item_ids_).add_to(catalog)
    order = np.random.default_rng(seed).permutation(len(shop))
    Ids("cold_start: the shop", shop.item_ids[order]).add_to(catalog)
    of_shop = Ids("cold_start: all products", catalog_ids(catalog)).find_in(shop.catalog, "the shop")
    category = np.append(shop.category, np.int32(-1))[of_shop]
    n = len(learnt)
    rows = np.empty((len(catalog), learnt.shape[1]), np.float32)
    rows[:n], rows[n:] = learnt, learnt.mean(axis=0)
    for code in np.unique(category[n:]).tolist():
        of_category = learnt[category[:n] == code]
        if code >= 0 and len(of_category):
            rows[n:][category[n:] == code] = of_category.mean(axis=0)
    return model._with_rows(catalog, rows)
