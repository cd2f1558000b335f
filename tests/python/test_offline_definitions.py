"""Hand-computed cases on which neighbouring definitions of a metric differ: each names the neighbours it rules out."""

import numpy as np
import pytest

import stamp
from stamp.offline import Lists, Questions, Replay, Zone
from stamp.offline.metrics.qualities import churn

CLICKS = [40, 20, 12, 12, 6, 4, 3, 2, 1, 0]  # 100 in all


def replay_of(lists, *, target=None, rest=None, visitor=None, scores=None, session=None, event=None, **options):
    n = len(lists)
    rest = [[0]] * n if rest is None else [sorted(set(r)) for r in rest]
    questions = Questions(
        session=range(n) if session is None else session,
        event=range(n) if event is None else event,
        anchor=[-1] * n,
        target=[0] * n if target is None else target,
        visitor=visitor,
        remaining=(np.cumsum([0, *map(len, rest)]), [row for r in rest for row in r]),
    )
    k = len(lists[0])
    return Replay(
        zones={"z": Zone(name="z", k=k)},
        questions={"z": questions},
        lists={("a", "z"): Lists(rows=lists, scores=scores)},
        item_ids=np.arange(10),
        **{"clicks": CLICKS, **options},
    )


def measure(metric, lists, k=None, **options):
    return replay_of(lists, **options).aggregate(metric, name="a", zone="z", k=k or len(lists[0]))


def only(found, expected, *neighbours):
    """`found` is what was computed by hand, and none of what it would be by another definition."""
    assert found == pytest.approx(expected, abs=1e-6)
    for neighbour in neighbours:
        assert found != pytest.approx(neighbour, abs=1e-4)


LIST = [3, 1, 7, 5]


def test_hr():
    only(measure("hr", [LIST, LIST], target=[7, 2]), 1 / 2)
    only(measure("hr", [LIST], target=[7], k=3), 1, 0)  # rank 3 is within 3
    only(measure("hr", [LIST], target=[7], k=2), 0, 1)
    only(measure("hr", [LIST], target=[2], rest=[[2, 7]]), 0, 1)  # a later event is no hit
    only(measure("hr", [[-1, 1]], target=[-1]), 0, 1)  # an empty place is not a product that nobody knows


def test_mrr():
    only(measure("mrr", [LIST], target=[7]), 1 / 3, 1 / 2, 1 / 4)  # ranks from 0, or one too far
    only(measure("mrr", [LIST], target=[7], k=2), 0, 1 / 3, 1 / 5)  # beyond k
    only(measure("mrr", [LIST, LIST], target=[3, 2]), 1 / 2, 1)  # misses count: not the mean over hits
    only(measure("mrr", [[-1, -1, 7, 5]], target=[7]), 1 / 3, 1)  # after faults nothing moves up


def test_ndcg():
    only(measure("ndcg", [LIST], target=[7]), 1 / 2, 1 / np.log(4), 1 / np.log10(4), 1 / np.log2(3), 1 / np.log2(5))
    only(measure("ndcg", [LIST], target=[3]), 1, 1 / np.log2(3))
    only(measure("ndcg", [LIST], target=[1]), 0.63093, 1)  # ranks 1 and 2 are not discounted alike


def test_precision():
    rest = [[7, 1, 2, 8, 4]]
    only(measure("precision", [LIST], rest=rest), 2 / 4, 2 / 5)
    only(measure("precision", [[3, 1, 7, -1]], rest=rest), 2 / 4, 2 / 3)  # over k, not over what is listed
    only(measure("precision", [LIST], rest=[[7]]), 1 / 4, 1)  # nor over min(k, relevant)


def test_recall():
    rest = [[7, 1, 2, 8, 4, 7]]  # six events of five products
    only(measure("recall", [LIST], rest=rest), 2 / 5, 2 / 6, 2 / 4)  # over products; not events, nor min(k, relevant)
    only(measure("recall", [LIST], rest=rest, k=2), 1 / 5, 1 / 2)
    # the mean of 2/5 and 1/1 over questions, not 3 of 6 products
    only(measure("recall", [LIST, LIST], rest=[*rest, [5]]), 0.7, 3 / 6)


