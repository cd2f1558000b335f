"""Every metric against a brute force that shares nothing with it, over random lists with holes, and sizes 1 and odd."""

import itertools
import math

import numpy as np
import pytest

import stamp
from stamp.offline import METRICS, Lists, Questions, Replay, Zone
from stamp.offline.metrics import qualities
from stamp.offline.recordings import sets

DAY = 86_400


def make(seed=0, visitors=7, V=23, K=6, embeddings=True, ties="served"):
    """A replay of random sessions and lists; lists end early or have holes, some are empty."""
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 9, 19)
    session = np.repeat(np.arange(len(lengths)), lengths)
    items = random.integers(0, V, len(session))
    time = 1_700_000_000 + 10 * DAY + session * 3600 + np.arange(len(session))
    sessions = stamp.Sessions.from_frame({
        "session_id": session,
        "item_id": np.concatenate([items[:-1], [V - 1]]),
        "timestamp": time,
        "visitor_id": random.integers(0, visitors, len(lengths))[session],
        "event_type": random.choice(["view", "addtocart", "purchase"], len(session), p=[0.6, 0.2, 0.2]),
        "value": np.where(random.random(len(session)) < 0.4, random.integers(1, 90, len(session)), np.nan),
        "weight": random.choice([0.5, 1.0, 4.0], len(session)),
    })  # fmt: skip
    trained = random.integers(0, V - 3, 60)  # the last three are cold
    train = stamp.Sessions.from_frame({
        "session_id": np.arange(60) // 3,
        "item_id": trained,
        "timestamp": 1_700_000_000 + np.sort(random.integers(0, 9 * DAY, 60)),
    })  # fmt: skip
    ids = np.arange(V)
    products = stamp.Products.from_frame({
        "item_id": ids,
        "brand": [None if i % 5 == 0 else f"brand {i % 3}" for i in range(V)],
        "colour": [f"colour {i % 4}" for i in range(V)],
        "price": [math.nan if i % 7 == 0 else float(i * i % 17) for i in range(V)],
    })  # fmt: skip
    offsets = sessions._core.offsets
    rows = sessions.item_ids[sessions._core.items]
    event = np.flatnonzero(~np.isin(np.arange(len(rows)), offsets[:-1]))
    asked = np.searchsorted(offsets, event, "right") - 1
    rest = [sorted(set(rows[e : offsets[s + 1]].tolist())) for s, e in zip(asked, event)]
    questions = Questions(
        session=asked,
        event=event,
        anchor=rows[event - 1],
        target=rows[event],
        visitor=np.asarray(sessions.columns["visitor_id"])[event],
        remaining=(np.cumsum([0, *map(len, rest)]), np.concatenate(rest)),
    )
    lists = np.stack([random.permutation(V)[:K] for _ in event])
    lists[random.random(lists.shape) < 0.15] = -1
    lists[3] = -1
    lists[np.arange(len(event)) % 4 == 1, 0] = -1
    scores = np.where(lists >= 0, -np.sort(random.integers(0, 4, lists.shape), axis=1), np.nan)
    vectors = random.normal(size=(V, 5)).astype(np.float32)
    vectors[4] = 0  # no embedding
    return Replay(
        zones={"page": Zone(name="page", k=K)},
        questions={"page": questions},
        lists={("a", "page"): Lists(rows=lists, scores=scores)},
        item_ids=ids,
        clicks=np.bincount(trained, minlength=V),
        sessions=sessions,
        train=train,
        products=products,
        embeddings=vectors if embeddings else None,
        ties=ties,
    )


