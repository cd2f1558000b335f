"""Raw clicks of a made-up shop as it might export them, a CSV file a day, and its catalog."""

import argparse
import csv
import datetime
import pathlib

import numpy as np

import stamp

DAY = 86_400
COLUMNS = ("event_time", "event_type", "product_id", "price", "user_id")

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for clicks/<day>.csv and products.csv")
parser.add_argument("--first", type=datetime.date.fromisoformat, required=True, help="the first day")
parser.add_argument("--days", type=int, default=14, help="to make up")
parser.add_argument("--write", type=int, action="append", help="only this day, counted from 1 (several times)")
parser.add_argument("--broken", type=int, help="a day whose export lost the products of every third row")
parser.add_argument("--products", type=int, default=600)
parser.add_argument("--sessions", type=int, default=14_000)
args = parser.parse_args()

shop = stamp.datasets.synthetic_shop(sessions=args.sessions, products=args.products, weeks=-(-args.days // 7), seed=7)
events, random = shop.events, np.random.default_rng(3)
order = np.argsort(events["timestamp"], kind="stable")
moment = events["timestamp"][order] - events["timestamp"].min()
midnight = datetime.datetime.combine(args.first, datetime.time(), datetime.timezone.utc)
price = dict(zip(shop.products["id"], shop.products["price"]))
(args.out / "clicks").mkdir(parents=True, exist_ok=True)

with open(args.out / "products.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(("item_id", "category", "collection", "price", "available"))
    names = ("id", "category", "collection", "price")
    writer.writerows((*row, int(random.random() < 0.97)) for row in zip(*(shop.products[name] for name in names)))

for number in args.write or range(1, args.days + 1):
    day = args.first + datetime.timedelta(number - 1)
    of_day = order[(moment >= (number - 1) * DAY) & (moment < number * DAY)]
    start, chance = moment[0], np.random.default_rng(number)
    rows = []
    for at in of_day:
        time = midnight + datetime.timedelta(seconds=float(events["timestamp"][at] - events["timestamp"].min()))
        item, visitor = events["item_id"][at], events["visitor_id"][at]
        lost = number == args.broken and chance.random() < 1 / 3
        bought = chance.random()
        kinds = ["view", *(["cart"] if bought < 0.08 else []), *(["purchase"] if bought < 0.03 else [])]
        for seconds, kind in enumerate(kinds):
            when = f"{time + datetime.timedelta(seconds=20 * seconds):%Y-%m-%d %H:%M:%S} UTC"
            rows.append((when, kind, "" if lost else item, price[item], visitor))
    with open(args.out / "clicks" / f"{day}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    print(f"{args.out / 'clicks' / f'{day}.csv'}: {len(rows):,} events")
