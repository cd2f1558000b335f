"""Data to try things on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .sessions import Sessions

_CATEGORIES = ("shirts", "dresses", "trousers", "shoes", "coats", "bags", "lamps", "chairs", "books", "toys")
_ADJECTIVES = ("red", "blue", "light", "warm", "slim", "classic", "soft", "bold")


@dataclass(frozen=True)
class Shop:
    """A made-up shop. `products`: columns [V] id, name, category, collection, price. `events`: columns session_id,
    visitor_id, item_id, timestamp (unix seconds). `sessions`: the same events, read."""

    products: dict[str, np.ndarray]
    events: dict[str, np.ndarray]
    sessions: Sessions


def synthetic_shop(
    *, sessions: int = 20_000, products: int = 2_000, categories: int = 10, weeks: int = 4, seed: int = 7
) -> Shop:
    """A shop whose visitors have an intent that drifts between categories.

    Each step of a session goes to a neighbour of the current product in its collection (most often), to another
    product of the intended category by popularity, or the intent drifts to another category. Popularity has a long tail.
    With more than ten categories, every tenth is of one department, which most drifts stay in.

    Parameters
    ----------
    sessions, products : int
        How many; sessions have 2 events or more, 5 on average.
    categories : int
        At least 10.
    weeks : int
        Time over which they are spread.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=100, products=50)
    >>> len(shop.sessions), len(shop.products["id"])
    (100, 50)
    """
    departments = len(_CATEGORIES)
    if sessions < 1 or products < 20 or categories < departments or weeks < 1:
        raise ValueError(
            f"synthetic_shop: {sessions} sessions, {products} products, {categories} categories, {weeks} weeks; expected 1, "
            f"20, {departments} and 1 or more"
        )
    random = np.random.default_rng(seed)
    category = np.sort(random.integers(0, categories, products))
    start = np.searchsorted(category, np.arange(categories))
    size = np.maximum(1, np.bincount(category, minlength=categories))
    collection = np.arange(products) // 8
    price = np.round(np.exp(random.normal(3.2, 0.6, products)), 2)
    ids = np.array([f"sku-{i:05d}" for i in range(products)], object)
    called = [_CATEGORIES[c % departments] + (f" {c // departments}" if c >= departments else "") for c in range(categories)]
    names = np.array([f"{_ADJECTIVES[i * 5 % 8]} {called[c]} no. {i}" for i, c in enumerate(category)], object)

    def popular(of: np.ndarray) -> np.ndarray:
        """A product of each category, Zipf-like: the rank is the floor of a power of a uniform number."""
        rank = (size[of] * random.random(len(of)) ** 2.5).astype(np.int64)
        return np.minimum(start[of] + rank, products - 1)

    length = 2 + random.geometric(0.25, sessions) - 1
    intent = random.integers(0, categories, sessions)
    current = popular(intent)
    direction = random.choice([1, 1, 1, 2, -1], sessions)
    steps = [(np.arange(sessions), current, np.zeros(sessions, np.int64))]
    for step in range(1, int(length.max())):
        alive = np.flatnonzero(length > step)
        choice = random.random(len(alive))
        drift = alive[choice > 0.93]
        elsewhere = random.integers(0, categories, len(drift))
        if categories > departments:
            at_home = random.random(len(drift)) < 0.8
            shelf = random.integers(0, categories // departments, len(drift))
            elsewhere = np.where(at_home, intent[drift] % departments + departments * shelf, elsewhere)
        intent[drift] = elsewhere
        jump = alive[choice > 0.72]
        near = alive[choice <= 0.72]
        current[near] = collection[current[near]] * 8 + (current[near] + direction[near]) % 8
        current[near] = np.minimum(current[near], products - 1)
        current[jump] = popular(intent[jump])
        steps.append((alive, current[alive].copy(), np.full(len(alive), step)))
    session = np.concatenate([s for s, _, _ in steps])
    item = np.concatenate([i for _, i, _ in steps])
    position = np.concatenate([p for _, _, p in steps])
    opened = 1_700_000_000 + np.sort(random.random(sessions)) * weeks * 7 * 86_400
    order = np.lexsort((position, session))
    session, item, position = session[order], item[order], position[order]
    events = {
        "session_id": session,
        "visitor_id": random.integers(0, max(1, sessions // 3), sessions)[session],
        "item_id": ids[item],
        "timestamp": opened[session] + 40.0 * position,
    }
    table = {
        "id": ids,
        "name": names,
        "category": np.array(called, object)[category],
        "collection": collection,
        "price": price,
    }
    return Shop(table, events, Sessions.from_frame(events))
