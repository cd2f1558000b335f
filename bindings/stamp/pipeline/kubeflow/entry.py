"""What components call in their pods: each opens the night anew, from the URL of the pipeline file and the day."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator, Sequence

from ...base.cpus import allowed_cpus
from ...base.streams import tell
from ...models.hardware import set_num_threads
from ..done import read_done
from ..night import Night
from ..running import check_stage, day_of, read_result, run_stage
from ..stages import NAMES, STAGES, Results, Stage
from ..steps.reports import StepReport
from ..work import Work
from . import shards
from .published import read_published
from .reports import read_told, report_night, write_begun, write_told

_TRAINED = {"train_judged": "judged", "train_released": "released"}  # in shards


def begin(shop: str, date: str, run: str, first: str) -> str:
    """Begin, or go on with, the night of a day, or of yesterday where `date` is empty. Returns the day.

    Raises ValueError where `first` is no stage, nor empty.
    """
    if first:
        check_stage("first", first)
    moment = datetime.datetime.now(datetime.timezone.utc)
    day = day_of(date or None, moment)
    with _night(shop, str(day)) as night:
        write_begun(night, run)
    tell(f"pipeline: {night.shop.name}, clicks up to {day}")
    return str(day)


def do(name: str, shop: str, date: str, run: str, first: str, *, anew: bool = False) -> bool:
    """Do a stage, unless it is done, and comes before `first`, if that is not empty. Returns whether what follows may be
    done."""
    with _night(shop, date, anew=anew) as night:
        results, stage = _before(night, name), STAGES[NAMES.index(name)]
        report, told = _done(night, stage, results, first), "done before"
        if report is None:
            report = run_stage(night, _in_shards(stage), results)
            told = "done" if report.passed else "stopped"
        write_told(night, run, name, told, report)
        tell(f"pipeline: {name} {told}")
        for reason in report.reasons:
            tell(f"pipeline: {name}: {reason}")
        return report.passed


def plan(name: str, shop: str, date: str, first: str) -> list[list[int]]:
    """Clusters for each pod of the loop before a stage: one of none where the stage is done."""
    with _night(shop, date) as night:
        results = _before(night, name)
        if _done(night, STAGES[NAMES.index(name)], results, first) is not None:
            return [[]]
        return shards.plan(night, _TRAINED[name], results)


def train(name: str, shop: str, date: str, clusters: Sequence[float]) -> int:
    """Train a shard for a stage. Returns how many failed."""
    if not clusters:
        return 0
    with _night(shop, date) as night:
        wanted = [int(cluster) for cluster in clusters]  # KFP knows no whole numbers
        return len(shards.train(night, _TRAINED[name], _before(night, name), wanted))


def stop(shop: str, date: str, run: str) -> None:
    """Fail, with what a policy said, so that the run is seen to have failed. Raises RuntimeError."""
    with _night(shop, date) as night:
        raise RuntimeError("; ".join(read_told(night, run).reasons))


def report(shop: str, run: str, state: str, message: str | None, page: str) -> None:
    """Say what became of the night that a run began, whatever that is: in the log, on a page, and in its folder."""
    report_night(read_published(shop), run=run, state=state, message=message, page=page)


@contextlib.contextmanager
def _night(shop: str, date: str, *, anew: bool = False) -> Iterator[Night]:
    cpus = allowed_cpus()
    if cpus is not None:
        set_num_threads(cpus)  # more than a pod is allowed would wait for each other
    opened = read_published(shop)
    now = datetime.datetime.now(datetime.timezone.utc)
    with Work(opened.work) as work:
        yield Night.open(opened, work, datetime.date.fromisoformat(date), now, anew=anew, progress=True)


def _before(night: Night, name: str) -> Results:
    """Reports of all stages before one, which this run has done, or found to be done."""
    results: Results = {}
    for stage in NAMES[: NAMES.index(name)]:
        found = read_done(night, stage)
        if found is None:
            raise RuntimeError(f"pipeline: {stage} of {night.date} is not done, and {name} comes after it; run again")
        results[stage] = found
    return results


def _done(night: Night, stage: Stage, results: Results, first: str) -> StepReport | None:
    """The report of a stage that is not to be done again."""
    anew = first and NAMES.index(stage.name) >= NAMES.index(first)
    return None if anew else read_result(night, stage, results)


def _in_shards(stage: Stage) -> Stage:
    """The same, but of what is trained already."""
    kind = _TRAINED.get(stage.name)
    if kind is None:
        return stage
    return dataclasses.replace(stage, run=lambda night, results: shards.gather(night, kind, results))
