"""A/B results by segment beside pandas, SciPy and statsmodels; whose segment is whose; what comes of many made-up tests."""

import functools
import json
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.stats
import statsmodels.stats.meta_analysis as meta
import statsmodels.stats.multitest as multitest
import statsmodels.stats.proportion as proportion

from stamp.offline import ab

SHARES = {"desktop": 0.6, "mobile": 0.3, "tablet": 0.1}


def arm(seed, visitors=6000, lifts=(0.0, 0.0, 0.0)):
    """A row a visitor."""
    random = np.random.default_rng(seed)
    device = random.choice(3, visitors, p=list(SHARES.values()))
    bought = random.random(visitors) < np.array([0.06, 0.03, 0.05])[device] * (1 + np.array(lifts)[device])
    return pd.DataFrame({
        "device": np.array(list(SHARES))[device], "converted": bought.astype(int),
        "revenue": bought * np.round(random.lognormal(3.5, 0.6, visitors), 2),
    })  # fmt: skip


def test_every_number_is_that_of_its_visitors_alone():
    control, treatment = arm(1), arm(2, lifts=(-0.1, 1.0, 0.0))
    found = ab.by_segment(
        control=control, treatment=treatment, segment="device", metrics=[ab.proportions, ab.means], confidence=0.9
    )
    expected = []
    for name, call in (("conversion", ab.proportions), ("revenue per visitor", ab.means)):
        for segment in (None, "desktop", "mobile", "tablet"):  # most visitors first
            c, t = (a if segment is None else a[a.device == segment] for a in (control, treatment))
            if call is ab.proportions:
                _, p = proportion.proportions_ztest([t.converted.sum(), c.converted.sum()], [len(t), len(c)])
            else:
                p = scipy.stats.ttest_ind(t.revenue, c.revenue, equal_var=False).pvalue
            effect = call(control=c, treatment=t, confidence=0.9)
            expected.append((name, segment, effect, p))
    corrected = iter(multitest.multipletests([p for *_, segment, _, p in expected if segment], method="holm")[1])
    for row, (name, segment, effect, p) in zip(found.rows, expected, strict=True):
        assert (row.metric, row.segment, row.effect) == (name, segment, effect)
        assert row.effect.p == pytest.approx(p, rel=1e-9)
        assert row.p_holm == pytest.approx(p if segment is None else next(corrected), rel=1e-9)
    assert [row.verdict for row in found.rows[:4]] == [
        found.rows[0].effect.verdict, "no difference shown", "higher", "no difference shown",
    ]  # fmt: skip
    for test, metric in zip(found.heterogeneity, (0, 4), strict=True):
        y, variance = [], []
        for row in found.rows[metric + 1 : metric + 4]:
            c, t = (getattr(row.effect, arm) for arm in ("control", "treatment"))
            y.append(math.log(t.value) - math.log(c.value))
            variance.append(sum((a.sd / a.value) ** 2 / a.visitors for a in (c, t)))
        combined = meta.combine_effects(np.array(y), np.array(variance))
        assert test.q == pytest.approx(combined.q) and test.freedom == 2
        assert test.p == pytest.approx(combined.test_homogeneity().pvalue)
    p = [test.p for test in found.heterogeneity]
    assert [test.p_holm for test in found.heterogeneity] == pytest.approx(multitest.multipletests(p, method="holm")[1])
    assert found.heterogeneity[0].differs and "conversion: the lift differs between segments" in repr(found)
    for segment, split in found.splits.items():
        c, t = (len(a) if segment is None else (a.device == segment).sum() for a in (control, treatment))
        assert (split.control, split.treatment) == (c, t)


def counted(**segments):
    """Rows of (conversions, visitors) of each segment."""
    visitors = [n for _, n in segments.values()]
    converted = np.concatenate([np.arange(n) < x for x, n in segments.values()])
    return {"device": np.repeat(list(segments), visitors), "converted": converted}


def test_a_case_worked_out_by_hand():
    """10 % to 15 % on desktop, 5 % to 5 % on mobile, 1,000 visitors each.

    var log(t/c) = 1/x_t − 1/n_t + 1/x_c − 1/n_c: 0.0146667 and 0.038. With two segments Q is the squared difference of
    log 1.5 = 0.405465 and 0 over the sum of both: 3.12155, whose p with one degree of freedom is 0.07726.
    """
    found = ab.by_segment(
        control=counted(desktop=(100, 1000), mobile=(50, 1000)),
        treatment=counted(desktop=(150, 1000), mobile=(50, 1000)),
        segment="device",
        metrics=[ab.proportions],
    )
    [test] = found.heterogeneity
    assert (test.q, test.p) == (pytest.approx(3.12155, abs=1e-4), pytest.approx(0.07726, abs=1e-5))
    assert test.p_holm == test.p and not test.differs
    # z of desktop: 0.05 / sqrt(0.125 · 0.875 · 0.002) = 3.3806, p = 0.000723; Holm's factor is 2.
    whole, desktop, mobile = found.rows
    assert desktop.p_holm == pytest.approx(2 * 0.000723, abs=2e-6) and desktop.verdict == "higher"
    assert mobile.p_holm == 1 and mobile.effect.relative.value == 0
    assert whole.effect.relative.value == pytest.approx(200 / 150 - 1) and whole.p_holm == whole.effect.p
    assert "go by the row of all visitors" in repr(found)


