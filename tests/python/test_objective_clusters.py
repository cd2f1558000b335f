"""Clusters, steps of a pipeline and the command line with objectives: a log whose truth is known, of which only a rare
step is ordered, and that in two clusters of three."""

import json
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import stamp
import stamp.data
from command_line import call
from small_bundles import files_of
from small_clusters import SMALL, Clusters
from small_prepared import completed, plain_frame, prepare
from stamp.pipeline.steps import models

RING, RINGS, VISITS = 30, 3, 2000
CONFIG = {"dim": 32, "epochs": 12, "batch_size": 64, "learning_rate": 0.02, "dropout": 0.0, "seed": 3,
          "validation": 0, "objectives": ["order"]}  # fmt: skip
SHORT = {**SMALL["config"], "objectives": ["order"]}


def steps_of(ring, first, steps):
    """Products [n,steps+1] of visits that stay in a ring of products."""
    return ring[:, None] * RING + (first[:, None] + np.cumsum(np.c_[np.zeros(len(first), int), steps], axis=1)) % RING


def after(step, ring):
    """Sessions from each product of a ring to the one `step` further."""
    first = np.arange(RING)
    items = steps_of(np.full(RING, ring), first, np.full((RING, 1), step))
    return pd.DataFrame({"session_id": np.repeat(first, 2), "item_id": items.ravel()})


@pytest.fixture(scope="module")
def frame():
    """Visits that go one product further four times in five, and seven further else, which is ordered, but not in the
    last ring. A part of the first ring's visits begins with a cart."""
    random = np.random.default_rng(17)
    ring, steps = random.integers(0, RINGS, VISITS), np.where(random.random((VISITS, 3)) < 0.2, 7, 1)
    items = steps_of(ring, random.integers(0, RING, VISITS), steps)
    types = np.where(np.c_[np.zeros(VISITS, int), steps] == 7, "order", "view").astype(object)
    types[ring == RINGS - 1] = "view"
    types[(ring == 0) & (random.random(VISITS) < 0.3), 0] = "cart"
    visit, position = np.divmod(np.arange(items.size), items.shape[1])
    rows = pd.DataFrame({"position": position, "item_id": items.ravel(), "event_type": types.ravel()})
    rows["session_id"] = rows["visitor_id"] = [f"v{each:04}" for each in visit]
    rows["timestamp"] = (visit * 100 + position) * 1_000_000
    rows["value_millionths"], rows["weight_millionths"] = pd.Series(np.nan, rows.index, "Int64"), 1_000_000
    return completed(rows)


@pytest.fixture(scope="module")
def shop(frame, tmp_path_factory):
    """A folder in which the steps of a night have made the full model, its clusters, and a model of each."""
    folder = tmp_path_factory.mktemp("shop")
    items = np.arange(RING * RINGS)
    products = pa.table({"item_id": items, "ring": [f"r{item // RING}" for item in items]})
    prepare(folder / "prepared", frame, products=products)
    full = models.train_full(folder / "prepared", out=folder / "full", config=CONFIG, device="cpu")
    models.cluster(folder / "full/model", folder / "prepared", out=folder, attribute="ring", clusters=RINGS)
    clusters = folder / "clusters.safetensors"
    models.partition(folder / "prepared", clusters, out=folder / "laid_out")
    trained = models.train_clusters(folder / "laid_out", clusters, out=folder / "models", config=CONFIG, min_examples=0,
                                    device="cpu", jobs=2)  # fmt: skip
    assert full.passed and trained.passed and trained.counts["trained"] == RINGS
    return folder, clusters


def firsts(model, ring, objective):
    """How often the first product listed is one further, and seven further."""
    tests = [stamp.Sessions.from_frame(after(step, ring)) for step in (1, 7)]
    return [stamp.evaluate(model, test, k=1, objective=objective).at[1]["hr"] for test in tests]


def test_models_of_steps_move_from_clicks_to_orders(shop):
    folder, _ = shop
    for model in (
        stamp.load(folder / "full/model", device="cpu"),
        stamp.load_clusters(folder / "models", device="cpu"),
    ):
        for ring in (0, 1):
            one, seven = firsts(model, ring, None)
            assert one > 0.9 and seven < 0.1
            one, seven = firsts(model, ring, {"order": 1})
            assert one < 0.1 and seven > 0.9


def test_a_cluster_without_orders_is_learnt_as_clicks_are(shop):
    folder, _ = shop
    model = stamp.load_clusters(folder / "models", device="cpu")
    for objective in (None, {"order": 1}, {"click": 1, "order": 1}):
        one, seven = firsts(model, RINGS - 1, objective)
        assert one > 0.9 and seven < 0.1


