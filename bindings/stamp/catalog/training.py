"""Training one model per cluster of the catalog: the call that a pipeline step makes, and what it leaves behind.

An example belongs to the cluster of its anchor, the event immediately before the target. History outside the cluster is
skipped, candidates are the cluster's products, a target outside is a miss in every evaluation.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from ..base.checks import plain
from ..data.products import Products
from ..models.train_reports import TrainReport, finished, read_report, write_report
from .clusters import CatalogClusters
from .jobs import Settings, check_out, clear_checkpoint, failure
from .plans import Plan
from .warm_starts import WarmStart

MIN_EXAMPLES = 1000


def train_cluster(
    data: Any,
    clusters: CatalogClusters | str | os.PathLike[str],
    cluster_id: int,
    *,
    out: str | os.PathLike[str],
    products: Products | None = None,
    reading: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    min_examples: int = MIN_EXAMPLES,
    warm_start: str | os.PathLike[str] | None = None,
    like: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: bool = True,
) -> TrainReport:
    """Train the model of one cluster: a step of a pipeline, which may be killed and repeated at any time.

    A call that was killed continues from ``out/checkpoint.safetensors``, to the same bits. A call that is repeated with
    the same data, clusters and config returns the report of the first; with anything else it trains anew. A cluster with
    fewer than `min_examples` examples to train on falls to its parent, whose model has its products then: nothing is
    trained, and the report says ``merged`` and `into`. docs/training.md has the rules.

    Parameters
    ----------
    data : Sessions, or what :meth:`Sessions.from_frame` reads
        Of prepared data, laid out by these clusters (:func:`stamp.data.partition`), only the cluster's files are read.
        Where config has `objectives`, events have types: of sessions in the column `event_type`, or as labels.
    clusters : CatalogClusters, or the path of one
    cluster_id : int
    out : path
        Directory for ``model`` (see :func:`stamp.load`) and ``report.json``, which is written last.
    products : Products, optional
        Whose attributes rows are made of where config has `content`: in each cluster the values that its own products have.
    reading : dict, optional
        Options of :meth:`Sessions.from_frame` for data that is read here: ``{"session_id": "visit", "separator": ";"}``.
    config : dict
        Options of :class:`StampRecommender`, and `validation`, the share of the cluster's last sessions that judges the
        epochs (default 0.1; 0 for none), and `refit`, to train anew on all of them for the best number of epochs
        (default True with validation).
    device : str
        As of :class:`StampRecommender`.
    min_examples : int
        The same for all clusters of a catalog.
    warm_start : path, optional
        A saved model, yesterday's, to begin with: its weights, and its rows of the products that both know. Of a bundle of
        several clusters, or the `out` of :func:`train_clusters`, the model that the cluster had there, where it had one.
    like : path, optional
        The `out` of an earlier :func:`train_clusters`: train for the epochs that were best there, on all sessions, without
        validation. Where the cluster was not trained there, or without validation, it is trained as it says here.
    resume : bool
        False trains anew, whatever is there.

    Raises
    ------
    ValueError
        Data, clusters or options that cannot be; `objectives` that no event is of, or, in data laid out by cluster,
        that none can be by their mapping.
    RuntimeError
        The device, the disk, or :class:`TrainingDiverged`. Something in `out` stands where a file of the training belongs
        and is not of an earlier one, which is looked into before any work.

    Whatever else is raised, ``out/report.json`` says ``failed`` and the reason. Ctrl-C raises KeyboardInterrupt and
    leaves a checkpoint.
    """
    start = time.perf_counter()
    cluster_id = plain(cluster_id)
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    check_out(folder)
    known = TrainReport(cluster=cluster_id, status="failed", config=dict(config or {}))
    try:
        settings = Settings.read(config, min_examples).like(earlier(like, cluster_id))
        settings.require_products(products)
        plan = Plan.make(data, clusters, min_examples, reading, products, objectives=settings.objectives)
        plan.require("train_cluster", cluster_id)
        warm = WarmStart.find(warm_start, cluster_id)
        identity = plan.identity(cluster_id, settings, warm)
        if resume and (done := finished(folder, identity)):
            return done
        if not resume:
            clear_checkpoint(folder)
        known = plan.report(cluster_id, settings, identity)
        if known.status == "merged":
            return write_report(folder, known)
        job = plan.job(known, settings, folder, device, warm)
        known = dataclasses.replace(known, seconds={"prepare": time.perf_counter() - start})
        return dataclasses.replace(job, report=known).run(progress)
    except Exception as error:
        write_report(folder, failure(known, error))
        raise


def earlier(like: str | os.PathLike[str] | None, cluster_id: int) -> TrainReport | None:
    """The report of a cluster's earlier training. Raises ValueError where `like` has none of any cluster."""
    if like is None:
        return None
    if not (pathlib.Path(like) / "report.json").is_file():
        raise ValueError(f"like: {os.fspath(like)} holds no report.json of train_clusters")
    return read_report(pathlib.Path(like) / str(cluster_id))
