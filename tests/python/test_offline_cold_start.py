"""The cold-start test against brute force: kinds of targets, trivial baselines, intervals, hidden products, bad input."""

import json
from collections import Counter

import numpy as np
import pytest

import stamp
from stamp import offline
from stamp.offline.cold.baselines import CategoryPopularity, RandomNew, with_mean_rows
from stamp.offline.cold.results import ALL, NEW
from stamp.offline.cold.shop import Shop

TRIVIAL = ["category popularity", "category mean row", "random new product"]


class Popular:
    """Not stamp's."""

    def __init__(self, train):
        self.order = [item for item, _ in Counter(train.item_ids[train._core.items].tolist()).most_common()]

    def recommend(self, items, *, k):
        return self.order[:k]


@pytest.fixture(scope="module")
def products(shop):
    category = shop.products["category"].astype(object)
    category[::17] = None
    return stamp.Products.from_frame(
        {"item_id": shop.products["id"], "category": category, "price": shop.products["price"]}
    )


@pytest.fixture(scope="module")
def split(shop):
    train, test = shop.sessions.split_by_time("4D")
    train, _ = offline.hide_products(train.split_last(0.97)[0], 0.2, seed=3)
    return train, test.split_last(0.3)[1]


@pytest.fixture(scope="module")
def model(split):
    """Its scores are products of vectors, so that those of a mean row are means of scores; it has no floors."""
    return stamp.StampRecommender(preset="official", device="cpu", dim=12, epochs=2).fit(split[0], progress=False)


@pytest.fixture(scope="module")
def found(split, model, products):
    recommenders = {
        "stamp": model,
        "rules": stamp.SequentialRulesRecommender().fit(split[0]),
        "theirs": Popular(split[0]),
    }
    return offline.cold_start(
        recommenders, *split, products, attribute="category", k=(5, 10), resamples=300, seed=4
    )  # fmt: skip


def clicks_of(train):
    return Counter(train.item_ids[train._core.items].tolist())


def asked(test):
    """(session, items before, target) of every question."""
    for s in range(len(test)):
        items = test.session(s).tolist()
        for i in range(1, len(items)):
            yield s, items[:i], items[i]


def kind_of(n):
    return "0" if n == 0 else "1 to 10" if n <= 10 else "more than 10"


def categories_of(products, shop_ids):
    ids = products.item_ids.tolist()
    codes, _ = products.codes("category", products._catalog)
    known = dict(zip(ids, codes.tolist()))
    return {item: known.get(item, -1) for item in shop_ids}


# Values.


@pytest.mark.parametrize(("name", "k"), [("stamp", 5), ("stamp", 10), ("rules", 10), ("theirs", 5)])
def test_values_are_those_of_asking_one_by_one(found, split, model, name, k):
    train, test = split
    clicks = clicks_of(train)
    recommender = {"stamp": model, "rules": stamp.SequentialRulesRecommender().fit(train), "theirs": Popular(train)}[
        name
    ]
    popular = Popular(train)
    hits, reciprocal = {}, {}
    for _, before, target in asked(test):
        known = [item for item in before if item in clicks]
        if known:
            listed = recommender.recommend(known, k=k)
            listed = list(listed[0] if isinstance(listed, tuple) else listed)
        else:  # a network that knows nothing of a visit shows what is popular; a baseline is asked alone
            listed = [] if name == "rules" else popular.order[:k]
        rank = listed.index(target) + 1 if target in listed else None
        kinds = [kind_of(clicks[target]), "all"]
        kinds += ["0, first in the visit"] if target not in clicks and target not in before else []
        for kind in kinds:
            hits.setdefault(kind, []).append(rank is not None)
            reciprocal.setdefault(kind, []).append(1 / rank if rank else 0)
    assert set(hits) == {"0", "1 to 10", "more than 10", "all", "0, first in the visit"}
    assert len(hits["0"]) > len(hits["0, first in the visit"])
    for kind, of in hits.items():
        row = found.row(name, f"hr@{k}", clicks=kind)
        assert row.questions == len(of)
        assert row.value == pytest.approx(np.mean(of), abs=1e-12)
        assert found.row(name, f"mrr@{k}", clicks=kind).value == pytest.approx(np.mean(reciprocal[kind]), abs=1e-7)
    assert found.row(name, f"hr@{k}", clicks="0").value == 0
    assert found.row(name, f"hr@{k}", clicks="more than 10").value > 0


