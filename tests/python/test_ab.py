"""A/B arithmetic beside SciPy and statsmodels, and beside what comes of many made-up tests."""

import json
import math
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats
import statsmodels.stats.power as power
import statsmodels.stats.proportion as proportion
import statsmodels.stats.weightstats as weightstats

from stamp.offline import ab
from stamp.offline.ab import arithmetic


def revenue(visitors, share, seed):
    random = np.random.default_rng(seed)
    return np.where(random.random(visitors) < share, np.round(random.lognormal(3.5, 0.9, visitors), 2), 0.0)


def clicks(visitors, rate, seed):
    """Clicks and impressions of visitors who differ: some click often, some see much."""
    random = np.random.default_rng(seed)
    seen = 1 + random.poisson(random.gamma(1.0, 6.0, visitors))
    own = random.beta(rate * 5, (1 - rate) * 5, visitors)
    return random.binomial(seen, own).astype(float), seen.astype(float)


@pytest.mark.parametrize(
    ("control", "treatment"), [((300, 10_000), (360, 10_000)), ((41, 997), (20, 1500)), ((1, 3), (2, 2))]
)
def test_proportions(control, treatment):
    effect = ab.proportions(control=control, treatment=treatment, confidence=0.9)
    (x_c, n_c), (x_t, n_t) = control, treatment
    _, p = proportion.proportions_ztest([x_t, x_c], [n_t, n_c])
    assert effect.p == pytest.approx(p, rel=1e-12)
    low, high = proportion.confint_proportions_2indep(x_t, n_t, x_c, n_c, method="wald", compare="diff", alpha=0.1)
    assert (effect.difference.low, effect.difference.high) == pytest.approx((low, high), rel=1e-9)
    assert effect.difference.value == x_t / n_t - x_c / n_c
    c, t = x_c / n_c, x_t / n_t
    assert effect.relative.value == pytest.approx(t / c - 1)
    # The delta method is that of the logarithm, scaled: se(log t/c)² = (1−t)/x_t + (1−c)/x_c.
    half = scipy.stats.norm.ppf(0.95) * t / c * math.sqrt((1 - t) / x_t + (1 - c) / x_c)
    assert effect.relative.high - effect.relative.value == pytest.approx(half)
    assert effect.relative.value - effect.relative.low == pytest.approx(half)
    assert (effect.control.visitors, effect.treatment.visitors) == (n_c, n_t)


def test_proportions_of_rows_are_those_of_their_counts():
    random = np.random.default_rng(0)
    arms = {"control": random.random(501) < 0.3, "treatment": random.random(400) < 0.4}
    expected = ab.proportions(**{name: (int(rows.sum()), len(rows)) for name, rows in arms.items()})
    assert ab.proportions(**arms) == expected
    frames = {name: pd.DataFrame({"bought": rows}) for name, rows in arms.items()}
    assert ab.proportions(**frames, converted="bought") == expected
    # Sessions of visitors: one of them decides.
    sessions = {
        name: {"visitor_id": [f"v{i}" for i in range(len(rows)) for _ in (0, 1)],
               "converted": np.stack([rows, np.zeros(len(rows))], axis=1).ravel()}
        for name, rows in arms.items()
    }  # fmt: skip
    assert ab.proportions(**sessions, visitor="visitor_id") == expected


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("n_c", "n_t"), [(2, 2), (7, 30), (3000, 2001)])
def test_means_are_welchs(n_c, n_t, confidence):
    c, t = np.random.default_rng(1).gamma(2, 5, n_c), np.random.default_rng(2).gamma(2, 6, n_t)
    effect = ab.means(control=c, treatment=t, confidence=confidence)
    expected = scipy.stats.ttest_ind_from_stats(
        t.mean(), t.std(ddof=1), n_t, c.mean(), c.std(ddof=1), n_c, equal_var=False
    )  # fmt: skip
    assert effect.p == pytest.approx(expected.pvalue, rel=1e-10)
    compared = weightstats.CompareMeans(weightstats.DescrStatsW(t), weightstats.DescrStatsW(c))
    interval = compared.tconfint_diff(1 - confidence, usevar="unequal")
    assert (effect.difference.low, effect.difference.high) == pytest.approx(interval, rel=1e-9)
    # The lift, about the gradient of t/c.
    gradient = np.array([-t.mean() / c.mean() ** 2, 1 / c.mean()])
    se = math.sqrt(gradient @ np.diag([c.var(ddof=1) / n_c, t.var(ddof=1) / n_t]) @ gradient)
    critical = (interval[1] - interval[0]) / 2 / math.sqrt(c.var(ddof=1) / n_c + t.var(ddof=1) / n_t)
    assert effect.relative.high - effect.relative.value == pytest.approx(critical * se, rel=1e-9)
    assert (effect.control.value, effect.control.sd) == pytest.approx((c.mean(), c.std(ddof=1)))


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    for call in (
        lambda: ab.proportions(control=(1, 10), treatment=(2, 10)),
        lambda: ab.sample_size(baseline=0.03, lift=0.05),
        lambda: ab.sample_ratio(1, 1),
    ):
        with pytest.raises(ImportError, match=r"A/B arithmetic needs scipy: pip install '[a-z-]+\[offline\]'"):
            call()


