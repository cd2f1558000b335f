"""Replays against asking one by one: zones, histories, rules, recommenders of every kind, faults, bad input."""

import sys

import numpy as np
import pytest

import stamp
from stamp import _stamp, offline
from stamp.offline import Zone, cart, home, product_page, replay

PLAIN = Zone(name="plain", k=10)


@pytest.fixture(scope="module")
def split(shop):
    train, rest = shop.sessions.split_by_time("4D")
    few, _ = train.split_last(0.97)
    return few, rest.split_last(0.25)[1]


@pytest.fixture(scope="module")
def products(shop):
    return stamp.Products.from_frame({
        "item_id": shop.products["id"], "category": shop.products["category"], "price": shop.products["price"]
    })  # fmt: skip


@pytest.fixture(scope="module")
def model(split):
    return stamp.StampRecommender(device="cpu", dim=16, epochs=2).fit(split[0], progress=False)


def lists_of(run, name, zone):
    """Ids of each list, None for empty places."""
    return [[None if row < 0 else run.item_ids[row] for row in top] for top in run.lists[name, zone].rows.tolist()]


def padded(ids, k):
    return [*ids, *[None] * (k - len(ids))]


def histories(sessions):
    """(session, event, items before it in its session, items from it on) of every event but the first of a session."""
    event = -1
    for s in range(len(sessions)):
        items = sessions.session(s).tolist()
        for i in range(len(items)):
            event += 1
            if i > 0:
                yield s, event, items[:i], items[i:]


def test_questions_are_those_of_the_protocol(model, split):
    _, test = split
    run = replay({"stamp": model}, test, zones=PLAIN)
    questions = run.questions["plain"]
    asked = list(histories(test))
    assert len(questions) == len(asked) == test.n_events - len(test)
    visitor = np.asarray(test.columns["visitor_id"])
    same_visitor = {}
    for i, (session, event, before, after) in enumerate(asked):
        assert (questions.session[i], questions.event[i]) == (session, event)
        assert run.item_ids[questions.anchor[i]] == before[-1]
        assert run.item_ids[questions.target[i]] == after[0]
        begin, end = questions.remaining[0][i : i + 2]
        assert sorted(run.item_ids[questions.remaining[1][begin:end]]) == sorted(set(after))
        assert same_visitor.setdefault(visitor[event], questions.visitor[i]) == questions.visitor[i]
    assert len(set(same_visitor.values())) == len(same_visitor)
    assert len(replay({"stamp": model}, test, zones=PLAIN, min_history=3).questions["plain"]) == sum(
        len(before) >= 3 for _, _, before, _ in asked
    )


@pytest.mark.parametrize(
    "zone", [PLAIN, product_page(k=7), Zone(name="seen", exclude="seen"), Zone(name="short", k=5, history=2)]
)
def test_lists_are_what_the_model_serves(model, split, zone, tmp_path):
    """A network in memory is asked as it would answer once it is saved: popular products where it knows nothing."""
    _, test = split
    run = replay({"stamp": model}, test, zones=zone)
    model.save(tmp_path / "bundle")
    served, known, paths = stamp.Recommender(tmp_path / "bundle", device="cpu"), set(model.item_ids_), set()
    for (_, _, before, _), top, scores in zip(
        histories(test), lists_of(run, "stamp", zone.name), run.lists["stamp", zone.name].scores
    ):
        read = [item for item in before[-(zone.history or 99) :] if item in known]
        exclude = {"nothing": [], "anchor": before[-1:], "seen": before}[zone.exclude]
        answer = served.recommend(before, k=zone.k, history=zone.history, exclude=exclude)
        paths.add(answer.path)
        ids, expected = model.recommend(read, k=zone.k, exclude=exclude) if read else (answer.ids, answer.scores)
        assert top == padded(ids, zone.k) == padded(answer.ids, zone.k)
        np.testing.assert_array_equal(scores[: len(expected)], expected)
        assert np.isnan(scores[len(expected) :]).all()
    assert "popular" in paths and len(paths) > 1


