"""Planted faults are found, each by its check, as bad as it is, and nothing else; clean months raise nothing."""

import datetime

import numpy as np
import pytest

import planted_drift  # noqa: F401, which plants into FAULTS, too
import stamp.data
from made_clicks import MAPPING, made_clicks
from planted_faults import FAULTS
from stamp.data.sources.dates import date_of

CLEAN = 7  # the seed of the month that faults are planted into
# Faults whose days say what is usual of other days, if the median of four were not there: read with the whole month.
IN_THE_MONTH = (
    "doubled_day", "ids_that_became_floats", "hours_in_another_zone", "prices_in_cents", "each_event_a_session",
)  # fmt: skip


@pytest.fixture(scope="module")
def engine():
    with stamp.data.DuckDBEngine() as engine:
        yield engine


@pytest.fixture(scope="module")
def month():
    return made_clicks(seed=CLEAN)


@pytest.fixture(scope="module")
def yesterday(month, engine):
    """The profile of all days but the last."""
    before = month.copy()
    before.keep(~before.on_last())
    return stamp.data.validate(before.table(), mapping=MAPPING, catalog=before.catalog_table(), engine=engine).profile


def morning_after(made):
    return datetime.datetime.fromtimestamp((made.last + 1) * 86400 + 4 * 3600, datetime.timezone.utc)


def planted(fault, month, *, whole):
    """The month with the fault, or its last three days."""
    made = month.copy()
    if not whole:
        made.keep(made.day >= made.last - 2)
    fault.plant(made, np.random.default_rng(1))
    return made


def not_implied(report, fault):
    return [
        f"{finding.check}: {finding.sentence}"
        for finding in report.findings
        if finding.severity != "info" and finding.check not in {fault.check, *fault.implied}
    ]


def test_there_are_forty_kinds_and_more():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 40
    # All but what the tests below and those of counters look at.
    others = {"no_rows", "quarantined", "visitors_without_items", "items_without_visitors", "single_event_sessions",
              "top_products", "several_currencies"}  # fmt: skip
    assert {fault.check for fault in FAULTS} | others == set(stamp.data.CHECKS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_and_no_other(fault, month, yesterday, engine):
    made = planted(fault, month, whole=fault.whole)
    report = stamp.data.validate(
        made.table(),
        mapping=MAPPING,
        catalog=made.catalog_table() if fault.catalog else None,
        profile=None if fault.whole else yesterday,
        now=morning_after(month),
        engine=engine,
    )
    found = [finding for finding in report.findings if finding.check == fault.check and finding.column == fault.column]
    assert [finding.severity for finding in found] == [fault.severity], report
    assert not not_implied(report, fault)
    day = {
        "missing_day_in_the_month": month.last - 9,
        "missing_days_in_the_month": month.last - 8,
        "day_that_lost_rows": month.last - 1,
    }.get(fault.name, month.last)
    assert found[0].day == (date_of(day) if fault.on_day else None)
    if fault.severity != "info":
        assert found[0].value > found[0].bound
        assert found[0].sentence in (report.reasons if fault.severity == "error" else report.warnings)
    implied = {finding.check for finding in report.findings if finding.severity == "error"} - {fault.check}
    assert report.passed == (fault.severity != "error" and not implied)


@pytest.mark.parametrize("name", IN_THE_MONTH)
def test_a_broken_day_does_not_make_others_unusual(name, month, engine):
    fault = next(fault for fault in FAULTS if fault.name == name)
    made = planted(fault, month, whole=True)
    report = stamp.data.validate(
        made.table(), mapping=MAPPING, catalog=made.catalog_table(), now=morning_after(month), engine=engine
    )
    assert any(finding.check == fault.check for finding in report.findings)
    assert not not_implied(report, fault)
    assert {finding.day for finding in report.findings if finding.severity != "info"} <= {date_of(month.last), None}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clean_months_raise_nothing(seed, engine):
    made = made_clicks(seed=seed)
    report = stamp.data.validate(
        made.table(), mapping=MAPPING, catalog=made.catalog_table(), now=morning_after(made), engine=engine
    )
    assert report.findings == [] and report.passed and report.verdict.warnings == []
    assert len(report.judged) == 35


@pytest.mark.parametrize("seed", [4, 5])
def test_clean_months_of_a_small_shop_raise_nothing(seed, engine):
    made = made_clicks(seed=seed, sessions=60, products=80)
    report = stamp.data.validate(
        made.table(), mapping=MAPPING, catalog=made.catalog_table(), now=morning_after(made), engine=engine
    )
    assert report.findings == [], report


def test_a_first_week_raises_nothing(engine):
    made = made_clicks(seed=6, days=7)
    report = stamp.data.validate(made.table(), mapping=MAPPING, now=morning_after(made), engine=engine)
    assert report.findings == [], report


def test_nights_one_after_the_other_raise_nothing(month, yesterday, engine):
    made = month.copy()
    made.keep(made.day >= made.last - 2)
    report = stamp.data.validate(
        made.table(), mapping=MAPPING, catalog=made.catalog_table(), profile=yesterday, now=morning_after(month), engine=engine
    )  # fmt: skip
    assert report.judged == [date_of(month.last)]
    assert report.findings == [] and report.passed


def test_days_of_rest_are_no_missing_days(engine):
    made = made_clicks(seed=8)
    made.keep(made.day % 7 != 3)  # closed on Sundays
    report = stamp.data.validate(made.table(), mapping=MAPPING, now=morning_after(made), engine=engine)
    first_weeks = {date_of(day) for day in range(int(made.day.min()), int(made.day.min()) + 21)}
    missing = {finding.day for finding in report.findings if finding.check == "day_missing"}
    assert missing <= first_weeks and {finding.check for finding in report.findings} <= {"day_missing"}
