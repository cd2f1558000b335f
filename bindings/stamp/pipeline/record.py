"""The record of a release: one page for people, and beside it the pages and figures that it was made of."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.figures import COLORS, drawing, import_pyplot, tidy
from ..base.files import write_text
from ..base.json_text import json_text
from ..base.pages import Figure, Section, render
from ..base.policies import Judgement, Verdict
from ..base.tables import Table
from ..store.releases import hashed
from .done import seconds_of
from .night import Night
from .steps.reports import StepReport

_COPIED = ("validate_data/validation.html", "validate_data/validation.json", "validate_model/report.html",
           "validate_model/report.json")  # fmt: skip
_TABLES = ("metrics", "comparison")  # of the offline report, that the page shows
_ROWS = 200  # of a table of clusters


def state(night: Night, results: Mapping[str, StepReport]) -> dict[str, Any]:
    """What decides the record of a release, but for its name: equal where that is equal, to the byte."""
    return {
        "pages": {path: hashed(pathlib.Path(night.work.local(night.path(path)))).sha256 for path in _COPIED},
        "steps": {step: [report.to_dict(), seconds_of(night, step)] for step, report in results.items()},
    }


def write(
    folder: str,
    night: Night,
    *,
    name: str,
    parent: str | None,
    made_by: Mapping[str, Any],
    results: Mapping[str, StepReport],
) -> None:
    """Fill `folder`: index.html, record.json, and the pages of validation and judgement."""
    for path in _COPIED:
        shutil.copyfile(night.work.local(night.path(path)), os.path.join(folder, os.path.basename(path)))
    told = {
        "release": name,
        "parent": parent,
        "made_by": made_by,
        "steps": {step: {**report.to_dict(), "seconds": seconds_of(night, step)} for step, report in results.items()},
    }
    write_text(pathlib.Path(folder, "record.json"), json_text(told, ensure_ascii=False, indent=1, default=str) + "\n")
    validation = night.work.read_json(night.path("validate_data/validation.json"))
    report = night.work.read_json(night.path("validate_model/report.json"))
    page = render(
        f"Release {name}",
        f"{night.shop.name}: clicks up to {night.date}, judged on that day "
        + (f"beside {parent}." if parent else "without a champion: it is the first."),
        _verdict(validation, report, results["compare_bundles"]),
        [
            _lineage(name, parent, made_by, results),
            _validation(validation),
            _training(results["train_judged"], results["train_released"]),
            *_judgement(report),
            _overlap(results["compare_bundles"]),
            _steps(night, results),
        ],
    )
    write_text(pathlib.Path(folder, "index.html"), page)


@dataclass(frozen=True)
class _Told:
    """A check that was judged elsewhere, as its verdict tells of it."""

    given: Mapping[str, Any]
    subject: str = ""
    verb: str = ""
    requirement: str = ""

    def shown(self, number: float) -> str:
        return f"{number:g}"

    def to_dict(self) -> dict[str, Any]:
        return dict(self.given)


def _verdict(validation: Mapping[str, Any], report: Mapping[str, Any], overlap: StepReport) -> Verdict:
    """Of data, model and overlap together."""
    checks = [*validation["verdict"]["checks"], *((report["verdict"] or {}).get("checks", []))]
    checks += [
        {
            "check": {},
            "zone": zone,
            "outcome": "passed",
            "sentence": f"Zone {zone} keeps {share:.1%} of what was judged.",
        }
        for zone, share in overlap.counts["overlap"].items()
    ]
    nan = float("nan")
    return Verdict([
        Judgement(check=_Told(each["check"]), zone=each["zone"], outcome=each["outcome"], value=nan, bound=nan, needed=nan,
                  sentence=each["sentence"])
        for each in checks
    ])  # fmt: skip


def _lineage(name: str, parent: str | None, made_by: Mapping[str, Any], results: Mapping[str, StepReport]) -> Section:
    window = made_by["window"]
    rows = [
        ["release", name],
        ["digest", results["build_released"].fingerprint],
        ["follows", parent or "nothing"],
        ["clicks", f"{window['first_day']} to {window['last_day']}"],
        ["fingerprint of the data", made_by["data"]],
        ["model of the whole catalog", f"of {made_by['full']}"],
        ["clusters", f"{made_by['clusters']}, which go on with {made_by['clusters_begun']}"],
        ["options of training", json_text(made_by["config"], sort_keys=True)],
        ["versions", ", ".join(f"{name} {version}" for name, version in made_by["versions"].items())],
    ]
    return Section(key="lineage", title="What it was made of", tables=[Table(["what", "which"], rows)])


def _validation(validation: Mapping[str, Any]) -> Section:
    found = validation["findings"]
    rows = [[each["severity"], each["check"], each["sentence"], each["day"]] for each in found[:_ROWS]]
    return Section(
        key="data",
        title="Data",
        text=[validation["about"], *([] if found else ["Nothing was found."]), "validation.html has all of it."],
        tables=[Table(["severity", "check", "what", "day"], rows, title="Findings")] if found else [],
    )


def _training(judged: StepReport, released: StepReport) -> Section:
    rows = []
    for cluster, each in judged.counts["clusters"].items():
        again = released.counts["clusters"].get(cluster, {})
        rows.append([
            str(cluster), each["status"] if each["into"] is None else f"merged into {each['into']}", each["products"],
            each["examples"], each["metrics"].get("hr@20"), each["metrics"].get("ceiling"), each["best_epoch"],
            each["seconds"], again.get("status"), again.get("examples"), again.get("seconds"),
        ])  # fmt: skip
    columns = ["cluster", "judged", "products", "examples", "hr@20", "ceiling", "best epoch", "seconds", "released",
               "examples released", "seconds released"]  # fmt: skip
    table = Table(
        columns,
        rows[:_ROWS],
        title="Clusters",
        formats={"seconds": ",.1f", "seconds released": ",.1f"},
        notes=[f"{len(rows) - _ROWS:,} more are in record.json."] if len(rows) > _ROWS else [],
    )
    curves = {str(c): each for c, each in judged.counts["clusters"].items() if each["losses"]}
    figures = []
    if curves:
        text = "; ".join(
            f"cluster {c}: loss {each['losses'][0]:.3f} to {each['losses'][-1]:.3f}" for c, each in curves.items()
        )
        figures.append(Figure(
            drawing(_plot_curves, curves),
            "Loss, and hr@20 on the validation part, by epoch: a line for each cluster, the median drawn thick.",
            f"Training curves: {text}.",
        ))  # fmt: skip
    return Section(
        key="training",
        title="Training",
        text=[
            "Judged models have not seen the last day. Released ones are trained through it, for as many epochs as were best."
        ],
        figures=figures,
        tables=[table],
    )


def _plot_curves(curves: Mapping[str, Mapping[str, Any]]) -> Any:
    pyplot = import_pyplot()
    figure = pyplot.figure(figsize=(10.0, 3.6), layout="constrained")
    pyplot.close(figure)
    for axes, key, title in zip(figure.subplots(1, 2), ("losses", "hr@20"), ("loss", "hr@20, validation")):
        tidy(axes, "y")
        lines = [each[key] for each in curves.values() if each[key]]
        for values in lines:
            axes.plot(
                range(1, len(values) + 1), values, color=COLORS[0], alpha=max(0.15, 1 / len(lines)), lw=1, marker="."
            )
        longest = max(map(len, lines), default=0)
        if len(lines) > 1:
            medians = [float(np.median([values[i] for values in lines if len(values) > i])) for i in range(longest)]
            axes.plot(range(1, longest + 1), medians, color=COLORS[1], lw=2.5)
        axes.set_xlabel("epoch", fontsize=8.5)
        axes.set_xticks(range(1, longest + 1, -(-longest // 10) or 1))
        axes.set_title(title, fontsize=9, loc="left")
    return figure


def _judgement(report: Mapping[str, Any]) -> list[Section]:
    """The tables of the offline report that tell most; its page has all of them, and the figures."""
    made = []
    for key, title in zip(_TABLES, ("What its lists were worth", "Beside the champion")):
        tables = [_table(given) for given in report.get(key, []) if given["rows"]]
        if tables:
            made.append(Section(key=key, title=title, text=["report.html has all of it."], tables=tables))
    return made


def _table(given: Mapping[str, Any]) -> Table:
    """Of :meth:`Table.to_dict`."""
    columns = list(given["rows"][0])
    rows = [[row[column] for column in columns] for row in given["rows"]]
    return Table(columns, rows, title=given["title"], notes=given["notes"])


def _overlap(compared: StepReport) -> Section:
    rows = [[zone, share] for zone, share in compared.counts["overlap"].items()]
    return Section(
        key="overlap",
        title="Released and judged",
        text=["The share of the judged model's lists that the lists of the released one have."],
        tables=[Table(["zone", "overlap"], rows, formats={"overlap": ".1%"})],
    )


def _steps(night: Night, results: Mapping[str, StepReport]) -> Section:
    rows = [[step, seconds_of(night, step), "; ".join(report.warnings)] for step, report in results.items()]
    return Section(
        key="steps",
        title="Steps",
        tables=[Table(["step", "seconds", "warnings"], rows, formats={"seconds": ",.1f"})],
    )
