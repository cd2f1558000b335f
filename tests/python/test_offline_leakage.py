"""The guard against leakage: honest splits pass, others are refused with their offenders."""

import numpy as np
import pytest

import stamp
from stamp.offline import LeakageError, check_leakage


def timed(*sessions):
    """Sessions of (second, product)."""
    rows = [(s, item, second) for s, events in enumerate(sessions) for second, item in events]
    session, item, second = zip(*rows)
    return stamp.Sessions.from_frame({"session_id": session, "item_id": item, "timestamp": second})


def both(train, test):
    """Training that the test has got into."""
    return stamp.Sessions(train._core.concatenate(test.rows_in(train._catalog, "test", "train")), train._catalog)


def test_kinds_by_hand():
    train = timed([(100, 1), (110, 2)], [(120, 3), (200, 4)])
    test = timed(
        [(100, 1), (110, 2)],  # a copy, and earlier
        [(150, 1), (160, 2)],  # earlier
        [(190, 1), (210, 2)],  # straddling
        [(200, 1), (220, 2)],  # begins with the last event of training: honest
        [(300, 3), (400, 4)],
    )
    with pytest.raises(LeakageError) as caught:
        check_leakage(train, test)
    report = caught.value.report
    assert isinstance(caught.value, ValueError)
    assert {kind: indices.tolist() for kind, indices in report.offenders.items()} == {
        "earlier": [0, 1],
        "straddling": [2],
        "copies": [0],
    }
    assert report.originals.tolist() == [0]
    assert report.refused == ("earlier", "straddling", "copies")
    for part in (
        "earlier: 2 of 5 test sessions",
        "test session 2 is of 1970-01-01T00:03:10",
        "test session 0 is training session 0: 1, 2",
        "allow=('earlier', 'straddling', 'copies')",
    ):
        assert part in str(caught.value)
    clean = report.clean(test)
    assert [clean.session(i).tolist() for i in range(len(clean))] == [[1, 2], [3, 4]]
    assert check_leakage(train, clean).refused == ()
    passed = check_leakage(train, test, allow=("earlier", "straddling", "copies"))
    assert set(passed.table().column("verdict")) == {"allowed"}
    assert passed.refused == () and passed.offenders["earlier"].tolist() == [0, 1]
    with pytest.raises(LeakageError, match="straddling: 1 of 5"):
        check_leakage(train, test, allow=("earlier", "copies"))


def test_same_products_at_other_times_are_no_copies():
    train = timed([(100, 1), (110, 2), (120, 3), (130, 4)])
    assert len(check_leakage(train, timed([(200, 1), (210, 2), (220, 3), (230, 4)])).offenders["copies"]) == 0


def test_few_may_straddle():
    train = timed([(0, 1), (100, 2)])
    honest = [[(200 + i, 1), (300 + i, 2)] for i in range(99)]
    straddling = [(90, 1), (150, 2)]
    report = check_leakage(train, timed(straddling, *honest))  # 1 of 100
    assert report.offenders["straddling"].tolist() == [0] and report.notes[0] == (
        "1 of 100 test sessions straddle the end of training (refused above 1 %)"
    )
    with pytest.raises(LeakageError, match="straddling: 1 of 99"):
        check_leakage(train, timed(straddling, *honest[:-1]))


def test_split_by_time_passes_and_split_at_random_does_not(shop):
    train, test = shop.sessions.split_by_time("7D")
    assert check_leakage(train, test).refused == ()
    chosen = np.random.default_rng(0).random(len(shop.sessions)) < 0.1
    with pytest.raises(LeakageError, match="earlier: "):
        check_leakage(shop.sessions.select(~chosen), shop.sessions.select(chosen))
    with pytest.raises(LeakageError, match="copies: "):
        check_leakage(shop.sessions, test)


def test_without_times_only_long_copies_count():
    random = np.random.default_rng(1)
    pairs = [[1, 2]] * 50  # by chance the same everywhere
    long = [random.choice(1000, 5, replace=False).tolist() for _ in range(400)]
    new = [random.choice(1000, 5, replace=False).tolist() for _ in range(400)]
    train = stamp.Sessions.from_frame(pairs + long)

    def found(copied):
        return check_leakage(train, stamp.Sessions.from_frame(pairs + long[:copied] + new[copied:]))

    assert len(found(0).offenders["copies"]) == 0
    assert found(5).offenders["copies"].tolist() == [50, 51, 52, 53, 54]  # one per cent and a bit is chance
    assert set(found(5).offenders) == {"copies"}
    with pytest.raises(LeakageError, match="copies: 20 of 450") as caught:
        found(20)
    assert "timestamps are not known" in caught.value.report.table().to_text()
    assert len(caught.value.report.clean(stamp.Sessions.from_frame(pairs + long[:20] + new[20:]))) == 430