def test_the_accepted_protocol_gives_the_same_figures(model, split):
    """stamp.evaluate ranks the target by its score; a replay looks at what is listed."""
    train, test = split
    known = set(model.item_ids_)  # where nothing is known a replay lists popular products, evaluate ranks nothing
    test = test.select(np.array([known.issuperset(test.session(s).tolist()) for s in range(len(test))]))
    assert len(test) > 5
    both = {"stamp": model, "popular": stamp.PopularityRecommender().fit(train)}
    run = replay(both, test, zones=Zone(name="all"), train=train)
    for name, recommender in both.items():
        expected = stamp.evaluate(recommender, test, k=(5, 20), ties="optimistic").at
        for k in (5, 20):
            for metric in ("hr", "mrr", "ndcg") if name == "stamp" else ():
                assert run.aggregate(metric, name=name, zone="all", k=k) == pytest.approx(expected[k][metric], abs=1e-9)
            covered = run.aggregate("coverage", name=name, zone="all", k=k) * run.V
            assert covered == pytest.approx(expected[k]["coverage"] * recommender.n_items_)
        if name == "popular":
            assert run.aggregate("popularity", name=name, zone="all", k=5) == pytest.approx(expected[5]["popularity"])


def test_popularity_on_real_data(real_data):
    """The deterministic baseline that the data's own README gives, in per cent at 20."""
    train, test = (stamp.Sessions.from_frame(real_data / "diginetica" / f"{part}.tsv.gz") for part in ("train", "test"))
    popular = stamp.PopularityRecommender().fit(train)
    run = replay({"popular": popular}, test, zones=Zone(name="all"), train=train, latency=0)
    assert 100 * run.aggregate("hr", name="popular", zone="all", k=20) == pytest.approx(0.93, abs=0.015)
    assert 100 * run.aggregate("mrr", name="popular", zone="all", k=20) == pytest.approx(0.21, abs=0.006)


def interleaved(**columns):
    """Visitor 7 has sessions 1 and 3, which overlap, and 5; visitor 8 has 2; of session 4's nobody knows."""
    events = [
        (1, "a", 10, 7), (2, "b", 11, 8), (1, "c", 20, 7), (3, "d", 25, 7), (1, "e", 30, 7), (3, "f", 40, 7),
        (4, "g", 50, None), (4, "a", 60, None), (2, "h", 65, 8), (5, "b", 70, 7), (5, "a", 80, 7),
    ]  # fmt: skip
    session, item, time, visitor = zip(*events)
    table = {"session_id": session, "item_id": item, "timestamp": time, "visitor_id": visitor, **columns}
    return stamp.Sessions.from_frame({name: column for name, column in table.items() if column is not None})


class Echo:
    """Lists what it is asked about, the last first, and remembers it."""

    def __init__(self):
        self.asked = []

    def recommend(self, items, k):
        self.asked.append(list(items))
        return list(dict.fromkeys(reversed(items)))[:k]


def test_home_reads_earlier_sessions():
    """In order of time, so that nothing of a session that goes on beside is read before it has happened."""
    echo = Echo()
    run = replay({"echo": echo}, interleaved(), zones=home(), latency=0)
    sessions = run.sessions
    items = sessions.item_ids[sessions._core.items].tolist()
    questions = run.questions["home"]
    asked = {(s, items[e]): "".join(read) for s, e, read in zip(questions.session, questions.event, echo.asked)}
    names = [sessions.session(s).tolist() for s in range(len(sessions))]
    first, third, fourth, second, fifth = (names.index(list(x)) for x in ("ace", "df", "ga", "bh", "ba"))
    assert asked == {
        (first, "c"): "a", (first, "e"): "acd", (third, "d"): "ac", (third, "f"): "acde", (fourth, "a"): "g",
        (second, "h"): "b", (fifth, "b"): "acdef", (fifth, "a"): "acdefb",
    }  # fmt: skip
    assert len(set(run.questions["home"].visitor.tolist())) == 3
    assert run.notes == ["products are only those of the sessions: hand train=… or products=…"]

    echo = Echo()
    run = replay({"echo": echo}, interleaved(timestamp=None), zones=home(history=2), latency=0)
    assert "no timestamps" in run.notes[-1]
    echo = Echo()
    run = replay({"echo": echo}, interleaved(visitor_id=None), zones=home(), latency=0)
    assert "no visitor_id" in run.notes[-1] and run.questions["home"].visitor is None
    assert ["".join(read) for read in echo.asked] == ["a", "ac", "d", "g", "b", "b"]


