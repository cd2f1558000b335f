"""What events lead to, against all pairs of events of a session: labels, and the targets that lead to an objective."""

import functools
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import stamp
from small_clusters import OPTIONS, Clusters
from small_prepared import prepare, visits
from stamp import _stamp, offline
from stamp.catalog.jobs import Settings
from stamp.catalog.plans import Plan

KINDS = ("view", "cart", "order", "remove")


def made_up(seed=0, sessions=80, products=6):
    """Rows of a log in no order, some of whose types are missing."""
    random = np.random.default_rng(seed)
    n = sessions * 6
    return pd.DataFrame({
        "session_id": random.integers(0, sessions, n), "item_id": [f"sku-{i}" for i in random.integers(0, products, n)],
        "timestamp": random.permutation(n) + 1_600_000_000, "weight": random.choice([0, 0.5, 1, 2], n),
        "event_type": random.choice([*KINDS, None], n, p=[0.6, 0.1, 0.1, 0.1, 0.1]),
    })  # fmt: skip


def types_of(sessions):
    column = sessions.columns["event_type"]
    return column.to_pylist() if hasattr(column, "to_pylist") else list(column)


def leading(sessions, objective):
    """Every later event of its session, asked of each."""
    types, leads, first = types_of(sessions), [], 0
    for s in range(len(sessions)):
        items = sessions.session(s).tolist()
        for i, item in enumerate(items):
            rest = range(i, len(items))
            leads.append(any(items[j] == item and types[first + j] == objective for j in rest))
        first += len(items)
    return np.array(leads, bool)


def check(sessions, objectives):
    assert sessions.objectives == tuple(objectives)
    bits = np.zeros(sessions.n_events, np.uint8)
    for k, name in enumerate(objectives):
        expected = leading(sessions, name)
        assert expected.any() and not expected.all()
        np.testing.assert_array_equal(sessions.labels(name), expected)
        bits |= (expected << k).astype(np.uint8)
    np.testing.assert_array_equal(sessions._core.labels, bits)


@pytest.mark.parametrize("objectives", [["order"], ["order", "cart"], ("remove", "order", "view")])
@pytest.mark.parametrize("seed", range(5))
def test_labels_are_those_of_all_pairs(objectives, seed):
    sessions = stamp.Sessions.from_frame(made_up(seed))
    before = sessions._core.fingerprint()
    labelled = sessions.labelled(objectives)
    check(labelled, objectives)
    for name in ("items", "offsets", "timestamps", "weights"):
        np.testing.assert_array_equal(getattr(labelled._core, name), getattr(sessions._core, name))
    assert labelled.columns is sessions.columns and labelled.item_ids.tolist() == sessions.item_ids.tolist()
    assert sessions.objectives == () and not len(sessions._core.labels) and sessions._core.fingerprint() == before
    assert labelled._core.fingerprint() != before
    check(labelled.labelled(["cart"]), ["cart"])  # others take their place


def test_types_of_any_make_and_name(tmp_path):
    frame = made_up()
    expected = stamp.Sessions.from_frame(frame).labelled(["order", "cart"])._core.labels
    assert expected.any()
    path = tmp_path / "log.csv"
    frame.to_csv(path, index=False)
    renamed = frame.rename(columns={"event_type": "what happened"})
    as_category = frame.assign(event_type=frame["event_type"].astype("category"))
    for data in (pl.from_pandas(frame), pa.Table.from_pandas(frame), path, as_category,
                 frame.assign(event_type=frame["event_type"].astype("string"))):  # fmt: skip
        found = stamp.Sessions.from_frame(data).labelled(["order", "cart"])
        np.testing.assert_array_equal(found._core.labels, expected)
    found = stamp.Sessions.from_frame(renamed, event_type="what happened", keep=()).labelled(["order", "cart"])
    np.testing.assert_array_equal(found._core.labels, expected)
    codes = frame["event_type"].map({kind: code for code, kind in enumerate(KINDS)})
    for numbers in (codes.astype("Int64"), codes.fillna(9).astype(int)):
        found = stamp.Sessions.from_frame(frame.assign(event_type=numbers)).labelled(["2", "1"])
        np.testing.assert_array_equal(found._core.labels, expected)
    numbers = codes.astype("Int64")
    numbers.iloc[-1] = None  # of no known type
    expected = stamp.Sessions.from_frame(frame.assign(event_type=numbers)).labelled(["2", "1"])._core.labels
    table = pa.Table.from_pandas(frame.assign(event_type=numbers))
    np.testing.assert_array_equal(stamp.Sessions.from_frame(table).labelled(["2", "1"])._core.labels, expected)


