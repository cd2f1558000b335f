"""Bundles and stamp.Recommender: against a forward pass in numpy and the naive oracle of rules, routes, reloading, what
cannot be, and the C interface as docs/serving.md uses it."""

import collections
import dataclasses
import json
import math
import pathlib
import re
import shutil
import threading

import numpy as np
import pytest
import rules_oracle
import safetensors.numpy

import stamp
from stamp import _stamp

ROOT = pathlib.Path(__file__).parents[2]
CPU = _stamp.open_device("cpu", "auto")
KEYS = {
    "exclude_products": ["products"], "only_products": ["products"], "exclude_values": ["attribute", "values"],
    "only_values": ["attribute", "values"], "only_available": [], "same_value": ["attribute"],
    "different_value": ["attribute"], "price_band": ["price", "from", "to"], "exclude_seen": [], "exclude_bought": [],
    "limit": ["attribute", "max"], "boost": ["attribute", "values", "by"], "pin": ["pinned"],
    "diversify": ["mixed", "strength", "pool"], "min_score": ["score"],
}  # fmt: skip
BUILD = ("exclude_products", "exclude_values", "only_available")  # of the fixed exclusions those that leave much


def model_of(products, seed, preset="official", **options):
    config = json.loads(_stamp.presets(preset)[0])
    config.update(dim=8, item_std=0.6, weight_std=0.5, seed=seed, **options)
    model = _stamp.Model(json.dumps(config), products, CPU)
    if config["repeat_floors"]:
        floors = np.random.default_rng(seed).normal(0, 1.5, config["repeat_floors"]).astype(np.float32)
        model.set_weights({**model.weights(), "repeat.floors": floors})
    return model


def bundle_of(ids, clusters, *, counts=None, attributes=(), route_by=(), rules=None):
    """`clusters`: (id, rows, model)."""
    catalog = _stamp.Catalog("integers" if isinstance(ids[0], int) else "strings")
    if isinstance(ids[0], int):
        catalog.add_integers(ids)
    else:
        offsets = np.cumsum([0, *(len(i.encode()) for i in ids)])
        catalog.add_strings("".join(ids).encode(), offsets)
    train = _stamp.presets("official")[1]
    described = [
        (id, rows, model, train, f"{json.loads(model.config())['seed']:016x}", "{}") for id, rows, model in clusters
    ]  # a fingerprint for each seed
    counts = [0] * len(ids) if counts is None else counts
    return _stamp.Bundle(catalog, counts, list(attributes), described, list(route_by), json.dumps(rules or {}))


def scores_by_numpy(model, events):
    """STAMP's scores [V] in double precision (docs/model.md), of one session of rows."""
    config = json.loads(model.config())
    w = {name: value.astype(np.float64) for name, value in model.weights().items()}
    x = w["items"][events[-config["history"] :]]
    if config["max_norm"]:
        x = x * np.minimum(1, config["max_norm"] / np.linalg.norm(x, axis=1))[:, None]
    mean, anchor = x.mean(0), x[-1]
    keys = x @ w["attention.w1"].T + w["attention.w2"] @ anchor + w["attention.w3"] @ mean
    a = 1 / (1 + np.exp(-(keys + w.get("attention.bias", 0)))) @ w["attention.w0"]
    if config["normalization"] == "softmax":
        a = np.exp(a) / np.exp(a).sum()
    memory = a @ x + {"none": 0, "mean": mean, "anchor": anchor}[config["residual"]]
    h_s = np.tanh(w["mlp_session.weight"] @ memory + w.get("mlp_session.bias", 0))
    h_t = np.tanh(w["mlp_anchor.weight"] @ anchor + w.get("mlp_anchor.bias", 0))
    z = w["items"] @ (h_s * h_t)
    if config["score"] == "cosine":
        z *= config["scale"] / np.linalg.norm(h_s * h_t) / np.linalg.norm(w["items"], axis=1)
    for ago, row in enumerate(events[-config["history"] :][::-1]):
        if config["repeat_floors"] and row not in events[len(events) - ago :]:
            z[row] = np.logaddexp(z[row], w["repeat.floors"][min(ago, config["repeat_floors"] - 1)])
    return z


# The whole of recommending, naively.


