"""kill -9 at every step of an upload, a promotion, a collection and a sync, and at random moments of a whole night."""

import os
import pathlib
import subprocess
import sys

import pytest

PROGRAM = pathlib.Path(__file__).with_name("store_killed.py")


def said_by(nights, *words):
    found = subprocess.run(
        [sys.executable, PROGRAM, *map(str, words), *nights], capture_output=True, text=True, timeout=600
    )
    assert found.returncode == 0, found.stderr
    return int(found.stdout)


@pytest.mark.parametrize(("scenario", "fewest"), [("upload", 25), ("promote", 5), ("gc", 15), ("sync", 25)])
def test_killed_at_every_step(scenario, fewest, nights, tmp_path):
    assert said_by(nights, "steps", scenario, 0, tmp_path) >= fewest


def test_killed_at_random_moments(nights, tmp_path):
    """STAMP_STORE_KILLS of them: a hundred before a release."""
    count = int(os.environ.get("STAMP_STORE_KILLS", "12"))
    assert said_by(nights, "random", count, 1, tmp_path) >= count // 2
