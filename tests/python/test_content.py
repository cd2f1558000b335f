"""Rows that are made of attributes: what a model learns of them, and what is refused."""

import json
import pickle

import numpy as np
import pytest

import stamp
from command_line import call
from stamp import _stamp
from stamp.data.tables.ids import Ids

OPTIONS = {"device": "cpu", "dim": 16, "epochs": 4, "batch_size": 64, "difference_dropout": 0.3}
BRANDS = 6


def products_of(count=60, missing=()):
    """Product v is of brand v % 6 and of a price band by v; those of `missing` have no attribute."""
    known = [v not in missing for v in range(count)]
    return stamp.Products.from_frame({
        "item_id": list(range(count)),
        "brand": [f"b{v % BRANDS}" if there else None for v, there in enumerate(known)],
        "price": [float(1 + v // 6) if there else None for v, there in enumerate(known)],
    })  # fmt: skip


@pytest.fixture(scope="module")
def sessions():
    """Visits that stay with a brand, of products 0 to 47."""
    random = np.random.default_rng(3)
    visits = [random.integers(0, BRANDS) + BRANDS * random.integers(0, 8, random.integers(2, 6)) for _ in range(400)]
    return stamp.Sessions.from_frame({
        "session_id": np.repeat(np.arange(len(visits)), [len(v) for v in visits]),
        "item_id": np.concatenate(visits),
        "timestamp": np.arange(sum(len(v) for v in visits)),
    })  # fmt: skip


@pytest.fixture(scope="module")
def model(sessions):
    return stamp.StampRecommender(**OPTIONS, content=True).fit(sessions, products=products_of(), progress=False)


def catalog_of(ids):
    catalog = _stamp.Catalog("integers")
    Ids("a catalog", np.asarray(ids)).add_to(catalog)
    return catalog


def content_of(model, products, ids):
    return model._model.content_rows(products.columns_of(catalog_of(ids)), len(ids))


def test_rows_are_attributes_and_a_bounded_difference(model):
    assert model.get_params()["content"] is True
    assert json.loads(model._model.config())["content"] == ["brand", "price"]
    rows = model.weights_["items"]
    content = content_of(model, products_of(), model.item_ids_)
    difference = np.linalg.norm(rows - content, axis=1)
    length = np.linalg.norm(content, axis=1)
    assert (difference <= 0.95 * length * 1.0001).all() and (difference > 0).all()
    assert model.weights_["attribute_rows"].shape == (BRANDS + 8, 16)  # prices 1 to 8


def test_products_without_clicks_are_found_by_their_attributes(model):
    new = list(range(48, 60))
    content = content_of(model, products_of(), new)
    everything = model._with_rows(
        catalog_of([*model.item_ids_, *new]), np.concatenate([model.weights_["items"], content])
    )
    found = [everything.recommend([v, v + 6], k=60)[0] for v in range(BRANDS)]
    places = {brand: [list(listed).index(48 + brand) for listed in found] for brand in range(BRANDS)}
    for brand, at in places.items():
        assert at[brand] == min(at)  # a visit to the brand lists its new product before all other visits do


def test_attributes_that_nobody_knew_add_nothing(model):
    other = stamp.Products.from_frame({"item_id": [1, 2, 3], "brand": ["b1", "new", None], "price": [None, 2.0, None]})
    content = content_of(model, other, [1, 2, 3])
    rows = model.weights_["attribute_rows"]
    np.testing.assert_array_equal(content, [rows[1], rows[BRANDS + 1], np.zeros(16)])
    with pytest.raises(ValueError, match="'price' is a text, expected a number as in training"):
        content_of(model, stamp.Products.from_frame({"item_id": [1], "price": ["7"]}), [1])


def test_a_saved_model_is_the_same_and_goes_on(model, sessions, tmp_path):
    model.save(tmp_path / "m")
    loaded = stamp.load(tmp_path / "m", device="cpu")
    for name, values in model.weights_.items():
        np.testing.assert_array_equal(loaded.weights_[name], values)
    for other in (loaded, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.recommend([3, 9])[1], model.recommend([3, 9])[1])
    again = stamp.StampRecommender(**OPTIONS, content=["brand", "price"])
    again.fit(sessions, products=products_of(), progress=False)
    np.testing.assert_array_equal(again.weights_["items"], model.weights_["items"])  # the same bits


def test_products_without_attributes_have_free_rows(sessions):
    some = stamp.StampRecommender(**OPTIONS, content=["brand"])
    some.fit(sessions, products=products_of(missing={5, 11}), progress=False)
    rows = some.weights_["items"]
    content = content_of(some, products_of(missing={5, 11}), some.item_ids_)
    bare = np.isin(some.item_ids_, [5, 11])
    assert not content[bare].any() and rows[bare].any(axis=1).all() and content[~bare].any(axis=1).all()


def test_an_epoch_more_of_yesterdays_model(model, sessions):
    today = stamp.StampRecommender(**{**OPTIONS, "epochs": 1, "learning_rate": 1e-6}, content=["brand", "price"])
    catalog = catalog_of(sorted(model.item_ids_.tolist()) + [53])
    today._train(
        catalog, np.ones(len(catalog), np.int64), sessions.rows_in(catalog, "a", "b"), None,
        attributes=products_of().columns_of(catalog), refit=False, checkpoint=None, progress=False, warm_start=model,
    )  # fmt: skip
    rows = dict(zip(today.item_ids_.tolist(), today.weights_["items"]))
    for id, row in zip(model.item_ids_.tolist(), model.weights_["items"]):
        np.testing.assert_allclose(rows[id], row, atol=1e-3)
    np.testing.assert_allclose(rows[53], content_of(model, products_of(), [53])[0], atol=1e-3)
    plain = stamp.StampRecommender(**OPTIONS)
    with pytest.raises(ValueError, match="content"):
        plain._train(
            catalog, np.ones(len(catalog), np.int64), sessions.rows_in(catalog, "a", "b"), None,
            attributes=[], refit=False, checkpoint=None, progress=False, warm_start=model,
        )  # fmt: skip


def test_the_command_line_reads_attributes(sessions, tmp_path):
    lines = [f"{s},{item},{s}" for s in range(len(sessions)) for item in sessions.session(s).tolist()]
    (tmp_path / "events.csv").write_text("session_id,item_id,timestamp\n" + "\n".join(lines) + "\n")
    rows = [f"{v},b{v % BRANDS},{1 + v // 6}" for v in range(60)]
    (tmp_path / "products.csv").write_text("item_id,brand,price\n" + "\n".join(rows) + "\n")
    train = ["train", tmp_path / "events.csv", "--out", tmp_path / "m", "--device", "cpu", "--quiet"]
    train += ["-o", "dim=8", "-o", "epochs=1", "-o", 'content=["brand", "price"]', "-o", "content_bins=4"]
    assert "no product has attributes" in call(*train, status=2).stderr
    call(*train, "--products", tmp_path / "products.csv", "--number", "price")
    saved = stamp.load(tmp_path / "m", device="cpu")
    assert saved.weights_["attribute_rows"].shape == (BRANDS + 4, 8)


class TwoClusters:
    """What training reads of CatalogClusters: brands b0 to b2, and the others."""

    item_ids = np.arange(48)
    labels = np.arange(48) % BRANDS // 3
    ids = (0, 1)
    fingerprint = "two"

    def parent(self, cluster):
        return None


def test_clusters_have_the_attributes_of_their_products(sessions, tmp_path):
    call = {
        "config": {**OPTIONS, "content": True, "validation": 0}, "min_examples": 0, "progress": False, "device": "cpu"
    }  # fmt: skip
    del call["config"]["device"]
    with pytest.raises(ValueError, match="content is True, but no product has attributes"):
        stamp.train_cluster(sessions, TwoClusters(), 0, out=tmp_path / "none", **call)
    reports = stamp.train_clusters(
        sessions, TwoClusters(), out=tmp_path / "all", products=products_of(), jobs=2, **call
    )
    alone = stamp.train_cluster(sessions, TwoClusters(), 1, out=tmp_path / "1", products=products_of(), **call)
    assert reports[1].identity == alone.identity
    models = [stamp.load(report.path, device="cpu") for report in (*reports.values(), alone)]
    for model in models:
        assert model.weights_["attribute_rows"].shape == (3 + 8, 16)  # its brands, and prices 1 to 8
    np.testing.assert_array_equal(models[1].weights_["attribute_rows"], models[2].weights_["attribute_rows"])
    again = stamp.train_cluster(sessions, TwoClusters(), 1, out=tmp_path / "1", products=products_of(), **call)
    assert again == alone
    other = stamp.train_cluster(
        sessions, TwoClusters(), 1, out=tmp_path / "1", products=products_of(missing={4}), **call
    )
    assert other.identity != alone.identity


@pytest.mark.parametrize(
    ("options", "products", "message"),
    [
        ({"content": True}, None, "content is True, but no product has attributes"),
        ({"content": ["brand"]}, None, "content is \\['brand'\\], but no product has attributes"),
        ({"content": ["size"]}, products_of(), "no attribute 'size', expected some of brand, price"),
        ({"content": ["brand"]}, products_of(missing=range(60)), "none of 48 products has an attribute"),
    ],
)
def test_content_without_attributes_is_refused(sessions, options, products, message):
    with pytest.raises(ValueError, match=message):
        stamp.StampRecommender(**OPTIONS, **options).fit(sessions, products=products, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content": "brand"}, "content is 'brand', expected a list of names"),
        ({"content": 3}, "content is 3, expected a list of names"),
        ({"content": np.array(["brand"])}, "content is array.*, expected a list of names"),
        ({"content": [3]}, "content is \\[3\\], expected a list of names"),
        ({"content": ["brand", "brand"]}, "content names 'brand' twice"),
        ({"difference_bound": 1.0}, "difference_bound is 1, expected a number in \\(0, 1\\)"),
        ({"difference_dropout": 1.0}, "difference_dropout is 1, expected a rate"),
        ({"content_bins": 0}, "content_bins is 0, expected 1"),
    ],
)
def test_options_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        stamp.StampRecommender(**options)


def test_names_have_no_order(sessions):
    one, other = (
        stamp.StampRecommender(**OPTIONS, content=names).fit(sessions, products=products_of(), progress=False).weights_
        for names in (["brand", "price"], ("price", "brand"))
    )
    for name, values in one.items():
        np.testing.assert_array_equal(other[name], values)


def test_what_are_no_products_is_said(sessions):
    with pytest.raises(ValueError, match="fit: products is dict, expected stamp.Products"):
        stamp.StampRecommender(**OPTIONS, content=True).fit(sessions, products={"item_id": [1]}, progress=False)


def test_attributes_change_nothing_where_content_is_off(sessions):
    plain = stamp.StampRecommender(**OPTIONS).fit(sessions, progress=False)
    given = stamp.StampRecommender(**OPTIONS, content=False).fit(sessions, products=products_of(), progress=False)
    assert plain.weights_.keys() == given.weights_.keys()
    for name, values in plain.weights_.items():
        np.testing.assert_array_equal(given.weights_[name], values)
