"""From events to a bundle of many clusters, and recommendations under business rules: the whole path in one script.

    python examples/catalog.py                                    # a made-up shop of 200,000 products
    python examples/catalog.py --products 2000 --sessions 20000   # a small one
    python examples/catalog.py --sessions-file train.tsv.gz --items-file items.tsv.gz --attribute category_id

1. A quick model of the whole catalog. 2. Clusters of the catalog, from what that model recommends across categories.
3. A model for each cluster, trained side by side; a second run trains nothing anew. 4. One bundle of them, with the
products' attributes and rules. 5. Recommendations from it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time

import numpy as np

import stamp


def made_up_shop(products: int, sessions: int) -> tuple[stamp.Sessions, stamp.Products]:
    shop = stamp.datasets.synthetic_shop(sessions=sessions, products=products, categories=max(10, products // 400 * 10))
    table = {name: column for name, column in shop.products.items() if name not in ("id", "name", "collection")}
    random = np.random.default_rng(1)
    return shop.sessions, stamp.Products.from_frame({
        "item_id": shop.products["id"],
        **table,
        "collection": shop.products["collection"],
        "available": random.random(products) < 0.95,
    })  # fmt: skip


def rules_for(items: stamp.Products, attribute: str) -> dict:
    """What a shop would ask for, as far as the products have the attributes."""
    kinds = items.attributes
    zone = [{"rule": "exclude_seen"}]
    if kinds.get("collection") == "text":
        zone.append({"rule": "limit", "attribute": "collection", "max": 1})
    for price in (name for name, kind in kinds.items() if name.startswith("price") and kind == "number"):
        zone.append({"rule": "price_band", "attribute": price, "from": 0.5, "to": 2})
    build = [{"rule": "only_available"}] if kinds.get("available") == "number" else []
    return {
        "build": build,
        "zones": {
            "product_page": {"k": 10, "rules": zone},
            "more_of_this": {"k": 10, "rules": [*zone, {"rule": "same_value", "attribute": attribute}]},
            "inspiration": {
                "k": 10,
                "rules": [*zone, {"rule": "diversify", "by": "embedding", "strength": 0.3}],
            },
        },
    }


class Steps:
    """Says what is done, and how long it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, work):
        print(f"\n== {name}", flush=True)
        start = time.perf_counter()
        result = work()
        self.seconds[name] = time.perf_counter() - start
        print(f"{result!r}\n{self.seconds[name]:.1f} s", flush=True)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=200_000, help="of the made-up shop")
    parser.add_argument("--sessions", type=int, default=200_000, help="of the made-up shop")
    parser.add_argument("--sessions-file", help="events of yours: session_id, item_id[, timestamp]")
    parser.add_argument("--items-file", help="products of yours: item_id and attributes")
    parser.add_argument("--numbers", nargs="*", default=[], help="columns of integers in it that are no categories")
    parser.add_argument("--attribute", default="category", help="what groups the products")
    parser.add_argument("--clusters", type=int, default=8)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/catalog"))
    args = parser.parse_args()
    step = Steps()

    if args.sessions_file:
        items = stamp.Products.from_frame(args.items_file, numbers=args.numbers)
        sessions = step("Reading the events", lambda: stamp.Sessions.from_frame(args.sessions_file))
    else:
        sessions, items = step("Making up a shop", lambda: made_up_shop(args.products, args.sessions))
    train, test = sessions.split_last(0.1)

    options = {"dim": args.dim, "epochs": args.epochs}
    full = step("A model of the whole catalog", lambda: stamp.StampRecommender(**options).fit(train))
    clusters = step(
        "Clusters of the catalog",
        lambda: stamp.cluster_catalog(
            full, items, train, attribute=args.attribute, clusters=args.clusters, examples=100_000,
            max_examples=max(2, int(2 * train.n_events / args.clusters)),
        ),
    )  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    clusters.save(args.out / "clusters.safetensors")
    config = {**options, "validation": 0}
    step(
        "A model for each cluster",
        lambda: stamp.train_clusters(train, clusters, out=args.out / "models", config=config),
    )
    bundle = args.out / "bundle"
    step(
        "One bundle",
        lambda: stamp.build_bundle(
            args.out / "models", items, out=bundle, rules=rules_for(items, args.attribute), route_by=args.attribute
        )["zones"],
    )

    recommender = step("Opening it", lambda: stamp.Recommender(bundle))
    events = test.session(-1)[:-1].tolist()
    print(f"\na visitor saw {events}")
    for zone in recommender.zones:
        answer = recommender.recommend(events, zone=zone)
        print(f"{zone:13} ({answer.path}, cluster {answer.cluster}): {answer.ids.tolist()} {answer.reason}")
    visitors = [test.session(i)[:-1].tolist() for i in range(max(0, len(test) - 2000), len(test))]
    start = time.perf_counter()
    answers = recommender.recommend_batch(visitors, zone="product_page")
    seconds = time.perf_counter() - start
    paths = {path: sum(answer.path == path for answer in answers) for path in sorted({a.path for a in answers})}
    print(
        f"{len(visitors)} visitors in {seconds:.2f} s, {len(visitors) / seconds:,.0f} requests/s: {json.dumps(paths)}"
    )

    single = stamp.evaluate(full, test, k=20)
    several = stamp.evaluate(stamp.load_clusters(args.out / "models"), test, k=20)
    print(f"\nHR@20 of the single model {single.at[20]['hr']:.4f}, of the clusters {several.at[20]['hr']:.4f} "
          f"(at most {several.ceiling:.4f})")  # fmt: skip
    print("seconds:", json.dumps({name: round(seconds, 1) for name, seconds in step.seconds.items()}))


if __name__ == "__main__":  # train_clusters starts processes, which import this file
    main()
