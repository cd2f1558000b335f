"""The report on a release: one page for people, the same figures as JSON, and a verdict for pipelines."""

from __future__ import annotations

import datetime
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import stamp

from ..products import Products
from ..sessions import Sessions
from .leakage import LeakageReport, check_leakage
from .measured import MeasuredReplay
from .metrics import find_metric
from .page import Figure, Section, drawing, render
from .plots import plot_cut
from .policy import Policy, Verdict
from .replay import Replay, replay
from .tables import Table
from .verdicts import Comparison, compare
from .zones import Zone, product_page

_GROUPS = 20  # of a cut, that a table shows
_LENGTHS = ("hr", "mrr", "coverage")  # metrics that are compared where nobody says which


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
            "stamp": stamp.__version__,
            "passed": self.passed,
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            **{section.key: [table.to_dict() for table in section.tables] for section in self.sections},
        }

    def save(
        self, html_path: str | os.PathLike[str] | None = None, json_path: str | os.PathLike[str] | None = None
    ) -> None:
        """Write the page, the figures as JSON, or both; each aside, and then renamed.

        Raises
        ------
        ValueError
            Neither is asked for.
        OSError
            A file cannot be written.
        """
        if html_path is None and json_path is None:
            raise ValueError("Report.save: give html_path, json_path or both")
        if json_path is not None:
            text = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=1)
            _write(pathlib.Path(json_path), text + "\n")
        if html_path is not None:
            _write(pathlib.Path(html_path), self.html)

    def _repr_html_(self) -> str:
        """In a notebook: the page in a frame, as its style is its own."""
        import html

        return f'<iframe srcdoc="{html.escape(self.html)}" style="width:100%;height:40em;border:0"></iframe>'

    def __repr__(self) -> str:
        answer = "not judged" if self.verdict is None else "passed" if self.passed else "did not pass"
        return "\n".join([f"Report({self.title!r}: {answer})", *self.reasons])


def report(
    candidate: Any,
    sessions: Sessions,
    *,
    current: Any = None,
    baselines: Mapping[str, Any] | None = None,
    train: Sessions | None = None,
    products: Products | None = None,
    zones: Sequence[Zone] = (),
    policy: Policy | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    k: Sequence[int] | int | None = None,
    metrics: Sequence[str] | None = None,
    cuts: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    latency: int = 200,
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
    zones : sequence of Zone
        Where it is asked; the product page where none is given.
    policy : Policy, dict, or path of a JSON file, optional
        What decides whether the release may go on.
    k : int or sequence of int, optional
        Lengths of the lists that are measured; the zone's own where absent.
    metrics : sequence of str, optional
        What is compared, "hr@20" say; hr, mrr and coverage at the longest list where absent.
    cuts : sequence of str, optional
        Of :meth:`Replay.by`; the length of sessions where absent, with `train` popularity and cold products too, and
        with an attribute `category` of products that.
    resamples, seed : int
        Of the bootstrap; see :func:`compare`.
    latency : int
        Single requests that are timed.
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
        An input cannot be; the policy is read, and leakage looked for, before anything is measured.

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
    named = _named(candidate, current, baselines)
    judged_by = policy if policy is None or isinstance(policy, Policy) else Policy.read(policy)
    leakage = None if train is None else check_leakage(train, sessions)
    lengths = [k] if isinstance(k, int) else None if k is None else list(k)
    asked = replay(
        named,
        sessions,
        zones=tuple(zones) or (product_page(),),
        k=None if lengths is None else max(lengths),
        train=train,
        products=products,
        latency=latency,
        progress=progress,
    )
    reference = "current" if current is not None else next(iter(baselines), None) if baselines else None
    confidence = judged_by.confidence if judged_by is not None else Policy.confidence
    comparison = None
    if reference is not None and any(len(questions) for questions in asked.questions.values()):
        comparison = compare(
            asked,
            baseline=reference,
            metrics=list(metrics) if metrics is not None else [_at(name, lengths) for name in _LENGTHS],
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )
    measured = MeasuredReplay(asked, "candidate", resamples=resamples, seed=seed)
    verdict = None if judged_by is None else judged_by.judge(measured)
    sections = [
        *([_checks(verdict)] if verdict is not None else []),
        *([_beside(comparison, asked, lengths)] if comparison is not None else []),
        _metrics(asked, lengths),
        _cuts(asked, _default_cuts(train, products) if cuts is None else cuts, lengths),
        _faults(asked),
        _latency(asked),
        _inputs(named, sessions, train, asked, leakage),
        _definitions(asked, lengths),
        _again(command, confidence, resamples, seed, latency),
    ]
    created = datetime.datetime.now(datetime.timezone.utc)
    return Report(
        title=title or f"Release report: {_name(candidate)}",
        about=_about(candidate, current, sessions, created),
        created=created,
        replay=asked,
        comparison=comparison,
        verdict=verdict,
        sections=sections,
    )
