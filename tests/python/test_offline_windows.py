"""Sliding windows: splits by time without leaks, and recommenders paired over all of them."""

import datetime

import numpy as np
import pytest

import stamp
from stamp import offline

DAY = 86_400


def by_day(*sessions):
    """Sessions that begin and end on the days given."""
    rows = [(s, 10 * s + e, DAY * day) for s, days in enumerate(sessions) for e, day in enumerate(days)]
    session, item, second = zip(*rows)
    return stamp.Sessions.from_frame({"session_id": session, "item_id": item, "timestamp": second})


def first_products(sessions):
    return [int(sessions.session(i)[0]) for i in range(len(sessions))]


def test_by_hand():
    # The last event is on day 10, so the test of one day begins just after day 9.
    sessions = by_day((0, 1), (2, 3), (4, 5.5), (6, 7), (7.9, 8.6), (8.5, 9.5), (9.2, 9.8), (9.5, 10))
    late, early = offline.windows(sessions, train="4D", test="1D", n=2)[::-1]
    # Session 5 is open on day 9: it is in neither part of the last window, and tested in the one before.
    assert first_products(late.test) == [60, 70] and first_products(late.train) == [30, 40]
    assert first_products(early.test) == [50] and first_products(early.train) == [30]
    assert (early.name, late.name) == ("1970-01-09", "1970-01-10")
    everything = offline.windows(sessions, train=None, test="1D", n=1)[0]
    assert first_products(everything.train) == [0, 10, 20, 30, 40]
    gap = offline.windows(sessions, train="4D", test="1D", n=1, gap="12h")[0]
    assert first_products(gap.train) == [30] and first_products(gap.test) == [60, 70]  # session 4 ends too late
    apart = offline.windows(sessions, train="3D", test="1D", n=2, step=datetime.timedelta(days=2))
    assert apart.names == ["1970-01-08", "1970-01-10"]
    assert first_products(apart[0].test) == [40] and first_products(apart[-1].test) == [60, 70]


def test_nothing_leaks_and_no_session_is_tested_twice(shop):
    splits = offline.windows(shop.sessions, train="10D", test="2D", n=5)
    assert len(splits) == 5 and len(splits[1:3]) == 2
    tested = set()
    for name, train, test in splits:
        report = offline.check_leakage(train, test)
        assert not any(map(len, report.offenders.values()))
        assert train.timestamps.max() < test.timestamps.min()
        assert test.timestamps.min() - train.timestamps.min() <= np.timedelta64(12, "D")
        assert str(test.timestamps.min())[:10] >= name
        begins = {(test.session(i).tobytes(), str(test.timestamps[test._core.offsets[i]])) for i in range(len(test))}
        assert len(begins) == len(test) and not begins & tested
        tested |= begins
        assert len(test.columns["visitor_id"]) == test.n_events
    began = shop.sessions.timestamps[shop.sessions._core.offsets[:-1]]
    assert len(tested) == (began > shop.sessions.timestamps.max() - np.timedelta64(10, "D")).sum()


def test_names_tell_windows_apart(shop):
    names = offline.windows(shop.sessions, train="10D", test="1h", n=3).names
    assert len(set(names)) == 3 and all(len(name) == len("2023-12-12 22:12") for name in names)
    table = offline.windows(shop.sessions, train="10D", test="2D", n=2)
    assert "train sessions" in repr(table) and table.table().column("test begins") == table.names
    assert "<table" in table._repr_html_()


def test_replay_windows_and_compare(shop):
    splits = offline.windows(shop.sessions, train="14D", test="2D", n=3)
    learnt = []

    class Last:
        """Recommends what was looked at last."""

        def recommend(self, items, *, k):
            return list(dict.fromkeys(reversed(list(items))))[:k]

    def popularity(train):
        learnt.append(len(train))
        return stamp.PopularityRecommender().fit(train)

    replays = offline.replay_windows(
        {"popularity": popularity, "last": lambda train: Last()}, splits, zones=offline.product_page(k=5), latency=0
    )
    assert learnt == [len(train) for _, train, _ in splits]
    result = offline.compare(replays, baseline="popularity", metrics=["hr@5", "coverage@5"], resamples=200)
    assert result.windows == splits.names
    hit, coverage = result.rows
    values = {
        name: [r.values("hr", name=name, zone="product page", k=5) for r in replays] for name in ("popularity", "last")
    }
    assert hit.value == pytest.approx(np.concatenate(values["last"]).mean())
    assert hit.by_window == pytest.approx([a.mean() - b.mean() for a, b in zip(values["last"], values["popularity"])])
    assert hit.verdict == "better" and coverage.verdict == "" and len(coverage.by_window) == 3
    visitors = {v for _, _, test in splits for s in range(len(test)) if len(test.session(s)) > 1
                for v in test.columns["visitor_id"][slice(*test._core.offsets[s : s + 2])].tolist()}  # fmt: skip
    assert hit.units == len(visitors)
    assert [row[-1] for row in result.window_table().rows] == ["3 of 3", "3 of 3"]
    assert "3 windows, pooled" in result.to_markdown()


def test_errors(shop):
    sessions = shop.sessions
    for options, message in (
        ({"n": 0}, "n is 0"),
        ({"train": "14 pounds"}, "windows: train: '14 pounds' is neither a span"),
        ({"test": "2023-12-01"}, "test='2023-12-01' is no span of time"),
        ({"test": "0D"}, "test='0D' is no span"),
        ({"gap": "-1h"}, "gap='-1h' is no span"),
        ({"test": "2D", "step": "1D"}, "step='1D' is shorter than test='2D'"),
        ({"train": "100D"}, "5 windows of train='100D' and test='1D' need 105 days of sessions, these are of 28 days"),
    ):
        with pytest.raises(ValueError, match=message):
            offline.windows(sessions, **options)
    sparse = by_day((0, 0.1), (1, 1.1), (5, 5.1), (9, 9.1))
    with pytest.raises(ValueError, match="test begins at 1970-01-07 has no sessions to test on"):
        offline.windows(sparse, train="6D", test="1D", n=3)
    with pytest.raises(ValueError, match="test begins at 1970-01-09 has no sessions to train on"):
        offline.windows(sparse, train="2D", test="1D", n=1)
    with pytest.raises(ValueError, match="no timestamps"):
        offline.windows(stamp.Sessions.from_frame([[1, 2]]))
    with pytest.raises(ValueError, match="sessions is list"):
        offline.windows([[1, 2]])
    with pytest.raises(IndexError):
        offline.windows(sessions)[5]
    splits = offline.windows(sessions, n=1)
    with pytest.raises(ValueError, match="function of the training sessions"):
        offline.replay_windows({}, splits)
    with pytest.raises(ValueError, match="function of the training sessions"):
        offline.replay_windows({"model": stamp.PopularityRecommender()}, splits)
    with pytest.raises(ValueError, match="factory of 'model' returned None"):
        offline.replay_windows({"model": lambda train: None}, splits)
    with pytest.raises(ValueError, match="train is that of each window"):
        offline.replay_windows({"model": lambda train: stamp.PopularityRecommender()}, splits, train=sessions)
    with pytest.raises(ValueError, match="there are no windows"):
        offline.replay_windows({"model": lambda train: None}, [])
