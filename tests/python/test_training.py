"""One model per cluster: semantics against naive loops, repetition, kills, merging, failures, warm starts, the CLI."""

import json
import multiprocessing.context
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import stamp
from stamp import cli
from stamp.catalog import parallel_training, training
from stamp.catalog.training import merge
from stamp.models.train_reports import write_json

OPTIONS = {"dim": 8, "epochs": 2, "batch_size": 64}
SMALL = {"config": OPTIONS, "device": "cpu", "min_examples": 0, "progress": False}


class Clusters:
    """What training reads of CatalogClusters."""

    def __init__(self, members, parents=None, fingerprint="of the test"):
        self.item_ids = np.array([*[item for items in members.values() for item in items], None], object)[:-1]
        self.labels = np.repeat(list(members), [len(items) for items in members.values()])
        self.ids = list(members)
        self.parents = parents or {}
        self.fingerprint = fingerprint

    def parent(self, cluster):
        return self.parents.get(cluster)


@pytest.fixture(scope="module")
def small():
    return stamp.datasets.synthetic_shop(sessions=500, products=60, seed=5)


@pytest.fixture(scope="module")
def members(small):
    """Three clusters by category; some products are in none, and one is not in the data."""
    category = np.unique(small.products["category"], return_inverse=True)[1]
    ids = small.products["id"]
    return {7: [*ids[category < 5], "never clicked"], 2: ids[(category >= 5) & (category < 7)].tolist(),
            11: ids[category == 7].tolist()}  # fmt: skip


@pytest.fixture(scope="module")
def trained(small, members, tmp_path_factory):
    """All clusters, trained on the first sessions."""
    train, _ = small.sessions.split_last(0.2)
    out = tmp_path_factory.mktemp("trained")
    return out, stamp.train_clusters(train, Clusters(members), out=out, jobs=2, **SMALL)


def weights_of(path):
    return stamp.load(path, device="cpu").weights_


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def lists(sessions):
    return [sessions.session(s).tolist() for s in range(len(sessions))]


def test_examples_belong_to_the_cluster_of_their_anchor(small, members, trained):
    out, reports = trained
    train, _ = small.sessions.split_last(0.2)
    assert list(reports) == sorted(members)
    for cluster, report in reports.items():
        own = set(members[cluster])
        pairs = [(a, b) for items in lists(train) for a, b in zip(items, items[1:]) if a in own]
        seen = {item for items in lists(train) for item in items} & own
        assert report.status == "trained" and report.path == str(out / str(cluster) / "model")
        assert report.examples == len(pairs)
        assert report.inside == sum(b in own for _, b in pairs)
        assert report.ceiling == report.inside / report.examples
        assert report.training["examples"] + report.training["calibration_examples"] == report.inside  # of the refit: all of them
        model = stamp.load(report.path, device="cpu")
        assert set(model.item_ids_) == seen and report.products == len(seen)
        assert 0 < report.metrics["ceiling"] < 1 and report.metrics["hr@20"] <= report.metrics["ceiling"]


def test_the_reports_are_files(trained):
    out, reports = trained
    for cluster, report in reports.items():
        assert json.loads((out / str(cluster) / "report.json").read_text()) == report.to_dict()
        assert sorted(p.name for p in (out / str(cluster)).iterdir()) == ["model", "report.json"]  # no checkpoint
        assert report.peak_memory > 10 << 20 and report.versions["device"] == "cpu"
        assert report.config["dim"] == 8 and report.config["validation"] == 0.1 and report.config["refit"] is True
        assert f"cluster {cluster}: trained" in repr(report) and "ceiling" in repr(report)
        assert stamp.TrainReport.from_dict(report.to_dict()) == report
    summary = json.loads((out / "report.json").read_text())
    assert summary["status"] == "trained" and list(summary["reports"]) == ["2", "7", "11"]
    with pytest.raises(AttributeError):
        report.status = "failed"


def test_clusters_train_in_processes_as_they_do_alone(small, members, trained, tmp_path):
    out, reports = trained
    train, _ = small.sessions.split_last(0.2)
    alone = stamp.train_cluster(train, Clusters(members), np.int64(2), out=tmp_path, **SMALL)
    assert same(weights_of(alone.path), weights_of(reports[2].path))
    assert alone.metrics == reports[2].metrics and alone.identity == reports[2].identity


