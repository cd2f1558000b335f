"""Faults as shops have them, planted into a clean month of made-up clicks: most of them into its last day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from made_clicks import DAY, MadeClicks

HOUR = DAY // 24
YEAR = 365 * DAY


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is planted, and what must be found: `check` with `severity`, on the last day where `on_day`; and besides, of
    warnings and errors, nothing but `implied`.

    `whole`: the month is read at once, without a profile. `catalog`: there is one.
    """

    name: str
    plant: Callable[[MadeClicks, np.random.Generator], None]
    check: str
    severity: str
    on_day: bool
    column: str | None
    implied: frozenset[str]
    whole: bool
    catalog: bool


FAULTS: list[Fault] = []


def fault(check, severity, *, on_day=True, column=None, implied=(), whole=False, catalog=True):
    def planted(plant):
        FAULTS.append(
            Fault(
                name=plant.__name__,
                plant=plant,
                check=check,
                severity=severity,
                on_day=on_day,
                column=column,
                implied=frozenset(implied),
                whole=whole,
                catalog=catalog,
            )  # fmt: skip
        )
        return plant

    return planted


def some(made, random, share):
    """A share of the rows of the last day."""
    return made.on_last() & (random.random(len(made.day)) < share)


def some_sessions(made, random, share):
    last = made.on_last()
    names = np.unique(made.columns["session_id"][last].astype(str))
    chosen = names[random.random(len(names)) < share]
    return last & np.isin(made.columns["session_id"].astype(str), chosen)


def put(made, column, where, value):
    values = made.columns[column].astype(object)
    values[where] = value
    made.columns[column] = values


