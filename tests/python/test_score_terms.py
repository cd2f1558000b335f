"""Lists by value and against popularity, against brute force in NumPy."""

import json

import jsonschema
import numpy as np
import pytest

import stamp
from command_line import call
from stamp import offline

PRICES = np.array([None, 0.0, -2.0, *range(3, 60)], object)


@pytest.fixture(scope="module")
def shop():
    return stamp.datasets.synthetic_shop(sessions=1500, products=60, seed=3)


@pytest.fixture(scope="module")
def model(shop):
    train, _ = shop.sessions.split_by_time("7D")
    return stamp.StampRecommender(device="cpu", dim=8, epochs=2, calibration=500, seed=2).fit(train, progress=False)


@pytest.fixture(scope="module")
def items(model):
    prices = np.resize(PRICES, len(model.item_ids_))
    return {
        "item_id": model.item_ids_,
        "price": prices,
        "kind": ["a", "b", "c"] * (len(prices) // 3) + ["a"] * (len(prices) % 3),
    }


ZONES = {"dear": {"value": 0.75}, "both": {"k": 9, "value": 0.5, "tail": 0.25}, "plain": {}}


@pytest.fixture(scope="module")
def bundle(model, items, tmp_path_factory):
    folder = tmp_path_factory.mktemp("terms")
    model.save(folder / "model")
    rules = {"value": {"attribute": "price"}, "zones": ZONES}
    jsonschema.validate(rules, stamp.rules_schema())
    described = stamp.build_bundle({0: folder / "model"}, items, out=folder / "bundle", rules=rules)
    assert described["value"] == "price"
    return folder / "bundle"


@pytest.fixture(scope="module")
def recommender(bundle):
    return stamp.Recommender(bundle, device="cpu")


def expected(model, items, plain, *, value=0.0, tail=0.0):
    """Ids and scores of all products, best first; `plain` has the scores without terms."""
    temperature, power = (model.report_[name] for name in ("temperature", "tail_power"))
    numbers = dict(zip(items["item_id"], (np.nan if p is None else float(p) for p in items["price"])))
    clicks = dict(zip(model.item_ids_, model._counts))
    least = min(p for p in numbers.values() if p > 0)
    ids = plain.ids.tolist()
    worth = np.array([numbers[i] if numbers[i] > 0 else least for i in ids])
    popular = np.log1p([clicks[i] for i in ids])
    scores = plain.scores + temperature * (value * np.log(worth) - tail * power * popular)
    order = np.argsort(-scores, kind="stable")
    return np.array(ids)[order], scores[order]


@pytest.mark.parametrize(
    ("zone", "asked", "value", "tail"),
    [
        (None, {}, 0, 0),
        (None, {"value": 1}, 1, 0),
        (None, {"value": np.float32(0.5), "tail": 1}, 0.5, 1),
        ("dear", {}, 0.75, 0),
        ("dear", {"value": 0.0}, 0, 0),
        ("both", {}, 0.5, 0.25),
        ("both", {"tail": 1.0}, 0.5, 1),
        ("plain", {"tail": 0.5}, 0, 0.5),
    ],
)
def test_lists_are_those_of_brute_force(recommender, model, items, zone, asked, value, tail):
    assert model.report_["temperature"] != 1 and model.report_["tail_power"] != 1
    V = len(model.item_ids_)
    for events in ([model.item_ids_[3]], list(model.item_ids_[[7, 20, 7]])):
        plain = recommender.recommend(events, k=V)
        ids, scores = expected(model, items, plain, value=value, tail=tail)
        answer = recommender.recommend(events, k=V, zone=zone, **asked)
        np.testing.assert_allclose(answer.scores, scores, rtol=1e-5, atol=1e-5)
        assert np.mean(answer.ids == ids) > 0.9  # but for ties
        [again] = recommender.recommend_batch([events], k=V, zone=zone, **asked)
        assert again == answer


def test_the_command_line_asks_likewise(recommender, bundle, model):
    events = model.item_ids_[[7, 20, 7]].tolist()
    ask = ["recommend", bundle, *events, "--device", "cpu", "--json"]
    for words, asked in (
        ([], {}), (["--value", 0.5, "--tail", 1], {"value": 0.5, "tail": 1}),
        (["--zone", "both", "--value", 0], {"zone": "both", "value": 0}),
    ):  # fmt: skip
        answer = recommender.recommend(events, **asked)
        said = json.loads(call(*ask, *words).stdout)
        assert said["ids"] == answer.ids.tolist() and said["scores"] == answer.scores.tolist()
    assert "value is 2.0, expected a number from 0 to 1" in call(*ask, "--value", 2, status=2).stderr


def test_prices_that_change_count_at_once(bundle, model, items):
    recommender = stamp.Recommender(bundle, device="cpu")
    changed = {**items, "price": items["price"].copy()}
    changed["price"][[1, 5, 9]] = [80.0, None, 0.5]  # 0.5 is the least now
    recommender.set_numbers("price", dict(zip(items["item_id"][[1, 5, 9]], [80.0, None, 0.5])))
    V = len(model.item_ids_)
    plain = recommender.recommend([model.item_ids_[3]], k=V, zone="plain")
    for zone, value, tail in (("dear", 0.75, 0), ("both", 0.5, 0.25)):
        answer = recommender.recommend([model.item_ids_[3]], k=V, zone=zone)
        np.testing.assert_allclose(
            answer.scores, expected(model, changed, plain, value=value, tail=tail)[1], rtol=1e-5, atol=1e-5
        )


def test_rules_work_together_with_terms(recommender, model, items):
    events = [model.item_ids_[3]]
    rules = [
        {"rule": "limit", "attribute": "kind", "max": 3},
        {"rule": "boost", "attribute": "kind", "values": ["b"], "by": 1},
    ]
    answer = recommender.recommend(events, zone="both", rules=rules, exclude=[items["item_id"][4]], explain=True)
    kinds = dict(zip(items["item_id"], items["kind"]))
    assert len(answer) == 9 and items["item_id"][4] not in answer.ids
    assert max(np.unique([kinds[i] for i in answer.ids.tolist()], return_counts=True)[1]) == 3
    assert answer.explanation["terms"] == {"value": 0.5, "tail": 0.25}
    plain = recommender.recommend(events, k=len(model.item_ids_))
    scores = dict(zip(plain.ids.tolist(), plain.scores))
    for listed, score in zip(answer.explanation["listed"], answer.scores):
        assert listed.get("boost", 0) == (kinds[listed["id"]] == "b")
        assert score == pytest.approx(
            scores[listed["id"]] + listed.get("boost", 0) + listed["value"] + listed["tail"], abs=1e-4
        )


@pytest.mark.parametrize("option", ["value", "tail"])
@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan"), "0.5", True, 2])
def test_powers_that_cannot_be_are_refused(recommender, model, option, wrong):
    for ask in (recommender.recommend, lambda events, **asked: recommender.recommend_batch([events], **asked)):
        with pytest.raises(ValueError, match=rf"{option} is .*, expected a number from 0 to 1"):
            ask([model.item_ids_[0]], **{option: wrong})
    with pytest.raises(ValueError, match=rf"Zone 'product page': {option} is .*, expected a number from 0 to 1"):
        offline.product_page(**{option: wrong})


def test_value_needs_an_attribute_that_says_it(model, items, tmp_path):
    model.save(tmp_path / "model")
    build = lambda rules: stamp.build_bundle({0: tmp_path / "model"}, items, out=tmp_path / "bundle", rules=rules)  # noqa: E731
    build({})
    plain = stamp.Recommender(tmp_path / "bundle", device="cpu")
    with pytest.raises(ValueError, match=r"value is 0.5, but the bundle's rules name no number for it.*have price"):
        plain.recommend([model.item_ids_[0]], value=0.5)
    assert len(plain.recommend([model.item_ids_[0]], value=0, tail=1)) == 20
    for rules, message in (
        (
            {"value": {"attribute": "margin"}},
            'value.attribute is "margin", expected a number of the products, which have price',
        ),
        ({"zones": {"a": {"value": 0.5}}}, "zones.a.value is 0.5, but the bundle's rules name no number for it"),
        ({"zones": {"a": {"tail": 1.5}}}, "zones.a.tail is 1.5, expected a number from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            build(rules)


def test_a_replay_asks_by_value_and_tail(bundle, model, shop):
    _, test = shop.sessions.split_by_time("7D")
    zones = [
        offline.Zone(name=name, k=10, **options)
        for name, options in (
            ("plain", {}),
            ("dear", {"value": 1.0}),
            ("rare", {"tail": 1.0}),
            ("zone's", {"bundle_zone": "both"}),
        )
    ]
    asked = offline.replay({"stamp": bundle}, test, zones=zones, latency=3)
    recommender = stamp.Recommender(bundle, device="cpu")
    for zone in zones:
        questions, lists = asked.questions[zone.name], asked.lists["stamp", zone.name]
        for i in range(0, len(questions), 97):
            first = test._core.offsets[questions.session[i]]
            events = test.item_ids[test._core.items[first : questions.event[i]]]
            answer = recommender.recommend(
                events.tolist(), k=10, value=zone.value, tail=zone.tail, zone=zone.bundle_zone
            )
            assert asked.item_ids[lists.rows[i]].tolist() == answer.ids.tolist()

    class Foreign:
        def recommend(self, items, k):
            return []

    with pytest.raises(ValueError, match=r"zone 'dear' has a value, a tail or an objective"):
        offline.replay({"other": Foreign()}, test, zones=zones[1])
