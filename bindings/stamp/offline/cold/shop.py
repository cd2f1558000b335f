"""What trivial baselines know: the products of the shop and of training, their category, and their clicks."""

from __future__ import annotations

import numpy as np

from ... import _stamp
from ...data.products import Products
from ...data.sessions import Sessions
from ...data.tables.ids import Ids, catalog_ids


class Shop:
    """Products named by the shop or clicked in training, by row.

    Attributes
    ----------
    item_ids : array [V]
    category : int32 [V]
        Code of the value of the attribute, -1 where missing.
    clicks : int64 [V]
        In training.
    """

    def __init__(self, train: Sessions, products: Products, attribute: str):
        self.catalog = _stamp.Catalog(products.kind)
        products.add_to(self.catalog)
        clicks = _stamp.item_counts(train._core, len(train._catalog))
        if clicks.any():
            Ids("cold_start: train", train.item_ids[clicks > 0]).add_to(self.catalog)
        self.item_ids = catalog_ids(self.catalog)
        self.category, _ = products.codes(attribute, self.catalog)
        rows = train.rows_in(self.catalog, "cold_start: train", "products")
        self.clicks = _stamp.item_counts(rows, len(self.catalog))

    @property
    def new(self) -> np.ndarray:
        """Rows of the products without a click."""
        return np.flatnonzero(self.clicks == 0)

    def __len__(self) -> int:
        return len(self.item_ids)
