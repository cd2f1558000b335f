"""Off-policy estimates beside obp's, beside sums by hand, and beside what a replay knows to be true."""

import itertools
import json
import math
import pathlib

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import stamp
from obp_peer import PRODUCTS, made_log
from stamp import offline
from stamp.offline import off_policy
from stamp.offline.off_policy import plackett_luce

ANY = {"least_effective": 1, "least_rewards": 1}


def log_of(item_id, reward, propensity, slot=None, **more):
    slot = np.ones(len(item_id)) if slot is None else slot
    return off_policy.ExposureLog.from_rows(item_id=item_id, slot=slot, reward=reward, propensity=propensity, **more)


def two_products(rows=2000, seed=0, **more):
    """Each shown half of the time; b, which is 1 in `shown`, is clicked three times as often."""
    random = np.random.default_rng(seed)
    shown = random.integers(0, 2, rows)
    clicked = random.random(rows) < np.array([0.1, 0.3])[shown]
    return shown, clicked, log_of(np.array(["a", "b"])[shown], clicked, np.full(rows, 0.5), **more)


# --- Estimators


def test_obps_estimates():
    made = made_log()
    every = np.arange(len(made["item"]))
    log = log_of(made["item"], made["reward"], made["propensity"], made["slot"] + 1)
    evaluated = made["evaluated"][every, :, made["slot"]]
    predicted = made["predicted"][every, :, made["slot"]]
    found = off_policy.estimate(
        log,
        off_policy.Probabilities(evaluated, item_ids=np.arange(PRODUCTS)),
        outcome=(predicted[every, made["item"]], (evaluated * predicted).sum(axis=1)),
        **ANY,
    )
    peer = json.loads((pathlib.Path(__file__).parent / "obp_peer.json").read_text())
    assert len(peer) == len(found.slots) == 4
    for name, figures in peer.items():
        part = found[None if name == "all" else int(name)]
        assert {one.estimator: one.value for one in part.estimates} == pytest.approx(figures, rel=1e-12)


def test_by_hand():
    """Weights 2, 0, 0.5, 1 and so on: fractions that a pencil finds."""
    log = log_of(
        ["a", "b", "a", "c"] * 20,
        [1, 1, 0, 2] * 20,
        [0.25, 0.5, 0.5, 0.125] * 20,
        visitor=np.repeat(np.arange(80), 1),
    )
    shown = np.array([0.5, 0.0, 0.25, 0.125] * 20)
    predicted, direct = np.array([0.5, 1, 0.5, 1] * 20), np.array([0.75, 0.5, 0.25, 1] * 20)
    part = off_policy.estimate(log, shown, outcome=(predicted, direct), **ANY)[1]
    # w r = 2, 0, 0, 2; w = 2, 0, 0.5, 1; w (r − q) = 1, 0, −0.25, 1.
    assert part["ips"].value == 4 / 4 and part["snips"].value == 4 / 3.5
    assert part["dr"].value == (2.5 + 1.75) / 4
    assert part.log == 1 and part["ips"].change == 0
    assert part.effective == pytest.approx(20 * 3.5**2 / (4 + 0.25 + 1))
    assert part.effective_rewards == pytest.approx(20 * 4**2 / (4 + 4))
    assert (part.rows, part.units, part.left_out, part.uncovered) == (80, 80, 0, 0)


def test_the_policy_of_the_log_earns_what_the_log_earned():
    made = made_log()
    every = np.arange(len(made["item"]))
    log = log_of(made["item"], made["reward"], made["propensity"], made["slot"] + 1)
    own = off_policy.Probabilities(made["logged"][every, :, made["slot"]], item_ids=np.arange(PRODUCTS))
    for part in off_policy.estimate(log, own, **ANY).slots:
        assert part.effective == pytest.approx(part.rows)
        for name in ("ips", "snips"):
            assert part[name].value == pytest.approx(part.log, rel=1e-12)
            assert (part[name].change_low, part[name].change_high) == pytest.approx((0, 0), abs=1e-12)
        assert part["dr"].value == pytest.approx(part.log, abs=0.02) and part["dr"].verdict == "no difference shown"