def test_floors_come_along(split, products):
    """Over a catalog with further products, those that a model knows are listed as it lists them."""
    train, test = split
    model = stamp.StampRecommender(device="cpu", dim=8, epochs=1, batch_size=64).fit(train, progress=False)
    weights = model.weights_
    model._model.set_weights({**weights, "successor.floors": np.full_like(weights["successor.floors"], 4)})
    mean = with_mean_rows(model, Shop(train, products, "category"), seed=4)
    known = model.item_ids_.tolist()
    assert len(mean.item_ids_) > len(known)
    some = [before for _, before, _ in asked(test) if all(item in known for item in before)][:40]
    for before in some:
        for a, b in zip(model.recommend(before, k=9), mean.recommend(before, k=9, only=known), strict=True):
            assert np.array_equal(a, b)


def test_a_new_product_has_the_mean_of_its_category(found, split, model, products, shop):
    """Scores of the model are linear in the row of what is scored, so a mean row scores the mean of the scores."""
    train, test = split
    clicks = clicks_of(train)
    everyone = sorted({*products.item_ids.tolist(), *clicks})
    category = categories_of(products, everyone)
    new = [item for item in everyone if item not in clicks]
    mean = with_mean_rows(model, Shop(train, products, "category"), seed=4)
    some = [before for _, before, _ in asked(test) if all(item in clicks for item in before)][:40]
    assert any(category[item] < 0 for item in new) and any(category[item] >= 0 for item in new)
    for before in some:
        ids, scores = model.recommend(before, k=len(everyone))
        of_warm = dict(zip(ids.tolist(), scores.tolist()))
        expected = dict(of_warm)
        for item in new:
            of = [
                score for other, score in of_warm.items() if category[item] >= 0 and category[other] == category[item]
            ]
            expected[item] = np.mean(of or list(of_warm.values()))
        ids, scores = mean.recommend(before, k=len(everyone))
        assert sorted(ids.tolist()) == everyone
        np.testing.assert_allclose(scores, [expected[item] for item in ids.tolist()], atol=2e-5)

    hits = []
    for _, before, target in asked(test):
        if target not in clicks:
            hits.append(target in mean.recommend(before, k=10, only=new)[0].tolist())
    row = found.row("category mean row", "hr@10", clicks="0", listed=NEW)
    assert (row.questions, row.value) == (len(hits), pytest.approx(np.mean(hits), abs=1e-12))
    assert row.value > 0


@pytest.mark.parametrize("only_new", [False, True])
def test_popularity_of_the_categories_of_a_visit(split, products, only_new):
    train, test = split
    clicks = clicks_of(train)
    everyone = sorted({*products.item_ids.tolist(), *clicks})
    category = categories_of(products, everyone)
    of_category = Counter()
    for item, n in clicks.items():
        of_category[category[item]] += n
    candidates = [item for item in everyone if not only_new or item not in clicks]
    baseline = CategoryPopularity(Shop(train, products, "category"), only_new=only_new, seed=2)
    orders = set()
    for _, before, _ in list(asked(test))[:60]:
        visit = [category[item] for item in before if item in category]

        def key(item, visit=visit):
            code = category[item]
            if code < 0:
                return (2, 0, 0, 0, -clicks[item])
            if code in visit:
                latest = len(visit) - 1 - visit[::-1].index(code)
                return (0, -visit.count(code), -latest, 0, -clicks[item])
            return (1, 0, 0, -of_category[code], -clicks[item])

        listed = baseline.recommend(before, k=len(everyone))
        assert sorted(listed) == candidates
        keys = [key(item) for item in listed]
        assert [k[:4] if k[0] != 1 else (1, k[3]) for k in keys] == sorted(
            k[:4] if k[0] != 1 else (1, k[3]) for k in keys
        )
        assert keys == sorted(keys)
        assert baseline.recommend(before, k=3)[:1] and len(baseline.recommend(before, k=3)) == 3
        orders.add(tuple(listed))
    assert len(orders) > 30  # equals are drawn anew each time