def place_in_session(made):
    """Of each row, 0-based, and the length of its session."""
    _, of, lengths = np.unique(made.columns["session_id"].astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(of, kind="stable")
    place = np.empty(len(of), int)
    place[order] = np.arange(len(of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return place, lengths[of]


def again(made, where, **changes):
    """Adds copies of rows, changed."""
    rows = {name: values[where].copy() for name, values in made.columns.items()}
    made.add(**{**rows, **{name: change(rows[name]) for name, change in changes.items()}})


def other_ids(values):
    return np.array([f"again-{value}" for value in values], object)


# Days and hours.


@fault("day_missing", "error")
def missing_day(made, random):
    made.keep(~made.on_last())


@fault("day_missing", "error", whole=True)
def missing_day_in_the_month(made, random):
    gone = made.last - 9
    made.keep(made.day != gone)


@fault("day_missing", "error", whole=True)
def missing_days_in_the_month(made, random):
    made.keep((made.day < made.last - 8) | (made.day > made.last - 5))


@fault("hour_missing", "warning")
def missing_hour(made, random):
    made.keep(~(made.on_last() & (made.columns["timestamp"] % DAY // HOUR == 19)))


@fault("hour_missing", "error", implied=["day_low"])
def missing_hours(made, random):
    hour = made.columns["timestamp"] % DAY // HOUR
    made.keep(~(made.on_last() & (hour >= 8) & (hour < 14)))


@fault("day_doubled", "warning", implied=["duplicates", "day_high"])
def doubled_day(made, random):
    again(made, made.on_last())


@fault("day_high", "warning", implied=["new_visitors"])
def doubled_day_under_other_ids(made, random):
    again(made, made.on_last(), event_id=other_ids, visitor_id=other_ids, session_id=other_ids)


@fault("hour_doubled", "warning")
def doubled_hour(made, random):
    hour = made.columns["timestamp"] % DAY // HOUR
    again(made, made.on_last() & (hour == 19), event_id=other_ids, session_id=other_ids, visitor_id=other_ids)


@fault("day_low", "warning")
def thin_day(made, random):
    made.keep(~some_sessions(made, random, 0.42))


@fault("day_low", "error")
def very_thin_day(made, random):
    made.keep(~some_sessions(made, random, 0.7))


@fault("day_changed", "warning", whole=False, implied=["day_low"])
def day_that_lost_rows(made, random):
    before = made.day == made.last - 1
    made.keep(~(before & (random.random(len(before)) < 0.1)))


# Rows.


@fault("no_item", "error")
def null_products(made, random):
    put(made, "item_id", some(made, random, 0.03), None)


@fault("no_item", "warning")
def few_null_products(made, random):
    put(made, "item_id", some(made, random, 0.005), None)


@fault("no_visitor", "error")
def null_visitors(made, random):
    put(made, "visitor_id", some(made, random, 0.03), None)


@fault("undated", "error", on_day=False, implied=["quarantined"])
def malformed_times(made, random):
    bad = some(made, random, 0.1)
    made.columns["timestamp"] = np.array([str(time) for time in made.columns["timestamp"]], object)
    put(made, "timestamp", bad, "yesterday")


@fault("undated", "error", on_day=False)
def missing_times(made, random):
    put(made, "timestamp", some(made, random, 0.03), None)


@fault("outside_window", "error", on_day=False, implied=["day_missing"])
def seconds_for_microseconds(made, random):
    made.columns["timestamp"] = np.where(
        made.on_last(), made.columns["timestamp"] // 1_000_000, made.columns["timestamp"]
    )


@fault("outside_window", "error", on_day=False, implied=["session_span"])
def times_of_last_year(made, random):
    made.columns["timestamp"] = made.columns["timestamp"] - np.where(some(made, random, 0.02), YEAR, 0)


@fault("future", "error", on_day=False)
def times_of_next_year(made, random):
    made.columns["timestamp"] = made.columns["timestamp"] + np.where(some(made, random, 0.02), YEAR, 0)


@fault("future", "error", on_day=False, implied=["hour_mix", "quarantined"])
def clocks_twelve_hours_ahead(made, random):
    skewed = some_sessions(made, random, 0.2)
    made.columns["timestamp"] = made.columns["timestamp"] + np.where(skewed, 12 * HOUR, 0)


@fault("session_span", "warning", implied=["day_high"])
def clocks_that_step_back(made, random):
    place, length = place_in_session(made)
    back = some_sessions(made, random, 0.2) & (length > 1) & (place < length // 2)
    made.columns["timestamp"] = made.columns["timestamp"] - np.where(back, 2 * DAY, 0)


@fault("times_tied", "warning", implied=["hour_mix", "hour_missing", "hour_doubled", "duplicates"])
def times_that_are_days(made, random):
    made.columns["timestamp"] = made.columns["timestamp"] - np.where(made.on_last(), made.columns["timestamp"] % DAY, 0)


@fault("malformed", "error", on_day=False, implied=["quarantined"])
def malformed_rows(made, random):
    bad = some(made, random, 0.1)
    for column in made.columns:
        put(made, column, bad, None)


@fault("malformed", "error")
def prices_that_are_no_numbers(made, random):
    bad = some(made, random, 0.04)
    made.columns["price"] = np.array([f"{price}" for price in made.columns["price"]], object)
    put(made, "price", bad, "12,99")


@fault("malformed", "error")
def ids_of_ten_kilobytes(made, random):
    put(made, "item_id", some(made, random, 0.02), "x" * 10_000)


@fault("malformed", "info")
def one_id_of_ten_kilobytes(made, random):
    put(made, "item_id", np.flatnonzero(made.on_last())[:1], "x" * 10_000)


@fault("no_visitor", "error", implied=["quarantined", "visitors_without_items", "items_without_visitors"])
def day_of_empty_rows(made, random):
    for column in made.columns:
        if column != "timestamp":
            put(made, column, made.on_last(), None)


@fault("duplicates", "warning")
def repeated_rows(made, random):
    again(made, some(made, random, 0.05))


@fault("duplicates", "warning")
def repeated_event_ids(made, random):
    again(made, some(made, random, 0.05), timestamp=lambda times: times + 1_000_000)


@fault("unreadable_text", "warning")
def letters_that_were_lost(made, random):
    put(made, "brand", some(made, random, 0.03), "caf\ufffd")


@fault("unreadable_text", "error", implied=["brand_mix"])
def control_characters(made, random):
    put(made, "brand", some(made, random, 0.08), "brand\x071")


@fault("id_pattern", "error", column="item_id", implied=["new_products", "top_products", "not_in_catalog"])
def ids_that_became_floats(made, random):
    last = made.on_last()
    put(made, "item_id", last, np.array([f"{item}.0" for item in made.columns["item_id"][last]], object))


@fault("id_pattern", "error", column="item_id", implied=["new_products", "top_products", "not_in_catalog"])
def ids_in_another_pattern(made, random):
    last = made.on_last()
    put(made, "item_id", last, np.array([f"SKU-{item}" for item in made.columns["item_id"][last]], object))


@fault("id_pattern", "error", column="visitor_id", implied=["new_visitors"])
def visitors_in_another_pattern(made, random):
    last = made.on_last()
    put(made, "visitor_id", last, np.array([visitor[1:] for visitor in made.columns["visitor_id"][last]], object))


@fault("id_type", "error", on_day=False, column="item_id", catalog=False)
def ids_that_became_integers(made, random):
    made.columns["item_id"] = made.columns["item_id"].astype(np.int64)


@fault("nulls", "error", column="category")
def column_that_became_empty(made, random):
    put(made, "category", made.on_last(), None)


@fault("nulls", "warning", column="brand")
def column_with_more_nulls(made, random):
    put(made, "brand", some(made, random, 0.2), None)


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
