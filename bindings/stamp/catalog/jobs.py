"""A cluster to train, whole and by itself: how, on what, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import _stamp
from .._stamp import __version__
from ..base.checks import plain, truth, whole_number
from ..base.files import check_file, tensors_metadata
from ..base.memory import peak_memory
from ..data.products import Products
from ..data.sessions import Sessions
from ..data.tables.ids import Ids
from ..models.evaluation import Evaluation
from ..models.stamp_recommender import StampRecommender, named_content, require_products
from ..models.train_reports import TrainReport, check_report, write_report
from .warm_starts import WarmStart

CHECKPOINT = "checkpoint.safetensors"


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

    @property
    def content(self) -> Any:
        """The option of that name."""
        return self.options.get("content", False)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The option of that name."""
        return (*self.options.get("objectives", ()),)

    def require_products(self, products: Products | None) -> None:
        """Raises ValueError where content rows want attributes and there are none."""
        require_products("train_cluster", products)
        named_content(self.content, {} if products is None else products.attributes)

    def like(self, earlier: TrainReport | None) -> Settings:
        """These, without validation and for the epochs that were best in an earlier training that had one."""
        if earlier is None or earlier.status != "trained" or not earlier.metrics:
            return self
        epochs = max(1, earlier.training["best_epoch"])  # 0 where what it began with was best
        return dataclasses.replace(
            self, options={**self.options, "epochs": epochs, "patience": 0}, validation=0.0, refit=False
        )

    def recommender(self, device: str) -> StampRecommender:
        return StampRecommender(device=device, **self.options)

    def to_dict(self) -> dict[str, Any]:
        params = self.recommender("cpu").get_params()
        del params["device"]
        return {**params, "validation": self.validation, "refit": self.refit, "min_examples": self.min_examples}


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
    warm_start: WarmStart | None
    item_ids: np.ndarray  # [V] in the order of the rows of `sessions`
    clicks: np.ndarray  # [V] in the data
    sessions: _stamp.Sessions
    attributes: list[_stamp.Attribute]  # of the products, where content rows want them

    def run(self, progress: bool | Any) -> TrainReport:
        """Train, save, report. Resumes from the checkpoint that an earlier run of this job left."""
        start = time.perf_counter()
        out, settings = pathlib.Path(self.out), self.settings
        checkpoint = out / CHECKPOINT
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
        old = None if self.warm_start is None else self.warm_start.load()

        def fit() -> None:
            recommender._train(
                catalog, clicks, train._core.without_unknown(), held_out, attributes=self.attributes,
                refit=settings.refit, checkpoint=checkpoint, progress=progress, warm_start=old,
            )  # fmt: skip

        damage = fit_from_checkpoint(out, fit)
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
            training=recommender.report_ | ({} if damage is None else {"damaged_checkpoint": damage}),
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
    check_file(out / CHECKPOINT)


def fit_from_checkpoint(out: pathlib.Path, fit: Callable[[], None]) -> str | None:
    """Fit; where the checkpoint in `out` is of an earlier run with other data, options or device, or cannot be read, begin
    anew. Returns what was wrong with one that cannot be read."""
    try:
        fit()
        return None
    except _stamp.CheckpointMismatch:
        damage = None
    except (RuntimeError, ValueError) as error:
        damage = str(error)
        if not damage.startswith(_unreadable(out / CHECKPOINT)):
            raise
    clear_checkpoint(out)
    fit()
    return damage


def clear_checkpoint(out: pathlib.Path) -> None:
    """Remove the checkpoint of an earlier call. A file that does not say it is one stays, under another name."""
    path = out / CHECKPOINT
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


def failure(report: TrainReport, error: Exception) -> TrainReport:
    return dataclasses.replace(report, status="failed", reason=f"{error}" or type(error).__name__)
