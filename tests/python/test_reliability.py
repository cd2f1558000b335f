"""Probabilities of listed products, against brute force in NumPy, and what reports and warm starts make of them."""

import json

import numpy as np
import pytest

import stamp
from stamp import offline


@pytest.fixture(scope="module")
def shop():
    return stamp.datasets.synthetic_shop(sessions=1500, products=60, seed=3)


@pytest.fixture(scope="module")
def model(shop):
    train, _ = shop.sessions.split_by_time("7D")
    return stamp.StampRecommender(device="cpu", dim=8, epochs=2, calibration=500, seed=2).fit(train, progress=False)


def test_reliability_is_that_of_the_softmax_of_all_scores(model, shop, tmp_path):
    bundle = tmp_path / "bundle"
    model.save(bundle)
    _, test = shop.sessions.split_by_time("7D")
    test = test.select(np.arange(len(test)) < 60)
    found = offline.reliability(model, test, k=5, bins=4)
    V, temperature = len(model.item_ids_), model.report_["temperature"]
    known, entries = set(model.item_ids_.tolist()), []
    for s in range(len(test)):
        events = test.item_ids[test._core.items[test._core.offsets[s] : test._core.offsets[s + 1]]].tolist()
        for place in range(1, len(events)):
            if not known & set(events[:place]):
                continue
            ids, scores = model.recommend([event for event in events[:place] if event in known], k=V)
            p = np.exp(scores.astype(np.float64) / temperature)
            p /= p.sum()
            entries += [(p[i], ids[i] == events[place]) for i in range(5)]
    entries.sort(key=lambda entry: entry[0])
    error = 0
    for row, members in zip(found.bins.rows, np.array_split(np.arange(len(entries)), 4)):
        predicted, share = (np.mean([entries[m][part] for m in members]) for part in (0, 1))
        assert row[2] == pytest.approx(predicted, rel=1e-3) and row[3] == pytest.approx(share, abs=2 / len(members))
        assert row[4] == len(members)
        error += len(members) * abs(share - predicted) / len(entries)
    assert found.error == pytest.approx(error, abs=1e-3)
    assert found.temperatures == [pytest.approx(temperature)]
    for other in (bundle, stamp.Recommender(bundle, device="cpu")):
        assert offline.reliability(other, test, k=5, bins=4).bins.rows == found.bins.rows


def test_reliability_by_clusters_asks_the_model_of_the_anchor(shop, tmp_path):
    train, test = shop.sessions.split_by_time("7D")
    ids = np.unique(train.item_ids)
    parts = {0: set(ids[::2]), 1: set(ids[1::2])}
    lists = [
        list(map(str, train.item_ids[train._core.items[a:b]]))
        for a, b in zip(train._core.offsets, train._core.offsets[1:])
    ]
    for cluster, members in parts.items():
        mine = [[event for event in events if event in members] for events in lists]
        sessions = stamp.Sessions.from_frame([events for events in mine if len(events) > 1])
        stamp.StampRecommender(device="cpu", dim=6, epochs=1).fit(sessions, progress=False).save(
            tmp_path / str(cluster)
        )
    stamp.build_bundle({cluster: tmp_path / str(cluster) for cluster in parts}, out=tmp_path / "bundle")
    found = offline.reliability(tmp_path / "bundle", test)
    known = [{c for c, members in parts.items() if event in members} for event in test.item_ids]
    anchors = 0
    for a, b in zip(test._core.offsets, test._core.offsets[1:]):
        anchors += sum(bool(known[item]) for item in test._core.items[a : b - 1])
    assert found.lists == anchors and len(found.temperatures) == 2


def test_what_has_no_model_has_no_reliability(shop):
    train, test = shop.sessions.split_by_time("7D")
    popular = stamp.PopularityRecommender().fit(train)
    for wrong in (popular, object(), stamp.StampRecommender()):
        with pytest.raises(ValueError, match="reliability: recommender is"):
            offline.reliability(wrong, test)
    assert "calibration" not in offline.report(popular, test, latency=1, resamples=50).to_dict()


def test_the_report_says_whether_probabilities_hold(model, shop):
    _, test = shop.sessions.split_by_time("7D")
    made = offline.report(model, test, latency=1, resamples=50)
    [table] = made.to_dict()["calibration"]
    assert len(table["rows"]) == 10 and "Expected calibration error" in json.dumps(table["notes"])
    assert "Calibration" in made.html


def test_weights_have_the_calibration_where_there_are_floors(model, shop):
    assert model.weights_["temperature"] == np.float32(model.report_["temperature"])
    assert model.weights_["tail.power"] == np.float32(model.report_["tail_power"])
    plain = stamp.StampRecommender(device="cpu", dim=8, epochs=1, repeat_floors=0, successor_floors=0, second_floors=0)
    plain.fit(shop.sessions, progress=False)
    assert not {"temperature", "tail.power"} & set(plain.weights_)
    assert (plain.report_["temperature"], plain.report_["tail_power"]) == (1, 1)
