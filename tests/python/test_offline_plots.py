"""Figures hold what they say: values are read back from the artists."""

import numpy as np
import pytest

import stamp
from stamp import offline
from stamp.base.figures import styles
from stamp.offline.verdicts.figures import _apart

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")


class Last:
    """Recommends what was looked at last."""

    def recommend(self, items, *, k):
        return list(dict.fromkeys(reversed(list(items))))[:k]


@pytest.fixture(scope="module")
def asked(shop):
    train, test = shop.sessions.split_by_time("7D")
    models = {
        "popularity": stamp.PopularityRecommender().fit(train),
        "stamp": stamp.StampRecommender(device="cpu", dim=8, epochs=2).fit(train, progress=False),
        "last": Last(),
    }
    return offline.replay(models, test, train=train, zones=[offline.product_page(), offline.home(k=10)], latency=0)


def drawn(figure, path):
    figure.savefig(path)
    assert path.stat().st_size > 5000
    assert not matplotlib.pyplot.get_fignums()  # a notebook shows what is returned, once
    return figure


def texts(figure):
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def test_comparison(asked, tmp_path):
    result = offline.compare(asked, baseline="popularity", metrics=["hr@10", "coverage@10"], resamples=200)
    figure = drawn(result.plot(), tmp_path / "all.png")
    assert len(figure.axes) == 2 * 2 * 2
    figure = drawn(result.plot(zone="product page"), tmp_path / "page.png")
    left, right = figure.axes[:2]
    rows = {row.recommender: row for row in result.rows if (row.zone, row.metric) == ("product page", "hr@10")}
    points = {tuple(line.get_xydata()[0].tolist()): line for axes in (left, right) for line in axes.lines}
    spans = [list(line.get_xdata()) for line in (*left.lines, *right.lines) if len(line.get_xdata()) == 2]
    for place, name in enumerate(("stamp", "last"), 1):
        row = rows[name]
        assert (row.value, place) in points and (row.difference, place) in points
        assert [row.low, row.high] in spans and [row.value_low, row.value_high] in spans
        filled = points[row.difference, place].get_markerfacecolor() != "white"
        assert filled == (row.verdict != "no difference shown")
    for part in ("baseline", "better", "no interval", "95 % intervals", "Holm", "4 comparisons"):
        assert part in texts(figure)
    with pytest.raises(ValueError, match="zone is 'cart', expected one of 'product page', 'home'"):
        result.plot(zone="cart")


def test_tradeoff(asked, tmp_path):
    figure = drawn(
        offline.plot_tradeoff(asked, against=["popularity@20", "coverage@20", "gini@20"], zone="product page"),
        tmp_path / "tradeoff.png",
    )
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "popularity@20", "coverage@20  (more is better)", "gini@20  (less is better)"
    ]  # fmt: skip
    for axes, metric in zip(figure.axes, ("popularity", "coverage", "gini")):
        for line, name in zip(axes.lines, asked.names):
            expected = [asked.aggregate(m, name=name, zone="product page", k=20) for m in (metric, "hr")]
            np.testing.assert_allclose(line.get_xydata()[0], expected)
        assert {t.get_text() for t in axes.texts} == set(asked.names)


def test_by(asked, tmp_path):
    figure = drawn(offline.plot_by(asked, zone="product page"), tmp_path / "by.png")
    for axes, cut in zip(figure.axes, ("session_length", "popularity")):
        table = asked.by(cut, metric="hr", k=20, zone="product page")
        for j, container in enumerate(axes.containers):
            line, _, [bars] = container.lines
            means = [row[j - len(asked.names)] for row in table.rows]
            np.testing.assert_allclose(line.get_ydata(), means)
            for (low, high), mean in zip((bar[:, 1] for bar in bars.get_segments()), means):
                assert low <= mean + 1e-12 and high >= mean - 1e-12
        kinds = [f"{kind}\n{n:,}" for kind, n in zip([row[0] for row in table.rows], table.column("questions"))]
        assert [label.get_text() for label in axes.get_xticklabels()] == kinds
        bottom, top = axes.get_ylim()
        assert bottom == 0 and top > max(max(c.lines[0].get_ydata()) for c in axes.containers)
    few = offline.plot_by(asked, zone="product page", cuts="position", metric="mrr", names=["stamp"])
    assert len(few.axes) == 1 and len(few.axes[0].containers) == 1 and "mrr@20" in few.axes[0].get_ylabel()


