"""Clusters that share a GPU are trained by the threads of one process there: on the simulator, and on a GPU where there is one."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

import stamp
from small_clusters import SMALL, Clusters, same, weights_of
from stamp.catalog import workers

TINY = {**SMALL, "config": {"dim": 4, "epochs": 1, "batch_size": 32}}


@pytest.fixture(scope="module")
def gpu(device):
    if device == "cpu":
        pytest.skip("on a CPU each cluster has a process of its own")
    return device


@pytest.fixture(scope="module")
def few(small):
    return small.sessions.split_last(0.1)[1]


def test_clusters_of_one_gpu_share_a_process(few, members, tmp_path, monkeypatch, gpu):
    started = []
    spawn = workers.Pool._spawn
    monkeypatch.setattr(workers.Pool, "_spawn", lambda self, *a: started.append(a) or spawn(self, *a))
    options = {**TINY, "device": gpu}
    reports = stamp.train_clusters(few, Clusters(members), out=tmp_path / "together", jobs=3, **options)
    assert started == [(gpu, True)] and {report.status for report in reports.values()} == {"trained"}
    for cluster in members:
        stamp.train_cluster(few, Clusters(members), cluster, out=tmp_path / str(cluster), **options)
        alone, together = (
            weights_of(path / "model") for path in (tmp_path / str(cluster), tmp_path / "together" / str(cluster))
        )
        assert same(alone, together)


def test_a_process_that_dies_costs_none_of_those_it_trained(few, members, tmp_path, gpu):
    killed = []

    def kill_the_first():
        end = time.monotonic() + 60
        while time.monotonic() < end and not list(tmp_path.glob("*/checkpoint.safetensors")):
            time.sleep(0.002)
        for child in multiprocessing.active_children():
            killed.append(child.pid)
            os.kill(child.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    config = {**TINY["config"], "epochs": 3, "checkpoint_seconds": 0}
    options = {**TINY, "config": config, "device": gpu}
    reports = stamp.train_clusters(few, Clusters(members), out=tmp_path, jobs=3, **options)
    killer.join()
    assert len(killed) == 1 and {report.status for report in reports.values()} == {"trained"}


def test_what_fails_beside_others_is_tried_once_more_by_itself(few, members, tmp_path, monkeypatch, gpu):
    start, alone = workers.Pool._start, []

    def watched(self, task, *where):
        beside = len(self._running())
        begun = start(self, task, *where)
        if begun and task.alone:
            alone.append((task.report.cluster, beside))
        return begun

    monkeypatch.setattr(workers.Pool, "_start", watched)
    config = {**TINY["config"], "learning_rate": 1e30}  # diverges wherever it is
    with pytest.raises(stamp.TrainingFailed, match="3 of 3"):
        stamp.train_clusters(few, Clusters(members), out=tmp_path, jobs=3, **{**TINY, "config": config, "device": gpu})
    assert sorted(alone) == [(cluster, 0) for cluster in sorted(members)]