def test_labels_stay_with_their_events():
    sessions = stamp.Sessions.from_frame(made_up(1)).labelled(["order", "cart"])
    wanted = ["order", "cart"]
    splits = (*sessions.split_last(0.3), *sessions.split_by_time(1_600_000_350))
    for part in (*splits, sessions.select(sessions.lengths > 4), sessions.leading_to("order")):
        check(part, wanted)
    rest, _ = offline.hide_products(sessions, 0.4, seed=1)
    assert rest.n_events < sessions.n_events
    check(rest, wanted)  # what stays of a product is all that there was of it

    core = sessions._core
    other = stamp.Sessions.from_frame([["sku-3", "sku-1"], ["sku-0", "new"]])
    moved = sessions.rows_in(other._catalog, "sessions", "other")
    assert (moved.items < 0).any() and (moved.items >= 0).any()
    np.testing.assert_array_equal(moved.labels, core.labels)
    np.testing.assert_array_equal(moved.without_unknown().labels, core.labels[moved.items >= 0])
    np.testing.assert_array_equal(core.slice(10, 30).labels, core.labels[core.offsets[10] : core.offsets[30]])
    np.testing.assert_array_equal(core.concatenate(other._core).labels, [*core.labels, 0, 0, 0, 0])
    np.testing.assert_array_equal(other._core.concatenate(core).labels, [0, 0, 0, 0, *core.labels])
    assert not len(other._core.concatenate(other._core).labels)
    again = pickle.loads(pickle.dumps(core))
    np.testing.assert_array_equal(again.labels, core.labels)
    assert again.fingerprint() == core.fingerprint()


@pytest.mark.parametrize("weighted", [False, True])
def test_targets_that_lead_to_an_objective(weighted):
    frame = made_up(2)
    sessions = stamp.Sessions.from_frame(frame if weighted else frame.drop(columns="weight"))
    leads = leading(sessions, "order")
    before = sessions._core.weights if weighted else np.ones(sessions.n_events, np.float32)
    led = sessions.leading_to("order")
    np.testing.assert_array_equal(led._core.weights, np.where(leads, before, 0))
    assert led.objectives == () and not len(led._core.labels)
    assert len(sessions._core.weights) == (sessions.n_events if weighted else 0)
    np.testing.assert_array_equal(led._core.items, sessions._core.items)

    # A list that is the same for all says what a hit is.
    model = stamp.PopularityRecommender().fit(sessions)
    first = {*model.recommend(sessions.session(0)[:1].tolist(), k=2)[0].tolist()}
    starts = np.isin(np.arange(sessions.n_events), sessions._core.offsets)
    items = sessions.item_ids[sessions._core.items]
    targets = leads & ~starts & (before > 0)
    found = stamp.evaluate(model, led, k=2)
    assert 0 < found.examples == targets.sum() < stamp.evaluate(model, sessions, k=2).examples
    assert found.at[2]["hr"] == pytest.approx(np.mean([item in first for item in items[targets]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.labelled(["buy"]), r"labelled: no event is of type 'buy'; this log knows view, order, cart$"),
        (lambda s: s.leading_to("buy"), r"leading_to: no event is of type 'buy'; this log knows view, order, cart$"),
        (lambda s: s.labelled(["order", "cart", "order"]), "labelled: objectives has 'order' twice"),
        (lambda s: s.labelled(["order", "click"]), "labelled: objectives has 'click', which every target is for"),
        (lambda s: s.leading_to("click"), "leading_to: objective is 'click', which every target is for"),
        (lambda s: s.labelled(["a", "b", "c", "d"]), "labelled: objectives has 4 names, expected 1 to 3"),
        (lambda s: s.labelled([]), "labelled: objectives has 0 names, expected 1 to 3"),
        (lambda s: s.labelled("order"), r"labelled: objectives is 'order', expected a list of types of events"),
        (lambda s: s.labelled({"order"}), r"labelled: objectives is \{'order'\}, expected a list"),
        (lambda s: s.labelled([7]), "labelled: objectives has 7, expected the name of a type of events"),
        (lambda s: s.labelled([""]), "labelled: objectives has '', expected the name of a type of events"),
        (lambda s: s.leading_to(None), "leading_to: objective is None, expected the name of a type of events"),
        (lambda s: s.labels("order"), "labels: objective is 'order', expected one of none"),
        (lambda s: s.labelled(["cart"]).labels("order"), "labels: objective is 'order', expected one of cart"),
    ],
)
def test_what_cannot_be_an_objective_is_named(call, message):
    types = ["view", "order", "view", "cart", "order", None, "view"]
    with pytest.raises(ValueError, match=message):
        call(stamp.Sessions.from_frame({"session_id": [1] * 7, "item_id": [*range(7)], "event_type": types}))