def test_map():
    rest = [[7, 1, 2, 8, 4]]
    relevant_at = 1 / 2 + 2 / 3
    only(measure("map", [LIST], rest=rest), relevant_at / 4, relevant_at / 5, relevant_at / 2)  # min(k, relevant)
    only(measure("map", [LIST], rest=[[7, 1]]), relevant_at / 2, relevant_at / 4)  # the same, where k is the larger
    only(measure("map", [LIST], rest=rest, k=2), 1 / 2 / 2, 1 / 2, 1 / 2 / 5)
    only(measure("map", [LIST], rest=[[3, 5]]), (1 + 2 / 4) / 2, (1 + 1 / 4) / 2)  # precision, not 1/rank


def visits(**columns):
    """One session: products 0, 7, 1, 7, 2."""
    return stamp.Sessions.from_frame({"session_id": [1] * 5, "item_id": [0, 7, 1, 7, 2], **columns})


def test_by_type():
    sessions = visits(event_type=["view", "view", "purchase", "purchase", "view"])
    lists, asked = [[7, 3], [3, 2], [7, 2], [2, 1]], {"session": [0] * 4, "event": [1, 2, 3, 4]}
    options = {"sessions": sessions, "target": [7, 1, 7, 2], **asked}
    only(measure("hr:purchase", lists, **options), 1 / 2, 3 / 4, 1 / 4)  # of purchases; a view hit is none
    only(measure("hr:view", lists, **options), 1, 1 / 2)
    only(measure("mrr:purchase", lists, **options), 1 / 2, 1)
    # bought later: {1, 7}, {1, 7}, {7}, nothing, which is left out
    found = measure("recall:purchase", lists, **options)
    only(found, (1 / 2 + 0 + 1) / 3, (1 / 2 + 0 + 1) / 4, (1 / 2 + 1 / 2 + 1) / 3)
    only(measure("precision:purchase", lists, **options), (1 / 2 + 0 + 1 / 2) / 3, 1 / 4)


def test_revenue():
    sessions = visits(value=[1000.0, 10.0, 5.0, 20.0, np.nan])
    options = {"sessions": sessions, "session": [0], "event": [1]}
    # both events of product 7, and that of 1; not what came before, not the first only, not each product once
    only(measure("revenue", [[7, 1, 3, 2]], **options), 35, 1035, 10, 15, 35 / 4, np.nan)
    only(measure("revenue", [[7, 1, 3, 2]], k=1, **options), 30, 10, 20)
    two = {"sessions": sessions, "session": [0, 0], "event": [1, 2]}
    only(measure("revenue", [[7, 1], [3, 2]], **two), 35 / 2, 35)  # a question


def test_weighted_hr():
    sessions = visits(weight=[9.0, 1.0, 3.0, 1.0, 1.0])
    options = {"sessions": sessions, "session": [0, 0], "event": [1, 2], "target": [7, 1]}
    only(measure("weighted_hr", [[7, 3], [3, 2]], **options), 1 / 4, 1 / 2, 1 / 13, 1 / 6)
    only(measure("weighted_hr", [[3, 2], [2, 1]], **options), 3 / 4, 1 / 2)


def test_coverage():
    only(measure("coverage", [LIST, [3, 1, -1, -1]]), 4 / 10, 4 / 9, 6 / 10, 5 / 10)  # of all products, cold ones too


def test_tail():
    # 40 + 20 + 12 + 12 = 84 reach 80: the product that crosses is of the head, and so is its equal.
    only(measure("tail_share", [LIST]), 2 / 4, 3 / 4)  # without the one that crosses product 3 would be tail
    only(measure("tail_share", [[2, 3, 1, 0]]), 0, 1 / 4, 2 / 4)
    only(measure("tail_share", [[7, 1, 3, -1]]), 1 / 3, 1 / 4)  # of what is listed, not of k
    only(measure("tail_coverage", [LIST]), 2 / 6, 2 / 7, 2 / 8, 2 / 10, 2 / 4, 2 / 5)  # of six: the cold one is tail
    # the head by a fifth of the products would be 0 and 1
    only(measure("tail_coverage", [[2, 3, 4, 5]]), 2 / 6, 4 / 8)
    equal = {"clicks": [10, 10, 10, 10, 10, 10, 10, 10, 10, 10]}
    only(measure("tail_share", [LIST], **equal), 0, 1 / 4, 1 / 5)  # equals are all head, whatever their order