@pytest.mark.parametrize("refit", [True, False])
def test_one_cluster_that_holds_everything_is_the_single_model(small, tmp_path, refit):
    train, test = small.sessions.split_last(0.2)
    single = stamp.StampRecommender(device="cpu", **OPTIONS).fit(train, validation=0.1, refit=refit, progress=False)
    config = {**OPTIONS, "refit": refit}
    everything = Clusters({0: small.products["id"].tolist()})
    reports = stamp.train_clusters(train, everything, out=tmp_path, **{**SMALL, "config": config})
    assert reports[0].ceiling == 1
    if refit:  # else the catalog has the products of the validation part, too
        assert same(weights_of(reports[0].path), single.weights_)
        expected = stamp.evaluate(single, test)
        actual = stamp.evaluate(stamp.load_clusters(tmp_path, device="cpu"), test)
        assert repr(actual) == repr(expected)
    else:
        assert stamp.load_clusters(tmp_path, device="cpu")._counts.sum() == single._counts.sum()


def test_evaluating_clusters_is_brute_force(small, members, trained):
    out, _ = trained
    train, test = small.sessions.split_last(0.2)
    models = {cluster: stamp.load(out / str(cluster) / "model", device="cpu") for cluster in members}
    cluster_of = {item: cluster for cluster, model in models.items() for item in model.item_ids_.tolist()}
    known = {item for items in lists(train) for item in items}
    hits, n, cold, unanswered, unreachable = 0, 0, 0, 0, 0
    for items in lists(test):
        for i in range(1, len(items)):
            n += 1
            history = [item for item in items[:i] if item in known]
            cluster = cluster_of.get(history[-1]) if history else None
            if items[i] not in known:
                cold += 1
            elif not history:
                unanswered += 1
            elif cluster is None or cluster_of.get(items[i]) != cluster:
                unreachable += 1
            else:
                own = [item for item in history if cluster_of.get(item) == cluster]
                hits += items[i] in models[cluster].recommend(own, k=5)[0]
    clustered = stamp.load_clusters(out, device="cpu")
    result = stamp.evaluate(clustered, test, k=5)
    assert (result.examples, result.cold_targets, result.unanswered, result.unreachable) == (
        n, cold, unanswered, unreachable,
    )  # fmt: skip
    assert unreachable > 0
    assert result.at[5]["hr"] == pytest.approx(hits / n)
    assert result.ceiling == (n - cold - unanswered - unreachable) / n
    single = stamp.evaluate(stamp.StampRecommender(device="cpu", **OPTIONS).fit(train, progress=False), test)
    assert (single.examples, single.cold_targets) == (n, cold) and single.unreachable == 0
    assert "out of reach" in repr(result)
    assert repr(clustered) == f"ClusteredRecommender(3 models, {len(known)} products)"


def test_the_same_call_trains_once(small, members, tmp_path):
    call = {"out": tmp_path, **SMALL}
    first = stamp.train_cluster(small.sessions, Clusters(members), 2, **call)
    assert stamp.train_cluster(small.sessions, Clusters(members), 2, **call) == first  # with its times
    other = {**SMALL["config"], "epochs": 3}
    for data, clusters, changed in (
        (small.sessions.split_last(0.1)[0], Clusters(members), {}),
        (small.sessions, Clusters(members, fingerprint="another"), {}),
        (small.sessions, Clusters(members), {"config": other}),
        (small.sessions, Clusters(members), {"resume": False}),
    ):
        stamp.train_cluster(small.sessions, Clusters(members), 2, **call)
        before = (tmp_path / "report.json").stat().st_ino
        again = stamp.train_cluster(data, clusters, 2, **{**call, **changed})
        assert (tmp_path / "report.json").stat().st_ino != before and again.status == "trained"
    stamp.train_cluster(small.sessions, Clusters(members), 2, **call)
    shutil.rmtree(tmp_path / "model")
    stamp.train_cluster(small.sessions, Clusters(members), 2, **call)
    assert (tmp_path / "model" / "manifest.json").exists()