@dataclasses.dataclass
class Naive:
    """A bundle as plain lists: what docs/serving.md says of it, one product at a time."""

    shop: rules_oracle.Shop
    clusters: list  # (id, rows, model)
    counts: list
    route_by: list
    rules: dict

    def owner(self, row):
        return next((c for c, (_, rows, _) in enumerate(self.clusters) if row in rows), None)

    def group(self, row):
        values = tuple(self.shop.text(name, row) for name in self.route_by)
        return values if values and None not in values else None

    def home(self, group):
        """The cluster that knows most products of an attribute group."""
        known = [sum(self.group(row) == group for row in rows) for _, rows, _ in self.clusters]
        return known.index(max(known)) if group is not None and max(known) > 0 else None

    def route(self, events):
        """The path, and the cluster or the attribute group that it leads to."""
        anchor = events[-1] if events else None
        if anchor is not None and self.owner(anchor) is not None:
            return "anchor", self.owner(anchor)
        owners = [self.owner(e) for e in events if e is not None and self.owner(e) is not None]
        group = None if anchor is None else self.group(anchor)
        if self.home(group) in owners:
            return "group", self.home(group)
        if owners:
            most = max(collections.Counter(owners).values())
            return "history", [c for c in owners if owners.count(c) == most][-1]
        return ("popular", None) if group is None else ("category", group)

    def recommend(self, events, zone, rules, k, history, visit, scores=None):
        """Path, cluster, rows with scores, and the scores of all candidates: [V], NaN for the others."""
        settings = self.rules["zones"].get(zone, {})
        limit = history or settings.get("history", 0)
        path, where = self.route(events[-limit:])
        everything = np.arange(len(self.shop.ids))
        with_model = path in ("anchor", "group", "history")
        expected = np.full(len(everything), np.nan)
        embeddings = None
        if with_model:
            _, rows, model = self.clusters[where]
            known = [rows.index(e) for e in events[-limit:] if e is not None and e in rows]
            expected[rows] = scores_by_numpy(model, known)
            embeddings = model.weights()["items"]
        else:
            rows = [int(r) for r in everything if path == "popular" or self.group(r) == where]
            expected[rows] = np.log1p(np.array(self.counts)[rows])
        listed = rules_oracle.recommend(
            self.shop, rows, (expected if scores is None else scores)[rows].astype(np.float32),
            [*self.rules["build"], *settings.get("rules", []), *rules], visit, k or settings.get("k", 20),
            embeddings=embeddings, min_score=with_model,
        )  # fmt: skip
        return path, self.clusters[where][0] if with_model else None, listed, expected


