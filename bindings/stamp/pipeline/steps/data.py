"""Raw clicks: whether they may be used, and their preparation."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from typing import Any

from ... import data
from ...base.folders import Folder
from ...data.engines.engine import Engine
from ...data.engines.opening import open_engine
from ...data.prepared.manifest import read_manifest
from ...data.sources.mapping import EventMapping
from ...data.sources.mapping_files import read_mapping
from .reports import StepReport


def validate_data(
    source: str,
    *,
    out: str | os.PathLike[str],
    end: datetime.date,
    now: datetime.datetime,
    mapping: str | Mapping[str, Any] | None = None,
    catalog: str | None = None,
    catalog_columns: Mapping[str, str] | None = None,
    engine: Mapping[str, Any] | None = None,
    profile: str | os.PathLike[str] | None = None,
    title: str | None = None,
    **options: Any,
) -> StepReport:
    """Look at the source up to `end`: writes validation.html, validation.json and profile.json into `out`.

    Parameters are those of :func:`stamp.data.validate`; `mapping` may also be what a file with one holds, and `engine` has
    the options of :func:`stamp.data.engines.opening.open_engine`. It does not pass where the data policy stops.
    """
    with open_engine(source, **(engine or {})) as opened:
        report = data.validate(
            source, mapping=_mapping(mapping), catalog=catalog, catalog_columns=catalog_columns, end=end, profile=profile,
            now=now, engine=opened, title=title, **options,
        )  # fmt: skip
    names = ("validation.html", "validation.json", "profile.json")
    report.save(*(os.path.join(out, name) for name in names))
    return StepReport(
        fingerprint=str(report.passed),
        passed=report.passed,
        reasons=report.reasons,
        warnings=report.warnings,
        counts={"about": report.about, "judged": report.judged},
    )


def prepare(
    source: str,
    *,
    out: str,
    judged: str,
    end: datetime.date,
    now: datetime.datetime,
    anew: bool = False,
    mapping: str | Mapping[str, Any] | None = None,
    catalog: str | None = None,
    catalog_columns: Mapping[str, str] | None = None,
    engine: Mapping[str, Any] | None = None,
    progress: bool = False,
    **options: Any,
) -> StepReport:
    """Prepare the source up to `end`: all of it at `out`, and at `judged` the same with the sessions of the last day held out.

    Where `out` has prepared data of earlier days, the new ones are appended; `anew` prepares all days of the source again.
    Parameters are those of :func:`stamp.data.prepare`.

    Raises
    ------
    ValueError
        As :func:`stamp.data.prepare`; or `out` goes on beyond `end`.
    """
    folder = Folder(out)
    old = None if anew else read_manifest(folder)
    if old is not None and int(old.window["end"]) > (end - datetime.date(1970, 1, 1)).days:
        raise ValueError(
            f"prepare: {out} holds days up to {old.window['last_day']}, and {end - datetime.timedelta(1)} is to be the last "
            "one; run a later day, or this one anew"
        )
    with open_engine(source, **(engine or {})) as opened:
        whole = data.prepare(
            source, out=out, mapping=_mapping(mapping), catalog=catalog, catalog_columns=catalog_columns, end=end, now=now,
            append=old is not None, engine=opened, progress=progress, **options,
        )  # fmt: skip
    with open_duckdb(engine) as opened:
        part = data.prepare(whole, out=judged, held_out="1D", engine=opened, progress=progress, **options)
    return StepReport(
        fingerprint=f"{whole.fingerprint} {part.fingerprint}",
        counts={
            "window": dict(whole.window), **whole.counts, "quarantined": dict(whole.quarantined),
            "judged": {name: part.counts[name] for name in ("train_sessions", "held_out_sessions", "held_out_events")},
        },
    )  # fmt: skip


def open_duckdb(engine: Mapping[str, Any] | None) -> Engine:
    """What works on prepared data, by the options of an engine that are DuckDB's."""
    given = engine or {}
    return open_engine("", memory=given.get("memory"), spill=given.get("spill"), threads=given.get("threads"))


def _mapping(given: str | Mapping[str, Any] | None) -> str | EventMapping | None:
    return read_mapping(given) if isinstance(given, Mapping) else given
