"""Random raw clicks of all that goes wrong with them, with the times that must come out, from a seed."""

import datetime
import random
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pyarrow as pa

from stamp.data.sources.mapping import EventMapping

UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)

IDS = [
    "7", "007", "-7", "+7", " 7", "7.0", "1e3", "", "9223372036854775807", "9223372036854775808", "12345678901234567890",
    "999999999999999999", "1000000000000000000", "ü", "e\u0301", "é", "👟", "a b", "it's", 'a"b', "back\\slash", "tab\there",
    "line\nbreak", "NULL", "null", "nan", "x" * 512, "x" * 513, "ß" * 512, "0", None,
]  # fmt: skip
NUMBERS = [
    "1", "0", "-0", "-1", "2.5", ".5", "5.", "+3", "1e3", "1E-6", "0.0000005", "0.0000004", "19.99", "12.345678", "1,5", "1 000",
    "9000000000", "9000000000.01", "-9000000000", "1e300", "1e400", "NaN", "inf", "-inf", "", " ", "0x10", "1_000", "٣",
    "9223372036854775807", "9223372036854775808", "999999999999999999", None,
]  # fmt: skip
NO_TIMES = [
    "", " ", "never", "2026-02-30", "2026-13-01", "2025-02-29", "2026-00-10", "2026-01-01T25:00:00Z", "2026-01-01T12:60:00",
    "20260101", "2026-1-1", "2026-01-01T1:00:00", "2026-01-01T12", "01/02/2026", "2026-01-01T12:00:00 Europe/Berlin",
    "2026-01-01T12:00:00+1", "1234567", "-1", "2026-01-01T12:00:00.", "2026-01-01T12:00:00,5", "１９７０-01-01", "2026-01-01\n12:00:00",
]  # fmt: skip
ZONES = {"texts": None, "local texts": "Europe/Berlin", "local times": "Australia/Lord_Howe"}
# Days on which clocks change, leap days, the edges of what is counted.
DAYS = ["1990-01-01", "1999-12-31", "2000-02-29", "2026-03-29", "2026-10-25", "2026-10-04", "2026-04-05", "2038-01-19",
        "2026-06-30", "2049-12-31"]  # fmt: skip


@dataclass(frozen=True)
class Clicks:
    """A raw table, the mapping of its columns, and what `time_us` must be of each row, by `event_id`."""

    raw: pa.Table
    mapping: EventMapping
    times: dict[str, int | None]


def micros(moment: datetime.datetime) -> int:
    return (moment - EPOCH) // datetime.timedelta(microseconds=1)


def _local(pick: random.Random) -> datetime.datetime:
    day = datetime.date.fromisoformat(pick.choice(DAYS))  # from 1990 on, since when changes of clocks are known
    if pick.random() < 0.3:
        day = datetime.date(1990, 1, 2) + datetime.timedelta(days=pick.randrange(21_000))
    hour = pick.choice([0, 1, 1, 2, 2, 2, 3, 3, 12, 23])
    at = datetime.time(
        hour, pick.choice([0, 29, 30, 31, 59]), pick.choice([0, 59, 7]), pick.choice([0, 1, 999_999, 250_000])
    )
    return datetime.datetime.combine(day, at)


def _in_zone(local: datetime.datetime, zone: str | None) -> int:
    """Of an hour that is shown twice the first; one that is skipped as the clock was before: fold 0 is both."""
    return micros(local.replace(tzinfo=UTC if zone is None else ZoneInfo(zone)))


