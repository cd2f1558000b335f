"""Reports: what a policy is judged on beside brute force, the page as a reader's browser takes it, and stamp report."""

import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import stamp
from command_line import call
from read_pages import Page, check_accessible, check_self_contained
from stamp import offline
from stamp.base.figures import drawing
from stamp.base.pages import Figure, Section, render
from stamp.offline.reports.measured import MeasuredReplay


def of_hits(by_name, *, unit=None, k=1, zones=("page",)) -> offline.Replay:
    """A replay whose recommenders hit (row 1) or miss (row 0) the target of each question."""
    n = len(next(iter(by_name.values())))
    questions = offline.Questions(
        session=np.arange(n) if unit is None else unit, event=np.arange(n), anchor=np.zeros(n), target=np.ones(n),
        remaining=(np.arange(n + 1), np.ones(n)),
    )  # fmt: skip
    lists = {
        (name, zone): offline.Lists(rows=np.repeat(np.asarray(hits, int)[:, None], k, 1), latency=[0.001, 0.002, 0.003])
        for name, hits in by_name.items()
        for zone in zones
    }
    return offline.Replay(
        zones={zone: offline.Zone(name=zone, k=k) for zone in zones},
        questions=dict.fromkeys(zones, questions), lists=lists, item_ids=np.array([10, 11]),
    )  # fmt: skip


def judged(replay, *checks, **options):
    policy = offline.Policy.read({"format": 1, **options, "checks": list(checks)})
    return policy.judge(MeasuredReplay(replay, "candidate", resamples=2000, seed=1))