def test_outcomes_are_fitted_on_other_units():
    """The doubly robust estimate beside a plain loop over folds and products."""
    made = made_log()
    rows = 180
    visitor = np.arange(rows) // 3
    item, reward, propensity = made["item"][:rows], made["reward"][:rows], made["propensity"][:rows]
    log = log_of(item, reward, propensity, visitor=visitor)
    evaluated = made["evaluated"][:rows, :, 0]
    policy = off_policy.Probabilities(evaluated, item_ids=np.arange(PRODUCTS))
    part = off_policy.estimate(log, policy, seed=4, **ANY)[1]

    folds = (np.random.default_rng(4).permutation(60) % 5)[visitor]
    terms = []
    for i in range(rows):
        others = folds != folds[i]
        groups = {v: reward[others & (item == v)] for v in range(PRODUCTS) if (others & (item == v)).any()}
        mean = reward[others].mean()
        n = {v: len(g) for v, g in groups.items()}
        within = sum(((g - g.mean()) ** 2).sum() for g in groups.values()) / (others.sum() - len(groups))
        spread = sum(n[v] * (g.mean() - mean) ** 2 for v, g in groups.items()) - (len(groups) - 1) * within
        between = max(0.0, spread / (others.sum() - sum(size**2 for size in n.values()) / others.sum()))
        q = np.full(PRODUCTS, mean)
        for v, g in groups.items():
            share = n[v] * between / (n[v] * between + within)
            q[v] = share * g.mean() + (1 - share) * mean
        weight = evaluated[i, item[i]] / propensity[i]
        terms.append(evaluated[i] @ q + weight * (reward[i] - q[item[i]]))
    assert part["dr"].value == pytest.approx(np.mean(terms), rel=1e-10)


def test_intervals_resample_visitors():
    """Each row four times over is no more knowledge."""
    shown, clicked, once = two_products(rows=800)
    policy = np.where(shown == 1, 1.0, 0.0)
    single = off_policy.estimate(once, policy)[1]
    four = np.repeat(np.arange(800), 4)
    log = log_of(np.array(["a", "b"])[shown[four]], clicked[four], np.full(3200, 0.5), visitor=four)
    fourfold = off_policy.estimate(log, policy[four])[1]
    assert fourfold.units == 800 and fourfold.rows == 3200
    assert (fourfold["ips"].low, fourfold["ips"].high) == pytest.approx((single["ips"].low, single["ips"].high))
    alone = log_of(np.array(["a", "b"])[shown[four]], clicked[four], np.full(3200, 0.5))
    narrow = off_policy.estimate(alone, policy[four])[1]["ips"]
    assert narrow.high - narrow.low < 0.6 * (single["ips"].high - single["ips"].low)


def test_a_slot_that_the_policy_leaves_empty_earns_nothing():
    _, _, log = two_products()
    whole = off_policy.estimate(log, off_policy.RankedLists([["b"]] * 2000))[1]
    half = off_policy.estimate(log, off_policy.RankedLists([["b"] if at % 2 else [] for at in range(2000)]))[1]
    for name in ("ips", "snips", "dr"):
        assert half[name].value == pytest.approx(whole[name].value / 2, rel=0.15)
    assert half.mean_weight == pytest.approx(0.5, abs=0.05)


# --- Exploration


def enumerated(logits, k):
    """Of each candidate at each slot: all orders, one after the other."""
    pins = {at for at in range(k) if math.isnan(logits[at])}
    open_ones = [at for at, one in enumerate(logits) if math.isfinite(one)]
    out = np.zeros((len(logits), k))
    slots = [slot for slot in range(k) if slot not in pins]
    for order in itertools.permutations(open_ones, min(len(slots), len(open_ones))):
        chance, left = 1.0, list(open_ones)
        for one in order:
            top = max(logits[each] for each in left)
            chance *= math.exp(logits[one] - top) / sum(math.exp(logits[each] - top) for each in left)
            left.remove(one)
        for slot, one in zip(slots, order, strict=False):
            out[one, slot] += chance
    for pin in pins:
        out[pin, pin] = 1
    return out


@pytest.mark.parametrize("strength", [0.05, 0.5, 3.0, 1e3])
@pytest.mark.parametrize(("candidates", "k"), [(1, 1), (2, 2), (4, 2), (7, 3), (7, 7)])
def test_probabilities_of_slots_are_those_of_all_orders(candidates, k, strength):
    random = np.random.default_rng(candidates)
    logits = random.normal(size=(4, candidates)) / strength
    logits[0, random.integers(candidates)] = np.nan  # a pin, perhaps beyond the list
    if candidates > k:
        logits[1, -1] = -np.inf
    found = plackett_luce.slot_probabilities(logits, k)
    expected = np.array([enumerated(each, k) for each in logits])
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("candidates", "k", "spread"), [(40, 10, 2.0), (60, 60, 0.01), (200, 20, 5.0), (30, 12, 1e6)])
def test_each_slot_holds_one_and_each_product_stands_once(candidates, k, spread):
    logits = np.random.default_rng(0).normal(size=(3, candidates)) * spread
    found = plackett_luce.slot_probabilities(logits, k)
    assert found.sum(axis=1) == pytest.approx(np.ones((3, k)), abs=1e-8)
    assert found.min() >= 0 and found.sum(axis=2).max() <= 1 + 1e-8
    if k == candidates:
        assert found.sum(axis=2) == pytest.approx(np.ones((3, k)), abs=1e-8)


