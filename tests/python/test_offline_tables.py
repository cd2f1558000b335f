"""Tables, cuts, and what a replay refuses to be asked."""

import json
import math

import numpy as np
import pytest

import stamp
from stamp.offline import Lists, Questions, Replay, Table, Zone
from stamp.offline.metrics.registry import NEEDS


def test_a_table_in_every_form():
    table = Table(
        ["name", "hr@20", "n", "note"],
        [["a|b", np.float32(0.5), np.int64(1200), None], ["<c>", math.nan, 7, "x"]],
        title="T",
        notes=["said & done"],
        formats={"hr@20": ".1%"},
    )
    assert table.to_text() == repr(table)
    assert repr(table).splitlines() == [
        "T", "name  hr@20      n  note", "a|b   50.0%  1,200  –", "<c>       –      7  x", "said & done"
    ]  # fmt: skip
    assert table.to_markdown().splitlines() == [
        "**T**", "", "| name | hr@20 | n | note |", "| --- | ---: | ---: | --- |", "| a\\|b | 50.0% | 1,200 | – |",
        "| <c> | – | 7 | x |", "", "said & done",
    ]  # fmt: skip
    assert json.loads(table.to_json()) == table.to_dict()
    assert table.to_dict()["rows"][1] == {"name": "<c>", "hr@20": None, "n": 7, "note": "x"}
    html = table._repr_html_()
    assert "&lt;c&gt;" in html and "said &amp; done" in html and "<c>" not in html
    assert table.to_frame()["n"].tolist() == [1200, 7]
    assert table.column("name") == ["a|b", "<c>"] and len(table) == 2
    assert len(Table(["a"], [])) == 0 and repr(Table(["a"], [])) == "a"


def test_tables_that_cannot_be():
    with pytest.raises(ValueError, match="row 1 has 1 values, expected 2"):
        Table(["a", "b"], [[1, 2], [1]])
    with pytest.raises(ValueError, match="formats names column 'c'"):
        Table(["a"], [], formats={"c": "d"})
    with pytest.raises(ValueError, match="no column 'c', expected one of a"):
        Table(["a"], []).column("c")


def small(**options):
    """Sessions a b c, b c d e f and a f; two zones, one of which "a" alone was asked in."""
    sessions = stamp.Sessions.from_frame({
        "session_id": [1, 1, 1, 2, 2, 2, 2, 2, 3, 3],
        "item_id": list("abcbcdefaf"),
        "device": ["phone", "phone", "desk", "desk", "desk", "desk", "desk", None, "phone", "phone"],
        "dwell": np.arange(10.0),
        "hour": [1, 1, 2, 2, 2, 2, 2, 3, 3, 3],
    })  # fmt: skip
    rows = {item: row for row, item in enumerate("abcdefg")}
    event = [1, 2, 4, 5, 6, 7, 9]
    questions = Questions(
        session=[0, 0, 1, 1, 1, 1, 2],
        event=event,
        anchor=[0] * 7,
        target=[rows[item] for item in "bccdeff"],
        remaining=(range(8), [rows[item] for item in "bccdeff"]),
    )
    first = Lists(rows=[[1, 2], [3, 4], [2, 3], [1, 3], [4, 5], [0, 1], [5, 2]])
    options = {"clicks": [50, 20, 10, 10, 9, 1, 0], "sessions": sessions, **options}
    return Replay(
        zones={"one": Zone(name="one", k=2), "two": Zone(name="two", k=1)},
        questions={"one": questions, "two": questions},
        lists={
            ("a", "one"): first,
            ("b", "one"): Lists(rows=first.rows[:, ::-1]),
            ("a", "two"): Lists(rows=first.rows[:, :1]),
        },
        item_ids=list("abcdefg"),
        **options,
    )


def kinds(replay, cut):
    labels, names = replay.cut(cut, "one")
    assert sorted(set(labels.tolist())) == list(range(len(names)))
    return [names[label] for label in labels]


