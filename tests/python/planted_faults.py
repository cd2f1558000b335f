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
