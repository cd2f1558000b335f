"""What is handed to the calls of this package, checked before any work."""

from __future__ import annotations

from typing import Any

from ...data.products import Products


def require_fitted(call: str, what: str, recommender: Any) -> None:
    """Raises ValueError where a recommender of stamp has not learnt; it names `what` it is."""
    if not hasattr(recommender, "_catalog"):
        raise ValueError(f"{call}: {what} is a {type(recommender).__name__} that is not fitted yet; call fit first")


def require_products(call: str, products: Any) -> None:
    if not (products is None or isinstance(products, Products)):
        raise ValueError(
            f"{call}: products is {type(products).__name__}, expected stamp.Products (see Products.from_frame)"
        )