def test_cuts():
    products = stamp.Products.from_frame({
        "item_id": list("abcdef"), "colour": ["red", "red", "blue", "blue", None, "green"],
        "price": [1.0, 2.0, 3.0, 4.0, np.nan, 6.0],
    })  # fmt: skip
    replay = small(products=products, clusters=[0, 0, 3, 3, -1, 3, 0])
    assert kinds(replay, "session_length") == ["3", "3", *["5 to 9"] * 4, "2"]
    assert kinds(replay, "position") == ["1", "2", "1", "2", "3", "4", "1"]
    # of 100 clicks a has half; a, b reach two thirds; the products of ten stand alike
    assert kinds(replay, "popularity") == ["medium", "rare", "rare", "rare", "rare", "rare", "rare"]
    assert kinds(small(clicks=[0, 40, 5, 20, 20, 15, 0]), "popularity") == [
        "popular", "rare", "rare", "medium", "medium", "rare", "rare"
    ]  # fmt: skip
    is_cold = ["warm", "cold", "cold", "warm", "warm", "cold", "cold"]
    assert kinds(small(clicks=[5, 5, 0, 5, 5, 0, 0]), "cold") == is_cold
    assert kinds(small(clicks=[9, 10, 0, 11, 1, 0, 3]), "training_clicks") == [
        "1 to 10", "0", "0", "more than 10", "1 to 10", "0", "0"
    ]  # fmt: skip
    assert kinds(replay, "colour") == ["red", "blue", "blue", "blue", "(unknown)", "green", "green"]
    assert kinds(replay, "cluster") == ["cluster 0", *["cluster 3"] * 3, "(unknown)", *["cluster 3"] * 2]
    assert kinds(replay, {"b": "x", "c": "y", "d": "x"}) == ["x", "y", "y", "x", *["(unknown)"] * 3]
    assert kinds(replay, "device") == ["phone", "desk", "desk", "desk", "desk", "(unknown)", "phone"]
    assert kinds(replay, "hour") == ["1", "2", "2", "2", "2", "3", "3"]
    assert kinds(replay, "dwell") == ["1", "2", "4", "5", "6", "7", "9"]
    assert kinds(replay, "price") == [
        "up to 3", "up to 3", "up to 3", "over 3.5, up to 5.5", "(unknown)", "over 5.5", "over 5.5"
    ]  # fmt: skip


def test_quartiles_of_many_numbers():
    sessions = stamp.Sessions.from_frame({"session_id": [0] * 101, "item_id": ["a"] * 101, "dwell": np.arange(101.0)})
    replay = Replay(
        zones={"one": Zone(name="one", k=1)},
        questions={"one": Questions(session=[0] * 100, event=np.arange(1, 101), anchor=[0] * 100, target=[0] * 100,
                                    remaining=(range(101), [0] * 100))},
        lists={("a", "one"): Lists(rows=[[0]] * 100)}, item_ids=["a"], sessions=sessions,
    )  # fmt: skip
    labels, names = replay.cut("dwell", "one")
    assert names == ["up to 25.75", "over 25.75, up to 50.5", "over 50.5, up to 75.25", "over 75.25"]
    assert np.bincount(labels).tolist() == [25, 25, 25, 25]


def test_metrics_by_kind():
    replay = small()
    table = replay.by("device", metric="mrr@2", zone="one")
    assert table.columns == ["device", "questions", "share", "a", "b"]
    assert table.rows == [
        ["desk", 4, 4 / 7, 2.5 / 4, 2 / 4], ["phone", 2, 2 / 7, 1, 1 / 2], ["(unknown)", 1, 1 / 7, 0, 0]
    ]  # fmt: skip
    table = replay.by({"b": 1}, metric="coverage", k=1)
    assert table.columns == ["cluster", "zone", "questions", "share", "a", "b"]
    assert table.rows[0][:5] == ["1", "one", 1, 1 / 7, 1 / 7]
    assert [row[1] for row in table.rows] == ["one", "one", "two", "two"] and math.isnan(table.rows[2][5])


