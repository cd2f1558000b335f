"""Training the models of all clusters on one machine, side by side."""

from __future__ import annotations

import os
import pathlib
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from .. import _stamp
from ..base.checks import plain, whole_number
from ..base.memory import available_memory
from ..base.progress import ClustersBar
from ..data.products import Products
from ..models.hardware import devices
from ..models.train_reports import TrainReport, finished, write_report
from .clusters import CatalogClusters
from .jobs import Settings, check_out, clear_checkpoint, failure
from .plans import Plan
from .summaries import begin_summary, check_summary, end_summary
from .training import MIN_EXAMPLES, earlier
from .warm_starts import WarmStart
from .workers import Pool, Task

_MODELS_A_GPU = 4  # at a time: one of 10,000 products leaves much of the chip idle


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
    products: Products | None = None,
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
    """Train the models of all clusters, the biggest first, several at a time: on CPUs each in a process of its own, on a
    GPU several in one, as processes would take turns there.

    Cluster 7 is what ``train_cluster(…, out=out/7)`` would make of it, to the same bits. A cluster that fails, or whose
    process is killed, costs no other: those that shared the process go on from their checkpoints, one after another.
    Processes are spawned: a script that calls this does so under
    ``if __name__ == "__main__":``.

    Parameters
    ----------
    data, clusters, products, reading, config, min_examples, resume
        As of :func:`train_cluster`.
    out : path
        Directory for one directory a cluster, ``catalog.safetensors`` (all products of the data, with their clicks) and
        ``report.json``, a summary, which is written last. :func:`load_clusters` reads it.
    device : str
        "auto" and "cuda" spread the clusters over all GPUs.
    jobs : int, optional
        Clusters at a time: as many as there are threads, or four times as many as GPUs, unless given.
    threads : int, optional
        Of the CPU, for each process: its share of all, unless given.
    memory : int, optional
        Bytes that all clusters under way together may hold, by an estimate: what the container may use, unless given. One cluster
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
    settings.require_products(products)
    plan = Plan.make(data, clusters, min_examples, reading, products, objectives=settings.objectives)
    wanted = plan.ids if only is None else sorted({plain(cluster) for cluster in only})
    for cluster in wanted:
        plan.require("train_clusters: only", cluster)
    tasks: list[Task] = []
    for cluster in wanted:
        warm, own = WarmStart.find(warm_start, cluster), settings.like(earlier(like, cluster))
        report = plan.report(cluster, own, plan.identity(cluster, own, warm))
        tasks.append(Task(report, folder / str(cluster), own, warm))
    begin_summary(folder, plan)

    reports: dict[int, TrainReport] = {}
    waiting: list[Task] = []
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

    on_gpus = names[0] != "cpu"
    jobs = min(jobs or (_MODELS_A_GPU * len(names) if on_gpus else _stamp.num_threads()), max(1, len(waiting)))
    processes = min(jobs, len(names)) if on_gpus else jobs
    pool = Pool(
        make=lambda task, name: plan.job(task.report, task.settings, task.out, name, task.warm_start),
        devices=names,
        jobs=jobs,
        shared=on_gpus,
        threads=threads or max(1, _stamp.num_threads() // processes),
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