def test_gini():
    only(measure("gini", [LIST]), 0.6, 24 / 36, 0, 0.4)  # over V, not V - 1; over all products, not those listed
    only(measure("gini", [LIST, LIST]), 0.6)  # of shares
    only(measure("gini", [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]), 0, 1)
    only(measure("gini", [[3, 1], [3, -1]]), (2 * 9 - 11 + 2 * (2 * 10 - 11)) / 30, 0.5)


def test_popularity():
    only(measure("popularity", [LIST]), (12 + 20 + 2 + 4) / 4 / 40, (12 + 20 + 2 + 4) / 4 / 100, 9.5)
    only(measure("popularity", [[0, 1], [0, -1]]), (0.75 + 1) / 2, (40 + 20 + 40) / 40 / 3, (0.75 + 0.5) / 2)


def test_novelty():
    # 13/110 and 1/110: one more click for each product
    bits = (3.080920 + 6.781360) / 2
    only(measure("novelty", [[3, 9]]), bits, bits * np.log(2), -np.log2(0.12), np.inf, bits / np.log2(110))
    only(measure("novelty", [[3, -1]]), 3.080920, 3.080920 / 2, -np.log2(12 / 100))


def products(**columns):
    return stamp.Products.from_frame({"item_id": np.arange(10), **columns})


def test_ild_attributes():
    colour = ["a", "a", "b", None, *"cccccc"]
    one = products(colour=colour)
    # pairs aa, ab, ab: two of three; not ordered pairs with itself, not over k
    only(measure("ild_attributes", [[0, 1, 2]], products=one), 2 / 3, 4 / 9, 2 / 4, 1 / 3)
    only(measure("ild_attributes", [[0, 2, -1]], products=one), 1, 1 / 3)
    # a missing value is no value of its own
    only(measure("ild_attributes", [[0, 1, 3]], products=one), 0, 2 / 3)
    two = products(colour=colour, price=[0.0, 5.0, 10.0, 20.0, *[np.nan] * 6])
    # colours: 2/3; prices over their range of 20 in the catalog: (5 + 10 + 5) / 3 / 20
    found = measure("ild_attributes", [[0, 1, 2]], products=two)
    only(found, (2 / 3 + 1 / 3) / 2, (2 / 3 + 2 / 3) / 2, (2 / 3 + 1) / 2)
    # of products 0, 1 and 3 the colours of one pair are known, the prices of three: attributes count alike
    only(measure("ild_attributes", [[0, 1, 3]], products=two), (0 + 40 / 3 / 20) / 2, (0 + 2) / 4)


def test_ild_embeddings():
    vectors = np.zeros((10, 2))
    vectors[:4] = [[1, 0], [0, 2], [-3, 0], [0, 0]]
    # cosines 0, 0, -1
    only(measure("ild_embeddings", [[0, 1, 2]], embeddings=vectors), 4 / 3, 2 / 3, 8 / 9, 1 + 3 / 3)
    only(measure("ild_embeddings", [[0, 1, 3]], embeddings=vectors), 1, 1 / 3)  # without an embedding: no pair


def test_serendipity():
    rest = [[1, 7]]
    only(measure("serendipity", [LIST], rest=rest), 1 / 4, 2 / 4, 1 / 2, 1)  # over k; 1 is among the 4 most clicked
    only(measure("serendipity", [LIST], rest=rest, k=1), 0)
    only(measure("serendipity", [[1, 7]], rest=rest), 1 / 2, 1)  # the two most clicked are 0 and 1
    only(measure("serendipity", [[3, 2, 9]], rest=[[3]]), 1 / 3, 0)  # of equal clicks the lower row is popular: 0, 1, 2
    only(measure("serendipity", [[3, 2, 9]], rest=[[2]]), 0, 1 / 3)