def test_a_visitor_who_changes_device_is_of_the_first():
    # v1 came by mobile first, though its row stands later; v3's first row names no device.
    control = pd.DataFrame({
        "who": ["v1", "v1", "v2", "v3", "v3", "v4"],
        "device": ["desktop", "mobile", "desktop", None, "mobile", None],
        "time": pd.to_datetime(["2024-05-02", "2024-05-01", "2024-05-01", "2024-05-01", "2024-05-03", "2024-05-01"]),
        "revenue": [10.0, 5.0, 2.0, 1.0, 3.0, 7.0],
    })  # fmt: skip
    treatment = control.assign(revenue=control.revenue + 1)
    calls = {"segment": "device", "visitor": "who", "metrics": [functools.partial(ab.means, value="revenue")]}
    for kind in (lambda frame: frame, pa.Table.from_pandas, pl.from_pandas, lambda frame: frame.to_dict("list")):
        found = ab.by_segment(control=kind(control), treatment=kind(treatment), time="time", **calls)
        values = {row.segment: row.effect and row.effect.control.value for row in found.rows}
        assert values == {None: 28 / 4, "mobile": (10 + 5 + 1 + 3) / 2, "desktop": None, "(unknown)": None}
        assert {s: (n.control, n.treatment) for s, n in found.splits.items()} == {
            None: (4, 4), "mobile": (2, 2), "desktop": (1, 1), "(unknown)": (1, 1),
        }  # fmt: skip
    lonely = found.rows[-1]
    assert lonely.verdict == "too little data" and math.isnan(lonely.p_holm) and "one visitor" in lonely.reason
    assert "one visitor" in repr(found)
    with pytest.raises(ValueError, match="control: device has several values for 1 visitors, 'desktop' and 'mobile' for "
                                         "who v1, and there is no column time= to say which came first"):  # fmt: skip
        ab.by_segment(control=control, treatment=treatment, **calls)
    at_once = control.assign(time=0)
    with pytest.raises(ValueError, match="for who v1, at their earliest time; expected one a visitor"):
        ab.by_segment(control=at_once, treatment=at_once, time="time", **calls)


def test_rows_of_events_are_rows_of_visitors():
    control, treatment = arm(3, 900), arm(4, 800)
    expected = ab.by_segment(control=control, treatment=treatment, segment="device", metrics=[ab.means])
    events = [
        pd.DataFrame({"who": np.tile(np.arange(len(a)), 2), "device": [*a.device, *a.device],
                      "revenue": [*(a.revenue - 1), *np.ones(len(a))]}).sample(frac=1, random_state=0)
        for a in (control, treatment)
    ]  # fmt: skip
    found = ab.by_segment(
        control=events[0], treatment=events[1], segment="device", metrics=[ab.means], visitor="who"
    )  # fmt: skip
    for row, other in zip(found.rows, expected.rows, strict=True):
        assert row.segment == other.segment and row.effect.control.visitors == other.effect.control.visitors
        assert row.effect.p == pytest.approx(other.effect.p) and row.p_holm == pytest.approx(other.p_holm)


def test_splits_are_checked_in_each_segment():
    """As many visitors in both arms, but the treatment has them come back by mobile."""
    control = counted(desktop=(30, 5000), mobile=(30, 5000))
    found = ab.by_segment(
        control=control, treatment=counted(desktop=(30, 4500), mobile=(30, 5500)), segment="device",
        metrics=[ab.proportions],
    )  # fmt: skip
    assert {name: split.mismatch for name, split in found.splits.items()} == {
        None: False, "mobile": True, "desktop": True,
    }  # fmt: skip
    assert found.splits["mobile"].alpha == 0.001 / 2 and found.splits[None].alpha == 0.001
    assert "mobile: 52.381 % of visitors are in treatment where 50.000 % were planned" in repr(found)
    tenth = ab.by_segment(
        control=control, treatment=counted(desktop=(3, 555), mobile=(3, 555)), segment="device",
        metrics=[ab.proportions], expected=0.1,
    )  # fmt: skip
    assert not any(split.mismatch for split in tenth.splits.values())