def test_the_bootstrap_is_scipys():
    c, t = revenue(700, 0.2, 1), revenue(500, 0.25, 2)
    effect = ab.means(control=c, treatment=t, interval="bootstrap", resamples=20_000, seed=3)
    for interval, statistic in (
        (effect.difference, lambda c, t, axis: t.mean(axis) - c.mean(axis)),
        (effect.relative, lambda c, t, axis: t.mean(axis) / c.mean(axis) - 1),
    ):
        expected = scipy.stats.bootstrap(
            (c, t), statistic, n_resamples=20_000, method="percentile", vectorized=True, batch=500,
            rng=np.random.default_rng(4),
        ).confidence_interval  # fmt: skip
        width = expected.high - expected.low
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.03 * width)
    again = ab.means(control=c, treatment=t, interval="bootstrap", resamples=20_000, seed=3)
    assert again == effect and again != ab.means(control=c, treatment=t, interval="bootstrap", resamples=20_000, seed=4)
    assert effect.p == ab.means(control=c, treatment=t).p


def test_resamples_in_blocks_and_alone(monkeypatch):
    x = revenue(50, 0.5, 0)
    whole = arithmetic._resampled_means(x, 30, np.random.default_rng(0))
    monkeypatch.setattr(arithmetic, "_CELLS", 100)
    assert np.array_equal(arithmetic._resampled_means(x, 30, np.random.default_rng(0)), whole)
    assert np.array_equal(arithmetic._resampled_means(np.ones(3), 1, np.random.default_rng(0)), [1.0])
    same = ab.means(control=x, treatment=x, interval="bootstrap", resamples=100)
    assert same.difference.low < 0 < same.difference.high  # the arms are drawn independently


def test_ratio_of_one_impression_each_is_a_proportion_and_of_groups_is_wider():
    c, t = (np.random.default_rng(s).random(2000) < share for s, share in ((0, 0.1), (1, 0.13)))
    effect = ab.ratio(control=(c, np.ones(2000)), treatment=(t, np.ones(2000)))
    plain = ab.proportions(control=c, treatment=t)
    correction = math.sqrt(2000 / 1999)  # ddof
    assert effect.relative.high - effect.relative.value == pytest.approx(
        correction * (plain.relative.high - plain.relative.value)
    )
    # Each visitor ten times over is no more visitors.
    tenfold = ab.ratio(control=(10 * c, np.full(2000, 10)), treatment=(10 * t, np.full(2000, 10)))
    assert tenfold.p == pytest.approx(effect.p) and tenfold.relative.low == pytest.approx(effect.relative.low)


