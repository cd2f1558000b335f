"""The stages of a night in their order: which step each is, on what, and what decides whether it is done already."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from collections.abc import Callable
from typing import Any

from ..base.folders import Folder
from ..base.json_text import json_text
from ..catalog.jobs import Settings, versions
from ..data.prepared.manifest import read_manifest
from ..store.upload import release_name
from . import record
from .night import Night
from .steps import data, models, release
from .steps.reports import StepReport

FULL, CLUSTERS = "full", "clusters"  # folders by day, which later nights go on with
EVERY = 7  # days between trainings of the whole catalog's model
KEPT = {FULL: "full.json", CLUSTERS: "clusters.json"}  # written last, what was made and how
_UNSAID = ("jobs", "threads", "memory", "device")  # options of training that ask for no other model

Results = dict[str, StepReport]  # of the stages that are done, by their names
Run = Callable[[Night, Results], StepReport]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the night.

    Attributes
    ----------
    name : str
    after : tuple of str
        Stages whose output it takes.
    settings : callable
        What else decides what it makes, for JSON.
    makes : callable
        Paths in the work folder that are there once it is done.
    holds : callable
        Whether what it did elsewhere still is so.
    run : callable
    """

    name: str
    after: tuple[str, ...]
    settings: Callable[[Night], Any]
    makes: Callable[[Night], tuple[str, ...]]
    holds: Callable[[Night, StepReport], bool]
    run: Run


def _validate(night: Night, _: Results) -> StepReport:
    profile = _latest_profile(night)
    with night.work.writing(night.path("validate_data")) as out:
        return data.validate_data(
            night.shop.source, out=out, end=night.end, now=night.started, profile=profile, **night.source,
            title=f"Clicks of {night.shop.name} up to {night.date}", **night.shop.section("validate"), **_bots(night),
        )  # fmt: skip


def _bots(night: Night) -> dict[str, Any]:
    """Who is a machine to preparation is one to validation."""
    return {name: value for name, value in night.shop.section("prepare").items() if name.startswith("bot_")}


def _latest_profile(night: Night) -> str | None:
    """Of the latest earlier day whose data passed: what was refused is not usual, and is to be judged again."""
    for day in night.work.days("runs", "steps/validate_data.json"):
        if day < str(night.date) and night.work.read_json(f"runs/{day}/steps/validate_data.json")["report"]["passed"]:
            return night.work.local(f"runs/{day}/validate_data/profile.json")
    return None


def _prepare(night: Night, _: Results) -> StepReport:
    return data.prepare(
        night.shop.source, out=night.prepared, judged=night.url("data/judged"), end=night.end, now=night.started,
        anew=night.anew, **night.source, **night.shop.section("prepare"), progress=night.progress,
    )  # fmt: skip


def _train_full(night: Night, results: Results) -> StepReport:
    """Anew where the model of an earlier day is old, or was made otherwise."""
    options = night.shop.section("full")
    every = options.pop("every", EVERY)
    config, clicks = options.get("config", {}), results["prepare"].fingerprint
    for day in night.work.days(FULL, KEPT[FULL]):
        kept = night.work.read_json(f"{FULL}/{day}/{KEPT[FULL]}")
        age = (night.date - datetime.date.fromisoformat(day)).days
        if kept["config"] == config and (0 < age < every or (age == 0 and kept["data"] == clicks)):
            return StepReport(fingerprint=kept["fingerprint"], counts={"day": day, "every": every})
    place = f"{FULL}/{night.date}"
    with night.work.writing(place) as out:
        report = models.train_full(night.url("data/judged"), out=out, **options, progress=night.progress)
    kept = {"config": config, "data": clicks, "fingerprint": report.fingerprint}
    night.work.write_json(f"{place}/{KEPT[FULL]}", kept)
    return dataclasses.replace(report, counts={"day": str(night.date), **report.counts})


def _full_model(report: StepReport) -> str:
    return f"{FULL}/{report.counts['day']}/model"


def _cluster(night: Night, results: Results) -> StepReport:
    """Those of the day before, continued, as long as the options stay the same."""
    options = night.shop.section("clusters")
    begun, previous = None, None
    for day in night.work.days(CLUSTERS, KEPT[CLUSTERS]):
        if day < str(night.date):
            kept = night.work.read_json(f"{CLUSTERS}/{day}/{KEPT[CLUSTERS]}")
            if kept["options"] == options:
                begun, previous = kept["begun"], night.work.local(f"{CLUSTERS}/{day}/clusters.safetensors")
            break
    place = f"{CLUSTERS}/{night.date}"
    with night.work.writing(place) as out:
        report = models.cluster(
            night.work.local(_full_model(results["train_full"])), night.url("data/judged"), out=out,
            previous=previous, progress=night.progress, **options,
        )  # fmt: skip
    begun = begun or report.fingerprint  # of the first of those that go on
    night.work.write_json(f"{place}/{KEPT[CLUSTERS]}", {"options": options, "begun": begun})
    return dataclasses.replace(report, counts={"begun": begun, **report.counts})


