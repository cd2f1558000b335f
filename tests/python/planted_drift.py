"""Faults of what visitors did, of prices and of the catalog, planted beside those of planted_faults."""

import numpy as np

from made_clicks import DAY
from planted_faults import HOUR, again, fault, other_ids, place_in_session, put, some, some_sessions

# Events and sessions.


@fault("unknown_event_type", "warning")
def new_event_type(made, random):
    put(made, "event_type", some(made, random, 0.03), "wishlist")


@fault("unknown_event_type", "error", implied=[
    "event_gone", "event_mix", "session_length", "single_event_sessions", "orders_without_view", "new_products",
    "top_products", "top_product", "new_visitors",
])  # fmt: skip
def event_type_renamed(made, random):
    put(made, "event_type", made.on_last() & (made.columns["event_type"] == "view"), "detail")


@fault("event_gone", "error", column="event_type")
def event_type_gone(made, random):
    made.keep(~(made.on_last() & (made.columns["event_type"] == "order")))


@fault("event_mix", "error", implied=["orders_without_view"])
def events_of_another_mix(made, random):
    put(made, "event_type", some(made, random, 0.4), "cart")


@fault("orders_without_view", "warning", implied=["single_event_sessions"])
def orders_without_views(made, random):
    orders = made.on_last() & (made.columns["event_type"] == "order")
    for column in ("visitor_id", "session_id"):
        put(made, column, orders, other_ids(made.columns[column][orders]))