def test_a_metric_by_kind_is_that_of_its_questions():
    """One pass over the questions gives what each kind by itself gives, also where a metric does not apply to some."""
    random = np.random.default_rng(0)
    n, V, K = 400, 30, 6
    sessions = stamp.Sessions.from_frame({
        "session_id": np.repeat(np.arange(n), 2), "item_id": [*range(V), *random.integers(0, V, 2 * n - V)],
        "weight": random.choice([0.5, 1.0, 3.0], 2 * n), "event_type": random.choice(["view", "buy"], 2 * n),
        "shelf": random.integers(0, 15, 2 * n),
    })  # fmt: skip
    event = np.arange(1, 2 * n, 2)
    target = sessions._core.items[event]
    lists = {
        (name, "z"): Lists(rows=[random.permutation(V)[:K] if i % 9 else [-1] * K for i in range(n)]) for name in "ab"
    }
    questions = Questions(session=np.arange(n), event=event, anchor=np.zeros(n), target=target,
                          remaining=(np.arange(n + 1), target))  # fmt: skip
    replay = Replay(zones={"z": Zone(name="z", k=K)}, questions={"z": questions}, lists=lists,
                    item_ids=sessions.item_ids, clicks=random.integers(0, 9, V), sessions=sessions)  # fmt: skip
    labels, kinds = replay.cut("shelf", "z")
    for metric in ("hr", "mrr", "recall:buy", "novelty", "weighted_hr", "coverage", "personalisation"):
        table = replay.by("shelf", metric=metric, k=4)
        assert table.title == f"{metric}@4 by shelf" and table.column("questions") == np.bincount(labels).tolist()
        for name in "ab":
            expected = [
                replay.aggregate(metric, name=name, zone="z", k=4, where=labels == kind) for kind in range(len(kinds))
            ]
            assert table.column(name) == pytest.approx(expected, nan_ok=True)
    table = small().by("device", metric="hr")
    assert table.title == "hr@2, hr@1 by device" and table.notes == ["one: hr@2", "two: hr@1"]
    expected = [small().by("device", metric=f"hr@{k}", zone=zone).column("a") for zone, k in (("one", 2), ("two", 1))]
    assert table.column("a") == [*expected[0], *expected[1]]


def test_the_most_frequent_types_of_events_have_columns():
    kinds = [f"kind {i:02}" for i in range(12) for _ in range(i + 1)] + [None] * 20
    n = len(kinds)
    sessions = stamp.Sessions.from_frame({"session_id": [1] * n, "item_id": ["a"] * n, "event_type": kinds})
    questions = Questions(session=[0] * (n - 1), event=np.arange(1, n), anchor=[0] * (n - 1), target=[0] * (n - 1),
                          remaining=(np.arange(n), [0] * (n - 1)))  # fmt: skip
    replay = Replay(zones={"z": Zone(name="z", k=1)}, questions={"z": questions}, sessions=sessions, item_ids=["a"],
                    lists={("x", "z"): Lists(rows=[[0]] * (n - 1))})  # fmt: skip
    table = replay.metrics()
    typed = [column.partition(":")[2] for column in table.columns if column.startswith("hr:")]
    assert typed == [f"kind {i:02}@1" for i in range(11, 3, -1)]
    assert any("8 most frequent of 12 types" in note for note in table.notes)
    assert replay.aggregate("hr:kind 01", name="x", zone="z", k=1) == 1
    with pytest.raises(ValueError, match="no event is of type 'None', expected one of kind 00, kind 01"):
        replay.aggregate("hr:None", name="x", zone="z", k=1)


def test_texts_are_in_order_wherever_they_come_from():
    """Of products they came in the order of their first product, of sessions sorted."""
    products = stamp.Products.from_frame({"item_id": list("bcdef"), "shade": ["red", "blue", "red", None, "green"]})
    assert small(products=products).cut("shade", "one")[1] == ["blue", "green", "red", "(unknown)"]
    assert small().cut("device", "one")[1] == ["desk", "phone", "(unknown)"]


def test_tables_of_metrics():
    table = small().metrics()  # each metric at each zone's own length
    assert table.columns[:5] == ["recommender", "zone", "questions", "hr@1", "hr@2"]
    assert [row[:3] for row in table.rows] == [["a", "one", 7], ["b", "one", 7], ["a", "two", 7]]
    assert table.column("hr@2")[:2] == [5 / 7, 5 / 7] and math.isnan(table.column("hr@2")[2])  # whose lists end at 1
    assert any("revenue" in note and "column value" in note for note in table.notes)
    table = small().metrics(metrics=["hr", "mrr@1"], k=[1], zone="two")
    assert table.columns == ["recommender", "questions", "hr@1", "mrr@1", "p50 ms", "p95 ms", "p99 ms"]
    table = small().metrics(metrics=["hr@2", "hr", "hr@2"], k=[2, np.int64(1), 2], zone="one")
    assert table.columns[2:4] == ["hr@2", "hr@1"] and table.columns[4] == "p50 ms"  # each once
    timed = small()
    timed.lists["a", "one"].latency = np.arange(1, 102) / 1000
    assert timed.metrics(metrics="hr@1", zone="one").rows[0][-3:] == pytest.approx([51, 96, 100])


