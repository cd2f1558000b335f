"""What training leaves beside a model: its report, as ``report.json``."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ..base.files import check_file, write_text
from ..base.json_text import json_text

FORMAT = 1  # of report.json; a report of another format is no reason not to train
_REPORT = "report.json"


@dataclasses.dataclass(frozen=True, repr=False)
class TrainReport:
    """What became of a cluster. ``report.json`` is :meth:`to_dict`.

    Attributes
    ----------
    cluster : int
    status : {"trained", "merged", "failed"}
    path : str or None
        The saved model, where there is one.
    into : int or None
        The cluster whose model has the products of a merged one.
    reason : str or None
        Why it failed.
    products, examples, inside : int
        Products of the cluster in the data; examples whose anchor is in the cluster; those whose target is, too.
    ceiling : float
        inside / examples: no hit rate of the cluster can be higher.
    metrics : dict of str to float
        On the validation part, of the epoch that was best: ``hr@20`` and so on, `examples`, and their `ceiling`. Empty
        without validation.
    training : dict
        :attr:`StampRecommender.report_` after the training, and `damaged_checkpoint`, what was wrong with one that was of
        no use. The saved model holds less of it: nothing that is of the run (docs/data.md).
    seconds : dict of str to float
        Of `prepare` (reading, cutting), `train`, `save` and `total`.
    peak_memory : int
        Bytes that the process held at most: on a GPU with the clusters that it trained side by side.
    data, clusters : str
        Fingerprints.
    config : dict
        All options, defaults included.
    versions : dict of str to str
        stamp, numpy, python, isa (of the CPU), device, precision.
    identity : str
        Equal for calls that would give the same model.
    """

    cluster: int
    status: str
    path: str | None = None
    into: int | None = None
    reason: str | None = None
    products: int = 0
    examples: int = 0
    inside: int = 0
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    peak_memory: int = 0
    data: str = ""
    clusters: str = ""
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    identity: str = ""

    @property
    def ceiling(self) -> float:
        return self.inside / self.examples if self.examples else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {"format": FORMAT, **dataclasses.asdict(self), "ceiling": self.ceiling}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainReport:
        """Of :meth:`to_dict`."""
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})

    def __repr__(self) -> str:
        what = {"merged": f"merged into {self.into}", "failed": f"failed: {self.reason}"}.get(self.status, self.status)
        parts = [f"cluster {self.cluster}: {what}"]
        if self.examples:
            parts.append(f"{self.products:,} products, {self.examples:,} examples, ceiling {self.ceiling:.4f}")
        parts += [f"{name} {self.metrics[name]:.4f}" for name in ("hr@20", "mrr@20") if name in self.metrics]
        return f"TrainReport({', '.join(parts)})"


def write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    write_text(path, json_text(values, indent=2, default=str) + "\n")


def check_report(out: pathlib.Path) -> None:
    """Raises RuntimeError where ``report.json`` cannot be written, or is neither a report nor a summary of a training."""
    path = out / _REPORT
    check_file(path)
    if not path.exists():
        return
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        values = None
    if not (isinstance(values, dict) and "status" in values and ("identity" in values or "reports" in values)):
        raise RuntimeError(f"cannot replace {path}: it is no report of a training; name another directory")


def write_report(out: pathlib.Path, report: TrainReport) -> TrainReport:
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / _REPORT, report.to_dict())
    return report


def read_report(out: pathlib.Path) -> TrainReport | None:
    """The report of an earlier call, where what it tells of is there."""
    try:
        values = json.loads((out / _REPORT).read_text())
        report = TrainReport.from_dict(values) if values["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if report is not None and report.status == "trained" and not (out / "model" / "manifest.json").exists():
        return None
    return report


def finished(out: pathlib.Path, identity: str) -> TrainReport | None:
    """The report of an earlier call of this identity that needs no repetition."""
    report = read_report(out)
    return report if report is not None and report.identity == identity and report.status != "failed" else None