@fault("session_length", "error", implied=["day_low", "single_event_sessions", "event_mix"])
def sessions_cut_in_half(made, random):
    place, length = place_in_session(made)
    made.keep(~(made.on_last() & (place >= (length + 1) // 2)))


@fault("session_length", "error", implied=["single_event_sessions"])
def each_event_a_session(made, random):
    last = made.on_last()
    put(made, "session_id", last, np.array([f"t{place:08d}" for place in range(last.sum())], object))


# Drift.


@fault("category_mix", "warning")
def categories_moved(made, random):
    put(made, "category", some(made, random, 0.5), "category 0")


@fault("category_mix", "warning")
def categories_moved_a_little(made, random):
    put(made, "category", some(made, random, 0.12), "category 0")


@fault("category_mix", "warning")
def new_categories(made, random):
    put(made, "category", some(made, random, 0.3), "Kategorie 7")


@fault("brand_mix", "warning")
def brands_moved(made, random):
    put(made, "brand", some(made, random, 0.4), "brand 3")


@fault("price_mix", "warning", implied=["price_level"])
def prices_moved(made, random):
    some_rows = some(made, random, 0.5)
    made.columns["price"] = made.columns["price"] * np.where(some_rows, 4, 1)


@fault("hour_mix", "warning", implied=["hour_doubled"])
def hours_in_another_zone(made, random):
    time = made.columns["timestamp"]
    made.columns["timestamp"] = np.where(made.on_last(), time - time % DAY + (time + 9 * HOUR) % DAY, time)


@fault("popularity", "warning", implied=["top_products", "category_mix"])
def few_products_take_it_all(made, random):
    moved = some(made, random, 0.6)
    put(
        made,
        "item_id",
        moved,
        np.array([str(100_000 + item) for item in random.integers(100, 112, moved.sum())], object),
    )


@fault("top_product", "warning", implied=["popularity"])
def product_in_the_news(made, random):
    put(made, "item_id", some(made, random, 0.15), "100300")


@fault("top_product", "error", implied=["popularity"])
def fallback_product(made, random):
    put(made, "item_id", some(made, random, 0.4), "100300")


@fault("new_products", "error", implied=["not_in_catalog", "top_products"])
def other_ids_of_products(made, random):
    last = made.on_last()
    put(made, "item_id", last, np.array([f"9{item}" for item in made.columns["item_id"][last]], object))


# Visitors.


@fault("bots", "warning", implied=["event_mix"])
def bot_through_the_day(made, random):
    n = 1200
    rows = random.choice(np.flatnonzero(made.on_last()), n, replace=False)
    again(made, rows, visitor_id=lambda _: np.full(n, "bot", object), session_id=lambda _: np.full(n, "bot 1", object),
          event_id=other_ids)  # fmt: skip


@fault("bots", "warning", implied=["hour_doubled", "hour_mix", "event_mix"])
def bot_in_an_hour(made, random):
    n = 700
    rows = random.choice(np.flatnonzero(made.on_last()), n, replace=False)
    start = made.last * DAY + 3 * HOUR
    again(made, rows, visitor_id=lambda _: np.full(n, "bot", object), session_id=lambda _: np.full(n, "bot 1", object),
          event_id=other_ids, timestamp=lambda _: start + np.arange(n) * 4_000_000)  # fmt: skip


@fault("shared_visitor", "error")
def shared_visitor(made, random):
    put(made, "visitor_id", some_sessions(made, random, 0.2), "anonymous")


@fault("new_visitors", "warning")
def half_of_the_visitors_new(made, random):
    last = np.flatnonzero(made.on_last())
    names, of = np.unique(made.columns["visitor_id"][last].astype(str), return_inverse=True)
    moved = (random.random(len(names)) < 0.65)[of]
    put(made, "visitor_id", last[moved], np.array([f"v9{name[2:]}" for name in names[of][moved]], object))


@fault("new_visitors", "error")
def all_visitors_new(made, random):
    last = made.on_last()
    put(made, "visitor_id", last, np.array([f"v9{name[2:]}" for name in made.columns["visitor_id"][last]], object))


# Prices.


@fault("currency", "error", column="currency")
def currency_switched(made, random):
    put(made, "currency", made.on_last(), "USD")


@fault("currency", "error", column="currency", implied=["several_currencies"])
def second_currency(made, random):
    put(made, "currency", some(made, random, 0.2), "CHF")


@fault("currency", "warning", column="currency")
def few_rows_in_another_currency(made, random):
    put(made, "currency", some(made, random, 0.005), "CHF")


@fault("price_level", "error", column="price", implied=["price_mix"])
def prices_in_cents(made, random):
    made.columns["price"] = made.columns["price"] * np.where(made.on_last(), 100, 1)


@fault("price_level", "warning", column="price", implied=["price_mix"])
def prices_doubled(made, random):
    made.columns["price"] = made.columns["price"] * np.where(made.on_last(), 2, 1)


@fault("price_not_positive", "error", column="price")
def prices_of_zero(made, random):
    put(made, "price", some(made, random, 0.3), 0.0)


@fault("price_not_positive", "warning", column="price")
def prices_below_zero(made, random):
    put(made, "price", some(made, random, 0.05), -9.99)


@fault("nulls", "error", column="price")
def prices_missing(made, random):
    put(made, "price", some(made, random, 0.7), None)


# The catalog.


def listed_rows(made):
    """Rows of the last day, by product of the catalog."""
    items = made.columns["item_id"][made.on_last()].astype(str)
    return np.array([(items == item).sum() for item in made.catalog["item_id"]])


def keep_products(made, mask):
    made.catalog = {name: values[mask] for name, values in made.catalog.items()}


@fault("not_in_catalog", "error", on_day=False, column="item_id")
def catalog_lacks_products(made, random):
    rows = listed_rows(made)
    order = random.permutation(len(rows))
    gone = order[np.cumsum(rows[order]) < 0.4 * rows.sum()]
    keep_products(made, ~np.isin(np.arange(len(rows)), gone))


@fault("not_in_catalog", "warning", on_day=False, column="item_id")
def catalog_lacks_some_products(made, random):
    rows = listed_rows(made)
    order = random.permutation(len(rows))
    gone = order[np.cumsum(rows[order]) < 0.1 * rows.sum()]
    keep_products(made, ~np.isin(np.arange(len(rows)), gone))


@fault("catalog_without_clicks", "warning", on_day=False, column="item_id", whole=True)
def catalog_of_another_shop(made, random):
    n = len(made.catalog["item_id"])
    made.catalog = {name: np.tile(values, 8) for name, values in made.catalog.items()}
    made.catalog["item_id"] = np.array([str(100_000 + item) for item in range(8 * n)], object)


@fault("catalog_duplicates", "warning", on_day=False, column="item_id")
def catalog_with_repeats(made, random):
    made.catalog = {name: np.concatenate([values, values[:10]]) for name, values in made.catalog.items()}


@fault("catalog_duplicates", "error", on_day=False, column="item_id")
def catalog_of_variants(made, random):
    made.catalog = {name: np.concatenate([values, values]) for name, values in made.catalog.items()}


@fault("catalog_coverage", "warning", on_day=False, column="colour")
def attribute_lost_by_some(made, random):
    colour = made.catalog["colour"].astype(object)
    colour[random.random(len(colour)) < 0.3] = None
    made.catalog["colour"] = colour


@fault("catalog_coverage", "error", on_day=False, column="colour")
def attribute_gone(made, random):
    del made.catalog["colour"]