class Random:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def below(self, n):
        return int(self.rng.integers(n))

    def chance(self, p):
        return bool(self.rng.random() < p)

    def choice(self, values, n):
        return [values[self.below(len(values))] for _ in range(n)]

    def optional(self, p, value):
        return value if self.chance(p) else None

    def rule(self, shop, types):
        rule = {"rule": self.choice(types, 1)[0]}
        texts = list(shop.texts)
        for key in KEYS[rule["rule"]]:
            if key == "products":
                rule[key] = self.choice([*shop.ids, self.nobody(shop)], 5 if rule["rule"] != "only_products" else 150)
            elif key == "pinned":
                rule["products"] = self.choice([*shop.ids, self.nobody(shop)], 1 + self.below(4))
            elif key == "attribute":
                rule[key] = self.choice(texts, 1)[0]
            elif key == "values":
                found = {value for value in shop.texts[rule["attribute"]] if value is not None}
                rule[key] = self.choice([*sorted(found), "no such value"], 1 + self.below(3))
            elif key == "price":
                rule["attribute"] = "price"
            elif key == "mixed":
                rule["by"] = self.choice(["embedding", *texts], 1)[0]
            else:
                low, high = {"from": (0, 1), "to": (1, 4), "by": (-1, 1), "strength": (0, 1), "score": (-3, 0.1)}.get(
                    key, (1, 5)
                )
                rule[key] = round(float(self.rng.uniform(low, high)), 3)
                if key == "max":
                    rule[key] = 1 + self.below(3)
                if key == "pool":
                    rule[key] = 1 + self.below(25)
        return rule

    def all_rules(self, shop, n, types=tuple(KEYS)):
        return [self.rule(shop, types) for _ in range(n)]

    def nobody(self, shop):
        return -7 if isinstance(shop.ids[0], int) else "nobody"

    def bundle(self, path):
        """One saved at `path`, and its naive twin."""
        V = 100 + self.below(200)
        ids = [int(i) for i in self.rng.permutation(1000)[:V]]
        if self.chance(0.5):
            ids = [f"sku-{i}" for i in ids]
        texts = {
            name: [None if self.chance(missing) else f"{name}{self.below(n)}" for _ in range(V)]
            for name, n, missing in (("category", 6, 0.2), ("colour", 3, 0.1), ("brand", 12, 0.4))
        }
        numbers = {
            "price": [math.nan if self.chance(0.1) else float(np.float32(self.rng.gamma(2, 10))) for _ in range(V)],
            "available": [self.choice([1.0, 1.0, 1.0, 0.0, math.nan], 1)[0] for _ in range(V)],
        }
        # Categories belong to a cluster, mostly; some products are in none.
        n = 1 + self.below(3)
        owner = [-1 if self.chance(0.15) else self.below(n) if self.chance(0.2) or c is None else int(c[-1]) % n
                 for c in texts["category"]]  # fmt: skip
        shop = rules_oracle.Shop(ids, texts, numbers)
        clusters = []
        for c in range(n):
            rows = [row for row in range(V) if owner[row] == c]
            model = model_of(
                len(rows), self.below(10**6), preset=self.choice(["official", "paper"], 1)[0],
                residual=self.choice(["none", "mean", "anchor"], 1)[0], history=self.choice([0, 0, 2], 1)[0],
                normalization=self.choice(["none", "softmax"], 1)[0], score=self.choice(["dot", "cosine"], 1)[0],
                scale=4.0, repeat_floors=(0, 1, 3)[len(rows) % 3],
            )  # fmt: skip
            clusters.append((7 - 2 * c, rows, model))  # ids in no order
        counts = [self.below(50) ** 2 if owner[row] >= 0 else 0 for row in range(V)]
        route_by = self.choice([["category"], ["category", "colour"], []], 1)[0]
        zones = {}
        for name in ("home", "product"):
            zones[name] = {"rules": self.all_rules(shop, self.below(4))}
            if self.chance(0.5):
                zones[name]["k"] = 1 + self.below(12)
            if self.chance(0.5):
                zones[name]["history"] = 1 + self.below(3)
        rules = {"build": self.all_rules(shop, self.below(3), BUILD), "zones": zones}
        codes = {name: sorted({v for v in column if v is not None}) for name, column in texts.items()}
        attributes = [
            (name, np.array([-1 if v is None else codes[name].index(v) for v in column], np.int32), codes[name])
            for name, column in texts.items()
        ] + [(name, np.array(column, np.float32)) for name, column in numbers.items()]
        bundle = bundle_of(ids, clusters, counts=counts, attributes=attributes, route_by=route_by, rules=rules)
        _stamp.save_bundle(str(path), bundle)
        return Naive(shop, clusters, counts, route_by, rules)

    def request(self, naive):
        """events, zone, rules, k, history, exclude, bought, only, explain; products as rows."""
        rows = range(len(naive.shop.ids))
        return (
            self.events(naive),
            self.optional(0.6, self.choice(["home", "product"], 1)[0]),
            self.all_rules(naive.shop, self.below(4)),
            self.optional(0.6, 1 + self.below(15)),
            self.optional(0.2, 1 + self.below(4)),
            self.choice(rows, self.below(4)),
            self.choice(rows, self.below(4)),
            self.optional(0.1, self.choice(rows, 80)),
            self.chance(0.3),
        )

    def events(self, naive):
        """Rows, None for an unknown product; those of one cluster, or of all."""
        rows = range(len(naive.shop.ids))
        if self.chance(0.5):
            rows = self.choice(naive.clusters, 1)[0][1]
        events = [None if self.chance(0.1) else self.choice(rows, 1)[0] for _ in range(self.below(6))]
        strangers = [row for row in range(len(naive.shop.ids)) if naive.owner(row) is None]
        if self.chance(0.35):  # the current product is one that no model knows
            events.append(self.choice(strangers, 1)[0])
        return [event for event in events if self.chance(0.6) or event in strangers]


