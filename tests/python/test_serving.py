"""stamp.Recommender on a small shop: routes, zones, rules, explanations, batches, ids, threads and reloading."""

import asyncio
import collections
import threading

import numpy as np
import pytest

import stamp
from small_bundles import IDS, ITEMS, RULES, same, save_model


def test_routes(recommender):
    def check(events, path, cluster, ids, **options):
        answer = recommender.recommend(events, **options)
        assert (answer.path, answer.cluster) == (path, cluster)
        assert set(answer.ids) == set(ids) if cluster is not None else answer.ids.tolist() == ids
        return answer

    a, b = ["a0", "a1", "a2", "a3"], ["b0", "b1", "b2"]
    check(["b0", "a1"], "anchor", 7, a)
    check(["a1", "b0"], "anchor", 3, b)
    check(["b0", "b1", "a1", "x0"], "group", 7, a)  # x0 is of A, whose cluster knows an event
    check(["b0", "b1", "a1", "x1"], "history", 3, b)  # most of them
    check(["a1", "b1", "x1"], "history", 3, b)  # one each: the later one
    check(["b0", "x0"], "history", 3, b)  # nothing of A was seen
    check(["b0", "nobody"], "history", 3, b)
    popular = check(["x1"], "category", None, ["x1"])  # x2 is not available
    assert popular.reason == "1 of 20: 2 candidates, only_available available leaves 1"
    check(["x0"], "category", None, ["a1", "a0", "a3", "a2", "x0"])
    everything = ["a1", "b1", "a0", "a3", "b0", "a2", "b2", "x0", "x1", "x3"]
    for events in ([], ["x3"], ["nobody"]):
        answer = check(events, "popular", None, everything)
    np.testing.assert_allclose(answer.scores[:3], np.log([10, 9, 6]), rtol=1e-6)

    check(["b0", "x1"], "category", None, ["x1"], history=1)
    assert same(recommender.recommend(["b0", "a3", "a1"], history=2), recommender.recommend(["a3", "a1"]))
    assert same(recommender.recommend(["a0", "b0", "a3", "a1"]), recommender.recommend(["a0", "a3", "a1"]))


def test_zones(recommender):
    assert recommender.zones == ["b", "cart", "home"] and recommender.clusters == [3, 7]
    seen = ["a2", "a0", "a1"]
    cart = recommender.recommend(seen, zone="cart")
    assert cart.ids.tolist() == ["a3"] and cart.reason == "1 of 2: 4 candidates, exclude_seen leaves 1"
    assert cart.scores.tobytes() == recommender.recommend(["a1"], only=["a3"]).scores.tobytes()  # reads the last alone
    assert cart.scores[0] != recommender.recommend(seen, only=["a3"]).scores[0]
    longer = recommender.recommend(seen, zone="cart", history=3)
    assert longer.scores.tobytes() == recommender.recommend(seen, only=["a3"]).scores.tobytes()
    assert len(recommender.recommend([], zone="cart")) == 2 and len(recommender.recommend([], zone="cart", k=5)) == 5
    assert same(recommender.recommend(["a1"], zone="home"), recommender.recommend(["a1"]))
    with pytest.raises(ValueError, match="zone is 'basket', expected one of b, cart, home"):
        recommender.recommend(["a1"], zone="basket")
    for name in ("k", "history"):
        with pytest.raises(ValueError, match=f"recommend: {name} is 0, expected a whole number of 1 or more"):
            recommender.recommend(["a1"], **{name: 0})


def test_empty_answers_say_why_and_rules_that_cannot_be_are_named(recommender):
    answer = recommender.recommend(["a1"], zone="b", k=3)
    assert len(answer) == 0 and answer.ids.shape == answer.scores.shape == (0,)
    assert answer.reason == "0 of 3: 4 candidates, only_values category leaves 0"
    only_b = {"rule": "only_values", "attribute": "category", "values": ["B"]}
    answer = recommender.recommend(["b1"], rules=[only_b, {**only_b, "rule": "exclude_values"}], explain=True)
    assert answer.reason == "0 of 20: 3 candidates, exclude_values category leaves 0"
    assert [rule["removed"] for rule in answer.explanation["rules"]] == [0, 0, 3] and answer.explanation["left"] == 0
    assert [item["by"] for item in answer.explanation["missing"]] == ["rules[1]"] * 3
    assert recommender.recommend(["a1"], only=[]).reason == "0 of 20: 4 candidates, only leaves 0"
    for rules, message in (
        ([{"rule": "same_value", "attribute": "colr"}], r"rules\[0\]\.attribute is 'colr', expected one of category"),
        ([only_b, {"rule": "only_available", "attribute": "category"}], r"rules\[1\]\.attribute is 'category'"),
        ([{"rule": "pin", "products": [3]}], r"rules\[0\]\.products\[0\] is 3, expected a string"),
        ([{"rule": "?"}], r"rules\[0\]\.rule is '\?'"),
    ):
        with pytest.raises(ValueError, match=message):
            recommender.recommend(["a1"], rules=rules)
        with pytest.raises(ValueError, match=message):
            recommender.recommend_batch([["a1"]], rules=rules)


