"""Data to try things on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..base.checks import whole_number
from .sessions import Sessions

_CATEGORIES = ("shirts", "dresses", "trousers", "shoes", "coats", "bags", "lamps", "chairs", "books", "toys")
_ADJECTIVES = ("red", "blue", "light", "warm", "slim", "classic", "soft", "bold")
_VARIANTS = len(_ADJECTIVES)  # of a collection: one product each
# What the next event of a session is: the same product again, the one before it, any of the earlier ones, which together
# make repeats as frequent at each distance as in public logs; another category, another collection of the category, or the
# next variant in the collection.
_MOVES = {"again": 0.06, "back": 0.05, "earlier": 0.03, "drift": 0.06, "elsewhere": 0.42, "onward": 0.38}
_FAITHFUL = 0.6  # of visits to a collection are to the variant of the visitor's taste
_SILENCE = 1800.0  # seconds after which a session would be another one


@dataclass(frozen=True, eq=False)
class Shop:
    """A made-up shop. `products`: columns [V] id, name, category, collection, price. `events`: columns session_id,
    visitor_id, item_id, timestamp (unix seconds). `sessions`: the same events, read."""

    products: dict[str, np.ndarray]
    events: dict[str, np.ndarray]
    sessions: Sessions


def synthetic_shop(
    *, sessions: int = 20_000, products: int = 2_000, categories: int = 10, weeks: int = 4, seed: int = 7
) -> Shop:
    """A shop whose visitors have an intent and a taste.

    A session is about a category, some more than others, and begins at a product of it. It goes on to the variants of a
    collection, one after the other and always in one direction, and to other collections of the category, chosen by
    popularity, which has a long tail; there a visitor prefers one variant, the same in all their sessions. The intent
    drifts now and then: with more than ten categories, every tenth is of one department, which most drifts stay in. Some
    events go back to what was seen. How often, how long sessions are and what passes between events is as in public logs.

    Parameters
    ----------
    sessions, products : int
        How many; sessions have 2 events or more, 5 on average, some of them dozens.
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
    for name, value, least in (
        ("sessions", sessions, 1), ("products", products, 20), ("categories", categories, departments),
        ("weeks", weeks, 1), ("seed", seed, 0),
    ):  # fmt: skip
        whole_number(f"synthetic_shop: {name}", value, least=least)
    random = np.random.default_rng(seed)
    category = np.sort(random.integers(0, categories, products))
    start = np.searchsorted(category, np.arange(categories))
    size = np.maximum(1, np.bincount(category, minlength=categories))
    price = np.round(np.exp(random.normal(3.2, 0.6, products)), 2)

    visitor = random.integers(0, max(1, sessions // 3), sessions)
    taste = random.integers(0, _VARIANTS, visitor.max() + 1)[visitor]
    intent = (categories * random.random(sessions) ** 1.5).astype(np.int64)
    direction = random.choice([1, 1, 1, 2, -1], sessions)
    # Every visitor has a patience of their own, so that a few sessions are very long.
    length = 1 + random.geometric(random.beta(3.5, 7.5, sessions))
    first = np.cumsum(length) - length
    item = np.empty(length.sum(), np.int64)

    def visit(who: np.ndarray) -> np.ndarray:
        """A product of what each session is about: collections are Zipf-like, the rank a power of a uniform number."""
        of = intent[who]
        found = start[of] + (size[of] * random.random(len(who)) ** 2.5).astype(np.int64)
        liked = random.random(len(who)) < _FAITHFUL
        found[liked] += taste[who[liked]] - found[liked] % _VARIANTS
        return np.minimum(found, products - 1)

    alive = np.arange(sessions)
    item[first] = entered = visit(alive)  # the product by which a session came into its collection
    for step in range(1, int(length.max())):
        alive = alive[length[alive] > step]
        begun, now = first[alive], first[alive] + step
        move = random.choice(len(_MOVES), len(alive), p=[*_MOVES.values()])
        again, back, earlier, drift, elsewhere, onward = (move == m for m in range(len(_MOVES)))

        item[now[again]] = item[now[again] - 1]
        item[now[back]] = item[begun[back] + max(0, step - 2)]
        item[now[earlier]] = item[begun[earlier] + random.integers(0, step, int(earlier.sum()))]
        seen = item[now[onward] - 1]
        base = seen - seen % _VARIANTS
        item[now[onward]] = base + (seen - base + direction[alive[onward]]) % np.minimum(_VARIANTS, products - base)
        leaves = drift | elsewhere | onward & (item[now] == entered[alive])  # which has come round
        drifting = alive[drift]
        wanted = random.integers(0, categories, len(drifting))
        if categories > departments:
            at_home = random.random(len(drifting)) < 0.8
            shelf = random.integers(0, categories // departments, len(drifting))
            wanted = np.where(at_home, intent[drifting] % departments + departments * shelf, wanted)
        intent[drifting] = wanted
        entered[alive[leaves]] = item[now[leaves]] = visit(alive[leaves])

    session = np.repeat(np.arange(sessions), length)
    opened = 1_700_000_000 + np.sort(random.random(sessions)) * weeks * 7 * 86_400
    gaps = np.minimum(random.lognormal(np.log(60), 1.4, len(item)), _SILENCE)
    passed = np.cumsum(gaps)
    ids = np.array([f"sku-{i:05d}" for i in range(products)], object)
    called = [
        _CATEGORIES[c % departments] + (f" {c // departments}" if c >= departments else "") for c in range(categories)
    ]
    events = {
        "session_id": session,
        "visitor_id": visitor[session],
        "item_id": ids[item],
        "timestamp": opened[session] + passed - passed[first][session],
    }
    table = {
        "id": ids,
        "name": np.array(
            [f"{_ADJECTIVES[i * 5 % _VARIANTS]} {called[c]} no. {i}" for i, c in enumerate(category)], object
        ),
        "category": np.array(called, object)[category],
        "collection": np.arange(products) // _VARIANTS,
        "price": price,
    }
    return Shop(table, events, Sessions.from_frame(events))
