"""Products that come when models have been trained: into a bundle, under its rules, and their first clicks."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

import stamp
from small_bundles import files_of
from stamp import offline
from stamp.cli import main

NAMES = ["category", "collection", "price"]
OPTIONS = {"dim": 24, "epochs": 6, "batch_size": 64, "device": "cpu", "content": NAMES}


@pytest.fixture(scope="module")
def sold(shop):
    """Sessions without a tenth of the products, ids of these, and the table of all."""
    train, hidden = offline.hide_products(shop.sessions, 0.1, seed=2)
    items = pd.DataFrame(shop.products).rename(columns={"id": "item_id"})
    return train, hidden.tolist(), items[["item_id", *NAMES]]


@pytest.fixture(scope="module")
def fitted(sold):
    train, _, items = sold
    products = stamp.Products.from_frame(items)
    return stamp.StampRecommender(**OPTIONS).fit(train, products=products, progress=False)


@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


def rows_by_hand(path, items):
    """What each product of a table is the sum of: its attributes' rows in the file, found by value and by edge."""
    tensors = load_file(path / "clusters" / "0.safetensors")
    first, rows = 0, np.zeros((len(items), tensors["attribute_rows"].shape[1]), np.float32)
    for name in sorted(NAMES):
        if f"content.{name}.edges" in tensors:
            edges = tensors[f"content.{name}.edges"]
            places = np.maximum(np.searchsorted(edges, items[name].to_numpy(np.float32), side="right") - 1, 0)
            size = len(edges)
        else:
            ends = tensors[f"content.{name}.value_offsets"]
            text = tensors[f"content.{name}.value_bytes"].tobytes()
            values = [text[a:b].decode() for a, b in zip(ends[:-1], ends[1:])]
            places = np.array([values.index(str(value)) for value in items[name]])
            size = len(values)
        rows += tensors["attribute_rows"][first + places]
        first += size
    assert first == len(tensors["attribute_rows"])
    return rows


def test_new_products_are_the_sum_of_their_attributes_rows_and_the_others_stay(saved, sold, fitted):
    _, hidden, items = sold
    new = items[items.item_id.isin(hidden)]
    expected = rows_by_hand(saved, new)
    assert stamp.add_products(saved, items) == {"added": len(hidden), "known": len(items) - len(hidden), "left_out": []}
    after = stamp.load(saved, device="cpu")
    ids = after.item_ids_.tolist()
    rows = after.weights_["items"]
    assert np.array_equal(rows[[ids.index(item) for item in fitted.item_ids_.tolist()]], fitted.weights_["items"])
    np.testing.assert_array_equal(rows[[ids.index(item) for item in new.item_id]], expected)
    assert stamp.add_products(saved, items) == {"added": 0, "known": len(items), "left_out": []}


def test_new_products_are_found_as_no_trivial_list_finds_them(saved, sold, shop):
    train, _, items = sold
    stamp.add_products(saved, items)
    found = offline.cold_start(
        {"with content": stamp.load(saved, device="cpu")}, train, shop.sessions, stamp.Products.from_frame(items),
        attribute="category", leakage="report",
    )  # fmt: skip
    hits = {name: found.row(name, "hr@10", clicks="0").value for name in ("with content", "category popularity")}
    assert hits["with content"] > 0.2 > hits["category popularity"]


@pytest.fixture
def clusters(sold, tmp_path):
    """A bundle of two clusters by category, with rules."""
    train, hidden, items = sold
    products = stamp.Products.from_frame(items)
    half = sorted(set(items.category))[:5]
    models = {}
    for cluster in (0, 1):
        wanted = items[items.category.isin(half) == (cluster == 0)].item_id
        part = [[item for item in train.session(i).tolist() if item in set(wanted)] for i in range(len(train))]
        sessions = stamp.Sessions.from_frame([session for session in part if len(session) > 1])
        model = stamp.StampRecommender(**{**OPTIONS, "epochs": 1}).fit(sessions, products=products, progress=False)
        models[cluster] = tmp_path / f"model {cluster}"
        model.save(models[cluster])
    known = stamp.Products.from_frame(items[~items.item_id.isin(hidden)])
    rules = {
        "zones": {
            "home": {},
            "first": {"rules": [{"rule": "only_values", "attribute": "category", "values": half[:1]}]},
        }
    }
    stamp.build_bundle(models, known, out=tmp_path / "bundle", rules=rules, route_by="category")
    return tmp_path / "bundle", half