def test_random_products_are_new_and_all_alike(split, products):
    train, _ = split
    shop = Shop(train, products, "category")
    new = set(shop.item_ids[shop.new].tolist())
    assert new == set(products.item_ids.tolist()) - set(clicks_of(train))
    baseline = RandomNew(shop, seed=0)
    times = Counter()
    for _ in range(2000):
        listed = baseline.recommend(["nobody"], k=4)
        assert len(set(listed)) == 4
        times.update(listed)
    assert set(times) == new
    expected = 4 * 2000 / len(new)
    assert max(abs(n - expected) for n in times.values()) < 6 * np.sqrt(expected)
    assert sorted(baseline.recommend([], k=10_000)) == sorted(new)


# Intervals.


def test_intervals_are_those_of_resampled_visitors(found, split, model):
    train, test = split
    clicks = clicks_of(train)
    chosen = [(before, target) for _, before, target in asked(test) if 0 < clicks[target] <= 10]
    values = {}
    for name in ("stamp", "theirs"):
        recommender = model if name == "stamp" else Popular(train)
        hits = []
        for before, target in chosen:
            known = [item for item in before if item in clicks]
            listed = recommender.recommend(known, k=10) if known else Popular(train).order[:10]
            hits.append(target in list(listed[0] if isinstance(listed, tuple) else listed))
        values[name] = np.array(hits, float)
    codes = offline.replay({"theirs": Popular(train)}, test, train=train).questions["product page"].visitor
    of_question = codes[[i for i, (_, _, target) in enumerate(asked(test)) if 0 < clicks[target] <= 10]]
    units = np.unique(of_question)
    of_unit = [np.flatnonzero(of_question == unit) for unit in units]
    random = np.random.default_rng(4)
    draws = [np.concatenate([of_unit[u] for u in random.integers(0, len(units), len(units))]) for _ in range(300)]
    for name, hits in values.items():
        row = found.row(name, "hr@10", clicks="1 to 10")
        low, high = np.percentile([hits[draw].mean() for draw in draws], [2.5, 97.5])
        assert (row.low, row.high, row.units) == (pytest.approx(low), pytest.approx(high), len(units))
    assert len({row.units for row in found.rows if row.clicks == "1 to 10"}) == 1


def test_the_best_trivial_baseline_is_the_reference(found):
    for row in found.rows:
        alike = [r for r in found.rows if (r.listed, r.clicks, r.metric) == (row.listed, row.clicks, row.metric)]
        trivial = {r.recommender: r.value for r in alike if r.trivial}
        assert set(trivial) == set(TRIVIAL) == set(found.trivial)
        assert trivial[row.best_trivial] == max(trivial.values())
        assert row.difference == pytest.approx(row.value - max(trivial.values()))
        assert row.low <= row.value <= row.high or row.value == row.low == row.high
        if row.recommender == row.best_trivial:
            assert (row.difference, row.difference_low, row.difference_high) == (0, 0, 0)
            assert np.isnan(row.ratio_low) or (row.ratio, row.ratio_low, row.ratio_high) == (1, 1, 1)
        elif not np.isnan(row.ratio):
            assert row.ratio == pytest.approx(row.value / max(trivial.values()))


# What is asked of whom, and the result.


