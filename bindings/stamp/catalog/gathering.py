"""Clusters that were trained one by one, each by a :func:`train_cluster` of its own, wherever that ran: one summary of all."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from ..data.products import Products
from ..models.train_reports import TrainReport, finished, read_report, write_report
from .clusters import CatalogClusters
from .jobs import Settings, failure
from .plans import Plan
from .summaries import begin_summary, check_summary, end_summary
from .training import MIN_EXAMPLES, earlier
from .warm_starts import WarmStart


def examples_to_train(
    data: Any, clusters: CatalogClusters | str | os.PathLike[str], *, min_examples: int = MIN_EXAMPLES
) -> dict[int, int]:
    """Examples that each cluster is trained on, of those that are trained: others are merged into one of them.

    Raises
    ------
    ValueError
        Data or clusters that cannot be.
    """
    plan = Plan.make(data, clusters, min_examples, None)
    return {cluster: plan.merged[cluster][2] for cluster in plan.ids if cluster not in plan.into}


def gather_clusters(
    data: Any,
    clusters: CatalogClusters | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    min_examples: int = MIN_EXAMPLES,
    warm_start: str | os.PathLike[str] | None = None,
    like: str | os.PathLike[str] | None = None,
    products: Products | None = None,
) -> dict[int, TrainReport]:
    """Make of ``out/<id>``, each of a :func:`train_cluster` with these options, what :func:`train_clusters` leaves in `out`.

    Nothing is trained. A cluster of which there is no report of this data, these clusters and options has failed.

    Returns
    -------
    dict of int to TrainReport
        Of all clusters.

    Raises
    ------
    ValueError
        Data, clusters or options that cannot be.
    RuntimeError
        Something in `out` stands where the summary or the catalog belong and is not of an earlier call.
    """
    start = time.perf_counter()
    folder = pathlib.Path(out)
    check_summary("gather_clusters", folder)
    settings = Settings.read(config, min_examples)
    settings.require_products(products)
    plan = Plan.make(data, clusters, min_examples, None, products, objectives=settings.objectives)
    begin_summary(folder, plan)
    reports = {}
    for cluster in plan.ids:
        own, place = settings.like(earlier(like, cluster)), folder / str(cluster)
        expected = plan.report(cluster, own, plan.identity(cluster, own, WarmStart.find(warm_start, cluster)))
        reports[cluster] = finished(place, expected.identity) or _unfinished(place, expected)
    end_summary(folder, plan, settings, reports, seconds=time.perf_counter() - start)
    return reports


def _unfinished(place: pathlib.Path, expected: TrainReport) -> TrainReport:
    """Of a cluster that has no model to be found: one that is merged has none, all others failed."""
    if expected.status == "merged":
        return write_report(place, expected)
    found = read_report(place)
    if found is not None and found.identity == expected.identity:
        return found
    return write_report(place, failure(expected, RuntimeError("nothing trained it")))
