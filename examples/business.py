"""What a shop earns by its lists: new products, prices, and other releases, on a made-up shop whose truth is known.

    python examples/business.py                                   # a minute or two on two cores
    python examples/business.py --products 200 --sessions 4000    # a small one

Visits of a real shop say what was clicked and ordered, never what would have been. This shop was made by known
probabilities of an order, so each figure that a real shop could work out stands beside what is true:

1. New products. A model learns from three weeks; what came since is put into its bundle without training.
2. The value knob. Lists by price as well as by probability: what clicks say of them, what orders say, what is true.
3. Another release. From a log of explored lists: what lists that nobody was shown would have earned.
4. The objective. Lists for what is looked at next, for what is ordered, and between: one model, asked differently.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import textwrap
from dataclasses import dataclass

import numpy as np

import stamp
from stamp import offline
from stamp.offline import off_policy

K = 10  # products of a list that is judged
CANDIDATES = 20  # of a list that is explored
SLOTS, STRENGTH = 3, 1.0  # that exploration shows, and how strongly it mixes (docs/off_policy.md)
VALUES = (0.0, 0.25, 0.5, 1.0)
OBJECTIVES = ((0.0, 0.0), (0.25, 0.0), (0.5, 0.0), (1.0, 0.0), (0.5, 0.5))  # shares of orders, and values
CONTENT = ["category", "collection", "price"]
PER = 1000  # money is told for so many lists, or products shown


@dataclass(frozen=True, kw_only=True)
class Business:
    """The shop, what was trained, and what the last week's views were worth."""

    shop: stamp.datasets.Shop
    train: stamp.Sessions
    test: stamp.Sessions
    out: pathlib.Path
    paid: np.ndarray  # of each event of test: what its visit paid for its product, as a shop's log says
    expected: np.ndarray  # the same on average, by the truth: price times probability of an order

    @property
    def new(self) -> set[str]:
        """Products that came in the last week."""
        return set(self.shop.products["id"][self.shop.arrival > self.shop.arrival.min()].tolist())

    def bundle(self, name: str) -> pathlib.Path:
        return self.out / name


def worth_of_events(shop: stamp.datasets.Shop, sessions: stamp.Sessions) -> tuple[np.ndarray, np.ndarray]:
    """Of each event [events]: what its visit paid for its product, 0 where it did not, and what is to be expected of a
    visit that looked at it as often."""
    row = {item: row for row, item in enumerate(shop.products["id"].tolist())}
    visits = [sessions.session(i).tolist() for i in range(len(sessions))]
    product = np.array([row[item] for visit in visits for item in visit])
    visit = np.repeat(np.arange(len(sessions)), sessions.lengths)
    ordered = sessions.columns["event_type"] == "order"
    _, pair = np.unique(visit * len(row) + product, return_inverse=True)  # of a visit and a product
    views, orders = np.bincount(pair, weights=~ordered)[pair], np.bincount(pair, weights=ordered)[pair]
    once, again = shop.order_probability()[product], shop.order_probability(views=2)[product]
    price = shop.products["price"][product]
    return price * orders, price * np.where(views > 1, again, once)


def prepare(args: argparse.Namespace) -> Business:
    """Make the shop up, train on all but its last week, and build the bundles."""
    shop = stamp.datasets.synthetic_shop(
        sessions=args.sessions, products=args.products, orders=True, arrivals=0.1, seed=args.seed
    )
    train, test = shop.sessions.split_by_time("7D")
    paid, expected = worth_of_events(shop, test)
    business = Business(shop=shop, train=train, test=test, out=args.out, paid=paid, expected=expected)
    # What an order brings on average is a number that no real shop knows; here it shows how far the truth would lead.
    items = {"item_id": shop.products["id"], **{name: shop.products[name] for name in CONTENT}}
    items["expected"] = shop.products["price"] * shop.order_probability()
    there = ~np.isin(shop.products["id"], sorted(business.new))
    known = stamp.Products.from_frame({name: column[there] for name, column in items.items()})
    print(f"Training on {train}")
    model = stamp.StampRecommender(
        dim=48, epochs=args.epochs, batch_size=128, device="cpu", content=CONTENT, objectives=["order"]
    )
    model.fit(train, products=known)
    model.save(business.bundle("model"))
    for name, attribute in (("by price", "price"), ("by the truth", "expected")):
        rules = {"value": {"attribute": attribute}}
        stamp.build_bundle({0: business.bundle("model")}, known, out=business.bundle(f"before, {name}"), rules=rules)
        found = stamp.add_products(business.bundle(f"before, {name}"), items, out=business.bundle(name))
    print(f"Put {found['added']} products that came later into a bundle of {found['known']}, without training.")
    print(f"The week after: {test}")
    return business