def test_lists_of_new_products_are_not_asked_of_others(found):
    assert {row.recommender for row in found.rows if row.listed == NEW} == {"stamp", "rules", *TRIVIAL}
    assert {row.recommender for row in found.rows if row.listed == ALL} == {"stamp", "rules", "theirs", *TRIVIAL}
    assert found.names == ["stamp", "rules", "theirs", *TRIVIAL]
    assert "'theirs' cannot be asked for new products alone." in found.notes
    assert {row.clicks for row in found.rows if row.listed == NEW} == {"0", "0, first in the visit"}
    assert found.units == "visitors"


def test_without_a_network_there_are_no_rows(split, products, model):
    rules = stamp.SequentialRulesRecommender().fit(split[0])
    found = offline.cold_start({"rules": rules}, *split, products, attribute="category", resamples=100)
    assert found.trivial == ["category popularity", "random new product"]
    assert any("no 'category mean row'" in note for note in found.notes)
    found = offline.cold_start({"rules": rules}, *split, products, attribute="category", resamples=100, rows=model)
    assert found.trivial == TRIVIAL


def test_kinds_of_targets_are_given(split, products, model):
    found = offline.cold_start(
        model, *split, products, attribute="category", clicks=(2, 5, 9), metrics=["mrr"], resamples=100
    )
    assert list(dict.fromkeys(row.clicks for row in found.rows)) == [
        "0 to 2",
        "3 to 5",
        "6 to 9",
        "more than 9",
        "all",
        "0, first in the visit",
        "0",
    ]
    of_all = [row for row in found.rows if row.listed == ALL and row.recommender == "StampRecommender"]
    *parts, everything, first = [row.questions for row in of_all]
    assert sum(parts) == everything
    assert 0 < first < parts[0]


def test_results_are_tables_and_json(found):
    table = found.table("hr@10")
    assert table.columns[:6] == ["listed", "clicks", "targets", "metric", "recommender", "value"]
    assert len(table) == 5 * 6 + 2 * 5
    assert "have no click in training" in repr(found)
    assert found.to_markdown().startswith("**Targets")
    assert "<table>" in found._repr_html_()
    read = json.loads(found.to_json())
    assert read == found.to_dict()
    assert len(read["rows"]) == len(found.rows) == 2 * 2 * (5 * 6 + 2 * 5)
    with pytest.raises(ValueError, match="metric is 'hr@7', expected one of hr@5, hr@10, mrr@5, mrr@10"):
        found.table("hr@7")
    with pytest.raises(ValueError, match="no row of recommender 'nobody'"):
        found.row("nobody", "hr@10", clicks="0")


def test_a_seed_gives_the_same_again(split, products, model):
    once, again = (
        offline.cold_start(model, *split, products, attribute="category", resamples=100, seed=9) for _ in range(2)
    )
    assert once.to_dict() == again.to_dict()


# Hidden products.


def test_hidden_products_are_gone_from_training(shop):
    train = shop.sessions
    rest, hidden = offline.hide_products(train, 0.25, seed=5)
    assert len(hidden) == round(0.25 * train.n_items)
    gone = set(hidden.tolist())
    expected, times, visitors = [], [], []
    event_times, event_visitors = train.timestamps, np.asarray(train.columns["visitor_id"])
    event = 0
    for s in range(len(train)):
        items = train.session(s).tolist()
        kept = [i for i, item in enumerate(items) if item not in gone]
        if kept:
            expected.append([items[i] for i in kept])
            times += [event_times[event + i] for i in kept]
            visitors += [event_visitors[event + i] for i in kept]
        event += len(items)
    assert [rest.session(s).tolist() for s in range(len(rest))] == expected
    np.testing.assert_array_equal(rest.timestamps, times)
    np.testing.assert_array_equal(np.asarray(rest.columns["visitor_id"]), visitors)
    assert gone.isdisjoint(clicks_of(rest))


