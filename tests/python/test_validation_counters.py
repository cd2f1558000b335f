"""Counters of days against pandas, written apart; drift against SciPy; profiles of days merged."""

import collections
import datetime
import math

import numpy as np
import pandas as pd
import pytest
import scipy.spatial.distance
import scipy.special
import scipy.stats

import stamp.data
from made_clicks import MAPPING, made_clicks
from stamp.data.sources.faults import DAY, Limits
from stamp.data.sources.opening import open_events
from stamp.data.validation.bands import days_like, usual
from stamp.data.validation.counters import PRICE_EDGES
from stamp.data.validation.drift import LEAST_SHARE, deciles, in_deciles, js_distance, psi, psi_of_chance, usual_shares
from stamp.data.validation.measuring import measure
from stamp.data.validation.profile import Profile


@pytest.fixture(scope="module")
def engine():
    with stamp.data.DuckDBEngine() as engine:
        yield engine


def messy(seed=3):
    """Five days with every fault that a row can have, repeats, ids in all patterns, and a machine."""
    made = made_clicks(seed=seed, days=5, sessions=120, products=90)
    random = np.random.default_rng(seed)
    n = len(made.day)
    columns = made.columns

    def put(column, share, value):
        values = columns[column].astype(object)
        values[random.random(n) < share] = value
        columns[column] = values

    put("visitor_id", 0.02, None)
    put("item_id", 0.02, None)
    put("item_id", 0.03, "123.0")
    put("item_id", 0.02, "sku-9")
    put("item_id", 0.01, "y" * 600)
    put("event_type", 0.03, "wishlist")
    put("currency", 0.04, "CHF")
    put("currency", 0.02, None)
    put("price", 0.04, 0.0)
    put("price", 0.03, None)
    put("brand", 0.03, "b\ufffd")
    put("category", 0.03, None)
    put("timestamp", 0.01, None)
    columns["timestamp"] = np.array([
        None if time is None else time + (400 * DAY if random.random() < 0.01 else 0) for time in columns["timestamp"]
    ], object)  # fmt: skip
    again = random.choice(n, 40, replace=False)
    made.add(**{name: values[again] for name, values in columns.items()})
    some = random.choice(n, 700, replace=False)
    bot = {name: values[some] for name, values in columns.items()}
    start = int(made_clicks(seed=seed, days=5, sessions=120, products=90).day.max()) * DAY + 5 * 3_600_000_000
    bot["visitor_id"], bot["session_id"] = np.full(700, "bot", object), np.full(700, "bot 1", object)
    bot["timestamp"] = np.array([start + place * 3_000_000 for place in range(700)], object)
    bot["event_id"] = np.array([f"bot {place}" for place in range(700)], object)
    made.add(**bot)
    return made


