"""Train STAMP on a synthetic shop or on your own events, evaluate it beside popularity, recommend."""

import argparse

import stamp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", help="CSV, TSV or Parquet with session_id, item_id[, timestamp], or items per session")
parser.add_argument("--epochs", type=int, default=6, help="passes over the data at most (default 6)")
parser.add_argument("--out", default="build/quickstart-model", help="where to save the model")
args = parser.parse_args()

products = {}
if args.data:
    sessions = stamp.Sessions.from_frame(args.data)
else:
    shop = stamp.datasets.synthetic_shop(sessions=10_000, products=1_000)  # what trains in half a minute
    sessions = shop.sessions
    columns = (shop.products[name].tolist() for name in ("id", "name", "price"))
    products = {item: f"{name}, {price:.2f}" for item, name, price in zip(*columns)}
print(f"Read {sessions}")

train, test = sessions.split_last(0.1)
print(f"Training on the first {len(train):,} sessions, testing on the last {len(test):,}.")
print("Epochs are chosen on the last tenth of training, then the model is trained anew on all of it.\n")
# Small batches take more steps an epoch: what a small shop needs.
model = stamp.StampRecommender(epochs=args.epochs, batch_size=128, patience=2)
model.fit(train, validation=0.1, refit=True)
print(f"Trained on {model.device_}, in {model.precision_}.")
baselines = {"most popular": stamp.PopularityRecommender(), "VS-kNN": stamp.SessionKNNRecommender()}

print(f"\n{'':14}{'HR@20':>8}{'MRR@20':>8}{'NDCG@20':>9}{'coverage':>10}")
for name, recommender in {**{name: each.fit(train) for name, each in baselines.items()}, "STAMP": model}.items():
    at = stamp.evaluate(recommender, test).at[20]
    print(f"{name:14}{at['hr']:8.3f}{at['mrr']:8.3f}{at['ndcg']:9.3f}{at['coverage']:10.3f}")

known = set(model.item_ids_.tolist())
sessions = [*map(test.session, range(len(test))), *map(train.session, range(len(train)))]
clicked = next(s for s in sessions if len(s) > 1 and known.issuperset(s.tolist())).tolist()
print("\nA visitor looked at:")
for item in clicked[:-1]:
    print(f"   {item}  {products.get(item, '')}")
ids, scores = model.recommend(clicked[:-1], k=5)
print("STAMP recommends (next came the one marked >):")
for item, score in zip(ids.tolist(), scores.tolist()):
    print(f" {'>' if item == clicked[-1] else ' '} {item}  {products.get(item, '')}  {score:.3g}")

model.save(args.out)
print(f"""
Saved in {args.out}. Try next:
   examples/quickstart.sh --data your_events.csv
   .venv/bin/stamp recommend {args.out} {" ".join(map(str, clicked[:2]))} --k 10
   examples/quickstart.ipynb, the same story in a notebook""")
