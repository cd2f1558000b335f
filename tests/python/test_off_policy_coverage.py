"""How often intervals of off-policy estimates hold the truth, on made-up logs whose truth is known."""

import numpy as np

from stamp.offline import off_policy

LOGS = 1000
VISITORS, PRODUCTS = 600, 6


class Shop:
    """Visitors of two kinds see two products each; what they click depends on the kind, the product and the visitor."""

    def __init__(self):
        random = np.random.default_rng(1)
        self.logged = random.dirichlet(np.full(PRODUCTS, 4.0), size=2)  # by kind
        self.evaluated = random.dirichlet(np.full(PRODUCTS, 1.0), size=2)
        self.rate = random.uniform(0.05, 0.5, (2, PRODUCTS))
        self.truth = float((self.evaluated * self.rate).sum(axis=1).mean())

    def log(self, seed):
        """A log, and the kinds of its rows."""
        random = np.random.default_rng([2, seed])
        visitor = np.repeat(np.arange(VISITORS), 2)
        kind = (random.random(VISITORS) < 0.5).astype(int)[visitor]
        keen = random.choice([0.5, 1.5], VISITORS)[visitor]
        drawn = random.random(len(kind))[:, None] > np.cumsum(self.logged[kind], axis=1)
        item = np.minimum(drawn.sum(axis=1), PRODUCTS - 1)
        log = off_policy.ExposureLog.from_rows(
            item_id=item,
            slot=np.ones(len(item)),
            reward=random.random(len(item)) < keen * self.rate[kind, item],
            propensity=self.logged[kind, item],
            visitor=visitor,
        )
        return log, kind


def test_intervals_hold_the_truth_in_95_of_100_logs():
    """With an outcome model that is fitted, and with one that is wrong: it says most of what is clicked least."""
    shop = Shop()
    wrong = 0.55 - shop.rate
    held = dict.fromkeys(("ips", "snips", "dr", "dr, wrong model"), 0)
    for seed in range(LOGS):
        log, kind = shop.log(seed)
        policy = off_policy.Probabilities(shop.evaluated[kind], item_ids=np.arange(PRODUCTS))
        given = wrong[kind, log.item_ids], (shop.evaluated * wrong).sum(axis=1)[kind]
        found = off_policy.estimate(log, policy, resamples=400, seed=seed)[1]
        beside = off_policy.estimate(log, policy, outcome=given, resamples=400, seed=seed)[1]
        for name in held:
            one = beside["dr"] if name == "dr, wrong model" else found[name]
            held[name] += one.low <= shop.truth <= one.high
    coverage = {name: count / LOGS for name, count in held.items()}
    assert all(0.93 <= share <= 0.97 for share in coverage.values()), coverage


def test_what_is_refused_would_have_missed():
    """Over logs of all kinds, weights of up to hundreds among them: intervals that pass hold the truth about as often
    as they say, those that are refused would not."""
    random = np.random.default_rng(5)
    held: dict[bool, list[bool]] = {True: [], False: []}
    for seed in range(400):
        rows, products = int(random.choice([500, 1000, 2000])), 20
        logged = random.dirichlet(np.full(products, random.choice([0.3, 0.7, 2, 10]))) * 0.98 + 0.02 / products
        evaluated = random.dirichlet(np.full(products, 0.5)) if seed % 2 else np.full(products, 1 / products)
        rate = np.minimum(1, random.gamma(2, random.choice([0.005, 0.02, 0.1]) / 2, products))
        item = random.choice(products, rows, p=logged)
        log = off_policy.ExposureLog.from_rows(
            item_id=item,
            slot=np.ones(rows),
            reward=random.random(rows) < rate[item],
            propensity=logged[item],
            choices=(np.arange(rows + 1) * products, np.tile(np.arange(products), rows), np.tile(logged, rows)),
        )
        policy = off_policy.Probabilities(evaluated, item_ids=np.arange(products))
        passes = not off_policy.estimate(log, policy, resamples=100)[1].refused
        part = off_policy.estimate(log, policy, resamples=300, seed=seed, least_effective=1, least_rewards=1)[1]
        if not part.refused:
            held[passes].append(part["snips"].low <= evaluated @ rate <= part["snips"].high)
    passed, refused = (np.mean(held[each]) for each in (True, False))
    assert min(map(len, held.values())) > 100
    assert passed > 0.91 and refused < 0.85
