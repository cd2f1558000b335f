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


def test_input_that_cannot_be():
    for name, wrong, least in (("sessions", 0, 1), ("products", 19, 20), ("categories", 9, 10), ("weeks", 0, 1)):
        message = f"synthetic_shop: {name} is {wrong}, expected a whole number of {least} or more"
        with pytest.raises(ValueError, match=message):
            stamp.datasets.synthetic_shop(**{name: wrong})
