"""What the page of a validation says, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...base.figures import drawing
from ...base.pages import Figure, Section
from ...base.policies import Verdict
from ...base.tables import Table
from ..sources.dates import date_of, day_of
from ..sources.mapping import KINDS
from .checks import CHECKS
from .figures import fault_count, plot_drift, plot_faults, plot_hours, plot_volumes
from .findings import Finding
from .judging import Drift
from .mix_checks import median_price
from .policy import DataPolicy
from .profile import Profile

_LISTED = 14  # days of a table of drift
DRAWN = 42  # days: those of before are small, and known
_OUTCOMES = {"error": "failed", "warning": "warned", "info": "told"}


def findings_table(found: Sequence[Finding]) -> Table:
    rows = []
    for each in found:
        shown = CHECKS[each.check].shown
        bound = None if each.bound != each.bound else shown(each.bound)
        told = [_OUTCOMES[each.severity], each.check, each.sentence]
        rows.append([*told, shown(each.value), bound, each.day, each.column])
    return Table(["outcome", "check", "what", "value", "above", "day", "column"], rows, title="Findings")


def findings(found: Sequence[Finding]) -> Section:
    if not found:
        return Section(key="findings", title="Findings", text=["Nothing was found."])
    return Section(
        key="findings",
        title="Findings",
        text=["What failed stops, what warned may go on and should be looked at, what is told is small."],
        tables=[findings_table(found)],
    )


def days_table(measured: Profile) -> Table:
    rows = [
        [
            date_of(number), day.rows, day.usable, *(day.kinds[kind] for kind in KINDS), day.visits["visitors"],
            day.visits["sessions"], day.products["products"], median_price(day),
        ]
        for number, day in sorted(measured.days.items())
    ]  # fmt: skip
    return Table(
        ["day", "rows", "usable", *KINDS, "visitors", "sessions", "products", "median price"],
        rows,
        title="Days that were read",
        formats={"median price": ",.2f"},
        notes=["Sessions are the shop's; where it gives none, a visitor's day is one."],
    )


def days(measured: Profile) -> Section:
    return Section(key="days", title="Days", tables=[days_table(measured)])


def volumes(profile: Profile, judged: Sequence[str]) -> Section:
    recent = _recent(profile)
    if not recent.days:
        return Section(key="volumes", title="Rows a day", text=["There is no day with rows."])
    text = "; ".join(f"{date_of(number)}: {day.rows:,}" for number, day in sorted(recent.days.items()))
    caption = (
        "Rows a day, all and by kind. The band is what neither warns nor stops: the median of the same weekday in the "
        "four weeks before, and the bound of day_low and day_high around it, which is wider where the shop varies more."
    )
    return Section(
        key="volumes",
        title="Rows a day",
        figures=[Figure(drawing(plot_volumes, recent.days, judged), caption, f"Rows a day: {text}.")],
    )


def faults(measured: Profile, judged: Sequence[str]) -> Section:
    recent = _recent(measured)
    names = {name: None for day in recent.days.values() for name in (*day.faults, "duplicate", "bot")}
    some = [name for name in names if any(fault_count(day, name) for day in recent.days.values())]
    undated = {name: count for name, count in measured.undated.items() if count}
    text = ["Rows that preparation puts aside, each for the first reason that holds."]
    if undated:
        told = ", ".join(f"{count:,} {name}" for name, count in undated.items())
        text.append(f"Of no day that is judged: {told}.")
    if not some:
        return Section(key="faults", title="Faults", text=[*text, "No row of these days is at fault."])
    rows = [[date_of(n), *(fault_count(day, name) for name in some)] for n, day in sorted(recent.days.items())]
    totals = ", ".join(f"{name} {sum(fault_count(day, name) for day in recent.days.values()):,}" for name in some)
    return Section(
        key="faults",
        title="Faults",
        text=text,
        figures=[Figure(drawing(plot_faults, recent.days, some, judged), "Faults a day, in per cent of its rows.", f"Faults: {totals}.")],
        tables=[Table(["day", *some], rows, title="Rows at fault")],
    )  # fmt: skip


def drift_table(drifts: Mapping[str, Mapping[int, Drift]], judged: Sequence[str]) -> Table:
    numbers = [day_of(date) for date in judged]
    rows = [
        [date_of(n), name, found[n].psi, found[n].js, found[n].gained]
        for n in numbers
        for name, found in drifts.items()
        if n in found
    ]
    return Table(
        ["day", "mix", "PSI", "Jensen-Shannon", "gained most"], rows, title="Drift of the days that were judged"
    )


def _psi_table(drifts: Mapping[str, Mapping[int, Drift]], judged: Sequence[str]) -> Table:
    rows = [
        [date, *(found[day_of(date)].psi if day_of(date) in found else None for found in drifts.values())]
        for date in judged
    ]
    return Table(
        ["day", *drifts], rows, title="Population stability index, of the days that were judged last",
        formats=dict.fromkeys(drifts, ".3f"),
    )  # fmt: skip


def drift(profile: Profile, drifts: Mapping[str, Mapping[int, Drift]], judged: Sequence[str]) -> Section:
    numbers = sorted(_recent(profile).days)
    shown = {name: found for name, found in drifts.items() if any(number in found for number in numbers)}
    if not shown:
        return Section(
            key="drift", title="Drift", text=["There are too few days to say what is usual: five are the fewest."]
        )
    worst = {name: max(each.psi for each in found.values()) for name, found in shown.items()}
    told = "; ".join(f"{name}: at most {psi:.3f}" for name, psi in worst.items())
    caption = (
        "Population stability index of each mix, beside the median of its shares on days like it. PSI above 1 is drawn "
        "as 1. A day also needs a Jensen-Shannon distance above 0.1 to be found."
    )
    return Section(
        key="drift",
        title="Drift",
        figures=[Figure(drawing(plot_drift, shown, numbers, judged), caption, f"PSI by mix: {told}.")],
        tables=[_psi_table(shown, judged[-_LISTED:])],
    )


def hours(profile: Profile, judged: Sequence[str]) -> Section:
    last = max((day_of(date) for date in judged), default=None)
    if last is None:
        return Section(key="hours", title="Hours", text=["No day was judged: none is new."])
    counts = ", ".join(f"{hour}: {count:,}" for hour, count in enumerate(profile.days[last].hours))
    caption = f"Usable rows of {date_of(last)} by hour, and the days that say what is usual of it."
    return Section(
        key="hours",
        title="Hours",
        figures=[Figure(drawing(plot_hours, profile.days, last), caption, f"By hour: {counts}.")],
    )


def checks(policy: DataPolicy, verdict: Verdict) -> Section:
    """Every check, whether it was looked at or not, with the bounds that the policy has."""
    outcomes: dict[str, str] = {}
    for judgement in verdict.judgements:
        outcomes.setdefault(judgement.check.subject, judgement.outcome)
        if judgement.outcome == "failed":
            outcomes[judgement.check.subject] = "failed"
    rows = [
        [outcomes.get(name, "nothing to look at"), name, check.measure, policy.rule(name).requirement,
         "yes" if check.above_usual else "no", check.why]
        for name, check in CHECKS.items()
    ]  # fmt: skip
    return Section(
        key="checks",
        title="Checks",
        text=[
            "Bounds of what is above usual hold beside the median of the same weekday, and widen where the shop varies."
        ],
        tables=[Table(["outcome", "check", "what is measured", "policy", "above usual", "why"], rows, title="Checks")],
    )


def again(command: str | None, notes: Sequence[str]) -> Section:
    return Section(key="settings", title="How it was read", text=notes, code=command or "")


def _recent(profile: Profile) -> Profile:
    last = max(profile.days, default=0)
    days = {number: day for number, day in profile.days.items() if number > last - DRAWN}
    return Profile(item_ids=profile.item_ids, days=days)
