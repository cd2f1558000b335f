"""What the server reads of a visitor at a moment is the history that preparation gives the example of that moment."""

import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving import ids

import stamp.data

GAP_S = 1800
WORDS = {"view": "detail-page-view", "cart": "add-to-cart", "order": "purchase-complete"}
UNKNOWN = "not-in-the-catalog"


def raw_clicks(products):
    """Dicts of visitor, time (ms), product or None for a search, kind: pauses of just the gap, repeats, events sent twice,
    searches within long pauses, products that the catalog does not know."""
    random = np.random.default_rng(4)
    clicks = []
    for visitor in range(12):
        moment = 1_790_000_000_000 + int(random.integers(10**7))
        for _ in range(14):
            product = UNKNOWN if random.random() < 0.1 else str(random.choice(products[:30]))
            click = {"visitor": f"v{visitor}", "time": moment, "item": product, "kind": str(random.choice(list(WORDS)))}
            clicks += [click] * (2 if random.random() < 0.15 else 1)
            pause = int(random.choice([1, 5_000, 700_000, GAP_S * 1000, GAP_S * 1000 + 1, 2_500_000]))
            if pause > GAP_S * 1000 and random.random() < 0.5:
                clicks.append({**click, "time": moment + pause // 2, "item": None, "kind": "search"})
            moment += pause
    return clicks


@pytest.fixture(scope="module")
def clicks(shop):
    return raw_clicks(shop.products["id"])


@pytest.fixture(scope="module")
def examples(clicks, tmp_path_factory):
    """Of prepared data: visitor, time in ms, and the products before it in its session."""
    table = pa.table({name: [click[name] for click in clicks] for name in ("visitor", "time", "item", "kind")})
    mapping = stamp.data.EventMapping(
        visitor_id="visitor", item_id="item", time="time", event_type="kind", event_types={k: k for k in WORDS},
        only=lambda rows: rows["kind"] != "search",
    )  # fmt: skip
    prepared = stamp.data.prepare(
        table, out=tmp_path_factory.mktemp("data") / "prepared", mapping=mapping, gap=f"{GAP_S}s", min_support=1,
        min_length=1, progress=False,
    )  # fmt: skip
    assert prepared.quarantined.keys() == {"duplicate"}
    found, sessions = [], {}
    for file in prepared.manifest.below("sessions"):
        for row in pq.read_table(f"{prepared.url}/{file.path}", partitioning=None).to_pylist():
            before = sessions.setdefault(row["session_id"], [])
            found.append((row["visitor_id"], row["timestamp"] // 1000, list(before)))
            before.append(row["item_id"])
    assert len(found) > 100 and len({visitor for visitor, _, _ in found}) == 12
    return found


@pytest.mark.parametrize("store", ["memory", "embedded"])
def test_histories_are_those_that_models_learn_from(start, recommender, clicks, examples, store, tmp_path):
    """Each moment is played to a visitor of its own, so that it is now."""
    visits = {"memory": {"store": "memory"}, "embedded": {"store": "embedded", "path": str(tmp_path / "visits")}}[store]
    server = start(visits={**visits, "session_gap_s": GAP_S, "max_age_s": 366 * 86400})
    wrong = []
    for number, (visitor, moment, history) in enumerate(examples):
        name, shift = f"{visitor}-{number}", int(time.time() * 1000) - moment
        past = [click for click in clicks if click["visitor"] == visitor and click["time"] < moment]
        pause = moment - max((click["time"] for click in past if click["item"]), default=0)
        if abs(pause - GAP_S * 1000) <= 1:
            continue  # the clock goes on while it asks; pauses of just the gap lie before the moment, too
        events = [
            {
                "visitorId": name,
                "eventType": WORDS.get(click["kind"], "search"),
                "eventTime": _rfc3339(click["time"] + shift),
                **({"productDetails": [{"product": {"id": click["item"]}}]} if click["item"] else {"searchQuery": "x"}),
            }
            for click in past
        ]
        if events:
            source = {"userEventInlineSource": {"userEvents": events}}
            assert server.post("/v1/userEvents:import", {"inputConfig": source}).status == 200
        listed = ids(server.predict(userEvent={"visitorId": name}))
        known = [item for item in history if item != UNKNOWN]
        if listed != [str(id) for id in recommender.recommend(known).ids.tolist()]:
            wrong.append((name, known))
    assert not wrong


def _rfc3339(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03}Z"
