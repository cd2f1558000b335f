"""Recommenders and data as scikit-learn, pickle, joblib and copy treat them: options that are cloned, objects that go to
other processes."""

import concurrent.futures
import copy
import datetime
import multiprocessing
import pickle

import numpy as np
import pytest

import stamp


@pytest.fixture(scope="module")
def bundle(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "bundle"
    fitted.save(path)
    return path


# --- Options, as scikit-learn clones them


RECOMMENDERS = [
    (stamp.StampRecommender, "tuned", "paper", {"dim": 24, "epochs": 3}),
    (stamp.StampRecommender, "official", "tuned", {"learning_rate": 0.02}),
    (stamp.SessionKNNRecommender, "vs-knn", "vmis-knn", {"neighbours": 7}),
]


def clone(estimator):
    """As sklearn.base.clone: of the parameters, each of which must come back as the very object that was given."""
    params = {name: copy.deepcopy(value) for name, value in estimator.get_params(deep=False).items()}
    made = type(estimator)(**params)
    found = made.get_params(deep=False)
    for name, value in params.items():
        assert found[name] is value, name
    return made


@pytest.mark.parametrize("cls,old,new,chosen", RECOMMENDERS)
def test_a_preset_takes_its_options_along(cls, old, new, chosen):
    assert clone(cls(preset=old)).set_params(preset=new).get_params() == cls(preset=new).get_params()
    mine = clone(cls(preset=old, **chosen))
    assert mine.get_params() == cls(preset=old, **chosen).get_params()
    mine.set_params(preset=new)
    assert mine.get_params() == cls(preset=new, **chosen).get_params()
    assert clone(clone(mine)).set_params(preset=old).get_params() == cls(preset=old, **chosen).get_params()
    both = clone(cls(preset=old)).set_params(preset=new, **chosen)
    assert both.get_params() == cls(preset=new, **chosen).get_params()
    # What equals an option of the new preset is asked for, where both are asked for at once.
    kept = cls(preset=old).set_params(**{**cls(preset=old).get_params(), "preset": new})
    assert kept.get_params() == {**cls(preset=old).get_params(), "preset": new}
    with pytest.raises(ValueError):
        mine.set_params(preset="none")
    assert mine.get_params() == cls(preset=new, **chosen).get_params()


@pytest.mark.parametrize("cls,old,new,chosen", RECOMMENDERS)
def test_a_clone_is_shown_as_what_it_is_of(cls, old, new, chosen):
    for model in (cls(preset=old), cls(preset=new, **chosen)):
        assert repr(clone(model)) == repr(model) and repr(model).count("=") == 1 + len(model._given) - (
            "preset" in model._given
        )


def test_baselines_are_cloned():
    for cls in (stamp.PopularityRecommender, stamp.ItemKNNRecommender, stamp.SequentialRulesRecommender):
        assert clone(cls()).get_params() == cls().get_params() and repr(clone(cls())) == repr(cls())


# --- Pickle, joblib, copy


def by_pickle(value):
    return pickle.loads(pickle.dumps(value))


def by_joblib(value):
    """joblib's picklers are made of the ones of pickle that are written in Python."""
    return pickle._loads(pickle._dumps(value))


def by_old_pickle(value):
    return pickle.loads(pickle.dumps(value, protocol=2))


WAYS = [by_pickle, by_joblib, by_old_pickle, copy.deepcopy, copy.copy]


@pytest.fixture(scope="module")
def recommenders(fitted, shop):
    products = stamp.Products.from_frame(shop.products, item_id="id")
    return [
        fitted,
        stamp.StampRecommender(preset="paper", dim=8, epochs=1, device="cpu").fit(shop.sessions, progress=False),
        stamp.PopularityRecommender(by="category", recent=datetime.timedelta(days=9)).fit(shop.sessions, products),
        stamp.SessionPopularityRecommender().fit(shop.sessions),
        stamp.AssociationRulesRecommender(per_item=9).fit(shop.sessions),
        stamp.SequentialRulesRecommender().fit(shop.sessions),
        stamp.ItemKNNRecommender().fit(shop.sessions),
        stamp.SessionKNNRecommender(preset="vmis-knn", neighbours=30).fit(shop.sessions),
    ]


@pytest.mark.parametrize("way", WAYS)
def test_fitted_recommenders_are_pickled_and_copied(recommenders, shop, way, tmp_path):
    sessions = [shop.sessions.session(i).tolist() for i in range(20)]
    for model in recommenders:
        again = way(model)
        assert type(again) is type(model) and again is not model
        assert again.get_params() == model.get_params() and repr(again) == repr(model)
        for (ids, scores), (ids_again, scores_again) in zip(
            model.recommend_batch(sessions), again.recommend_batch(sessions)
        ):
            np.testing.assert_array_equal(ids, ids_again)
            np.testing.assert_array_equal(scores, scores_again)
        assert stamp.evaluate(again, shop.sessions).to_dict() == stamp.evaluate(model, shop.sessions).to_dict()
        again.save(tmp_path / "again")
        model.save(tmp_path / "model")
        assert stamp.inspect_bundle(tmp_path / "again") == stamp.inspect_bundle(tmp_path / "model")
        if isinstance(model, stamp.StampRecommender):
            assert again.report_ == model.report_ and again.fingerprint_ == model.fingerprint_
            assert all((again.weights_[name] == weights).all() for name, weights in model.weights_.items())


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_fitted_is_pickled_too(way):
    for model in (stamp.StampRecommender(preset="paper", dim=7), stamp.PopularityRecommender(recent="7D")):
        again = way(model)
        assert again.get_params() == model.get_params()
        with pytest.raises(ValueError, match="not fitted"):
            again.recommend([1])


def test_a_copy_is_independent(shop):
    train, rest = shop.sessions.split_last(0.5)
    model = stamp.StampRecommender(dim=8, epochs=1, device="cpu").fit(train, progress=False)
    model.mine = ["what a user keeps with it"]
    items, again = train.session(0).tolist(), copy.deepcopy(model)
    before = model.recommend(items)
    again.set_params(epochs=2).fit(rest, progress=False)
    assert model.get_params()["epochs"] == 1 and again.mine == model.mine and again.mine is not model.mine
    np.testing.assert_array_equal(model.recommend(items), before)


def test_a_pickle_needs_no_checkpoint(shop, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    model = stamp.StampRecommender(dim=8, epochs=1).fit(shop.sessions, checkpoint=checkpoint, progress=False)
    by_pickle(model).save(tmp_path / "model")
    assert checkpoint.exists()  # it is the other's
    model.save(tmp_path / "model")
    assert not checkpoint.exists()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["strings", "integers"])
def test_sessions_are_pickled_and_copied(way, kind):
    ids = ["größe", " ", "shirt", "größe", "shirt"] if kind == "strings" else [5, -(2**60), 9, 5, 9]
    sessions = stamp.Sessions.from_frame({
        "session_id": [1, 1, 1, 2, 2], "item_id": ids, "timestamp": [10, 20, 30, 40, 50], "device": list("abcde"),
    })  # fmt: skip
    train, test = way(sessions.split_last(0.5))
    assert train._catalog is test._catalog  # shared as before, where both are pickled together
    for part, original in zip((train, test, way(sessions)), (*sessions.split_last(0.5), sessions)):
        assert repr(part) == repr(original) and part._core.fingerprint() == original._core.fingerprint()
        np.testing.assert_array_equal(part.item_ids, original.item_ids)
        np.testing.assert_array_equal(part.timestamps, original.timestamps)
        assert np.asarray(part.columns["device"]).tolist() == np.asarray(original.columns["device"]).tolist()
        assert part.session(0).tolist() == original.session(0).tolist()


@pytest.mark.parametrize("way", WAYS)
def test_products_and_clusters_are_pickled_and_copied(fitted, shop, way):
    products = stamp.Products.from_frame(shop.products, item_id="id")
    again = way(products)
    assert repr(again) == repr(products) and again.item_ids.tolist() == products.item_ids.tolist()
    found = stamp.cluster_catalog(fitted, again, way(shop).sessions, attribute="category", clusters=3, progress=False)
    same = way(found)
    assert same.fingerprint == found.fingerprint and same.label_of(found.item_ids[9]) == found.label_of(
        found.item_ids[9]
    )
    assert same.dendrogram.names == found.dendrogram.names


@pytest.mark.parametrize("way", WAYS)
def test_models_of_clusters_are_pickled_and_copied(fitted, shop, tmp_path, way):
    products = stamp.Products.from_frame(shop.products, item_id="id")
    found = stamp.cluster_catalog(fitted, products, shop.sessions, attribute="category", clusters=2, progress=False)
    stamp.train_clusters(
        shop.sessions, found, out=tmp_path, config={"dim": 4, "epochs": 1}, device="cpu", min_examples=0, jobs=1,
        progress=False,
    )  # fmt: skip
    models = stamp.load_clusters(tmp_path, device="cpu")
    again = way(models)
    assert stamp.evaluate(again, shop.sessions).to_dict() == stamp.evaluate(models, shop.sessions).to_dict()
    assert again.item_ids_.tolist() == models.item_ids_.tolist() and list(again.models) == list(models.models)


def _listed(model, sessions):
    return [ids.tolist() for ids, _ in model.recommend_batch([sessions.session(i).tolist() for i in range(5)])]


def test_models_go_to_other_processes(fitted, shop):
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(_listed, fitted, shop.sessions).result() == _listed(fitted, shop.sessions)


def test_a_recommender_says_what_to_do_instead(bundle):
    recommender = stamp.Recommender(bundle, device="cpu")
    for way in WAYS:
        with pytest.raises(TypeError, match=rf"make another where it is needed: stamp\.Recommender\('{bundle}'\)"):
            way(recommender)


def test_failures_come_back_from_other_processes():
    report = stamp.TrainReport(cluster=3, status="failed", reason="no")
    again = by_pickle(stamp.TrainingFailed("1 of 1 clusters failed", {3: report}))
    assert str(again) == "1 of 1 clusters failed" and again.reports == {3: report}
