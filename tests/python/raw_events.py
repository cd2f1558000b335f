"""What visitors of a made-up shop did, from one seed: the truth that raw samples of every format are written from."""

import datetime
import random
from dataclasses import dataclass
from zoneinfo import ZoneInfo

DAY = 86_400_000_000  # microseconds
FIRST_DAY = int(datetime.datetime(2026, 3, 27, tzinfo=datetime.timezone.utc).timestamp()) * 1_000_000
DAYS = 6  # with the night when Europe's clocks go forward
SHOP_ZONE = ZoneInfo("America/New_York")

# The columns of the table of events, in their order.
COLUMNS = (
    "visitor_id", "session_id", "time_us", "item_id", "event_type", "raw_event_type", "price_millionths", "quantity",
    "currency", "category", "brand", "event_id", "malformed",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One product of an event."""

    product: int
    price_millionths: int
    quantity: int

    @property
    def price(self) -> float:
        return self.price_millionths / 1_000_000

    @property
    def category(self) -> str | None:
        return None if self.product % 7 == 0 else ("shoes", "coats & jackets", "mützen")[self.product % 3]

    @property
    def brand(self) -> str | None:
        return None if self.product % 5 == 0 else ("acme", "Nørd")[self.product % 2]


@dataclass(frozen=True)
class Event:
    """What a visitor did at a moment: `kind` is view, cart, remove, order, or page (of no product)."""

    number: int
    visitor: int
    session: int
    session_start: int
    time_us: int
    kind: str
    lines: tuple[Line, ...]

    def at(self, zone: datetime.tzinfo = datetime.timezone.utc) -> datetime.datetime:
        whole, micros = divmod(self.time_us, 1_000_000)
        return datetime.datetime.fromtimestamp(whole, zone).replace(microsecond=micros)


def true_events(*, seed: int = 11) -> list[Event]:
    """A few hundred events in no order, of some sessions at once; some at the very same moment."""
    pick = random.Random(seed)
    prices = {product: pick.randrange(100, 30_000) * 10_000 for product in range(1, 31)}
    events: list[Event] = []
    session = 1000
    for visitor in range(501, 541):
        for start in sorted(pick.randrange(DAYS * DAY - DAY // 8) for _ in range(pick.choice((1, 1, 2, 3)))):
            session += 1
            time_us = first = FIRST_DAY + start
            for _ in range(pick.randrange(1, 7)):
                kind = pick.choices(("view", "cart", "remove", "order", "page"), (60, 14, 4, 8, 14))[0]
                count = {"order": pick.randrange(1, 4), "page": 0}.get(kind, 1)
                lines = tuple(
                    Line(product, prices[product], pick.randrange(1, 4) if kind != "view" else 1)
                    for product in pick.sample(sorted(prices), count)
                )
                events.append(Event(len(events) + 1, visitor, session, first, time_us, kind, lines))
                if pick.random() < 0.9:  # else the next is at the same moment
                    time_us += pick.randrange(1, 400_000_000)
    pick.shuffle(events)
    return events


def event_row(**given: object) -> dict[str, object]:
    """A row of the table of events; what is not given is null."""
    assert given.keys() <= set(COLUMNS)
    return {column: given.get(column) for column in COLUMNS}


def in_order(rows: list[dict[str, object]]) -> list[tuple[object, ...]]:
    """Rows as tuples in an order of their content, to compare tables of no order."""
    return sorted((tuple(row[column] for column in COLUMNS) for row in rows), key=repr)
