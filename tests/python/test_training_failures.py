"""Training clusters where something goes wrong: kills, damaged checkpoints, processes that fail, directories of two calls."""

import concurrent.futures
import json
import multiprocessing.context
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import stamp
from small_bundles import files_of
from small_clusters import OPTIONS, SCRIPT, SMALL, Clusters, start, trainings_of
from stamp.base.files import write_text
from stamp.catalog import parallel_training, workers


def kill_at_checkpoint(out, epochs):
    process = start(out, epochs)
    while not (out / "checkpoint.safetensors").exists() and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert (out / "checkpoint.safetensors").exists() and not (out / "report.json").exists()


def test_kill_and_resume_to_the_same_bits(tmp_path):
    assert start(tmp_path / "whole", 3).communicate()[0].split() == ["trained", "False"]
    kill_at_checkpoint(tmp_path / "killed", 3)
    assert start(tmp_path / "killed", 3).communicate()[0].split() == ["trained", "True"]
    assert files_of(tmp_path / "whole" / "model") == files_of(tmp_path / "killed" / "model")
    assert not (tmp_path / "killed" / "checkpoint.safetensors").exists()


def test_a_checkpoint_of_another_call_is_of_no_use(tmp_path):
    kill_at_checkpoint(tmp_path, 3)
    assert start(tmp_path, 2).communicate()[0].split() == ["trained", "False"]


def test_ctrl_c_leaves_a_checkpoint(tmp_path):
    process = start(tmp_path, 5000)
    while not (tmp_path / "checkpoint.safetensors").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT  # as Python ends for a KeyboardInterrupt that nobody handles
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_ctrl_c_ends_all_processes(tmp_path):
    script = SCRIPT.replace("train_cluster(shop.sessions, Clusters(), 0,", "train_clusters(shop.sessions, Clusters(), ")
    command = [sys.executable, "-c", script, tmp_path, "5000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    while len(list(tmp_path.glob("*/checkpoint.safetensors"))) < 2 and process.poll() is None:
        time.sleep(0.01)
    children = trainings_of(process.pid)
    assert children
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert not any(pathlib.Path(f"/proc/{child}").exists() for child in children)
    assert not (tmp_path / "report.json").exists()


def test_a_damaged_checkpoint_is_none(tmp_path):
    kill_at_checkpoint(tmp_path / "killed", 2)
    written = (tmp_path / "killed" / "checkpoint.safetensors").read_bytes()
    assert start(tmp_path / "whole", 2).communicate()[0].split() == ["trained", "False"]
    for name, content in (
        ("garbage", b"garbage" * 99), ("cut", written[:-1]), ("empty", b""),
        ("other", b"\2\0\0\0\0\0\0\0{}"),
        ("tensor", written.replace(b"moment1/", b"moment3/")),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint.safetensors").write_bytes(content)
        assert start(tmp_path / name, 2).communicate()[0].split() == ["trained", "False"], name
        assert files_of(tmp_path / "whole" / "model") == files_of(tmp_path / name / "model")
        report = json.loads((tmp_path / name / "report.json").read_text())
        assert "checkpoint.safetensors" in report["training"]["damaged_checkpoint"]
    assert "damaged_checkpoint" not in json.loads((tmp_path / "whole" / "report.json").read_text())["training"]


def test_what_fails_beside_a_healthy_checkpoint_leaves_it(small, members, tmp_path, monkeypatch):
    def no_memory(*_):
        raise RuntimeError("no memory on the device")

    monkeypatch.setattr(stamp._stamp, "train", no_memory)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"of an earlier call")
    with pytest.raises(RuntimeError, match="no memory on the device"):
        stamp.train_cluster(small.sessions, Clusters(members), 2, out=tmp_path, **SMALL)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == b"of an earlier call"


def test_writers_of_one_file_do_not_meet(tmp_path):
    path, texts = tmp_path / "file", [str(i) * 200_000 for i in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: [write_text(path, text) for _ in range(5)], texts))
    assert path.read_text() in texts and list(tmp_path.iterdir()) == [path]