def test_models_are_those_of_the_whole_and_of_single_calls(frame, shop, tmp_path):
    folder, clusters = shop
    plain_frame(frame).to_parquet(tmp_path / "events.parquet")
    raw = plain_frame(frame).rename(columns={"event_type": "what"})
    raw.to_parquet(tmp_path / "raw.parquet")
    options = {"config": CONFIG, "min_examples": 0, "device": "cpu", "progress": False}
    sessions = stamp.Sessions.from_frame(plain_frame(frame))
    for number, (data, reading) in enumerate([
        (sessions, None), (sessions.labelled(["cart", "order"]), None), (tmp_path / "events.parquet", None),
        (tmp_path / "raw.parquet", {"event_type": "what"}),
    ]):  # fmt: skip
        stamp.train_cluster(data, clusters, 1, out=tmp_path / str(number), reading=reading, **options)
        assert files_of(tmp_path / str(number) / "model") == files_of(folder / "models/1/model")
    del options["progress"]
    failed = models.train_some(folder / "laid_out", clusters, [0, 1, 2], out=lambda cluster: Folder(tmp_path, cluster),
                               **options)  # fmt: skip
    assert not failed
    gathered = models.gather_clusters(
        folder / "laid_out", clusters, out=tmp_path / "some", config=CONFIG, min_examples=0
    )
    assert gathered.passed and gathered.counts["trained"] == RINGS
    for cluster in range(RINGS):
        path = f"{cluster}/model"
        assert files_of(tmp_path / "some" / path) == files_of(folder / "models" / path)


def test_clusters_that_were_trained_one_by_one_are_gathered_with_content_too(shop, tmp_path):
    folder, clusters = shop
    options = {"config": {**SHORT, "content": True}, "min_examples": 0}
    assert not models.train_some(folder / "laid_out", clusters, [0, 1, 2], out=lambda cluster: Folder(tmp_path, cluster),
                                 device="cpu", **options)  # fmt: skip
    gathered = models.gather_clusters(folder / "laid_out", clusters, out=tmp_path / "some", **options)
    assert gathered.passed and gathered.counts["trained"] == RINGS


class Folder:
    """Where the model of a cluster comes to be."""

    def __init__(self, folder, cluster):
        self.path = folder / "some" / str(cluster)

    def __enter__(self):
        return str(self.path)

    def __exit__(self, *_):
        pass


def test_other_objectives_are_another_training(frame, shop, tmp_path):
    folder, clusters = shop
    sessions = stamp.Sessions.from_frame(plain_frame(frame))
    options = {**SMALL, "out": tmp_path / "one"}
    for data in (sessions, folder / "laid_out"):
        reports = []
        for objectives in ([], ["order"], ["cart"], ["order", "cart"]):
            options["config"] = {**SHORT, "objectives": objectives}
            reports.append(stamp.train_cluster(data, clusters, 0, **options))
            again = stamp.train_cluster(data, clusters, 0, **options)
            assert again.seconds == reports[-1].seconds and again.config["objectives"] == objectives
        assert len({report.identity for report in reports}) == 4


def test_models_that_come_before(frame, shop, tmp_path):
    _, clusters = shop
    sessions = stamp.Sessions.from_frame(plain_frame(frame))
    options = {**SMALL, "config": {**SHORT, "validation": 0.2}, "jobs": 1}
    first = stamp.train_clusters(sessions, clusters, out=tmp_path / "first", **options)
    then = stamp.train_clusters(sessions, clusters, out=tmp_path / "then", like=tmp_path / "first",
                                warm_start=tmp_path / "first", **options)  # fmt: skip
    for cluster, report in then.items():
        assert report.config["objectives"] == ["order"] and report.config["validation"] == 0
        assert report.training["epochs"][0]["loss"] < first[cluster].training["epochs"][0]["loss"]
        assert stamp.load(report.path, device="cpu").weights_["attention.objectives"].any()
    options = {**SMALL, "config": {**SHORT, "objectives": ["cart"]}, "warm_start": tmp_path / "first"}
    with pytest.raises(ValueError, match="that model has objectives=.'order'., this one objectives=.'cart'."):
        stamp.train_cluster(sessions, clusters, 0, out=tmp_path / "other", **options)


def test_what_cannot_be(frame, shop, tmp_path):
    folder, clusters = shop
    events = plain_frame(frame)
    sessions = stamp.Sessions.from_frame(events)
    events.drop(columns="event_type").to_parquet(tmp_path / "bare.parquet")
    buy, order = ({**SMALL, "config": {**SHORT, "objectives": [name]}} for name in ("buy", "order"))
    for number, (data, options, message) in enumerate([
        (sessions, buy, "no event is of type 'buy'; this log knows view, order, cart"),
        (folder / "laid_out", buy, "no event of .*laid_out is of type 'buy'; its mapping knows view, cart, order"),
        (tmp_path / "bare.parquet", order, "bare.parquet: no column 'event_type' among session_id, item_id"),
        (stamp.Sessions.from_frame(tmp_path / "bare.parquet"), order, "no column event_type"),
        (sessions, {**SMALL, "config": {"objectives": "order"}}, "objectives is 'order', expected a list"),
    ]):  # fmt: skip
        out = tmp_path / str(number)
        with pytest.raises(ValueError, match=message):
            stamp.train_clusters(data, clusters, out=out, jobs=1, **options)
        assert not out.exists()
        with pytest.raises(ValueError, match=message):
            stamp.train_cluster(data, clusters, 0, out=out, **options)
        assert json.loads((out / "report.json").read_text())["status"] == "failed" and not (out / "model").exists()