def test_lists_are_drawn_as_they_are_said_to_be():
    logits = np.array([2.0, np.nan, 1.0, 0.5, -np.inf, 0.1, np.nan])  # the second pin is beyond the list
    n, k = 40_000, 4
    places, given = plackett_luce.draw(np.repeat(logits[None], n, axis=0), k, np.random.default_rng(3))
    expected = enumerated(logits, k)
    for slot in range(k):
        seen = np.bincount(places[:, slot], minlength=7) / n
        assert seen == pytest.approx(expected[:, slot], abs=5 * 0.5 / math.sqrt(n))
    assert (places[:, 1] == 1).all() and (given[:, 1] == 1).all()
    # What is given those before: their product is how often an order is drawn.
    first = tuple(places[0])
    share = (places == first).all(axis=1).mean()
    assert share == pytest.approx(given[0].prod(), abs=5 * math.sqrt(share / n))
    short, chances = plackett_luce.draw(np.array([[0.0, 1.0, -np.inf]]), 3, np.random.default_rng(0))
    assert set(short[0, :2]) == {0, 1} and short[0, 2] == -1 and chances[0, 1] == 1 and chances[0, 2] == 0


@pytest.fixture(scope="module")
def run():
    shop = stamp.datasets.synthetic_shop(sessions=6000, products=40, seed=1)
    train, test = shop.sessions.split_by_time("14D")
    asked = {"today": stamp.SequentialRulesRecommender().fit(train), "new": stamp.SessionKNNRecommender().fit(train)}
    return offline.replay(asked, test, zones=offline.product_page(k=8), latency=0)


def test_a_replay_knows_the_truth(run):
    """Over many explorations of the same lists estimates are right on average, at both slots, whatever stands at the
    other."""
    zone, strength, k = "product page", 20.0, 2
    questions, today, new = run.questions[zone], run.lists["today", zone], run.lists["new", zone].rows
    logits = np.where(today.rows < 0, -np.inf, today.scores.astype(float) / strength)
    chances = plackett_luce.slot_probabilities(logits, k)
    hit = new == questions.target[:, None]
    lists = off_policy.replayed(run, "new", zone=zone)
    values: dict[tuple[int, str], list[float]] = {}
    for seed in range(30):
        log = off_policy.explore(run, "today", zone=zone, k=k, strength=strength, seed=seed)
        found = off_policy.estimate(log, lists, without_overlap="leave out", resamples=100 if seed else 2000)
        for slot in (1, 2):
            reached = ((today.rows == new[:, slot - 1, None]) * chances[:, :, slot - 1]).sum(axis=1) > 1e-3
            reached |= new[:, slot - 1] < 0  # an empty place could have been shown by anybody
            assert found[slot].left_out == (~reached).sum() > 0
            truth = hit[reached, slot - 1].mean()
            for one in found[slot].estimates:
                values.setdefault((slot, one.estimator), []).append(one.value - truth)
                assert seed > 0 or one.low < truth < one.high
    assert len(values) == 6
    for off in values.values():
        assert abs(np.mean(off)) < 4 * np.std(off) / math.sqrt(30)
    assert len(log.requests) == len(questions) and log.units == "visitors" and set(log.item_ids) <= set(run.item_ids)
    assert "could have shown what the policy would" in found.estimand and "left out" in found.table().to_text()
    # All of the lists at once: refused, with how much is out of reach.
    refused = off_policy.estimate(log, lists)
    assert all(part.refused and not part.estimates for part in refused.slots)
    assert "the log could not have shown" in refused[1].refused and "leave out" in refused[1].refused


def test_an_exploration_of_its_own_lists_weighs_all_rows_alike(run):
    zone = "product page"
    log = off_policy.explore(run, "today", zone=zone, k=3, strength=5.0, seed=2)
    lists = off_policy.replayed(run, "today", zone=zone)
    for part in off_policy.estimate(log, lists.explored(5.0, k=3)).slots:
        assert part["ips"].value == pytest.approx(part.log, rel=1e-9) and part.effective == pytest.approx(part.rows)
    other = off_policy.estimate(log, lists.explored(8.0, k=3))[1]
    hit = run.lists["today", zone].rows == run.questions[zone].target[:, None]
    logits = np.where(run.lists["today", zone].rows < 0, -np.inf, run.lists["today", zone].scores.astype(float) / 8)
    truth = (plackett_luce.slot_probabilities(logits, 3)[:, :, 0] * hit).sum(axis=1).mean()
    for name in ("ips", "snips", "dr"):
        assert other[name].low < truth < other[name].high
    # Two slots explored are all that is shown: the third earns nothing.
    short = off_policy.estimate(log, lists.explored(5.0, k=2), **ANY)
    assert short[3].mean_weight == 0 and short[3].refused