SCRIPT = """
import sys
import numpy as np
import stamp

class Clusters:
    item_ids = np.array([f"sku-{i:05d}" for i in range(60)], object)
    labels = np.arange(60) // 40
    ids = [0, 1]
    fingerprint = "two"
    def parent(self, cluster):
        return None

shop = stamp.datasets.synthetic_shop(sessions=2000, products=60, seed=5)
config = {"dim": 32, "epochs": int(sys.argv[2]), "batch_size": 32, "checkpoint_seconds": 0.02}
print("ready", flush=True)
report = stamp.train_cluster(shop.sessions, Clusters(), 0, out=sys.argv[1], config=config, device="cpu",
                             min_examples=0, progress=False)
print(report.status, report.training["resumed"])
"""


def start(out, epochs):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, out, str(epochs)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


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
    assert same(weights_of(tmp_path / "whole" / "model"), weights_of(tmp_path / "killed" / "model"))
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
        assert same(weights_of(tmp_path / "whole" / "model"), weights_of(tmp_path / name / "model"))
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


def test_writers_of_one_file_do_not_meet(tmp_path, monkeypatch):
    flush = os.fsync

    def meanwhile(file):
        monkeypatch.setattr(os, "fsync", flush)
        write_json(tmp_path / "file", {"of": "a container where this process has the same number"})
        flush(file)

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_json(tmp_path / "file", {"of": "the last"})
    assert json.loads((tmp_path / "file").read_text()) == {"of": "the last"}
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_every_device(small, members, device, tmp_path):
    train, _ = small.sessions.split_last(0.8)
    config = {"dim": 4, "epochs": 1, "batch_size": 256}
    reports = stamp.train_clusters(
        train, Clusters(members), out=tmp_path, jobs=2, **{**SMALL, "config": config, "device": device}
    )
    assert {report.versions["device"].split(":")[0] for report in reports.values()} == {device.split(":")[0]}
    models = stamp.load_clusters(tmp_path, device=device)
    assert len(models.models) == 3 and stamp.evaluate(models, small.sessions).unreachable > 0


def test_merging_is_by_examples_and_follows_parents():
    inside = {1: 5, 2: 7, 3: 50, 4: 0, 5: 9}
    for parents, least, expected in (
        ({1: 2, 2: 3, 4: 3, 5: 3}, 10, {4: 3, 1: 2, 5: 3}),  # 2 has 12 examples when its turn comes
        ({1: 2, 2: 3, 4: 3, 5: 3}, 13, {4: 3, 1: 3, 5: 3, 2: 3}),
        ({1: 2, 2: 1, 4: 1, 5: None}, 30, {4: 2, 1: 2}),  # what has joined it is no parent
        ({}, 30, {}),
        ({1: 2, 2: 3, 4: 3, 5: 3}, 0, {}),
    ):
        assert merge(Clusters({1: []}, parents), inside, least) == expected
    with pytest.raises(ValueError, match="the parent of cluster 4 is 9, which is no cluster"):
        merge(Clusters({1: []}, {4: 9}), inside, 1)


def test_a_merged_cluster_trains_in_its_parent(small, members, tmp_path, trained):
    train, _ = small.sessions.split_last(0.2)
    counts = {cluster: report.inside for cluster, report in trained[1].items()}
    least = sorted(counts.values())[0] + 1
    smallest = min(counts, key=counts.get)
    parent = next(cluster for cluster in members if cluster != smallest)
    call = {**SMALL, "min_examples": least}
    clusters = Clusters(members, {smallest: parent})
    fallen = stamp.train_cluster(train, clusters, smallest, out=tmp_path / "fallen", **call)
    assert fallen.status == "merged" and fallen.into == parent and fallen.path is None
    assert fallen.inside == counts[smallest]
    assert [p.name for p in (tmp_path / "fallen").iterdir()] == ["report.json"]
    assert f"merged into {parent}" in repr(fallen)
    assert stamp.train_cluster(train, clusters, smallest, out=tmp_path / "fallen", **call) == fallen

    reports = stamp.train_clusters(train, clusters, out=tmp_path / "all", **call)
    assert reports[smallest].into == parent
    union = stamp.train_clusters(train, Clusters({parent: members[parent] + members[smallest]}), out=tmp_path / "union",
                                 **SMALL)[parent]  # fmt: skip
    assert same(weights_of(reports[parent].path), weights_of(union.path))
    assert (reports[parent].examples, reports[parent].inside) == (union.examples, union.inside)
    assert len(stamp.load_clusters(tmp_path / "all", device="cpu").models) == 2