def test_ratio_beside_the_jackknife():
    """An independent estimate of the variance of a ratio: leave one visitor out."""
    c, t = clicks(900, 0.05, 0), clicks(1100, 0.06, 1)
    effect = ab.ratio(control=c, treatment=t)
    variance = 0.0
    for x, y in (c, t):
        left_out = (x.sum() - x) / (y.sum() - y)
        variance += (len(x) - 1) / len(x) * ((left_out - left_out.mean()) ** 2).sum()
    half = scipy.stats.norm.ppf(0.975) * math.sqrt(variance)
    assert effect.difference.high - effect.difference.value == pytest.approx(half, rel=0.02)
    assert effect.control.value == c[0].sum() / c[1].sum()


def coverage(intervals, truth):
    """Share of intervals that hold the truth."""
    return np.mean([i.low <= truth <= i.high for i in intervals])


def test_intervals_cover_what_they_say():
    """Of many made-up tests 95 % of intervals hold the true lift: between 93 and 97, about three standard errors."""
    random = np.random.default_rng(5)
    tests = 1000
    bought = zip(random.binomial(4000, 0.05, tests).tolist(), random.binomial(5000, 0.06, tests).tolist())
    found = [ab.proportions(control=(c, 4000), treatment=(t, 5000)) for c, t in bought]
    assert 0.93 < coverage([f.difference for f in found], 0.01) < 0.97
    assert 0.93 < coverage([f.relative for f in found], 0.2) < 0.97
    found = [ab.ratio(control=clicks(800, 0.1, i), treatment=clicks(800, 0.12, tests + i)) for i in range(tests)]
    assert 0.93 < coverage([f.difference for f in found], 0.02) < 0.97
    assert 0.93 < coverage([f.relative for f in found], 0.2) < 0.97
    truth = math.exp(3.5 + 0.9**2 / 2)
    arms = [(revenue(1500, 0.2, i), revenue(1500, 0.22, tests + i)) for i in range(400)]
    for interval in ("welch", "bootstrap"):
        found = [ab.means(control=c, treatment=t, interval=interval, resamples=400) for c, t in arms]
        assert 0.915 < coverage([f.difference for f in found], 0.02 * truth) < 0.98  # 400 tests
        assert 0.915 < coverage([f.relative for f in found], 0.1) < 0.98
    # Naive binomial intervals, which take impressions for independent, would not do.
    pooled = [
        ab.proportions(**{arm: tuple(int(v.sum()) for v in clicks(800, 0.1, seed)) for arm, seed in
                          (("control", i), ("treatment", tests + i))})
        for i in range(300)
    ]  # fmt: skip
    assert coverage([f.difference for f in pooled], 0.0) < 0.9


@pytest.mark.parametrize("ratio", [1, 0.25, 3])
@pytest.mark.parametrize(("baseline", "lift"), [(0.03, 0.05), (0.4, -0.1), (0.001, 2)])
def test_sample_size_of_proportions(baseline, lift, ratio):
    size = ab.sample_size(baseline=baseline, lift=lift, power=0.9, alpha=0.01, ratio=ratio)
    found = proportion.power_proportions_2indep(
        # statsmodels' ratio and nobs1 are of its first sample, whose share is prop2 + diff.
        baseline * lift, baseline, size.control * ratio, ratio=1 / ratio, alpha=0.01, return_results=False
    )  # fmt: skip
    assert found == pytest.approx(0.9, abs=2e-3)
    assert size.treatment == math.ceil(size.control * ratio) and size.visitors == size.control + size.treatment


def test_sample_size_is_enough_and_no_more():
    """The power that is asked for is had by the test that this module makes."""
    size = ab.sample_size(baseline=0.1, lift=0.2)
    random = np.random.default_rng(6)
    shown = [
        ab.proportions(control=(int(random.binomial(size.control, 0.1)), size.control),
                       treatment=(int(random.binomial(size.treatment, 0.12)), size.treatment)).verdict
        for _ in range(2000)
    ]  # fmt: skip
    assert 0.77 < shown.count("higher") / len(shown) < 0.83
    # statsmodels' NormalIndPower takes Cohen's arcsine effect size: another approximation, about 1 % apart here.
    other = power.NormalIndPower().solve_power(proportion.proportion_effectsize(0.12, 0.1), power=0.8, alpha=0.05)
    assert size.control == pytest.approx(other, rel=0.01)