def clusters_file(night: Night) -> str:
    return night.work.local(f"{CLUSTERS}/{night.date}/clusters.safetensors")


def _partition(night: Night, results: Results) -> StepReport:
    there = read_manifest(Folder(night.prepared))
    if there is None or there.fingerprint != results["prepare"].fingerprint.split()[0]:
        raise ValueError(
            f"partition: {night.prepared} is not what prepare left there on {night.date}; run again from prepare on"
        )
    engine = night.shop.section("engine")
    made = [
        models.partition(whole, clusters_file(night), out=night.url(f"clustered/{kind}"), engine=engine)
        for kind, whole in (("judged", night.url("data/judged")), ("released", night.prepared))
    ]
    return StepReport(fingerprint=" ".join(each.fingerprint for each in made), counts=made[-1].counts)


def warm_start(night: Night, results: Results) -> str | None:
    """A local bundle that clusters begin with: what served when the run began, if it is of an earlier day, of the same
    clusters and of models of the same shape."""
    train = night.shop.section("train")
    if night.champion is None or not train.get("warm_start", True):
        return None
    found = night.store.release(night.champion)
    made = found.made_by
    fits = (
        made.get("shop") == night.shop.name
        and str(made.get("date")) < str(night.date)
        and made.get("clusters_begun") == results["cluster"].counts["begun"]
        and made.get("options") == _options(night)
    )
    return night.release_path(found) if fits else None


def _options(night: Night) -> dict[str, Any]:
    """Of training, defaults included."""
    return Settings.read(night.shop.section("train").get("config"), 0).to_dict()


def training(night: Night, kind: str, results: Results) -> dict[str, Any]:
    """Options of training what is judged or released."""
    options = night.shop.section("train")
    options.pop("warm_start", None)
    if kind == "released":
        options["like"] = night.work.local(night.path("models/judged"))
    return {**options, "warm_start": warm_start(night, results), "progress": night.progress}


def _train(kind: str) -> Run:
    def run(night: Night, results: Results) -> StepReport:
        with night.work.writing(night.path(f"models/{kind}")) as out:
            return models.train_clusters(
                night.url(f"clustered/{kind}"), clusters_file(night), out=out, **training(night, kind, results)
            )

    return run


def _train_settings(night: Night) -> Any:
    options = night.shop.section("train")
    return [{name: value for name, value in options.items() if name not in _UNSAID}, night.champion]


def _build(kind: str) -> Run:
    def run(night: Night, _: Results) -> StepReport:
        with night.work.writing(night.path("bundles")) as out:
            return release.build_bundle(
                night.work.local(night.path(f"models/{kind}")), night.url(f"clustered/{kind}"), out=f"{out}/{kind}",
                **night.shop.section("bundle"),
            )  # fmt: skip

    return run


def _bundle(night: Night, kind: str) -> str:
    return night.work.local(night.path(f"bundles/{kind}"))


def _against(*names: str) -> Callable[[Night], Any]:
    """Settings of stages that are done again where another release serves by now."""

    def settings(night: Night) -> Any:
        champion = night.serving()
        return [*(night.shop.given.get(name) for name in names), None if champion is None else champion.name]

    return settings


def _validate_model(night: Night, _: Results) -> StepReport:
    champion = night.serving()
    options = night.shop.section("judge")
    options.pop("least_overlap", None)
    with night.work.writing(night.path("validate_model")) as out:
        report = release.validate_model(
            _bundle(night, "judged"), night.url("clustered/judged"), out=out,
            champion=None if champion is None else night.release_path(champion),
            title=f"Release of {night.shop.name}, judged on {night.date}", **options,
        )  # fmt: skip
    warnings = list(report.warnings)
    if champion is not None and str(champion.made_by.get("date", "")) >= str(night.date):
        warnings.append(f"{champion.name} has learnt from {night.date}, on which it was judged: it is at an advantage")
    against = None if champion is None else champion.name
    return dataclasses.replace(report, warnings=warnings, counts={"champion": against, **report.counts})


def _compare(night: Night, _: Results) -> StepReport:
    given = night.shop.section("judge")
    options = {name: given[name] for name in ("zones", "sessions", "least_overlap") if name in given}
    return release.compare_bundles(
        _bundle(night, "released"), _bundle(night, "judged"), night.url("clustered/judged"), **options
    )


