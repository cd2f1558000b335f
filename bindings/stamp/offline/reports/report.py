"""The report on a release: one page for people, the same figures as JSON, and a verdict for pipelines."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..._stamp import __version__
from ...base.checks import list_lengths, whole_number
from ...base.figures import import_pyplot
from ...base.files import write_text
from ...base.json_text import json_text
from ...base.pages import Section, render
from ...base.policies import Verdict
from ...data.products import Products
from ...data.sessions import Sessions
from ..calibration.reliability import reliability_where_asked
from ..metrics.registry import find_metric, lacks, split_at
from ..recordings.checks import require_products
from ..recordings.questions import Questions
from ..recordings.zones import Zone, listed_zones, product_page
from ..replays.catalogs import find_embeddings
from ..replays.replay import replay
from ..replays.results import Replay
from ..verdicts.bootstrap import least_resamples
from ..verdicts.compare import compare
from ..verdicts.comparisons import Comparison
from . import contents
from .measured import MeasuredReplay
from .policy import Policy

_TAKEN = ("candidate", "current", "metric", "kind", "questions", "share")  # columns of tables


class Report:
    """What was measured of a release, and whether it may go on. Made by :func:`report`.

    Attributes
    ----------
    title : str
    created : datetime
        UTC.
    replay : Replay
        What the figures were made of.
    comparison : Comparison or None
        With the current release, or else the first of the baselines.
    verdict : Verdict or None
        None without a policy.
    sections : list of Section
        Tables and figures, in their order; those of the page and of the JSON.
    """

    def __init__(
        self,
        *,
        title: str,
        about: str,
        created: datetime.datetime,
        replay: Replay,
        comparison: Comparison | None,
        verdict: Verdict | None,
        sections: list[Section],
    ):
        self.title, self.about, self.created = title, about, created
        self.replay, self.comparison, self.verdict, self.sections = replay, comparison, verdict, sections

    @property
    def passed(self) -> bool:
        """Whether the release may go on: every check of the policy passed, or there is no policy."""
        return self.verdict is None or self.verdict.passed

    @property
    def reasons(self) -> list[str]:
        """A sentence for each check that did not pass."""
        return [] if self.verdict is None else self.verdict.reasons

    @property
    def answer(self) -> str:
        """The verdict in a line."""
        if self.verdict is None:
            return "not judged, as there is no policy"
        n, failed = len(self.verdict.judgements), len(self.reasons)
        return f"{n - failed:,} of {n:,} checks passed, the release {'may' if self.passed else 'must not'} go on"

    @property
    def html(self) -> str:
        """The page. It needs no other file and no network."""
        return render(self.title, self.about, self.verdict, self.sections)

    def to_dict(self) -> dict[str, Any]:
        """The figures of the page: the tables of each section under its key, NaN as None."""
        return {
            "format": 1,
            "title": self.title,
            "about": self.about,
            "created": self.created.isoformat(timespec="seconds"),
            "stamp": __version__,
            "passed": self.passed,
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            **{section.key: [table.to_dict() for table in section.tables] for section in self.sections},
        }

    def save(
        self, html_path: str | os.PathLike[str] | None = None, json_path: str | os.PathLike[str] | None = None
    ) -> None:
        """Write the page, the figures as JSON, or both; each aside, and then renamed. Files that stand there are replaced.

        Raises
        ------
        ValueError
            Neither is asked for.
        RuntimeError
            A file cannot be written.
        """
        if html_path is None and json_path is None:
            raise ValueError("Report.save: give html_path, json_path or both")
        if json_path is not None:
            text = json_text(self.to_dict(), ensure_ascii=False, indent=1)
            write_text(json_path, text + "\n")
        if html_path is not None:
            write_text(html_path, self.html)

    def _repr_html_(self) -> str:
        """In a notebook: the page in a frame, as its style is its own."""
        import html

        return f'<iframe srcdoc="{html.escape(self.html)}" style="width:100%;height:40em;border:0"></iframe>'

    def __repr__(self) -> str:
        return "\n".join([f"Report({self.title!r}: {self.answer})", *self.reasons])


def report(
    candidate: Any,
    sessions: Sessions,
    *,
    current: Any = None,
    baselines: Mapping[str, Any] | None = None,
    train: Sessions | None = None,
    products: Products | None = None,
    embeddings: Any = None,
    zones: Zone | Sequence[Zone] = (product_page(),),
    policy: Policy | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    k: Sequence[int] | int | None = None,
    metrics: Sequence[str] = ("hr", "mrr", "coverage"),
    cuts: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    latency: int = 200,
    leakage: str = "refuse",
    title: str | None = None,
    command: str | None = None,
    progress: bool = False,
) -> Report:
    """Replay a release over held-out sessions, compare it, judge it by a policy, and report.

    Parameters
    ----------
    candidate : path of a bundle, or recommender
        The release; see :func:`replay` for what can be measured.
    sessions : Sessions
        Held out: nothing that is measured has learnt from them.
    current : path of a bundle, or recommender, optional
        What serves now.
    baselines : dict of str to recommender, optional
        Others to be measured beside them.
    train : Sessions, optional
        What the candidate learnt from: for the check of leakage, and metrics and cuts that need clicks.
    products : Products, optional
        Attributes of products, for cuts and diversity.
    embeddings : StampRecommender, or (ids, vectors [n,D]), optional
        By which products of a list are compared; see :func:`replay`.
    zones : Zone or sequence of Zone
        Where it is asked; the product page where absent.
    policy : Policy, dict, or path of a JSON file, optional
        What decides whether the release may go on.
    k : int or sequence of int, optional
        Lengths of the lists that are measured; the zone's own where absent.
    metrics : sequence of str
        What is compared: "hr@20", or "hr" at the zone's k.
    cuts : sequence of str, optional
        Of :meth:`Replay.by`; the length of sessions where absent, with `train` popularity and cold products too, and
        with an attribute `category` of products that.
    resamples, seed : int
        Of the bootstrap; see :func:`compare`. More resamples where so many comparisons need them.
    latency : int
        Single requests that are timed.
    leakage : {"refuse", "report"}
        What to do about overlap of `train` and `sessions`.
    title : str, optional
    command : str, optional
        Shown as the way to make the report again.
    progress : bool

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        An input cannot be; the policy is read, and leakage looked for, before anything is asked.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=1000, products=100)
    >>> train, test = shop.sessions.split_by_time("7D")
    >>> model = stamp.StampRecommender(dim=16, epochs=5).fit(train, progress=False)
    >>> popular = stamp.PopularityRecommender().fit(train)
    >>> policy = {"format": 1, "checks": [{"metric": "hr@20", "no_worse_than": "current", "by": 0.01}]}
    >>> made = stamp.offline.report(model, test, current=popular, train=train, policy=policy)
    >>> made.passed
    True
    """
    named = _named(candidate, current, baselines or {})
    judged_by = policy if policy is None or isinstance(policy, Policy) else Policy.read(policy)
    lengths = None if k is None else list_lengths("report", k)
    whole_number("report: seed", seed, least=0)
    zones = listed_zones("report", zones)
    require_products("report", products)
    embeddings = find_embeddings("report", embeddings, named)
    cuts = _default_cuts(train, products) if cuts is None else list(cuts)
    longest = min(max(lengths or [zone.k]) for zone in zones)
    _rehearse(sessions, train, products, embeddings, metrics, cuts, longest=longest)
    confidence = Policy.confidence if judged_by is None else judged_by.confidence
    whole_number("report: resamples", resamples, least=1)
    resamples = max(resamples, least_resamples(len(zones) * len(metrics) * (len(named) - 1), confidence))
    asked = replay(
        named,
        sessions,
        zones=zones,
        k=None if lengths is None else max(lengths),
        train=train,
        products=products,
        embeddings=embeddings,
        latency=latency,
        leakage=leakage,
        progress=progress,
    )
    others = [name for name in named if name != "candidate"]
    comparison = None
    if others:
        comparison = compare(
            asked, baseline=others[0], metrics=metrics, confidence=confidence, resamples=resamples, seed=seed
        )  # fmt: skip
    verdict = None
    if judged_by is not None:
        verdict = judged_by.judge(MeasuredReplay(asked, "candidate", resamples=resamples, seed=seed))
    figures, shown = contents.metrics(asked, lengths)
    calibrated = reliability_where_asked(candidate, sessions)
    sections = [
        *([contents.checks(verdict)] if verdict is not None else []),
        *([contents.beside(comparison, asked)] if comparison is not None else []),
        figures,
        contents.cuts(asked, cuts),
        *([contents.calibration(calibrated)] if calibrated is not None else []),
        contents.faults(asked),
        contents.latency(asked),
        contents.inputs(named, sessions, train, asked, asked.leakage),
        contents.definitions([*shown, *(split_at(metric)[0] for metric in metrics)]),
        contents.again(
            command,
            {"confidence of intervals": confidence, "resamples": resamples, "seed": seed, "requests timed": latency},
        ),
    ]
    created = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    what = contents.name_of(candidate)
    against = f" beside {contents.name_of(current)}" if current is not None else ""
    return Report(
        title=title or f"Release report: {what}",
        about=f"{what}{against}, on {len(sessions):,} sessions. Made {created:%Y-%m-%d %H:%M} UTC by stamp "
        f"{__version__}.",
        created=created,
        replay=asked,
        comparison=comparison,
        verdict=verdict,
        sections=sections,
    )


def _named(candidate: Any, current: Any, baselines: Mapping[str, Any]) -> dict[str, Any]:
    """Recommenders by name, in the order of columns and rows."""
    for name in baselines:
        if name in _TAKEN:
            raise ValueError(f"report: a baseline is named '{name}', expected another name: that one is taken")
    return {"candidate": candidate, **({} if current is None else {"current": current}), **baselines}


def _rehearse(
    sessions: Sessions,
    train: Sessions | None,
    products: Products | None,
    embeddings: tuple[Any, np.ndarray] | None,
    metrics: Sequence[str],
    cuts: Sequence[str],
    *,
    longest: int,
) -> None:
    """Refuse metrics and cuts that cannot be, before the work: they are looked for in a replay of no questions."""
    import_pyplot()  # says what to install
    if not isinstance(sessions, Sessions):
        raise ValueError(
            f"report: sessions is {type(sessions).__name__}, expected stamp.Sessions (see Sessions.from_frame)"
        )
    if isinstance(metrics, str) or not metrics:
        raise ValueError(f"report: metrics is {metrics!r}, expected a list as ['hr@20', 'mrr@20']")
    V = len(sessions.item_ids)
    nothing = Replay(
        zones={"": Zone(name="rehearsal")},
        questions={"": Questions(session=[], event=[], anchor=[], target=[], remaining=([0], []))},
        lists={},
        item_ids=sessions.item_ids,
        clicks=None if train is None else np.zeros(V),
        sessions=sessions,
        train=train,
        products=products,
        embeddings=None if embeddings is None else np.zeros((V, 1)),
        clusters=np.zeros(V),
    )
    for text in metrics:
        name, at = split_at(text)
        need = lacks(nothing, *find_metric(name))
        if need is not None:
            raise ValueError(f"report: '{text}' needs {need}")
        if at is not None and at > longest:
            raise ValueError(f"report: '{text}' is of lists longer than the {longest} products asked for")
    for cut in cuts:
        nothing.cut(cut, "")


def _default_cuts(train: Sessions | None, products: Products | None) -> list[str]:
    by_clicks = [] if train is None else ["popularity", "cold"]
    by_category = ["category"] if products is not None and "category" in products.attributes else []
    return ["session_length", *by_clicks, *by_category]