@pytest.mark.parametrize("named", [int, lambda v: None if v is None else f"visitor {v}"])
def test_home_reads_what_visitors_did_in_training(named):
    def visits(*events, **columns):
        session, item, time, visitor = zip(*events)
        visitor = [named(each) for each in visitor]
        table = {"session_id": session, "item_id": item, "timestamp": time, "visitor_id": visitor, **columns}
        return stamp.Sessions.from_frame({name: column for name, column in table.items() if column is not None})

    train_events = [(1, "x", 1, 7), (1, "y", 2, 7), (2, "z", 3, 9), (3, "w", 4, 7), (4, "v", 5, 6)]
    test_events = [(1, "a", 10, 7), (2, "b", 11, 8), (1, "c", 12, 7), (3, "d", 13, 7), (4, "e", 14, 9), (2, "a", 15, 8)]
    train, test = visits(*train_events), visits(*test_events)

    def asked(train, zone, **options):
        echo = Echo()
        run = replay({"echo": echo}, test, zones=zone, train=train, latency=0, **options)
        questions, sessions = run.questions[zone.name], run.sessions
        names = sessions.item_ids[sessions._core.items][questions.event].tolist()
        return run, {name: "".join(read) for name, read in zip(names, echo.asked)}

    run, read = asked(train, home())
    assert read["a"] in ("xyw", "b") and len(run.questions["home"]) == 5  # b is the first of a visitor nobody knows
    by_event = dict(zip(run.questions["home"].event.tolist(), run.questions["home"].visitor.tolist()))
    assert len(set(by_event.values())) == 3
    assert (read["c"], read["d"], read["e"]) == ("xywa", "xywac", "z") and not run.notes
    assert asked(train, home(history=1))[1]["c"] == "a"
    assert asked(None, home())[1]["d"] == "ac"
    assert asked(train, product_page(exclude="nothing"))[1] == {"c": "a", "a": "b"}  # sessions alone
    run, read = asked(visits(*train_events, visitor_id=None), home())
    assert read["d"] == "ac" and "training has no visitor_id" in run.notes[0]
    run, read = asked(visits(*train_events, timestamp=None), home())
    assert read["d"] == "xywac" and "no timestamps" in run.notes[0]


def test_cart_is_asked_after_products_were_put_there():
    kinds = ["view", "view", "addtocart", "view", "view", "view", "addtocart", "view", "view", "addtocart", "view"]
    echo = Echo()
    run = replay({"echo": echo}, interleaved(event_type=kinds), zones=cart(), latency=0)
    assert sorted("".join(read) for read in echo.asked) == ["ac", "b", "g"]
    assert run.lists["echo", "cart"].faults["seen"] == 4  # it lists nothing but what was seen
    assert (run.lists["echo", "cart"].rows == -1).all()
    with pytest.raises(ValueError, match="no column event_type"):
        replay({"echo": echo}, interleaved(), zones=cart())
    with pytest.raises(ValueError, match="zone 'cart' has no question"):
        replay({"echo": echo}, interleaved(event_type=["view"] * 11), zones=cart())


