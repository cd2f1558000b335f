"""Validation as its users meet it: policies, windows, files that are wrong, the page, and stamp validate."""

import dataclasses
import datetime
import gzip
import json
import pathlib
import subprocess
import sys

import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import stamp.data
from command_line import call
from made_clicks import DAY, FIRST, MAPPING, made_clicks
from raw_samples import SAMPLES, write_sample
from read_pages import check_accessible, check_self_contained
from stamp.data.sources.dates import date_of, day_of
from stamp.data.validation.figures import plot_volumes

NAMES = ", ".join(stamp.data.CHECKS)
GOOD = [
    {"check": "duplicates", "warn": 0.05, "stop": 0.3},
    {"check": "day_low", "stop": 0.8},
    {"check": "day_high", "warn": 1},
    {"check": "several_currencies", "pass": True},
    {"check": "hour_missing", "warn": 0, "stop": 0},
]
BAD = [
    ("bots", "is 'bots', expected an object"),
    ({"warn": 1}, f".check is None, expected one of {NAMES}"),
    ({"check": "bot", "warn": 1}, f".check is 'bot', expected one of {NAMES}"),
    ({"check": "bots"}, " has no bound, expected warn, stop or both, or pass"),
    ({"check": "bots", "warn": -1}, ".warn is -1, expected a number of 0 or more"),
    ({"check": "bots", "stop": "0.5"}, ".stop is '0.5', expected a number of 0 or more"),
    ({"check": "bots", "stop": True}, ".stop is True, expected a number of 0 or more"),
    ({"check": "bots", "pass": False}, ".pass is False, expected true"),
    ({"check": "bots", "pass": True, "warn": 1}, " has pass and warn: what passes has no bound"),
    ({"check": "bots", "warn": 0.1, "severity": "error"}, " has the key 'severity', expected some of check, warn, stop, pass"),
]  # fmt: skip


@pytest.fixture(scope="module")
def engine():
    with stamp.data.DuckDBEngine() as engine:
        yield engine


@pytest.fixture(scope="module")
def month():
    return made_clicks(seed=21, days=22, sessions=200, products=100)


def morning_after(made):
    return datetime.datetime.fromtimestamp((made.last + 1) * 86400 + 4 * 3600, datetime.timezone.utc)


@pytest.fixture(scope="module")
def broken(month):
    """A last day that stops (products are missing) and warns (a currency)."""
    made = month.copy()
    last = np.flatnonzero(made.on_last())
    made.columns["item_id"][last[:800:4]] = None
    made.columns["currency"][last[1:17:4]] = "CHF"
    return made


@pytest.fixture(scope="module")
def report(broken, engine):
    return stamp.data.validate(
        broken.table(), mapping=MAPPING, catalog=broken.catalog_table(), now=morning_after(broken), engine=engine,
        title="Clicks of <last> night", command="stamp validate --source clicks",
    )  # fmt: skip