def test_explored_again_with_a_seed(run):
    logs = [off_policy.explore(run, "today", zone="product page", k=2, strength=5.0, seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(logs[0].item, logs[1].item) and not np.array_equal(logs[0].item, logs[2].item)
    assert repr(logs[0]).startswith("ExposureLog(")


def test_recommenders_are_asked_as_they_serve(fitted, shop):
    histories = [shop.sessions.session(n)[:3].tolist() for n in range(5)] + [[]]
    lists = off_policy.ask(fitted, histories, zone=offline.product_page(k=4))
    for history, ids, scores in zip(histories, lists.lists, lists.scores, strict=True):
        assert history[-1:] == [] or history[-1] not in ids
        assert len(ids) == len(scores) == 4
    assert off_policy.ask(fitted, [[], []], zone=offline.product_page(k=4)).lists == [lists.lists[-1]] * 2
    plain = offline.Zone(name="plain", k=4)
    ids, _ = fitted.recommend(histories[0], k=4)
    assert off_policy.ask(fitted, histories[:1], zone=plain).lists[0] == list(ids)


# --- The server's log


def server_line(n, items, candidates, scores, strength=0.5, **more):
    weights = {c: (math.inf if s is None else math.exp(s / strength)) for c, s in zip(candidates, scores, strict=True)}
    left, propensities = dict(weights), []
    for item in items:
        mine = left.pop(item)
        others = sum(w for w in left.values() if w < math.inf)
        propensities.append(1.0 if mine == math.inf else mine / (mine + others))
    line = {"time": "2026-11-28T09:30:00.250Z", "request": f"r{n}", "visitor": f"v{n // 2}", "zone": "home",
            "experiment": "x", "arm": "explored", "release": "today", "path": "anchor", "items": items}  # fmt: skip
    exploration = {
        "strength": strength,
        "candidates": candidates,
        "scores": scores,
        "propensities": propensities,
    }
    return {**line, "exploration": exploration, **more}


def write(folder, name, lines, end="\n"):
    (folder / name).write_text("\n".join(map(json.dumps, lines)) + end)


@pytest.fixture
def exposures(tmp_path):
    """Two lists of three candidates, one with a pin, one that was not explored; and what is not asked for."""
    write(
        tmp_path,
        "exposures-20261128T093000.250Z-0.jsonl",
        [server_line(0, ["12", "10"], ["10", "11", "12"], [1.0, 0.5, 0.2])],
    )
    plain = server_line(2, ["10", "12"], ["10", "12"], [None, None])
    del plain["exploration"]
    write(
        tmp_path,
        "exposures.jsonl",
        [
            server_line(1, ["11", "10"], ["10", "11", "12"], [1.0, 0.5, 0.2]),
            server_line(9, ["11", "10"], ["10", "11"], [1.0, 0.5], arm="control"),
            server_line(3, ["12", "11"], ["10", "11", "12"], [2.0, None, 1.0]),
            plain,
            server_line(1, ["11", "10"], ["10", "11", "12"], [1.0, 0.5, 0.2]),
        ],
        end='\n{"half',
    )
    return tmp_path


def test_a_file_that_was_cut_off_hides_no_later_one(exposures):
    clicks = {"request": ["r1"], "item_id": [11]}
    whole = off_policy.read_exposures(exposures, clicks, arm="explored")
    write(exposures, "exposures-20261128T083000.250Z-0.jsonl", [server_line(7, ["10"], ["10"], [1.0])], end='\n{"half')
    assert len(off_policy.read_exposures(exposures, clicks, arm="explored")) == len(whole) + 1


def test_the_servers_log(exposures):
    clicks = {"request": ["r0", "r3", "r3", "r7"], "item_id": [10, 11, 99, 10], "worth": [2.5, 1.0, 1.0, 1.0]}
    log = off_policy.read_exposures(exposures, clicks, arm="explored", reward="worth")
    assert log.requests.tolist() == ["r0", "r1", "r3", "r2"] and log.units == "visitors"
    assert log.item_ids.tolist() == [12, 10, 11, 10, 12, 11, 10, 12]
    assert log.slot.tolist() == [1, 2] * 4 and log.reward.tolist() == [0, 2.5, 0, 0, 0, 1, 0, 0]
    assert log.unit.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert "1 lines of requests that were logged before" in log.notes[0]
    free = enumerated(np.array([2.0, 1.0, 0.4]), 2)
    pinned = enumerated(np.array([4.0, np.nan, 2.0]), 2)
    expected = [free[2, 0], free[0, 1], free[1, 0], free[0, 1], pinned[2, 0], 1, 1, 1]
    assert log.propensity == pytest.approx(expected, rel=1e-6)
    one = off_policy.read_exposures(exposures / "exposures.jsonl", {"request": ["r9"], "item_id": [11]}, arm="control")
    assert one.requests.tolist() == ["r9"] and one.reward.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({}, {"arm": "none"}, "has no lists of arm 'none'"),
        ({"visitor": 3}, {}, "exposures.jsonl: line 1: visitor is 3, expected a text"),
        ({"items": "10"}, {}, "items is '10', expected a list of ids"),
        ({"exploration": {"strength": 0.5, "candidates": ["10"], "scores": []}}, {}, "1 candidates, 0 scores"),
        ({"items": ["13", "10"]}, {}, "'13' is shown and no candidate"),
        ({"exploration": [1]}, {}, "exploration is [1], expected an object"),
        ({"exploration": {"strength": 1, "candidates": ["10"], "scores": 3}}, {}, "expected an object with lists"),
        ({"exploration": {"strength": "x", "candidates": [], "scores": []}}, {}, "strength 'x'"),
        (
            {"exploration": {"strength": 1, "candidates": ["10", "10"], "scores": [1, 1], "propensities": [1, 1]}},
            {},
            "candidates has one twice",
        ),
        (
            {"exploration": {"strength": 1, "candidates": ["10", "11"], "scores": ["a", 1], "propensities": [1, 1]}},
            {},
            "scores has 'a', expected numbers",
        ),
    ],
)
def test_lines_that_no_server_writes(tmp_path, change, options, says):
    write(tmp_path, "exposures.jsonl", [server_line(0, ["11", "10"], ["10", "11"], [1.0, 0.5]) | change])
    with pytest.raises(ValueError, match="read_exposures") as error:
        off_policy.read_exposures(tmp_path, {"request": [], "item_id": []}, **options)
    assert says in str(error.value)