def test_explanations(recommender):
    limit = {"rule": "limit", "attribute": "category", "max": 1}
    pin = {"rule": "pin", "products": ["b1"]}
    plain = recommender.recommend(["a1"]).ids.tolist()
    answer = recommender.recommend(["a1"], zone="cart", rules=[pin, limit], exclude=[plain[0]], explain=True)
    assert answer.ids[0] == "b1" and np.isnan(answer.scores[0])
    explanation = answer.explanation
    assert explanation["candidates"] == 4
    assert [(rule["path"], rule.get("removed")) for rule in explanation["rules"]] == [
        ("build[0]", 0), ("zones.cart.rules[0]", 1), ("rules[0]", None), ("rules[1]", None), ("exclude", int(plain[0] != "a1"))
    ]  # fmt: skip
    assert explanation["listed"][0] == {"id": "b1", "pinned": "rules[0]"}
    assert explanation["missing"][0]["id"] == plain[0] and explanation["missing"][0]["rank"] == 1
    assert recommender.recommend(["a1"]).explanation is None
    category = recommender.recommend(["x0"], explain=True).explanation
    assert category["candidates"] == 5 and [r["path"] for r in category["rules"]] == ["build[0]"]  # the group's


def test_unavailable_products_are_in_no_answer(models, recommender, tmp_path):
    """x2 is not available: neither listed nor pinned. Nor a1 in another build. Where a build excludes for good, nothing is
    a candidate."""
    for events in ([], ["x1"], ["x2"], ["a1"]):
        for options in ({}, {"only": ["x2"]}, {"rules": [{"rule": "pin", "products": ["x2"]}]}):
            assert "x2" not in recommender.recommend(events, **options).ids
    assert recommender.recommend(["x2"]).path == "category"  # but what is asked about may be gone
    explanation = recommender.recommend([], explain=True).explanation
    assert explanation["candidates"] == len(IDS) and explanation["left"] == len(IDS) - 1
    items = {**ITEMS, "available": [1.0, 0.0] + [1.0] * 9}
    stamp.build_bundle(models, items, out=tmp_path / "other", rules=RULES, route_by="category")
    other = stamp.Recommender(tmp_path / "other", device="cpu")
    answer = other.recommend(["a1"], explain=True)
    assert answer.path == "anchor" and answer.explanation["left"] == 3
    plain = recommender.recommend(["a1"])
    kept = plain.ids != "a1"
    assert answer.ids.tolist() == plain.ids[kept].tolist() and answer.scores.tolist() == plain.scores[kept].tolist()
    nothing = {"build": [{"rule": "only_products", "products": []}]}
    stamp.build_bundle(models, ITEMS, out=tmp_path / "nothing", rules=nothing, route_by="category")
    empty = stamp.Recommender(tmp_path / "nothing", device="cpu")
    for events in ([], ["x1"], ["a1"], ["a1", "x0"]):
        answer = empty.recommend(events, rules=[{"rule": "pin", "products": ["a1"]}], explain=True)
        assert len(answer) == 0 and answer.reason == "0 of 20: 0 candidates"


