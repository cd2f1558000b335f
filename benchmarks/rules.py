"""What business rules, value and tail cost a request, beside none, on one core; and what encoding its session costs.

    python benchmarks/rules.py [--products 50000 1000000] [--dim 100] [--rounds 15]

Rules about values touch the places that they forbid, one about prices reads its column, 4V bytes, and a boost is read
with the scores; a limit makes lists a little longer. "zone" has its fixed rules worked out when the bundle is loaded,
"request" gets the same list with every request, as text that was parsed before. Value and tail add a number to every
score: a zone's are a row that was worked out before, 4V bytes read; a request's are worked out with it, 8V bytes.
Encoding is what a request over 64 products takes at D beyond what it takes at D = 1. Times are the thread's own, as
others may want the core.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from common import NO_FILTERS, random_model, record, release_of

import stamp

SIX = [
    {"rule": "exclude_values", "attribute": "brand", "values": [f"brand {i}" for i in range(0, 500, 10)]},
    {"rule": "different_value", "attribute": "collection"},
    {"rule": "price_band", "attribute": "price", "from": 0.25, "to": 4},
    {"rule": "exclude_seen"},
    {"rule": "limit", "attribute": "category", "max": 3},
    {"rule": "boost", "attribute": "brand", "values": ["brand 1", "brand 2"], "by": 0.01},
]
TURNED = {"value": 0.5, "tail": 0.25}
DIVERSIFY = [{"rule": "diversify", "by": "embedding", "strength": 0.3, "pool": 100}]


def attributes(products: int, random: np.random.Generator) -> list[tuple]:
    def text(name: str, values: int) -> tuple:
        return (name, random.integers(0, values, products, np.int32), [f"{name} {i}" for i in range(values)])

    price = np.exp(random.normal(3, 0.7, products)).astype(np.float32)
    return [text("brand", 500), text("category", 50), text("collection", products // 8), ("price", price)]


def measure(products: int, dim: int, rounds: int) -> dict:
    random = np.random.default_rng(1)
    zones = {"six": {"rules": SIX}, "diverse": {"rules": DIVERSIFY}, "turned": TURNED}
    rules = {"zones": zones, "value": {"attribute": "price"}}
    release = release_of(random_model(products, dim), attributes(products, random), rules)
    visits = [events.astype(np.int32) for events in random.integers(0, products, (50, 3))]
    ways = {
        "none": {},
        "zone": {"zone": "six"},
        "request": {"rules": json.dumps(SIX)},
        "diversify": {"zone": "diverse"},
        "turned_zone": {"zone": "turned"},
        "turned_request": TURNED,
    }

    def milliseconds(options: dict) -> float:
        query = {**NO_FILTERS, "k": 20, "bought": [], **options}
        start = time.thread_time()
        for events in visits:
            assert len(release.list(events, **query)[0]) == 20
        return 1e3 * (time.thread_time() - start) / len(visits)

    for options in ways.values():
        milliseconds(options)
    times = [{way: milliseconds(options) for way, options in ways.items()} for _ in range(rounds)]
    result = {f"{way}_ms": float(np.median([t[way] for t in times])) for way in ways}
    added = {f"{way}_added_ms": float(np.median([t[way] - t["none"] for t in times])) for way in ways if way != "none"}
    return {"products": products, "dim": dim, **result, **added}


def encode_us(dim: int, rounds: int) -> float:
    """Microseconds of a session of five."""
    products, requests = 64, 2000
    events = np.arange(5, dtype=np.int32)
    query = {**NO_FILTERS, "k": 20, "bought": []}
    releases = [release_of(random_model(products, width)) for width in (1, dim)]

    def microseconds(release) -> float:
        start = time.thread_time()
        for _ in range(requests):
            release.list(events, **query)
        return 1e6 * (time.thread_time() - start) / requests

    return float(np.median([microseconds(releases[1]) - microseconds(releases[0]) for _ in range(rounds)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    stamp.set_num_threads(1)
    encode = {"encode_us": encode_us(args.dim, args.rounds)}
    for products in args.products:
        record("rules", {**measure(products, args.dim, args.rounds), **encode}, threads=1)


if __name__ == "__main__":
    main()