class TestPolicy:
    @pytest.fixture
    def validator(self):
        schema = stamp.data.data_policy_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        return jsonschema.Draft202012Validator(schema)

    def test_the_schema_knows_the_checks(self, validator):
        assert validator.schema["$defs"]["check"]["enum"] == list(stamp.data.CHECKS)

    def test_good_ones(self, validator):
        for checks in ([rule] for rule in GOOD):
            validator.validate({"format": 1, "checks": checks})
        policy = stamp.data.DataPolicy.read({"format": 1, "checks": GOOD})
        assert [rule.to_dict() for rule in policy.rules] == GOOD
        assert (policy.rule("day_low").warn, policy.rule("day_low").stop) == (None, 0.8)
        bots = stamp.data.CHECKS["bots"]
        assert (policy.rule("bots").warn, policy.rule("bots").stop) == (bots.warn, bots.stop)

    @pytest.mark.parametrize("rule, said", BAD)
    def test_bad_ones(self, rule, said, validator):
        given = {"format": 1, "checks": [GOOD[0], rule]}
        with pytest.raises(ValueError) as error:
            stamp.data.DataPolicy.read(given)
        assert str(error.value) == f"policy: checks[1]{said}" or str(error.value) == f"policy: checks[1] {said}"
        assert not validator.is_valid(given)

    def test_what_the_schema_cannot_say(self):
        for rules, said in (
            (
                [{"check": "bots", "warn": 0.2, "stop": 0.1}],
                r"checks\[0\].stop is 0.1, expected no less than warn, 0.2",
            ),
            ([GOOD[0], GOOD[0]], r"checks\[1\].check is 'duplicates' a second time"),
        ):
            with pytest.raises(ValueError, match=said):
                stamp.data.DataPolicy.read({"format": 1, "checks": rules})

    def test_files(self, tmp_path):
        path = tmp_path / "policy.json"
        path.write_text(json.dumps({"format": 1, "checks": GOOD}))
        assert stamp.data.DataPolicy.read(path) == stamp.data.DataPolicy.read({"format": 1, "checks": GOOD})
        for text, said in (
            ("{", "not JSON"),
            ('{"format": 1, "format": 1}', "stands twice"),
            ('{"checks": []}', "format is None, expected 1"),
            ('{"format": 1, "checks": []}', "expected a list of at least one check"),
            ('{"format": 1, "checks": [], "bots": 1}', "has the key 'bots'"),
        ):
            path.write_text(text)
            with pytest.raises(ValueError, match="policy") as error:
                stamp.data.DataPolicy.read(path)
            assert said in str(error.value)

    def test_a_policy_decides(self, broken, engine, report):
        assert {f.check: f.severity for f in report.findings} == {"no_item": "error", "currency": "warning"}

        def judged(*rules):
            return stamp.data.validate(
                broken.table(), mapping=MAPPING, now=morning_after(broken), engine=engine,
                policy={"format": 1, "checks": list(rules)},
            )  # fmt: skip

        warned = judged({"check": "no_item", "warn": 0.01})
        assert warned.passed and {f.check: f.severity for f in warned.findings} == {
            "no_item": "warning", "currency": "warning",
        }  # fmt: skip
        assert warned.verdict.warnings == [f.sentence for f in warned.findings]
        passed = judged({"check": "no_item", "pass": True}, {"check": "currency", "pass": True})
        assert passed.passed and [f.severity for f in passed.findings] == ["info"]  # rows that are put aside are told
        stopped = judged({"check": "currency", "stop": 0})
        assert not stopped.passed and {f.check for f in stopped.findings if f.severity == "error"} == {
            "no_item",
            "currency",
        }


def test_what_a_report_says(report, broken):
    error, warning = report.findings
    last = date_of(broken.last)
    assert (error.check, error.day, error.column, error.severity) == ("no_item", last, None, "error")
    assert (warning.check, warning.day, warning.column) == ("currency", last, "currency")
    rows = int(broken.on_last().sum())
    assert error.value == 200 / rows and error.bound == 0.01
    assert error.sentence == f"{last}: Rows without a product are {200 / rows:.1%}, usually 0 %; it stops above 1.00 %.".replace("%,", " %,", 1)  # fmt: skip
    assert not report.passed and report.reasons == [error.sentence] and report.warnings == [warning.sentence]
    assert report.answer == "1 reason to stop, 1 warning: the clicks must not be prepared"
    given = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert given["passed"] is False and given["judged"] == report.judged and len(given["judged"]) == 22
    assert [finding["check"] for finding in given["findings"]] == ["no_item", "currency"]
    assert given["days"]["rows"][-1]["rows"] == rows and given["days"]["rows"][-1]["usable"] == rows - 200
    assert given["verdict"]["reasons"] == report.reasons and given["verdict"]["warnings"] == report.warnings
    outcomes = {check["check"]["check"]: check["outcome"] for check in given["verdict"]["checks"]}
    assert outcomes["no_item"] == "failed" and outcomes["currency"] == "warned" and outcomes["bots"] == "passed"
    assert "day_changed" not in outcomes  # there was no profile to hold days against
    assert repr(report).count("\n") == 3


def test_the_page(report):
    page = check_self_contained(report.html)
    check_accessible(page)
    tables = {table["caption"]: table["rows"] for table in page.tables}
    assert tables["Findings"][1][:2] == ["failed", "no_item"] and tables["Findings"][2][:2] == ["warned", "currency"]
    assert [row[1] for row in tables["Checks"][1:]] == list(stamp.data.CHECKS)
    assert "&lt;last&gt;" in report.html and "<last>" not in report.html
    assert "stamp validate --source clicks" in report.html
    assert len(page.all("figure")) == 4 and "Must not go on" in report.html


def test_the_band_of_the_figure(report):
    axes = plot_volumes(report.profile.days, report.judged).axes[0]
    assert axes.get_legend_handles_labels()[1] == ["rows: usual", "rows", "view", "cart", "order"]
    drawn = next(line for line in axes.lines if line.get_label() == "rows")
    assert drawn.get_ydata().tolist() == [day.rows for day in report.profile.days.values()]


