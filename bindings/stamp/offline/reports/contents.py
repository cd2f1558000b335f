"""What a report says, section by section."""

from __future__ import annotations

import json
import math
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..._stamp import num_threads
from ...base.figures import drawing
from ...base.pages import Figure, Section
from ...base.policies import Verdict
from ...base.tables import Table
from ...data.sessions import Sessions
from ...serving.bundles import diff_bundles, inspect_bundle
from ...serving.recommender import Recommender
from ..calibration.reliability import Reliability
from ..metrics.registry import METRICS, find_metric, split_at
from ..replays.results import Replay
from ..splits.leakage import LeakageReport
from ..verdicts.comparisons import Comparison
from ..verdicts.figures import plot_by

_ROWS = 20  # of a table of a cut
_DRAWN = 8  # kinds of a cut that can be told apart in a drawing


def checks(verdict: Verdict) -> Section:
    rows = []
    for j in verdict.judgements:
        numbers = [None if math.isnan(x) else j.check.shown(x) for x in (j.value, j.bound, j.needed)]
        rows.append([j.outcome, j.check.subject, j.zone, j.check.requirement, *numbers])
    return Section(
        key="checks",
        title="Checks of the policy",
        text=[
            "Each check is judged on the worse end of its interval, not on the value itself: what is not known well "
            "enough does not pass. Metrics of a whole set of lists, latencies and faults have no interval and are "
            "judged as they are. What could not be judged has not passed."
        ],
        tables=[
            Table(
                ["outcome", "what", "zone", "must be", "value", "worse end", "needed"],
                rows,
                title="Checks",
                notes=["Of “no worse than”: value, worse end and needed are the candidate's less the other's."],
            )
        ],
    )


def beside(comparison: Comparison, replay: Replay) -> Section:
    """The comparison with the current release, drawn, and how much of the lists changes."""
    figures = []
    for zone in dict.fromkeys(row.zone for row in comparison.rows):
        told = [
            f"{row.metric} of {row.recommender} differs by {row.difference:+.4f}, interval {row.low:+.4f} to "
            f"{row.high:+.4f}"
            for row in comparison.rows
            if row.zone == zone and math.isfinite(row.low)
        ]
        if told:
            what = f"Beside {comparison.baseline} in {zone}"
            figures.append(Figure(drawing(comparison.plot, zone=zone), f"{what}.", f"{what}: {'; '.join(told)}."))
    churn = [
        [zone, name, k, replay.churn(name, comparison.baseline, zone=zone, k=k)]
        for zone, k in _lengths(replay).items()
        for name in replay.names
        if name != comparison.baseline
    ]
    return Section(
        key="comparison",
        title=f"Beside {comparison.baseline}",
        text=[
            "All were asked the same questions. A difference is the recommender's value less that of "
            f"{comparison.baseline}."
        ],
        figures=figures,
        tables=[
            comparison.table(),
            Table(
                ["zone", "recommender", "k", "churn"],
                churn,
                title=f"Share of lists not in those of {comparison.baseline}",
                formats={"churn": ".1%"},
            ),
        ],
    )


def metrics(replay: Replay, k: Sequence[int] | None) -> tuple[Section, list[str]]:
    """A table for each zone, a row for each metric; and the names of the metrics."""
    tables, shown = [], dict[str, None]()
    for zone, longest in _lengths(replay).items():
        wide = replay.metrics(k=list(k) if k else longest, zone=zone)
        names = wide.column("recommender")
        columns = [column for column in wide.columns if "@" in column]
        shown.update(dict.fromkeys(split_at(column)[0] for column in columns))
        rows = [[column, *wide.column(column)] for column in columns]
        n = len(replay.questions[zone])
        tables.append(Table(["metric", *names], rows, title=f"{zone}: {n:,} questions", notes=wide.notes))
    return Section(key="metrics", title="Metrics by zone", tables=tables), list(shown)