def test_propensities_that_are_not_of_their_scores(tmp_path):
    line = server_line(0, ["11", "10"], ["10", "11"], [1.0, 0.5])
    line["exploration"]["propensities"][0] = 0.5
    write(tmp_path, "exposures.jsonl", [line])
    with pytest.raises(ValueError, match=r"request 'r0' has a propensity of 0.5 at slot 1, by its scores it is 0.26"):
        off_policy.read_exposures(tmp_path, {"request": [], "item_id": []})
    (tmp_path / "exposures.jsonl").write_text("{]\n")
    with pytest.raises(ValueError, match="line 1 is not JSON"):
        off_policy.read_exposures(tmp_path, {"request": [], "item_id": []})


def test_one_request_of_two_zones(tmp_path):
    lines = [server_line(0, ["11", "10"], ["10", "11"], [1.0, 0.5], zone=zone) for zone in ("home", "cart")]
    write(tmp_path, "exposures.jsonl", lines)
    with pytest.raises(ValueError, match="request 'r0' was answered in zones 'home' and 'cart'; name one by zone="):
        off_policy.read_exposures(tmp_path, {"request": [], "item_id": []})
    assert len(off_policy.read_exposures(tmp_path, {"request": [], "item_id": []}, zone="cart")) == 2


# --- Refusals


def test_products_that_the_log_never_shows_are_refused():
    _, _, log = two_products()
    never = off_policy.estimate(log, off_policy.RankedLists([["c" if at < 300 else "b"] for at in range(2000)]))[1]
    assert not never.estimates and never.uncovered == pytest.approx(0.15)
    assert "could not have shown 15 % of what the policy would (in 300 of 2,000 rows)" in never.refused
    with pytest.raises(ValueError, match="there is no 'ips' of slot 1; refused: the log could not"):
        never["ips"]
    rest = off_policy.estimate(
        log,
        off_policy.RankedLists([["c" if at < 300 else "b"] for at in range(2000)]),
        without_overlap="leave out",
    )[1]
    assert (rest.rows, rest.left_out) == (1700, 300) and rest["dr"].low < 0.3 < rest["dr"].high
    none = off_policy.estimate(log, off_policy.RankedLists([["c"]] * 2000), without_overlap="leave out")[1]
    assert none.refused == "in no request could the log have shown what the policy would" and none.rows == 0
    # A few that are out of reach are said, not refused.
    few = off_policy.estimate(log, off_policy.RankedLists([["c" if at < 2 else "b"] for at in range(2000)]))
    assert few[1]["ips"].value > 0 and "0.1 % of what the policy would show is out of the log's reach" in repr(few)