@pytest.mark.parametrize("ratio", [1, 0.5, 4])
def test_sample_size_of_means(ratio):
    size = ab.sample_size(mean=2.0, sd=15.0, lift=0.1, ratio=ratio)
    expected = power.NormalIndPower().solve_power(0.2 / 15, power=0.8, alpha=0.05, ratio=ratio)
    assert size.control == math.ceil(expected)
    with_t = power.tt_ind_solve_power(0.2 / 15, power=0.8, alpha=0.05, ratio=ratio)
    assert size.control == pytest.approx(with_t, abs=3)  # Student's t asks for a visitor or two more
    assert ab.sample_size(mean=2.0, sd=15.0, lift=-0.1, ratio=ratio).control == size.control


@pytest.mark.parametrize("of", [{"baseline": 0.03}, {"mean": 2.0, "sd": 15.0}, {"baseline": 0.97}])
@pytest.mark.parametrize("ratio", [1, 0.3])
def test_detectable_lift_is_the_inverse(of, ratio):
    size = ab.sample_size(lift=0.02, ratio=ratio, **of)
    found = ab.detectable_lift(visitors=size.control, ratio=ratio, **of)
    assert found.lift == pytest.approx(0.02, rel=1e-3) and found.lift <= 0.02
    assert found.control == size.control
    assert ab.sample_size(lift=found.lift, ratio=ratio, **of).control == size.control


def test_duration():
    size = ab.sample_size(baseline=0.03, lift=0.05)
    took = ab.duration(size, visitors_per_day=20_000)
    assert (took.days, took.weeks) == (math.ceil(2 * 207_938 / 20_000), 3) and took.size == size
    assert ab.duration(size, visitors_per_day=20_000, share=0.1).days == math.ceil(2 * 207_938 / 2000)
    assert ab.duration(size, visitors_per_day=size.visitors).days == 1
    assert "21 days" in repr(took) and "3 whole weeks" in repr(took)


@pytest.mark.parametrize(
    ("counts", "expected"), [((50_000, 49_200), 0.5), ((900, 130), 0.1), ((3, 0), 0.5), ((7, 7), 0.5)]
)
def test_sample_ratio(counts, expected):
    found = ab.sample_ratio(*counts, expected=expected)
    planned = sum(counts) * np.array([1 - expected, expected])
    chi = scipy.stats.chisquare(counts, planned)
    assert (found.chi_square, found.p) == pytest.approx((chi.statistic, chi.pvalue), rel=1e-12)
    assert found.mismatch == (found.p < 0.001)
    assert ("mismatch" if found.mismatch else "as planned") in repr(found)


def test_a_split_as_planned_is_rarely_called_a_mismatch():
    treated = np.random.default_rng(7).binomial(10_000, 0.5, 5000)
    wrong = [ab.sample_ratio(10_000 - int(t), int(t), alpha=0.05).mismatch for t in treated]
    assert 0.04 < np.mean(wrong) < 0.06
    assert not ab.sample_ratio(0, 1).mismatch


def test_tables_of_every_kind_and_rows_of_events():
    c, t = clicks(300, 0.1, 0), clicks(200, 0.1, 1)
    expected = ab.ratio(control=c, treatment=t)
    tables = [dict(zip(("clicks", "impressions"), arm)) for arm in (c, t)]
    for kind in (dict, pd.DataFrame, pa.table):
        assert ab.ratio(control=kind(tables[0]), treatment=kind(tables[1])) == expected
    events = []  # an event per impression, shuffled
    for x, y in (c, t):
        visitor = np.repeat(np.arange(len(y)), y.astype(int))
        within = np.arange(len(visitor)) - np.repeat(np.cumsum(y) - y, y.astype(int))
        order = np.random.default_rng(2).permutation(len(visitor))
        events.append({"who": visitor[order], "clicked": (within < x[visitor])[order], "shown": np.ones(len(visitor))})
    found = ab.ratio(
        control=events[0], treatment=events[1], numerator="clicked", denominator="shown", visitor="who"
    )  # fmt: skip
    assert found.relative == expected.relative and found.metric == "clicked/shown"
    series = ab.means(control=pd.Series(c[0]), treatment=pa.array(t[0]))
    assert series == ab.means(control=list(c[0]), treatment=t[0].tolist(), value="revenue")