def definitions(shown: Sequence[str]) -> Section:
    known = dict.fromkeys(find_metric(name)[0].name for name in shown)
    rows = [[METRICS[name].name, METRICS[name].better, METRICS[name].text, METRICS[name].source] for name in known]
    return Section(
        key="definitions",
        title="Definitions",
        text=["A metric at k, “hr@20”, is of the first k products of each list; “hr:TYPE” of the events of one type."],
        tables=[Table(["metric", "better", "definition", "source"], rows, title="Metrics of this report")],
    )


def calibration(found: Reliability) -> Section:
    """Whether the candidate's probabilities hold, whatever zones and rules make of its scores."""
    return Section(
        key="calibration",
        title="Calibration",
        text=[
            "What the candidate's models hold for probable, beside how often it came next: of all that they list, without "
            "rules. Lists by value weigh by these probabilities."
        ],
        tables=[found.bins],
    )


def faults(replay: Replay) -> Section:
    kinds = list(dict.fromkeys(kind for lists in replay.lists.values() for kind in lists.faults))
    rows = [
        [zone, name, *(replay.lists[name, zone].faults[kind] for kind in kinds), len(replay.questions[zone])]
        for zone in replay.zones
        for name in replay.names
    ]
    return Section(
        key="faults",
        title="Faults",
        text=[
            "Lists that are short though the catalog has more, and entries that stand twice, that the catalog has not, "
            "of a score that is no number, or that the zone excludes: the current product, or all that was seen. Such "
            "entries count as misses, and their places stay empty."
        ],
        tables=[Table(["zone", "recommender", *kinds, "lists"], rows, title="Faults, and lists in all")],
    )


def latency(replay: Replay) -> Section:
    rows = []
    for zone in replay.zones:
        for name in replay.names:
            lists = replay.lists[name, zone]
            timed = 1e3 * np.percentile(lists.latency, (50, 90, 95, 99)) if len(lists.latency) else [math.nan] * 4
            each = len(lists.rows) / lists.seconds if lists.seconds else math.nan
            rows.append([zone, name, *timed, len(lists.latency), each])
    quantiles = ["p50", "p90", "p95", "p99"]
    return Section(
        key="latency",
        title="Latency",
        tables=[
            Table(
                ["zone", "recommender", *quantiles, "requests", "lists a second"],
                rows,
                title="Milliseconds a request",
                notes=[
                    f"Single requests on one thread; lists a second of batches on {num_threads()} threads. "
                    f"{platform.machine()}; other machines have other times."
                ],
                formats={**dict.fromkeys(quantiles, ".3f"), "lists a second": ",.0f"},
            )
        ],
    )


def cuts(replay: Replay, names: Sequence[str]) -> Section:
    """The hit rate by kind of question."""
    tables, figures = [], []
    for zone, k in _lengths(replay).items():
        for name in names:
            tables.append(_by_kind(replay.by(name, metric=f"hr@{k}", zone=zone), f"{zone}: hr@{k} by {name}"))
        drawn = [name for name in names if len(replay.cut(name, zone)[1]) <= _DRAWN]
        if drawn:
            text = f"hr@{k} in {zone} by {', '.join(drawn)}; the tables below have the figures."
            figures.append(Figure(drawing(plot_by, replay, cuts=drawn, metric=f"hr@{k}", zone=zone), text, text))
    return Section(key="cuts", title="By kind of question", tables=tables, figures=figures)


def _by_kind(table: Table, title: str) -> Table:
    """Many kinds in the order of their questions, and only the first of them."""
    rows, notes = table.rows, list(table.notes)
    if len(rows) > _DRAWN:
        place = table.columns.index("questions")
        rows = sorted(rows, key=lambda row: -row[place])[:_ROWS]
    if len(table) > _ROWS:
        notes.append(f"{_ROWS} of {len(table):,} kinds, those of most questions")
    columns = ["kind", *table.columns[1:]]  # a recommender may be called what the cut is, "popularity"
    return Table(columns, rows, title=title, notes=notes, formats=table.formats)