def test_a_cluster_that_has_fallen_counts_no_more_by_its_old_model(small, members, tmp_path):
    train, _ = small.sessions.split_last(0.2)
    clusters = Clusters(members, {11: 7})
    call = {**SMALL, "out": tmp_path / "models"}
    before = stamp.train_clusters(train, clusters, **call)
    least = {**call, "min_examples": before[11].inside + 1}
    assert before[11].inside < min(before[2].inside, before[7].inside)
    after = stamp.train_clusters(train, clusters, only=[7], **least)
    assert after[7].products == before[7].products + before[11].products
    for only, expected in (([7], [7]), ([2], [2, 7]), ([11], [2, 7])):  # the summary knows what others have left
        stamp.train_clusters(train, clusters, only=only, **least)
        assert list(stamp.load_clusters(tmp_path / "models", device="cpu").models) == expected
        bundle = stamp.build_bundle(tmp_path / "models", out=tmp_path / "bundle")
        assert [cluster["id"] for cluster in bundle["clusters"]] == expected
    summary = json.loads((tmp_path / "models" / "report.json").read_text())
    assert {cluster: report["status"] for cluster, report in summary["reports"].items()} == {
        "2": "trained", "7": "trained", "11": "merged",
    }  # fmt: skip


def test_other_options_for_one_cluster_leave_the_others(small, members, tmp_path):
    stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path, **SMALL)
    other = {**SMALL, "config": {**OPTIONS, "dim": 4}}
    stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path, only=[7], **other)
    models = stamp.load_clusters(tmp_path, device="cpu").models
    assert {cluster: model.weights_["items"].shape[1] for cluster, model in models.items()} == {2: 8, 7: 4, 11: 8}
    stamp.train_cluster(small.sessions, Clusters(members), 2, out=tmp_path / "2", **other)
    with pytest.raises(RuntimeError, match="2 is not what the last call of train_clusters left there"):
        stamp.load_clusters(tmp_path, device="cpu")
    stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path, only=[2], **other)
    assert stamp.load_clusters(tmp_path, device="cpu").models[2].weights_["items"].shape[1] == 4


def test_a_directory_of_two_calls_is_refused(small, members, tmp_path, monkeypatch):
    models, finish = tmp_path / "models", parallel_training._Pool._finish
    call = {"out": models, "jobs": 1, **SMALL}
    yesterday = stamp.train_clusters(small.sessions.split_last(0.2)[0], Clusters(members), **call)
    with pytest.raises(ValueError, match="only"):  # refused before anything is touched
        stamp.train_clusters(small.sessions, Clusters(members), only=[3], **call)
    assert sorted(stamp.load_clusters(models, device="cpu").models) == [2, 7, 11]

    def interrupted(*args):
        finish(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parallel_training._Pool, "_finish", interrupted)
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


def trainings_of(parent):
    """Processes that were spawned to train."""
    found = []
    for file in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
        for child in file.read_text().split():
            try:
                if b"spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
            except OSError:  # it has ended
                pass
    return found


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


