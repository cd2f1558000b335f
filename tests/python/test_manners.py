"""Habits of Python's users: numbers of any library, ids of NumPy in rules, answers that are compared."""

import dataclasses
import decimal
import functools
import importlib
import inspect
import pkgutil
import re

import numpy as np
import pandas as pd
import pytest

import stamp
from stamp import offline
from stamp.base.json_text import json_text, strict_json_text


@pytest.fixture(scope="module")
def bundle(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    fitted.save(path)
    return path


# --- Whole numbers


NO_NUMBERS = [5.0, "5", True, np.bool_(True), decimal.Decimal(5), [5], 0, -1, np.int64(-1), 2**70, float("nan"), b"5"]


@pytest.mark.parametrize("value", [*NO_NUMBERS, None])
def test_what_is_no_whole_number_is_a_value_error(fitted, shop, bundle, value):
    """And one of ours: which argument, what it was, and what would be right."""
    recommender, items = stamp.Recommender(bundle, device="cpu"), shop.sessions.session(0).tolist()
    products = stamp.Products.from_frame(shop.products, item_id="id")
    cluster = functools.partial(
        stamp.cluster_catalog, fitted, products, shop.sessions, attribute="category", progress=False
    )
    replayed = functools.partial(offline.replay, {"a": fitted}, shop.sessions)
    calls = {
        "k": [
            lambda v: fitted.recommend(items, k=v),
            lambda v: fitted.recommend_batch([items], k=v),
            lambda v: stamp.evaluate(fitted, shop.sessions, k=[v] if isinstance(v, list) else v),
            lambda v: stamp.evaluate(fitted, shop.sessions, k=[20, v]),
            lambda v: cluster(clusters=2, k=v),
            lambda v: offline.Zone(name="a", k=v),
        ],
        "min_history": [lambda v: stamp.evaluate(fitted, shop.sessions, min_history=v), lambda v: replayed(min_history=v)],
        "threads": [stamp.set_num_threads],
        "seed": [lambda v: offline.search({"dim": [4]}, shop.sessions, seed=v)],
        "trials": [lambda v: offline.search({"dim": [4]}, shop.sessions, trials=v)],
        "n": [lambda v: list(offline.windows(shop.sessions, test="1D", n=v))],
        "weeks": [lambda v: stamp.datasets.synthetic_shop(weeks=v)],
        "min_examples": [lambda v: stamp.train_cluster(shop.sessions, "none", 0, out=bundle / "x", min_examples=v)],
        "memory": [lambda v: stamp.Recommender(bundle, memory=v)],
    }  # fmt: skip
    optional = {
        "k": [
            lambda v: recommender.recommend(items, k=v),
            lambda v: recommender.recommend_batch([items], k=v),
            lambda v: replayed(k=v),
        ],
        "history": [lambda v: recommender.recommend(items, history=v), lambda v: offline.Zone(name="a", history=v)],
        "clusters": [lambda v: cluster(clusters=v)],
        "examples": [lambda v: cluster(clusters=2, examples=v)],
        "max_products": [lambda v: cluster(clusters=2, max_products=v)],
        "jobs": [lambda v: stamp.train_clusters(shop.sessions, "none", out=bundle.parent / "x", jobs=v)],
    }  # fmt: skip
    may_be_0 = ("seed", "min_examples", "memory")
    for groups in (calls, {} if value is None else optional):
        for name, each in groups.items():
            if name in may_be_0 and type(value) is int and value == 0:
                continue
            for call in each:
                with pytest.raises(ValueError, match=rf"{name} is .*, expected a whole number of \d+ or more"):
                    call(value)


def test_whole_numbers_of_numpy_are_whole_numbers(fitted, shop, bundle):
    items = shop.sessions.session(0).tolist()
    for k in (np.int64(3), np.uint8(3), np.int32(3), 2**62):
        assert len(fitted.recommend(items, k=k)[0]) == min(3 if k != 2**62 else k, fitted.n_items_)
    recommender = stamp.Recommender(bundle, device="cpu")
    assert recommender.recommend(items, k=np.int16(3), history=np.int64(1)) == recommender.recommend(
        items, k=3, history=1
    )
    assert list(stamp.evaluate(fitted, shop.sessions, k=np.array([1, 5])).at) == [1, 5]
    assert list(stamp.evaluate(fitted, shop.sessions, k=np.int64(7)).at) == [7]


def test_what_is_neither_true_nor_false_is_named(fitted, shop, bundle):
    recommender = stamp.Recommender(bundle, device="cpu")
    for call in (
        lambda v: recommender.recommend([], explain=v),
        lambda v: recommender.recommend_batch([[]], explain=v),
        lambda v: stamp.evaluate(fitted, shop.sessions, last_only=v),
        lambda v: stamp.StampRecommender(device="cpu").fit(shop.sessions, refit=v, progress=False),
        lambda v: stamp.train_cluster(shop.sessions, "none", 0, out=bundle / "x", config={"refit": v}),
    ):
        for value in ("x", None, 1):
            with pytest.raises(ValueError, match=rf"(explain|last_only|refit) is {value!r}, expected True or False"):
                call(value)
    assert recommender.recommend([], explain=np.True_).explanation is not None


def test_no_signature_of_ours_is_shown(fitted, shop, bundle):
    recommender = stamp.Recommender(bundle, device="cpu")
    for call, message in (
        (lambda: recommender.recommend_batch(None), "sessions is None, expected a list of lists of product ids"),
        (lambda: fitted.recommend_batch(None), "sessions is None, expected a list of lists of product ids"),
        (lambda: recommender.recommend_batch([[]], bought=None), "bought is None, expected a list of lists"),
        (lambda: recommender.recommend([], bought=None), "bought is None, expected a list of product ids"),
        (lambda: recommender.recommend({1, 2}), "events is a set, whose order nobody chose"),
        (lambda: recommender.recommend_batch([{1, 2}]), "a session is a set, whose order nobody chose"),
        (lambda: fitted.recommend(frozenset([1, 2])), "items is a frozenset, whose order nobody chose"),
        (lambda: fitted.recommend_batch([{1, 2}]), "a session is a set, whose order nobody chose"),
        (lambda: shop.sessions.session(0.0), "session: index is 0.0, expected a whole number$"),
        (lambda: shop.sessions.split_last("0.1"), "split_last: fraction is '0.1', expected a number between"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(IndexError):
        shop.sessions.session(len(shop.sessions))


def test_json_of_keys_of_numpy():
    for text in (
        json_text({np.int64(1): {np.float64(0.5): 2}}),
        strict_json_text("x", {np.int64(1): {np.float64(0.5): 2}}),
    ):
        assert text == '{"1": {"0.5": 2}}'


def test_devices_and_zones_are_names(fitted, bundle):
    for call in (
        lambda: stamp.StampRecommender(device=0),
        lambda: stamp.StampRecommender(precision=16),
        lambda: stamp.StampRecommender(preset=None),
        lambda: stamp.load(bundle, device=None),
        lambda: stamp.Recommender(bundle, device=0),
        lambda: stamp.Recommender(bundle, device="cpu").recommend([], zone=1),
    ):
        with pytest.raises(ValueError, match=r"(device|precision|preset|zone) is .*, expected"):
            call()


# --- Rules and answers


def test_rules_hold_ids_and_numbers_of_numpy(tmp_path):
    sessions = stamp.Sessions.from_frame(pd.DataFrame({"session_id": [1, 1, 1, 2, 2], "item_id": [7, 8, 9, 9, 7]}))
    model = stamp.StampRecommender(dim=4, epochs=1, device="cpu").fit(sessions, progress=False)
    model.save(tmp_path / "model")
    recommender = stamp.Recommender(tmp_path / "model", device="cpu")
    ids = model.item_ids_  # int64
    for given, plain in (
        ({"products": [ids[0]]}, {"products": [int(ids[0])]}),
        ({"products": ids[:2]}, {"products": ids[:2].tolist()}),
        ({"products": list(ids[:1].astype(np.uint32))}, {"products": ids[:1].tolist()}),
    ):
        rule = {"rule": "exclude_products"}
        answer = recommender.recommend([7], rules=[{**rule, **given}])
        assert answer == recommender.recommend([7], rules=[{**rule, **plain}]) and len(answer) < 3
    zone = offline.Zone(name="a", rules=[{"rule": "exclude_products", "products": [ids[0]]}])
    asked = offline.replay({"a": model}, sessions, zones=zone)
    assert ids[0] not in asked.item_ids[asked.lists["a", "a"].rows[asked.lists["a", "a"].rows >= 0]]
    built = stamp.build_bundle(
        {0: tmp_path / "model"},
        out=tmp_path / "bundle",
        rules={"build": [{"rule": "exclude_products", "products": ids[:1]}]},
    )
    assert built["build_rules"] == 1
    for wrong in ([{"rule": "exclude_products", "products": [float("nan")]}], [{"rule": object()}], [{1j: 2}]):
        with pytest.raises(ValueError, match="recommend: rules: JSON cannot hold it"):
            recommender.recommend([7], rules=wrong)
    for wrong in ({"rule": "exclude_seen"}, "exclude_seen", 5):
        with pytest.raises(ValueError, match="recommend: rules is .*, expected a list of rules"):
            recommender.recommend([7], rules=wrong)


def test_answers_are_equal_where_they_say_the_same(bundle, shop):
    recommender, items = stamp.Recommender(bundle, device="cpu"), shop.sessions.session(0).tolist()
    pinned = [{"rule": "pin", "products": [items[0]]}]  # of a score that is NaN
    answer, again, other = (recommender.recommend(items, k=k, rules=pinned, explain=True) for k in (5, 5, 6))
    assert np.isnan(answer.scores).any()
    assert answer == answer and answer == again and not answer != again  # noqa: PLR0124
    assert answer != other and answer != "something else" and answer in [other, again]
    assert answer != recommender.recommend(items, k=5)
    with pytest.raises(TypeError, match="unhashable"):
        hash(answer)


def test_no_result_that_holds_arrays_is_compared_by_their_truth():
    """Dataclasses whose fields are arrays have an equality of their own, or that of objects."""
    for module in pkgutil.walk_packages(stamp.__path__, "stamp."):
        if module.name.endswith("__main__"):
            continue
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if dataclasses.is_dataclass(cls) and cls.__module__ == module.name:
                arrays = [
                    f.name for f in dataclasses.fields(cls) if re.match(r"(dict\[str, )?np\.ndarray", str(f.type))
                ]
                assert not (arrays and "__eq__" in vars(cls)), f"{cls}: {arrays}"