SEEDS, REQUESTS = range(16), 25


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_those_of_the_naive_oracle(seed, tmp_path):
    random = Random(seed)
    naive = random.bundle(tmp_path / "bundle")
    recommender = stamp.Recommender(tmp_path / "bundle", device="cpu")
    shop, swapped = naive.shop, 0

    def ids(rows):
        return [random.nobody(shop) if row is None else shop.ids[row] for row in rows]

    for _ in range(REQUESTS):
        events, zone, rules, k, history, exclude, bought, only, explain = random.request(naive)
        answer = recommender.recommend(
            ids(events), zone=zone, rules=rules, k=k, history=history, exclude=[*ids(exclude), random.nobody(shop)],
            bought=ids(bought), only=None if only is None else ids(only), explain=explain,
        )  # fmt: skip
        visit = rules_oracle.Visit(events[-1] if events else None, [e for e in events if e is not None],
                                   bought, exclude, only)  # fmt: skip
        path, cluster, listed, expected = naive.recommend(events, zone, rules, k, history, visit)
        assert (answer.path, answer.cluster) == (path, cluster)
        assert answer.unknown == ids(e for e in events if e is None)
        wanted = k or naive.rules["zones"].get(zone, {}).get("k", 20)
        assert bool(answer.reason) == (len(answer) < wanted) and len(answer) == len(listed)
        assert (answer.explanation is not None) == explain

        # In double precision: the same products in the same order, but for scores that are as good as equal.
        found = [shop.ids.index(item) for item in answer.ids]
        scores = dict(zip(found, answer.scores.tolist()))
        near = 1e-5 * np.nanmax(np.abs(expected))
        for (row, score), other in zip(listed, found):
            assert math.isnan(scores[other]) if score is None else abs(score - scores[other]) <= near
            swapped += row != other

        # With the scores that the library itself gives to all that can be recommended: the same, to the bit.
        plain = recommender.recommend(
            ids(events), k=len(shop.ids), history=history or naive.rules["zones"].get(zone, {}).get("history")
        )
        own = np.full(len(shop.ids), np.nan, np.float32)
        own[[shop.ids.index(item) for item in plain.ids]] = plain.scores
        allowed = [row for row in np.flatnonzero(~np.isnan(expected))
                   if not any(rules_oracle.forbids(rule, shop, visit, row) for rule in naive.rules["build"])]  # fmt: skip
        assert np.flatnonzero(~np.isnan(own)).tolist() == allowed
        np.testing.assert_allclose(own[allowed], expected[allowed], rtol=0, atol=near)
        _, _, listed, _ = naive.recommend(events, zone, rules, k, history, visit, own)
        assert found == [row for row, _ in listed]
        np.testing.assert_array_equal(answer.scores, [np.nan if s is None else np.float32(s) for _, s in listed])
    assert swapped <= 2  # one near tie


def test_the_random_cases_reach_everything(tmp_path):
    """Every path, and every type of rule in zones and in requests."""
    paths, in_zones, in_requests = set(), set(), set()
    for seed in SEEDS:
        random = Random(seed)
        naive = random.bundle(tmp_path / str(seed))
        in_zones |= {rule["rule"] for zone in naive.rules["zones"].values() for rule in zone["rules"]}
        for _ in range(REQUESTS):
            events, _, rules, *_ = random.request(naive)
            paths.add(naive.route(events)[0])
            in_requests |= {rule["rule"] for rule in rules}
    assert paths == {"anchor", "group", "history", "category", "popular"}
    assert in_zones == in_requests == set(KEYS)


# A small shop: cluster 7 knows a0 to a3, cluster 3 knows b0 to b2, no model knows x0 to x3.
IDS = ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "x0", "x1", "x2", "x3"]
CATEGORIES = ["A", "A", "A", "A", "B", "B", "B", "A", "X", "X", None]
ITEMS = {"item_id": IDS, "category": CATEGORIES, "available": [1.0] * 9 + [0.0, 1.0]}
RULES = {
    "build": [{"rule": "only_available"}],
    "zones": {
        "home": {},
        "cart": {"k": 2, "history": 1, "rules": [{"rule": "exclude_seen"}]},
        "b": {"rules": [{"rule": "only_values", "attribute": "category", "values": ["B"]}]},
    },
}


def save_model(path, ids, seed, counts):
    _stamp.save_bundle(str(path), bundle_of(ids, [(0, range(len(ids)), model_of(len(ids), seed))], counts=counts))
    return path


@pytest.fixture
def models(tmp_path):
    """Saved models by cluster."""
    return {
        7: save_model(tmp_path / "models" / "7", IDS[:4], 1, [5, 9, 2, 4]),
        3: save_model(tmp_path / "models" / "3", IDS[4:7], 2, [3, 8, 1]),
    }