def test_a_seed_hides_the_same_products_in_any_order():
    items = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    frame = {"session_id": list(range(12)), "item_id": items, "weight": [0.5] * 12}
    one, hidden = offline.hide_products(stamp.Sessions.from_frame(frame), 0.3, seed=1)
    turned = {"session_id": list(range(12)), "item_id": items[::-1]}
    np.testing.assert_array_equal(offline.hide_products(stamp.Sessions.from_frame(turned), 0.3, seed=1)[1], hidden)
    assert hidden.tolist() == sorted(hidden.tolist()) and len(hidden) == 2
    assert len(one) == sum(item not in hidden for item in items)
    np.testing.assert_array_equal(one._core.weights, np.full(len(one), 0.5, np.float32))
    others = {tuple(offline.hide_products(stamp.Sessions.from_frame(frame), 0.3, seed=s)[1]) for s in range(12)}
    assert len(others) > 3


def test_hiding_leaves_and_takes_one_at_least():
    sessions = stamp.Sessions.from_frame({"session_id": [0, 0, 1], "item_id": ["a", "b", "a"]})
    assert len(offline.hide_products(sessions, 0.01)[1]) == len(offline.hide_products(sessions, 0.99)[1]) == 1


# Bad input.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attribute": "colour"}, "no attribute 'colour', expected one of category, price"),
        ({"attribute": "price"}, "attribute 'price' is a number"),
        ({"k": 0}, "cold_start: k is 0"),
        ({"k": []}, "cold_start: k is empty"),
        ({"clicks": (5, 5)}, "clicks is \\[5, 5\\], expected upper ends"),
        ({"clicks": ()}, "clicks is \\[\\], expected upper ends"),
        ({"clicks": (-1, 5)}, "cold_start: clicks is -1"),
        ({"metrics": "hr"}, "metrics is 'hr', expected a list"),
        ({"metrics": ["luck"]}, "metric is 'luck'"),
        ({"metrics": ["coverage"]}, "'coverage' is of all lists together"),
        ({"resamples": 9}, "cold_start: resamples is 9"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"seed": -1}, "cold_start: seed is -1"),
        ({"rows": "model"}, "rows is str, expected a fitted StampRecommender"),
        ({"rows": stamp.StampRecommender()}, "not fitted"),
        ({"products": None}, "products is NoneType"),
        ({"products": stamp.Products.from_frame({"item_id": [1], "category": ["a"]})}, "products"),
        ({"train": None}, "train is NoneType"),
        ({"recommenders": {}}, "no recommenders"),
        ({"recommenders": {"category mean row": 3}}, "is named 'category mean row'"),
    ],
)
def test_bad_input(split, products, model, changes, message):
    train, test = split
    given = {
        "recommenders": {"stamp": model},
        "train": train,
        "test": test,
        "products": products,
        "attribute": "category",
    }
    with pytest.raises(ValueError, match=message):
        offline.cold_start(**(given | changes))


def test_nothing_new(shop, split):
    train, test = split
    few = stamp.Products.from_frame({"item_id": ["x"], "category": ["a"]})
    old = sorted(clicks_of(train))
    known = stamp.Products.from_frame({"item_id": old, "category": ["a"] * len(old)})
    with pytest.raises(ValueError, match="training has clicked all"):
        offline.cold_start(Popular(train), train, test, known, attribute="category")
    warm = [all(item in old for item in test.session(s).tolist()) for s in range(len(test))]
    with pytest.raises(ValueError, match="targets of test is new"):
        offline.cold_start(Popular(train), train, test.select(np.array(warm)), few, attribute="category")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": 0}, "share is 0"),
        ({"share": 1.0}, "share is 1.0"),
        ({"share": True}, "share is True"),
        ({"share": "half"}, "share is 'half'"),
        ({"seed": -1}, "seed is -1"),
        ({"train": 3}, "train is int"),
        ({"train": stamp.Sessions.from_frame({"session_id": [1, 1], "item_id": [2, 2]})}, "train has 1 products"),
    ],
)
def test_bad_hiding(shop, changes, message):
    with pytest.raises(ValueError, match=message):
        offline.hide_products(**({"train": shop.sessions} | changes))