def test_bundles_apply_rules_and_are_asked_as_they_serve(model, split, products, tmp_path):
    _, test = split
    model.save(tmp_path / "model")
    rules = {"zones": {"page": {"k": 6, "history": 3, "rules": [{"rule": "same_value", "attribute": "category"}]}}}
    stamp.build_bundle({0: tmp_path / "model"}, products, out=tmp_path / "bundle", rules=rules)
    bundle = stamp.Recommender(tmp_path / "bundle", device="cpu")
    own = [{"rule": "limit", "attribute": "category", "max": 1}]
    zones = [
        product_page(name="a", bundle_zone="page", k=6),
        Zone(name="b", rules=own, k=4),
        Zone(name="c", bundle_zone="page", rules=own, history=1, k=4, exclude="seen"),
    ]
    all_three = {"bundle": bundle, "path": tmp_path / "bundle", "stamp": model}
    run = replay(all_three, test, zones=zones[1], products=products)
    assert lists_of(run, "bundle", "b") == lists_of(run, "path", "b")
    # The model knows the attributes of products=…, too.
    assert lists_of(run, "bundle", "b") == lists_of(run, "stamp", "b")
    run = replay({"bundle": bundle}, test, zones=zones)
    for zone in zones:
        for (_, _, before, _), top in zip(histories(test), lists_of(run, "bundle", zone.name)):
            exclude = {"nothing": [], "anchor": before[-1:], "seen": before}[zone.exclude]
            answer = bundle.recommend(
                before, k=zone.k, zone=zone.bundle_zone, rules=zone.rules, history=zone.history, exclude=exclude
            )
            assert top == padded(answer.ids, zone.k)
    pinned = Zone(name="pins", rules=[{"rule": "pin", "products": [products.item_ids[0]]}])
    run = replay({"bundle": bundle}, test, zones=pinned)
    assert {top[0] for top in lists_of(run, "bundle", "pins")} == {products.item_ids[0]}
    assert np.isnan(run.lists["bundle", "pins"].scores[:, 0]).all() and run.lists["bundle", "pins"].faults["nan"] == 0
    with pytest.raises(ValueError, match="asks for the rules of zone 'cart', 'bundle' has page"):
        replay({"bundle": bundle}, test, zones=Zone(name="x", bundle_zone="cart"))
    with pytest.raises(ValueError, match="which 'echo' .Echo. cannot apply"):
        replay({"echo": Echo()}, test, zones=zones[1])
    with pytest.raises(ValueError, match=r"rules\[0\].attribute is 'category'"):
        replay({"stamp": model}, test, zones=zones[1])


def test_a_bundle_of_one_network_gives_its_embeddings(model, split, tmp_path):
    _, test = split
    model.save(tmp_path / "model")
    expected = replay({"x": model}, test, zones=PLAIN, latency=0)
    for bundle in (tmp_path / "model", stamp.Recommender(tmp_path / "model", device="cpu")):
        run = replay({"x": bundle}, test, zones=PLAIN, latency=0)
        np.testing.assert_array_equal(run.embeddings, expected.embeddings)
        assert run.aggregate("ild_embeddings", name="x", zone="plain", k=10) > 0
    stamp.PopularityRecommender().fit(split[0]).save(tmp_path / "popular")
    assert replay({"x": tmp_path / "popular"}, test, zones=PLAIN, latency=0).embeddings is None


def test_clusters(split, products, tmp_path):
    train, test = split
    halves = {}
    for half in (0, 1):
        ids = set(products.item_ids[half::2])
        lists = [[i for i in train.session(s) if i in ids] for s in range(len(train))]
        part = stamp.Sessions.from_frame([each for each in lists if len(each) > 1])
        path = tmp_path / f"half{half}"
        stamp.StampRecommender(device="cpu", dim=8, epochs=1).fit(part, progress=False).save(path)
        halves[half] = path
    stamp.build_bundle(halves, products, out=tmp_path / "bundle")
    run = replay({"bundle": tmp_path / "bundle"}, test, zones=PLAIN)
    models = {half: stamp.load(path, device="cpu") for half, path in halves.items()}
    catalog = _stamp.Catalog("strings")
    products.add_to(catalog)
    clustered = stamp.ClusteredRecommender(catalog, np.zeros(len(catalog), np.int64), models)
    alone = replay({"clustered": clustered}, test, zones=PLAIN, products=products)
    np.testing.assert_array_equal(alone.cut("cluster", "plain")[0], run.cut("cluster", "plain")[0])
    for one, other in zip(lists_of(run, "bundle", "plain"), lists_of(alone, "clustered", "plain")):
        assert one == other
    labels, names = run.cut("cluster", "plain")
    target = run.item_ids[run.questions["plain"].target]
    known = {half: set(stamp.load(path).item_ids_) for half, path in halves.items()}
    expected = [next((f"cluster {half}" for half in (0, 1) if t in known[half]), "(unknown)") for t in target]
    assert [names[label] for label in labels] == expected


