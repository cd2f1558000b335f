"""Training the models of all clusters on one machine, side by side, each in a process of its own."""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import _stamp
from ..base.checks import plain, whole_number
from ..base.memory import available_memory
from ..base.progress import ClustersBar
from ..models.hardware import devices
from ..models.train_reports import TrainReport, finished, write_report
from .clusters import CatalogClusters
from .jobs import Job, Settings, check_out, clear_checkpoint, failure
from .plans import Plan
from .summaries import begin_summary, check_summary, end_summary
from .training import MIN_EXAMPLES, earlier
from .warm_starts import WarmStart

_PROCESS = 120 << 20  # bytes of a process that trains something tiny: 42 MiB were measured on a CPU


class TrainingFailed(RuntimeError):
    """Some clusters failed; all others are trained.

    Attributes
    ----------
    reports : dict of int to TrainReport
        Of all clusters.
    """

    def __init__(self, message: str, reports: dict[int, TrainReport]):
        super().__init__(message, reports)  # both, as whoever unpickles it calls with these
        self.reports = reports

    def __str__(self) -> str:
        return str(self.args[0])


def train_clusters(
    data: Any,
    clusters: CatalogClusters | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    reading: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    jobs: int | None = None,
    threads: int | None = None,
    memory: int | None = None,
    min_examples: int = MIN_EXAMPLES,
    warm_start: str | os.PathLike[str] | None = None,
    like: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: bool = True,
    only: Iterable[int] | None = None,
) -> dict[int, TrainReport]:
    """Train the models of all clusters, the biggest first, several at a time, each in a process of its own.

    Cluster 7 is what ``train_cluster(…, out=out/7)`` would make of it, to the same bits. A cluster that fails, or whose
    process is killed, costs no other. Processes are spawned: a script that calls this does so under
    ``if __name__ == "__main__":``.

    Parameters
    ----------
    data, clusters, reading, config, min_examples, resume
        As of :func:`train_cluster`.
    out : path
        Directory for one directory a cluster, ``catalog.safetensors`` (all products of the data, with their clicks) and
        ``report.json``, a summary, which is written last. :func:`load_clusters` reads it.
    device : str
        "auto" and "cuda" spread the clusters over all GPUs.
    jobs : int, optional
        Processes at a time: as many as there are GPUs, or threads, unless given.
    threads : int, optional
        Of each process: its share of all, unless given.
    memory : int, optional
        Bytes that all processes together may hold, by an estimate: what the container may use, unless given. One cluster
        at a time is always trained.
    warm_start : path, optional
        Yesterday's `out`, or a bundle of all clusters: a cluster begins with the model it had there, where it had one. Or
        a saved model, that of the whole catalog say, which all begin with.
    like : path, optional
        The `out` of an earlier call: each cluster is trained for the epochs that were best there, on all of its sessions,
        without validation. One that was not trained there, or without validation, is trained as it says here.
    progress : bool
        One bar over the examples of all clusters, and a line for each that is done.
    only : ids of clusters, optional
        Others are left as they are, and in the summary if data, clusters and `min_examples` are still the same.

    Raises
    ------
    ValueError
        Data, clusters or options that cannot be.
    RuntimeError
        The device cannot be had, or something in `out` stands where the summary or the catalog belong and is not of an
        earlier call; both are looked into before any work.
    TrainingFailed
        Clusters failed; raised when all others are done, with the reports of all.
    """
    start = time.perf_counter()
    folder = pathlib.Path(out)
    check_summary("train_clusters", folder)
    for name, value in (("jobs", jobs), ("threads", threads), ("memory", memory)):
        if value is not None:
            whole_number(f"train_clusters: {name}", value, least=1)
    if only is not None and (isinstance(only, str) or not isinstance(only, Iterable)):
        raise ValueError(f"train_clusters: only is {only!r}, expected ids of clusters")
    settings = Settings.read(config, min_examples)
    names = _device_names(device, settings)
    plan = Plan.make(data, clusters, min_examples, reading)
    wanted = plan.ids if only is None else sorted({plain(cluster) for cluster in only})
    for cluster in wanted:
        plan.require("train_clusters: only", cluster)
    tasks = []
    for cluster in wanted:
        warm, own = WarmStart.find(warm_start, cluster), settings.like(earlier(like, cluster))
        report = plan.report(cluster, own, plan.identity(cluster, own, warm))
        tasks.append(_Task(report, folder / str(cluster), own, warm))
    begin_summary(folder, plan)

    reports: dict[int, TrainReport] = {}
    waiting: list[_Task] = []
    for task in tasks:
        cluster = task.report.cluster
        if resume and (done := finished(task.out, task.report.identity)):
            reports[cluster] = done
            continue
        try:
            check_out(task.out)
            if task.report.status == "merged":
                reports[cluster] = write_report(task.out, task.report)
                continue
            if not resume:
                clear_checkpoint(task.out)
        except (OSError, RuntimeError) as error:
            reports[cluster] = failure(task.report, error)
            continue
        waiting.append(task)
    waiting.sort(key=lambda task: (-task.report.inside, task.report.cluster))

    jobs = min(jobs or (len(names) if names[0] != "cpu" else _stamp.num_threads()), max(1, len(waiting)))
    pool = _Pool(
        make=lambda task, name: plan.job(task.report, task.settings, task.out, name, task.warm_start),
        devices=names,
        jobs=jobs,
        threads=threads or max(1, _stamp.num_threads() // jobs),
        memory=memory or available_memory(),
        bar=ClustersBar(sum(task.report.inside for task in waiting)) if progress and waiting else None,
    )
    reports.update(pool.run(deque(waiting)))
    reports = {cluster: reports[cluster] for cluster in wanted}
    end_summary(folder, plan, settings, reports, seconds=time.perf_counter() - start)
    failed = [report for report in reports.values() if report.status == "failed"]
    if failed:
        first = "; ".join(f"cluster {report.cluster}: {report.reason}" for report in failed[:3])
        raise TrainingFailed(
            f"train_clusters: {len(failed)} of {len(reports)} clusters failed: {first}{'; …' if failed[3:] else ''}",
            reports,
        )
    return reports


def _device_names(device: str, settings: Settings) -> list[str]:
    """Devices to spread clusters over; one that cannot be had is a RuntimeError here, before any work."""
    if device in ("auto", "cuda"):
        gpus = [info.name for info in devices() if info.available and info.name.startswith("cuda")]
        if gpus:
            return gpus
    return [_stamp.open_device(device, settings.recommender(device).precision).name]


@dataclasses.dataclass(frozen=True)
class _Task:
    report: TrainReport  # what is known before
    out: pathlib.Path
    settings: Settings
    warm_start: WarmStart | None


@dataclasses.dataclass
class _Worker:
    task: _Task
    job: Job | None  # until it is sent
    device: str
    process: Any
    bytes: int


def bytes_needed(job: Job) -> int:
    """An estimate of what training a cluster holds at most, wherever it is held."""
    options = job.settings.to_dict()
    table = len(job.item_ids) * options["dim"] * 4
    # The weights and two moments; the best weights; the rows in the layout that validation scans.
    tables = 5 + (options["clip_norm"] > 0) + (job.warm_start is not None)  # the gradient; the weights to begin with
    old = 0 if job.warm_start is None else job.warm_start.bytes  # which may know the whole catalog
    # As handed over, cut in two, without misses, and put together for the refit: an item and a weight an event each.
    return _PROCESS + tables * table + old + options["workspace_bytes"] + 5 * 8 * job.sessions.events


class _Pool:
    """Processes that train one cluster each. A process that ends without a report has failed, whatever the cause."""

    def __init__(
        self,
        *,
        make: Callable[[_Task, str], Job],
        devices: list[str],
        jobs: int,
        threads: int,
        memory: int,
        bar: ClustersBar | None,
    ):
        self._make, self._devices, self._jobs, self._threads, self._memory = make, devices, jobs, threads, memory
        self._bar = bar
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[Any, _Worker] = {}  # by the connection that it reports on
        self._reports: dict[int, TrainReport] = {}

    def run(self, waiting: deque[_Task]) -> dict[int, TrainReport]:
        ready: tuple[_Task, Job, str] | None = None  # cut, and waiting for memory
        try:
            while ready or waiting or self._running:
                while (ready or waiting) and len(self._running) < self._jobs:
                    ready = ready or self._cut(waiting.popleft())
                    if ready and not self._start(*ready):
                        break
                    ready = None
                for connection in multiprocessing.connection.wait(list(self._running)) if self._running else []:
                    self._listen(connection)
        finally:
            for worker in self._running.values():  # of an interrupted call: their checkpoints stay
                worker.process.terminate()
                worker.process.join()
            if self._bar is not None:
                self._bar.close()
        return self._reports

    def _cut(self, task: _Task) -> tuple[_Task, Job, str] | None:
        used = [worker.device for worker in self._running.values()]
        device = min(self._devices, key=used.count)
        try:
            return task, self._make(task, device), device
        except Exception as error:
            self._finish(task, failure(task.report, error))
            return None

    def _start(self, task: _Task, job: Job, device: str) -> bool:
        """False where memory has to be waited for."""
        size = bytes_needed(job)
        if self._running and size + sum(worker.bytes for worker in self._running.values()) > self._memory:
            return False
        try:
            task.out.mkdir(parents=True, exist_ok=True)
            here, there = self._context.Pipe()
            with there:  # closed here, so that the end of the process is the end of what can be read, or sent
                # The job is sent once the process asks for it: start() waits for ever to hand over more than a pipe
                # holds to a process that dies first.
                process = self._context.Process(target=_work, args=(self._threads, there), daemon=True)
                process.start()
            self._running[here] = _Worker(task, job, device, process, size)
        except Exception as error:
            self._finish(task, failure(task.report, error))
        return True

    def _listen(self, connection: Any) -> None:
        worker = self._running[connection]
        try:
            message = connection.recv()
            if message is None:  # it reads now
                connection.send(worker.job)
                worker.job = None
                return
        except (EOFError, ConnectionError):
            worker.process.join()
            message = failure(worker.task.report, RuntimeError(_how_it_ended(worker.process.exitcode)))
        except Exception as error:  # no memory to send or receive in, say
            worker.process.kill()
            message = failure(worker.task.report, error)
        if isinstance(message, TrainReport):
            del self._running[connection]
            worker.process.join()
            self._finish(worker.task, message)
        elif self._bar is not None:
            self._bar.advance(worker.task.report.cluster, round(message * worker.task.report.inside))

    def _finish(self, task: _Task, report: TrainReport) -> None:
        if report.status == "failed":
            try:
                write_report(task.out, report)
            except (OSError, RuntimeError) as error:
                reason = f"{report.reason} (and the report of it cannot be written: {error})"
                report = dataclasses.replace(report, reason=reason)
        self._reports[report.cluster] = report
        if self._bar is not None:
            self._bar.finish(report.cluster, task.report.inside, repr(report))


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status} before it was done"
    hint = "; out of memory?" if status == -signal.SIGKILL else ""
    return f"its process was killed by {signal.Signals(-status).name}{hint}"


def _work(threads: int, connection: Any) -> None:
    """What a process does: ask for a job (None), train, send shares of the work that are done, then the report."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits, which ends this one
    _stamp.set_num_threads(threads)
    connection.send(None)
    job: Job = connection.recv()
    selection = 0.5 if job.settings.refit else 1.0  # of all the work, unless patience or the best epoch cut it short

    def advance(phase: str, epoch: int, epochs: int, done: int, total: int, *_: float) -> None:
        share = (epoch - 1 + done / max(1, total)) / epochs
        if phase != "validate":
            connection.send(share * selection if phase == "train" else selection + share * (1 - selection))

    try:
        report = job.run(advance)
    except Exception as error:
        report = failure(job.report, error)
    connection.send(report)
