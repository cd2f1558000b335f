"""What preparation must give, worked out by plain Python, row by row and visitor by visitor."""

import dataclasses

DAY = 86_400_000_000
CONTENT = ["time_us", "item_id", "event_type", "session_id", "price", "quantity", "currency", "category", "brand"]


@dataclasses.dataclass
class Options:
    gap: int = 1_800_000_000
    given: bool = False
    collapse_repeats: bool = False
    weights: dict = dataclasses.field(
        default_factory=lambda: {"view": 10**6, "cart": 10**6, "remove": 0, "order": 10**6}
    )
    value: int = 0  # millionths
    half_life: int = 0  # days
    min_support: int = 1
    min_length: int = 1
    held_out: int = 0
    bot_day: int = 1000
    bot_hour: int = 600
    now: int = 2**62
    first: int | None = None
    end: int | None = None


def key(value):
    """Nulls first, whatever the type."""
    return (value is not None, value)


def content(event):
    return tuple(key(event[name]) for name in CONTENT)


def reason_of(event, options):
    if event["visitor_id"] is None:
        return "no_visitor"
    if options.given and event["session_id"] is None:
        return "no_session"
    if isinstance(event["item_id"], str) and len(event["item_id"]) > 512:
        return "malformed_item"
    if event["item_id"] is None:
        return "no_item"
    if event["time_us"] is None:
        return "no_time"
    if event["time_us"] > options.now + 300_000_000:
        return "future"
    return "unknown_event_type" if event["event_type"] is None else None


def prepare(events: list[dict], options: Options) -> dict:
    """events, sessions, held_out: lists of dicts as the files have them; quarantined: rows by reason."""
    quarantined = {}

    def leave(reason):
        quarantined[reason] = quarantined.get(reason, 0) + 1

    times = [e["time_us"] for e in events if e["time_us"] is not None and e["time_us"] <= options.now + 300_000_000]
    end = options.end if options.end is not None else max(times) // DAY + 1
    first = options.first if options.first is not None else min(times) // DAY
    good, days = [], {}
    for event in events:
        time = event["time_us"]
        outside = time is not None and not first * DAY <= time < end * DAY and time <= options.now + 300_000_000
        if outside:
            continue
        reason = reason_of(event, options)
        if reason is not None:
            leave(reason)
            continue
        good.append(event)
        hours = days.setdefault((event["visitor_id"], time // DAY), {})
        hours[time // 3_600_000_000] = hours.get(time // 3_600_000_000, 0) + 1
    people = []
    for event in good:
        hours = days[event["visitor_id"], event["time_us"] // DAY]
        if sum(hours.values()) > options.bot_day or max(hours.values()) > options.bot_hour:
            leave("bot")
        else:
            people.append(event)
    by_visitor = {}
    for event in sorted(people, key=content):
        by_visitor.setdefault(event["visitor_id"], []).append(event)
    stored = []
    for visitor in sorted(by_visitor):
        last, seen, start = None, None, None
        for event in by_visitor[visitor]:
            same = tuple(event[name] for name in ("time_us", "item_id", "event_type", "session_id"))
            if same == seen:
                leave("duplicate")
                continue
            if last is None or event["time_us"] - last > options.gap:
                start = event["time_us"]
            last, seen = event["time_us"], same
            stored.append({**event, "session_start": None if options.given else start})
    sessions = {}
    for event in stored:
        sessions.setdefault(
            (event["visitor_id"], event["session_id"] if options.given else event["session_start"]), []
        ).append(event)
    if options.collapse_repeats:
        for name, of_session in sessions.items():
            sessions[name] = [
                e for i, e in enumerate(of_session) if i == 0 or of_session[i - 1]["item_id"] != e["item_id"]
            ]
    split = end * DAY - options.held_out
    train = {n: s for n, s in sessions.items() if not options.held_out or s[-1]["time_us"] < split}
    held_out = {n: s for n, s in sessions.items() if n not in train and len(s) >= options.min_length}
    while True:
        counts = {}
        for of_session in train.values():
            for event in of_session:
                counts[event["item_id"]] = counts.get(event["item_id"], 0) + 1
        smaller = {n: [e for e in s if counts[e["item_id"]] >= options.min_support] for n, s in train.items()}
        smaller = {n: s for n, s in smaller.items() if len(s) >= options.min_length and s}
        if smaller == train:
            break
        train = smaller
    return {
        "events": stored,
        "sessions": laid_out(train, options, first, end),
        "held_out": laid_out(held_out, options, first, end),
        "quarantined": quarantined,
    }


def laid_out(sessions, options, first, end):
    rows = []
    for (visitor, name), events in sessions.items():
        start, last = events[0]["time_us"], events[-1]["time_us"]
        weights = [weight(event, options, end) for event in events]
        for place, event in enumerate(events):
            after = events[place + 1] if place + 1 < len(events) else None
            rows.append({
                "session_id": f"{visitor}/{name if options.given else start}",
                "position": place,
                "item_id": event["item_id"],
                "timestamp": event["time_us"],
                "visitor_id": visitor,
                "event_type": event["event_type"],
                "value_millionths": value(event),
                "weight_millionths": weights[place],
                "next_item_id": after and after["item_id"],
                "next_weight_millionths": weights[place + 1] if after else None,
                "next_timestamp": after and after["time_us"],
                "session_start": start,
                "session_end": last,
            })  # fmt: skip
    return sorted(rows, key=lambda row: (row["session_end"], row["session_id"].encode(), row["position"]))


def value(event):
    if event["price"] is None or event["price"] < 0:
        return None
    quantity = 1 if event["quantity"] is None else event["quantity"]
    return None if quantity < 0 else event["price"] * quantity


def weight(event, options, end):
    found = options.weights[event["event_type"]]
    if options.value and value(event) is not None:
        usual = options.value // 10_000
        share = min(value(event) // 10_000, 10 * usual) * 10**6 // usual
        found = found * max(share, 10**5) // 10**6
    if options.half_life:
        age = end - 1 - event["time_us"] // DAY
        found = found * round(10**6 * 0.5 ** (age / options.half_life)) // 10**6
    return found
