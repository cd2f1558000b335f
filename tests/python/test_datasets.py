"""The made-up shop: as likely as a real one, by naive counts beside what public logs have."""

import collections

import numpy as np
import pytest

import stamp


@pytest.fixture(scope="module")
def big():
    """As many sessions and clicks a product as the week of Yoochoose."""
    return stamp.datasets.synthetic_shop(sessions=25_000, products=10_000, seed=11)


@pytest.fixture(scope="module")
def walks(big):
    """Products by session, in order."""
    items = collections.defaultdict(list)
    for session, item in zip(big.events["session_id"].tolist(), big.events["item_id"].tolist()):
        items[session].append(item)
    return list(items.values())


def test_events_and_products(big, walks):
    assert len(walks) == len(big.sessions) == 25_000 and min(map(len, walks)) == 2
    assert sorted(walks) == sorted(big.sessions.session(s).tolist() for s in range(25_000))
    assert {name: len(column) for name, column in big.products.items()} == dict.fromkeys(
        ("id", "name", "category", "collection", "price"), 10_000
    )
    assert set(big.events["item_id"]) <= set(big.products["id"]) and len(set(big.products["name"])) == 10_000
    assert len(set(big.products["category"])) == 10 and (np.diff(big.products["collection"]) >= 0).all()


def test_a_seed_is_a_shop():
    def shop(seed):
        return stamp.datasets.synthetic_shop(sessions=300, products=70, seed=seed)

    one, same, other = shop(1), shop(1), shop(2)
    assert all(np.array_equal(one.events[name], same.events[name]) for name in one.events)
    assert all(np.array_equal(one.products[name], same.products[name]) for name in one.products)
    assert not np.array_equal(one.events["item_id"], other.events["item_id"])


def test_repeats_come_at_the_distances_of_real_ones(walks):
    """Of all events but the first, in public logs: 9 to 27 % repeat the one before, 5 to 11 % the one before that, 1 to 2 %
    the third, 2 to 4 % one further back. Of sessions of two events 14 to 41 % are of one product."""
    distances, events = collections.Counter(), 0
    for walk in walks:
        for i in range(1, len(walk)):
            events += 1
            distances[next((d for d in range(1, i + 1) if walk[i - d] == walk[i]), 0)] += 1
    assert 0.08 < distances[1] / events < 0.2
    assert 0.04 < distances[2] / events < 0.11
    assert 0.005 < distances[3] / events < 0.025
    assert 0.01 < sum(n for d, n in distances.items() if d > 3) / events < 0.05
    pairs = [walk for walk in walks if len(walk) == 2]
    assert 0.1 < np.mean([a == b for a, b in pairs]) < 0.3


def test_lengths_have_a_long_tail(walks):
    """Two events in 28 to 46 % of sessions, ten or more in 7 to 10 %, dozens in one of a thousand."""
    lengths = np.array(list(map(len, walks)))
    assert 0.28 < np.mean(lengths == 2) < 0.46 and 0.06 < np.mean(lengths >= 10) < 0.12
    assert 4 < lengths.mean() < 5.5 and 30 < np.percentile(lengths, 99.9) < 90