def test_results_print_and_turn_into_json():
    effect = ab.proportions(control=(300, 10_000), treatment=(360, 10_000))
    assert effect.verdict == "higher"
    assert ab.proportions(control=(360, 10_000), treatment=(300, 10_000)).verdict == "lower"
    assert ab.proportions(control=(300, 10_000), treatment=(301, 10_000)).verdict == "no difference shown"
    assert json.loads(json.dumps(effect.to_dict()))["relative"]["value"] == pytest.approx(0.2)
    lines = repr(ab.means(control=revenue(900, 0.1, 0) * 1000, treatment=revenue(900, 0.1, 1) * 1000)).splitlines()
    assert lines[0].split() == ["revenue", "per", "visitor", "control", "treatment"] and len(lines) == 6
    nothing = ab.proportions(control=(0, 5), treatment=(0, 7))
    assert math.isnan(nothing.p) and nothing.verdict == "no difference shown" and math.isnan(nothing.relative.value)
    assert json.dumps(nothing.to_dict(), allow_nan=False)
    assert "no lift" in repr(nothing) and "nothing to test" in repr(nothing) and "below 10" in repr(nothing)
    constant = ab.means(control=[1, 1], treatment=[1, 1], interval="bootstrap", resamples=3)
    assert math.isnan(constant.p) and constant.difference.low == constant.difference.high == 0
    assert any("5 standard errors" in n for n in ab.means(control=[0, 0, 9], treatment=[1, 2, 3]).notes)
    rare = ab.means(control=[0.0, 0.0, 9.0], treatment=[1.0, 2.0, 3.0], interval="bootstrap", resamples=200)
    assert math.isnan(rare.relative.low) and rare.relative.value < 0 and "no interval of the lift" in repr(rare)
    refunds = ab.means(control=[-5.0, 1.0], treatment=[2.0, 3.0], interval="bootstrap", resamples=50)
    assert math.isnan(refunds.relative.low) and refunds.difference.low < refunds.difference.high
    assert "–" in repr(refunds)