def test_personalisation():
    lists = [[1, 2], [1, 3], [1, 2]]
    # of pairs of different visitors: {1,2} and {1,2}: 0, {1,3} and {1,2}: 1/2; not Jaccard's 2/3, not all three pairs
    only(measure("personalisation", lists, visitor=[5, 5, 6]), 1 / 4, 1 / 3, 1 / 2)
    only(measure("personalisation", lists), 1 / 3, 1 / 4)  # unknown visitors: sessions
    only(measure("personalisation", [[2, 1], [1, 2]]), 0, 1)  # the order does not count
    only(measure("personalisation", [[1, -1], [1, -1]]), 1 / 2, 0)  # over k
    assert np.isnan(measure("personalisation", lists, visitor=[5, 5, 5]))


def test_freshness():
    day, now = 86_400, 1_700_000_000
    train = stamp.Sessions.from_frame({
        "session_id": [1, 2, 3, 4],
        "item_id": [1, 2, 3, 1],
        "timestamp": [now - 8 * day, now - 7 * day, now - 7 * day + 1, now - day],
    })  # fmt: skip
    sessions = stamp.Sessions.from_frame({"session_id": [9, 9], "item_id": [5, 6], "timestamp": [now - 60, now]})
    options = {"train": train, "sessions": sessions, "session": [0], "event": [1]}
    # 1 is old though it was seen yesterday, 2 is exactly seven days old, 3 a second less, 9 was never seen
    only(measure("freshness", [[1, 2, 3, 9]], **options), 2 / 4, 3 / 4, 1 / 4, 1)
    only(measure("freshness", [[3, -1]], **options), 1, 1 / 2)
    # where training does not reach back seven days nobody knows what is new
    columns = {"session_id": [1, 1], "item_id": [1, 2], "timestamp": [now - 7 * day, now - day]}
    options["train"] = stamp.Sessions.from_frame(columns)
    only(measure("freshness", [[1, 2]], **options), 1 / 2)
    columns["timestamp"][0] += 1
    options["train"] = stamp.Sessions.from_frame(columns)
    assert np.isnan(measure("freshness", [[1, 2]], **options))


def test_repeat_rate():
    options = {"sessions": visits(), "session": [0], "event": [3]}
    # 0, 7 and 1 came before, 2 comes after; the current product is 1
    only(measure("repeat_rate", [[0, 7, 2, 9]], **options), 2 / 4, 3 / 4, 0, 1)
    only(measure("repeat_rate", [[0, 1, -1, -1]], **options), 1, 2 / 4, 1 / 2)


def test_churn():
    a, b = np.array([[1, 2, 3]]), np.array([[3, 2, 9]])
    only(churn(a, b), 1 / 3, 1 / 2, 2 / 3)  # not Jaccard's, not place by place
    only(churn(np.array([[1, 2, -1]]), np.array([[1, 2, 3]])), 1 / 3, 0)  # the longer list
    only(churn(np.array([[1, -1, -1]]), np.array([[1, -1, -1]])), 0, 2 / 3)


def test_ties():
    lists, scores = [[3, 1, 7, 5]], [[9.0, 2.0, 2.0, 2.0]]
    options = {"scores": scores, "target": [1]}
    only(measure("mrr", lists, ties="served", **options), 1 / 2, 1 / 4, 1 / 3)
    only(measure("mrr", lists, ties="conservative", **options), 1 / 4, 1 / 2, 1 / 3)
    only(measure("hr", lists, ties="conservative", k=2, **options), 0, 1)
    pins = {"scores": [[np.nan, np.nan, 2.0, 1.0]], "target": [3]}
    only(measure("mrr", lists, ties="conservative", **pins), 1, 1 / 2)  # pins tie with nothing
    both = {"scores": scores, "rest": [[1, 7]]}
    only(measure("map", lists, ties="conservative", **both), (1 / 3 + 2 / 4) / 2, (1 / 2 + 2 / 3) / 2)
