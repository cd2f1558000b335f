"""kill -9 at every step of an upload, a promotion, a collection and a sync, and at random moments of a whole night."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

from stamp.store import Store
from store_bundles import contents
from store_steps import one_thread, seen

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


class _Dead(BaseException):
    """The process is gone: nothing that it does later reaches the store."""


@pytest.mark.parametrize("place", ["s3", "gs"], indirect=True)
def test_gone_at_steps_in_a_bucket(place, nights, monkeypatch):
    """Every twelfth; STAMP_STORE_STRIDE=1: at every one."""
    monkeypatch.setattr("stamp.store.leases.MARK_LIFE", -1.0)  # of the collection that is gone
    stride = int(os.environ.get("STAMP_STORE_STRIDE", "12"))

    def night(store):
        store.upload(nights[1], name="r1")
        store.promote("champion", "r1", expect="r0", operation="tonight")
        store.gc(keep=0)

    def attempt(step):
        url, steps = f"{place}/{step}", []
        store = Store(url)
        store.upload(nights[0], name="r0")
        store.promote("champion", "r0")

        def die(*_):
            steps.append(1)
            if len(steps) >= step:
                raise _Dead

        try:
            night(seen(url, die))
        except _Dead:
            pass
        assert store.verify().passed and store.alias("champion").release in store.releases()
        night(store)
        assert store.verify().passed and [move.release for move in store.alias("champion").history] == ["r1", "r0"]
        store.export("champion", out := pathlib.Path(tempfile.mkdtemp()) / "out")
        found = contents(out)
        del found["release.json"]
        shutil.rmtree(out.parent)
        assert found == contents(nights[1])
        return len(steps) >= step

    with one_thread(monkeypatch):
        step = 1
        while attempt(step):
            step += stride
    assert step > 40