class Faulty:
    """Lists a product twice, one that nobody knows, the current one, one with a NaN score, and too few."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def recommend(self, items, k):
        return self.answers.pop(0)


def test_faults_are_counted_and_miss():
    sessions = stamp.Sessions.from_frame([["a", "b", "c", "d", "e"]])
    faulty = Faulty(
        ["c", "c", "nobody's", "b"],  # after a, for b: the second c and the unknown product leave holes, b stays fourth
        ["b", "c", "d", "e"],  # after b, for c: the anchor is not to be listed
        (["d", "e", "a", "b"], [3.0, np.nan, 2.0, 1.0]),  # after c, for d
        (np.array(["e"]), np.array([np.nan])),  # after d, for e: a score that is none, and too few
    )
    run = replay({"faulty": faulty}, sessions, zones=product_page(k=4), latency=0)
    lists = run.lists["faulty", "product page"]
    assert lists_of(run, "faulty", "product page") == [
        ["c", None, None, "b"], [None, "c", "d", "e"], ["d", None, "a", "b"], [None] * 4,
    ]  # fmt: skip
    assert lists.faults == {"short": 1, "duplicates": 1, "unknown": 1, "nan": 2, "anchor": 1, "seen": 0}
    mrr = run.values("mrr", name="faulty", zone="product page", k=4)
    assert mrr.tolist() == [1 / 4, 1 / 2, 1, 0]
    assert "1 short, 1 duplicates, 1 unknown, 2 nan, 1 anchor" in run.metrics(k=4).notes[-1]
    # The same lists where the anchor may be listed.
    again = Faulty(["b", "b"], ["a", "b"], ["c", "d"], ["e"])
    run = replay({"faulty": again}, sessions, zones=Zone(name="z", k=2), latency=0)
    faults = run.lists["faulty", "z"].faults
    assert faults == {"short": 1, "duplicates": 1, "unknown": 0, "nan": 0, "anchor": 0, "seen": 0}
    # Longer lists than asked for are cut.
    longer = Faulty(*[["a", "b", "c", "d"]] * 4)
    assert lists_of(replay({"x": longer}, sessions, zones=Zone(name="z", k=2), latency=0), "x", "z") == [["a", "b"]] * 4


def test_a_recommender_of_anybody_gets_what_stamps_own_do(model, split):
    class Wrapped:
        def recommend(self, items, k):
            known = [i for i in items if i in model.item_ids_]
            return model.recommend(known, k=k) if known else []

    run = replay({"own": model, "wrapped": Wrapped()}, split[1], zones=PLAIN, latency=5)
    known = set(model.item_ids_)
    answered = np.array([bool(known.intersection(before)) for _, _, before, _ in histories(split[1])])
    own, wrapped = run.lists["own", "plain"], run.lists["wrapped", "plain"]
    np.testing.assert_array_equal(own.rows[answered], wrapped.rows[answered])
    np.testing.assert_array_equal(own.scores[answered], wrapped.scores[answered])
    assert (own.rows[~answered] >= 0).all() and (wrapped.rows[~answered] < 0).all()  # popular products, and none
    assert own.faults["short"] == 0 and wrapped.faults == {**own.faults, "short": (~answered).sum()}
    for name in ("own", "wrapped"):
        assert len(run.lists[name, "plain"].latency) == 5 and (run.lists[name, "plain"].latency > 0).all()
    assert run.churn("own", "wrapped", zone="plain", k=10) == pytest.approx((~answered).mean())


def test_products_nobody_learnt_from_are_cold_and_missed(split):
    train, test = split
    small, _ = train.split_last(0.9)
    tiny = stamp.StampRecommender(device="cpu", dim=8, epochs=1).fit(small, progress=False)
    run = replay({"tiny": tiny}, test, zones=PLAIN, train=small)
    questions = run.questions["plain"]
    known = set(tiny.item_ids_)
    unanswered = np.array([not known.intersection(before) for _, _, before, _ in histories(test)])
    popular = run.lists["tiny", "plain"].rows[unanswered]
    assert unanswered.any() and (popular == popular[0]).all() and run.lists["tiny", "plain"].faults["short"] == 0
    assert (run.clicks[popular[0]] == np.sort(run.clicks)[::-1][:10]).all()
    labels, names = run.cut("cold", "plain")
    cold = np.array([item not in known for item in run.item_ids[questions.target]])
    assert 0 < cold.sum() < len(cold)
    np.testing.assert_array_equal(np.array(names)[labels] == "cold", cold)
    assert run.values("hr", name="tiny", zone="plain", k=10)[cold].max() == 0


def test_rows_and_frames_of_any_order_give_the_same(shop, model, split):
    pyarrow = pytest.importorskip("pyarrow")
    table = {**shop.events, "event_type": np.where(np.arange(len(shop.events["item_id"])) % 3, "view", "addtocart")}
    table["visitor_id"] = np.array([None if v % 5 == 0 else f"visitor {v}" for v in table["visitor_id"]], object)
    order = np.random.default_rng(0).permutation(len(table["item_id"]))
    shuffled = pyarrow.table({name: pyarrow.array(column[order]) for name, column in table.items()})
    zones = [product_page(), home(), cart()]
    one, other = (
        replay({"stamp": model}, stamp.Sessions.from_frame(data).split_last(0.02)[1], zones=zones, latency=0)
        for data in (table, shuffled)
    )
    for zone in ("product page", "home", "cart"):
        np.testing.assert_array_equal(one.lists["stamp", zone].rows, other.lists["stamp", zone].rows)
        np.testing.assert_array_equal(one.questions[zone].event, other.questions[zone].event)
        units = [{}, {}]
        for code, run in zip(units, (one, other)):  # the same visitors, whatever their codes
            for place, visitor in enumerate(run.questions[zone].visitor.tolist()):
                code.setdefault(visitor, []).append(place)
        assert sorted(units[0].values()) == sorted(units[1].values())


def test_a_catalog_holds_all_products_of_the_shop(split):
    """What nobody clicked may be listed by those who know it from elsewhere."""
    sessions = stamp.Sessions.from_frame([["a", "b"]])
    products = stamp.Products.from_frame({"item_id": ["z", "a"], "colour": ["red", "red"]})
    run = replay({"x": Faulty(["z", "y"])}, sessions, zones=Zone(name="z", k=2), products=products, latency=0)
    assert run.lists["x", "z"].faults["unknown"] == 1 and lists_of(run, "x", "z") == [["z", None]]
    assert sorted(run.item_ids) == ["a", "b", "z"]


def test_weight_0_is_history_only():
    sessions = stamp.Sessions.from_frame({"session_id": [1] * 4, "item_id": list("abcb"), "weight": [1.0, 0, 2, 0]})
    echo = Echo()
    run = replay({"echo": echo}, sessions, zones=PLAIN, latency=0)
    assert echo.asked == [["a", "b"]]
    assert run.item_ids[run.questions["plain"].remaining[1]].tolist() == ["c"]


def test_progress_and_errors_come_through(model, split, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # imported by tests of notebooks: bars would be drawn

    class Broken:
        def recommend(self, items, k):
            raise KeyError("no such table")

    message = r"'broken' failed in zone 'plain' at .*no such table.*return \[\] where it knows nothing"
    with pytest.raises(RuntimeError, match=message):
        replay({"broken": Broken()}, split[1], zones=PLAIN)
    replay({"a": model, "b": model}, split[1], zones=PLAIN, progress=True)
    n = split[1].n_events - len(split[1])
    assert f"replay: {2 * n:,} questions" in capsys.readouterr().err

    options = {
        "k": 1,
        "history": 0,
        "exclude": "nothing",
        "zone": "",
        "rules": "",
        "value": None,
        "tail": None,
        "objective": None,
        "popular": False,
    }
    with pytest.raises(ZeroDivisionError):
        _stamp.replay(model._listing(), [0], [0], [1], **options, progress=lambda done, total: done // 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recommenders": {}}, "no recommenders"),
        ({"recommenders": {"x": 3}}, "'x' is int, expected a recommender"),
        ({"recommenders": {"x": stamp.StampRecommender()}}, "'x' is a StampRecommender that is not fitted yet"),
        ({"recommenders": {"x": stamp.PopularityRecommender()}}, "'x' is a PopularityRecommender that is not fitted"),
        ({"recommenders": {"x": stamp.PopularityRecommender}}, "'x' is the class PopularityRecommender, expected a"),
        ({"sessions": [["a", "b"]]}, "sessions is list, expected stamp.Sessions"),
        ({"train": [["a", "b"]]}, "train is list, expected stamp.Sessions"),
        ({"zones": []}, "zones are"),
        ({"zones": [PLAIN, PLAIN]}, "zones are"),
        ({"zones": ["home"]}, r"zones holds 'home', expected stamp.offline.Zone, such as offline.home\(\)"),
        ({"zones": "cart"}, r"zones holds 'cart', .* such as offline.cart\(\)"),
        ({"zones": home}, r"zones holds .*, such as offline.home\(\)"),
        ({"products": {"item_id": ["a"]}}, r"products is dict, expected stamp.Products \(see Products.from_frame\)"),
        ({"k": 2.5}, "k is 2.5, expected a whole number"),
        ({"min_history": 2.5}, "min_history is 2.5"),
        ({"latency": "many"}, "latency is 'many'"),
        ({"min_history": 0}, "min_history is 0"),
        ({"min_history": 99}, "has no question"),
        ({"k": 0}, "k is 0"),
        ({"latency": -1}, "latency is -1"),
        ({"leakage": "ignore"}, "leakage is 'ignore'"),
        ({"ties": "mean"}, "ties is 'mean'"),
        ({"embeddings": (["sku-00001"], np.zeros(3))}, "embeddings are 1 ids"),
        ({"embeddings": np.zeros((3, 2))}, r"embeddings is ndarray, expected a StampRecommender or \(ids, vectors\)"),
        ({"embeddings": 3}, r"embeddings is int, expected a StampRecommender or \(ids, vectors\)"),
        ({"embeddings": (["a"], ["b"])}, r"embeddings is tuple, expected a StampRecommender or \(ids, vectors\)"),
        ({"embeddings": stamp.StampRecommender()}, "embeddings is a StampRecommender that is not fitted"),
        ({"recommenders": {"x": Faulty([1, 2], [])}}, "the answer of 'x' has ids that are integers"),
        ({"recommenders": {"x": Faulty("sku")}}, "'x' answers 'sku', expected product ids"),
        ({"recommenders": {"x": Faulty((["sku-1"], [1.0, 2.0]))}}, "'x' answers 1 ids with scores of shape"),
    ],
)
def test_bad_input(model, split, options, message):
    call = {"recommenders": {"stamp": model}, "sessions": split[1], "zones": PLAIN, **options}
    with pytest.raises(ValueError, match=message):
        replay(call.pop("recommenders"), call.pop("sessions"), **call)


def test_ids_of_two_kinds_are_refused(model):
    numbers = stamp.Sessions.from_frame([[1, 2], [2, 3]])
    with pytest.raises(ValueError, match="sessions has ids that are integers .*, those of stamp are strings"):
        replay({"stamp": model}, numbers, zones=PLAIN)


def test_overlap_with_training_is_refused(model, split, shop):
    train, _ = split
    with pytest.raises(ValueError, match="overlaps with training"):
        replay({"stamp": model}, train, zones=PLAIN, train=train)
    with pytest.raises(offline.LeakageError, match=r"(?s)^replay: the test overlaps .* or say leakage='report' and"):
        replay({"stamp": model}, train, zones=PLAIN, train=train)
    run = replay({"stamp": model}, train.split_last(0.1)[1], zones=PLAIN, train=train, leakage="report", latency=0)
    assert any("copies" in note for note in run.notes) and len(run.leakage.offenders["copies"])


def test_zones_that_cannot_be():
    for options, message in (
        ({"k": 0}, "k is 0"),
        ({"history": 0}, "history is 0"),
        ({"history": 2.5}, "history is 2.5"),
        ({"k": "20"}, "k is '20', expected a whole number of 1 or more"),
        ({"k": True}, "k is True"),
        ({"exclude": "all"}, "exclude is 'all'"),
        ({"after": "view"}, "after is 'view'"),
        ({"name": ""}, "name is ''"),
        ({"colour": 1}, "unknown option 'colour'"),
    ):
        with pytest.raises(ValueError, match=message):
            product_page(**options)
    assert offline.home().earlier_sessions and cart().after == ("addtocart", "cart")