class TestMeasured:
    random = np.random.default_rng(5)
    unit = random.integers(0, 60, 300)  # of unequal sizes
    hits = {"candidate": random.random(300) < 0.5, "current": random.random(300) < 0.4}

    def brute_force(self, statistic, resamples=4000):
        random, units = np.random.default_rng(9), np.unique(self.unit)
        members = [np.flatnonzero(self.unit == unit) for unit in units]
        found = []
        for _ in range(resamples):
            chosen = np.concatenate([members[u] for u in random.integers(0, len(units), len(units))])
            found.append(statistic(*(self.hits[name][chosen].mean() for name in ("candidate", "current"))))
        return np.percentile(found, [2.5, 97.5])

    @pytest.mark.parametrize("check, statistic", [
        ({"at_least": 0}, lambda a, b: a),
        ({"no_worse_than": "current", "by": 0}, lambda a, b: a - b),
        ({"no_worse_than": "current", "by_percent": 0}, lambda a, b: a / b - 1),
    ], ids=["value", "difference", "relative"])  # fmt: skip
    def test_intervals_beside_brute_force(self, check, statistic):
        measured = MeasuredReplay(of_hits(self.hits, unit=self.unit), "candidate", resamples=4000, seed=1)
        asked = offline.Check(metric="hr@1", **check)
        found = (measured.difference if "no_worse_than" in check else measured.estimate)(asked, "page", 0.95)
        assert found.value == pytest.approx(statistic(self.hits["candidate"].mean(), self.hits["current"].mean()))
        low, high = self.brute_force(statistic)
        width = high - low
        assert found.low == pytest.approx(low, abs=0.05 * width) and found.high == pytest.approx(high, abs=0.05 * width)
        assert found.units == len(np.unique(self.unit))
        [judgement] = judged(of_hits(self.hits, unit=self.unit), {"metric": "hr@1", **check}).judgements
        assert judgement.bound == pytest.approx(low, abs=0.05 * width)

    def test_difference_is_that_of_compare(self):
        replay = of_hits(self.hits, unit=self.unit)
        [row] = offline.compare(replay, baseline="current", metrics=["hr@1"], resamples=2000, seed=1).rows
        [judgement] = judged(replay, {"metric": "hr@1", "no_worse_than": "current", "by": 0}).judgements
        assert (judgement.value, judgement.bound) == pytest.approx((row.difference, row.low))

    def test_as_good_passes_only_where_that_is_known(self):
        """Each hits what the other misses: no difference on average, with a standard error of 1 / √n."""
        for n, outcome in ((100, "failed"), (10_000, "passed")):
            odd = np.arange(n) % 2 == 1
            replay = of_hits({"candidate": odd, "current": ~odd})
            [judgement] = judged(replay, {"metric": "hr@1", "no_worse_than": "current", "by": 0.05}).judgements
            assert judgement.value == 0 and judgement.bound == pytest.approx(-1.96 / np.sqrt(n), rel=0.1)
            assert judgement.outcome == outcome

    def test_worse_fails_with_a_reason(self):
        hits = np.arange(1000) % 2 == 0
        worse = hits & (np.arange(1000) % 20 > 0)  # 0.45, not 0.5
        replay = of_hits({"candidate": worse, "current": hits})
        cases = [({"by": 0.1}, True), ({"by": 0.04}, False), ({"by_percent": 20}, True), ({"by_percent": 9}, False)]
        for lost, passes in cases:
            verdict = judged(replay, {"metric": "hr@1", "no_worse_than": "current", **lost})
            assert verdict.passed == passes and len(verdict.reasons) == (not passes)
        assert verdict.reasons[0].startswith("hr@1 in page differs from current by -10.00 % (between -")
        assert verdict.reasons[0].endswith("; it must be no worse than current by more than 9 %.")

    def test_what_has_no_interval(self):
        replay = of_hits({"candidate": [1] * 40, "current": [0] * 20 + [1] * 20})
        replay.lists["candidate", "page"].faults["unknown"] = 3
        verdict = judged(
            replay,
            {"metric": "coverage@1", "at_least": 0.5},
            {"metric": "coverage@1", "no_worse_than": "current", "by_percent": 49},
            {"metric": "latency_p50_ms", "at_most": 2},
            {"fault": "unknown", "at_most": 2},
        )
        values = [judgement.value for judgement in verdict.judgements]
        assert values == pytest.approx([0.5, -0.5, 2, 3]) == [judgement.bound for judgement in verdict.judgements]
        assert [judgement.outcome for judgement in verdict.judgements] == ["passed", "failed", "passed", "failed"]

    def test_without_anything_to_relate_to(self):
        """Nobody clicked what the other lists: its value, 0, can be neither gained on nor lost in per cent."""
        replay = of_hits({"candidate": [1, 0] * 50, "current": [0] * 100, "seldom": [0] * 99 + [1]})
        for name in ("current", "seldom"):
            [judgement] = judged(replay, {"metric": "hr@1", "no_worse_than": name, "by_percent": 1}).judgements
            assert judgement.outcome == "not judged" and "its interval has no ends" in judgement.sentence
            assert judged(replay, {"metric": "hr@1", "no_worse_than": name, "by": 0}).passed

    def test_weights(self):
        """Hits count by the weight of their target, whatever the questions."""
        events = {"session_id": np.repeat(np.arange(80), 2), "item_id": [10, 11] * 80}
        events["weight"] = np.arange(160) % 7 + 1.0
        sessions = stamp.Sessions.from_frame({**events, "page": np.where(np.arange(160) % 4 < 2, "a", "b")})
        hits = np.arange(80) % 3 == 0
        questions = offline.Questions(
            session=np.arange(80), event=np.arange(80) * 2 + 1, anchor=np.zeros(80), target=np.ones(80),
            remaining=(np.arange(81), np.ones(80)),
        )  # fmt: skip
        replay = offline.Replay(
            zones={"page": offline.Zone(name="page", k=1)}, questions={"page": questions}, sessions=sessions,
            lists={("candidate", "page"): offline.Lists(rows=hits[:, None].astype(int))}, item_ids=np.array([10, 11]),
        )  # fmt: skip
        weights = np.array(events["weight"])[1::2]
        for where in ({}, {"where": {"page": "a"}}):
            chosen = np.arange(80) % 2 == 0 if where else np.ones(80, bool)
            [judgement] = judged(replay, {"metric": "weighted_hr@1", "at_least": 0, **where}, min_units=2).judgements
            assert judgement.value == pytest.approx((hits * weights)[chosen].sum() / weights[chosen].sum())

    def test_where(self, shop):
        train, test = shop.sessions.split_last(0.1)
        popular = stamp.PopularityRecommender().fit(train)
        replay = offline.replay({"candidate": popular}, test, train=train)
        labels, names = replay.cut("popularity", "product page")
        lengths, kinds = replay.cut("session_length", "product page")
        hits = replay.values("hr", name="candidate", zone="product page", k=20)
        check = {"metric": "hr@20", "at_least": 0, "where": {"popularity": "popular", "session_length": kinds[-1]}}
        [judgement] = judged(replay, check, min_units=2).judgements
        chosen = (labels == names.index("popular")) & (lengths == len(kinds) - 1)
        assert 0 < chosen.sum() < len(chosen) and judgement.value == pytest.approx(hits[chosen].mean())
        reasons = judged(
            replay,
            {**check, "where": {"popularity": "poplar"}},
            {**check, "where": {"colour": "red"}},
            {"metric": "hr@20", "no_worse_than": "current", "by": 0},
            {"metric": "hr@21", "at_least": 0},
            {"metric": "revenue@20", "at_least": 0},
            {"metric": "hr@20", "at_least": 0, "zone": "home"},
        ).reasons
        told = ["there is no group 'poplar' of popularity among popular, ", "no 'colour'", "no recommender 'current'",
                "k is 21, expected 1 to 20", "revenue needs values of events", "there is no zone 'home'"]  # fmt: skip
        assert len(reasons) == len(told)
        for reason, expected in zip(reasons, told):
            assert "could not be judged: " in reason and expected in reason


