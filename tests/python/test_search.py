"""Searches on a small shop: what is proposed, kept, pruned, killed and resumed."""

import json
import shlex
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import optuna
import pandas as pd
import pytest

import stamp
from stamp import cli
from stamp.offline import search

SPACE = {"dim": [4, 8], "learning_rate": (1e-3, 3e-1, "log"), "dropout": (0, 0.5), "batch_size": (32, 256)}
SAME = {"options": {"epochs": 3}, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def sessions():
    return stamp.datasets.synthetic_shop(sessions=500, products=60, seed=3).sessions


@pytest.fixture(scope="module")
def found(sessions):
    return search(SPACE, sessions, trials=9, **SAME)


def of(trials):
    """All but the time that trials took."""
    return [(t.number, t.options, t.outcome, t.value, t.best_epoch, t.epochs, t.reason) for t in trials]


def test_trials_are_what_fit_makes_of_their_options(sessions, found):
    assert [t.number for t in found.trials] == list(range(9)) and found.stopped == "finished"
    for trial in found.trials:
        assert trial.options["dim"] in (4, 8) and 1e-3 <= trial.options["learning_rate"] <= 3e-1
        assert 0 <= trial.options["dropout"] <= 0.5
        assert 32 <= trial.options["batch_size"] <= 256 and type(trial.options["batch_size"]) is int
        assert trial.outcome == "finished" or len(trial.epochs) < 3
        assert trial.value == max(trial.epochs) == trial.epochs[trial.best_epoch - 1]
    finished = [t for t in found.trials if t.outcome == "finished"]
    assert found.best in finished and found.best.value == max(t.value for t in finished)
    model = stamp.StampRecommender(device="cpu", epochs=3, monitor="hr@20", **found.best.options)
    model.fit(sessions, validation=0.1, progress=False)
    assert tuple(e["validation"]["at"]["20"]["hr"] for e in model.report_["epochs"]) == found.best.epochs
    assert model.report_["best_epoch"] == found.best.best_epoch


def test_pruning_stops_what_is_below_the_median_of_others(sessions, found):
    pruned = [t for t in found.trials if t.outcome == "pruned"]
    assert pruned and all(t.number >= 5 for t in pruned)
    for trial in pruned:
        step = len(trial.epochs)
        others = [t.epochs[step - 1] for t in found.trials[: trial.number] if t.outcome == "finished"]
        assert max(trial.epochs) < np.median(others)
    whole = search(SPACE, sessions, trials=9, prune=False, **SAME)
    assert {t.outcome for t in whole.trials} == {"finished"} and {len(t.epochs) for t in whole.trials} == {3}
    assert of(whole.trials[:5]) == of(found.trials[:5])
    halved = search(SPACE, sessions, trials=9, prune="halving", **SAME)
    assert "pruned" in {t.outcome for t in halved.trials}


def test_a_seed_decides_and_storage_continues_to_the_same_trials(sessions, found, tmp_path):
    storage = tmp_path / "new" / "search.db"
    first = search(SPACE, sessions, trials=2, storage=storage, **SAME)
    assert of(first.trials) == of(found.trials[:2])
    more = search(SPACE, sessions, trials=3, storage=storage, **SAME)
    assert of(more.trials) == of(found.trials[:3])
    again = search(SPACE, sessions, trials=1, storage=storage, **SAME)
    assert again == more  # to the second that they took
    other = search(SPACE, sessions, trials=2, seed=1, **SAME)
    assert [t.options for t in other.trials] != [t.options for t in found.trials[:2]]
    as_json = {
        name: values if isinstance(values, list) else {"low": values[0], "high": values[1], "log": len(values) == 3}
        for name, values in SPACE.items()
    }
    assert search(as_json, sessions, trials=3, storage=storage, **SAME) == more


def test_storage_of_another_search_is_refused(sessions, tmp_path):
    storage = tmp_path / "search.db"
    call = {**SAME, "trials": 1, "storage": storage}
    search({"dim": [4, 8]}, sessions, **call)
    later = stamp.datasets.synthetic_shop(sessions=500, products=60, seed=4).sessions
    for space, data, changes, message in (
        ({"dim": [4, 8]}, later, {}, r"differs in data \(other sessions\)"),
        ({"dim": [4, 8]}, sessions, {"validation": 0.2}, "differs in data"),
        ({"dim": [4, 8]}, sessions, {"options": {"epochs": 4}}, r"differs in options \(epochs was 3 and is 4\)"),
        ({"dim": [4, 8]}, sessions, {"monitor": "mrr@20"}, r"options \(monitor was 'hr@20' and is 'mrr@20'\)"),
        ({"dim": [4, 8]}, sessions, {"preset": "paper"}, r"preset \(it was 'tuned' and is 'paper'\)"),
        ({"dim": [4, 9]}, sessions, {}, r"space \(dim was \[4, 8\] and is \[4, 9\]\)"),
        ({"dim": [4, 8]}, sessions, {"objective": max}, r"objective \(it was None and is 'max'\)"),
    ):
        with pytest.raises(ValueError, match=message):
            search(space, data, **{**call, **changes})
    (tmp_path / "notes.db").write_text("not a database")
    with pytest.raises(ValueError, match="is no SQLite file"):
        search({"dim": [4, 8]}, sessions, **{**call, "storage": tmp_path / "notes.db"})
    assert (tmp_path / "notes.db").read_text() == "not a database"
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'mine.db'}", study_name="stamp")
    study.tell(study.ask(), 1.0)
    with pytest.raises(ValueError, match="holds trials of something else"):
        search({"dim": [4, 8]}, sessions, **{**call, "storage": tmp_path / "mine.db"})