def test_prepared_views_alone_are_no_orders(frame, tmp_path):
    """What a mapping does not say is no event."""
    prepared = prepare(tmp_path / "prepared", frame.assign(event_type="view"))
    clusters = Clusters({0: list(range(RING)), 1: list(range(RING, RING * RINGS))})
    laid_out = stamp.data.partition(
        prepared, {"item_id": clusters.item_ids.tolist(), "cluster": clusters.labels.tolist()}
    )
    laid_out.manifest.mapping.clear()
    with pytest.raises(ValueError, match="is of type 'order'; its mapping knows view"):
        stamp.train_cluster(laid_out, clusters, 0, out=tmp_path / "m", **{**SMALL, "config": SHORT})


def test_the_command_line(frame, shop, tmp_path):
    folder, clusters = shop
    raw = tmp_path / "events.csv"
    plain_frame(frame).rename(columns={"event_type": "what"}).drop(columns=["value", "visitor_id"]).to_csv(
        raw, index=False
    )
    after(7, 0).to_csv(tmp_path / "orders.csv", index=False)
    options = ["--device", "cpu", "--quiet"]
    for name, value in CONFIG.items():
        options += ["-o", f"{name}={json.dumps(value)}"] if name != "validation" else []
    call("train", raw, "--event-type", "what", "--out", tmp_path / "model", *options)
    call("train", folder / "prepared", "--out", tmp_path / "prepared", *options)
    evaluate = ["evaluate", tmp_path / "model", tmp_path / "orders.csv", "--device", "cpu", "--k", 1, "--json"]
    assert json.loads(call(*evaluate).stdout)["hr@1"] < 0.1
    for model in (tmp_path / "model", tmp_path / "prepared", folder / "full/model"):
        evaluate[1] = model
        assert json.loads(call(*evaluate, "--objective", "order=1").stdout)["hr@1"] > 0.9
    assert json.loads(call(*evaluate, "--objective", "order=1", "--objective", "click=9").stdout)["hr@1"] < 0.1
    for wrong, message in (
        ("order", "--objective order: expected NAME=WEIGHT, as order=0.3"), ("order=-1", "objective has -1.0 for"),
        ("cart=1", "objective names 'cart', expected some of 'click', 'order'"),
    ):  # fmt: skip
        assert message in call(*evaluate, "--objective", wrong, status=2).stderr
    twice = ["--objective", "order=1", "--objective", "order=2"]
    assert "--objective order=2: 'order' is given twice" in call(*evaluate, *twice, status=2).stderr
    named = ["evaluate", tmp_path / "model", raw, "--event-type", "what", "--device", "cpu", "--json"]
    events = stamp.Sessions.from_frame(raw, event_type="what")
    asked = stamp.evaluate(stamp.load(tmp_path / "model", device="cpu"), events.leading_to("order"))
    said = json.loads(call(*named, "--leading-to", "order").stdout)
    assert said["examples"] == asked.examples and said.items() >= asked.to_dict().items()
    assert 0 < asked.examples < json.loads(call(*named).stdout)["examples"]
    assert "no event is of type 'gift'" in call(*named, "--leading-to", "gift", status=2).stderr
    first = [
        json.loads(call("recommend", tmp_path / "model", 4, "--k", 1, "--objective", f"{name}=1", "--json").stdout)[
            "ids"
        ]
        for name in ("click", "order")
    ]
    assert first == [[5], [11]]
    words = [*options, "-o", "validation=0", "--min-examples", 0]
    for data, more in ((raw, ["--event-type", "what"]), (folder / "laid_out", [])):
        out = tmp_path / pathlib.Path(data).name
        out = out.with_suffix(".models")
        call("train-cluster", data, clusters, 1, *more, "--out", out, *words)
        assert files_of(out / "model") == files_of(folder / "models/1/model")
    assert "no column 'event_type' among" in call("train", raw, "--out", tmp_path / "none", *options, status=2).stderr
    search = ["search", "--data", raw, "--event-type", "what", "--space", '{"dim": [8]}', "--trials", 1, "--json"]
    found = json.loads(call(*search, "--device", "cpu", "-o", "epochs=1", "-o", 'objectives=["order"]').stdout)
    assert len(found["trials"]) == 1