def test_a_warm_start_keeps_what_both_know(small, members, tmp_path):
    train, _ = small.sessions.split_last(0.5)
    few = [item for i, item in enumerate(members[7]) if i % 4]
    yesterday = stamp.train_clusters(train, Clusters({7: few, 50: members[2]}), out=tmp_path / "old", **SMALL)
    old = stamp.load(yesterday[7].path, device="cpu")
    still = {**SMALL, "config": {**OPTIONS, "learning_rate": 1e-12}}  # what it begins with is what it ends with
    cold = stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "cold", **still)
    warm = stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "warm",
                               warm_start=yesterday[7].path, **still)  # fmt: skip
    assert warm.identity != cold.identity
    cold_model, warm_model = stamp.load(cold.path, device="cpu"), stamp.load(warm.path, device="cpu")
    ids = warm_model.item_ids_.tolist()
    assert ids == cold_model.item_ids_.tolist() and set(ids) - set(old.item_ids_) and set(ids) & set(old.item_ids_)
    for row, item in enumerate(ids):
        at = np.flatnonzero(old.item_ids_ == item)
        expected = old.weights_["items"][at[0]] if len(at) else cold_model.weights_["items"][row]
        np.testing.assert_allclose(warm_model.weights_["items"][row], expected, atol=1e-6)
    np.testing.assert_allclose(warm_model.weights_["attention.w1"], old.weights_["attention.w1"], atol=1e-6)
    # Floors too, where none are fitted; those of another number are not.
    for floors in (10, 3):
        config = {**still["config"], "calibration": 0, "repeat_floors": floors}
        report = stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / f"floors {floors}",
                                     warm_start=yesterday[7].path, **{**still, "config": config})  # fmt: skip
        found = stamp.load(report.path, device="cpu").weights_["repeat.floors"]
        assert np.array_equal(found, old.weights_["repeat.floors"]) if floors == 10 else (found < -1e38).all()

    both = stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path / "new", warm_start=tmp_path / "old",
                                **still)  # fmt: skip
    assert same(weights_of(both[7].path), warm_model.weights_)
    assert both[2].identity != both[7].identity  # which had no model yesterday
    # One model for all, of the whole catalog: each begins with its own rows of it.
    whole = stamp.StampRecommender(device="cpu", **{**OPTIONS, "epochs": 1}).fit(small.sessions, progress=False)
    whole.save(tmp_path / "whole")
    all_ = stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path / "from", warm_start=tmp_path / "whole",
                                **still)  # fmt: skip
    rows = {item: row for row, item in enumerate(whole.item_ids_.tolist())}
    for report in all_.values():
        model = stamp.load(report.path, device="cpu")
        expected = whole.weights_["items"][[rows[item] for item in model.item_ids_.tolist()]]
        np.testing.assert_allclose(model.weights_["items"], expected, atol=1e-6)
    for option, value in (("dim", 9), ("residual", "anchor"), ("mlp_bias", False)):
        with pytest.raises(ValueError, match=f"warm_start: that model has {option}="):
            stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "wrong",
                                warm_start=yesterday[7].path, **{**SMALL, "config": {**OPTIONS, option: value}})  # fmt: skip
    with pytest.raises(ValueError, match="not a saved model"):
        stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "wrong", warm_start=tmp_path, **SMALL)
    with pytest.raises(ValueError, match="holds no report.json of train_clusters"):
        stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path / "wrong", warm_start=tmp_path, **SMALL)