def hits(run: offline.Replay, name: str, zone: str) -> np.ndarray:
    """Where lists [N, CANDIDATES] hold what the visit went on to."""
    rows = run.lists[name, zone].rows
    return (rows == run.questions[zone].target[:, None]) & (rows >= 0)


def interval(values: np.ndarray, unit: np.ndarray) -> float:
    """Half the width of the 95 % interval of the mean of values [N], those of a visitor taken together."""
    _, code = np.unique(unit, return_inverse=True)
    off = np.bincount(code, weights=values - values.mean())
    return float(1.96 * np.sqrt((off**2).sum()) / len(values))


def say(table: offline.Table, words: str) -> None:
    print(f"\n{table.to_text()}\n{textwrap.fill(words, 120)}", flush=True)


def new_products(business: Business) -> None:
    """The bundle before, with what came since, and with the first clicks of these."""
    earlier, later = business.test.split_last(0.5)
    stamp.refresh_products(business.bundle("by price"), earlier, out=business.bundle("refreshed"))
    releases = {
        "as it was trained": business.bundle("before, by price"),
        "with new products": business.bundle("by price"),
        "and their first clicks": business.bundle("refreshed"),
    }
    page = offline.product_page(k=K)
    run = offline.replay(releases, later, zones=page, train=business.train, latency=0)
    questions = run.questions[page.name]
    of_new = np.isin(run.item_ids[questions.target], sorted(business.new))
    expected = worth_of_events(business.shop, later)[1][questions.event]
    found = {name: hits(run, name, page.name).any(axis=1) for name in releases}
    found["a list of what comes next"] = np.ones(len(questions), bool)
    hit_rates = {name: (hit.mean(), hit[of_new].mean(), hit[~of_new].mean()) for name, hit in found.items()}
    earned = {name: PER * (hit * expected).mean() for name, hit in found.items()}
    by_new = {name: PER * (hit * expected * of_new).mean() for name, hit in found.items()}
    columns = ["lists", f"HR@{K}", "of new", "of others", "earns", "by new"]
    table = offline.Table(
        columns,
        [[name, *hit_rates[name], earned[name], by_new[name]] for name in found],
        title=f"1. New products: the last {len(later):,} visits, {of_new.mean():.1%} of whose looks are at new products",
        notes=[f"earns: money for {PER:,} lists, from what is listed and looked at next, by the truth."],
        formats={**dict.fromkeys(columns[1:4], ".3f"), **dict.fromkeys(columns[4:], ",.1f")},
    )
    before, added, clicked, all_of_it = by_new.values()
    all_added, all_clicked = (hit_rates[name][2] for name in [*releases][1:])
    say(
        table,
        f"Of what new products have to bring, the model as it was trained finds {before / all_of_it:.0%}, by their "
        f"attributes {added / all_of_it:.0%}, with half a week's clicks {clicked / all_of_it:.0%}. Lists have {K} places: "
        f"of the other products' looks, {all_added:.1%} are found before those clicks and {all_clicked:.1%} after.",
    )


