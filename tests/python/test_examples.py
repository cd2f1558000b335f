"""The scripts in examples/ run, on made-up data and on real."""

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
DATA = pathlib.Path(os.environ.get("STAMP_DATA") or "/nothing")


def catalog(out: pathlib.Path, *options: object) -> str:
    """What examples/catalog.py prints, in a folder of its own."""
    command = [sys.executable, EXAMPLES / "catalog.py", "--out", out, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=out.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_made_up_shop(tmp_path):
    small = ("--products", 1000, "--sessions", 4000, "--clusters", 3, "--dim", 8, "--epochs", 1)
    said = catalog(tmp_path / "shop", *small)
    assert "3 clusters" in said and "zones: ['inspiration', 'more_of_this', 'product_page']" in said
    assert "product_page  (anchor, cluster" in said
    again = catalog(tmp_path / "shop", *small)  # nothing is trained anew
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
    said = catalog(tmp_path / dataset, *files, *options, "--dim", 8, "--epochs", 1)
    assert "requests/s" in said and "HR@20 of the single model" in said