@pytest.fixture
def built(models, tmp_path):
    stamp.build_bundle(models, ITEMS, out=tmp_path / "bundle", rules=RULES, route_by="category")
    return tmp_path / "bundle"


@pytest.fixture
def recommender(built):
    return stamp.Recommender(built, device="cpu")


def same(one, other):
    """Whether two answers are equal, to the bit."""
    return (one.ids.tolist(), one.scores.tobytes(), one.path, one.cluster, one.unknown, one.reason) == (
        other.ids.tolist(), other.scores.tobytes(), other.path, other.cluster, other.unknown, other.reason
    )  # fmt: skip


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
    assert popular.reason == "1 of 20: 1 candidates"
    check(["x0"], "category", None, ["a1", "a0", "a3", "a2", "x0"])
    everything = ["a1", "b1", "a0", "a3", "b0", "a2", "b2", "x0", "x1", "x3"]
    for events in ([], ["x3"], ["nobody"], [17]):
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
        with pytest.raises(ValueError, match=f"recommend: {name} is 0, expected 1 or more"):
            recommender.recommend(["a1"], **{name: 0})


def test_empty_answers_say_why_and_rules_that_cannot_be_are_named(recommender):
    answer = recommender.recommend(["a1"], zone="b", k=3)
    assert len(answer) == 0 and answer.ids.shape == answer.scores.shape == (0,)
    assert answer.reason == "0 of 3: 4 candidates, only_values category leaves 0"
    only_b = {"rule": "only_values", "attribute": "category", "values": ["B"]}
    answer = recommender.recommend(["b1"], rules=[only_b, {**only_b, "rule": "exclude_values"}], explain=True)
    assert answer.reason == "0 of 20: 3 candidates, exclude_values category leaves 0"
    assert [rule["removed"] for rule in answer.explanation["rules"]] == [0, 3] and answer.explanation["left"] == 0
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
        ("zones.cart.rules[0]", 1), ("rules[0]", None), ("rules[1]", None), ("exclude", int(plain[0] != "a1"))
    ]  # fmt: skip
    assert explanation["listed"][0] == {"id": "b1", "pinned": "rules[0]"}
    assert explanation["missing"][0]["id"] == plain[0] and explanation["missing"][0]["rank"] == 1
    assert recommender.recommend(["a1"]).explanation is None
    category = recommender.recommend(["x0"], explain=True).explanation
    assert category["candidates"] == 5 and category["rules"] == []  # the group's


def test_unavailable_products_are_in_no_answer(models, recommender, tmp_path):
    """x2 is not available: neither listed nor pinned, and no candidate. Nor a1 in another build."""
    for events in ([], ["x1"], ["x2"], ["a1"]):
        for options in ({}, {"only": ["x2"]}, {"rules": [{"rule": "pin", "products": ["x2"]}]}):
            assert "x2" not in recommender.recommend(events, **options).ids
    assert recommender.recommend(["x2"]).path == "category"  # but what is asked about may be gone
    assert recommender.recommend([], explain=True).explanation["candidates"] == len(IDS) - 1
    items = {**ITEMS, "available": [1.0, 0.0] + [1.0] * 9}
    stamp.build_bundle(models, items, out=tmp_path / "other", rules=RULES, route_by="category")
    other = stamp.Recommender(tmp_path / "other", device="cpu")
    answer = other.recommend(["a1"], explain=True)
    assert answer.path == "anchor" and answer.explanation["candidates"] == 3
    plain = recommender.recommend(["a1"])
    kept = plain.ids != "a1"
    assert answer.ids.tolist() == plain.ids[kept].tolist() and answer.scores.tolist() == plain.scores[kept].tolist()
    nothing = {"build": [{"rule": "only_products", "products": []}]}
    stamp.build_bundle(models, ITEMS, out=tmp_path / "nothing", rules=nothing, route_by="category")
    empty = stamp.Recommender(tmp_path / "nothing", device="cpu")
    for events in ([], ["x1"], ["a1"], ["a1", "x0"]):
        answer = empty.recommend(events, rules=[{"rule": "pin", "products": ["a1"]}], explain=True)
        assert len(answer) == 0 and answer.reason == "0 of 20: 0 candidates"


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
    assert numbers.recommend(["9"]).path == "popular" and numbers.recommend(["9"]).unknown == ["9"]
    assert recommender.recommend([9]).unknown == [9]
    assert recommender.item_ids.tolist() == ["b0", "b1", "b2", "a0", "a1", "a2", "a3", "x0", "x1", "x2", "x3"]
    with pytest.raises(ValueError, match="recommend_batch: a session is 'a1', expected a list of product ids"):
        recommender.recommend_batch(["a1"])
    for wrong in ("a1", 7, None):
        with pytest.raises(ValueError, match="recommend: events is .*, expected a list of product ids"):
            recommender.recommend(wrong)
    with pytest.raises(ValueError, match="recommend: exclude is 'a1', expected a list"):
        recommender.recommend(["a1"], exclude="a1")