def test_new_products_are_in_their_cluster_under_all_rules_and_servers_take_them_by_reload(clusters, sold, tmp_path):
    path, half = clusters
    _, hidden, items = sold
    before = files_of(path)
    recommender = stamp.Recommender(path, device="cpu")
    new = items[items.item_id.isin(hidden)]
    strange = pd.DataFrame(
        {"item_id": ["strange", "of nothing"], "category": ["hats", None], "collection": [10**6] * 2}
    )
    found = stamp.add_products(path, pd.concat([new, strange]), out=tmp_path / "grown")
    assert found == {"added": len(hidden), "known": 0, "left_out": ["strange", "of nothing"]}
    assert files_of(path) == before  # which had scan tables, and so has the other
    described = stamp.verify_bundle(tmp_path / "grown")
    assert described["in_no_cluster"] == 2 and all(cluster["scan_table"] for cluster in described["clusters"])
    assert stamp.diff_bundles(path, tmp_path / "grown")["products"] == {
        "added": len(hidden) + 2, "removed": 0, "moved": 0
    }  # fmt: skip

    category = items.set_index("item_id").category
    recommender.reload(tmp_path / "grown")
    for item in hidden:
        cluster = 0 if category[item] in half else 1
        answer = recommender.recommend([item], k=len(items))
        assert (answer.path, answer.cluster) == ("anchor", cluster)
        of_cluster = {other for other in category.index if (category[other] in half) == (cluster == 0)}
        assert {other for other in hidden if other in of_cluster} - {item} <= set(answer.ids.tolist()) <= of_cluster
        listed = recommender.recommend([item], k=len(items), zone="first").ids.tolist()
        assert {category[other] for other in listed} <= set(half[:1])
        assert cluster == 1 or set(hidden) & set(listed) - {item} == {
            other for other in hidden if category[other] == half[0]
        } - {item}


def test_first_clicks_move_new_products_and_nothing_else(saved, sold, tmp_path):
    _, hidden, items = sold
    stamp.add_products(saved, items)
    shutil.copytree(saved, tmp_path / "added")
    before = stamp.load(saved, device="cpu")
    popular = before.item_ids_[np.argsort(-before._counts)][:20].tolist()
    new = hidden[0]
    visits = [[popular[0], new], [popular[1], new], [popular[0], popular[2], new, "unheard of"]]
    sessions = stamp.Sessions.from_frame(3 * visits)

    def rank(model):
        return model.recommend([popular[0]], k=len(items))[0].tolist().index(new)

    assert stamp.refresh_products(saved, sessions) == {"refreshed": 1}
    after = stamp.load(saved, device="cpu")
    assert rank(after) < rank(before)
    moved = (after.weights_["items"] != before.weights_["items"]).any(1)
    assert after.item_ids_[moved].tolist() == [new]
    norms = [np.linalg.norm(model.weights_["items"][moved]) for model in (before, after)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)
    assert stamp.refresh_products(saved, sessions) == {"refreshed": 1}  # the same again
    found = stamp.diff_bundles(tmp_path / "added", saved)
    assert found["clusters"]["other_data"] == [0] and not any(found["products"].values())
    again = stamp.load(saved, device="cpu")
    assert all(np.array_equal(again.weights_[name], values) for name, values in after.weights_.items())


def test_what_cannot_be_added_is_said_before_anything_is_written(saved, sold, shop, tmp_path):
    train, hidden, items = sold
    new = items[items.item_id.isin(hidden)]
    before = files_of(saved)
    for given, message in (
        (pd.concat([new, new.head(1)]), r"twice"),
        ({"item_id": [1, 2], "category": ["shirts", "shirts"]}, r"add_products: items has ids that are integers"),
        ({"item_id": ["x"], "price": ["cheap"]}, r"price"),
    ):
        with pytest.raises(ValueError, match=message):
            stamp.add_products(saved, given)
    with pytest.raises(ValueError, match=r"refresh_products: sessions is list, expected stamp.Sessions"):
        stamp.refresh_products(saved, [["a", "b"]])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(RuntimeError, match=r"notes.txt"):
        stamp.add_products(saved, new, out=tmp_path / "mine")
    assert files_of(saved) == before

    plain = stamp.StampRecommender(dim=8, epochs=1, device="cpu").fit(train, progress=False)
    plain.save(tmp_path / "plain")
    for call in (lambda: stamp.add_products(tmp_path / "plain", new),
                 lambda: stamp.refresh_products(tmp_path / "plain", train)):  # fmt: skip
        with pytest.raises(
            ValueError, match=r"the model of cluster 0 was trained without content; train it with content="
        ):
            call()


def test_the_command_line_does_the_same(saved, sold, tmp_path, capsys):
    _, hidden, items = sold
    items.to_csv(tmp_path / "items.csv", index=False)
    call = ["bundle", "add-products", saved, "--items", tmp_path / "items.csv", "--out", tmp_path / "grown"]
    assert main([*map(str, call)]) == 0
    assert capsys.readouterr().out == f"{len(hidden)} products added, {len(items) - len(hidden)} known before\n"
    stamp.add_products(saved, items)
    assert files_of(saved) == files_of(tmp_path / "grown")
    known = items.item_id[~items.item_id.isin(hidden)].iloc[0]
    pd.DataFrame({"session_id": [1, 1], "item_id": [known, hidden[0]]}).to_csv(tmp_path / "events.csv", index=False)
    call = ["bundle", "refresh-products", saved, tmp_path / "events.csv", "--json"]
    assert main([*map(str, call)]) == 0
    assert json.loads(capsys.readouterr().out) == {"refreshed": 1}
