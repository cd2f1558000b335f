"""What validation found: for a terminal, a page, a file, and a pipeline."""

from __future__ import annotations

import datetime
import html
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..._stamp import __version__
from ...base.json_text import json_text
from ...base.pages import Section, render
from ...base.policies import Judgement, Verdict
from ...base.tables import Table
from . import contents
from .checks import CHECKS
from .findings import Finding, Findings
from .judging import Drift
from .places import write_at
from .profile import Profile

FORMAT = 1


class ValidationReport:
    """What was found in raw clicks, and whether they may be prepared. Made by :func:`validate`.

    Attributes
    ----------
    title : str
    created : datetime
        UTC.
    findings : list of Finding
        Errors first, then warnings, then what is told only; each in the order of :data:`CHECKS` and of days.
    verdict : Verdict
        Of the policy: a judgement for each finding that stops or warns, and one for each other check that was looked at.
    judged : list of str
        ISO dates of the days that were judged: those that are new.
    profile : Profile
        Of all days that are known: what the next night wants.
    """

    def __init__(
        self,
        *,
        title: str,
        created: datetime.datetime,
        findings: Findings,
        judged: Sequence[str],
        measured: Profile,
        profile: Profile,
        drift: Mapping[str, Mapping[int, Drift]],
        notes: Sequence[str],
        command: str | None,
    ):
        self.title, self.created, self.judged, self.profile = title, created, list(judged), profile
        self.notes, self._measured, self._drift, self._command = list(notes), measured, drift, command
        self._policy = findings.policy
        order = list(CHECKS)
        worst = ("error", "warning", "info")
        self.findings: list[Finding] = sorted(
            findings.found, key=lambda each: (worst.index(each.severity), order.index(each.check), each.day or "")
        )
        self.verdict = _verdict(findings, self.findings)

    @property
    def passed(self) -> bool:
        """Whether the clicks may be prepared: the policy stops at nothing that was found."""
        return self.verdict.passed

    @property
    def reasons(self) -> list[str]:
        """A sentence for each finding that stops."""
        return self.verdict.reasons

    @property
    def warnings(self) -> list[str]:
        """A sentence for each finding that warns."""
        return self.verdict.warnings

    @property
    def answer(self) -> str:
        """The verdict in a line."""
        stops, warns = len(self.reasons), len(self.warnings)
        told = f"{stops:,} {'reason' if stops == 1 else 'reasons'} to stop, {warns:,} {'warning' if warns == 1 else 'warnings'}"
        return f"{told}: the clicks {'may' if self.passed else 'must not'} be prepared"

    @property
    def about(self) -> str:
        """What was looked at, in a line."""
        rows = sum(day.rows for day in self._measured.days.values()) + sum(self._measured.undated.values())
        days = self._measured.dates
        span = f" of {days[0]} to {days[-1]}" if days else ""
        n = len(self.judged)
        return (
            f"{rows:,} rows{span}, {n:,} {'day' if n == 1 else 'days'} judged. Made {self.created:%Y-%m-%d %H:%M} UTC by "
            f"stamp {__version__}."
        )

    @property
    def sections(self) -> list[Section]:
        """Tables and figures of the page, in their order; the tables are those of the JSON."""
        return [
            contents.findings(self.findings),
            contents.days(self._measured),
            contents.volumes(self.profile, self.judged),
            contents.faults(self._measured, self.judged),
            contents.drift(self.profile, self._drift, self.judged),
            contents.hours(self.profile, self.judged),
            contents.checks(self._policy, self.verdict),
            contents.again(self._command, self.notes),
        ]

    @property
    def html(self) -> str:
        """The page. It needs no other file and no network."""
        return render(self.title, self.about, self.verdict, self.sections)

    def table(self) -> Table:
        """The findings."""
        return contents.findings_table(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """What was found, for machines: NaN as None."""
        return {
            "format": FORMAT,
            "title": self.title,
            "about": self.about,
            "created": self.created.isoformat(timespec="seconds"),
            "stamp": __version__,
            "passed": self.passed,
            "verdict": self.verdict.to_dict(),
            "judged": self.judged,
            "findings": [finding.to_dict() for finding in self.findings],
            "days": contents.days_table(self._measured).to_dict(),
            "drift": contents.drift_table(self._drift, self.judged).to_dict(),
            "notes": self.notes,
        }

    def save(
        self,
        html_path: str | os.PathLike[str] | None = None,
        json_path: str | os.PathLike[str] | None = None,
        profile_path: str | os.PathLike[str] | None = None,
    ) -> None:
        """Write the page, what was found as JSON, the profile, or several, to paths or URLs; each whole or not at all.

        Raises
        ------
        ValueError
            None is asked for.
        RuntimeError
            A file cannot be written.
        """
        if html_path is None and json_path is None and profile_path is None:
            raise ValueError("ValidationReport.save: give html_path, json_path or profile_path")
        page = None if html_path is None else self.html
        if json_path is not None:
            write_at(json_path, json_text(self.to_dict(), ensure_ascii=False, indent=1) + "\n")
        if html_path is not None and page is not None:
            write_at(html_path, page)
        if profile_path is not None:
            self.profile.save(profile_path)

    def _repr_html_(self) -> str:
        """In a notebook: the page in a frame, as its style is its own."""
        return f'<iframe srcdoc="{html.escape(self.html)}" style="width:100%;height:40em;border:0"></iframe>'

    def __repr__(self) -> str:
        told = [f"{finding.severity}: {finding.check}: {finding.sentence}" for finding in self.findings]
        return "\n".join([f"ValidationReport({self.title!r}: {self.answer})", self.about, *told])


def _verdict(findings: Findings, found: Sequence[Finding]) -> Verdict:
    """In the order of the checks; what stops and what warns by its own sentence."""
    by_check: dict[str, list[Finding]] = {}
    for finding in found:
        if finding.severity != "info":
            by_check.setdefault(finding.check, []).append(finding)
    judgements = []
    for check in (name for name in CHECKS if name in findings.looked):
        rule = findings.policy.rule(check)
        for each in by_check.get(check, ()):
            judgements.append(
                Judgement(
                    check=rule,
                    zone=each.day or "all days",
                    outcome="failed" if each.severity == "error" else "warned",
                    value=each.value,
                    bound=each.value,
                    needed=each.bound,
                    sentence=each.sentence,
                )
            )
        if check not in by_check:
            nan = float("nan")
            sentence = f"{CHECKS[check].measure}: nothing to warn of."
            judgements.append(
                Judgement(
                    check=rule, zone="all days", outcome="passed", value=nan, bound=nan, needed=nan, sentence=sentence
                )  # fmt: skip
            )
    return Verdict(judgements)