def test_numbers_are_set_between_releases(models, built, tmp_path):
    """As good as a bundle that was built with them, for whatever looks at them, until another bundle comes."""
    recommender = stamp.Recommender(built, device="cpu")
    available = dict(zip(IDS, ITEMS["available"]))
    for change in ({"x2": 1, "a1": 0}, {"a1": None, "b0": 0.0, "x2": False}, {"a1": np.float32(1)}, {}):
        assert recommender.set_numbers("available", change) == 0
        available |= {id: 0.0 if value is None else float(value) for id, value in change.items()}
        items = {**ITEMS, "available": [available[id] for id in IDS]}
        stamp.build_bundle(models, items, out=tmp_path / "fresh", rules=RULES, route_by="category")
        fresh = stamp.Recommender(tmp_path / "fresh", device="cpu")
        for events in ([], ["a0"], ["b1"], ["x1"]):
            for zone in (None, *recommender.zones):
                assert same(recommender.recommend(events, zone=zone), fresh.recommend(events, zone=zone))
    assert recommender.set_numbers("available", {"nobody": 1, "b0": 1}) == 1
    for attribute, values, message in [
        (
            "category",
            {"a0": 1},
            "attribute is 'category', expected a number of the products, which have available",
        ),
        ("available", {"a0": "1"}, "values\\['a0'\\] is '1', expected a number that single precision holds, or None"),
        ("available", {"a0": 1e39}, "values\\['a0'\\] is 1e\\+39"),
        ("available", {"a0": float("nan")}, "values\\['a0'\\] is nan"),
        ("available", {7: 1}, "set_numbers: values"),
        ("available", [("a0", 1)], "expected a dict of product ids to numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            recommender.set_numbers(attribute, values)
    recommender.reload()
    assert same(recommender.recommend([]), stamp.Recommender(built, device="cpu").recommend([]))


def test_pins_come_from_anywhere(recommender):
    pin = [{"rule": "pin", "products": ["b2", "a3"]}]
    for events in (["a1"], ["x1"], ["x0"], []):
        assert recommender.recommend(events, rules=pin).ids[:2].tolist() == ["b2", "a3"]


def test_batches_are_single_requests(recommender):
    sessions = [["a1"], ["b0", "x0"], [], ["nobody", "b1"], ["x1"], ["a1", "a3"]] * 5
    for options in (
        {"k": 3}, {"zone": "cart"}, {"history": 1, "exclude": ["a1", "b1"]}, {"only": ["a0", "b0", "x1"]},
        {"rules": [{"rule": "boost", "attribute": "category", "values": ["A"], "by": 1}]},
    ):  # fmt: skip
        answers = recommender.recommend_batch(sessions, **options)
        assert all(same(a, recommender.recommend(s, **options)) for a, s in zip(answers, sessions, strict=True))
    [explained] = recommender.recommend_batch([["a1"]], explain=True)
    assert explained.explanation == recommender.recommend(["a1"], explain=True).explanation
    assert recommender.recommend_batch([]) == []


def test_integers_and_texts(tmp_path, recommender):
    save_model(tmp_path / "numbers", [5, -3, 10**15, 9], 4, [1, 2, 3, 4])
    numbers = stamp.Recommender(tmp_path / "numbers", device="cpu")
    assert numbers.item_ids.tolist() == [5, -3, 10**15, 9] and numbers.item_ids.dtype == np.int64
    answer = numbers.recommend(np.array([9, -3, 77]), rules=[{"rule": "exclude_products", "products": [5]}])
    assert answer.path == "history" and answer.unknown == [77] and set(answer.ids) == {-3, 10**15, 9}
    assert recommender.item_ids.tolist() == ["b0", "b1", "b2", "a0", "a1", "a2", "a3", "x0", "x1", "x2", "x3"]
    with pytest.raises(ValueError, match="recommend_batch: a session is 'a1', expected a list of product ids"):
        recommender.recommend_batch(["a1"])
    for wrong in ("a1", 7, None):
        with pytest.raises(ValueError, match="recommend: events is .*, expected a list of product ids"):
            recommender.recommend(wrong)
    with pytest.raises(ValueError, match="recommend: exclude is 'a1', expected a list"):
        recommender.recommend(["a1"], exclude="a1")


def test_loading_lazily_and_within_memory_change_no_answer(built, recommender):
    sessions = [["a1"], ["b0", "x0"], [], ["b1"], ["x1"], ["a1", "a3"]]
    expected = [recommender.recommend(s) for s in sessions]
    for options in ({"lazy": True}, {"memory": 1}, {"lazy": True, "memory": 10**6}):
        other = stamp.Recommender(built, device="cpu", **options)
        for _ in range(2):
            assert all(same(other.recommend(s), e) for s, e in zip(sessions, expected))
        assert all(same(a, e) for a, e in zip(other.recommend_batch(sessions), expected))
    with pytest.raises(ValueError, match="memory is -1"):
        stamp.Recommender(built, device="cpu", memory=-1)


def test_requests_in_flight_under_asyncio_share_scans_and_change_no_answer(recommender):
    sessions = [["a1"], ["b0", "x0"], [], ["b1"], ["x1"], ["a1", "a3"]] * 20

    async def ask_all():
        return await asyncio.gather(*(asyncio.to_thread(recommender.recommend, session) for session in sessions))

    for answer, session in zip(asyncio.run(ask_all()), sessions):
        assert same(answer, recommender.recommend(session))


def test_threads_ask_while_releases_change(models, built, tmp_path):
    save_model(models[7], IDS[:4], 11, [5, 9, 2, 4])
    stamp.build_bundle(models, ITEMS, out=tmp_path / "next", rules=RULES, route_by="category")
    sessions = [["a1"], ["b0", "a0"], [], ["a3", "x0"]]
    whole = [
        [stamp.Recommender(path, device="cpu").recommend(s) for s in sessions] for path in (built, tmp_path / "next")
    ]
    assert not same(whole[0][0], whole[1][0])
    recommender = stamp.Recommender(built, device="cpu")
    done, answered, wrong = threading.Event(), collections.Counter(), []

    def ask(i):
        try:
            while not done.is_set():
                answer = recommender.recommend(sessions[i])
                of = [release for release in (0, 1) if same(answer, whole[release][i])]
                if not of:
                    wrong.append(answer)
                answered.update(of)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(sessions))]
    for thread in threads:
        thread.start()
    rounds = 0
    try:
        while not wrong and (rounds < 20 or min(answered[0], answered[1]) < 200):
            rounds += 1
            recommender.reload((built, tmp_path / "next")[rounds % 2])
            if rounds % 5 == 0:
                with pytest.raises(RuntimeError, match="holds no manifest.json"):
                    recommender.reload(tmp_path / "nothing")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []
