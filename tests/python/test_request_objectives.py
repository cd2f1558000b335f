"""Lists for clicks, for orders and for mixtures of them, against the network in NumPy."""

import jsonschema
import numpy as np
import pandas as pd
import pytest

import stamp
from stamp import offline

ZONES = {
    "plain": {},
    "orders": {"k": 9, "objective": {"order": 1}},
    "mixed": {"objective": {"click": 1, "order": 3}, "rules": [{"rule": "limit", "attribute": "kind", "max": 4}]},
}


@pytest.fixture(scope="module")
def sessions():
    """Visitors go on to one of the next products; what they order is seven further."""
    random = np.random.default_rng(5)
    rows = []
    for session in range(600):
        product = random.integers(60)
        for _ in range(random.integers(2, 6)):
            orders = random.random() < 0.3
            rows.append((session, f"sku-{product:02}", len(rows), "order" if orders else "view"))
            product = (product + (7 if orders else random.integers(1, 4))) % 60
    return stamp.Sessions.from_frame(pd.DataFrame(rows, columns=["session_id", "item_id", "timestamp", "event_type"]))


@pytest.fixture(scope="module")
def model(sessions):
    model = stamp.StampRecommender(preset="paper", device="cpu", dim=8, epochs=6, objectives=["order"], seed=2)
    return model.fit(sessions, progress=False)


@pytest.fixture(scope="module")
def items(model):
    return {"item_id": model.item_ids_, "kind": [f"k{i % 3}" for i in range(len(model.item_ids_))]}


@pytest.fixture(scope="module")
def bundle(model, items, tmp_path_factory):
    folder = tmp_path_factory.mktemp("objectives")
    model.save(folder / "model")
    rules = {"zones": ZONES}
    jsonschema.validate(rules, stamp.rules_schema())
    stamp.build_bundle({0: folder / "model"}, items, out=folder / "bundle", rules=rules)
    return folder / "bundle"


@pytest.fixture(scope="module")
def recommender(bundle):
    return stamp.Recommender(bundle, device="cpu")


def scores_of(model, events, orders):
    """By product, for a share of orders, as docs/model.md says."""
    weights = {name: np.asarray(values, np.float64) for name, values in model.weights_.items()}
    bias = {
        part: weights[f"{part}.bias"] + orders * weights[f"{part}.objectives"][0]
        for part in ("attention", "mlp_session", "mlp_anchor")
    }
    rows = {product: row for row, product in enumerate(model.item_ids_)}
    x = weights["items"][[rows[event] for event in events]]
    inside = (
        x @ weights["attention.w1"].T
        + weights["attention.w2"] @ x[-1]
        + weights["attention.w3"] @ x.mean(axis=0)
        + bias["attention"]
    )
    memory = (1 / (1 + np.exp(-inside)) @ weights["attention.w0"]) @ x
    h_s = np.tanh(weights["mlp_session.weight"] @ memory + bias["mlp_session"])
    h_t = np.tanh(weights["mlp_anchor.weight"] @ x[-1] + bias["mlp_anchor"])
    return dict(zip(model.item_ids_, weights["items"] @ (h_s * h_t)))


def check(ids, scores, expected):
    """A list of all products."""
    assert sorted(ids) == sorted(expected)
    np.testing.assert_allclose(scores, [expected[product] for product in ids], rtol=1e-4, atol=1e-5)
    assert np.all(np.diff(scores) <= 0)


@pytest.mark.parametrize(
    ("zone", "asked", "orders"),
    [
        (None, {}, 0),
        (None, {"objective": {"order": 2}}, 1),
        (None, {"objective": {"click": np.float32(7), "order": 3}}, 0.3),
        ("plain", {}, 0),
        ("plain", {"objective": {"click": 1, "order": 1}}, 0.5),
        ("orders", {}, 1),
        ("orders", {"objective": {"click": 5, "order": 0}}, 0),
    ],
)
def test_lists_are_those_of_the_network(recommender, model, zone, asked, orders):
    V = len(model.item_ids_)
    for events in (["sku-03"], ["sku-10", "sku-41", "sku-10"]):
        expected = scores_of(model, events, orders)
        answer = recommender.recommend(events, k=V, zone=zone, **asked)
        check(answer.ids, answer.scores, expected)
        [again] = recommender.recommend_batch([events], k=V, zone=zone, **asked)
        assert again == answer
        if zone is None:
            ids, scores = model.recommend(events, k=V, **asked)
            assert ids.tolist() == answer.ids.tolist()
            np.testing.assert_array_equal(scores, answer.scores)
            [(ids, scores)] = model.recommend_batch([events], k=V, **asked)
            np.testing.assert_array_equal(scores, answer.scores)


