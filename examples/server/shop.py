"""A bundle for the server to serve: a made-up shop, or your own events, as in the quickstart; three zones with rules."""

import argparse
import pathlib

import stamp

ZONES = {
    "product_page": {
        "k": 8,
        "rules": [
            {"rule": "exclude_seen"},
            {"rule": "different_value", "attribute": "collection"},
            {"rule": "price_band", "attribute": "price", "from": 0.25, "to": 4},
            {"rule": "limit", "attribute": "category", "max": 5},
        ],
    },
    "home": {"k": 12, "rules": [{"rule": "exclude_bought"}, {"rule": "limit", "attribute": "category", "max": 4}]},
    "cart": {"k": 6, "rules": [{"rule": "exclude_seen"}, {"rule": "exclude_bought"}, {"rule": "different_value", "attribute": "category"}]},
}  # fmt: skip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/server/shop"), help="where the bundle goes")
parser.add_argument("--data", help="your events instead: session_id, item_id[, timestamp]; zones have no rules then")
parser.add_argument("--products", type=int, default=1_000, help="of the made-up shop")
parser.add_argument("--sessions", type=int, default=10_000, help="of the made-up shop")
args = parser.parse_args()

if args.data:
    sessions, items, rules = stamp.Sessions.from_frame(args.data), None, {"zones": {name: {} for name in ZONES}}
else:
    shop = stamp.datasets.synthetic_shop(sessions=args.sessions, products=args.products)
    sessions, rules = shop.sessions, {"build": [{"rule": "only_available"}], "zones": ZONES}
    items = stamp.Products.from_frame(
        {("item_id" if name == "id" else name): column for name, column in shop.products.items()}
        | {"available": [1.0] * args.products}
    )
model = stamp.StampRecommender(epochs=4, batch_size=128).fit(sessions)
args.out.mkdir(parents=True, exist_ok=True)
model.save(args.out / "model")
stamp.build_bundle({0: args.out / "model"}, items, out=args.out / "bundle", rules=rules)
print(f"Saved in {args.out / 'bundle'}.")
