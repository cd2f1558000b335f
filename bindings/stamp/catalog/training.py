"""Training one model per cluster of the catalog: the call that a pipeline step makes, and what it leaves behind.

An example belongs to the cluster of its anchor, the event immediately before the target. History outside the cluster is
skipped, candidates are the cluster's products, a target outside is a miss in every evaluation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import platform
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _stamp
from .._stamp import __version__
from ..base.checks import plain, truth, whole_number
from ..base.files import check_file, tensors_metadata
from ..data.sessions import Sessions
from ..data.tables.ids import Ids
from ..models.evaluation import Evaluation
from ..models.hardware import peak_memory
from ..models.stamp_recommender import StampRecommender, load_model
from ..models.train_reports import FORMAT, TrainReport, check_report, finished, write_report
from .clusters import CatalogClusters

MIN_EXAMPLES = 1000
_CHECKPOINT = "checkpoint.safetensors"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How every cluster is trained: the `config` of a call, checked, with its defaults."""

    options: dict[str, Any]  # of StampRecommender, as given
    validation: float
    refit: bool
    min_examples: int

    @classmethod
    def read(cls, config: Mapping[str, Any] | None, min_examples: int) -> Settings:
        options = dict(config or {})
        if "device" in options:
            raise ValueError("config: 'device' is an argument of the call, not of config")
        validation = plain(options.pop("validation", 0.1))
        if isinstance(validation, bool) or not isinstance(validation, (int, float)) or not 0 <= validation < 1:
            raise ValueError(
                f"config: validation is {validation!r}, expected the share of the last sessions that judges the epochs, "
                "0 (none) to below 1"
            )
        refit = truth("config: refit", options.pop("refit", validation > 0))
        if refit and not validation:
            raise ValueError("config: refit is True without validation, which chooses the number of epochs")
        settings = cls(options, float(validation), refit, whole_number("min_examples", min_examples, least=0))
        settings.recommender("cpu")  # names the option that cannot be
        return settings

    def recommender(self, device: str) -> StampRecommender:
        return StampRecommender(device=device, **self.options)

    def to_dict(self) -> dict[str, Any]:
        params = self.recommender("cpu").get_params()
        del params["device"]
        return {**params, "validation": self.validation, "refit": self.refit, "min_examples": self.min_examples}


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Which products of the data train together."""

    data: Sessions
    ids: list[int]  # of the clusters, rising
    labels: np.ndarray  # [V of data] int32: place in `ids` of the cluster whose model has the product, or -1
    clicks: np.ndarray  # [V of data]
    into: dict[int, int]  # the cluster that each merged one ended up in
    own: dict[int, tuple[int, int, int]]  # products, examples, inside of each cluster by itself
    merged: dict[int, tuple[int, int, int]]  # the same, with all that was merged into it
    data_fingerprint: str
    clusters_fingerprint: str

    @classmethod
    def make(
        cls,
        data: Any,
        clusters: CatalogClusters | str | os.PathLike[str],
        min_examples: int,
        reading: Mapping[str, Any] | None,
    ) -> Plan:
        if isinstance(data, Sessions):
            if reading:
                raise ValueError("train_cluster: reading is for data that is read here, data is a Sessions")
            sessions = data
        else:
            sessions = Sessions.from_frame(data, **{"keep": (), **(reading or {})})
        if isinstance(clusters, (str, os.PathLike)):
            clusters = CatalogClusters.load(clusters)
        ids = np.unique(np.asarray(clusters.ids, np.int64))
        if not len(ids):
            raise ValueError("train_cluster: there are no clusters")
        labels = _labels(sessions, clusters, ids)
        clicks = _stamp.item_counts(sessions._core, len(labels))

        def count(labels: np.ndarray) -> list[tuple[int, int, int]]:
            examples, inside = _stamp.count_cluster_examples(sessions._core, labels, len(ids))
            products = np.bincount(labels[(labels >= 0) & (clicks > 0)], minlength=len(ids))
            return list(zip(products.tolist(), examples.tolist(), inside.tolist()))

        own = dict(zip(ids.tolist(), count(labels)))
        into = merge(clusters, {cluster: inside for cluster, (_, _, inside) in own.items()}, min_examples)
        final = np.searchsorted(ids, np.array([into.get(cluster, cluster) for cluster in own])).astype(np.int32)
        labels = np.where(labels >= 0, final[labels], np.int32(-1))
        merged = dict(zip(ids.tolist(), count(labels))) if into else own
        fingerprint = str(clusters.fingerprint)
        return cls(sessions, ids.tolist(), labels, clicks, into, own, merged, _fingerprint(sessions), fingerprint)

    def require(self, call: str, cluster_id: int) -> None:
        if cluster_id not in self.own:
            few = ", ".join(map(str, self.ids[:20])) + (", …" if len(self.ids) > 20 else "")
            raise ValueError(f"{call}: there is no cluster {cluster_id!r}, expected one of {few}")

    def identity(self, cluster_id: int, settings: Settings, warm_start: str | None) -> str:
        """Equal for calls that would give the same model: of data, clusters, config and the weights to begin with."""
        warm = None
        if warm_start is not None:
            manifest = pathlib.Path(warm_start) / "manifest.json"
            if not manifest.is_file():
                raise ValueError(f"warm_start: {warm_start} holds no manifest.json: not a saved model")
            warm = hashlib.blake2b(manifest.read_bytes()).hexdigest()
        parts = {
            "format": FORMAT,
            "data": self.data_fingerprint,
            "clusters": self.clusters_fingerprint,
            "cluster": cluster_id,
            "config": settings.to_dict(),
            "warm_start": warm,
        }
        return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()

    def report(self, cluster_id: int, settings: Settings, identity: str, **values: Any) -> TrainReport:
        """The report of a cluster, with what is known of it before any training."""
        into = self.into.get(cluster_id)
        products, examples, inside = (self.merged if into is None else self.own)[cluster_id]
        report = TrainReport(
            cluster=cluster_id,
            status="trained" if into is None else "merged",
            into=into,
            products=products,
            examples=examples,
            inside=inside,
            data=self.data_fingerprint,
            clusters=self.clusters_fingerprint,
            config=settings.to_dict(),
            versions=versions(),
            identity=identity,
        )
        return dataclasses.replace(report, **values)

    def job(
        self, report: TrainReport, settings: Settings, out: pathlib.Path, device: str, warm_start: str | None
    ) -> Job:
        """What trains a cluster, cut from the data."""
        members = np.flatnonzero((self.labels == self.ids.index(report.cluster)) & (self.clicks > 0))
        if not len(members):
            raise ValueError(f"train_cluster: no product of cluster {report.cluster} occurs in the data")
        rows = np.full(len(self.labels), -1, np.int32)
        rows[members] = np.arange(len(members), dtype=np.int32)
        sessions, _, _ = _stamp.cluster_sessions(self.data._core, rows, keep_misses=settings.validation > 0)
        return Job(
            report, settings, str(out), device, warm_start, self.data.item_ids[members], self.clicks[members], sessions
        )  # fmt: skip


def _labels(sessions: Sessions, clusters: CatalogClusters, ids: np.ndarray) -> np.ndarray:
    """Place in `ids` of the cluster of each product of the data, or -1."""
    given = np.asarray(clusters.labels, np.int64)
    place = np.minimum(np.searchsorted(ids, given), len(ids) - 1)
    place = np.where(ids[place] == given, place, -1).astype(np.int32)
    rows = Ids("train_cluster: clusters", np.asarray(clusters.item_ids)).find_in(sessions._catalog, "the data")
    labels = np.full(len(sessions._catalog), -1, np.int32)
    labels[rows[rows >= 0]] = place[rows >= 0]
    if not (labels >= 0).any():
        raise ValueError("train_cluster: no product of the data is in any cluster")
    return labels


def merge(clusters: CatalogClusters, inside: Mapping[int, int], min_examples: int) -> dict[int, int]:
    """The cluster that each one too small for a model of its own ends up in.

    From the fewest examples up (then by id): one with fewer than `min_examples` examples to train on joins its parent,
    or what that has joined, which then has the examples of both. One whose parent is none, or has joined it, stays.
    """
    into: dict[int, int] = {}

    def joined(cluster: int) -> int:
        while cluster in into:
            cluster = into[cluster]
        return cluster

    examples, waiting = dict(inside), set(inside)
    while waiting:
        smallest = min(waiting, key=lambda cluster: (examples[cluster], cluster))
        if examples[smallest] >= min_examples:
            break
        waiting.remove(smallest)
        parent = clusters.parent(smallest)
        if parent is None:
            continue
        if int(parent) not in examples:
            raise ValueError(f"train_cluster: the parent of cluster {smallest} is {parent!r}, which is no cluster")
        target = joined(int(parent))
        if target != smallest:
            into[smallest] = target
            examples[target] += examples[smallest]
    return {cluster: joined(cluster) for cluster in into}


def _fingerprint(sessions: Sessions) -> str:
    """Of the events and the ids of their products."""
    ids, digest = Ids("the data", sessions.item_ids), hashlib.blake2b(digest_size=8)
    parts: tuple[Any, ...] = (ids.bytes, ids.offsets) if ids.integers is None else (ids.integers,)
    for part in parts:
        digest.update(part)
    return f"{sessions._core.fingerprint()}-{digest.hexdigest()}"


def versions() -> dict[str, str]:
    return {
        "stamp": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "isa": _stamp.cpu_isa(),
    }


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A cluster to train, whole and by itself: it may be handed to another process."""

    report: TrainReport  # what is known before
    settings: Settings
    out: str
    device: str
    warm_start: str | None
    item_ids: np.ndarray  # [V] in the order of the rows of `sessions`
    clicks: np.ndarray  # [V] in the data
    sessions: _stamp.Sessions

    def run(self, progress: bool | Any) -> TrainReport:
        """Train, save, report. Resumes from the checkpoint that an earlier run of this job left."""
        start = time.perf_counter()
        out, settings = pathlib.Path(self.out), self.settings
        checkpoint = out / _CHECKPOINT
        catalog = _stamp.Catalog((ids := Ids("the products of the cluster", self.item_ids)).kind)
        ids.add_to(catalog)
        recommender = settings.recommender(self.device)
        train, held_out, clicks = Sessions(self.sessions, catalog), None, self.clicks
        if settings.validation:
            if len(train) < 2:
                raise ValueError(
                    f"train_cluster: {len(train)} sessions have an example of cluster {self.report.cluster}, expected 2 or "
                    "more: one to train on and one for validation"
                )
            train, last = train.split_last(settings.validation)
            held_out = last._core
            if not settings.refit:
                clicks = clicks - _stamp.item_counts(held_out, len(catalog))
        old = None if self.warm_start is None else load_model(self.warm_start, device="cpu")

        def fit() -> None:
            recommender._train(
                catalog, clicks, train._core.without_unknown(), held_out, refit=settings.refit, checkpoint=checkpoint,
                progress=progress, warm_start=old,
            )  # fmt: skip

        damage = None
        try:
            fit()
        except _stamp.CheckpointMismatch:  # of an earlier run with other data, options or device
            clear_checkpoint(out)
            fit()
        except (RuntimeError, ValueError) as error:
            damage = str(error)
            if not damage.startswith(_unreadable(checkpoint)):
                raise
            clear_checkpoint(out)
            fit()
        if damage is not None:
            recommender.report_["damaged_checkpoint"] = damage
        if recommender.report_["stopped"] == "interrupted":
            raise KeyboardInterrupt
        trained = time.perf_counter()
        recommender._checkpoint = None  # which stays until the report is there
        recommender.save(out / "model")
        saved = time.perf_counter()
        prepare = self.report.seconds.get("prepare", 0.0)
        report = dataclasses.replace(
            self.report,
            path=str(out / "model"),
            metrics=_best_metrics(recommender.report_),
            training=recommender.report_,
            seconds={
                "prepare": prepare,
                "train": trained - start,
                "save": saved - trained,
                "total": prepare + saved - start,
            },
            peak_memory=peak_memory(),
            versions={**versions(), "device": recommender.device_, "precision": recommender.precision_},
        )
        write_report(out, report)
        checkpoint.unlink(missing_ok=True)
        return report