def test_another_objective_is_another_list(recommender, model):
    assert recommender.objectives == ["order"]
    clicks = recommender.recommend(["sku-03"], k=9)
    orders = recommender.recommend(["sku-03"], zone="orders", explain=True)
    assert len(orders) == 9 and orders.ids.tolist() != clicks.ids.tolist()
    assert orders.explanation["objective"] == {"weights": {"order": 1}}
    mixed = recommender.recommend(["sku-03"], zone="mixed", k=6)
    expected = scores_of(model, ["sku-03"], 0.75)
    np.testing.assert_allclose(mixed.scores, [expected[product] for product in mixed.ids], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"order": -0.1}, "objective has -0.1 for 'order', expected a number of 0 or more"),
        ({"order": float("nan")}, "objective has nan for 'order'"),
        ({"order": True}, "objective has True for 'order'"),
        ({"order": "much"}, "objective has 'much' for 'order'"),
        ({3: 1}, "objective names 3, expected a text"),
        ({"order": 0, "click": 0}, "expected a weight above 0"),
        ({}, r"objective is \{\}, expected weights by name"),
        (["order"], "objective is \\['order'\\], expected weights by name"),
        (0.5, "objective is 0.5, expected weights by name"),
    ],
)
def test_objectives_that_cannot_be_are_refused(recommender, model, wrong, message):
    for asked in (recommender, model):
        with pytest.raises(ValueError, match=f"^recommend: {message}|^recommend: objective is .*{message}"):
            asked.recommend(["sku-03"], objective=wrong)
        with pytest.raises(ValueError, match=f"^recommend_batch: .*{message}"):
            asked.recommend_batch([["sku-03"]], objective=wrong)
    with pytest.raises(ValueError, match=f"Zone 'product page': .*{message}"):
        offline.product_page(objective=wrong)


def test_what_nobody_learnt_is_refused(recommender, model, sessions, items, tmp_path):
    for asked in (recommender, model):
        with pytest.raises(ValueError, match="objective names 'cart', expected some of 'click', 'order'"):
            asked.recommend(["sku-03"], objective={"cart": 1})
    plain = stamp.StampRecommender(device="cpu", dim=4, epochs=1).fit(sessions, progress=False)
    with pytest.raises(ValueError, match="objective names 'order', expected none but 'click'"):
        plain.recommend(["sku-03"], objective={"order": 1})
    plain.save(tmp_path / "model")
    build = lambda zone: stamp.build_bundle(  # noqa: E731
        {0: tmp_path / "model"}, items, out=tmp_path / "bundle", rules={"zones": {"a": {"objective": zone}}}
    )
    with pytest.raises(ValueError, match="zones.a: objective names 'order', expected none but 'click'"):
        build({"order": 1})
    with pytest.raises(ValueError, match=r"zones.a: objective is \{\}, expected weights by name"):
        build({})
    with pytest.raises(TypeError):
        stamp.PopularityRecommender().fit(sessions).recommend(objective={"click": 1})
    for wrong in ({}, {"order": -1}, {"order": "much"}, 1):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"zones": {"a": {"objective": wrong}}}, stamp.rules_schema())


def test_a_replay_asks_for_the_objective_of_its_zone(bundle, model, sessions):
    zones = [
        offline.Zone(name=name, k=10, **options)
        for name, options in (
            ("plain", {}),
            ("orders", {"objective": {"order": 1}}),
            ("zone's", {"bundle_zone": "orders"}),
            ("not the zone's", {"bundle_zone": "orders", "objective": {"click": 1, "order": 1}}),
        )
    ]
    asked = offline.replay({"stamp": bundle, "model": model}, sessions, zones=[*zones[:2]], latency=3)
    served = offline.replay({"stamp": bundle}, sessions, zones=zones, latency=3)
    recommender = stamp.Recommender(bundle, device="cpu")
    for zone in zones:
        questions, lists = served.questions[zone.name], served.lists["stamp", zone.name]
        for i in range(0, len(questions), 211):
            first = sessions._core.offsets[questions.session[i]]
            events = sessions.item_ids[sessions._core.items[first : questions.event[i]]]
            answer = recommender.recommend(events.tolist(), k=10, zone=zone.bundle_zone, objective=zone.objective)
            assert served.item_ids[lists.rows[i]].tolist() == answer.ids.tolist()
    for zone in zones[:2]:
        np.testing.assert_array_equal(asked.lists["model", zone.name].rows, asked.lists["stamp", zone.name].rows)

    class Foreign:
        def recommend(self, items, k):
            return []

    with pytest.raises(ValueError, match="zone 'orders' has a value, a tail or an objective"):
        offline.replay({"other": Foreign()}, sessions, zones=zones[1])
    with pytest.raises(ValueError, match="objective names 'cart', expected some of 'click', 'order'"):
        offline.replay({"stamp": bundle}, sessions, zones=offline.product_page(objective={"cart": 1}))
