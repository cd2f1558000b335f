"""A night on this machine: all stages in their order, each where it is not done already."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..base.json_text import json_text
from ..base.streams import tell
from .done import inputs_of, read_done, write_done
from .night import Night
from .shop import Shop
from .stages import KEPT, NAMES, STAGES, Results, Stage
from .steps.reports import StepReport
from .work import Work

_KEPT = 3  # latest days of everything by day


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineResult:
    """What became of a night.

    Attributes
    ----------
    shop : str
    date : date
    stages : dict of str to str
        By stage: "done", "done before", "stopped" where a policy said no, "failed" where an error ended it, "left" where it
        was not asked for or comes after; of a dry run "to do", or "may be done": what it takes is made anew, perhaps to the same.
    reports : dict of str to StepReport
        Of those that are done, stopped, or failed.
    release : str or None
        What the alias is at, where the night came to its end: this night's, unless somebody moved it since.
    """

    shop: str
    date: datetime.date
    stages: Mapping[str, str]
    reports: Mapping[str, StepReport]
    release: str | None

    @property
    def passed(self) -> bool:
        return not {"stopped", "failed"} & set(self.stages.values())

    @property
    def reasons(self) -> list[str]:
        """Why it stopped."""
        return [
            f"{name}: {reason}"
            for name, report in self.reports.items()
            if not report.passed
            for reason in report.reasons
        ]

    @property
    def warnings(self) -> list[str]:
        return [f"{name}: {warning}" for name, report in self.reports.items() for warning in report.warnings]

    def to_dict(self) -> dict[str, Any]:
        return {
            "shop": self.shop,
            "date": str(self.date),
            "passed": self.passed,
            "release": self.release,
            "reasons": self.reasons,
            "warnings": self.warnings,
            "stages": dict(self.stages),
            "reports": {name: report.to_dict() for name, report in self.reports.items()},
        }


def run(
    shop: Shop | str | os.PathLike[str] | Mapping[str, Any],
    *,
    date: str | datetime.date | None = None,
    first: str | None = None,
    only: str | None = None,
    dry_run: bool = False,
    anew: bool = False,
    now: datetime.datetime | None = None,
    progress: bool = True,
) -> PipelineResult:
    """Run the pipeline of a shop for a day: from raw clicks to a release in front of the servers.

    Stages that are done, with the same inputs, are not repeated: a run that was killed goes on where it stopped, and ends
    in the same release, to the bit. A policy that says no stops it, and what serves goes on serving.

    Parameters
    ----------
    shop : Shop, path of a pipeline file, or what such a file holds
    date : day, optional
        The last day of the data, in UTC, all of which must be there: yesterday by default.
    first, only : name of a stage, optional
        Do this one and all that follow, or this one alone, whether they are done or not. What is before must be done.
    dry_run : bool
        Say what would be done, and do nothing.
    anew : bool
        Prepare all days of the source again, where options of preparation changed: by default the new days are appended.
    now : datetime, optional
        What lies after it is in the future. By default the time there is; a run that goes on has that of its beginning.
    progress : bool
        Say what is done, on standard error.

    Raises
    ------
    ValueError
        The pipeline file, or something that it names, cannot be; or a stage before `first` or `only` is not done.
    RuntimeError
        Something cannot be read or written, or another run of this shop is under way.
    """
    shop = shop if isinstance(shop, Shop) else Shop.read(shop)
    for option, name in (("first", first), ("only", only)):
        if name is not None:
            check_stage(option, name)
    if first is not None and only is not None:
        raise ValueError("pipeline: give first or only, not both")
    moment = now or datetime.datetime.now(datetime.timezone.utc)
    day = day_of(date, moment)
    with Work(shop.work) as work, contextlib.nullcontext() if dry_run else _alone(work, shop):
        night = Night.open(shop, work, day, moment, anew=anew, progress=progress, look=dry_run)
        done = _run(night, first=first, only=only, dry_run=dry_run)
        if done.passed and not dry_run and only is None:
            remove_old_runs(night)
    return done


def _run(night: Night, *, first: str | None, only: str | None, dry_run: bool) -> PipelineResult:
    begin = NAMES.index(first or only) if first or only else 0
    end = NAMES.index(only) + 1 if only else len(NAMES)
    results: Results = {}
    told = dict.fromkeys(NAMES, "left")
    for number, stage in enumerate(STAGES[:end]):
        forced = (first or only) is not None and number >= begin
        known = all(name in results for name in stage.after)  # but of a dry run
        report = read_result(night, stage, results) if known and not forced else None
        if report is not None:
            results[stage.name], told[stage.name] = report, "done before"
        elif dry_run:
            told[stage.name] = "to do" if known else "may be done"
        elif number < begin:
            raise ValueError(f"pipeline: {stage.name} of {night.date} is not done; begin with it, or before it")
        else:
            try:
                results[stage.name] = report = run_stage(night, stage, results)
            except Exception as error:
                results[stage.name] = StepReport(fingerprint="", passed=False, reasons=[str(error)])
                told[stage.name] = "failed"
                write_summary(night, _result(night, told, results))
                raise
            told[stage.name] = "done" if report.passed else "stopped"
            if not report.passed:
                break
    done = _result(night, told, results)
    if not dry_run:
        write_summary(night, done)
    return done


def _result(night: Night, stages: Mapping[str, str], reports: Results) -> PipelineResult:
    """With what serves now, where all is done: somebody may have moved the alias since."""
    alias = night.store.aliases().get(night.shop.alias) if "update_serving" in reports else None
    done = alias is not None and stages["update_serving"] in ("done", "done before")
    return PipelineResult(
        shop=night.shop.name, date=night.date, stages=stages, reports=reports, release=alias.release if alias and done else None
    )  # fmt: skip


def run_stage(night: Night, stage: Stage, results: Results) -> StepReport:
    """Do a stage, whatever is there; `results` are those of what it comes after."""
    title = f"{stage.name} [{NAMES.index(stage.name) + 1}/{len(STAGES)}]"
    if night.progress:
        tell(f"pipeline: {title} …")
    inputs, start = _inputs(night, stage, results), time.perf_counter()
    report = StepReport.from_dict(
        json.loads(json_text(stage.run(night, results).to_dict(), default=str))
    )  # as it is read
    seconds = time.perf_counter() - start
    write_done(night, stage.name, inputs, report, seconds)
    if night.progress:
        for warning in report.warnings:
            tell(f"pipeline: {stage.name}: warning: {warning}")
        tell(f"pipeline: {title} {'done' if report.passed else 'stopped'}, {seconds:.1f} s")
    return report


def read_result(night: Night, stage: Stage, results: Results) -> StepReport | None:
    """The report of a stage that is done, of what is there now; None where it is not."""
    report = read_done(night, stage.name, _inputs(night, stage, results))
    if report is None or any(night.work.folder.size(path) is None for path in stage.makes(night)):
        return None
    return report if stage.holds(night, report) else None


def _inputs(night: Night, stage: Stage, results: Results) -> str:
    return inputs_of(stage.name, stage.settings(night), {name: results[name].fingerprint for name in stage.after})


def write_summary(night: Night, done: PipelineResult) -> None:
    """What became of the night, for whoever asks later: the latest run of its day."""
    night.work.write_json(night.path("summary.json"), done.to_dict())


def check_stage(option: str, name: str) -> None:
    """Raises ValueError where there is no such stage."""
    if name not in NAMES:
        raise ValueError(f"pipeline: {option} is {name!r}, expected one of {', '.join(NAMES)}")


def day_of(date: str | datetime.date | None, now: datetime.datetime) -> datetime.date:
    """A day that is over by now, yesterday for None. Raises ValueError where it is not, or is none."""
    today = now.astimezone(datetime.timezone.utc).date()
    if date is None:
        return today - datetime.timedelta(1)
    try:
        day = date if isinstance(date, datetime.date) else datetime.date.fromisoformat(date)
    except ValueError:
        raise ValueError(f"pipeline: date is {date!r}, expected a day as 2026-11-28") from None
    if day >= today:
        raise ValueError(f"pipeline: {day} is not over, it is {now:%Y-%m-%d %H:%M} UTC; its data cannot be whole")
    return day


@contextlib.contextmanager
def _alone(work: Work, shop: Shop) -> Iterator[None]:
    """Raises RuntimeError where another run of the shop is under way on this machine."""
    if work.folder.local is not None:
        os.makedirs(work.folder.local, exist_ok=True)
        path = os.path.join(work.folder.local, ".lock")
    else:
        name = hashlib.sha256(work.folder.url.encode()).hexdigest()[:16]
        path = os.path.join(tempfile.gettempdir(), f"stamp-pipeline-{os.getuid()}-{name}.lock")
    with open(path, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"pipeline: another run of {shop.name} is under way, which holds {path}; wait for it, or stop it"
            ) from None
        yield


def remove_old_runs(night: Night) -> None:
    """All but the latest few up to this one, of models of the whole catalog and of clusters, too: later nights go on with
    the latest, and releases are in the store."""
    for folder, last in {"runs": "run.json", **KEPT}.items():
        days = [day for day in night.work.days(folder, last) if day <= str(night.date)]
        for day in days[_KEPT:]:
            night.work.remove(f"{folder}/{day}", last=last)