SCRIPT = """
import sys, stamp
from stamp.offline import search
sessions = stamp.datasets.synthetic_shop(sessions=500, products=60, seed=3).sessions
space = {"dim": [4, 8], "learning_rate": (1e-3, 3e-1, "log"), "dropout": (0, 0.5), "batch_size": (32, 256)}
result = search(space, sessions, trials=9, options={"epochs": 3}, device="cpu", progress=False, storage=sys.argv[1])
print(result.stopped, len(result.trials), flush=True)
"""


def start_and_wait(storage, trials, command):
    """A process that searches, once one trial more than `trials` has begun."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        try:
            with sqlite3.connect(f"file:{storage}?mode=ro", uri=True) as database:
                states = [state for (state,) in database.execute("select state from trials")]
        except sqlite3.OperationalError:  # not there yet
            states = []
        if len(states) > trials and states[-1] == "RUNNING":
            return process
        time.sleep(0.005)
    raise AssertionError("the search ended too early")


def test_a_search_that_is_killed_goes_on_to_the_same_trials(sessions, found, tmp_path):
    storage = tmp_path / "search.db"
    for trials in (0, 4):
        process = start_and_wait(storage, trials, [sys.executable, "-c", SCRIPT, str(storage)])
        process.send_signal(signal.SIGKILL)
        process.wait()
    resumed = search(SPACE, sessions, trials=9, storage=storage, **SAME)
    assert of(resumed.trials) == of(found.trials)
    with sqlite3.connect(storage) as database:
        killed = database.execute("select count(*) from trials where state = 'FAIL'").fetchone()[0]
    assert 1 <= killed <= 2  # a kill may have come between two trials


def test_ctrl_c_keeps_what_is_done(sessions, found, tmp_path):
    storage = tmp_path / "search.db"
    process = start_and_wait(storage, 3, [sys.executable, "-c", SCRIPT, str(storage)])
    with pytest.raises(RuntimeError, match="another search is using storage"):
        search(SPACE, sessions, trials=9, storage=storage, **SAME)
    process.send_signal(signal.SIGINT)
    stopped, trials = process.communicate()[0].split()
    assert process.returncode == 0 and stopped == "interrupted" and 3 <= int(trials) < 9
    assert of(search(SPACE, sessions, trials=9, storage=storage, **SAME).trials) == of(found.trials)


def test_divergence_is_an_outcome_and_so_is_running_out_of_memory(sessions, monkeypatch, tmp_path):
    fit = stamp.StampRecommender.fit

    def small(self, *args, **options):
        if self.get_params()["dim"] == 16:
            raise RuntimeError("out of memory")
        return fit(self, *args, **options)

    monkeypatch.setattr(stamp.StampRecommender, "fit", small)
    space = {"dim": [8, 16], "learning_rate": [0.003, 1e18]}
    call = {**SAME, "storage": tmp_path / "search.db"}
    found = search(space, sessions, trials=8, **call)
    for trial in found.trials:
        dim, rate = trial.options.values()
        expected = "failed" if dim == 16 else "diverged" if rate == 1e18 else "finished"
        assert trial.outcome == expected and (trial.value is None) == (expected != "finished")
        assert ("memory" if dim == 16 else "learning rate" if rate == 1e18 else "") in trial.reason
    assert {t.outcome for t in found.trials} == {"finished", "failed", "diverged"}
    assert "out of memory" in repr(found) and found.plot().axes
    assert search(space, sessions, trials=8, **call) == found

    nothing = search({"dim": [16]}, sessions, trials=2, **SAME)
    assert nothing.best is None and nothing.to_dict()["best"] is None and "No trial was finished" in repr(nothing)
    assert nothing.plot().axes
    with pytest.raises(ValueError, match="none of 2 trials was finished"):
        nothing.recommender()


def test_an_objective_of_ones_own(sessions):
    asked = []

    def coverage(model, validation):
        asked.append(len(validation))
        return -stamp.evaluate(model, validation).to_dict()["coverage@20"]

    found = search(SPACE, sessions, trials=7, objective=coverage, **SAME)
    assert asked == [50] * sum(t.outcome == "finished" for t in found.trials) and found.metric == "objective"
    assert all(t.value < 0 if t.outcome == "finished" else t.value is None for t in found.trials)
    assert found.best.value == max(t.value for t in found.trials if t.value is not None)
    assert found.best.epochs[found.best.best_epoch - 1] == max(found.best.epochs)  # epochs are still the monitor's
    with pytest.raises(ValueError, match="objective is nan with"):
        search(SPACE, sessions, trials=1, objective=lambda *_: float("nan"), **SAME)
    with pytest.raises(ZeroDivisionError):
        search(SPACE, sessions, trials=1, objective=lambda *_: 1 / 0, **SAME)


def test_the_tuned_model_is_trained_on_everything(sessions):
    given = {"epochs": 4, "patience": 2, "batch_size": 64}
    found = search({"dim": [6]}, sessions, trials=1, options=given, device="cpu", preset="paper", monitor="mrr@5",
                   progress=False)  # fmt: skip
    assert found.best_options == {
        "preset": "paper", "epochs": found.best.best_epoch, "patience": 0, "batch_size": 64, "monitor": "mrr@5",
        "dim": 6,
    }  # fmt: skip
    tuned = found.recommender(device="cpu").fit(sessions, progress=False)
    refitted = stamp.StampRecommender(device="cpu", preset="paper", monitor="mrr@5", dim=6, **given)
    refitted.fit(sessions, validation=0.1, refit=True, progress=False)
    for name, weights in refitted.weights_.items():
        np.testing.assert_array_equal(tuned.weights_[name], weights)
    assert found.recommender(epochs=9).get_params()["epochs"] == 9


def test_validation_of_ones_own_is_what_judges(sessions):
    train, validation = sessions.split_last(0.1)
    own = search({"dim": [6]}, train, validation=validation, trials=1, **SAME)
    assert of(own.trials) == of(search({"dim": [6]}, sessions, trials=1, **SAME).trials)


def test_results_as_table_figure_and_json(found, tmp_path):
    table = found.table()
    assert table.columns == ["trial", *SPACE, "hr@20", "best epoch", "outcome", "seconds", "by epoch"]
    assert [len(text.split()) for text in table.column("by epoch")] == [len(t.epochs) for t in found.trials]
    assert f"Best: trial {found.best.number}, hr@20 {found.best.value:.4f}" in repr(found)
    assert "<table>" in found._repr_html_()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["best_options"]["dim"] in (4, 8)
    figure = found.plot()
    assert [axes.get_xlabel() for axes in figure.axes] == ["trial", *SPACE]
    assert figure.axes[2].get_xscale() == "log" and figure.axes[3].get_xscale() == "linear"
    figure.savefig(tmp_path / "search.png")
    assert (tmp_path / "search.png").stat().st_size > 10_000


def test_progress_is_a_line_a_trial_and_optuna_says_nothing(sessions, capfd, monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)  # imported by tests of notebooks: bars would be drawn
    before = optuna.logging.get_verbosity()
    search({"dim": [4, 8]}, sessions, trials=2, **{**SAME, "progress": True})
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3 and lines[0].startswith("trial 0 finished, epochs 3, hr@20 0.") and "dim=" in lines[0]
    assert lines[2].startswith("search: 2 trials")
    assert optuna.logging.get_verbosity() == before


@pytest.mark.parametrize(("space", "message"), [
    ({}, "space is {}, expected a mapping"),
    ([("dim", [4])], "expected a mapping of options"),
    ({"dims": [4]}, r"space\['dims'\]: unknown option, expected one of dim, .*learning_rate"),
    ({"epochs": [4]}, "options fixes it to 3"),
    ({"monitor": ["hr@20"]}, "cannot be searched: give it to search"),
    ({"min_history": [1, 2]}, "cannot be searched: it also decides which events are asked about"),
    ({"preset": ["paper"]}, "cannot be searched: one|cannot be searched: make one"),
    ({"dim": []}, r"space\['dim'\] is \[\], expected one choice or more"),
    ({"dim": [4, 4]}, "each once"),
    ({"dim": [4, 0]}, r"space\['dim'\] has 0: Config: dim is 0, expected 1 to 65536"),
    ({"dim": [4.5]}, "option 'dim' is 4.5"),
    ({"score": ["dot", "euclid"]}, r"space\['score'\] has 'euclid'"),
    ({"dim": 4}, r"is 4, expected a list of choices, \(low, high\) or \(low, high, 'log'\)"),
    ({"dim": (4,)}, "expected a list of choices"),
    ({"dim": (4, 8, 2)}, "expected a list of choices"),
    ({"dim": {"low": 4}}, "expected a list of choices"),
    ({"dim": {"low": 4, "high": 8, "step": 2}}, "expected a list of choices"),
    ({"dim": {"low": 4, "high": 8, "log": "yes"}}, "log is 'yes', expected true or false"),
    ({"dim": (4.0, 8.0)}, "expected whole numbers"),
    ({"dropout": (0, float("nan"))}, "expected numbers"),
    ({"dropout": ("a", "b")}, "expected numbers"),
    ({"dropout": (0.5, 0.1)}, "expected low below high"),
    ({"dropout": (0.0, 0.5, "log")}, "above 0 for log"),
    ({"dropout": (0, 1)}, r"space\['dropout'\] has 1.0: Config: dropout is 1, expected a rate"),
    ({"score": ("cosine", "dot")}, "expected a list of choices, as 'cosine' is no number"),
    ({"mlp_bias": (0, 1)}, "expected a list of choices, as True is no number"),
])  # fmt: skip
def test_spaces_that_cannot_be(sessions, space, message):
    with pytest.raises(ValueError, match=message):
        search(space, sessions, **SAME)


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"trials": 0}, ValueError, "trials is 0"),
    ({"trials": 2.5}, ValueError, "trials is 2.5"),
    ({"validation": None}, ValueError, "validation is None"),
    ({"validation": 1.5}, ValueError, "fraction is 1.5"),
    ({"monitor": "auc"}, ValueError, "auc"),
    ({"options": {"monitor": "hr@5"}}, ValueError, "options has 'monitor'; give it to search"),
    ({"options": {"epoch": 5}}, ValueError, "unknown option 'epoch'"),
    ({"prune": "often"}, ValueError, "prune is 'often'"),
    ({"seed": -1}, ValueError, "seed is -1"),
    ({"device": "abacus"}, ValueError, "abacus"),
    ({"options": {"min_history": 100}}, ValueError, "no example"),
])  # fmt: skip
def test_calls_that_cannot_be(sessions, changes, error, message):
    with pytest.raises(error, match=message):
        search({"dim": [4, 8]}, sessions, **{**SAME, **changes})
    with pytest.raises(ValueError, match="train is list, expected stamp.Sessions"):
        search({"dim": [4, 8]}, [[1, 2]], **SAME)


def test_without_optuna_it_says_what_to_install(sessions, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"search needs optuna: pip install 'stamp-recommender\[search\]'"):
        search({"dim": [4, 8]}, sessions, **SAME)


def test_the_command_line(tmp_path, capsys):
    shop = stamp.datasets.synthetic_shop(sessions=500, products=60, seed=3)
    pd.DataFrame(shop.events).to_csv(tmp_path / "events.csv", index=False)
    space = {"dim": [4, 8], "learning_rate": {"low": 1e-3, "high": 3e-1, "log": True}}
    (tmp_path / "space.json").write_text(json.dumps(space))
    storage = tmp_path / "search.db"
    call = ["search", "--data", tmp_path / "events.csv", "--trials", 2, "--storage", storage, "-o", "epochs=2"]

    def run(*arguments, call=call, status=0):
        assert cli.main([*map(str, call), "--device", "cpu", *map(str, arguments)]) == status
        return capsys.readouterr()

    found = json.loads(run("--space", tmp_path / "space.json", "--json").out)
    expected = search(space, shop.sessions, trials=2, options={"epochs": 2}, device="cpu", progress=False)
    assert found["best_options"] == expected.best_options and found["stopped"] == "finished"
    assert [t["epochs"] for t in found["trials"]] == [list(t.epochs) for t in expected.trials]

    *_, best, train = run("--space", json.dumps(space), "--plot", tmp_path / "search.png").out.splitlines()
    assert best.startswith("Best: trial ") and (tmp_path / "search.png").exists()
    start, data, out, model, *options = shlex.split(train)[1:]
    assert (start, data, out, model) == ("train", str(tmp_path / "events.csv"), "--out", "MODEL")
    run(*options, "--quiet", call=["train", data, "--out", tmp_path / "model"])
    tuned = stamp.load(tmp_path / "model", device="cpu").get_params()
    assert {name: tuned[name] for name in space} == pytest.approx(expected.best.options, rel=1e-6)  # floats of C++
    assert tuned["epochs"] == expected.best.best_epoch

    assert "not JSON" in run("--space", "{dim}", status=2).err
    assert "No such file" in run("--space", "nowhere.json", status=2).err
    assert "unknown option" in run("--space", '{"dims": [4]}', status=2).err
    assert "differs in space" in run("--space", '{"dim": [4]}', "--prune", "off", status=2).err

    more = [sys.executable, "-m", "stamp.cli", *map(str, call), "--space", json.dumps(space), "--trials", "500",
            "--device", "cpu", "--json"]  # fmt: skip
    process = start_and_wait(storage, 2, more)
    process.send_signal(signal.SIGINT)
    stopped = json.loads(process.communicate()[0])
    assert process.returncode == 130 and stopped["stopped"] == "interrupted" and 2 <= len(stopped["trials"]) < 500
