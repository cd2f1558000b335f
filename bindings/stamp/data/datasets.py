"""Data to try things on."""

from __future__ import annotations

import numbers
from dataclasses import dataclass

import numpy as np

from ..base.checks import truth, whole_number
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
_OPENED = 1_700_000_000  # unix seconds: when the log begins
_LATE = 0.25  # new products come in the last quarter of the time
_MOST_ARRIVALS = 0.5
# Log-odds of an order, as synthetic_shop has them; some 9 % of visits end in one.
_ORDER_ODDS = -4.6  # of a product of the usual price that was looked at once
_OF_COLLECTIONS, _OF_PRODUCTS = 0.8, 0.5  # standard deviations: what is looked at gladly is not what is bought
_OF_PRICE = -0.6  # times ln(price / the median): what costs twice as much is bought a third less
_OF_RETURNING = 1.5


@dataclass(frozen=True, eq=False)
class Shop:
    """A made-up shop, and the truth about it.

    Attributes
    ----------
    products : dict of str to array [V]
        Columns id, name, category, collection, price.
    events : dict of str to array [events]
        Columns session_id, visitor_id, item_id, timestamp (unix seconds); with orders also event_type ("view" or
        "order"), weight (1 of a view, 0 of an order) and value (the price of an order, 0 of a view).
    sessions : Sessions
        The same events, read.
    arrival : float64 [V]
        Unix seconds from when on a product can be looked at; the first moment of the log where it was always there.
    order_log_odds : float64 [V] or None
        Truth: ln(p / (1 - p)) of p, the probability that a visit which looked at the product once orders it. None: there
        are no orders.
    """

    products: dict[str, np.ndarray]
    events: dict[str, np.ndarray]
    sessions: Sessions
    arrival: np.ndarray
    order_log_odds: np.ndarray | None

    def order_probability(self, *, views: int = 1) -> np.ndarray:
        """Truth: how likely a visit that looked at a product `views` times is to order it, float64 [V]. All that counts
        is whether it came back.

        Raises
        ------
        ValueError
            There are no orders, or `views` is below 1.

        Examples
        --------
        >>> import stamp
        >>> shop = stamp.datasets.synthetic_shop(sessions=100, products=50, orders=True)
        >>> bool((shop.order_probability(views=2) > shop.order_probability()).all())
        True
        """
        returned = whole_number("order_probability: views", views, least=1) > 1
        if self.order_log_odds is None:
            raise ValueError("order_probability: this shop has no orders, expected synthetic_shop(orders=True, …)")
        return _logistic(self.order_log_odds + _OF_RETURNING * returned)


