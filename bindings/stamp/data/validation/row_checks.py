"""What is wrong with rows: what cannot be read, what is missing, what is there twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .bands import days_like
from .checks import CHECKS
from .counters import NULLABLE
from .drift import DESIGN_EFFECT
from .judging import Judged, above_usual
from .profile import Day

_OF_NO_DAY = {
    "malformed": ("malformed_row",),
    "future": ("future",),
    "outside_window": ("before_window", "after_window"),
}
_SHOWN = {"price_millionths": "price"}


def check_rows(judged: Judged, *, outside: int) -> None:
    """`outside`: rows on days far from all others, where no window was given."""
    _check_types(judged)
    above_usual(judged, "malformed", lambda day: day.share(day.faults["malformed_row"] + day.faults["malformed_item"] + day.malformed_fields),
                "Rows that cannot be read, in whole or in a field,", told=True)  # fmt: skip
    above_usual(judged, "no_visitor", _fault("no_visitor"), "Rows without a visitor", told=True)
    above_usual(judged, "no_item", _fault("no_item"), "Rows without a product", told=True)
    _check_undated(judged, outside)
    above_usual(judged, "unknown_event_type", _fault("unknown_event_type"), "Rows of kinds that the mapping does not know",
                told=True, detail=lambda number: _unknown_kinds(judged, number))  # fmt: skip
    above_usual(judged, "duplicates", lambda day: day.usable_share(day.repeats), "Rows that repeat another",
                design_effect=DESIGN_EFFECT)  # fmt: skip
    above_usual(judged, "unreadable_text", lambda day: day.usable_share(day.unreadable),
                "Rows with control characters or broken letters", told=True)  # fmt: skip
    for column in ("item_id", "visitor_id"):
        _check_patterns(judged, column)
    for column in NULLABLE:
        above_usual(judged, "nulls", _null(column), f"Rows without {_SHOWN.get(column, column)}",
                    column=_SHOWN.get(column, column), design_effect=DESIGN_EFFECT, alone=False)  # fmt: skip
    _check_quarantined(judged)


def _fault(name: str) -> Callable[[Day], float]:
    return lambda day: day.share(day.faults[name])


def _null(column: str) -> Callable[[Day], float | None]:
    return lambda day: day.usable_share(day.nulls[column])


def _check_types(judged: Judged) -> None:
    if judged.before is not None:
        now, before = judged.measured.item_ids, judged.before.item_ids
        judged.findings.look(
            "id_type", float(now != before), f"Product ids are {now}, in yesterday's profile {before}", column="item_id"
        )


def _unknown_kinds(judged: Judged, number: int) -> str:
    counts = judged.days[number].values.get("raw_event_type", {})
    unknown = sorted(
        (kind for kind in counts if kind not in judged.event_types), key=lambda kind: (-counts[kind], kind)
    )
    return f": {', '.join(repr(kind) for kind in unknown[:3])}" if unknown else ""


def _check_undated(judged: Judged, outside: int) -> None:
    """Rows of no day: those that are more than in yesterday's profile, beside the rows of the days that are new."""
    now = judged.measured.undated
    before = {} if judged.before is None else judged.before.undated
    rows = sum(judged.days[number].rows for number in judged.judged)
    named = {name for faults in _OF_NO_DAY.values() for name in faults}
    for check, faults in {**_OF_NO_DAY, "undated": tuple(name for name in now if name not in named)}.items():
        count = sum(max(0, now.get(name, 0) - before.get(name, 0)) for name in faults)
        count += outside if check == "outside_window" else 0
        share = count / (rows + count) if count else 0.0
        what = CHECKS[check].measure
        sentence = f"{what[0].upper()}{what[1:]}, of no day: {count:,}, which is {CHECKS[check].shown(share)}"
        judged.findings.look(check, share, sentence, told=True)


def _check_patterns(judged: Judged, column: str) -> None:
    def shares(day: Day) -> dict[str, float]:
        counts = getattr(day, column)
        total = sum(counts.values())
        return {pattern: count / total for pattern, count in counts.items()} if total else {}

    by_day = {number: shares(day) for number, day in judged.days.items()}
    by_day = {number: found for number, found in by_day.items() if found}
    for number in judged.judged:
        like = list(days_like(number, by_day).values())
        if number not in by_day or not like:
            continue
        usual = {pattern: float(np.median([each[pattern] for each in like])) for pattern in like[0]}
        gains = {pattern: share - usual[pattern] for pattern, share in by_day[number].items()}
        most = max(gains, key=lambda pattern: gains[pattern])
        value = sum(gain for gain in gains.values() if gain > 0)
        judged.findings.look(
            "id_pattern",
            value,
            f"{column} is written in another way than usual in {CHECKS['id_pattern'].shown(value)} of rows, now as {most}",
            day=number,
            column=column,
        )


def _check_quarantined(judged: Judged) -> None:
    days = [judged.days[number] for number in judged.judged]
    faults: dict[str, int] = dict(judged.measured.undated)
    for day in days:
        for name, count in day.faults.items():
            faults[name] = faults.get(name, 0) + count
    faults = {name: count for name, count in faults.items() if count and name != "unknown_event_type"}
    total = sum(day.rows for day in days) + sum(judged.measured.undated.values())
    if not total:
        return
    share = sum(faults.values()) / total
    named = ", ".join(f"{name} {count:,}" for name, count in sorted(faults.items(), key=lambda each: -each[1]))
    judged.findings.look(
        "quarantined", share, f"Rows that are put aside are {CHECKS['quarantined'].shown(share)}: {named}"
    )