def value_knob(business: Business, run: offline.Replay) -> None:
    """Lists by probability times price to a power, beside those by what an order is really expected to bring."""
    names = {"by price": "price", "by the truth": "price × chance of an order"}
    prices = dict(zip(business.shop.products["id"].tolist(), business.shop.products["price"].tolist()))
    rows, truth = [], {}
    for name, worth in names.items():
        for value in VALUES if name == "by price" else VALUES[1:]:
            zone = f"value {value:g}"
            questions = run.questions[zone]
            hit = hits(run, name, zone)[:, :K].any(axis=1)
            price = np.array([prices[item] for item in run.item_ids[questions.target].tolist()])
            earned = hit * business.expected[questions.event]
            truth[name, value] = earned
            change = earned - truth["by price", 0.0]
            rows.append([worth, value, hit.mean(), PER * (hit * price).mean(),
                         PER * (hit * business.paid[questions.event]).mean(), PER * earned.mean(), PER * change.mean(),
                         PER * interval(change, questions.unit)])  # fmt: skip
    columns = ["valued by", "value", f"HR@{K}", "clicks × price", "orders logged", "truth", "change", "±"]
    formats = {"value": "g", f"HR@{K}": ".3f", "change": "+,.1f", "±": ",.1f"}
    table = offline.Table(
        columns,
        rows,
        title=f"2. The value knob: {len(questions):,} lists of {K}",
        notes=[
            f"For {PER:,} lists, of what is listed and looked at next: its price; what its visit paid for it; what such "
            "visits pay on average.",
            "change: of the truth, against value 0; ±: its 95 % interval, by visitors.",
        ],
        formats={**formats, **dict.fromkeys(columns[3:6], ",.1f")},
    )
    by_price = rows[: len(VALUES)]
    best = {
        column: max(by_price, key=lambda row: row[at])[1] for at, column in ((3, "clicks"), (4, "log"), (5, "truth"))
    }
    most = max(rows, key=lambda row: row[5])
    say(
        table,
        f"By clicks times price value {best['clicks']:g} looks best, by the orders of one week {best['log']:g}, in truth it "
        f"is {best['truth']:g}: dear products are clicked like others and ordered more seldom, and what a look brings grows "
        f"with the price to the power of 0.4 only. The most, {most[5] / by_price[0][5] - 1:+.1%} against value 0, is had by "
        f"{most[0]} at {most[1]:g}; the best by price has {max(row[5] for row in by_price) / by_price[0][5] - 1:+.1%}.",
    )


def other_releases(business: Business, run: offline.Replay, seed: int) -> None:
    """From an explored log of today's lists: what others would have earned, beside what they would have."""
    today = "value 0"
    clicks = off_policy.explore(run, "by price", zone=today, k=SLOTS, strength=STRENGTH, seed=seed)
    events = run.questions[today].event
    # A row of the log is a product that was shown; what came of it, a look (1 or 0) or what the visit paid for it.
    money = dataclasses.replace(clicks, reward=clicks.reward * business.paid[events][clicks.request])
    worth = {"looks": (clicks, np.ones(len(events))), "money": (money, business.expected[events])}
    rows, reasons, held, widths = [], [], [], {what: [] for what in worth}
    for name, value in (("by price", 0.0), ("by price", 0.5), ("by price", 1.0), ("by the truth", 1.0)):
        zone = f"value {value:g}"
        lists, hit = off_policy.replayed(run, name, zone=zone), hits(run, name, zone)[:, :SLOTS]
        for what, (log, each) in worth.items():
            found = off_policy.estimate(log, lists)[None]
            true = PER * float((hit * each[:, None]).mean())
            figures = [float("nan")] * 5
            if found.refused:
                reasons.append(f"{name}, {zone}, {what} is refused: {found.refused}.")
            else:
                dr = found["dr"]
                figures = [PER * x for x in (found["ips"].value, found["snips"].value, dr.value, dr.low, dr.high)]
                held.append(PER * dr.low <= true <= PER * dr.high)
                widths[what].append((dr.high - dr.low) / dr.value)
            rows.append([f"{name}, {zone}", what, found.effective, found.effective_rewards, PER * found.log, *figures,
                         true])  # fmt: skip
    columns = ["lists", "of", "ESS", "with", "log", "ips", "snips", "dr", "low", "high", "truth"]
    table = offline.Table(
        columns,
        rows,
        title=f"3. Another release: from {len(clicks.requests):,} explored lists of {SLOTS}",
        notes=[
            f"For {PER:,} products shown; log: what the explored lists had; low, high: the 95 % interval of dr.",
            "ESS: effective sample size; with: of rows that brought something.",
            *reasons,
        ],
        formats={"ESS": ",.0f", "with": ",.0f", **dict.fromkeys(columns[4:], ",.1f")},
    )
    if held:
        wide = " and ".join(f"{np.mean(each):.0%} of the estimate for {what}" for what, each in widths.items() if each)
        words = (
            f"No visitor was shown these lists as they are, and {sum(held)} of {len(held)} intervals hold what they would have had. They "
            f"are {wide} wide: few looks end in an order, so what a week's log decides about looks it may leave open about "
            "money. "
        )
    else:
        words = "No visitor was shown these lists as they are, and so short a log says nothing of them. "
    say(table, words + "What the log could hardly have shown, or says by too few rows, is refused.")