def test_loading_lazily_within_memory_and_sharing_scans_change_no_answer(built, recommender):
    sessions = [["a1"], ["b0", "x0"], [], ["b1"], ["x1"], ["a1", "a3"]]
    expected = [recommender.recommend(s) for s in sessions]
    for options in ({"lazy": True}, {"memory": 1}, {"lazy": True, "memory": 10**6}, {"window": 1e-4}):
        other = stamp.Recommender(built, device="cpu", **options)
        for _ in range(2):
            assert all(same(other.recommend(s), e) for s, e in zip(sessions, expected))
        assert all(same(a, e) for a, e in zip(other.recommend_batch(sessions), expected))
    with pytest.raises(ValueError, match="memory is -1"):
        stamp.Recommender(built, device="cpu", memory=-1)


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


def test_bundles_that_cannot_be_loaded(built, recommender, tmp_path):
    def missing(path):
        (path / "clusters" / "3.safetensors").unlink()

    def cut(path):
        file = path / "clusters" / "3.safetensors"
        file.write_bytes(file.read_bytes()[:-4])

    def damage(name):
        def change(path):
            data = bytearray((path / name).read_bytes())
            data[-5] ^= 1
            (path / name).write_bytes(data)

        return change

    def of_another_version(path):
        (path / "manifest.json").write_text(
            (path / "manifest.json").read_text().replace('"version": 2', '"version": 1')
        )

    def of_another_kind(path):
        (path / "manifest.json").write_text('{"format": "something"}')

    def without_clusters(path):
        manifest = json.loads((path / "manifest.json").read_text())
        del manifest["clusters"]
        (path / "manifest.json").write_text(json.dumps(manifest))

    before = recommender.recommend(["a1"])
    for number, (change, message) in enumerate((
        (missing, r"clusters/3.safetensors is missing"),
        (cut, r"clusters/3.safetensors has \d+ bytes, its manifest says \d+"),
        (damage("clusters/3.safetensors"), r"clusters/3.safetensors has checksum \w+, its manifest says \w+"),
        (damage("catalog.safetensors"), r"catalog.safetensors has checksum"),
        (damage("rules.json"), r"rules.json has checksum"),
        (of_another_version, r"manifest.json has format version 1, this library reads 2"),
        (of_another_kind, r"manifest.json is not the manifest of a stamp bundle"),
        (without_clusters, r"manifest.json lacks something: .*'clusters'"),
        (shutil.rmtree, r"holds no manifest.json"),
    )):  # fmt: skip
        path = tmp_path / f"broken{number}"
        shutil.copytree(built, path)
        change(path)
        for load in (stamp.Recommender, stamp.verify_bundle, recommender.reload):
            with pytest.raises(RuntimeError, match=message):
                load(path)
        assert recommender.path == built and same(recommender.recommend(["a1"]), before)


def test_a_model_that_is_damaged_is_found_when_it_is_loaded(built):
    lazy = stamp.Recommender(built, device="cpu", lazy=True)
    file = built / "clusters" / "3.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    with file.open("r+b") as opened:
        opened.write(data)
    assert lazy.recommend(["a1"]).path == "anchor"
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"3.safetensors has checksum"):
            lazy.recommend(["b1"])
    assert stamp.inspect_bundle(built)["clusters"][0]["id"] == 3  # which reads no model
    with pytest.raises(RuntimeError, match=r"3.safetensors has checksum"):
        stamp.verify_bundle(built)


