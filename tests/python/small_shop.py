"""A made-up shop's folder: raw clicks by day, a catalog, a pipeline file; and its nights."""

import json
import pathlib
import runpy
import sys
from unittest import mock

from stamp.data.validation.checks import CHECKS

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "pipeline"
FIRST = "2026-11-01"
JUDGED = ("no_rows", "no_item", "malformed", "day_missing")  # so few clicks differ from day to day in all else
OPTIONS = {"dim": 8, "epochs": 2, "batch_size": 64}


def day(number):
    """The number-th day of the clicks."""
    return f"2026-11-{number:02}"


def make_clicks(folder, *days, broken=None):
    """Files of these days."""
    arguments = ["clicks.py", "--out", folder, "--first", FIRST, "--products", 120, "--sessions", 1400]
    for number in days:
        arguments += ["--write", number]
    arguments += [] if broken is None else ["--broken", broken]
    with mock.patch.object(sys, "argv", [str(argument) for argument in arguments]):
        runpy.run_path(str(EXAMPLE / "clicks.py"))


def make_shop(folder, days=5, **changes):
    """The path of a pipeline file beside the clicks of the first days; `changes` are of its keys, None to leave one out."""
    folder.mkdir(parents=True, exist_ok=True)
    make_clicks(folder, *range(1, days + 1))
    given = json.loads((EXAMPLE / "shop.json").read_text())
    del given["servers"]
    given |= {
        "full": {"config": OPTIONS},
        "clusters": {"attribute": "category", "clusters": 2},
        "train": {"config": OPTIONS, "min_examples": 50, "jobs": 1},
        "prepare": {"min_support": 1},
        "validate": {"policy": {"format": 1, "checks": [{"check": check, "pass": True} for check in CHECKS if check not in JUDGED]}},
    }  # fmt: skip
    given["judge"]["policy"] = {"format": 1, "checks": [{"metric": "hr@8", "at_least": 0.01}]}
    given = {key: value for key, value in (given | changes).items() if value is not None}
    path = folder / "shop.json"
    path.write_text(json.dumps(given))
    return path