def objective_zone(orders: float, value: float) -> offline.Zone:
    objective = {"click": 1 - orders, "order": orders}
    return offline.product_page(name=f"orders {orders:g}, value {value:g}", k=K, objective=objective, value=value)


def objectives(business: Business) -> None:
    """What lists for clicks, for orders and between find and earn, and with prices besides."""
    zones = {(orders, value): objective_zone(orders, value) for orders, value in OBJECTIVES}
    run = offline.replay(
        {"by price": business.bundle("by price")},
        business.test,
        zones=[*zones.values()],
        train=business.train,
        latency=0,
    )
    prices = dict(zip(business.shop.products["id"].tolist(), business.shop.products["price"].tolist()))
    rows, truth = [], {}
    for (orders, value), zone in zones.items():
        questions = run.questions[zone.name]
        hit = hits(run, "by price", zone.name).any(axis=1)
        bought = business.paid[questions.event] > 0
        earned = hit * business.expected[questions.event]
        price = np.array([prices[item] for item in run.item_ids[questions.target].tolist()])
        truth[orders, value] = earned
        change = earned - truth[OBJECTIVES[0]]
        rows.append([orders, value, hit.mean(), hit[bought].mean(), PER * (earned / price).mean(), PER * earned.mean(),
                     PER * change.mean(), PER * interval(change, questions.unit)])  # fmt: skip
    columns = ["orders", "value", f"HR@{K}", "of ordered", "orders brought", "truth", "change", "±"]
    table = offline.Table(
        columns,
        rows,
        title=f"4. The objective: {len(questions):,} lists of {K}, {bought.sum():,} of looks that end in an order",
        notes=[
            "orders: their share of the objective, the rest is clicks'; of ordered: HR of what the visit orders later.",
            f"For {PER:,} lists, of what is listed and looked at next, by the truth: orders that it brings, and money; "
            "change: of the money, against clicks alone; ±: its 95 % interval, by visitors.",
        ],
        formats={"orders": "g", "value": "g", f"HR@{K}": ".3f", "of ordered": ".3f", "orders brought": ",.1f",
                 "truth": ",.1f", "change": "+,.1f", "±": ",.1f"},
    )  # fmt: skip
    most = max(rows, key=lambda row: row[5])
    say(
        table,
        f"Asked for orders alone, the model finds {rows[3][3]:.1%} of what is ordered ({rows[0][3]:.1%} when asked for "
        f"clicks) and {rows[3][2]:.1%} of all looks ({rows[0][2]:.1%}). The most money, {most[5] / rows[0][5] - 1:+.1%}, is "
        f"had at orders {most[0]:g}, value {most[1]:g}.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=24_000)
    parser.add_argument("--products", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=7, help="of the shop, and of what the log explored")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/business"))
    args = parser.parse_args()
    business = prepare(args)
    new_products(business)
    run = offline.replay(
        {name: business.bundle(name) for name in ("by price", "by the truth")},
        business.test,
        zones=[offline.product_page(name=f"value {value:g}", k=CANDIDATES, value=value) for value in VALUES],
        train=business.train,
        latency=0,
    )
    value_knob(business, run)
    other_releases(business, run, args.seed)
    objectives(business)


if __name__ == "__main__":
    main()