class Truth:
    """What metrics should be, one list after the other, in plain Python."""

    def __init__(self, replay):
        self.replay = replay
        self.q, self.lists = replay.questions["page"], replay.lists["a", "page"].rows.tolist()
        sessions = replay.sessions
        self.items = sessions.item_ids[sessions._core.items].tolist()
        self.offsets = sessions._core.offsets.tolist()
        self.types = [str(t) for t in sessions.columns["event_type"]]
        self.value = [0.0 if v != v else v for v in sessions.columns["value"]]
        self.weight = sessions._core.weights.tolist()
        self.time = sessions._core.timestamps.tolist()
        self.clicks = replay.clicks.tolist()
        self.V = replay.V

    def later(self, i):
        return range(self.q.event[i], self.offsets[self.q.session[i] + 1])

    def relevant(self, i, kind=None):
        return {self.items[e] for e in self.later(i) if kind is None or self.types[e] == kind}

    def listed(self, i, k):
        return [v for v in self.lists[i][:k] if v >= 0]

    def rank(self, i, k):
        top = self.lists[i][:k]
        return top.index(self.q.target[i]) + 1 if self.q.target[i] in top else None

    def of_event(self, i, kind, value):
        return math.nan if kind and self.types[self.q.event[i]] != kind else value

    def hr(self, i, k, kind=None):
        return self.of_event(i, kind, float(self.rank(i, k) is not None))

    def mrr(self, i, k, kind=None):
        return self.of_event(i, kind, 1 / self.rank(i, k) if self.rank(i, k) else 0.0)

    def ndcg(self, i, k, kind=None):
        return self.of_event(i, kind, math.log(2) / math.log(self.rank(i, k) + 1) if self.rank(i, k) else 0.0)

    def precision(self, i, k, kind=None):
        relevant = self.relevant(i, kind)
        return len(relevant.intersection(self.listed(i, k))) / k if relevant else math.nan

    def recall(self, i, k, kind=None):
        relevant = self.relevant(i, kind)
        return len(relevant.intersection(self.listed(i, k))) / len(relevant) if relevant else math.nan

    def map(self, i, k, kind=None):
        relevant = self.relevant(i, kind)
        if not relevant:
            return math.nan
        found = [j for j in range(1, k + 1) if self.lists[i][j - 1] in relevant]
        return sum(len([f for f in found if f <= j]) / j for j in found) / min(k, len(relevant))

    def revenue(self, i, k):
        return sum(self.value[e] for e in self.later(i) if self.items[e] in self.lists[i][:k])

    def weighted_hr(self, i, k):
        mean = np.mean([self.weight[e] for e in self.q.event])
        return self.hr(i, k) * self.weight[self.q.event[i]] / mean

    def mean(self, values):
        return sum(values) / len(values) if values else math.nan

    def popularity(self, i, k):
        return self.mean([self.clicks[v] / max(self.clicks) for v in self.listed(i, k)])

    def tail(self):
        """Whoever has fewer clicks than the product at which the most clicked ones reach 80 %."""
        order = sorted(range(self.V), key=lambda v: -self.clicks[v])
        reached = 0
        for v in order:
            reached += self.clicks[v]
            if reached >= 0.8 * sum(self.clicks):
                return {u for u in range(self.V) if self.clicks[u] < self.clicks[v]}

    def tail_share(self, i, k):
        return self.mean([float(v in self.tail()) for v in self.listed(i, k)])

    def novelty(self, i, k):
        total = sum(self.clicks) + self.V
        return self.mean([math.log(total / (self.clicks[v] + 1)) / math.log(2) for v in self.listed(i, k)])

    def serendipity(self, i, k):
        popular = sorted(range(self.V), key=lambda v: (-self.clicks[v], v))[:k]
        return len([v for v in self.listed(i, k) if v in self.relevant(i) and v not in popular]) / k

    def repeat_rate(self, i, k):
        before = self.items[self.offsets[self.q.session[i]] : self.q.event[i]]
        return self.mean([float(v in before) for v in self.listed(i, k)])

    def freshness(self, i, k):
        train = self.replay.train
        seen = {}
        for v, t in zip(train.item_ids[train._core.items].tolist(), train._core.timestamps.tolist()):
            seen[v] = min(t, seen.get(v, t))
        now = self.time[self.q.event[i]]
        return self.mean([float(v not in seen or now - seen[v] < 7 * DAY * 10**6) for v in self.listed(i, k)])

    def ild_attributes(self, i, k):
        table = [[None if i % 5 == 0 else i % 3 for i in range(self.V)], [i % 4 for i in range(self.V)]]
        price = [None if i % 7 == 0 else i * i % 17 for i in range(self.V)]
        known = [p for p in price if p is not None]
        means = []
        for attribute in [*table, price]:
            distances = []
            for a, b in itertools.combinations(self.listed(i, k), 2):
                x, y = attribute[a], attribute[b]
                if x is not None and y is not None:
                    distances.append(abs(x - y) / (max(known) - min(known)) if attribute is price else float(x != y))
            if distances:
                means.append(self.mean(distances))
        return self.mean(means)

    def ild_embeddings(self, i, k):
        vectors = self.replay.embeddings.astype(float)
        pairs = itertools.combinations([v for v in self.listed(i, k) if vectors[v].any()], 2)
        return self.mean(
            [1 - vectors[a] @ vectors[b] / math.sqrt(vectors[a] @ vectors[a]) / math.sqrt(vectors[b] @ vectors[b])
             for a, b in pairs]
        )  # fmt: skip

    def everything(self, where, k):
        return [self.listed(i, k) for i in where]

    def coverage(self, where, k):
        return len({v for top in self.everything(where, k) for v in top}) / self.V

    def tail_coverage(self, where, k):
        return len({v for top in self.everything(where, k) for v in top} & self.tail()) / len(self.tail())

    def gini(self, where, k):
        """Half the relative mean absolute difference."""
        times = [sum(top.count(v) for top in self.everything(where, k)) for v in range(self.V)]
        return sum(abs(a - b) for a in times for b in times) / (2 * self.V * sum(times))

    def personalisation(self, where, k):
        distances = [
            1 - len(set(self.listed(i, k)) & set(self.listed(j, k))) / k
            for i, j in itertools.combinations(where, 2)
            if self.q.visitor[i] != self.q.visitor[j]
        ]
        return self.mean(distances)


