"""A shop's raw clicks, made up: weekdays and hours as shops have them, visitors who come back, views, carts and orders."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

import stamp.data

DAY = 86_400_000_000
FIRST = (datetime.date(2026, 10, 1) - datetime.date(1970, 1, 1)).days  # a Thursday
KINDS = {"view": "view", "cart": "cart", "order": "order"}
MAPPING = stamp.data.EventMapping(
    name="made clicks", visitor_id="visitor_id", session_id="session_id", item_id="item_id", time="timestamp",
    time_unit="us", event_type="event_type", event_types=KINDS, price="price", quantity="quantity", currency="currency",
    category="category", brand="brand", event_id="event_id",
)  # fmt: skip
_WEEK = np.array([1.0, 0.98, 1.1, 1.25, 1.02, 0.97, 0.95])  # Thursday first
_HOURS = np.array([3, 2, 1.2, 1, 1, 1.5, 3, 5, 6, 7, 7.5, 8, 8, 7.5, 7, 7, 7.5, 8.5, 10, 12, 13, 12, 9, 5])


@dataclass
class MadeClicks:
    """`columns`: arrays [events] by name, sorted by time; `catalog`: arrays [products] by name."""

    columns: dict[str, np.ndarray]
    catalog: dict[str, np.ndarray]

    @property
    def day(self) -> np.ndarray:
        return self.columns["timestamp"] // DAY

    @property
    def last(self) -> int:
        return int(self.day.max())

    def on_last(self) -> np.ndarray:
        return self.day == self.last

    def copy(self) -> MadeClicks:
        return MadeClicks(
            {k: v.copy() for k, v in self.columns.items()}, {k: v.copy() for k, v in self.catalog.items()}
        )

    def keep(self, mask: np.ndarray) -> None:
        self.columns = {name: values[mask] for name, values in self.columns.items()}

    def add(self, **values: np.ndarray) -> None:
        """Rows; what is not named is as in the first row."""
        n = len(next(iter(values.values())))
        for name, column in self.columns.items():
            new = np.asarray(values[name], object) if name in values else np.full(n, column[0], object)
            self.columns[name] = np.concatenate([column.astype(object), new])

    def table(self) -> pa.Table:
        return pa.table({name: _array(values) for name, values in self.columns.items()})

    def catalog_table(self) -> pa.Table:
        return pa.table({name: _array(values) for name, values in self.catalog.items()})


def _array(values: np.ndarray) -> pa.Array:
    if values.dtype != object:
        return pa.array(values)
    return pa.array(
        [None if value is None else value.item() if isinstance(value, np.generic) else value for value in values]
    )


def made_clicks(*, days: int = 35, sessions: int = 1500, products: int = 600, seed: int = 0) -> MadeClicks:
    """About 5 events a session, `sessions` sessions on a usual day."""
    random = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, products + 1) ** 0.7
    popularity /= popularity.sum()
    category = random.integers(0, 12, products)
    brand = random.integers(0, 25, products)
    price = np.round(random.lognormal(3.3, 0.8, products), 2)
    listed = [random.permutation(np.flatnonzero(category == c)) for c in range(12)]
    shares = [popularity[some] / popularity[some].sum() for some in listed]
    categories = np.array([popularity[category == c].sum() for c in range(12)])
    visitors = sessions * 3  # who come again and again; others are new
    parts = []
    session, fresh = 0, visitors
    for day in range(days):
        n = random.poisson(sessions * _WEEK[day % 7] * random.normal(1, 0.04))
        starts = (_hours(random, n) * 3_600_000_000).astype(np.int64)
        back = random.random(n) < 0.7
        who = np.where(back, random.integers(0, visitors, n), fresh + np.arange(n))
        fresh += n
        lengths = random.geometric(0.22, n)
        of = np.repeat(np.arange(n), lengths)
        place = np.arange(len(of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        pauses = random.lognormal(3.6, 0.8, len(of)) * 1e6
        since = np.concatenate([np.cumsum(part) for part in np.split(pauses, np.cumsum(lengths)[:-1])]) if n else pauses
        time = starts[of] + np.minimum(since.astype(np.int64), 3_600_000_000)
        theme = random.choice(12, n, p=categories / categories.sum())[of]
        item = np.empty(len(of), np.int64)
        for c in range(12):
            some = theme == c
            item[some] = random.choice(listed[c], some.sum(), p=shares[c])
        kind = np.where(random.random(len(of)) < 0.12, "cart", "view").astype(object)
        kind[(random.random(len(of)) < 0.035) & (place > 0)] = "order"
        inside = time < DAY  # the night cuts what is left
        names = session + of
        session += n
        parts.append((who[of][inside], names[inside], (FIRST + day) * DAY + time[inside], item[inside], kind[inside]))
    who, names, time, item, kind = (np.concatenate(part) for part in zip(*parts))
    order = np.argsort(time, kind="stable")
    who, names, time, item, kind = (values[order] for values in (who, names, time, item, kind))
    columns = {
        "visitor_id": np.array([f"v{each:07d}" for each in who], object),
        "session_id": np.array([f"s{each:08d}" for each in names], object),
        "timestamp": time,
        "item_id": np.array([str(100_000 + each) for each in item], object),
        "event_type": kind,
        "price": price[item],
        "quantity": random.integers(1, 3, len(item)),
        "currency": np.full(len(item), "EUR", object),
        "category": np.array([f"category {each}" for each in category[item]], object),
        "brand": np.array([f"brand {each}" for each in brand[item]], object),
        "event_id": np.array([f"e{each:09d}" for each in range(len(item))], object),
    }
    catalog = {
        "item_id": np.array([str(100_000 + each) for each in range(products)], object),
        "category": np.array([f"category {each}" for each in category], object),
        "colour": random.choice(np.array(["red", "green", "blue"], object), products),
        "price": price,
    }
    return MadeClicks(columns, catalog)


def _hours(random: np.random.Generator, n: int) -> np.ndarray:
    return random.choice(24, n, p=_HOURS / _HOURS.sum()) + random.random(n)
