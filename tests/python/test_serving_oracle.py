"""stamp.Recommender beside everything that docs/serving.md says, done naively: routes, scores, zones, rules."""

import collections
import dataclasses
import json
import math

import numpy as np
import pytest

import rules_oracle
import stamp
from repeats_oracle import repeats_of
from small_bundles import bundle_of, model_of
from stamp import _stamp

KEYS = {
    "exclude_products": ["products"], "only_products": ["products"], "exclude_values": ["attribute", "values"],
    "only_values": ["attribute", "values"], "only_available": [], "same_value": ["attribute"],
    "different_value": ["attribute"], "price_band": ["price", "from", "to"], "exclude_seen": [], "exclude_bought": [],
    "limit": ["attribute", "max"], "boost": ["attribute", "values", "by"], "pin": ["pinned"],
    "diversify": ["mixed", "strength", "pool"], "min_score": ["score"],
}  # fmt: skip
BUILD = ("exclude_products", "exclude_values", "only_available")  # of the fixed exclusions those that leave much


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
    if config["repeat_floors"]:
        for row, floor in repeats_of(events[-config["history"] :], w["repeat.floors"]).items():
            z[row] = np.logaddexp(z[row], floor)
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
