"""What is handed to the calls of this package, checked before any work."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from ...data.products import Products


def whole_number(what: str, value: Any, *, least: int) -> int:
    """`value` as an int. Raises ValueError, beginning with `what`, where it is none of `least` or more."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise ValueError(f"{what} is {value!r}, expected a whole number of {least} or more")
    return number


def list_lengths(call: str, k: Any) -> list[int]:
    """One list length or several. Raises ValueError where there is none, or one cannot be."""
    if isinstance(k, str) or not isinstance(k, Iterable):
        k = [k]
    ks = [whole_number(f"{call}: k", each, least=1) for each in k]
    if not ks:
        raise ValueError(f"{call}: k is empty, expected one list length or more")
    return ks


def require_fitted(call: str, what: str, recommender: Any) -> None:
    """Raises ValueError where a recommender of stamp has not learnt; it names `what` it is."""
    if not hasattr(recommender, "_catalog"):
        raise ValueError(f"{call}: {what} is a {type(recommender).__name__} that is not fitted yet; call fit first")


def require_products(call: str, products: Any) -> None:
    if not (products is None or isinstance(products, Products)):
        raise ValueError(
            f"{call}: products is {type(products).__name__}, expected stamp.Products (see Products.from_frame)"
        )
