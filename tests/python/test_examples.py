"""The scripts in examples/ run, on made-up data and on real."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

import stamp

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
DATA = pathlib.Path(os.environ.get("STAMP_DATA") or "/nothing")


def printed(example: str, out: pathlib.Path, *options: object) -> str:
    """What an example prints, in a folder of its own."""
    command = [sys.executable, EXAMPLES / example, "--out", out, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_made_up_shop(tmp_path):
    small = ("--products", 1000, "--sessions", 4000, "--clusters", 3, "--dim", 8, "--epochs", 1)
    said = printed("catalog.py", tmp_path / "shop", *small)
    assert "3 clusters" in said and "zones: ['inspiration', 'more_of_this', 'product_page']" in said
    assert "product_page  (anchor, cluster" in said
    again = printed("catalog.py", tmp_path / "shop", *small)  # nothing is trained anew
    assert "A model for each cluster" in again and again.count("ceiling") == said.count("ceiling")


@pytest.mark.skipif(not DATA.is_dir(), reason="STAMP_DATA names no folder of real data")
@pytest.mark.parametrize(
    "dataset, sessions, options",
    [
        ("retailrocket_week", "sessions.tsv.gz", ("--attribute", "category_id", "--clusters", 3)),
        (
            "eshop_clothing",
            "sessions.tsv.gz",
            ("--attribute", "main_category", "--clusters", 2, "--numbers", "price_usd"),
        ),
    ],
)
def test_real_data(tmp_path, dataset, sessions, options):
    files = ("--sessions-file", DATA / dataset / sessions, "--items-file", DATA / dataset / "items.tsv.gz")
    said = printed("catalog.py", tmp_path / dataset, *files, *options, "--dim", 8, "--epochs", 1)
    assert "requests/s" in said and "HR@20 of the single model" in said


@pytest.fixture(scope="module")
def earned(tmp_path_factory):
    """What a small shop's business prints: rows of its four tables, as texts, and all of it."""
    small = ("--products", 150, "--sessions", 4000, "--epochs", 3)
    said = printed("business.py", tmp_path_factory.mktemp("business") / "out", *small)
    rows = [re.split(r"\s{2,}", line.strip()) for line in said.splitlines()]
    first = [next(at for at, row in enumerate(rows) if row[0].startswith(f"{part}. ")) for part in (1, 2, 3, 4)]
    lengths = (4, 7, 8, 5)
    return [rows[at + 2 : at + 2 + length] for at, length in zip(first, lengths)], said


def test_new_products_earn_what_they_could_not_before(earned):
    (trained, added, clicked, most), *_ = earned[0]
    assert float(trained[2]) == float(trained[5]) == 0
    assert float(added[2]) > 0.1 and float(clicked[2]) > 0.1 and most[1:4] == ["1.000"] * 3
    assert 0 < float(added[5]) < float(most[5]) and float(trained[4]) < float(added[4]) < float(most[4])


def test_value_costs_hits_and_the_truth_is_worth_more_than_prices(earned):
    _, rows, *_ = earned[0]
    by_price = rows[:4]
    assert [row[1] for row in by_price] == ["0", "0.25", "0.5", "1"] and by_price[0][6:] == ["+0.0", "0.0"]
    assert float(by_price[0][2]) > float(by_price[3][2])
    money = [float(row[5].replace(",", "")) for row in rows]
    assert max(money[4:]) > max(money[:4])
    for row, truth in zip(rows, money):
        assert float(row[6]) == pytest.approx(truth - money[0], abs=0.11)


def test_estimates_stand_beside_the_truth_and_what_cannot_be_said_is_refused(earned):
    (_, _, rows, _), said = earned
    assert said.count(" is refused: ") == sum(row[5] == "–" for row in rows) < 8
    for row in rows:
        assert float(row[10]) > 0
        if row[5] != "–":
            ips, snips, dr, low, high = map(float, row[5:10])
            assert low < dr < high and low < ips < high and low < snips < high
            assert 0.5 < dr / float(row[10]) < 2


def test_lists_for_orders_stand_beside_those_for_clicks(earned):
    *_, rows = earned[0]
    assert [row[:2] for row in rows] == [["0", "0"], ["0.25", "0"], ["0.5", "0"], ["1", "0"], ["0.5", "0.5"]]
    assert rows[0][6:] == ["+0.0", "0.0"] and rows[3][2:] != rows[0][2:]
    money = [float(row[5].replace(",", "")) for row in rows]
    for row, truth in zip(rows, money):
        assert 0 < float(row[3]) < 1 and 0 < float(row[4])
        assert float(row[6]) == pytest.approx(truth - money[0], abs=0.11)


def test_what_a_look_is_worth_is_what_its_visit_pays_for_it():
    spec = importlib.util.spec_from_file_location("business", EXAMPLES / "business.py")
    business = sys.modules["business"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(business)
    shop = stamp.datasets.synthetic_shop(sessions=200, products=40, orders=True, seed=2)
    paid, expected = business.worth_of_events(shop, shop.sessions)
    kinds, event = shop.sessions.columns["event_type"].tolist(), 0
    row = {item: at for at, item in enumerate(shop.products["id"].tolist())}
    for visit in range(len(shop.sessions)):
        items = shop.sessions.session(visit).tolist()
        own = kinds[event : event + len(items)]
        for item in items:
            looks = sum(it == item and kind == "view" for it, kind in zip(items, own))
            price, chance = shop.products["price"][row[item]], shop.order_probability(views=looks)[row[item]]
            assert paid[event] == (price if (item, "order") in zip(items, own) else 0)
            assert expected[event] == pytest.approx(price * chance, rel=1e-12)
            event += 1
    assert event == len(paid) and paid.any()