def check_out(out: pathlib.Path) -> None:
    """Raises RuntimeError, before any work, where the files of a training cannot be written to `out`, or would replace
    somebody else's."""
    check_report(out)
    _stamp.check_bundle_target(os.fspath(out / "model"))
    check_file(out / _CHECKPOINT)


def clear_checkpoint(out: pathlib.Path) -> None:
    """Remove the checkpoint of an earlier call. A file that does not say it is one stays, under another name."""
    path = out / _CHECKPOINT
    if not path.exists():
        return
    if {"run", "state"} <= tensors_metadata(path).keys():
        path.unlink()
        return
    number = next(n for n in itertools.count(1) if not path.with_suffix(f".damaged-{n}").exists())
    path.rename(path.with_suffix(f".damaged-{number}"))


def _unreadable(checkpoint: pathlib.Path) -> tuple[str, ...]:
    """How errors of reading a checkpoint begin, which those of training and of writing one do not."""
    return f"{checkpoint}: ", f"cannot read {checkpoint}: ", f"train: {checkpoint} is not a checkpoint"


def _best_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    for epoch in report["epochs"]:
        if epoch["epoch"] == report["best_epoch"] and "validation" in epoch:
            result = Evaluation(epoch["validation"])
            return {**result.to_dict(), "examples": result.examples, "ceiling": result.ceiling}
    return {}


def train_cluster(
    data: Any,
    clusters: CatalogClusters | str | os.PathLike[str],
    cluster_id: int,
    *,
    out: str | os.PathLike[str],
    reading: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    device: str = "auto",
    min_examples: int = MIN_EXAMPLES,
    warm_start: str | os.PathLike[str] | None = None,
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
    clusters : CatalogClusters, or the path of one
    cluster_id : int
    out : path
        Directory for ``model`` (see :func:`stamp.load`) and ``report.json``, which is written last.
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
        A saved model, yesterday's, to begin with: its weights, and its rows of the products that both know.
    resume : bool
        False trains anew, whatever is there.

    Raises
    ------
    ValueError
        Data, clusters or options that cannot be.
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
        settings = Settings.read(config, min_examples)
        plan = Plan.make(data, clusters, min_examples, reading)
        plan.require("train_cluster", cluster_id)
        warm = None if warm_start is None else os.fspath(warm_start)
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


def failure(report: TrainReport, error: Exception) -> TrainReport:
    return dataclasses.replace(report, status="failed", reason=f"{error}" or type(error).__name__)
