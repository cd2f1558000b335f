"""Metrics against brute force in numpy, the authors' own ranks, and published trivial baselines."""

import gzip

import numpy as np
import pytest

import stamp
from stamp import _stamp


def brute_force(model, sessions, k, min_history=1, last_only=False):
    hits, reciprocal, gain, cold, n = 0, 0.0, 0.0, 0, 0
    names = model.item_ids_.tolist()
    for s in range(len(sessions)):
        items = sessions.session(s).tolist()
        for i in range(min_history, len(items)):
            if last_only and i != len(items) - 1:
                continue
            history = [j for j in items[:i] if j in names]
            n += 1
            cold += items[i] not in names
            if not history or items[i] not in names:
                continue
            ids, _ = model.recommend(history, k=k)
            place = np.flatnonzero(ids == items[i])
            if len(place):
                rank = place[0] + 1
                hits, reciprocal, gain = hits + 1, reciprocal + 1 / rank, gain + 1 / np.log2(rank + 1)
    return hits / n, reciprocal / n, gain / n, cold, n


@pytest.mark.parametrize("options", [{}, {"min_history": 2}, {"last_only": True}])
def test_evaluate_is_brute_force(shop, options):
    train, test = shop.sessions.split_last(0.05)
    few, _ = train.split_last(0.97)  # so that some products of the test are cold
    model = stamp.StampRecommender(dim=16, epochs=3).fit(few, progress=False)
    result = stamp.evaluate(model, test, k=(5, 10), **options)
    for k in (5, 10):
        hr, mrr, ndcg, cold, n = brute_force(model, test, k, **options)
        assert (result.cold_targets, result.examples) == (cold, n)
        assert result.at[k]["hr"] == pytest.approx(hr)
        assert result.at[k]["mrr"] == pytest.approx(mrr)
        assert result.at[k]["ndcg"] == pytest.approx(ndcg)
    assert result.to_dict()["hr@5"] == result.at[5]["hr"]
    assert "cold" in repr(result) and "<table>" in result._repr_html_()


def test_bad_options(shop, fitted):
    for options, message in (
        ({"k": []}, "k is empty"),
        ({"k": [0]}, "k is 0"),
        ({"ties": "random"}, "ties is 'random'"),
        ({"min_history": 0}, "min_history is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            stamp.evaluate(fitted, shop.sessions, **options)
    with pytest.raises(ValueError, match="not fitted"):
        stamp.evaluate(stamp.StampRecommender(), shop.sessions)


@pytest.mark.parametrize(
    ("name", "hr", "mrr", "min_history"),
    [("diginetica", 0.93, 0.21, 1), ("yoochoose1_64", 7.31, 1.69, 1), ("retailrocket", 2.38, 0.50, 2)],
)
def test_popularity_on_real_data(real_data, name, hr, mrr, min_history):
    """The deterministic baseline that the data's own README gives, in per cent at 20."""
    train = stamp.Sessions.from_frame(real_data / name / "train.tsv.gz")
    test = stamp.Sessions.from_frame(real_data / name / "test.tsv.gz")
    at = stamp.evaluate(stamp.PopularityRecommender().fit(train), test, min_history=min_history).at[20]
    assert 100 * at["hr"] == pytest.approx(hr, abs=0.015)
    assert 100 * at["mrr"] == pytest.approx(mrr, abs=0.006)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("yoochoose1_64", {5: (45.70, 27.26), 10: (58.07, 28.93), 20: (68.75, 29.68)}),
        ("yoochoose1_4", {5: (46.40, 27.47), 10: (59.63, 29.24), 20: (70.44, 30.00)}),
        ("diginetica_unsorted", {5: (41.04, 25.21), 10: (52.07, 26.69), 20: (62.04, 27.39)}),
    ],
)
def test_metrics_of_the_authors_ranks(real_data, name, published):
    """The authors' logged ranks give the figures of the paper's tables."""
    with gzip.open(real_data / "stamp_reference" / f"{name}.tsv.gz", "rt") as file:
        next(file)
        ranks = np.array([int(r) for line in file for r in line.rstrip("\n").split("\t")[2].split()])
    at = _stamp.metrics_of_ranks(ranks, list(published))
    for k, (hr, mrr) in published.items():
        assert 100 * at[k][0] == pytest.approx(hr, abs=0.006)
        assert 100 * at[k][1] == pytest.approx(mrr, abs=0.006)
