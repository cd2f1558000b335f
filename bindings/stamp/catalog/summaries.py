"""What training all clusters leaves beside their models: the products of the data, and a summary of all reports."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

import numpy as np

from .. import _stamp
from ..base.files import check_file
from ..data.tables.ids import Ids
from ..models.train_reports import TrainReport, check_report, read_report, write_json
from .jobs import Settings
from .plans import Plan

_CATALOG, _SUMMARY = "catalog.safetensors", "report.json"


def check_summary(call: str, folder: pathlib.Path) -> None:
    """Raises RuntimeError where summary and catalog cannot be written, or would replace somebody else's files."""
    check_report(folder)
    catalog = folder / _CATALOG
    check_file(catalog)
    if (folder / "manifest.json").exists():
        raise RuntimeError(f"{call}: {folder} holds a manifest.json, as models do; name another directory")
    if catalog.exists():
        try:
            _stamp.load_catalog(os.fspath(catalog))
        except RuntimeError as error:
            raise RuntimeError(
                f"cannot replace {catalog}: it is no catalog of a training; name another directory"
            ) from error


def begin_summary(folder: pathlib.Path, plan: Plan) -> None:
    """From here to :func:`end_summary` there is none, as what is there is of two calls."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _SUMMARY).unlink(missing_ok=True)
    _save_catalog(folder / _CATALOG, plan)


def end_summary(
    folder: pathlib.Path, plan: Plan, settings: Settings, reports: Mapping[int, TrainReport], *, seconds: float
) -> None:
    """Write the summary of `reports`, and of those of other clusters that are there, where they are of the same plan."""
    every = {}
    for cluster in plan.ids:
        report = reports[cluster] if cluster in reports else read_report(folder / str(cluster))
        if report is not None and (report.data, report.clusters, report.config.get("min_examples")) == (
            plan.data.fingerprint, plan.clusters_fingerprint, settings.min_examples,
        ):  # fmt: skip
            every[cluster] = report
    summary = {
        "status": "failed" if any(report.status == "failed" for report in every.values()) else "trained",
        "data": plan.data.fingerprint,
        "clusters": plan.clusters_fingerprint,
        "seconds": seconds,
        "reports": {cluster: report.to_dict() for cluster, report in every.items()},
    }
    write_json(folder / _SUMMARY, summary)


def _save_catalog(path: pathlib.Path, plan: Plan) -> None:
    """The products of the data as a single model would have them: those no cluster holds, too."""
    seen = np.flatnonzero(plan.data.clicks > 0)
    catalog = _stamp.Catalog(plan.data.catalog.kind)
    Ids("the products of the data", plan.data.item_ids[seen]).add_to(catalog)
    _stamp.save_catalog(os.fspath(path), catalog, plan.data.clicks[seen].tolist())