def _upload(night: Night, results: Results) -> StepReport:
    parent = results["validate_model"].counts["champion"]
    made_by = {
        "shop": night.shop.name,
        "date": str(night.date),
        "config": night.shop.section("train").get("config", {}),
        "options": _options(night),
        "versions": versions(),
        "clusters": results["cluster"].fingerprint,
        "clusters_begun": results["cluster"].counts["begun"],
        "data": results["prepare"].fingerprint.split()[0],
        "window": results["prepare"].counts["window"],
        "full": results["train_full"].counts["day"],
        "judged": results["validate_model"].counts["answer"],
        "overlap": results["compare_bundles"].counts["overlap"],
    }
    # Equal for what is uploaded again, and for that alone: what is judged again is another release, of the same bundle.
    told = [parent, made_by, record.state(night, results)]
    name = release_name(night.started, hashlib.sha256(json_text(told, sort_keys=True).encode()).hexdigest())
    with night.work.writing(night.path("record")) as folder:
        record.write(folder, night, name=name, parent=parent, made_by=made_by, results=results)
    return release.upload(
        _bundle(night, "released"), night.shop.store, name=name, created=night.started,
        record=night.work.local(night.path("record")), parent=parent,
        products_time=f"{night.end}T00:00:00Z", made_by=made_by,
    )  # fmt: skip


def _update_serving(night: Night, results: Results) -> StepReport:
    name = results["upload"].counts["release"]
    return release.update_serving(
        night.shop.store, name, alias=night.shop.alias,
        expect=night.expected(results["validate_model"].counts["champion"]), **night.shop.section("servers"),
    )  # fmt: skip


def _stage(
    name: str,
    run: Run,
    *,
    after: tuple[str, ...] = (),
    settings: Callable[[Night], Any] = lambda night: None,
    makes: Callable[[Night], tuple[str, ...]] = lambda night: (),
    holds: Callable[[Night, StepReport], bool] = lambda night, report: True,
) -> Stage:
    return Stage(name=name, after=after, settings=settings, makes=makes, holds=holds, run=run)


def _section(*names: str) -> Callable[[Night], Any]:
    return lambda night: [night.shop.section(name) for name in names]


def _files(*names: str) -> Callable[[Night], tuple[str, ...]]:
    return lambda night: tuple(night.path(name) for name in names)


STAGES = (
    _stage("validate_data", _validate, makes=_files("validate_data/profile.json", "validate_data/validation.html"),
           settings=lambda night: [*night.raw, night.shop.section("validate"), _bots(night)]),
    _stage("prepare", _prepare, after=("validate_data",), makes=_files("data/judged/prepared.json"),
           settings=lambda night: [*night.raw, night.shop.section("prepare")]),
    _stage("train_full", _train_full, after=("prepare",), settings=_section("full"),
           holds=lambda night, report: night.work.folder.size(_full_model(report) + "/manifest.json") is not None),
    _stage("cluster", _cluster, after=("prepare", "train_full"), settings=_section("clusters"),
           makes=lambda night: (f"{CLUSTERS}/{night.date}/clusters.safetensors",)),
    _stage("partition", _partition, after=("prepare", "cluster"),
           makes=_files("clustered/judged/prepared.json", "clustered/released/prepared.json")),
    _stage("train_judged", _train("judged"), after=("cluster", "partition"), settings=_train_settings,
           makes=_files("models/judged/report.json")),
    _stage("build_judged", _build("judged"), after=("partition", "train_judged"), settings=_section("bundle"),
           makes=_files("bundles/judged/manifest.json")),
    _stage("validate_model", _validate_model, after=("partition", "build_judged"), settings=_against("judge"),
           makes=_files("validate_model/report.json")),
    _stage("train_released", _train("released"), after=("partition", "train_judged", "validate_model"), settings=_train_settings,
           makes=_files("models/released/report.json")),
    _stage("build_released", _build("released"), after=("partition", "train_released"), settings=_section("bundle"),
           makes=_files("bundles/released/manifest.json")),
    _stage("compare_bundles", _compare, after=("partition", "build_judged", "build_released"), settings=_section("judge")),
    _stage("upload", _upload, after=("compare_bundles", "build_released", "validate_model"),
           settings=_against(), makes=_files("record/index.html"),
           holds=lambda night, report: report.counts["release"] in night.store.releases()),
    _stage("update_serving", _update_serving, after=("upload", "validate_model"),
           settings=_against("alias", "servers")),
)  # fmt: skip
NAMES = tuple(stage.name for stage in STAGES)