def test_build_inspect_verify(models, built, tmp_path):
    described = stamp.inspect_bundle(built)
    assert described == stamp.verify_bundle(built)
    assert described["products"] == 11 and described["in_no_cluster"] == 4
    assert described["attributes"] == {"category": "text", "available": "number"}
    assert described["route_by"] == ["category"] and described["build_rules"] == 1
    assert described["zones"] == {"b": 1, "cart": 1, "home": 0}
    assert [(c["id"], c["products"], c["clicks"], c["dim"]) for c in described["clusters"]] == [
        (3, 3, 12, 8),
        (7, 4, 20, 8),
    ]

    (tmp_path / "rules.json").write_text(json.dumps(RULES))
    again = stamp.build_bundle(
        models, ITEMS, out=tmp_path / "again", rules=tmp_path / "rules.json", route_by=["category"]
    )
    assert again == described
    for name in ("catalog.safetensors", "clusters/3.safetensors"):
        assert (built / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    bare = stamp.build_bundle(models, out=tmp_path / "bare")
    assert bare["in_no_cluster"] == 0 and bare["attributes"] == bare["zones"] == {}

    # The files as docs/data.md has them.
    catalog = safetensors.numpy.load_file(built / "catalog.safetensors")
    assert catalog["cluster"].dtype == np.int32 and catalog["cluster"].tolist() == [0] * 3 + [1] * 4 + [-1] * 4
    assert catalog["counts"].tolist() == [3, 8, 1, 5, 9, 2, 4, 0, 0, 0, 0]
    assert catalog["attribute.category.codes"].tolist()[-1] == -1
    assert catalog["attribute.available.numbers"].tolist() == [1.0] * 9 + [0.0, 1.0]
    assert json.loads((built / "rules.json").read_text()) == RULES
    manifest = json.loads((built / "manifest.json").read_text())
    assert [c["file"] for c in manifest["clusters"]] == ["clusters/3.safetensors", "clusters/7.safetensors"]
    assert set(manifest["files"]) == {"catalog.safetensors", "rules.json", *(c["file"] for c in manifest["clusters"])}


def test_builds_that_cannot_be(models, built, tmp_path):
    before = (built / "manifest.json").read_bytes()

    def refused(message, paths=models, items=ITEMS, error=ValueError, **options):
        with pytest.raises(error, match=message):
            stamp.build_bundle(paths, items, out=built, **options)

    twice = save_model(tmp_path / "twice", ["b1", "c0"], 3, [1, 1])
    numbers = save_model(tmp_path / "numbers", [1, 2], 3, [1, 1])
    refused("product 'b1' is claimed by clusters 3 and 12", {**models, 12: twice})
    refused("some models know products by integers, some by strings", {**models, 12: numbers})
    refused("holds 2 clusters, expected the one of 12", {12: built})
    refused("no models are given", {})
    refused("'7' is no cluster id", {"7": twice})
    refused("holds no report.json of train_clusters", tmp_path / "none", error=RuntimeError)
    refused("holds no manifest.json", {1: tmp_path}, error=RuntimeError)
    refused("product a1 stands twice", items={"item_id": ["a1", "a1"]})
    refused("items have ids that are integers, the models strings", items={"item_id": [1]})
    refused("route_by names 'colour', expected text attributes of available, category", route_by="colour")
    refused("route_by names 'available'", route_by=["category", "available"])
    refused("there is no file", rules=tmp_path / "no.json")
    for rules, message in (
        ([], r"rules.json is \[\], expected an object"),
        ({"zone": {}}, r"rules.json.zone is unknown"),
        ({"zones": {"home": {"k": 1.5}}}, r"zones.home.k is 1.5, expected an integer of 1 or more"),
        ({"zones": {"home": {"history": 0}}}, r"zones.home.history is 0, expected an integer of 1 or more"),
        ({"zones": {"home": {"rules": [{"rule": "same_value", "attribute": "colr"}]}}},
         r"zones.home.rules\[0\].attribute is 'colr', expected one of category"),
        ({"build": [{"rule": "exclude_seen"}]}, r"build\[0\].rule is 'exclude_seen', which depends on the visit"),
    ):  # fmt: skip
        if isinstance(rules, dict):
            refused(message, rules=rules)
        else:
            (tmp_path / "rules.json").write_text(json.dumps(rules))
            refused(message, rules=tmp_path / "rules.json")
    assert (built / "manifest.json").read_bytes() == before  # nothing was replaced


def test_diff(models, built, tmp_path):
    assert stamp.diff_bundles(built, built) == {
        "products": {"added": 0, "removed": 0, "moved": 0},
        "clusters": {"added": [], "removed": [], "other_data": []},
        "attributes": {"added": [], "removed": [], "changed": {}},
        "zones": {"added": [], "removed": [], "changed": []},
        "build_rules_changed": False,
    }
    # b2 moves to cluster 7, x0 to the new cluster 5; x3 goes, y0 and y1 come.
    save_model(tmp_path / "7", ["a0", "a1", "a2", "a3", "b2"], 8, [1] * 5)
    save_model(tmp_path / "5", ["x0", "y0"], 1, [1, 1])
    save_model(tmp_path / "2", ["b0", "b1"], 1, [1, 1])
    items = {
        "item_id": [*IDS[:10], "y1"],
        "category": ["Z", *CATEGORIES[1:8], None, "X", "X"],  # a0 and x1 change
        "price": [1.5] * 11,
    }
    rules = {"zones": {"home": {"k": 3}, "cart": RULES["zones"]["cart"], "new": {}}}
    stamp.build_bundle(
        {7: tmp_path / "7", 5: tmp_path / "5", 2: tmp_path / "2"}, items, out=tmp_path / "new", rules=rules
    )
    assert stamp.diff_bundles(built, tmp_path / "new") == {
        "products": {"added": 2, "removed": 1, "moved": 4},  # b0, b1, b2 and x0
        "clusters": {"added": [2, 5], "removed": [3], "other_data": [7]},
        "attributes": {"added": ["price"], "removed": ["available"], "changed": {"category": 2}},
        "zones": {"added": ["new"], "removed": ["b"], "changed": ["home"]},
        "build_rules_changed": True,
    }
    with pytest.raises(RuntimeError, match="holds no manifest.json"):
        stamp.diff_bundles(built, tmp_path)


# What docs/serving.md shows.


def blocks(language):
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize(("language", "example"), [("cpp", "main.cpp"), ("c", "main.c")])
def test_the_documentation_shows_what_compiles(language, example):
    def stripped(text):
        return [line.strip() for line in text.splitlines()]

    source = stripped((ROOT / "examples" / "consumer" / example).read_text(encoding="utf-8"))
    assert blocks(language)
    for block in map(stripped, blocks(language)):
        assert block in [source[i : i + len(block)] for i in range(len(source))]


@pytest.fixture(scope="module")
def c_interface():
    [snippet] = [block for block in blocks("python") if block.startswith("import ctypes")]
    names = {}
    exec(compile(snippet, "docs/serving.md", "exec"), names)
    return names


def test_ctypes(c_interface, recommender, built, tmp_path):
    library = c_interface["open_library"](str(pathlib.Path(stamp.__file__).parent / "libstamp.so.0"))
    assert library.stamp_version().decode() == stamp.__version__
    c = c_interface["Recommender"](library, str(built), device="cpu")
    for events, options in (
        (["a1", "nobody", "a3"], {"k": 3}),
        (["a1"], {"zone": "cart"}),
        ([], {}),
        (["b0", "x0"], {"rules": [{"rule": "pin", "products": ["x1"]}, {"rule": "exclude_seen"}]}),
    ):
        ids, scores, path = c.recommend(events, **options)
        expected = recommender.recommend(events, **options)
        assert ids == expected.ids.tolist() and path == expected.path
        np.testing.assert_array_equal(np.float32(scores), expected.scores)
    for options, message in (
        ({"zone": "basket"}, "zone is 'basket', expected one of b, cart, home"),
        ({"rules": [{"rule": "?"}]}, r"rules\[0\].rule is '\?'"),
        ({"k": -1}, "k is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            c.recommend(["a1"], **options)
    with pytest.raises(RuntimeError, match="holds no manifest.json"):
        c.reload(str(tmp_path))
    assert c.recommend(["a1"])[0] == recommender.recommend(["a1"]).ids.tolist()
    save_model(tmp_path / "numbers", [5, -3, 9], 4, [1, 2, 3])
    c.reload(str(tmp_path / "numbers"))
    assert c.recommend([9])[0] == stamp.Recommender(tmp_path / "numbers", device="cpu").recommend([9]).ids.tolist()
    c.close()
    with pytest.raises(RuntimeError, match="/nothing/here"):
        c_interface["Recommender"](library, "/nothing/here")
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        c_interface["Recommender"](library, str(built), device="tpu")