def test_copies_against_brute_force():
    random = np.random.default_rng(2)
    sessions = [random.integers(0, 4, random.integers(1, 7)).tolist() for _ in range(600)]
    train, test = sessions[:300], [*sessions[300:], [77, 78, 79, 80, 81]]
    times = [np.cumsum(random.integers(0, 2, len(s))).tolist() for s in train]  # few: the same times by chance
    later = [np.cumsum(random.integers(0, 2, len(s))).tolist() for s in test]
    known = {(*s, *t) for s, t in zip(train, times)}
    expected = {(*s, *t) for s, t in zip(test, later) if len(s) > 1 and (*s, *t) in known}
    a = timed(*[list(zip(t, s)) for s, t in zip(train, times)])
    b = timed(*[list(zip(t, s)) for s, t in zip(test, later)])
    report = check_leakage(a, b, allow=("earlier", "straddling", "copies"))

    def whole(sessions, i):
        begin, end = sessions._core.offsets[i : i + 2]
        return (*sessions.session(i).tolist(), *(sessions._core.timestamps[begin:end] // 1_000_000).tolist())

    assert expected and {whole(b, i) for i in report.offenders["copies"].tolist()} == expected
    for i, j in zip(report.offenders["copies"].tolist(), report.originals.tolist()):
        assert whole(b, i) == whole(a, j)


@pytest.mark.parametrize("name", ["diginetica", "yoochoose1_64", "retailrocket"])
def test_published_splits(real_data, name):
    train, test = (stamp.Sessions.from_frame(real_data / name / f"{part}.tsv.gz") for part in ("train", "test"))
    assert check_leakage(train, test).refused == ()
    with pytest.raises(LeakageError, match="copies"):
        check_leakage(both(train, test), test)
    some = test.select(np.random.default_rng(0).random(len(test)) < 0.03)
    with pytest.raises(LeakageError, match="copies"):
        check_leakage(both(train, some), test)


@pytest.mark.parametrize("name", ["yoochoose_week", "retailrocket_week"])
def test_a_week_with_times(real_data, name):
    sessions = stamp.Sessions.from_frame(real_data / name / "sessions.tsv.gz")
    train, test = sessions.split_by_time("1D")
    report = check_leakage(train, test)
    assert report.refused == () and 0 < len(report.offenders["straddling"]) < 0.01 * len(test)
    with pytest.raises(LeakageError, match="copies"):
        check_leakage(sessions, test)
    chosen = np.random.default_rng(0).random(len(sessions)) < 0.1
    with pytest.raises(LeakageError, match="earlier"):
        check_leakage(sessions.select(~chosen), sessions.select(chosen))


def test_report_is_a_table(shop):
    train, test = shop.sessions.split_by_time("7D")
    report = check_leakage(train, test)
    assert "straddling" in repr(report) and "<table" in report._repr_html_()
    assert report.to_dict()["offenders"] == {"earlier": [], "straddling": [], "copies": []}


def test_errors(shop):
    train, test = shop.sessions.split_by_time("7D")
    with pytest.raises(ValueError, match="allow has 'later', expected some of earlier, straddling, copies"):
        check_leakage(train, test, allow=["later"])
    with pytest.raises(ValueError, match="test is list, expected stamp.Sessions"):
        check_leakage(train, [[1, 2]])
    with pytest.raises(ValueError, match="test has no events"):
        check_leakage(train, test.select(np.zeros(len(test), bool)))
    report = check_leakage(train, test)
    with pytest.raises(ValueError, match=f"test has {len(train)} sessions, those that were checked are {len(test)}"):
        report.clean(train)
    with pytest.raises(ValueError, match="all of the"):
        check_leakage(shop.sessions, test, allow=("earlier", "copies", "straddling")).clean(test)


def test_select(shop):
    mask = np.arange(len(shop.sessions)) % 3 == 1
    some = shop.sessions.select(mask)
    assert [s.tolist() for s in map(some.session, range(5))] == [
        shop.sessions.session(i).tolist() for i in np.flatnonzero(mask)[:5]
    ]
    assert len(some) == mask.sum() and len(some.timestamps) == some.n_events == len(some.columns["visitor_id"])
    with pytest.raises(ValueError, match="expected one bool for each of 3000 sessions"):
        shop.sessions.select(mask[:5])