@pytest.mark.parametrize("need", sorted(NEEDS))
def test_what_a_metric_needs_is_named(need):
    questions = Questions(session=[0], event=[1], anchor=[0], target=[0], remaining=([0, 1], [0]))
    bare = Replay(zones={"z": Zone(name="z", k=1)}, questions={"z": questions}, lists={("a", "z"): Lists(rows=[[0]])},
                  item_ids=[5])  # fmt: skip
    metric = {
        "train": "novelty", "times": "freshness", "products": "ild_attributes", "embeddings": "ild_embeddings",
        "sessions": "repeat_rate", "event_type": "recall:view", "value": "revenue", "weight": "weighted_hr",
    }[need]  # fmt: skip
    with pytest.raises(ValueError) as error:
        bare.values(metric, name="a", zone="z", k=1)
    assert str(error.value) == f"{metric} needs {NEEDS[need]}"
    assert metric.partition(":")[0] + "@1" not in bare.metrics().columns or need == "event_type"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.values("hits", name="a", zone="one", k=1), "metric is 'hits', expected one of hr, mrr"),
        (lambda r: r.values("gini:view", name="a", zone="one", k=1), "gini is not by type of event"),
        (lambda r: r.values("gini", name="a", zone="one", k=1), "gini is of all lists together"),
        (lambda r: r.values("hr", name="c", zone="one", k=1), "recommender is 'c', expected one of a, b"),
        (lambda r: r.values("hr", name="b", zone="two", k=1), "recommender is 'b'"),
        (lambda r: r.values("hr", name="a", zone="six", k=1), "zone is 'six', expected one of one, two"),
        (lambda r: r.values("hr", name="a", zone="one", k=3), "k is 3, expected 1 to 2"),
        (lambda r: r.values("hr", name="a", zone="one", k=0), "k is 0, expected 1 to 2"),
        (lambda r: r.aggregate("hr", name="a", zone="one", k=1, where=np.ones(3, bool)), "where is bool of shape"),
        (lambda r: r.aggregate("hr", name="a", zone="one", k=1, where=np.ones(7)), "where is float64"),
        (lambda r: r.metrics(metrics=["hr@9"]), "hr@9 is asked for, but the longest lists have 2 products"),
        (lambda r: r.metrics(metrics=["hr@x"]), "metric is 'hr@x', expected a name"),
        (lambda r: r.metrics(k=5, metrics=["hr"]), "hr@5 is asked for, but"),
        (lambda r: r.metrics(k=[]), "metrics: k is empty"),
        (lambda r: r.metrics(k=1.5), "metrics: k is 1.5, expected a whole number of 1 or more"),
        (lambda r: r.metrics(k="2"), "metrics: k is '2'"),
        (lambda r: r.by("cold", k=2), "by: 'hr@2' is of longer lists than the 1 products of zone 'two'; write 'hr'"),
        (lambda r: r.by("cold", k=0), "by: k is 0"),
        (lambda r: r.by("cold", metric="luck"), "by: metric is 'luck'"),
        (lambda r: r.cut("color", "one"), "cut: no 'color', expected one of session_length, position"),
        (lambda r: r.cut(3, "one"), "3 is neither a name nor a mapping"),
        (lambda r: r.cut("cluster", "one"), "'cluster' needs a bundle of clusters"),
        (lambda r: r.churn("a", "z", zone="one", k=1), "recommender is 'z'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(small())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clicks": [1]}, "clicks is of 1 products, expected 7"),
        ({"clusters": [1]}, "clusters is of 1 products"),
        ({"embeddings": np.zeros((3, 2))}, "embeddings is of 3 products"),
        ({"ties": "mean"}, "ties is 'mean'"),
    ],
)
def test_replays_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_arrays_that_cannot_be():
    with pytest.raises(ValueError, match="event has shape"):
        Questions(session=[0], event=[1, 2], anchor=[0], target=[0], remaining=([0, 1], [0]))
    with pytest.raises(ValueError, match="remaining has offsets"):
        Questions(session=[0], event=[1], anchor=[0], target=[0], remaining=([0, 2], [0]))
    with pytest.raises(ValueError, match=r"rows has shape \(2,\)"):
        Lists(rows=[1, 2])
    with pytest.raises(ValueError, match="scores has shape"):
        Lists(rows=[[1, 2]], scores=[[1.0]])
    questions = Questions(session=[0], event=[1], anchor=[0], target=[0], remaining=([0, 1], [0]))
    with pytest.raises(ValueError, match="'a' has 2 lists in zone 'z', expected 1"):
        lists = {("a", "z"): Lists(rows=[[0], [1]])}
        Replay(zones={"z": Zone(name="z")}, questions={"z": questions}, lists=lists, item_ids=[1])