ROWS = np.array([1.0, 0.0, 2.0])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: ab.proportions(control=(0, 0), treatment=(1, 2)), "proportions: control has no visitors"),
    (lambda: ab.proportions(control=(1, 2), treatment=(3, 2)), "treatment has 3 conversions of 2 visitors"),
    (lambda: ab.proportions(control=(-1, 2), treatment=(1, 2)), "control's conversions is -1"),
    (lambda: ab.proportions(control=(1, math.nan), treatment=(1, 2)), "control's visitors is nan"),
    (lambda: ab.proportions(control=(1, math.inf), treatment=(1, 2)), "control's visitors is inf"),
    (lambda: ab.proportions(control=(0.5, 2), treatment=(1, 2)), "conversions is 0.5, expected a whole number"),
    (lambda: ab.proportions(control=("1", 2), treatment=(1, 2)), "conversions is '1'"),
    (lambda: ab.proportions(control=[3, 100], treatment=(1, 2)), r"has 100 for .*\(conversions, visitors\)"),
    (lambda: ab.proportions(control=[0, -1], treatment=(1, 2)), "converted has -1.0 in row 1, expected .* of 0 or more"),
    (lambda: ab.proportions(control={"v": [1, 1], "converted": [1, -1]}, treatment=(1, 2), visitor="v"), "has -1.0 in"),
    (lambda: ab.proportions(control=(1, 2, 3), treatment=(1, 2)), r"expected \(conversions, visitors\)"),
    (lambda: ab.proportions(control=(1, 2), treatment=(1, 2), confidence=95), "confidence is 95, expected between 0"),
    (lambda: ab.means(control=[], treatment=ROWS), "means: control has no visitors"),
    (lambda: ab.means(control=[1], treatment=ROWS), "control has one visitor"),
    (lambda: ab.means(control=ROWS, treatment=[1, math.nan]), "treatment: revenue has nan in row 1"),
    (lambda: ab.means(control=ROWS, treatment=["a", "b"]), "treatment: revenue is not numeric"),
    (lambda: ab.means(control=ROWS, treatment=[[1, 2]]), r"has the shape \(1, 2\)"),
    (lambda: ab.means(control=ROWS, treatment={"price": ROWS}), "no column 'revenue' among price"),
    (lambda: ab.means(control=ROWS, treatment=ROWS, visitor="who"), "expected a table, as visitor is 'who'"),
    (lambda: ab.means(control=ROWS, treatment=ROWS, interval="bca"), "interval is 'bca'"),
    (lambda: ab.means(control=ROWS, treatment=ROWS, interval="bootstrap", resamples=0), "resamples is 0"),
    (lambda: ab.ratio(control=(ROWS, ROWS), treatment=(ROWS, ROWS[:2])), "treatment has 3 and 2 values"),
    (lambda: ab.ratio(control=(ROWS, -ROWS), treatment=(ROWS, ROWS)), "impressions is -2 for a visitor"),
    (lambda: ab.ratio(control=(ROWS, 0 * ROWS), treatment=(ROWS, ROWS)), "control: impressions is 0 for all visitors"),
    (lambda: ab.ratio(control=(ROWS,), treatment=(ROWS, ROWS)), "control has 1 arrays, expected clicks and impress"),
    (lambda: ab.sample_size(lift=0.1), "baseline is None, mean None, sd None"),
    (lambda: ab.sample_size(lift=0.1, mean=2.0), "expected baseline of a share, or mean and sd"),
    (lambda: ab.sample_size(lift=0.1, baseline=0.1, sd=1.0), "expected baseline of a share, or mean and sd"),
    (lambda: ab.sample_size(lift=0.1, mean=2.0, sd=0.0), "sd 0.0; expected both above 0"),
    (lambda: ab.sample_size(lift=0.0, baseline=0.1), "lift is 0.0"),
    (lambda: ab.sample_size(lift=2, baseline=0.5), "a share of 1.5"),
    (lambda: ab.sample_size(lift=-1.5, baseline=0.5), "a share of -0.25"),
    (lambda: ab.sample_size(lift=0.1, baseline=3), "baseline is 3, expected between 0 and 1"),
    (lambda: ab.sample_size(lift=0.1, baseline=0.1, power=0.01), "power is 0.01, expected more than alpha"),
    (lambda: ab.sample_size(lift=0.1, baseline=0.1, ratio=0), "ratio is 0"),
    (lambda: ab.detectable_lift(visitors=1, baseline=0.1), "visitors is 1"),
    (lambda: ab.detectable_lift(visitors=5, baseline=0.9), "5 visitors show no lift of 0.9 at all"),
    (lambda: ab.duration(1000, visitors_per_day=10), "duration: size is 1000, expected what sample_size returns"),
    (lambda: ab.duration(ab.sample_size(lift=0.1, baseline=0.1), visitors_per_day=0), "visitors_per_day is 0"),
    (lambda: ab.duration(ab.sample_size(lift=0.1, baseline=0.1), visitors_per_day=9, share=2), "share is 2"),
    (lambda: ab.sample_ratio(0, 0), "no visitors in either arm"),
    (lambda: ab.sample_ratio(-1, 5), "control is -1"),
    (lambda: ab.sample_ratio(1, 5, expected=1), "expected is 1"),
])  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