def test_windows(month, engine):
    first, last = int(month.day.min()), month.last

    def judged(**options):
        made = stamp.data.validate(month.table(), mapping=MAPPING, engine=engine, **options)
        return {f.check: (f.severity, f.day) for f in made.findings if f.severity != "info"}, made

    after = date_of(last + 1)
    found, made = judged(now=morning_after(month), end=after, days=22)
    assert not found and made.judged == [date_of(day) for day in range(first, last + 1)]
    found, made = judged(now=morning_after(month), end=after, days=10)
    assert found == {"outside_window": ("error", None), "quarantined": ("error", None)}
    assert made.judged[0] == date_of(last - 9)
    found, _ = judged(end=date_of(last + 2), now=morning_after(month) + datetime.timedelta(days=5))
    assert found == {"day_missing": ("error", date_of(last + 1))}
    # Today is not over: it is neither judged nor missed; where nobody says what time it is, no day is expected.
    noon = datetime.datetime.fromtimestamp(last * 86400 + 12 * 3600, datetime.timezone.utc)
    early = month.copy()
    early.keep(early.columns["timestamp"] < last * DAY + 12 * 3_600_000_000)
    made = stamp.data.validate(early.table(), mapping=MAPPING, engine=engine, now=noon)
    assert not made.findings and made.judged[-1] == date_of(last - 1)
    assert judged()[0] == {} or month.last * 86400 > datetime.datetime.now().timestamp()
    found, _ = judged(now=morning_after(month) + datetime.timedelta(days=1))
    assert found == {"day_missing": ("error", date_of(last + 1))}


@pytest.mark.parametrize(
    "options, said",
    [
        ({"days": 5}, "validate: days is 5 without an end"),
        ({"end": "yesterday"}, "validate: end is 'yesterday', expected a day"),
        ({"end": "2026-11-01", "days": 0}, "validate: days is 0, expected a whole number of 1 or more"),
        ({"bot_events_a_day": 0}, "validate: bot_events_a_day is 0"),
        ({"policy": {"format": 3}}, "policy: "),
        ({"profile": "no/such/profile.json"}, "profile no/such/profile.json: No such file"),
        ({"profile": "memory://nowhere/profile.json"}, "profile memory://nowhere/profile.json"),
        ({"catalog": "no/such/items.csv"}, "no/such/items.csv"),
        ({"catalog": pa.table({"sku": ["1"]})}, "catalog: item_id is 'item_id', which is none of the columns sku"),
        ({"catalog": pa.table({"item_id": [1]})}, "catalog: 'item_id' is int64, product ids of the events are string"),
    ],
)
def test_bad_input(options, said, month, engine):
    with pytest.raises(ValueError) as error:
        stamp.data.validate(month.table(), mapping=MAPPING, engine=engine, **options)
    assert said in str(error.value)


def test_days_at_the_ends_of_a_source_may_be_cut(month, engine):
    """An old file begins and ends anywhere in a day; a night's file ends yesterday, and what lacks there is a fault."""
    made = month.copy()
    first, last = int(made.day.min()), made.last
    time = made.columns["timestamp"]
    made.keep((time > first * DAY + 15 * 3_600_000_000) & (time < last * DAY + 9 * 3_600_000_000))
    old = stamp.data.validate(
        made.table(), mapping=MAPPING, engine=engine, now=morning_after(month) + datetime.timedelta(900)
    )
    assert [(f.check, f.day) for f in old.findings] == [("day_missing", date_of(last + 1))]  # as now was said
    assert old.judged == [date_of(day) for day in range(first + 1, last)]
    assert len([note for note in old.notes if "is not judged" in note]) == 2
    night = stamp.data.validate(made.table(), mapping=MAPPING, engine=engine, now=morning_after(month))
    assert night.judged[-1] == date_of(last)
    assert {f.check for f in night.findings if f.severity == "error"} == {"day_low"}
    assert {f.day for f in night.findings} == {date_of(last)}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_format_is_looked_at(name, engine, tmp_path):
    sample = write_sample(name, tmp_path / "sample")
    report = stamp.data.validate(sample.source, engine=engine)
    assert sum(day.rows for day in report.profile.days.values()) + sum(report.profile.undated.values()) > 0
    check_self_contained(report.html)