def test_popularity_has_a_long_tail(walks):
    """A tenth of the products have 40 to 54 % of clicks, half of them 81 to 90 %."""
    clicks = np.sort(list(collections.Counter(item for walk in walks for item in walk).values()))[::-1]
    share = np.cumsum(clicks) / clicks.sum()
    assert 0.35 < share[len(clicks) // 10] < 0.55 and 0.75 < share[len(clicks) // 2] < 0.92


def test_time_passes_as_visitors_take_it(big):
    """A minute between two events, sometimes seconds, rarely half an hour, which is where a session ends."""
    when, session = big.events["timestamp"], big.events["session_id"]
    gaps = np.diff(when)[session[1:] == session[:-1]]
    assert 40 < np.median(gaps) < 90 and np.percentile(gaps, 10) < 20 and 200 < np.percentile(gaps, 90) < 600
    assert gaps.min() > 0 and gaps.max() <= 1800.001
    opened = when[np.r_[True, session[1:] != session[:-1]]]
    assert (np.diff(opened) >= 0).all() and 27 < (opened[-1] - opened[0]) / 86_400 <= 28


def test_sessions_have_an_intent_and_visitors_a_taste(big, walks):
    category = dict(zip(big.products["id"].tolist(), big.products["category"].tolist()))
    moves = [(a, b) for walk in walks for a, b in zip(walk, walk[1:]) if a != b]
    assert 0.8 < np.mean([category[a] == category[b] for a, b in moves]) < 0.95  # 87 % in Diginetica
    adjective = {
        item: name.split()[0] for item, name in zip(big.products["id"].tolist(), big.products["name"].tolist())
    }
    first = {}
    for session, visitor in zip(big.events["session_id"].tolist(), big.events["visitor_id"].tolist()):
        first.setdefault(visitor, {}).setdefault(session, adjective[walks[session][0]])
    begun = [list(sessions.values()) for sessions in first.values() if len(sessions) > 1]
    assert 0.35 < np.mean([words[0] == words[1] for words in begun]) < 0.55  # 1/8 if visitors had none


@pytest.mark.parametrize(("products", "categories"), [(20, 10), (21, 10), (50, 35), (1000, 400)])
def test_small_shops_and_many_categories(products, categories):
    shop = stamp.datasets.synthetic_shop(sessions=400, products=products, categories=categories, weeks=1, seed=2)
    assert set(shop.events["item_id"]) <= set(shop.products["id"]) and len(shop.products["id"]) == products
    one, two = zip(*[shop.sessions.session(s)[:2].tolist() for s in range(400)])
    assert np.mean([a == b for a, b in zip(one, two)]) < 0.5


def test_a_zone_without_the_product_at_hand_has_something_to_find(big):
    """In sessions of two events too, which once were all of one product."""
    train, test = big.sessions.split_last(0.1)
    model = stamp.SessionKNNRecommender().fit(train)
    pairs = stamp.Sessions.from_frame([s for s in map(test.session, range(len(test))) if len(s) == 2])
    asked = stamp.offline.replay({"VS-kNN": model}, pairs, zones=stamp.offline.product_page(k=20))
    assert asked.values("hr", name="VS-kNN", zone="product page", k=20).mean() > 0.2


def test_a_seed_has_the_clicks_that_it_always_had():
    """Figures of the shop before there were orders and arrivals."""
    events = stamp.datasets.synthetic_shop(sessions=3000, products=200, seed=5).events
    assert list(events) == ["session_id", "visitor_id", "item_id", "timestamp"]
    assert [int(item[4:]) for item in events["item_id"][:10]] == [178, 178, 102, 160, 161, 174, 120, 120, 124, 155]
    assert len(events["item_id"]) == 14_607 and events["timestamp"].sum() == pytest.approx(
        24_849_327_927_755.66, rel=1e-12
    )


@pytest.fixture(scope="module")
def selling():
    """Many visits to few products, so that each is ordered dozens of times."""
    return stamp.datasets.synthetic_shop(sessions=60_000, products=120, orders=True, seed=4)


def test_orders_are_events_behind_the_views_of_what_they_are_of(selling):
    events, prices = selling.events, dict(zip(selling.products["id"].tolist(), selling.products["price"].tolist()))
    session, ordered = events["session_id"], events["event_type"] == "order"
    assert set(events["event_type"].tolist()) == {"view", "order"}
    assert (np.diff(session) >= 0).all() and not (ordered[:-1] & ~ordered[1:] & (session[1:] == session[:-1])).any()
    viewed = set(zip(session[~ordered].tolist(), events["item_id"][~ordered].tolist()))
    bought = list(zip(session[ordered].tolist(), events["item_id"][ordered].tolist()))
    assert viewed.issuperset(bought) and len(set(bought)) == len(bought)
    assert events["value"][ordered].tolist() == [prices[item] for _, item in bought]
    assert not events["value"][~ordered].any() and (events["weight"] == ~ordered).all()
    paid = {}
    for visit, when in zip(session[ordered].tolist(), events["timestamp"][ordered].tolist()):
        assert paid.setdefault(visit, when) == when  # at once
    last = dict(zip(session[~ordered].tolist(), events["timestamp"][~ordered].tolist()))
    waits = np.array([when - last[visit] for visit, when in paid.items()])
    assert 0 < waits.min() and waits.max() <= 1800.001
    assert 0.05 < len(paid) / 60_000 < 0.15
    assert set(selling.sessions.columns) == {"visitor_id", "event_type", "value"}
    assert len(selling.sessions) == 60_000 and selling.sessions.n_events == len(session)


def test_orders_change_no_click(selling):
    plain = stamp.datasets.synthetic_shop(sessions=60_000, products=120, seed=4)
    views = selling.events["event_type"] == "view"
    assert all(np.array_equal(selling.events[name][views], plain.events[name]) for name in plain.events)
    assert all(np.array_equal(selling.products[name], plain.products[name]) for name in plain.products)
    assert plain.order_log_odds is None
    with pytest.raises(
        ValueError, match=r"order_probability: this shop has no orders, expected synthetic_shop\(orders"
    ):
        plain.order_probability()


def counted(shop):
    """Visits that looked at each product once and more often, and those of them that ordered it: [2, V] each."""
    number = {item: row for row, item in enumerate(shop.products["id"].tolist())}
    views, orders = collections.Counter(), collections.Counter()
    for visit, item, kind in zip(*(shop.events[name].tolist() for name in ("session_id", "item_id", "event_type"))):
        (views if kind == "view" else orders)[visit, number[item]] += 1
    looked_at, bought = np.zeros((2, 2, len(number)), np.int64)
    for (visit, row), count in views.items():
        looked_at[int(count > 1), row] += 1
        bought[int(count > 1), row] += orders[visit, row]
    return looked_at, bought


def test_what_is_ordered_is_the_truth_but_for_chance(selling):
    looked_at, bought = counted(selling)
    truth = np.stack([selling.order_probability(), selling.order_probability(views=2)])
    spread = np.sqrt(looked_at * truth * (1 - truth))
    off = (bought - looked_at * truth)[spread > 0] / spread[spread > 0]
    assert abs(off.mean()) < 4 / np.sqrt(len(off)) and abs((off**2).mean() - 1) < 4 * np.sqrt(2 / len(off))
    for returned in (0, 1):  # together, where each product's chance is small beside what is sought
        assert abs((bought - looked_at * truth)[returned].sum()) < 4 * np.sqrt((spread[returned] ** 2).sum())
    assert np.array_equal(selling.order_probability(views=5), truth[1])


def test_the_truth_is_made_as_it_is_said():
    """ln(p / (1 - p)) is normal round what price makes of it, with the spreads of collections and products; coming back
    adds 1.5."""
    shop = stamp.datasets.synthetic_shop(sessions=10, products=40_000, orders=True, seed=8)
    once, again = (np.log(p / (1 - p)) for p in (shop.order_probability(), shop.order_probability(views=2)))
    np.testing.assert_allclose(again - once, 1.5, atol=1e-9)
    price = np.log(shop.products["price"] / np.median(shop.products["price"]))
    rest = once + 4.6 + 0.6 * price
    assert abs(rest.mean()) < 4 * 0.8 / np.sqrt(5000) and abs(np.corrcoef(rest, price)[0, 1]) < 4 / np.sqrt(40_000)
    within = rest.reshape(-1, 8)  # collections
    assert within.var(axis=1, ddof=1).mean() == pytest.approx(0.5**2, rel=0.05)
    assert within.mean(axis=1).var(ddof=1) == pytest.approx(0.8**2 + 0.5**2 / 8, rel=0.1)


def test_what_is_looked_at_is_not_what_is_bought():
    """Clicks alone do not tell: of the 40 products that sell best half or more are not among the 40 most clicked, and of
    the most clicked tenth some are bought ten times as often per look as others."""
    shop = stamp.datasets.synthetic_shop(sessions=20_000, products=400, orders=True, seed=5)
    looked_at, bought = (each.sum(axis=0) for each in counted(shop))
    clicked, sold = (set(np.argsort(-each, kind="stable")[:40].tolist()) for each in (looked_at, bought))
    assert len(clicked & sold) <= 20
    of_clicked = shop.order_probability()[sorted(clicked)]
    assert of_clicked.max() > 10 * of_clicked.min()
    assert abs(np.corrcoef(np.log1p(looked_at), shop.order_log_odds)[0, 1]) < 0.2


def test_new_products_are_looked_at_when_they_are_there_and_not_before():
    plain, shop = (
        stamp.datasets.synthetic_shop(sessions=20_000, products=400, weeks=8, seed=6, **asked)
        for asked in ({}, {"arrivals": 0.15})
    )
    opened, seconds = shop.arrival.min(), 8 * 7 * 86_400
    new = shop.arrival > opened
    assert opened == 1_700_000_000 and new.sum() == 60 and (plain.arrival == opened).all()
    assert (shop.arrival[new] >= opened + 0.75 * seconds).all() and (shop.arrival < opened + seconds).all()
    came = dict(zip(shop.products["id"].tolist(), shop.arrival.tolist()))
    when, session = shop.events["timestamp"], shop.events["session_id"]
    there = np.array([came[item] for item in shop.events["item_id"].tolist()])
    assert (when >= there).all()
    # Visits are those without arrivals, but for what was not there yet: of that the variant before it is looked at.
    began = when[np.searchsorted(session, session)]
    wanted = np.array([int(item[4:]) for item in plain.events["item_id"]])
    seen = np.array([int(item[4:]) for item in shop.events["item_id"]])
    waited = shop.arrival[wanted] > began
    assert 0.05 < waited.mean() < 0.3 and np.array_equal(seen[~waited], wanted[~waited])
    assert (seen[waited] < wanted[waited]).all() and not new[seen[waited]].any()
    assert np.array_equal(seen[waited] // 8, wanted[waited] // 8)
    # Once there, they are visited as they would be.
    assert np.array_equal(np.bincount(seen[began >= opened + seconds * 0.999], minlength=400)[new] > 0,
                          np.bincount(wanted[began >= opened + seconds * 0.999], minlength=400)[new] > 0)  # fmt: skip
    assert all(np.array_equal(shop.products[name], plain.products[name]) for name in plain.products)
    assert set(shop.products["collection"][new].tolist()) <= set(shop.products["collection"][~new].tolist())


def test_orders_of_new_products_come_after_them():
    shop = stamp.datasets.synthetic_shop(sessions=5000, products=100, orders=True, arrivals=0.5, seed=9)
    came = dict(zip(shop.products["id"].tolist(), shop.arrival.tolist()))
    assert (shop.events["timestamp"] >= [came[item] for item in shop.events["item_id"].tolist()]).all()
    new = {item for item, moment in came.items() if moment > shop.arrival.min()}
    ordered = shop.events["item_id"][shop.events["event_type"] == "order"]
    assert len(new) == 50 and new.intersection(ordered.tolist())
    smallest = stamp.datasets.synthetic_shop(sessions=50, products=20, arrivals=0.5)
    assert (smallest.arrival > smallest.arrival.min()).sum() == 10


def test_input_that_cannot_be():
    for name, wrong, least in (("sessions", 0, 1), ("products", 19, 20), ("categories", 9, 10), ("weeks", 0, 1)):
        message = f"synthetic_shop: {name} is {wrong}, expected a whole number of {least} or more"
        with pytest.raises(ValueError, match=message):
            stamp.datasets.synthetic_shop(**{name: wrong})
    for wrong in (1, "yes", None):
        with pytest.raises(ValueError, match=f"synthetic_shop: orders is {wrong!r}, expected True or False"):
            stamp.datasets.synthetic_shop(orders=wrong)
    for wrong in (-0.1, 0.51, float("nan"), True, "0.1"):
        with pytest.raises(ValueError, match=f"synthetic_shop: arrivals is {wrong!r}, expected a number from 0 to 0.5"):
            stamp.datasets.synthetic_shop(arrivals=wrong)
    shop = stamp.datasets.synthetic_shop(sessions=20, products=20, orders=True)
    with pytest.raises(ValueError, match="order_probability: views is 0, expected a whole number of 1 or more"):
        shop.order_probability(views=0)