def limits_of(made):
    times = [time for time in made.columns["timestamp"] if time is not None]
    now = sorted(times)[len(times) // 2] + 4 * DAY
    return Limits(now=int(now))


@pytest.fixture(scope="module")
def measured(engine):
    made = messy()
    opened = open_events(made.table(), engine, mapping=MAPPING)
    catalog = made.catalog_table()
    catalog = catalog.slice(10)
    import pyarrow as pa

    catalog = pa.concat_tables([catalog, catalog.slice(0, 3)])
    profile = measure(opened.events, engine, limits_of(made), catalog=engine.table(catalog))
    frame = pd.DataFrame(made.columns).astype(object)
    frame = frame.where(frame.notna(), None)
    return made, frame, catalog.to_pandas(), profile


def reason_of(row, limits):
    item, time = row.item_id, row.timestamp
    if all(value is None for value in row.drop(["quantity"])):
        return "malformed_row"
    if row.visitor_id is None:
        return "no_visitor"
    if item is not None and len(item) > 512:
        return "malformed_item"
    if item is None:
        return "no_item"
    if time is None:
        return "no_time"
    if time > limits.now + 300_000_000:
        return "future"
    if row.event_type not in ("view", "cart", "order"):
        return "unknown_event_type"
    return None


@pytest.fixture(scope="module")
def truth(measured):
    """The frame with day and reason, by pandas."""
    made, frame, _, _ = measured
    limits = limits_of(made)
    frame = frame.copy()
    frame["reason"] = [reason_of(row, limits) for _, row in frame.iterrows()]
    late = [time is None or time > limits.now + 300_000_000 for time in frame.timestamp]
    frame["day"] = [None if late_ else int(time) // DAY for time, late_ in zip(frame.timestamp, late)]
    return frame


def test_rows_faults_kinds_and_nulls(measured, truth):
    _, _, _, profile = measured
    assert sorted(profile.days) == sorted({int(day) for day in truth.day.dropna()})
    undated = truth[truth.day.isna()]
    for name, count in profile.undated.items():
        assert count == (undated.reason == name).sum(), name
    assert sum(profile.undated.values()) == len(undated) > 0
    for number, day in profile.days.items():
        rows = truth[truth.day == number]
        good = rows[rows.reason.isna()]
        assert (day.rows, day.usable) == (len(rows), len(good))
        assert {k: v for k, v in day.faults.items() if v} == rows.reason.value_counts().to_dict()
        assert day.kinds == {kind: (good.event_type == kind).sum() for kind in ("view", "cart", "remove", "order")}
        nulls = {"price_millionths": good.price.isna().sum()}
        nulls |= {name: good[name].isna().sum() for name in ("session_id", "quantity", "currency", "category", "brand", "event_id")}  # fmt: skip
        assert day.nulls == nulls
        assert day.not_positive == (good.price.dropna().astype(float) <= 0).sum() > 0
        assert day.unreadable == good.brand.fillna("").str.contains("\ufffd").sum() > 0
        items = good.item_id.astype(str)
        digits, decimal = items.str.fullmatch("[0-9]+"), items.str.fullmatch(r"[0-9]+\.[0-9]*")
        assert day.item_id == {"digits": digits.sum(), "decimal": decimal.sum(), "other": (~digits & ~decimal).sum()}
        hours = good.timestamp.astype("int64") % DAY // 3_600_000_000
        assert day.hours == [(hours == hour).sum() for hour in range(24)]


def test_visits(measured, truth):
    _, _, _, profile = measured
    seen_before = set()
    for number, day in profile.days.items():
        rows = truth[(truth.day == number) & truth.visitor_id.notna()]
        good = rows[rows.reason.isna()]
        sessions = good.groupby(["visitor_id", "session_id"]).size()
        bands = pd.cut(
            sessions, [0, 1, 2, 4, 8, 16, np.inf], labels=["1", "2", "3_to_4", "5_to_8", "9_to_16", "17_or_more"]
        )
        for name, count in bands.value_counts().items():
            assert day.visits[f"length__{name}"] == count
        assert day.visits["sessions"] == len(sessions)
        visitors = good.visitor_id.value_counts()
        assert day.visits["visitors"] == len(visitors)
        in_hours = good.groupby(["visitor_id", good.timestamp.astype("int64") // 3_600_000_000]).size()
        busiest = in_hours.groupby("visitor_id").max()
        bots = [visitor for visitor in visitors.index if visitors[visitor] > 1000 or busiest[visitor] > 600]
        assert (day.visits["bots"], day.visits["bot_rows"]) == (len(bots), visitors[bots].sum())
        if number - 1 in profile.days:
            assert day.visits["known"] == len(set(visitors.index) & seen_before)
        else:
            assert "known" not in day.visits
        seen_before = set(rows.visitor_id)
        viewed = set(good[good.event_type == "view"].visitor_id)
        orders = good[good.event_type == "order"]
        assert day.visits["orders"] == len(orders)
        assert day.visits["orders_without_view"] == (~orders.visitor_id.isin(viewed)).sum()
        without = rows.groupby("visitor_id").item_id.apply(lambda items: items.notna().sum() == 0)
        assert day.visits["without_items"] == without.sum()
        times = good.groupby(["visitor_id", "session_id"]).timestamp.agg(["size", "nunique"])
        assert day.visits["several"] == (times["size"] > 1).sum()
        assert day.visits["tied"] == ((times["size"] > 1) & (times["nunique"] == 1)).sum()
    assert any(day.visits["bots"] for day in profile.days.values())


def test_products_repeats_and_values(measured, truth):
    _, _, catalog, profile = measured
    seen_before = set()
    for number, day in profile.days.items():
        rows = truth[truth.day == number]
        good = rows[rows.reason.isna()]
        counts = good.item_id.value_counts()
        assert day.products["products"] == len(counts)
        assert day.products["squares"] == (counts**2).sum()
        assert day.products["top_rows"] == counts.max()
        known = day.products.get("known_rows")
        assert known == (good.item_id.isin(seen_before).sum() if number - 1 in profile.days else None)
        seen_before = set(rows.item_id.dropna())
        ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        assert day.top == sorted(item for item, _ in ranked[:100])
        same = good.duplicated(["visitor_id", "timestamp", "item_id", "event_type"])
        by_id = good[~same].duplicated(["item_id", "event_id"])
        assert day.repeats == same.sum() + by_id.sum()
        for column in ("currency", "category", "brand"):
            assert day.values.get(column, {}) == rows[column].dropna().value_counts().to_dict()
        prices = rows.price.dropna().astype(float)
        bands = np.searchsorted(PRICE_EDGES, (prices[prices > 0] * 1e6).round().astype("int64"), side="right")
        assert day.values["price"] == {str(band): n for band, n in zip(*np.unique(bands, return_counts=True))}
        assert day.unlisted == (~good.item_id.isin(set(catalog.item_id))).sum() > 0
    spans = truth[truth.reason.isna()].groupby(["visitor_id", "session_id"]).agg(last=("day", "max"))
    ended = spans["last"].value_counts()
    assert {number: day.spans["ended"] for number, day in profile.days.items()} == ended.reindex(list(profile.days), fill_value=0).to_dict()  # fmt: skip


def test_the_catalog(measured, truth):
    _, _, catalog, profile = measured
    clicked = set(truth[truth.reason.isna()].item_id)
    ids = set(catalog.item_id)
    assert (profile.catalog.rows, profile.catalog.products) == (len(catalog), len(ids)) == (len(ids) + 3, len(ids))
    assert profile.catalog.without_rows == len(ids - clicked)
    assert profile.catalog.attributes == {"category": len(ids), "colour": len(ids), "price": len(ids)}


def test_a_profile_is_its_days_merged(engine):
    made = made_clicks(seed=11, days=8, sessions=100, products=60)
    now = datetime.datetime.fromtimestamp((made.last + 1) * 86400 + 3600, datetime.timezone.utc)

    def profile_of(days):
        part = made.copy()
        part.keep(np.isin(part.day, list(days)))
        return stamp.data.validate(part.table(), mapping=MAPPING, now=now, engine=engine).profile

    first, last = int(made.day.min()), made.last
    merged = profile_of([first])
    for day in range(first + 1, last + 1):
        merged = merged.merged(profile_of([day - 1, day]))
    whole = profile_of(range(first, last + 1))
    assert {n: day.spans for n, day in merged.days.items()} == {n: day.spans for n, day in whole.days.items()}
    assert merged.to_dict() == whole.to_dict()


def test_a_profile_comes_back_from_its_file(measured, tmp_path):
    profile = measured[3]
    profile.save(tmp_path / "profile.json")
    assert Profile.read(tmp_path / "profile.json") == profile


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "Expecting property name"),
        ("[]", "its format is [], expected 1"),
        ('{"format": 2}', "its format is 2, expected 1"),
        ('{"format": 1}', "'catalog'"),
        (
            '{"format": 1, "item_ids": "string", "days": {"2026-11-01": {"rows": 1}}, "undated": {}, "catalog": null}',
            "missing",
        ),
    ],
)
def test_what_is_no_profile(text, said, tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="profile .*profile.json: ") as error:
        Profile.read(path)
    assert said in str(error.value)


def test_drift_is_scipys():
    random = np.random.default_rng(0)
    for groups in (2, 5, 40):
        usual_, found = random.gamma(0.4, size=groups) * 1000, random.gamma(0.4, size=groups) * 1000
        p, q = usual_ / usual_.sum(), found / found.sum()
        assert js_distance(usual_, found) == pytest.approx(scipy.spatial.distance.jensenshannon(p, q, base=2))
        p, q = np.maximum(p, LEAST_SHARE), np.maximum(q, LEAST_SHARE)
        # Both Kullback-Leibler divergences, of shares that no longer add up to one.
        kl = scipy.special.kl_div(p, q).sum() + scipy.special.kl_div(q, p).sum()
        assert psi(usual_, found) == pytest.approx(kl)
    assert psi(np.array([1, 1]), np.array([2, 2])) == js_distance(np.array([1, 1]), np.array([2, 2])) == 0
    assert js_distance(np.array([1, 0]), np.array([0, 1])) == 1


def test_psi_of_chance_is_chi_squared():
    for groups, events in ((3, 10_000), (24, 5_000), (50, 100_000)):
        exact = scipy.stats.chi2.ppf(0.999, groups - 1) * 8 / events
        assert psi_of_chance(groups, events) == pytest.approx(exact, rel=0.03)
    assert psi_of_chance(1, 100) == 0


def test_usual_shares_are_medians_and_one_broken_day_does_not_matter():
    day = {"a": 50, "b": 30, "c": 20}
    usual_ = usual_shares([day, day, {"z": 1000}, day])
    assert usual_["a"] == pytest.approx(0.5) and usual_["(other)"] == 0 and "z" not in usual_
    assert sum(usual_.values()) == pytest.approx(1)
    tiny = usual_shares([{"a": 9990, "b": 10}] * 3)
    assert set(tiny) == {"a", "(other)"} and tiny["(other)"] == pytest.approx(0.001)


def test_deciles_have_about_the_same_share():
    bands = {str(band): 1 / 40 for band in range(40)}
    cuts = deciles(bands)
    assert len(cuts) == 9
    assert list(in_deciles(bands, cuts).values()) == pytest.approx([0.1] * 10)
    assert in_deciles({"1000": 5, "-1": 2}, cuts)["9"] == 5


def test_days_like_a_day():
    days = {day: day for day in range(100, 140)}
    assert sorted(days_like(135, days)) == [107, 114, 121, 128]
    assert sorted(days_like(101, days)) == [108, 115, 122, 129]
    assert sorted(days_like(140, {138: 1, 139: 1})) == []
    few = {day: day for day in range(133, 139)}
    assert sorted(days_like(139, few)) == list(range(133, 139))


def test_what_is_usual_and_how_much_it_varies():
    random = np.random.default_rng(5)
    week = np.array([1, 2, 3, 4, 5, 6, 7]) * 100.0
    values = {day: float(week[day % 7] * random.normal(1, 0.1)) for day in range(1000, 1029)}
    found = usual(1028, values, ratio=True)
    assert found.days == 4
    assert found.median == np.median([values[day] for day in (1000, 1007, 1014, 1021)])
    assert 0.05 < found.spread < 0.25  # of 10 %, and what few days add to it
    assert found.bound(0.3) == max(0.3, 4 * found.spread) and found.bound(0.3, 0.5) == pytest.approx(2.4)
    quiet = usual(1028, {day: float(week[day % 7]) for day in range(1000, 1028)}, ratio=True)
    assert quiet.spread == 0 and quiet.bound(0.3) == 0.3
    assert usual(1028, {1027: 1.0, 1026: 2.0}) is None
    assert math.isclose(usual(1028, {**values, 1007: 1e9}).median, np.median([values[1000], 1e9, values[1014], values[1021]]))  # fmt: skip


def test_what_is_counted_is_what_preparation_puts_aside(measured, engine, tmp_path):
    made, _, _, profile = measured
    now = datetime.datetime.fromtimestamp(limits_of(made).now / 1e6, datetime.timezone.utc)
    prepared = stamp.data.prepare(
        made.table(), out=tmp_path / "prepared", mapping=MAPPING, now=now, engine=engine, progress=False, min_support=1,
        min_length=1,
    )  # fmt: skip
    counted = collections.Counter(profile.undated)
    for day in profile.days.values():
        counted.update(day.faults)
        counted.update({"duplicate": day.repeats, "bot": day.visits["bot_rows"]})
    assert {reason: rows for reason, rows in counted.items() if rows} == prepared.quarantined
    assert len(prepared.quarantined) == 8