def test_real_clicks_raise_no_error(real_data, engine):
    """Public logs of shops: what they warn of is there (a campaign's hour; kinds of events that nobody mapped)."""
    for name, warned in (
        ("retailrocket_week", {"hour_doubled"}), ("yoochoose_week", set()), ("jdata_demo", {"unknown_event_type"}),
    ):  # fmt: skip
        report = stamp.data.validate(real_data / name / "sessions.tsv.gz", engine=engine)
        assert report.passed and {f.check for f in report.findings if f.severity != "info"} == warned, report


def test_no_rows_and_rows_of_no_day(month, engine):
    empty = stamp.data.validate(month.table().slice(0, 0), mapping=MAPPING, engine=engine)
    assert [(f.check, f.severity) for f in empty.findings] == [("no_rows", "error")] and not empty.passed
    check_self_contained(empty.html)
    undated = month.table().set_column(2, "timestamp", pa.nulls(len(month.day), pa.int64()))
    found = stamp.data.validate(undated, mapping=MAPPING, engine=engine)
    assert {(f.check, f.severity) for f in found.findings} == {("undated", "error"), ("quarantined", "error")}
    check_self_contained(found.html)


def test_one_day_alone_is_judged_by_its_rows(month, engine):
    made = month.copy()
    made.keep(made.on_last())
    assert not stamp.data.validate(made.table(), mapping=MAPPING, now=morning_after(month), engine=engine).findings
    made.columns["visitor_id"][:30] = None
    found = stamp.data.validate(made.table(), mapping=MAPPING, now=morning_after(month), engine=engine)
    assert [(f.check, f.severity) for f in found.findings] == [("no_visitor", "error")]


def test_what_was_always_so_is_told_once_and_not_every_night(month, engine):
    made = month.copy()
    made.columns["visitor_id"][np.random.default_rng(0).random(len(made.day)) < 0.2] = None  # no consent
    options = {"mapping": MAPPING, "now": morning_after(month), "engine": engine}
    first = stamp.data.validate(made.table(), **options)
    assert {(f.check, f.severity) for f in first.findings if f.severity != "info"} == {("quarantined", "warning")}
    before = made.copy()
    before.keep(~before.on_last())
    profile = stamp.data.validate(before.table(), **options | {"now": None}).profile
    again = stamp.data.validate(made.table(), profile=profile, **options)
    assert again.judged == [date_of(month.last)] and again.passed


def test_a_shop_without_sessions_or_prices(month, engine):
    table = month.table().select(["visitor_id", "timestamp", "item_id"])
    mapping = stamp.data.EventMapping(visitor_id="visitor_id", item_id="item_id", time="timestamp", time_unit="us")
    report = stamp.data.validate(table, mapping=mapping, now=morning_after(month), engine=engine)
    assert not report.findings and report.profile.days[month.last].values == {}
    check_self_contained(report.html)


def test_visitors_and_products_without_each_other(month, engine):
    made = month.copy()
    last = made.on_last()
    visitors = np.unique(made.columns["visitor_id"][last].astype(str))
    lost = np.isin(made.columns["visitor_id"].astype(str), visitors[::5]) & last
    made.columns["item_id"][lost] = None
    found = stamp.data.validate(made.table(), mapping=MAPPING, now=morning_after(month), engine=engine)
    assert {"no_item", "visitors_without_items"} <= {f.check for f in found.findings}
    made = month.copy()
    products = np.unique(made.columns["item_id"].astype(str))
    made.columns["visitor_id"][np.isin(made.columns["item_id"].astype(str), products[::5]) & last] = None
    found = stamp.data.validate(made.table(), mapping=MAPPING, now=morning_after(month), engine=engine)
    assert {"no_visitor", "items_without_visitors"} <= {f.check for f in found.findings}


def test_a_profile_at_a_url(report):
    report.save(profile_path="memory://prepared/profile.json")
    assert stamp.data.Profile.read("memory://prepared/profile.json") == report.profile


def test_dates():
    assert date_of(FIRST) == "2026-10-01" and day_of("2026-10-01") == FIRST
    assert date_of(10**9) == "day 1000000000"