def test_sessions_without_types_of_events_are_refused():
    frame = made_up(3)
    for data, there in ((frame.drop(columns="event_type"), "none"),
                        (frame.drop(columns="event_type").assign(price=1.5, shop="a"), "price, shop")):  # fmt: skip
        sessions = stamp.Sessions.from_frame(data)
        for call in (functools.partial(sessions.labelled, ["order"]), functools.partial(sessions.leading_to, "order")):
            with pytest.raises(ValueError, match=f"no column event_type, only {there}; name or keep it"):
                call()
    missing = stamp.Sessions.from_frame(frame.assign(event_type=pd.Series([None] * len(frame), dtype="string")))
    with pytest.raises(ValueError, match="no event is of type 'order'; this log knows none"):
        missing.labelled(["order"])
    many = stamp.Sessions.from_frame(frame.assign(event_type=[f"t{i:03d}" for i in range(len(frame))]))
    with pytest.raises(ValueError, match=r"this log knows t000, t001, .*, t009 and 470 more$"):
        many.labelled(["order"])


def test_arrays_that_cannot_be_labels_are_refused():
    with pytest.raises(ValueError, match="Sessions: 1 labels for 2 events"):
        _stamp.Sessions([1, 2], [0, 2], labels=[1])
    with pytest.raises(ValueError, match="Sessions: event 1 has label 8, expected 0 to 7"):
        _stamp.Sessions([1, 2], [0, 2], labels=[7, 8])
    with pytest.raises(ValueError, match="leading_labels: 1 kinds for 2 events"):
        _stamp.leading_labels(_stamp.Sessions([1, 2], [0, 2]), [1])
    sessions, order = _stamp.Sessions.from_events([5, 6, 5], [0, 1, 2], [9, 8, 7], label=[1, 2, 4], with_order=True)
    np.testing.assert_array_equal(sessions.labels, np.array([1, 2, 4])[order])


@pytest.mark.parametrize("min_examples", [0, 200])
@pytest.mark.parametrize("validation", [0, 0.2])
def test_clusters_train_on_labels_of_the_whole_sessions(tmp_path, min_examples, validation):
    sessions = stamp.Sessions.from_frame(made_up(4, sessions=200, products=12)).labelled(["order", "cart"])
    of_cluster = {3: range(5), 5: range(5, 9), 8: range(9, 11)}  # one product is in none
    members = {cluster: [f"sku-{i}" for i in items] for cluster, items in of_cluster.items()}
    plan = Plan.make(sessions, Clusters(members, {8: 3}), min_examples, None)
    assert plan.into == ({8: 3} if min_examples else {})
    settings = Settings.read({**OPTIONS, "validation": validation}, min_examples)
    label_of = dict(zip(sessions.timestamps.astype(np.int64).tolist(), sessions._core.labels.tolist()))
    assert len(label_of) == sessions.n_events  # no two at a time
    for cluster in {*members} - {*plan.into}:
        job = plan.job(plan.report(cluster, settings, ""), settings, tmp_path, "cpu", None)
        core = pickle.loads(pickle.dumps(job.sessions))
        assert len(core.labels) == core.events > 40 and {0, 1, 2} <= {*core.labels.tolist()}
        assert core.labels.tolist() == [label_of[time] for time in core.timestamps.tolist()]
        if validation:
            parts = stamp.Sessions(core, plan.data.catalog).split_last(validation)
            assert [*parts[0]._core.labels, *parts[1]._core.labels] == core.labels.tolist()
    plain = Plan.make(stamp.Sessions.from_frame(made_up(4, sessions=200, products=12)), Clusters(members), 0, None)
    assert plain.data.fingerprint != plan.data.fingerprint
    assert not len(plain.job(plain.report(3, settings, ""), settings, tmp_path, "cpu", None).sessions.labels)


@pytest.mark.parametrize("texts", [False, True])
def test_prepared_sessions_can_be_labelled(tmp_path, texts):
    prepare(tmp_path, visits(texts=texts), max_rows=113)
    for keep in (None, ["event_type"]):
        check(stamp.Sessions.from_frame(tmp_path, keep=keep).labelled(["order", "cart"]), ["order", "cart"])
    with pytest.raises(
        ValueError, match="labelled: these sessions have no column event_type, only none; name or keep it"
    ):
        stamp.Sessions.from_frame(tmp_path, keep=()).labelled(["order"])


def test_jdata_is_labelled_from_the_file_and_as_prepared(real_data, tmp_path):
    path = real_data / "jdata_demo" / "sessions.tsv.gz"
    sessions = stamp.Sessions.from_frame(path)
    assert types_of(sessions).count("order") == 2_164
    check(sessions.labelled(["order", "follow"]), ["order", "follow"])
    led = sessions.leading_to("order")
    np.testing.assert_array_equal(led._core.weights > 0, leading(sessions, "order"))

    mapping = stamp.data.EventMapping(
        visitor_id="visitor_id", session_id="session_id", item_id="item_id", time="timestamp", event_type="event_type",
        event_types={"view": "view", "order": "order"}, time_zone="Asia/Shanghai",
    )  # fmt: skip
    stamp.data.prepare(str(path), out=tmp_path / "p", mapping=mapping, min_support=1, min_length=1, progress=False)
    check(stamp.Sessions.from_frame(tmp_path / "p").labelled(["order"]), ["order"])
