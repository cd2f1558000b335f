"""Verdicts: the bootstrap against SciPy, Holm against statsmodels, intervals against simulated shops."""

import json
import math
import pathlib
import re

import numpy as np
import pytest

import stamp
from stamp import offline
from stamp.offline.verdicts import bootstrap

ROOT = pathlib.Path(__file__).parents[2]


def test_the_page_shows_what_was_printed():
    """By benchmarks/sample_verdicts.py; the columns are still those of a comparison."""
    page = (ROOT / "docs" / "verdicts.md").read_text("utf-8")
    shown = re.search("<!-- sample: .*? -->\n```\n(.*?)\n```\n", page, re.DOTALL)[1]
    results = (ROOT / "benchmarks" / "results" / "sample_verdicts.jsonl").read_text("utf-8").splitlines()
    assert shown == json.loads(results[-1])["printed"]
    columns = offline.compare(shop_of_visitors(0), baseline="old", metrics=["hr@20"]).table().columns
    assert re.split(" {2,}", shown.splitlines()[1]) == columns


# The bootstrap on plain arrays.


def test_resampled_sums_are_scipys():
    """SciPy draws the same numbers from the same seed, so that all its resamples are ours."""
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(5)
    sums, counts = random.normal(2, 1, 37), random.integers(1, 9, 37).astype(float)
    result = stats.bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=501,
        confidence_level=0.9,
        method="percentile",
        random_state=np.random.default_rng(11),
    )
    ours = bootstrap.resampled_sums(np.stack([sums, counts], axis=1), resamples=501, seed=11)
    means = ours[:, 0] / ours[:, 1]
    np.testing.assert_allclose(means, result.bootstrap_distribution, rtol=1e-12)
    low, high = bootstrap.percentile_interval(means, 0.9)
    assert (low, high) == pytest.approx(tuple(result.confidence_interval), rel=1e-12)


@pytest.mark.parametrize("units", [1, 2, 33])
def test_resampled_sums_in_blocks(monkeypatch, units):
    values = np.random.default_rng(0).normal(size=(units, 3))
    whole = bootstrap.resampled_sums(values, resamples=17, seed=4)
    monkeypatch.setattr(bootstrap, "_MEMORY", 8 * units * 5)
    np.testing.assert_allclose(bootstrap.resampled_sums(values, resamples=17, seed=4), whole, rtol=1e-12)
    np.testing.assert_allclose(bootstrap.resampled_sums(values[:, :1], resamples=17, seed=4), whole[:, :1], rtol=1e-12)
    draws = np.random.default_rng(4).integers(0, units, (17, units))
    np.testing.assert_allclose(whole, values[draws].sum(axis=1), rtol=1e-9, atol=1e-12)


def test_p_by_hand():
    differences = np.array([[1.0, -1, 0, np.nan], [2, 1, 0, 1], [3, 2, 0, 1], [4, 3, 0, 1]])
    # never below 0: 2 · 1/5; once below: 2 · 2/5; all 0: 2 · 5/5, cut to 1
    np.testing.assert_allclose(bootstrap.two_sided_p(differences), [0.4, 0.8, 1, np.nan])


def test_p_agrees_with_the_interval():
    random = np.random.default_rng(3)
    for shift in np.linspace(0, 0.4, 41):
        differences = random.normal(shift, 0.1, (4000, 1))
        low, _ = bootstrap.percentile_interval(differences, 0.95)
        p = bootstrap.two_sided_p(differences)
        if abs(low[0]) > 0.005:  # off by more than the added one
            assert (p[0] < 0.05) == (low[0] > 0)