def test_defaults_are_of_each_zones_own_length(asked):
    for zone, k in (("product page", 20), ("home", 10)):
        assert offline.plot_by(asked, zone=zone).axes[0].get_ylabel().startswith(f"hr@{k} ")
        assert offline.plot_tradeoff(asked, zone=zone).axes[1].get_xlabel().startswith(f"coverage@{k} ")
        assert offline.plot_coverage(asked, zone=zone).axes[0].get_ylabel().endswith(f"k = {k}")
    compared = {row.metric for row in offline.compare(asked, baseline="stamp").rows}
    assert compared == {"hr@20", "mrr@20", "hr@10", "mrr@10"}
    assert asked.by("cold").title == "hr@20, hr@10 by cold"


def test_dollars_in_names_are_no_mathematics(shop, tmp_path):
    """Matplotlib would refuse to draw the first and change the second."""
    train, test = shop.sessions.split_by_time("7D")
    popular = stamp.PopularityRecommender().fit(train)
    models = {r"$\undefined{$": popular, "$x^2$": stamp.SessionPopularityRecommender().fit(train)}
    run = offline.replay(models, test, train=train, latency=0)
    kinds = {item: ("$y$", r"$\frac$")[i % 2] for i, item in enumerate(run.item_ids.tolist())}
    for figure in (
        offline.compare(run, baseline="$x^2$", resamples=200).plot(), offline.plot_tradeoff(run),
        offline.plot_by(run, cuts=[kinds]), offline.plot_coverage(run),
    ):  # fmt: skip
        drawn(figure, tmp_path / "dollars.png")
        assert "$x^2$" in texts(figure) and r"$\undefined{$" in texts(figure)


def test_too_little_data_is_drawn(tmp_path):
    """One recommender lists nothing, so the mean popularity of its lists is not known."""
    sessions = stamp.Sessions.from_frame([["a", "b", "c", "a"]] * 30)

    class Nothing:
        def recommend(self, items, *, k):
            return []

    popular = stamp.PopularityRecommender().fit(sessions)
    run = offline.replay({"popular": popular, "last": Last(), "nothing": Nothing()}, sessions, train=sessions,
                         leakage="report", latency=0)  # fmt: skip
    result = offline.compare(run, baseline="popular", metrics=["popularity"], resamples=200)
    figure = drawn(result.plot(), tmp_path / "little.png")
    assert [row.verdict for row in result.rows] == ["different", "too little data"]
    assert "too little data" in texts(figure)


def test_by_many_kinds(asked, tmp_path):
    """The kinds with most questions are drawn, in their order."""
    kinds = {item: f"kind {i % 50:02}" for i, item in enumerate(asked.item_ids.tolist())}
    [axes] = drawn(offline.plot_by(asked, zone="product page", cuts=[kinds]), tmp_path / "many.png").axes
    table = asked.by(kinds, zone="product page")
    counts = np.array(table.column("questions"))
    shown = sorted(np.argsort(-counts, kind="stable")[:16].tolist())
    assert [label.get_text().split("\n")[0] for label in axes.get_xticklabels()] == [table.rows[i][0] for i in shown]
    for j, container in enumerate(axes.containers):
        expected = [table.rows[i][j - len(asked.names)] for i in shown]
        np.testing.assert_allclose(container.lines[0].get_ydata(), expected)
        assert container.lines[0].get_linestyle() == "None"  # kinds without an order are not joined


def test_coverage(asked, tmp_path):
    figure = drawn(offline.plot_coverage(asked, zone="home", k=5), tmp_path / "coverage.png")
    [axes] = figure.axes
    curves = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]
    for curve, name in zip(curves, asked.names):
        x, y = curve.get_data()
        assert x[-1] == pytest.approx(asked.aggregate("coverage", name=name, zone="home", k=5))
        assert y[-1] == pytest.approx(1) and (np.diff(y, 2) <= 1e-12).all()  # most recommended first: concave
        rows = asked.lists[name, "home"].rows[:, :5]
        assert y[0] == pytest.approx(np.bincount(rows[rows >= 0]).max() / (rows >= 0).sum())
    assert "popularity: " in texts(figure) and "of the catalog" in texts(figure)