def test_input_that_cannot_be(small, members, tmp_path):
    clusters = Clusters(members)

    def refused(message, *, data=small.sessions, clusters=clusters, cluster=2, **changed):
        call = {**SMALL, "out": tmp_path, **changed}
        with pytest.raises(ValueError, match=message):
            stamp.train_cluster(data, clusters, cluster, **call)
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["status"] == "failed" and report["reason"]

    refused("there is no cluster 3, expected one of 2, 7, 11", cluster=3)
    refused("unknown option 'dims'", config={"dims": 3})
    refused("dim is 0", config={"dim": 0})
    refused("'device' is an argument", config={"device": "cpu"})
    for value in (1, -0.1, True, "0.1", None):
        refused(f"validation is {value!r}", config={"validation": value})
    refused("refit is 1", config={"refit": 1})
    refused("refit is True without validation", config={"refit": True, "validation": 0})
    refused("patience needs validation", config={**OPTIONS, "patience": 1, "validation": 0})
    refused("min_examples is -1", min_examples=-1)
    refused("unknown device 'tpu'", device="tpu")
    refused("no product of the data is in any cluster", clusters=Clusters({2: [1, 2, 3]}))
    refused("there are no clusters", clusters=Clusters({}))
    refused("cannot read int", data=17)
    single = stamp.Sessions.from_frame([["a", "b"]])
    refused(
        "1 sessions have an example of cluster 2, expected 2 or more", data=single, clusters=Clusters({2: ["a", "b"]})
    )
    apart = stamp.Sessions.from_frame([["a", "b"], ["a", "b"]])
    refused("no example in", data=apart, clusters=Clusters({2: ["a"], 3: ["b"]}))
    for name in ("jobs", "threads", "memory"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            stamp.train_clusters(small.sessions, clusters, out=tmp_path, **{name: 0}, **SMALL)
    with pytest.raises(ValueError, match="only: there is no cluster 3"):
        stamp.train_clusters(small.sessions, clusters, out=tmp_path, only=[2, 3], **SMALL)
    with pytest.raises(ValueError, match="unknown device"):
        stamp.train_clusters(small.sessions, clusters, out=tmp_path, **{**SMALL, "device": "tpu"})
    with pytest.raises(RuntimeError, match="holds no report.json of train_clusters"):
        stamp.load_clusters(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        stamp.train_cluster(small.sessions, clusters, 2, out=tmp_path / "file", **SMALL)


def test_without_validation_all_is_trained_on(small, members, tmp_path):
    call = {**SMALL, "config": {**OPTIONS, "validation": 0}}
    report = stamp.train_cluster(small.sessions, Clusters(members), 2, out=tmp_path, **call)
    assert report.metrics == {} and report.config["refit"] is False
    assert report.training["examples"] + report.training["calibration_examples"] == report.inside


def test_a_directory_of_parquet_files(small, tmp_path):
    table = pa.table({name: pa.array(column) for name, column in small.events.items()})
    (tmp_path / "day=2").mkdir()
    pyarrow.parquet.write_table(table.slice(0, 900), tmp_path / "a.parquet")
    pyarrow.parquet.write_table(table.slice(900), tmp_path / "day=2" / "b.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    assert stamp.Sessions.from_frame(tmp_path)._core.fingerprint() == small.sessions._core.fingerprint()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no .parquet files"):
        stamp.Sessions.from_frame(tmp_path / "empty")


def test_the_command_line(small, members, tmp_path, monkeypatch, capsys):
    stand_in = types.SimpleNamespace(load=lambda path: Clusters(json.loads(open(path).read())))
    monkeypatch.setattr(training, "CatalogClusters", stand_in)
    monkeypatch.setattr(Clusters, "__init__", by_integers(Clusters.__init__))
    (tmp_path / "clusters").write_text(json.dumps(members))
    table = pa.table({name: pa.array(column) for name, column in small.events.items()})
    pyarrow.parquet.write_table(table, tmp_path / "events.parquet")
    common = [str(tmp_path / "events.parquet"), str(tmp_path / "clusters")]
    options = ["--device", "cpu", "-o", "dim=8", "-o", "epochs=1", "-o", "validation=0.2"]
    one = ["train-cluster", *common, "2", "--out", str(tmp_path / "one"), *options, "--min-examples", "1"]
    assert cli.main([*one, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["status"] == "trained" and report["config"]["validation"] == 0.2
    assert cli.main([*one, "--quiet"]) == 0
    assert "cluster 2: trained" in capsys.readouterr().out
    every = ["train-clusters", *common, "--out", str(tmp_path / "all"), *options, "--min-examples", "1"]
    assert cli.main([*every, "--jobs", "2", "--json", "--memory", "1.5"]) == 0
    reports = json.loads(capsys.readouterr().out)
    assert sorted(reports) == ["11", "2", "7"] and reports["2"]["inside"] == report["inside"]
    training = reports["2"]["training"]
    assert training["examples"] + training["calibration_examples"] == report["inside"] and training["calibration_examples"] > 0
    assert cli.main([*every, "--only", "2", "7", "--no-resume"]) == 0
    written = capsys.readouterr()
    assert written.out.count("trained") == 2 and "clusters: " in written.err
    assert cli.main([*one[:3], "3", *one[4:]]) == 2
    assert "there is no cluster 3" in capsys.readouterr().err
    assert cli.main([*every, "-o", "learning_rate=1e18", "--quiet"]) == 2
    assert "3 of 3 clusters failed" in capsys.readouterr().err


def by_integers(init):
    """Of JSON's keys, which are strings."""
    return lambda self, members: init(self, {int(cluster): items for cluster, items in members.items()})