PER_QUESTION = [name for name, metric in METRICS.items() if metric.per_question]
OF_ALL = [name for name, metric in METRICS.items() if not metric.per_question]
BY_TYPE = [name for name, metric in METRICS.items() if metric.by_type]


def test_all_metrics_are_here():
    assert set(METRICS) == {
        "hr", "mrr", "ndcg", "precision", "recall", "map", "revenue", "weighted_hr", "coverage", "tail_coverage",
        "gini", "popularity", "tail_share", "novelty", "ild_attributes", "ild_embeddings", "serendipity", "personalisation",
        "freshness", "repeat_rate",
    }  # fmt: skip
    for metric in METRICS.values():
        assert metric.text and metric.source and metric.better in ("higher", "lower", "neither")


@pytest.mark.parametrize("name", PER_QUESTION)
@pytest.mark.parametrize("shape", [{}, {"seed": 1, "K": 1}, {"seed": 2, "K": 9, "V": 31}])
def test_metric_is_brute_force(name, shape):
    replay = make(**shape)
    truth = Truth(replay)
    for k in {1, 3, replay.zones["page"].k} & set(range(1, replay.zones["page"].k + 1)):
        expected = np.array([getattr(truth, name)(i, k) for i in range(len(truth.lists))])
        np.testing.assert_allclose(replay.values(name, name="a", zone="page", k=k), expected, rtol=1e-6, atol=1e-6)
        known = expected[~np.isnan(expected)]
        mean = known.mean() if len(known) else math.nan
        found = replay.aggregate(name, name="a", zone="page", k=k)
        assert found == pytest.approx(mean, rel=1e-6, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("kind", ["view", "addtocart", "purchase"])
@pytest.mark.parametrize("name", BY_TYPE)
def test_metric_by_type_is_brute_force(name, kind):
    replay = make(seed=3)
    truth = Truth(replay)
    for k in (1, 2, 6):
        expected = [getattr(truth, name)(i, k, kind) for i in range(len(truth.lists))]
        found = replay.values(f"{name}:{kind}", name="a", zone="page", k=k)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert np.isnan(found).any() and not np.isnan(found).all()


@pytest.mark.parametrize("name", OF_ALL)
@pytest.mark.parametrize("shape", [{}, {"seed": 1, "K": 1}, {"seed": 2, "K": 9, "V": 31}, {"visitors": 2}])
def test_metric_of_all_lists_is_brute_force(name, shape):
    replay = make(**shape)
    truth = Truth(replay)
    N = len(truth.lists)
    where = np.random.default_rng(8).random(N) < 0.5
    for k in {1, 3, replay.zones["page"].k} & set(range(1, replay.zones["page"].k + 1)):
        whole = replay.aggregate(name, name="a", zone="page", k=k)
        assert whole == pytest.approx(getattr(truth, name)(range(N), k), abs=1e-12)
        some = replay.aggregate(name, name="a", zone="page", k=k, where=where)
        assert some == pytest.approx(getattr(truth, name)(np.flatnonzero(where).tolist(), k), abs=1e-12)


def test_where_and_weights():
    """A part of the questions has its own mean weight."""
    replay = make(seed=4)
    truth = Truth(replay)
    where = np.arange(len(truth.lists)) % 3 == 0
    chosen = np.flatnonzero(where)
    weights = np.array([truth.weight[e] for e in truth.q.event])
    hits = np.array([truth.hr(i, 6) for i in range(len(weights))])
    found = replay.aggregate("weighted_hr", name="a", zone="page", k=6, where=where)
    assert found == pytest.approx((weights * hits)[chosen].sum() / weights[chosen].sum())
    assert replay.aggregate("hr", name="a", zone="page", k=6, where=where) == pytest.approx(hits[chosen].mean())
    assert math.isnan(replay.aggregate("hr", name="a", zone="page", k=6, where=np.zeros(len(weights), bool)))


def test_large_replays_are_judged_in_pieces(monkeypatch):
    replay, pieces = make(seed=5), make(seed=5)
    monkeypatch.setattr(sets, "_ENTRIES", 40)
    monkeypatch.setattr(sets, "_EVENTS", 7)
    for name in PER_QUESTION:
        found = pieces.values(name, name="a", zone="page", k=5)
        monkeypatch.undo()
        np.testing.assert_array_equal(found, replay.values(name, name="a", zone="page", k=5))
        monkeypatch.setattr(sets, "_ENTRIES", 40)
        monkeypatch.setattr(sets, "_EVENTS", 7)


def test_conservative_ties_are_brute_force():
    """Relevant products last among their equals: the hit counts where the run of equal scores ends."""
    replay = make(seed=6, ties="conservative")
    truth, scores = Truth(replay), replay.lists["a", "page"].scores
    expected = []
    for i, top in enumerate(truth.lists):
        rank = truth.rank(i, len(top))
        while rank is not None and rank < len(top) and scores[i, rank] == scores[i, rank - 1]:
            rank += 1
        expected.append(1 / rank if rank else 0.0)
    found = replay.values("mrr", name="a", zone="page", k=6)
    np.testing.assert_allclose(found, expected)
    served = make(seed=6).values("mrr", name="a", zone="page", k=6)
    assert (found <= served).all() and (found < served).any()


def test_one_pass_gives_every_k():
    replay = make(seed=7)
    table = replay.metrics(k=(1, 2, 5))
    table = dict(zip(table.columns, table.rows[0]))
    for name in METRICS:
        for k in (1, 2, 5):
            alone = replay.aggregate(name, name="a", zone="page", k=k)
            assert table[f"{name}@{k}"] == pytest.approx(alone, nan_ok=True)
    assert table["recall:purchase@5"] == pytest.approx(replay.aggregate("recall:purchase", name="a", zone="page", k=5))


def test_churn_is_brute_force():
    a, b = make(seed=8), make(seed=9)
    n = min(len(a.questions["page"]), len(b.questions["page"]))
    rows = [replay.lists["a", "page"].rows[:n] for replay in (a, b)]
    both = qualities.churn(rows[0][:, :4], rows[1][:, :4])
    shares = []
    for x, y in zip(rows[0][:, :4].tolist(), rows[1][:, :4].tolist()):
        x, y = set(x) - {-1}, set(y) - {-1}
        shares.append(len(x & y) / max(len(x), len(y)) if x or y else 1.0)
    assert both == pytest.approx(1 - np.mean(shares))
    assert a.churn("a", "a", zone="page", k=4) == 0
