"""What became of a night on Kubeflow: what its pods said, and a report of all of it at its end."""

from __future__ import annotations

import datetime
import pathlib

from ...base.files import write_text
from ...base.streams import tell
from ..night import Night
from ..running import PipelineResult, remove_old_runs, write_summary
from ..shop import Shop
from ..stages import NAMES
from ..steps.reports import StepReport
from ..work import Work


def write_begun(night: Night, run: str) -> None:
    """The day that a run of Kubeflow is of, of which nothing is told yet."""
    for path in night.work.folder.list(night.path(f"kubeflow/{run}")):
        night.work.folder.remove(path)
    night.work.write_json(f"kubeflow/{run}.json", {"date": str(night.date)})


def write_told(night: Night, run: str, stage: str, told: str, report: StepReport) -> None:
    """What became of a stage in a run, as of :class:`PipelineResult`."""
    night.work.write_json(_path(night, run, stage), {"told": told, "report": report.to_dict()})


def read_told(night: Night, run: str, *, failure: str | None = None) -> PipelineResult:
    """What became of a run's stages; the one that did not come to its end has failed, if there was a `failure`."""
    told, reports = dict.fromkeys(NAMES, "left"), {}
    for stage in NAMES:
        kept = night.work.read_json(_path(night, run, stage))
        if kept is None:
            if failure is not None:
                told[stage], reports[stage] = "failed", StepReport(fingerprint="", passed=False, reasons=[failure])
            break
        told[stage], reports[stage] = kept["told"], StepReport.from_dict(kept["report"])
        if not reports[stage].passed:
            break
    serving = reports.get("update_serving")
    return PipelineResult(
        shop=night.shop.name,
        date=night.date,
        stages=told,
        reports=reports,
        release=str(serving.counts["release"]) if serving is not None and serving.passed else None,
    )


def report_night(shop: Shop, *, run: str, state: str, message: str | None, page: str) -> None:
    """Report a run that has come to its end, whatever that was: in the log, as Markdown at `page`, in its summary.

    `state` and `message` are Kubeflow's: "SUCCEEDED", "FAILED", …, and what it says of that.
    """
    failure = None if state == "SUCCEEDED" else f"Kubeflow says {state}: {message or 'nothing more'}; its log says why"
    with Work(shop.work) as work:
        begun = work.read_json(f"kubeflow/{run}.json")
        if begun is None:
            text = f"# {shop.name}: the night did not begin\n\n{failure or 'Nothing says why.'}\n"
        else:
            now = datetime.datetime.now(datetime.timezone.utc)
            night = Night.open(shop, work, datetime.date.fromisoformat(begun["date"]), now, anew=False, progress=False)
            done = read_told(night, run, failure=failure)
            write_summary(night, done)
            text = _page(done)
            if done.release is not None:
                remove_old_runs(night)
    write_text(pathlib.Path(page), text)
    tell(text)


def _page(done: PipelineResult) -> str:
    title = f"release {done.release} serves" if done.release is not None else "nothing was released"
    rows = [f"| {stage} | {what} |" for stage, what in done.stages.items()]
    return "\n".join([
        f"# {done.shop}, clicks up to {done.date}: {title}",
        "",
        *(f"- **{reason}**" for reason in done.reasons),
        *(f"- warning: {warning}" for warning in done.warnings),
        "",
        "| stage | |",
        "| --- | --- |",
        *rows,
        "",
    ])  # fmt: skip


def _path(night: Night, run: str, stage: str) -> str:
    return night.path(f"kubeflow/{run}/{stage}.json")