def _written(pick: random.Random, zone: str | None) -> tuple[str, int | None]:
    """A time as a text, and what it is."""
    if pick.random() < 0.15:
        return pick.choice(NO_TIMES), None
    local = _local(pick)
    form = pick.choice(["day", "minutes", "seconds", "micros", "nanos", "tenths"])
    if form == "day":
        local = local.replace(hour=0, minute=0, second=0, microsecond=0)
        return local.date().isoformat(), _in_zone(local, zone)
    digits = {"minutes": None, "seconds": "", "micros": f".{local.microsecond:06}", "nanos": f".{local.microsecond:06}987",
              "tenths": f".{local.microsecond // 100_000}"}[form]  # fmt: skip
    local = local.replace(microsecond={"micros": local.microsecond, "nanos": local.microsecond,
                                       "tenths": local.microsecond // 100_000 * 100_000}.get(form, 0))  # fmt: skip
    if digits is None:
        local = local.replace(second=0)
    text = f"{local:%Y-%m-%d}{pick.choice('T ')}{local:%H:%M}" + ("" if digits is None else f":{local:%S}{digits}")
    text = " " * pick.choice([0, 0, 1]) + text
    offset = pick.choice(["", "", "Z", "UTC", "GMT", "+00:00", "+05:30", "-0400", "+14", "-03", "-11:59"])
    if offset == "":
        return text, _in_zone(local, zone)
    if offset in ("Z", "UTC", "GMT"):
        return text + pick.choice(["", " "]) + offset, _in_zone(local, None)
    sign, hours, minutes = offset[0], int(offset[1:3]), int(offset[3:].replace(":", "") or 0)
    ahead = (hours * 60 + minutes) * 60_000_000 * (1 if sign == "+" else -1)
    return text + pick.choice(["", " "]) + offset, _in_zone(local, None) - ahead


def random_clicks(kind: str, seed: int, *, rows: int = 90) -> Clicks:
    """`kind` says of what types columns are: one of KINDS."""
    pick = random.Random(seed)
    zone = ZONES.get(kind)
    times: list[tuple[object, int | None]] = []
    for _ in range(rows):
        if pick.random() < 0.05:
            times.append((None, None))
        elif kind.endswith("texts"):
            times.append(_written(pick, zone))
        elif kind == "local times":
            local = _local(pick)
            times.append((local, _in_zone(local, zone)))
        elif kind == "moments":
            moment = _local(pick).replace(tzinfo=UTC)
            times.append((moment, micros(moment)))
        else:
            number = micros(_local(pick).replace(tzinfo=UTC)) // 1000
            times.append((str(number) if pick.random() < 0.9 else f"{number}.5", None))
    if kind == "unix":
        times = [(text, None if text is None else int(float(str(text)) * 1000)) for text, _ in times]
        times[0] = ("soon", None)
    for _ in range(rows // 4):  # ties
        times[pick.randrange(rows)] = times[pick.randrange(rows)]
    time_type = {"local times": pa.timestamp("us"), "moments": pa.timestamp("us", "UTC")}.get(kind, pa.string())
    numbers = kind in ("moments", "unix")
    visitors = [pick.choice(["a", "a", "a", "b", "ü", "0", "00", "", None]) for _ in range(rows)]
    prices = [pick.choice(NUMBERS) for _ in range(rows)]
    columns = {
        "n": pa.array([str(n) for n in range(rows)]),
        "who": pa.array(visitors),
        "session": pa.array([pick.choice(["s1", "s2", "", None]) for _ in range(rows)]),
        "at": pa.array([time for time, _ in times], time_type),
        "what": pa.array([pick.choice([5, -1, 2**63 - 1, -(2**63), 0, None]) for _ in range(rows)])
        if numbers
        else pa.array([pick.choice(["7", "8", pick.choice(IDS)]) for _ in range(rows)]),
        "kind": pa.array([pick.choice(["look", "look", "buy", "\U0001f6d2", "Look", "", None]) for _ in range(rows)]),
        "price": pa.array([_float(price) for price in prices]) if numbers else pa.array(prices),
        "count": pa.array([pick.choice([1.0, 2.5, -3.0, 1e18, float("nan"), float("inf"), None]) for _ in range(rows)])
        if numbers
        else pa.array([pick.choice(NUMBERS) for _ in range(rows)]),
    }
    mapping = EventMapping(
        name=kind, visitor_id="who", session_id="session", time="at", item_id="what", event_type="kind", event_id="n",
        event_types={"look": "view", "buy": "order", "\U0001f6d2": "cart"}, price="price", quantity="count", time_zone=zone,
        time_unit="ms" if kind == "unix" else None, item_ids="integer" if kind == "local texts" else "as they are",
    )  # fmt: skip
    return Clicks(pa.table(columns), mapping, {str(n): expected for n, (_, expected) in enumerate(times)})


KINDS = ("texts", "local texts", "local times", "moments", "unix")


def _float(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
