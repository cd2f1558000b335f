"""Standard output and error that are closed, close meanwhile, or are none: work goes on, and nothing is said twice."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import stamp
from stamp.base.progress import LineBar, TrainingBar, make_bar
from stamp.base.streams import tell

STAMP = f"{sys.executable} -m stamp.cli"


@pytest.fixture(scope="module")
def model(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    fitted.save(path)
    return path


def shell(command):
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True)


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-", "2>&1 | true", "2> >(true)"])
def test_training_goes_on_without_anybody_to_tell(events_file, tmp_path, closed):
    train = f"{STAMP} train {events_file} --out {tmp_path}/model -o dim=8 -o epochs=2"
    done = shell(f"set -o pipefail; {train} {closed}")
    # Nobody reads what it says at the end: 141, as of any program. The model is there.
    assert done.returncode == (141 if "| true" in closed else 0)
    assert [line for line in done.stderr.splitlines() if not line.startswith("train ")] == []
    assert stamp.load(tmp_path / "model", device="cpu").report_["stopped"] == "finished"


def test_what_is_read_is_not_taken_for_a_stream(events_file, tmp_path):
    """A file that is opened where standard error was closed is not what warnings and messages are written into."""
    script = """
import os, sys
from stamp.cli import main
status = main(sys.argv[1:])
assert all(os.path.samestat(os.fstat(i), os.stat(os.devnull)) for i in (0, 2)), "not empty streams"
os._exit(status)
"""
    train = f"train {events_file} --out {tmp_path}/model -o dim=8 -o epochs=1"
    done = shell(f"{sys.executable} -c '{script}' {train} <&- 2>&-")
    assert done.returncode == 0 and done.stdout.startswith("saved ")


class Gone(io.StringIO):
    """A terminal that has been closed."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def isatty(self):
        return True

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error


def closed_file():
    file = open(os.devnull, "w")
    file.close()
    return file


@pytest.mark.parametrize("stream", [
    lambda: None, lambda: Gone(BrokenPipeError()), lambda: Gone(OSError(5, "Input/output error")), closed_file,
])  # fmt: skip
def test_progress_never_stops_a_training(shop, monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream())
    model = stamp.StampRecommender(dim=8, epochs=2).fit(shop.sessions, validation=0.1, progress=True)
    assert model.report_["stopped"] == "finished"
    stamp.evaluate(model, shop.sessions, progress=True)
    tell("nobody hears it")


def test_bars_are_told_where_somebody_listens(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # of the test of the notebook
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar = TrainingBar()
    bar("train", 1, 2, 50, 100, 3.5, 10.0)
    bar.close()
    assert sys.stderr.getvalue().startswith("train 1/2: 50 of 100 examples") and "loss 3.5" in sys.stderr.getvalue()
    assert isinstance(make_bar(3, "x", "y"), LineBar)


def test_a_closed_pipe_is_quiet(model):
    for command in ("recommend MODEL sku-00001 --json", "recommend MODEL sku-00001", "bundle inspect MODEL --json",
                    "devices", "recommend --help"):  # fmt: skip
        verb = command.replace("MODEL", str(model))
        done = shell(f"({STAMP} {verb}; echo $? >&2) | true")
        # Help is written by argparse, at the end of which Python would say that nobody reads it.
        assert done.stderr in ({"0\n", "141\n"} if "--help" in verb else {"141\n"}), done.stderr
    done = shell(f"{STAMP} recommend {model} sku-00001 --json | head -c 1")
    assert (done.stdout, done.stderr) == ("{", "")


def test_a_full_disk_is_said(model):
    done = shell(f"{STAMP} devices --json > /dev/full")
    assert done.returncode == 2 and done.stderr == "stamp: [Errno 28] No space left on device\n"


def test_json_has_no_number_that_is_not_finite(model, tmp_path, monkeypatch, capsys):
    from stamp import cli

    boost = json.dumps([{"rule": "boost", "by": 3e38, "products": ["sku-00002"]}])
    pin = json.dumps([{"rule": "pin", "products": ["sku-00003"]}])
    for rules in (pin, boost):
        cli.main(["recommend", str(model), "sku-00001", "--rules", rules, "--json"])
        told = capsys.readouterr().out
        if told:
            json.loads(told, parse_constant=lambda name: pytest.fail(name))

    infinite = {"hr@20": float("inf"), "of": [float("nan"), (-float("inf"), 1.5)], "array": np.array([np.inf, 2])}
    monkeypatch.setattr("stamp.cli.evaluate._evaluate", lambda args: infinite)
    assert cli.main(["evaluate", "a", "b", "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert found == {"hr@20": None, "of": [None, [None, 1.5]], "array": [None, 2]}
