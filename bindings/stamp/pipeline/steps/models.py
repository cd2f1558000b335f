"""Models: of the whole catalog, its clusters, the data laid out by them, and a model for each."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ... import data as prepared_data
from ...base.streams import tell
from ...catalog import gathering
from ...catalog.clusters import CatalogClusters, cluster_catalog
from ...catalog.jobs import CHECKPOINT, fit_from_checkpoint
from ...catalog.parallel_training import TrainingFailed
from ...catalog.parallel_training import train_clusters as train
from ...catalog.training import MIN_EXAMPLES, train_cluster
from ...data.objectives import kept_for
from ...data.products import Products
from ...data.sessions import Sessions
from ...models.hardware import set_num_threads
from ...models.stamp_recommender import StampRecommender, load_model
from ...models.train_reports import TrainReport
from ...store.releases import bundle_digest
from .data import open_duckdb
from .reports import StepReport

MOST_FAILED = 0.05  # share of the examples
_MODEL = "model"


def train_full(
    data: str, *, out: str | os.PathLike[str], config: Mapping[str, Any] | None = None, device: str = "auto",
    progress: bool = False,
) -> StepReport:  # fmt: skip
    """The model of the whole catalog, at ``out/model``, on the sessions of prepared data.

    `config` has options of :class:`StampRecommender`, `validation` and `refit`, as of :func:`stamp.train_cluster`. A call
    that was killed continues from its checkpoint.
    """
    folder = pathlib.Path(out)
    options = dict(config or {})
    validation = options.pop("validation", 0.1) or None
    refit = options.pop("refit", validation is not None)
    model = StampRecommender(device=device, **options)
    sessions = Sessions.from_frame(data, keep=kept_for(model.get_params()["objectives"], {}))
    products = _attributes(data, options)

    def fit() -> None:
        model.fit(
            sessions, validation=validation, products=products, refit=refit, checkpoint=folder / CHECKPOINT,
            progress=progress,
        )  # fmt: skip

    fit_from_checkpoint(folder, fit)
    if model.report_["stopped"] == "interrupted":
        raise KeyboardInterrupt
    model.save(folder / _MODEL)
    return StepReport(
        fingerprint=bundle_digest(folder / _MODEL),
        counts={"products": model.n_items_, "examples": model.report_["examples"], "training": model.report_},
    )


def cluster(
    model: str | os.PathLike[str],
    data: str,
    *,
    out: str | os.PathLike[str],
    attribute: str | Sequence[str],
    previous: str | os.PathLike[str] | None = None,
    progress: bool = False,
    **options: Any,
) -> StepReport:
    """The clusters of the catalog, in the file ``out/clusters.safetensors``.

    `previous`, the file of an earlier day, is continued. All else is as of :func:`stamp.cluster_catalog`.
    """
    if previous is not None:
        options = {name: value for name, value in options.items() if name not in ("clusters", "distance")}
    names = [attribute] if isinstance(attribute, str) else list(attribute)
    products = Products.from_frame(data)
    lacking = [name for name in names if products.attributes.get(name) != "text"]
    if lacking:
        texts = [name for name, kind in products.attributes.items() if kind == "text"]
        raise ValueError(
            f"cluster: the catalog has no texts '{lacking[0]}'; clusters.attribute may be of {', '.join(texts) or 'none'}"
        )
    found = cluster_catalog(
        load_model(model), products, Sessions.from_frame(data, keep=()), attribute=names,
        previous=None if previous is None else CatalogClusters.load(previous), progress=progress, **options,
    )  # fmt: skip
    found.save(os.path.join(out, "clusters.safetensors"))
    return StepReport(
        fingerprint=found.fingerprint,
        counts={
            "clusters": found.ids, "products": found.n_products, "examples": found.n_examples,
            "recommendations_inside": found.recommendations_inside, "transitions_inside": found.transitions_inside,
            "report": found.report,
        },
    )  # fmt: skip


def partition(
    data: str, clusters: str | os.PathLike[str], *, out: str, engine: Mapping[str, Any] | None = None
) -> StepReport:
    """Prepared data, laid out at `out` by the clusters of a file. DuckDB does it, by its options of `engine`."""
    labels = CatalogClusters.load(clusters)
    with open_duckdb(engine) as opened:
        made = prepared_data.partition(
            data, {"item_id": labels.item_ids, "cluster": labels.labels}, out=out, engine=opened
        )
    return StepReport(
        fingerprint=made.fingerprint, counts={"clusters": {c: n.events for c, n in made.clusters.items()}}
    )


def train_clusters(
    data: str,
    clusters: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    min_examples: int = MIN_EXAMPLES,
    device: str = "auto",
    jobs: int | None = None,
    threads: int | None = None,
    memory: float | None = None,
    warm_start: str | os.PathLike[str] | None = None,
    like: str | os.PathLike[str] | None = None,
    most_failed: float = MOST_FAILED,
    only: Sequence[int] | None = None,
    progress: bool = False,
) -> StepReport:
    """A model for each cluster, in ``out/<id>``: see :func:`stamp.train_clusters`. Those that are there are kept.

    It does not pass where clusters that could not be trained have more than the share `most_failed` of the examples.
    `memory` is in GiB.
    """
    try:
        reports = train(
            data, clusters, out=out, config=config, min_examples=min_examples, device=device, jobs=jobs, threads=threads,
            memory=None if memory is None else round(memory * 2**30), warm_start=warm_start, like=like, only=only,
            products=_attributes(data, config), progress=progress,
        )  # fmt: skip
    except TrainingFailed as error:
        reports = error.reports
    return _judge_training(out, reports, most_failed)


def train_some(
    data: str,
    clusters: str | os.PathLike[str],
    cluster_ids: Sequence[int],
    *,
    out: Callable[[int], AbstractContextManager[str]],
    threads: int | None = None,
    progress: bool = False,
    **options: Any,
) -> list[int]:
    """A model for each of these clusters, one after another, in the folder that `out` gives for it; those that are there
    are kept. All else is as of :func:`stamp.train_cluster`. One that fails says so in its report, and costs no other.
    `progress`: say each that is done, on standard error.

    Returns
    -------
    list of int
        Those that failed.
    """
    if threads is not None:
        set_num_threads(threads)
    failed = []
    products = _attributes(data, options.get("config"))
    for cluster_id in cluster_ids:
        with out(cluster_id) as folder:
            try:
                report = train_cluster(
                    data, clusters, cluster_id, out=folder, products=products, progress=False, **options
                )
                if progress:
                    tell(repr(report))
            except (OSError, RuntimeError, ValueError, MemoryError) as error:
                tell(f"cluster {cluster_id} failed: {error}")
                failed.append(cluster_id)
    return failed


def _attributes(data: str, config: Mapping[str, Any] | None) -> Products | None:
    """The products of prepared data, where models have `content`."""
    return Products.from_frame(data) if config and config.get("content") else None


def gather_clusters(
    data: str, clusters: str | os.PathLike[str], *, out: str | os.PathLike[str], most_failed: float = MOST_FAILED,
    **options: Any,
) -> StepReport:  # fmt: skip
    """Of what :func:`train_some` left in ``out/<id>``, wherever it ran, what :func:`train_clusters` makes: nothing is
    trained here. All else is as of :func:`stamp.catalog.gathering.gather_clusters`."""
    products = _attributes(data, options.get("config"))
    reports = gathering.gather_clusters(data, clusters, out=out, products=products, **options)
    return _judge_training(out, reports, most_failed)


def _judge_training(out: str | os.PathLike[str], reports: Mapping[int, TrainReport], most_failed: float) -> StepReport:
    """It does not pass where clusters that failed have more than the share `most_failed` of the examples."""
    failed = {cluster: report for cluster, report in reports.items() if report.status == "failed"}
    examples = sum(report.inside for report in reports.values() if report.status != "merged")
    share = sum(report.inside for report in failed.values()) / max(1, examples)
    told = [f"cluster {cluster} was not trained: {report.reason}" for cluster, report in failed.items()]
    passed = share <= most_failed and len(failed) < len(reports)
    if not passed:
        told.append(
            f"clusters with {share:.1%} of the examples could not be trained, train.most_failed is {most_failed:.1%}"
        )
    trained = {cluster: report for cluster, report in reports.items() if report.status == "trained"}
    return StepReport(
        fingerprint=digest_of_models(out, trained),
        passed=passed,
        reasons=[] if passed else told,
        warnings=told if passed else [],
        counts={
            "trained": len(trained), "merged": sum(report.status == "merged" for report in reports.values()),
            "failed": sorted(failed), "examples": examples,
            "clusters": {cluster: _figures(report) for cluster, report in reports.items()},
        },
    )  # fmt: skip


def digest_of_models(out: str | os.PathLike[str], clusters: Any) -> str:
    """Of the models of these clusters."""
    made = {cluster: bundle_digest(pathlib.Path(out) / str(cluster) / _MODEL) for cluster in sorted(clusters)}
    return json.dumps(made)


def _figures(report: TrainReport) -> dict[str, Any]:
    """What the record shows of a training."""
    training = report.training
    return {
        "status": report.status, "into": report.into, "reason": report.reason, "products": report.products,
        "examples": report.examples, "inside": report.inside, "metrics": report.metrics,
        "best_epoch": training.get("best_epoch"), "seconds": report.seconds.get("total"),
        "losses": [epoch["loss"] for epoch in training.get("epochs", [])],
        "hr@20": [epoch["validation"]["at"]["20"]["hr"] for epoch in training.get("epochs", [])
                  if "20" in epoch.get("validation", {}).get("at", {})],
    }  # fmt: skip