def test_a_directory_of_two_calls_is_refused(small, members, tmp_path, monkeypatch):
    models, finish = tmp_path / "models", workers.Pool._finish
    call = {"out": models, "jobs": 1, **SMALL}
    yesterday = stamp.train_clusters(small.sessions.split_last(0.2)[0], Clusters(members), **call)
    with pytest.raises(ValueError, match="only"):  # refused before anything is touched
        stamp.train_clusters(small.sessions, Clusters(members), only=[3], **call)
    assert sorted(stamp.load_clusters(models, device="cpu").models) == [2, 7, 11]

    def interrupted(*args):
        finish(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workers.Pool, "_finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stamp.train_clusters(small.sessions, Clusters(members), **call)
    for read in (stamp.load_clusters, lambda path: stamp.build_bundle(path, out=tmp_path / "bundle")):
        with pytest.raises(RuntimeError, match="if a call was interrupted, repeat it"):
            read(models)
    done = (models / "7" / "report.json").read_text()  # the biggest goes first
    assert json.loads(done)["data"] != yesterday[7].data
    reports = stamp.train_clusters(small.sessions, Clusters(members), **call)
    assert (models / "7" / "report.json").read_text() == done
    assert {report.data for report in reports.values()} == {json.loads(done)["data"]}
    assert list(stamp.load_clusters(models, device="cpu").models) == [2, 7, 11]


def test_a_training_that_diverges_says_so(small, members, tmp_path):
    with pytest.raises(stamp.TrainingDiverged, match="at step"):
        stamp.train_cluster(small.sessions, Clusters(members), 2, out=tmp_path,
                            **{**SMALL, "config": {**OPTIONS, "learning_rate": 1e18}})  # fmt: skip
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["status"] == "failed" and "at step" in report["reason"] and report["examples"] > 0
    assert stamp.train_cluster(small.sessions, Clusters(members), 2, out=tmp_path, **SMALL).status == "trained"


def test_a_failed_cluster_costs_no_other(small, members, tmp_path):
    lonely = {**members, 99: ["never clicked", "nor this"]}
    with pytest.raises(stamp.TrainingFailed, match="1 of 4 clusters failed: cluster 99: .* no product") as failed:
        stamp.train_clusters(small.sessions, Clusters(lonely), out=tmp_path, jobs=2, **SMALL)
    reports = failed.value.reports
    assert [reports[cluster].status for cluster in (2, 7, 11, 99)] == ["trained"] * 3 + ["failed"]
    assert json.loads((tmp_path / "report.json").read_text())["status"] == "failed"
    assert json.loads((tmp_path / "99" / "report.json").read_text())["reason"] == reports[99].reason
    assert len(stamp.load_clusters(tmp_path, device="cpu").models) == 3
    again = stamp.train_clusters(small.sessions, Clusters(lonely), out=tmp_path, only=np.array([2]), **SMALL)
    assert again == {2: reports[2]}


def watch(stop, seen, kill):
    """Counts the processes that train, again and again; the first one is killed."""
    while not stop.is_set():
        children = trainings_of(os.getpid())
        seen.append(len(children))
        if kill and children:
            os.kill(children[0], signal.SIGKILL)
            kill = False
        time.sleep(0.01)


@pytest.mark.parametrize("kill", [True, False])
def test_processes_that_are_killed_and_memory_that_is_scarce(small, members, tmp_path, kill):
    stop, seen = threading.Event(), []
    thread = threading.Thread(target=watch, args=(stop, seen, kill))
    thread.start()
    call = {"out": tmp_path, "jobs": 3, "memory": 1, **SMALL}
    try:
        if kill:
            with pytest.raises(stamp.TrainingFailed, match="killed by SIGKILL; out of memory") as failed:
                stamp.train_clusters(small.sessions, Clusters(members), **call)
            reports = failed.value.reports
            assert sorted(report.status for report in reports.values()) == ["failed", "trained", "trained"]
            assert reports[7].status == "failed"  # the biggest goes first
        else:
            stamp.train_clusters(small.sessions, Clusters(members), **call)
    finally:
        stop.set()
        thread.join()
    assert max(seen) == 1
    if kill:
        again = stamp.train_clusters(small.sessions, Clusters(members), **call)
        assert again[7].status == "trained" and again[2] == reports[2]


BIG_SCRIPT = SCRIPT.replace("sessions=2000", "sessions=30000").replace(
    "report = stamp.train_cluster(shop.sessions, Clusters(), 0,",
    "stamp.train_clusters(shop.sessions, Clusters(), jobs=2, ",
).replace("print(report.status, report.training[\"resumed\"])", "")  # fmt: skip


def test_jobs_are_bigger_than_a_pipe(tmp_path):
    """What the next tests rely on; a healthy process takes such a job."""
    shop = stamp.datasets.synthetic_shop(sessions=30000, products=60, seed=5)
    assert len(pickle.dumps(shop.sessions._core)) > 500_000
    everything = Clusters({0: shop.products["id"].tolist()})
    config = {**OPTIONS, "epochs": 1, "batch_size": 4096}
    reports = stamp.train_clusters(shop.sessions, everything, out=tmp_path, **{**SMALL, "config": config})
    assert reports[0].status == "trained"


def test_processes_that_die_before_they_read_their_job(tmp_path):
    (tmp_path / "unguarded.py").write_text(BIG_SCRIPT)  # no `if __name__ == "__main__"`: each process tries to train
    command = [sys.executable, tmp_path / "unguarded.py", tmp_path, "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "TrainingFailed: train_clusters: 2 of 2 clusters failed" in done.stderr
    assert "its process ended with status 1 before it was done" in done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["status"] == "failed"


def test_a_process_that_never_reads_its_job_costs_no_other(tmp_path):
    script = """
import os, sys, time
if __name__ == "__mp_main__":
    try:
        os.close(os.open(os.path.join(sys.argv[1], "stuck"), os.O_CREAT | os.O_EXCL))
        time.sleep(1000)
    except FileExistsError:  # the other one is
        pass
if __name__ == "__main__":
""" + "".join(f"    {line}\n" for line in BIG_SCRIPT.splitlines())
    (tmp_path / "script.py").write_text(script)
    process = subprocess.Popen([sys.executable, tmp_path / "script.py", tmp_path, "1"], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not list(tmp_path.glob("*/report.json")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    children = trainings_of(process.pid)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=60)
    finally:
        process.kill()
    [report] = tmp_path.glob("*/report.json")
    assert json.loads(report.read_text())["status"] == "trained"
    assert children and not any(pathlib.Path(f"/proc/{child}").exists() for child in children)
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize("what", ["cut", "start"])
def test_a_cluster_that_cannot_be_started_costs_no_other(small, members, tmp_path, monkeypatch, what):
    owner, name = {
        "cut": (parallel_training.Plan, "job"),
        "start": (multiprocessing.context.SpawnProcess, "start"),
    }[what]
    real, calls = getattr(owner, name), []

    def fails_once(*args):
        calls.append(args)
        if len(calls) == 1:
            raise MemoryError if what == "cut" else OSError("no more processes")
        return real(*args)

    monkeypatch.setattr(owner, name, fails_once)
    with pytest.raises(stamp.TrainingFailed, match="1 of 3 .* cluster 7: (MemoryError|no more processes)"):
        stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path, **SMALL)
    assert json.loads((tmp_path / "7" / "report.json").read_text())["status"] == "failed"
    assert list(stamp.load_clusters(tmp_path, device="cpu").models) == [2, 11]
    again = stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path, **SMALL)
    assert {report.status for report in again.values()} == {"trained"}


@pytest.mark.parametrize("changed", [{}, {"resume": False}, {"min_examples": 1}])
def test_a_directory_that_cannot_be_written_costs_no_other(small, members, tmp_path, changed):
    lonely = {**members, 99: ["never clicked", "nor this"]}
    (tmp_path / "99").write_text("a file")
    with pytest.raises(stamp.TrainingFailed, match="1 of 4 clusters failed: cluster 99: ") as failed:
        clusters = Clusters(lonely, {99: 7})
        stamp.train_clusters(small.sessions, clusters, out=tmp_path, **{**SMALL, **changed})
    assert [report.status for report in failed.value.reports.values()] == ["trained"] * 3 + ["failed"]
    assert "99" in json.loads((tmp_path / "report.json").read_text())["reports"]
    assert list(stamp.load_clusters(tmp_path, device="cpu").models) == [2, 7, 11]