def test_segments_without_a_lift_have_no_part_in_the_heterogeneity():
    control = counted(desktop=(30, 300), mobile=(20, 300), watch=(0, 40))
    found = ab.by_segment(control=control, treatment=control, segment="device", metrics=[ab.proportions])
    assert found.heterogeneity[0].freedom == 1 and found.heterogeneity[0].p == 1
    assert [row.verdict for row in found.rows] == ["no difference shown"] * 3 + ["too little data"]
    alone = counted(desktop=(30, 300), watch=(0, 40))
    found = ab.by_segment(control=alone, treatment=alone, segment="device", metrics=[ab.proportions])
    assert math.isnan(found.heterogeneity[0].q) and not found.heterogeneity[0].differs
    assert "fewer than two segments have a lift" in repr(found)
    only_here = counted(desktop=(30, 300), fridge=(1, 2))
    found = ab.by_segment(control=alone, treatment=only_here, segment="device", metrics=[ab.proportions])
    reasons = {row.segment: row.reason for row in found.rows}
    assert "treatment has no visitors" in reasons["watch"] and "control has no visitors" in reasons["fridge"]
    assert json.dumps(found.to_dict(), allow_nan=False)
    table = found.table()
    assert table.column("segment") == ["all visitors", "desktop", "watch", "fridge"]
    assert table.column("visitors") == [642, 600, 40, 2] and table.to_json() and found._repr_html_()


def test_segments_of_any_type_are_texts():
    for values, names in (([True, False], ["False", "True"]), ([2, 1], ["1", "2"]), (["b", ""], ["(unknown)", "b"])):
        data = {"returning": np.repeat(values, 5), "converted": np.arange(10) % 2}
        found = ab.by_segment(control=data, treatment=data, segment="returning", metrics=[ab.proportions])
        assert [row.segment for row in found.rows] == [None, *names]


def test_segments_may_be_called_what_we_call_others():
    """A visitor of whom nothing is known and one whose segment is "(unknown)" are of one; "all visitors" is a segment."""
    data = {"device": ["(unknown)", None, "", "all visitors"] * 4, "converted": [1, 0] * 8}
    found = ab.by_segment(control=data, treatment=data, segment="device", metrics=[ab.proportions])
    sizes = {row.segment: found.splits[row.segment].control for row in found.rows}
    assert sizes == {None: 16, "(unknown)": 12, "all visitors": 4}
    splits = json.loads(json.dumps(found.to_dict()))["splits"]
    assert {split["segment"]: split["control"] for split in splits} == sizes


def test_levels_are_kept_over_many_made_up_tests():
    """Without a difference anywhere 5 % of tests show one in some segment, and 5 % a heterogeneity: 20 of 400, give or
    take three standard errors of 4.4."""
    random = np.random.default_rng(8)
    shares, tests, shown, differs = np.array([0.2, 0.1, 0.3, 0.15]), 400, 0, 0
    for _ in range(tests):
        arms = [counted(**{f"s{i}": (x, 1000) for i, x in enumerate(random.binomial(1000, shares))}) for _ in (0, 1)]
        found = ab.by_segment(control=arms[0], treatment=arms[1], segment="device", metrics=[ab.proportions])
        shown += any(row.verdict != "no difference shown" for row in found.rows[1:])
        differs += found.heterogeneity[0].differs
    assert 7 <= shown <= 33
    assert 7 <= differs <= 33


@pytest.mark.parametrize(("changed", "message"), [
    ({"metrics": []}, r"metrics is \[\], expected a list like \[proportions, means\]"),
    ({"metrics": ab.means}, "expected a list like"),
    ({"metrics": [ab.means, ab.means]}, "metrics has one twice: revenue per visitor, revenue per visitor"),
    ({"segment": "browser"}, "by_segment: control: no column 'browser' among device, converted, revenue"),
    ({"visitor": "who"}, "no column 'who'"),
    ({"time": "when"}, "time is 'when' without visitor"),
    ({"confidence": 95}, "by_segment: confidence is 95"),
    ({"expected": 2}, "expected is 2"),
    ({"control": (3, 100)}, "by_segment: control is tuple, expected a table with a row a visitor"),
    ({"metrics": [functools.partial(ab.means, value="margin")]}, "means: control: no column 'margin' among"),
])  # fmt: skip
def test_bad_input(changed, message):
    call = {"control": arm(0, 50), "treatment": arm(1, 50), "segment": "device", "metrics": [ab.means], **changed}
    with pytest.raises(ValueError, match=message):
        ab.by_segment(**call)