def inputs(
    recommenders: Mapping[str, Any],
    sessions: Sessions,
    train: Sessions | None,
    replay: Replay,
    leakage: LeakageReport | None,
) -> Section:
    tables = [_compared(recommenders)]
    old, new = (_bundle_of(recommenders.get(name)) for name in ("current", "candidate"))
    if old is not None and new is not None:
        tables.append(_changes(old, new))
    tables += [_data(sessions, train), _asked(replay)]
    if leakage is not None:
        tables.append(leakage.table())
    text = [] if leakage is not None else ["Without the training sessions, leakage from them could not be looked for."]
    return Section(key="inputs", title="What was compared, on what", text=text, tables=tables)


def _bundle_of(recommender: Any) -> pathlib.Path | None:
    if isinstance(recommender, Recommender):
        return recommender.path
    return pathlib.Path(recommender) if isinstance(recommender, (str, os.PathLike)) else None


def name_of(recommender: Any) -> str:
    """A bundle's folder, or what a recommender is."""
    path = _bundle_of(recommender)
    return type(recommender).__name__ if path is None else path.resolve().name


def _compared(recommenders: Mapping[str, Any]) -> Table:
    rows = []
    for name, recommender in recommenders.items():
        path = _bundle_of(recommender)
        row: list[Any] = [name, name_of(recommender)]
        if path is None:
            row += [None] * 5
        else:
            found = inspect_bundle(path)
            manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
            data = ", ".join(dict.fromkeys(cluster["fingerprint"] or "unknown" for cluster in found["clusters"]))
            size = sum(file["bytes"] for file in manifest["files"].values())
            wrote = f"{manifest['format']} {manifest['version']}, stamp {manifest['library']}"
            row += [found["products"], len(found["clusters"]), data, size / 2**20, wrote]
        rows.append(row)
    return Table(
        ["recommender", "what", "products", "clusters", "learnt from data", "MiB", "format"],
        rows,
        title="Recommenders",
        formats={"MiB": ",.1f"},
    )


def _changes(current: pathlib.Path, candidate: pathlib.Path) -> Table:
    found = diff_bundles(current, candidate)["products"]
    return Table(list(found), [list(found.values())], title="Products that the release changes")


def _data(sessions: Sessions, train: Sessions | None) -> Table:
    rows = []
    for name, part in (("train", train), ("test", sessions)):
        if part is not None:
            times = part.timestamps
            ends = [None, None] if times is None else [times.min(), times.max()]
            span = [None if t is None else str(t.astype("datetime64[s]")) for t in ends]
            rows.append([name, len(part), part.n_events, part.n_items, *span, part._core.fingerprint()])
    return Table(["sessions", "number", "events", "products", "from", "to", "fingerprint"], rows, title="Data")


def _asked(replay: Replay) -> Table:
    rows = []
    for name, zone in replay.zones.items():
        questions = replay.questions[name]
        units = len(np.unique(questions.unit))
        rows.append([
            name, zone.k, zone.history, zone.exclude, len(zone.rules), zone.bundle_zone, ", ".join(zone.after) or None,
            len(questions), units, "sessions" if questions.visitor is None else "visitors",
        ])  # fmt: skip
    return Table(
        ["zone", "k", "history", "excludes", "rules", "bundle's zone", "only after", "questions", "asked by", "who"],
        rows,
        title="Zones",
    )


def again(command: str | None, settings: Mapping[str, Any]) -> Section:
    rows = [[name, str(value)] for name, value in settings.items()]
    return Section(
        key="settings",
        title="To make this report again",
        tables=[Table(["setting", "value"], rows, title="Settings")],
        code=command or "",
    )


def _lengths(replay: Replay) -> dict[str, int]:
    """The longest list that was asked for, by zone."""
    return {zone: replay.length(zone) for zone in replay.zones}