def test_holm_is_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    random = np.random.default_rng(8)
    for n in (1, 2, 7, 40):
        p = random.random(n) ** 3
        p[n // 2 :] = p[0]  # ties
        np.testing.assert_allclose(bootstrap.holm(p), multitest.multipletests(p, method="holm")[1], rtol=1e-12)
    np.testing.assert_allclose(bootstrap.holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert bootstrap.holm([]).shape == (0,)


def test_least_resamples():
    for comparisons in (1, 3, 40):
        for confidence in (0.9, 0.95, 0.99):
            least = bootstrap.least_resamples(comparisons, confidence)
            assert 2 * comparisons / (1 + least) < 1 - confidence <= 2 * comparisons / least * (1 + 1e-12)


def test_bootstrap_errors():
    with pytest.raises(ValueError, match=r"shape \(0, 2\), expected \[units, columns\]"):
        bootstrap.resampled_sums(np.empty((0, 2)), resamples=10, seed=0)
    with pytest.raises(ValueError, match="resamples is 0, expected a whole number of 1 or more"):
        bootstrap.resampled_sums(np.ones((3, 1)), resamples=0, seed=1)


# Comparisons.


class Simulated(offline.Replay):
    """A replay whose values per question are given: {(metric, recommender): [N]}."""

    def __init__(self, given, *, session, visitor=None, **options):
        n, names = len(session), list(dict.fromkeys(name for _, name in given))
        questions = offline.Questions(
            session=session,
            event=np.arange(n),
            anchor=np.zeros(n),
            target=np.zeros(n),
            remaining=(np.zeros(n + 1), []),
            visitor=visitor,
        )
        zone = offline.product_page()
        lists = {(name, zone.name): offline.Lists(rows=np.full((n, 20), -1)) for name in names}
        super().__init__(
            zones={zone.name: zone},
            questions={zone.name: questions},
            lists=lists,
            item_ids=np.arange(5),
            clicks=np.arange(5),
            **options,
        )
        self.given = given

    def values(self, metric, *, name, zone, k):
        return np.asarray(self.given[metric, name], float)


def shop_of_visitors(seed, *, visitors=150, effect=0.05):
    """Hits of two recommenders: visitors differ in how easy they are, and in what the new one does for them."""
    random = np.random.default_rng(seed)
    questions = random.integers(1, 12, visitors)
    visitor = np.repeat(np.arange(visitors), questions)
    session = np.cumsum(random.random(len(visitor)) < 0.5) + visitor * 1000  # sessions are within visitors
    easy = (0.25 + 0.5 * random.beta(2, 4, visitors))[visitor]
    gain = (effect + random.choice([-0.1, 0.1], visitors))[visitor]  # no probability leaves 0 to 1
    luck = random.random(len(visitor))  # shared, as questions are
    old = luck < easy
    new = np.where(random.random(len(visitor)) < 0.7, luck, random.random(len(visitor))) < easy + gain
    return Simulated({("hr", "old"): old, ("hr", "new"): new}, session=session, visitor=visitor)


def only_row(replay, **options):
    [row] = offline.compare(replay, baseline="old", metrics=["hr@20"], **options).rows
    return row


def test_interval_covers_the_truth():
    """Of 90 % intervals, 90 % hold what the shop was made with."""
    held, widths = 0, []
    for seed in range(300):
        row = only_row(shop_of_visitors(seed, effect=0.05), confidence=0.9, resamples=400, seed=seed)
        held += row.low <= 0.05 <= row.high
        widths.append(row.high - row.low)
    assert 0.86 <= held / 300 <= 0.94  # standard error 0.017
    assert np.mean(widths) < 0.2


def test_false_verdicts_are_rare_and_true_ones_are_not():
    verdicts = {
        effect: [only_row(shop_of_visitors(s, effect=effect), resamples=400).verdict for s in range(100)]
        for effect in (0.0, 0.15, -0.15)
    }
    assert sum(v != "no difference shown" for v in verdicts[0.0]) <= 10  # 5 are expected
    assert verdicts[0.15].count("better") >= 95 and verdicts[-0.15].count("worse") >= 90


def test_visitors_make_wider_intervals_than_sessions():
    """What one visitor does is alike: to resample sessions or questions would promise too much."""
    random = np.random.default_rng(1)
    visitor = np.repeat(np.arange(200), 20)
    session = np.repeat(np.arange(1000), 4)
    gain = random.normal(0.02, 0.3, 200)[visitor]  # of all questions of a visitor
    given = {("hr", "old"): np.zeros(4000), ("hr", "new"): gain + random.normal(0, 0.1, 4000)}
    by_visitor = offline.compare(Simulated(given, session=session, visitor=visitor), baseline="old", metrics=["hr@20"])
    by_session = offline.compare(Simulated(given, session=session), baseline="old", metrics=["hr@20"])
    a, b = by_visitor.rows[0], by_session.rows[0]
    assert a.difference == pytest.approx(b.difference) and (a.units, b.units) == (200, 1000)
    assert (by_visitor.units, by_session.units) == ("visitors", "sessions")
    assert a.high - a.low > 1.5 * (b.high - b.low)
    standard_error = 0.3 / np.sqrt(200)
    assert a.high - a.low == pytest.approx(2 * 1.96 * standard_error, rel=0.15)
    assert a.verdict == "no difference shown"


def test_pairing_makes_narrower_intervals():
    """What makes a visitor easy for both recommenders cancels out."""
    result = offline.compare(shop_of_visitors(0), baseline="old", metrics=["hr@20"])
    [row], [(low, high)] = result.rows, result.baseline_intervals.values()
    assert row.high - row.low < 0.75 * np.hypot(row.value_high - row.value_low, high - low)


def test_compare_is_brute_force():
    """Every resample drawn question by question."""
    random = np.random.default_rng(4)
    n = 60
    visitor = random.integers(0, 13, n) * 7  # codes with gaps
    given = {(m, name): random.random(n) for m in ("hr", "recall") for name in ("old", "new", "newer")}
    for name in ("old", "new", "newer"):
        given["recall", name][::4] = np.nan  # nothing left to recall
    replay = Simulated(given, session=np.arange(n), visitor=visitor)
    result = offline.compare(
        replay, baseline="old", metrics=["hr@20", "recall@10"], confidence=0.8, resamples=300, seed=6
    )
    units = np.unique(visitor)
    draws = np.random.default_rng(6).integers(0, len(units), (300, len(units)))
    questions = [np.concatenate([np.flatnonzero(visitor == units[u]) for u in draw]) for draw in draws]
    p = []
    for row in result.rows:
        metric = row.metric.split("@")[0]
        new, old = given[metric, row.recommender], given[metric, "old"]
        differences = np.array([np.nanmean(new[q]) - np.nanmean(old[q]) for q in questions])
        assert (row.low, row.high) == pytest.approx(tuple(np.percentile(differences, [10, 90])))
        assert row.difference == pytest.approx(np.nanmean(new) - np.nanmean(old))
        assert row.relative == pytest.approx(row.difference / np.nanmean(old))
        sides = (1 + (differences <= 0).sum()) / 301, (1 + (differences >= 0).sum()) / 301
        p.append(min(1, 2 * min(sides)))
        assert row.p == pytest.approx(p[-1])
        alone = np.percentile([np.nanmean(new[q]) for q in questions], [10, 90])
        assert (row.value_low, row.value_high) == pytest.approx(tuple(alone))
        assert row.questions == (n if metric == "hr" else (~np.isnan(new)).sum())
    assert [(r.metric, r.recommender) for r in result.rows] == [
        ("hr@20", "new"), ("hr@20", "newer"), ("recall@10", "new"), ("recall@10", "newer")
    ]  # fmt: skip
    np.testing.assert_allclose([r.p_holm for r in result.rows], bootstrap.holm(p))
    assert result.comparisons == 4


def test_same_seed_same_result():
    replay = shop_of_visitors(3)
    a, b, c = (offline.compare(replay, baseline="old", metrics=["hr@20"], seed=seed) for seed in (0, 0, 1))
    assert a.to_json() == b.to_json()
    assert a.rows[0].high != c.rows[0].high and a.rows[0].difference == c.rows[0].difference
    more = offline.compare(replay, baseline="old", metrics=["hr@10", "hr@20"], seed=0)
    assert more.rows[1].low == pytest.approx(a.rows[0].low, rel=1e-12)  # whatever else is asked


def test_verdicts():
    n = 400
    random = np.random.default_rng(0)
    base = random.random(n)
    given = {}
    for metric in ("hr", "popularity"):
        given |= {(metric, "old"): base, (metric, "same"): base, (metric, "more"): base + random.random(n)}
        given[metric, "less"] = base - random.random(n)
    result = offline.compare(Simulated(given, session=np.arange(n)), baseline="old", metrics=["hr@20", "popularity@20"])
    verdicts = {(row.metric, row.recommender): row.verdict for row in result.rows}
    assert verdicts == {
        ("hr@20", "same"): "no difference shown",
        ("hr@20", "more"): "better",
        ("hr@20", "less"): "worse",
        ("popularity@20", "same"): "no difference shown",  # neither more nor less is better
        ("popularity@20", "more"): "different",
        ("popularity@20", "less"): "different",
    }
    assert [row.p for row in result.rows if row.recommender == "same"] == [1, 1]
    assert [row.p for row in result.rows if row.recommender == "more"] == [2 / 2001] * 2


def test_equal_recommenders_are_never_told_apart():
    """Sums of equal values may be rounded differently; that is no difference."""
    random = np.random.default_rng(0)
    for n in (50, 333, 1000):
        values = random.random(n) / 3
        given = {("hr", name): values for name in ("old", *"abcdefghij")}
        result = offline.compare(Simulated(given, session=np.arange(n)), baseline="old", metrics=["hr@20"])
        assert {(row.p, row.difference, row.low, row.high) for row in result.rows} == {(1, 0, 0, 0)}


def test_an_interval_is_no_verdict_among_many_comparisons():
    """Noise, looked at often enough, leaves 0 out of some interval; Holm lets none of it be a verdict."""
    random = np.random.default_rng(0)
    n, given = 200, {("hr", "old"): np.zeros(200)}
    given |= {("hr", f"noise {i}"): random.normal(size=n) for i in range(30)}
    result = offline.compare(Simulated(given, session=np.arange(n)), baseline="old", metrics=["hr@20"], resamples=4000)
    assert any(row.low > 0 or row.high < 0 for row in result.rows)
    assert {row.verdict for row in result.rows} == {"no difference shown"} and result.comparisons == 30


def test_too_little_data_is_said():
    """Where a metric applies to few, some resamples have none of them."""
    values = np.full(100, np.nan)
    values[:2] = 1
    given = {("hr", "old"): values, ("hr", "new"): values + 1}
    result = offline.compare(Simulated(given, session=np.arange(100)), baseline="old", metrics=["hr@20"])
    [row] = result.rows
    assert row.verdict == "too little data" and math.isnan(row.low) and row.units == 2 and result.comparisons == 0
    assert "only 2 sessions" in result.to_text()


def test_an_arm_without_data_spoils_no_other():
    """Of one recommender a metric is never known, of another for one session only."""
    n = 100
    values = np.random.default_rng(0).random(n)
    rare = np.full(n, np.nan)
    rare[3] = 5.0
    given = {("mrr", "old"): values, ("mrr", "new"): values + 1}
    given |= {("mrr", "none"): np.full(n, np.nan), ("mrr", "one"): rare}
    result = offline.compare(Simulated(given, session=np.arange(n)), baseline="old", metrics=["mrr@20"])
    rows = {row.recommender: row for row in result.rows}
    assert rows["new"].verdict == "better" and rows["new"].p == rows["new"].p_holm and result.comparisons == 1
    for name, questions in (("none", 0), ("one", 1)):
        row = rows[name]
        assert row.verdict == "too little data" and (row.questions, row.units) == (questions, questions)
        unknown = (row.value, row.difference, row.low, row.high, row.relative, row.p, row.p_holm)
        assert all(math.isnan(x) for x in unknown)
    assert "only" not in result.to_text() and json.loads(result.to_json())["rows"][1]["value"] is None
    with pytest.raises(ValueError, match="'mrr@20' of .* applies to 1 questions of 1 visitors or sessions"):
        offline.compare(Simulated(given, session=np.arange(n)), baseline="one", metrics=["mrr@20"])


def listed(lists, targets, **options):
    """A replay of lists that are given, a session each."""
    n = len(targets)
    questions = offline.Questions(
        session=np.arange(n),
        event=np.arange(n),
        anchor=np.zeros(n),
        target=targets,
        remaining=(np.arange(n + 1), targets),
    )
    zone = offline.product_page(k=2)
    return offline.Replay(
        zones={zone.name: zone},
        questions={zone.name: questions},
        lists={(name, zone.name): offline.Lists(rows=rows) for name, rows in lists.items()},
        item_ids=np.arange(6),
        **options,
    )


def test_metrics_of_all_lists_have_no_interval():
    replay = listed({"old": [[0, 1]] * 4, "new": [[0, 1], [1, 2], [2, 3], [3, 4]]}, [0, 1, 2, 3])
    result = offline.compare(replay, baseline="old", metrics=["hr", "coverage"])
    hit, coverage = result.rows
    assert (hit.metric, hit.value, hit.baseline_value) == ("hr@2", 1, 0.5)  # at the zone's k
    assert (coverage.value, coverage.baseline_value) == pytest.approx((5 / 6, 2 / 6))
    assert coverage.difference == pytest.approx(3 / 6) and coverage.verdict == ""
    assert math.isnan(coverage.low) and math.isnan(coverage.p_holm) and result.comparisons == 1
    assert "no value per question" in result.to_text()


def test_windows_are_pooled():
    random = np.random.default_rng(0)
    shift = (0.3, 0.2, -0.1)
    replays, values = [], []
    for w in range(3):
        n = 40 + 10 * w
        old = random.random(n)
        values.append((old, old + shift[w]))
        replays.append(Simulated({("hr", "old"): old, ("hr", "new"): old + shift[w]}, session=np.arange(n)))
    result = offline.compare(replays, baseline="old", metrics=["hr@20"])
    [row] = result.rows
    old, new = (np.concatenate(v) for v in zip(*values))
    assert row.by_window == pytest.approx(shift) and row.units == row.questions == 150
    assert row.difference == pytest.approx(new.mean() - old.mean())
    # one replay of all the questions is the same
    whole = Simulated({("hr", "old"): old, ("hr", "new"): new}, session=np.arange(150))
    assert (row.low, row.high) == pytest.approx((only_row(whole).low, only_row(whole).high))
    assert result.windows == ["window 0", "window 1", "window 2"]
    table = result.window_table()
    assert table.columns == ["metric", "recommender", *result.windows, "all", "same sign"]
    assert table.rows[0][-1] == "2 of 3" and result.table().column("same sign") == ["2 of 3"]


def test_visitors_who_come_back_are_one_unit():
    """Visitor codes are numbered anew in each window; the ids are not."""
    sessions = [
        stamp.Sessions.from_frame(
            {"session_id": [1, 1, 2, 2], "item_id": [1, 2] * 2, "timestamp": [t, t + 1] * 2, "visitor_id": visitors}
        )
        for t, visitors in ((86_400 * 3, ["ann", "ann", "bob", "bob"]), (86_400 * 4, ["bob", "bob", "eve", "eve"]))
    ]
    replays = [
        Simulated(
            {("hr", "old"): [0, 1, 0, 1], ("hr", "new"): [1, 1, 1, 0]},
            session=[0, 0, 1, 1],
            visitor=[0, 0, 1, 1],
            sessions=each,
        )
        for each in sessions
    ]
    result = offline.compare(replays, baseline="old", metrics=["hr@20"])
    assert result.rows[0].units == 3 and result.windows == ["1970-01-04", "1970-01-05"]
    for replay in replays:
        replay.sessions = None
    with pytest.raises(ValueError, match="column 'visitor_id'"):
        offline.compare(replays, baseline="old", metrics=["hr@20"])


def test_it_reads_well():
    replay = shop_of_visitors(0, effect=0.2)
    result = offline.compare(replay, baseline="old", metrics=["hr@20"])
    text, markdown, page = result.to_text(), result.to_markdown(), result._repr_html_()
    assert text == repr(result) and text.startswith("Beside old")
    for shown in (text, markdown, page):
        for part in ("hr@20", "new", "better", "Holm", "95 % interval", "visitors", "2,000"):
            assert part in shown
    assert markdown.count("|") > 20 and page.startswith("<table>")
    parsed = json.loads(result.to_json())
    assert parsed["rows"][0]["verdict"] == "better" and parsed["comparisons"] == 1 and parsed["baseline"] == "old"
    assert parsed["baseline_intervals"][0]["low"] < parsed["rows"][0]["baseline_value"]


def test_compare_errors():
    replay = shop_of_visitors(0)
    given = {"metrics": ["hr@20"], "baseline": "old"}
    for changes, message in (
        ({"baseline": "best"}, "baseline is 'best', expected one of 'old', 'new'"),
        ({"metrics": []}, r"metrics is \[\]"),
        ({"metrics": "hr@20"}, "metrics is 'hr@20', expected a list"),
        ({"metrics": ["hr@20", "hr@20"]}, "one twice"),
        ({"metrics": ["hr", "hr@20"]}, "one twice"),
        ({"metrics": ["luck@20"]}, "compare: metric is 'luck'"),
        ({"metrics": ["hr@many"]}, "compare: metric is 'hr@many'"),
        ({"metrics": ["hr@21"]}, "of longer lists than the 20 products"),
        ({"metrics": ["ild_attributes@20"]}, "'ild_attributes@20' needs attributes of products"),
        ({"metrics": ["hr:buy@20"]}, "needs .* event_type"),
        ({"zone": "cart"}, "zone is 'cart', expected one of 'product page'"),
        ({"confidence": 1}, "confidence is 1, expected a number between 0 and 1"),
        ({"confidence": 95}, "confidence is 95"),
        ({"resamples": 99}, "resamples is 99.*100 or more"),
        ({"seed": -1}, "seed is -1"),
        ({"confidence": 0.999, "resamples": 1000}, "cannot show any of 1 comparisons .* give 2,000 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            offline.compare(replay, **{**given, **changes})
    with pytest.raises(ValueError, match="expected a Replay"):
        offline.compare([], **given)
    with pytest.raises(ValueError, match="expected a Replay"):
        offline.compare(None, **given)
    with pytest.raises(ValueError, match="in the list twice"):
        offline.compare([replay, replay], **given)
    with pytest.raises(ValueError, match="only recommender"):
        offline.compare(Simulated({("hr", "old"): [1.0, 0]}, session=[0, 1]), **given)
    with pytest.raises(ValueError, match="has no questions"):
        offline.compare(Simulated({("hr", "old"): [], ("hr", "new"): []}, session=[]), **given)
    with pytest.raises(ValueError, match="names of window 1"):
        other = Simulated({("hr", "old"): [1.0, 0], ("hr", "newer"): [1.0, 0]}, session=[0, 1])
        offline.compare([replay, other], **given)
    with pytest.raises(ValueError, match="visitors are known in some"):
        other = Simulated({("hr", "old"): [1.0, 0], ("hr", "new"): [1.0, 0]}, session=[0, 1])
        offline.compare([replay, other], **given)
    with pytest.raises(ValueError, match="applies to 0 questions"):
        nothing = Simulated({("hr", "old"): [np.nan] * 3, ("hr", "new"): [np.nan] * 3}, session=[0, 1, 2])
        offline.compare(nothing, **given)
    with pytest.raises(ValueError, match="one replay was compared"):
        offline.compare(replay, **given).window_table()
    replay.lists.pop(("new", "product page"))
    with pytest.raises(ValueError, match="'new' was not asked in zone 'product page'"):
        offline.compare(replay, **given)
