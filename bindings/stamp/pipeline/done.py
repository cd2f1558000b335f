"""What is done already: of each stage of a night its report, and what it was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from .._stamp import __version__
from ..base.json_text import json_text
from .night import FORMAT, Night
from .steps.reports import StepReport


def inputs_of(stage: str, settings: Any, after: Mapping[str, str]) -> str:
    """A digest, equal where a stage would make the same: of its settings and the fingerprints of what it comes after."""
    told = {"format": FORMAT, "stamp": __version__, "stage": stage, "settings": settings, "after": dict(after)}
    return hashlib.sha256(json_text(told, sort_keys=True, default=str).encode()).hexdigest()


def read_done(night: Night, stage: str, inputs: str | None = None) -> StepReport | None:
    """The report of a stage that is done, of these `inputs` where they are given; None where it is not."""
    kept = night.work.read_json(_path(night, stage))
    if kept is None or kept.get("format") != FORMAT or not kept["report"]["passed"]:
        return None
    return StepReport.from_dict(kept["report"]) if inputs in (None, kept["inputs"]) else None


def write_done(night: Night, stage: str, inputs: str, report: StepReport, seconds: float) -> None:
    """Last of all that a stage writes."""
    kept = {"format": FORMAT, "stage": stage, "inputs": inputs, "seconds": seconds, "report": report.to_dict()}
    night.work.write_json(_path(night, stage), kept)


def seconds_of(night: Night, stage: str) -> float | None:
    kept = night.work.read_json(_path(night, stage))
    return None if kept is None else float(kept["seconds"])


def _path(night: Night, stage: str) -> str:
    return night.path(f"steps/{stage}.json")