def test_lists_of_nothing(asked, tmp_path):
    zone = asked.zones["home"]
    n = len(asked.questions["home"])
    lists = {
        (name, "home"): offline.Lists(rows=np.full((n, 10), row))
        for name, row in (("mute", -1), ("old", 3), ("new", 3))
    }
    replay = offline.Replay(
        zones={"home": zone}, questions={"home": asked.questions["home"]}, lists=lists, item_ids=asked.item_ids,
        clicks=asked.clicks, sessions=asked.sessions,
    )  # fmt: skip
    assert "mute: nothing" in texts(drawn(offline.plot_coverage(replay, k=10), tmp_path / "coverage.png"))
    drawn(offline.plot_tradeoff(replay, accuracy="hr", against="popularity"), tmp_path / "tradeoff.png")
    drawn(offline.plot_by(replay, metric="hr"), tmp_path / "by.png")
    drawn(offline.compare(replay, baseline="old", metrics=["hr", "coverage"]).plot(), tmp_path / "comparison.png")


def colors_of(figure):
    """By recommender, in the order drawn: as ticks and lines, labels of points, or the legend say."""
    axes, names = figure.axes[0], ("popularity", "stamp", "last")
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        lines = [handle[0] if isinstance(handle, tuple) else handle for handle in handles]
        found = [(label.split(":")[0], line.get_color()) for label, line in zip(labels, lines)]
        return [(name, color) for name, color in found if name in names]
    ticks = [label.get_text() for label in axes.get_yticklabels()]
    if set(ticks) <= set(names):
        marked = {(line.get_ydata()[0], line.get_color()) for line in axes.lines if line.get_marker() != "None"}
        return [(ticks[place], color) for place, color in sorted(marked)]
    return [(text.get_text(), text.get_color()) for text in axes.texts]


@pytest.mark.parametrize("baseline", ["popularity", "stamp", "last"])
def test_a_recommender_keeps_its_colour_and_place(asked, baseline):
    zone, names = "product page", ["popularity", "stamp", "last"]
    result = offline.compare(asked, baseline=baseline, metrics=["hr@10"], resamples=200)
    assert result.names == asked.names == names
    whole = [plot(asked, zone=zone) for plot in (offline.plot_by, offline.plot_coverage, offline.plot_tradeoff)]
    expected = list(zip(names, ["#0072b2", "#d55e00", "#009e73"]))
    for figure in (result.plot(), offline.plot_comparison(result, zone=zone), *whole):
        assert colors_of(figure) == expected
    for plot in (offline.plot_by, offline.plot_coverage, offline.plot_tradeoff):
        some = ["last", "stamp"]
        assert colors_of(plot(asked, zone=zone, names=some)) == [(name, dict(expected)[name]) for name in some]
    assert [line.get_color() for line in whole[2].axes[0].lines] == [color for _, color in expected]


def test_marks_differ():
    assert len(set(styles([str(i) for i in range(56)]).values())) == 56


def test_apart():
    places = np.array([0.5, 0.5, 0.1, 0.52, 0.9])
    moved = _apart(places, 0.05)
    assert (np.diff(np.sort(moved)) >= 0.05 - 1e-6).all() and moved[2] == 0.1 and moved[4] == 0.9
    assert _apart(np.array([]), 1).tolist() == [] and _apart(np.array([3.0]), 1).tolist() == [3]


def test_errors(asked):
    for plot, options, message in (
        (offline.plot_by, {}, "plot_by: there are several zones, say zone=…: one of 'product page', 'home'"),
        (offline.plot_coverage, {"zone": "cart"}, "plot_coverage: zone is 'cart'"),
        (offline.plot_coverage, {"zone": "home", "k": 20}, "plot_coverage: k is 20, expected 1 to 10"),
        (offline.plot_tradeoff, {"zone": "home", "accuracy": "luck"}, "plot_tradeoff: metric is 'luck'"),
        (offline.plot_tradeoff, {"zone": "home", "accuracy": "hr@20"}, "10 products of zone 'home'; write 'hr' for"),
        (offline.plot_tradeoff, {"zone": "home", "names": ["best"]}, r"names is \['best'\], expected some of"),
        (offline.plot_by, {"zone": "home", "metric": "coverage@10"}, "of all lists together"),
        (offline.plot_by, {"zone": "home", "metric": "hr@10", "confidence": 2}, "confidence is 2"),
        (offline.plot_by, {"zone": "home", "metric": "hr@10", "cuts": ["colour"]}, "no 'colour'"),
    ):
        with pytest.raises(ValueError, match=message):
            plot(asked, **options)