def synthetic_shop(
    *,
    sessions: int = 20_000,
    products: int = 2_000,
    categories: int = 10,
    weeks: int = 4,
    orders: bool = False,
    arrivals: float = 0.0,
    seed: int = 7,
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
    orders : bool
        Some visits end in an order. The clicks are those of the same seed without.
    arrivals : float
        Share of the products that come late, 0 to 0.5: each at a moment of its own in the last quarter of the time. Their
        collection was there before, its first product always. The same seed has the same visits without, but for what
        they look at in the place of what is not there yet.

    Raises
    ------
    ValueError
        A number or an option cannot be.

    Notes
    -----
    **Orders.** At its end a visit orders each product v that it looked at, whatever else it orders, with the probability
    p of :meth:`Shop.order_probability`:

        ln(p / (1 - p)) = -4.6 + c + e - 0.6 ln(price_v / the median price) + 1.5 [looked at more than once]

    with c ~ N(0, 0.8²) of v's collection, e ~ N(0, 0.5²) of v itself. Visits find products by popularity and taste, in
    which none of this has a part: clicks alone do not say what is bought. Where p is small, what a look at v brings,
    p · price_v, grows with the price to the power of 0.4: who ranks by clicks times price goes too far.

    An order is an event of its visit, as in public logs (JData's), after all views and at most half an hour later, all
    products of a visit at once. Its weight is 0, history only: nobody needs a recommendation of what they are just paying
    for, and as a click it would teach that visits end with a product once more. Since nothing follows, a network learns
    clicks from the same examples as without orders (what counts events, popularity say, counts orders, too); what led to
    an order is told by `event_type`.

    **Arrivals.** Who would look at a product that had not come when the visit began looks at the variant before it in
    the collection that is always there. So the gaps that new products fill are those of their collections, and their
    collection, category and price tell where they belong.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=100, products=50)
    >>> len(shop.sessions), len(shop.products["id"])
    (100, 50)
    >>> shop = stamp.datasets.synthetic_shop(sessions=100, products=50, orders=True, arrivals=0.1)
    >>> sorted(set(shop.events["event_type"].tolist())), int((shop.arrival > shop.arrival.min()).sum())
    (['order', 'view'], 5)
    """
    departments = len(_CATEGORIES)
    for name, value, least in (
        ("sessions", sessions, 1), ("products", products, 20), ("categories", categories, departments),
        ("weeks", weeks, 1), ("seed", seed, 0),
    ):  # fmt: skip
        whole_number(f"synthetic_shop: {name}", value, least=least)
    orders = truth("synthetic_shop: orders", orders)
    if isinstance(arrivals, bool) or not isinstance(arrivals, numbers.Real) or not 0 <= arrivals <= _MOST_ARRIVALS:
        raise ValueError(f"synthetic_shop: arrivals is {arrivals!r}, expected a number from 0 to {_MOST_ARRIVALS}")
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
    opened = _OPENED + np.sort(random.random(sessions)) * weeks * 7 * 86_400
    gaps = np.minimum(random.lognormal(np.log(60), 1.4, len(item)), _SILENCE)
    passed = np.cumsum(gaps)
    when = opened[session] + passed - passed[first][session]
    # Generators of their own, so that clicks are the same with and without.
    late = int(round(arrivals * products))
    arrival, stand_in = _arrivals(products, late, weeks * 7 * 86_400.0, np.random.default_rng([seed, 1]))
    item = np.where(arrival[item] > opened[session], stand_in[item], item)
    ids = np.array([f"sku-{i:05d}" for i in range(products)], object)
    called = [
        _CATEGORIES[c % departments] + (f" {c // departments}" if c >= departments else "") for c in range(categories)
    ]
    table = {
        "id": ids,
        "name": np.array(
            [f"{_ADJECTIVES[i * 5 % _VARIANTS]} {called[c]} no. {i}" for i, c in enumerate(category)], object
        ),
        "category": np.array(called, object)[category],
        "collection": np.arange(products) // _VARIANTS,
        "price": price,
    }
    log_odds = None
    if orders:
        of_orders = np.random.default_rng([seed, 2])
        log_odds = _order_log_odds(table["collection"], price, of_orders)
        session, item, when, ordered = _with_orders(session, item, when, log_odds, of_orders)
    events = {
        "session_id": session,
        "visitor_id": visitor[session],
        "item_id": ids[item],
        "timestamp": when,
    }
    if orders:
        events["event_type"] = np.where(ordered, "order", "view").astype(object)
        events["weight"] = np.where(ordered, 0.0, 1.0)
        events["value"] = np.where(ordered, price[item], 0.0)
    return Shop(table, events, Sessions.from_frame(events), arrival, log_odds)


def _arrivals(products: int, late: int, seconds: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """When each product comes, unix seconds, `late` of them late; and what is looked at until then, the variant before it
    that was always there: the first of a collection was."""
    number = np.arange(products)
    new = random.choice(number[number % _VARIANTS > 0], late, replace=False)
    arrival = np.full(products, float(_OPENED))
    arrival[new] += seconds * (1 - _LATE * random.random(late))
    return arrival, np.maximum.accumulate(np.where(arrival > _OPENED, 0, number))


def _order_log_odds(collection: np.ndarray, price: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Of each product [V], as synthetic_shop's notes say."""
    return (
        _ORDER_ODDS
        + random.normal(0, _OF_COLLECTIONS, collection.max() + 1)[collection]
        + random.normal(0, _OF_PRODUCTS, len(collection))
        + _OF_PRICE * np.log(price / np.median(price))
    )


def _with_orders(
    session: np.ndarray, item: np.ndarray, when: np.ndarray, log_odds: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Columns of views with those of orders behind each session's, and which are orders."""
    looked_at, views = np.unique(session * len(log_odds) + item, return_counts=True)
    of, product = np.divmod(looked_at, len(log_odds))
    bought = random.random(len(of)) < _logistic(log_odds[product] + _OF_RETURNING * (views > 1))
    last = np.searchsorted(session, np.arange(session[-1] + 1), side="right") - 1
    paid = when[last] + np.minimum(random.lognormal(np.log(120), 0.8, len(last)), _SILENCE)
    of, product = of[bought], product[bought]
    order = np.argsort(np.concatenate([session, of]), kind="stable")  # orders come last, as they stand behind
    return (
        np.concatenate([session, of])[order],
        np.concatenate([item, product])[order],
        np.concatenate([when, paid[of]])[order],
        order >= len(item),
    )


def _logistic(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-log_odds))