def test_what_could_be_shown_elsewhere_cannot_be_shown_here():
    """b is shown often, but never where the policy would show it: only `choices` can tell."""
    rows = 1000
    item = np.where(np.arange(rows) < 500, "a", "b")
    chances = [(["a"], [1.0])] * 500 + [(["b", "a"], [0.999_99, 0.000_01])] * 500
    choices = (
        np.concatenate(([0], np.cumsum([len(ids) for ids, _ in chances]))),
        [one for ids, _ in chances for one in ids],
        [one for _, own in chances for one in own],
    )
    log = log_of(item, np.ones(rows), np.where(np.arange(rows) < 500, 1, 0.999_99), choices=choices)
    lists = off_policy.RankedLists([["b"]] * rows)
    assert "50 %" in off_policy.estimate(log, lists)[1].refused
    assert off_policy.estimate(log, lists, without_overlap="leave out")[1].rows == 500
    # Once in a hundred thousand is out of reach, too.
    assert "100 %" not in off_policy.estimate(log, off_policy.RankedLists([["a"]] * rows))[1].refused
    assert off_policy.estimate(log, off_policy.RankedLists([["a"]] * rows))[1].uncovered == 0.5


def test_effective_sample_sizes_know_of_what_was_not_drawn():
    """A product that is shown once in 500 times, and never here: its weight of 500 is in no row, but in what could
    be."""
    rows = 400
    choices = (np.arange(rows + 1) * 2, ["a", "b"] * rows, [0.998, 0.002] * rows)
    log = log_of(["a"] * rows, [1, 0] * (rows // 2), np.full(rows, 0.998), choices=choices)
    policy = off_policy.Probabilities([0.5, 0.5], item_ids=["a", "b"])
    part = off_policy.estimate(log, policy)[1]
    assert part.effective == pytest.approx(rows / (0.25 / 0.998 + 0.25 / 0.002)) and part.mean_weight < 0.51
    assert f"the effective sample size is {part.effective:.1f} of 400 rows, 200 are needed" in part.refused


def test_few_clicks_few_visitors_and_weights_astray_are_refused():
    shown, clicked, log = two_products()
    policy = np.where(shown == 1, 1.0, 0.0)
    first = np.flatnonzero(clicked & (shown == 1))[:9]
    rare = log_of(np.array(["a", "b"])[shown], np.isin(np.arange(2000), first), np.full(2000, 0.5))
    assert "9.0 effective rows have a reward, 10 are needed" in off_policy.estimate(rare, policy)[1].refused
    busy = log_of(np.array(["a", "b"])[shown], clicked, np.full(2000, 0.5), visitor=np.arange(2000) % 49)
    assert off_policy.estimate(busy, policy)[1].refused == "there are 49 visitors, 50 are needed for an interval"
    wrong = log_of(np.array(["a", "b"])[shown], clicked, np.full(2000, 0.4))
    refused = off_policy.estimate(wrong, policy)[1].refused
    assert "the mean weight is 1.304" in refused and "where 1 is expected" in refused


# --- Input


@pytest.mark.parametrize("kind", [pd.Series, pa.array, pl.Series, list, tuple, np.array])
def test_columns_of_any_library(kind):
    made = {"item_id": ["a", "b", "a"], "slot": [1, 2, 1], "reward": [0.0, 1.5, 0.0], "propensity": [0.5, 0.25, 1.0],
            "request": [7, 7, 9], "visitor": ["x", "x", "y"]}  # fmt: skip
    log = off_policy.ExposureLog.from_rows(**{name: kind(values) for name, values in made.items()})
    assert log.item_ids.tolist() == made["item_id"] and log.reward.tolist() == made["reward"]
    assert log.requests.tolist() == [7, 9] and log.request.tolist() == log.unit.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"propensity": [0.5, 0.0, 0.5]}, "propensity is 0 in row 1, expected above 0 and 1 at most"),
        ({"propensity": [0.5, 0.5, 1.5]}, "propensity is 1.5 in row 2, expected above 0"),
        ({"propensity": [0.5, np.nan, 0.5]}, "propensity is nan in row 1, expected a finite number"),
        ({"propensity": [0.5, None, 0.5]}, "propensity is nan in row 1"),
        ({"propensity": [0.5, 0.5]}, r"propensity has shape \(2,\), expected one value for each of the 3 rows"),
        ({"propensity": ["high", "b", "c"]}, "propensity is not numeric"),
        ({"reward": [0, np.inf, 1]}, "reward is inf in row 1, expected a finite number"),
        ({"reward": [0, 1]}, "reward has shape"),
        ({"slot": [1, 0, 1]}, "slot is 0 in row 1, expected a whole number of 1 to 10,000"),
        ({"slot": [1, 1.5, 1]}, "slot is 1.5 in row 1"),
        ({"item_id": ["a", None, "b"]}, "item_id has 1 missing values"),
        ({"request": [1, 2]}, "request has 2 values, expected one for each of the 3 rows"),
        ({"request": [1, 2, 1]}, "list 1 has two products at slot 1; expected one a slot"),
        ({"visitor": ["v"]}, "visitor has 1 values"),
        ({"item_id": [], "slot": [], "reward": [], "propensity": []}, "there are no rows"),
        ({"choices": ([0, 1, 2, 3], ["a", "b", "a"], [0.5, 0.5, 0.4])}, "row 2 has a propensity of 0.5, and 0.4"),
        ({"choices": ([0, 1, 2, 3], ["a", "b", "a"], [0.5, 0.5])}, "3 products and probabilities of shape"),
        ({"choices": ([0, 1, 2], ["a", "b"], [0.5, 0.5])}, "expected 4 from 0 to 2"),
        ({"choices": ([0, 2, 3, 4], ["a", "b", "b", "a"], [0.5, 0.6, 0.5, 0.5])}, "adds up to 1.1 in row 0"),
        ({"choices": ([0, 2, 3, 4], ["a", "a", "b", "a"], [0.5, 0.5, 0.5, 0.5])}, "names a product twice"),
        ({"choices": ([0, 1, 2, 3], ["a", "b", "a"], [0.5, -0.5, 0.5])}, "the probability -0.5 in row 1"),
    ],
)  # fmt: skip
def test_logs_that_cannot_be(change, says):
    good = {"item_id": ["a", "b", "a"], "slot": [1, 1, 1], "reward": [0, 1, 0], "propensity": [0.5, 0.5, 0.5]}
    off_policy.ExposureLog.from_rows(**good)
    with pytest.raises(ValueError, match=f"ExposureLog: .*{says}"):
        off_policy.ExposureLog.from_rows(**(good | change))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda log: off_policy.Probabilities([0.5, 1.5]), r"Probabilities: \[1\] is 1.5, expected 0 to 1"),
        (lambda log: off_policy.Probabilities([0.5, np.nan]), r"\[1\] is nan"),
        (lambda log: off_policy.Probabilities([[0.7, 0.7]] * 2000, item_ids=["a", "b"]), "adds up to 1.4 in row 0"),
        (lambda log: off_policy.Probabilities([0.5] * 3, item_ids=["a", "b"]), r"shape \(3,\), expected \(2,\) or"),
        (lambda log: off_policy.Probabilities([0.5] * 2, item_ids=["a", "a"]), "names a product twice"),
        (lambda log: off_policy.Probabilities([0.5] * 2, item_ids=[1, 2]), "item_ids has ids that are integers"),
        (lambda log: np.full(3, 0.5), r"Probabilities has shape \(3,\), expected one value for each of the 2000 rows"),
        (lambda log: off_policy.RankedLists([["a"]]), "1 lists, expected 2000, one for each list of the log"),
        (lambda log: off_policy.RankedLists([["a", "a"]]), "list 0 has a product twice"),
        (lambda log: off_policy.RankedLists(["ab"]), "list 0 is 'ab', expected a list of product ids"),
        (lambda log: off_policy.RankedLists([["a"]], scores=[[1, 2]]), "1 products and scores of shape"),
        (lambda log: off_policy.RankedLists([["a"]], scores=[]), "scores are of 0 lists, expected 1"),
        (lambda log: off_policy.RankedLists([["a"]]).explored(1.0, k=1), "exploring needs scores"),
        (lambda log: off_policy.RankedLists([["a"]], scores=[[1]]).explored(0, k=1), "strength is 0, expected"),
        (lambda log: off_policy.RankedLists([["a"]], scores=[[1]]).explored(1, k=0), "k is 0, expected a whole number"),
        (lambda log: stamp.PopularityRecommender(), r"policy is PopularityRecommender, expected .* ask\(recommender"),
        (lambda log: "a/bundle", r"policy is str, expected .* ask\(recommender"),
    ],
)  # fmt: skip
def test_policies_that_do_not_fit(make, says):
    _, _, log = two_products()
    with pytest.raises(ValueError, match=says):
        off_policy.estimate(log, make(log))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"without_overlap": "ignore"}, "without_overlap is 'ignore', expected 'refuse' or 'leave out'"),
        ({"least_effective": 0}, "least_effective is 0, expected 1 or more"),
        ({"least_effective": "x"}, "least_effective is 'x', expected 1 or more"),
        ({"confidence": "0.9"}, "confidence is '0.9', expected between 0 and 1"),
        ({"least_rewards": np.nan}, "least_rewards is nan, expected 1 or more"),
        ({"confidence": 1}, "confidence is 1, expected between 0 and 1"),
        ({"resamples": 0}, "resamples is 0, expected a whole number of 100 or more"),
        ({"seed": -1}, "seed is -1, expected a whole number of 0 or more"),
        ({"outcome": 3}, "outcome is int, expected two arrays"),
        ({"outcome": ([0.5] * 2000, [0.5])}, r"outcome\[1\] has shape \(1,\)"),
        ({"outcome": ([np.nan] * 2000, [0.5] * 2000)}, r"outcome\[0\] is nan in row 0"),
    ],
)
def test_options_that_cannot_be(options, says):
    _, _, log = two_products()
    with pytest.raises(ValueError, match=f"estimate: {says}"):
        off_policy.estimate(log, np.full(2000, 0.5), **options)
    with pytest.raises(ValueError, match="log is dict, expected an ExposureLog"):
        off_policy.estimate({}, [])