@pytest.fixture(scope="module")
def release(shop, tmp_path_factory):
    """Files of a release: bundles of a good model and of one that learnt next to nothing, sessions, products."""
    folder = tmp_path_factory.mktemp("release")
    train, test = shop.sessions.split_last(0.2)
    for name, epochs in (("good", 4), ("bad", 1)):
        learnt = train if name == "good" else train.split_last(0.02)[1]
        model = stamp.StampRecommender(device="cpu", dim=16, epochs=epochs, batch_size=64)
        model.fit(learnt, progress=False).save(folder / name)
    for name, part in (("train", train), ("test", test)):
        rows = [(s, item) for s in range(len(part)) for item in part.session(s).tolist()]
        events = pd.DataFrame(rows, columns=["session_id", "item_id"]).assign(timestamp=part.timestamps)
        events.to_parquet(folder / f"{name}.parquet")
    products = pd.DataFrame({"item_id": train.item_ids})
    products["category"] = [f"category {i % 30}" for i in range(len(products))]
    products.to_csv(folder / "products.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def made(release):
    sessions, train = (stamp.Sessions.from_frame(release / f"{name}.parquet") for name in ("test", "train"))
    return offline.report(
        release / "good", sessions, current=release / "bad", train=train,
        products=stamp.Products.from_frame(release / "products.csv"), zones=[offline.product_page(), offline.home(k=5)],
        baselines={"popularity": stamp.PopularityRecommender().fit(train)},
        policy={"format": 1, "checks": [
            {"metric": "hr@5", "no_worse_than": "current", "by": 0.01},
            {"metric": "hr@5", "zone": "home", "at_least": 0.99},
            {"fault": "unknown", "at_most": 0},
        ]},
    )  # fmt: skip


def test_report(made):
    assert not made.passed and len(made.reasons) == 1
    assert made.reasons[0].startswith("hr@5 in home is 0.") and made.reasons[0].endswith("it must be at least 0.99.")
    assert [j.outcome for j in made.verdict.judgements] == ["passed", "passed", "failed", "passed", "passed"]
    assert made.answer == "4 of 5 checks passed, the release must not go on"
    assert "must not go on" in repr(made) and made.reasons[0] in repr(made)
    assert made.comparison.baseline == "current"
    assert {row.zone for row in made.comparison.rows} == {"product page", "home"}
    assert made._repr_html_().startswith("<iframe srcdoc=")


def test_page(made):
    page = check_self_contained(made.html)
    check_accessible(page)
    assert made.html == made.html  # ids are not drawn by chance
    assert "Must not go on" in made.html and made.reasons[0] in made.html
    titles = ["Checks of the policy", "Beside current", "Metrics by zone", "By kind of question", "Calibration", "Faults", "Latency",
              "What was compared, on what", "Definitions", "To make this report again"]  # fmt: skip
    assert re.findall("<h2>([^<]*)</h2>", made.html) == titles
    assert len(page.all("svg")) == 4  # differences and kinds, of two zones
    assert "prefers-color-scheme: dark" in made.html and "@media print" in made.html


def colors_of(svg, names):
    """(name, colour) in the order drawn: of each name the nearest mark in its line, left or right."""
    texts = re.findall(r"<text [^>]*\((?:-0 )?([\d.]+) ([\d.]+)\)[^>]*>([^<]*)</text>", svg)
    marks = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*?(var\(--series-\d\))', svg)
    found = []
    for y, x, name in sorted((float(y), float(x), text) for x, y, text in texts if text in names):
        beside = [(abs(float(mark[0]) - x), mark[2]) for mark in marks if abs(float(mark[1]) + 3 - y) < 3]
        found.append((name, min(beside)[1]))
    return found


def test_a_recommender_keeps_its_colour_and_place(made):
    """Through all figures and tables of the page."""
    names = ["candidate", "current", "popularity"]
    drawings = re.findall("<svg .*?</svg>", made.html, re.DOTALL)
    assert len(drawings) == 4
    for svg in drawings:
        panels = svg.count(">difference from current<") or 1
        found = colors_of(svg, names)
        assert found == [(name, f"var(--series-{i})") for i, name in enumerate(names)] * panels
    given = made.to_dict()
    for table in (table for section in made.sections for table in given[section.key]):
        head = [name for name in list(table["rows"][0]) if name in names]
        said = list(dict.fromkeys(row["recommender"] for row in table["rows"] if "recommender" in row))
        assert head in ([], names) and said in ([], names, ["candidate", "popularity"])  # beside current


def test_json_is_what_the_page_shows(made, tmp_path):
    made.save(tmp_path / "report.html", tmp_path / "report.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    assert (tmp_path / "report.html").read_text("utf-8") == made.html
    given = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert given == made.to_dict()
    shown = iter(Page(made.html).tables)
    for section in made.sections:
        for table in given[section.key]:
            head, *rows = next(shown)["rows"]
            assert len(rows) == len(table["rows"]) > 0
            for cells, row in zip(rows, table["rows"]):
                assert head == list(row)
                for cell, value in zip(cells, row.values()):
                    check_shown(cell, value)
    assert next(shown, None) is None
    with pytest.raises(ValueError, match=r"^Report.save: give html_path, json_path or both$"):
        made.save()


def check_shown(cell, value):
    if not isinstance(value, (int, float)):
        assert cell == ("–" if value is None else value)
        return
    digits = len(cell.rstrip("%").partition(".")[2])
    number = float(cell.rstrip("%").replace(",", "")) / (100 if cell.endswith("%") else 1)
    assert number == pytest.approx(value, abs=0.501 * 10.0**-digits / (100 if cell.endswith("%") else 1))


def test_figures_are_those_of_the_replay(made):
    given, replay = made.to_dict(), made.replay
    for table, (zone, k) in zip(given["metrics"], (("product page", 20), ("home", 5))):
        rows = {row["metric"]: row for row in table["rows"]}
        for name in ("candidate", "current", "popularity"):
            for metric in ("hr", "mrr", "coverage", "novelty"):
                assert rows[f"{metric}@{k}"][name] == replay.aggregate(metric, name=name, zone=zone, k=k)
    best = {row["recommender"]: row for row in given["inputs"][0]["rows"]}
    assert best["candidate"]["what"] == "good" and best["popularity"]["what"] == "PopularityRecommender"
    assert [table["title"] for table in given["inputs"][1:]] == [
        "Products that the release changes", "Data", "Zones", given["inputs"][4]["title"],
    ]  # fmt: skip
    [train, test] = given["inputs"][2]["rows"]
    assert (train["sessions"], test["sessions"]) == ("train", "test") and test["number"] == len(replay.sessions)
    categories = given["cuts"][3]
    assert categories["title"] == "product page: hr@20 by category" and len(categories["rows"]) == 20
    asked = [row["questions"] for row in categories["rows"]]
    assert asked == sorted(asked, reverse=True) and categories["notes"] == ["20 of 30 kinds, those of most questions"]
    churn = given["comparison"][1]["rows"][0]
    assert churn["churn"] == replay.churn("candidate", "current", zone="product page", k=20)


def test_a_policy_that_passes_and_none(release, made):
    sessions = stamp.Sessions.from_frame(release / "test.parquet")
    plain = offline.report(release / "good", sessions, latency=0)
    assert plain.passed and plain.verdict is None and "Not judged" in plain.html and plain.comparison is None
    assert not {"checks", "comparison"} & set(plain.to_dict())
    assert plain.to_dict()["latency"][0]["rows"][0]["p99"] is None
    check_accessible(check_self_contained(plain.html))
    policy = {"format": 1, "checks": [{"metric": "hr@20", "at_least": 0}]}
    good = offline.report(release / "good", sessions, policy=policy)
    assert good.passed and not good.reasons and "May go on" in good.html


def test_what_data_say_is_text(tmp_path):
    """Names of products, kinds and files that would be markup, or mathematics to matplotlib."""
    bad = ["<script>alert(1)</script>", "a & b", '"><img src=x onerror=alert(2)>', r"$\undefined{$", "'q'", "$x^2$"]
    random = np.random.default_rng(2)
    events = {"session_id": np.repeat(np.arange(120), 4), "item_id": [bad[i] for i in random.integers(0, 6, 480)]}
    events["page"] = [bad[i] for i in random.integers(0, 6, 480)]
    sessions = stamp.Sessions.from_frame(events)
    products = stamp.Products.from_frame({"item_id": bad, "category": bad[::-1]})
    train, test = sessions.split_last(0.5)
    popular = stamp.PopularityRecommender().fit(train)
    zone = offline.product_page(name='<b>"zone"</b>', k=3)
    made = offline.report(
        popular, test, current=popular, baselines={"<script>b</script>": popular}, train=train, products=products,
        zones=[zone], cuts=["category", "page"], title="<script>t</script>", command="stamp report --bundle '<script>'",
        policy={"format": 1, "checks": [{"metric": "hr@3", "at_least": 1.5, "where": {"category": bad[0]}}]},
        leakage="report",
    )  # fmt: skip
    page = check_self_contained(made.html)
    assert "<script" not in made.html and "<b>" not in made.html
    cells = {cell for table in page.tables for row in table["rows"] for cell in row}
    assert {*bad, zone.name, "<script>b</script>"} <= cells
    assert len(page.all("svg")) == 2


def test_bad_input_before_any_work(release, monkeypatch):
    sessions, train = (stamp.Sessions.from_frame(release / f"{name}.parquet") for name in ("test", "train"))
    monkeypatch.setattr("stamp.offline.reports.report.replay", lambda *_, **__: pytest.fail("it was replayed"))

    def refused(match, **options):
        with pytest.raises(ValueError, match=match):
            offline.report(release / "good", options.pop("sessions", sessions), **options)

    refused("checks is None", policy={"format": 1})
    refused("a baseline is named 'current', expected another name", baselines={"current": release / "bad"})
    refused("metric is 'hits', expected one of", metrics=["hits@20"])
    refused("'novelty@20' needs the clicks of training", metrics=["novelty@20"])
    refused("'hr@9' is of lists longer than the 8 products", metrics=["hr@9"], zones=[offline.home(k=8)])
    refused("metrics is 'hr@20', expected a list", metrics="hr@20")
    refused("cut: no 'colour', expected one of", cuts=["colour"])
    refused("'cold' needs the clicks of training", cuts=["cold"])
    refused("sessions is list, expected stamp.Sessions", sessions=[["a", "b"]])
    refused("report: products is dict, expected stamp.Products", products={"item_id": ["a"]})
    refused(r"report: zones holds 'home', expected .* offline.home\(\)", zones="home")
    refused("report: k is 2.5, expected a whole number", k=[2.5])
    refused(r"report: embeddings is int, expected a StampRecommender or \(ids, vectors\)", embeddings=3)
    monkeypatch.undo()
    monkeypatch.setattr("stamp.offline.replays.replay.served_or_foreign", lambda *_: pytest.fail("it was read"))
    refused("(?s)overlaps with training.*say leakage='report'", sessions=train, train=train)


def test_embeddings_and_what_the_check_of_leakage_found(release):
    sessions, train = (stamp.Sessions.from_frame(release / f"{name}.parquet") for name in ("test", "train"))
    popular = stamp.PopularityRecommender().fit(train)
    options = {"current": popular, "metrics": ["ild_embeddings"], "resamples": 200, "cuts": ["position"]}
    with pytest.raises(ValueError, match="report: 'ild_embeddings' needs embeddings"):
        offline.report(popular, sessions, **options)
    with pytest.raises(ValueError, match="report: 'candidate' is a StampRecommender that is not fitted yet"):
        offline.report(stamp.StampRecommender(), sessions, **options)
    vectors = np.random.default_rng(0).normal(size=(len(train.item_ids), 4))
    part = sessions.split_last(0.1)[1]
    options["embeddings"] = (train.item_ids, vectors)
    made = offline.report(popular, part, train=sessions, leakage="report", **options)
    [row] = made.comparison.rows
    expected = made.replay.aggregate("ild_embeddings", name="candidate", zone="product page", k=20)
    assert row.value == pytest.approx(expected) and expected > 0
    [leakage] = [table for table in made.to_dict()["inputs"] if table["title"].startswith("Overlap")]
    assert leakage["title"] == made.replay.leakage.table().title
    assert "allowed" in {row["verdict"] for row in leakage["rows"]}


def test_drawings_take_the_colours_of_the_page():
    import matplotlib.figure

    def plot(label):
        figure = matplotlib.figure.Figure(figsize=(3, 2))
        axes = figure.subplots()
        axes.plot([0, 1], [1, 0], color="#0072B2", label=label)
        axes.axhline(0.5, color="0.55")
        axes.legend()
        return figure

    svg = drawing(plot, "#0072B2")
    assert svg == drawing(plot, label="#0072B2") and svg.startswith("<svg ")
    assert "xmlns" not in svg and "<style" not in svg
    assert "stroke: var(--series-0)" in svg and "stroke: var(--quiet)" in svg and "#000000" not in svg
    assert ">#0072B2</text>" in svg  # what is written stays
    figures = [Figure(svg, "one", "1"), Figure(svg, "two", "2")]
    check_self_contained(render("two", "", None, [Section(key="s", title="s", figures=figures)]))


def run(*arguments, status):
    result = subprocess.run(
        [sys.executable, "-m", "stamp.cli", "report", *map(str, arguments)], capture_output=True, text=True
    )
    assert result.returncode == status, result.stderr
    return result


def test_command(release, tmp_path):
    policy, zones, page = tmp_path / "policy.json", tmp_path / "zones.json", tmp_path / "report.html"
    check = {"metric": "hr@20", "no_worse_than": "current", "by_percent": 5, "zone": "product page"}
    policy.write_text(json.dumps({"format": 1, "checks": [check]}))
    zones.write_text(json.dumps(["product_page", {"like": "home", "name": "start", "k": 4}]))
    common = ["--sessions", release / "test.parquet", "--train", release / "train.parquet"]
    common += ["--policy", policy, "--out", page]

    passed = run("--bundle", release / "good", "--current", release / "bad", "--baseline", "popularity",
                 "--baseline", "item_knn", *common, "--products", release / "products.csv", "--zones", zones, "--quiet",
                 "--out-json", tmp_path / "report.json", status=0)  # fmt: skip
    assert passed.stdout == f"saved {page}: 1 of 1 checks passed, the release may go on\n" and not passed.stderr
    given = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert given["passed"] and [row["zone"] for row in given["inputs"][3]["rows"]] == ["product page", "start"]
    text = page.read_text("utf-8")
    check_accessible(check_self_contained(text))
    assert str(release) not in text and str(tmp_path) not in text
    assert "stamp report --bundle good --sessions test.parquet --current bad --train train.parquet" in text

    failed = run("--bundle", release / "bad", "--current", release / "good", *common, "--json", status=1)
    given = json.loads(failed.stdout)
    assert given["passed"] is False and failed.stderr == given["verdict"]["reasons"][0] + "\n"
    assert failed.stderr.startswith("hr@20 in product page differs from current by -")
    assert given["title"] in page.read_text("utf-8")

    before = page.read_bytes()
    policy.write_text(json.dumps({"format": 1, "checks": [{**check, "by_percent": -1}]}))
    wrong = call("report", "--bundle", release / "bad", *common, status=2)
    where = "stamp: policy.json: checks[0].by_percent is -1"
    assert wrong.stderr == f"{where}, expected a number of 0 or more and below 100\n"
    policy.unlink()
    bundle = ["--bundle", release / "good", "--sessions", release / "test.parquet", "--out", page]
    for more, message in (
        (["--policy", policy], "policy.json: No such file or directory"),
        (["--baseline", "popular"], "--baseline popular: expected one of popularity"),
        (["--baseline", "popularity"], "--baseline popularity: it learns from training sessions; give --train"),
        (["--baseline", f"x={release / 'bad'}", "--baseline", f"x={release / 'good'}"], "'x' is given twice"),
        (["--out", page / "page.html"], f"cannot write {page / 'page.html'}: "),
        (["--out-json", tmp_path], f"cannot write {tmp_path}: it is a directory"),
        (["--current", tmp_path], "holds no manifest.json"),
        (["--train", release / "test.parquet"], "stamp report: the test overlaps with training"),
        (["--train", release / "test.parquet"], "or say --leakage report and know why"),
    ):
        assert message in call("report", *bundle, *more, status=2).stderr
    for document, message in (
        ("{", "not JSON"),
        ("{}", "expected a JSON list of one zone or more"),
        ("[1]", "[0] is 1, expected a name or an object"),
        ('["shelf"]', "[0] is like 'shelf', expected one of product_page, home, cart"),
        ('["home", {"k": 0}]', "[1]: Zone 'product page': k is 0, expected a whole number of 1 or more"),
        ('[{"size": 3}]', "[0]: product page: unknown option 'size'"),
    ):
        zones.write_text(document)
        assert message in call("report", *bundle, "--zones", zones, status=2).stderr
    assert page.read_bytes() == before


def test_matplotlib_is_not_imported_before_it_is_needed():
    heavy = ("matplotlib", "scipy", "pandas")
    code = f"import sys, stamp.offline, stamp.cli; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