def run(*arguments, status):
    done = subprocess.run(
        [sys.executable, "-m", "stamp.cli", "validate", *map(str, arguments)], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done


def test_command(month, broken, tmp_path):
    clean, bad = tmp_path / "clean.parquet", tmp_path / "bad.parquet"
    for path, made in ((clean, month), (bad, broken)):
        pq.write_table(made.table(), path)
    pq.write_table(
        month.catalog_table().rename_columns(["sku", "category", "colour", "price"]), tmp_path / "items.parquet"
    )
    now = morning_after(month).isoformat().replace("+00:00", "Z")
    common = ["--catalog", tmp_path / "items.parquet", "--catalog-column", "item_id=sku", "--now", now]
    profile, page, found = (tmp_path / name for name in ("profile.json", "page.html", "found.json"))

    passed = run(
        "--source", clean, *common, "--out-profile", profile, "--out-html", page, "--out-json", found, status=0
    )
    about, answer = passed.stdout.splitlines()
    assert "22 days judged" in about and not passed.stderr
    assert answer == "0 reasons to stop, 0 warnings: the clicks may be prepared"
    text = page.read_text("utf-8")
    check_accessible(check_self_contained(text))
    assert str(tmp_path) not in text
    assert "stamp validate --source clean.parquet --catalog items.parquet --out-html page.html" in text
    assert json.loads(found.read_text("utf-8"))["passed"] is True

    # The next night: the profile is read, and written where it stood.
    again = call(
        "validate", "--source", clean, *common, "--profile", profile, "--out-profile", profile, "--json", status=0
    )
    assert json.loads(again.stdout)["judged"] == []

    failed = run("--source", bad, *common, status=1)
    assert failed.stderr.startswith(f"{date_of(month.last)}: Rows without a product are ")
    assert failed.stdout.splitlines()[2].startswith(f"warning: {date_of(month.last)}: rows in CHF")
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"format": 1, "checks": [{"check": "no_item", "warn": 0.001}]}))
    assert "2 warnings" in call("validate", "--source", bad, *common, "--policy", policy, status=0).stdout

    before = page.read_bytes()
    policy.write_text(json.dumps({"format": 1, "checks": [{"check": "no_item", "warn": -1}]}))
    for more, message in (
        (
            ["--source", bad, "--policy", policy, "--out-html", page],
            "stamp: policy.json: checks[0].warn is -1, expected",
        ),
        (["--source", tmp_path / "none.csv"], "none.csv"),
        (["--source", bad, "--now", "today"], "--now today: expected a time of ISO 8601"),
        (["--source", bad, "--out-html", bad], "validate: --out-html names the file of --source"),
        (["--source", bad, "--out-json", tmp_path], "it is a directory"),
        (["--source", bad, "--profile", policy], "profile"),
        (
            ["--source", bad, "--dataset", "shop.stamp"],
            "--dataset is an option of the engine bigquery, and this is duckdb",
        ),
        (["--source", "bigquery://shop.clicks.events_*"], "say where with --dataset PROJECT.DATASET"),
    ):
        assert message in call("validate", *more, status=2).stderr
    assert page.read_bytes() == before


def test_a_file_that_is_cut_off_and_types_that_are_mixed(month, tmp_path):
    whole = gzip.compress(b"visitor_id,item_id,timestamp\n" + b"v1,p1,2026-10-01T10:00:00Z\n" * 1000)
    (tmp_path / "clicks.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="clicks.csv.gz: the file is cut off"):
        stamp.data.validate(tmp_path / "clicks.csv.gz")
    numbers = month.table().set_column(3, "item_id", pa.array(month.columns["item_id"].astype(np.int64)))
    folder = pathlib.Path(tmp_path / "days")
    folder.mkdir()
    pq.write_table(month.table(), folder / "day1.parquet")
    pq.write_table(numbers, folder / "day2.parquet")
    with pytest.raises(ValueError, match="item_id") as error:
        stamp.data.validate(folder, mapping=MAPPING)
    assert "day1.parquet" in str(error.value) and "day2.parquet" in str(error.value)


def test_old_days_of_a_profile_change_nothing(month, engine):
    """A year's profile is judged by its last weeks: what was two years ago is not usual any more."""
    before = month.copy()
    before.keep(~before.on_last())
    options = {"mapping": MAPPING, "now": morning_after(month), "engine": engine}
    profile = stamp.data.validate(before.table(), **options | {"now": None}).profile
    example = profile.days[month.last - 7]
    old = {day: dataclasses.replace(example, rows=10**6) for day in range(month.last - 700, month.last - 200)}
    long = dataclasses.replace(profile, days={**old, **profile.days})
    found = [stamp.data.validate(month.table(), profile=each, **options) for each in (profile, long)]
    assert [each.findings for each in found] == [[], []]
    assert [each.judged for each in found] == [[date_of(month.last)]] * 2
    assert found[1].profile.days.keys() == old.keys() | found[0].profile.days.keys()