def test_replays_and_recommenders_that_cannot_be_explored(run, fitted):
    for change, says in (
        ({"name": "who"}, "recommender is 'who', expected one of today, new"),
        ({"zone": "home"}, "zone is 'home'"),
        ({"strength": -1}, "strength is -1, expected a number above 0"),
        ({"k": 0}, "k is 0, expected a whole number"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(ValueError, match=says):
            off_policy.explore(run, **({"name": "today", "zone": "product page", "k": 2, "strength": 1.0} | change))
    with pytest.raises(ValueError, match="zone is 'home', expected stamp.offline.Zone"):
        off_policy.ask(fitted, [[]], zone="home")
    for recommender, zone, says in (
        (stamp.StampRecommender(), offline.home(), "ask: 'recommender' is a StampRecommender that is not fitted"),
        (stamp.StampRecommender, offline.home(), "ask: 'recommender' is the class StampRecommender"),
        (3, offline.home(), "ask: 'recommender' is int, expected a recommender of stamp"),
        (fitted, offline.home(bundle_zone="x"), "ask: zone 'home' asks for the rules of zone 'x'"),
    ):
        with pytest.raises(ValueError, match=says):
            off_policy.ask(recommender, [[]], zone=zone)
    with pytest.raises(ValueError, match="history 0 is 'ab', expected a list"):
        off_policy.ask(fitted, ["ab"], zone=offline.home())
    with pytest.raises(ValueError, match="histories has ids that are integers"):
        off_policy.ask(fitted, [[1]], zone=offline.home())
    with pytest.raises(ValueError, match="recommender is Anything, expected one of stamp's"):
        off_policy.ask(type("Anything", (), {"recommend": lambda self, items, k: []})(), [[]], zone=offline.home())


# --- What is said


def test_results_are_tables_and_json():
    shown, _, log = two_products(visitor=np.repeat(np.arange(1000), 2))
    found = off_policy.estimate(log, np.where(shown == 1, 1.0, 0.0))
    assert [one.estimator for one in found[1].estimates] == ["ips", "snips"]  # nothing to fit a model of
    assert found[None] is found[1] and found[1]["ips"].verdict == "higher"
    said = repr(found)
    assert "bootstrap over visitors (2,000 resamples, seed 0)" in said and "needs outcome=" in said and "ESS" in said
    assert found.table().column("estimator") == ["ips", "snips"] and "<table>" in found._repr_html_()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["slots"][0]["estimates"][0]["estimator"] == "ips"
    with pytest.raises(ValueError, match="there is no slot 7; expected one of 1"):
        found[7]
    assert off_policy.estimate(log, np.where(shown == 1, 1.0, 0.0), seed=0) == found


# --- Real data


def test_open_bandit_from_each_policy_the_other(real_data):
    """Clicks are rare: the truth is 46 and 69 of 10,000, so no slot alone can say anything, and all together little."""
    logged = {
        name: pd.read_csv(real_data / "open_bandit_men" / f"{name}.tsv.gz", sep="\t") for name in ("bts", "random")
    }
    items = np.arange(34)
    shown = (
        logged["bts"].groupby(["position", "item_id"]).size().unstack(fill_value=0).reindex(columns=items, fill_value=0)
    )
    frequency = shown.div(shown.sum(axis=1), axis=0)
    policies = {
        "random": np.full(34, 1 / 34),
        "bts": frequency.loc[logged["random"]["position"]].to_numpy(),  # on the rows of the other log
    }
    for source, target in (("bts", "random"), ("random", "bts")):
        rows = logged[source]
        log = log_of(
            rows["item_id"].to_numpy(),
            rows["click"].to_numpy(),
            rows["propensity"].to_numpy(),
            rows["position"].to_numpy(),
        )
        found = off_policy.estimate(log, off_policy.Probabilities(policies[target], item_ids=items))
        part, truth = found[None], logged[target]["click"].mean()
        assert part.log == rows["click"].mean() and truth in (0.0046, 0.0069)
        for name in ("ips", "snips", "dr"):
            assert part[name].low < truth < part[name].high
        assert all(found[slot].refused for slot in (1, 2, 3))
    assert part.effective > 2000
    from_bts = off_policy.estimate(
        log_of(*(logged["bts"][name].to_numpy() for name in ("item_id", "click", "propensity", "position"))),
        off_policy.Probabilities(policies["random"], item_ids=items),
    )[None]
    assert round(from_bts.effective) == 656 and from_bts["snips"].value == pytest.approx(0.0032, abs=5e-5)
