"""What differs from what is usual: kinds of events, sessions, categories, brands, prices, hours, popularity, visitors."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Mapping

import numpy as np

from ..sources.mapping import KINDS
from .bands import days_like, usual
from .checks import CHECKS
from .counters import LENGTHS, PRICE_EDGES, TOP
from .drift import DESIGN_EFFECT
from .judging import Drift, Judged, above_usual, mix
from .profile import Day

_SOME = 20  # rows
_ENOUGH = 200  # prices that have a median
_FEWEST = 5  # sessions of one event: of fewer the share is skewed
_USUAL_CURRENCY = 0.001
_MANY_REPEATS = 0.1
_MIXES: dict[str, tuple[str, Callable[[Day], Mapping[str, int]]]] = {
    "event_mix": ("Kinds of events", lambda day: day.kinds),
    "category_mix": ("Categories", lambda day: day.values.get("category", {})),
    "brand_mix": ("Brands", lambda day: day.values.get("brand", {})),
    "price_mix": ("Prices", lambda day: day.values.get("price", {})),
    "hour_mix": ("Hours of the day", lambda day: {str(hour): count for hour, count in enumerate(day.hours)}),
    "session_length": ("Lengths of sessions", lambda day: _lengths(day)),
}


def check_mix(judged: Judged) -> dict[str, dict[int, Drift]]:
    """The drift of each mix, of all days: for the report."""
    _check_gone(judged)
    found = {
        # An hour that is missing is found as such.
        check: mix(judged, check, counts, what, by_decile=check == "price_mix", whole=check != "hour_mix")
        for check, (what, counts) in _MIXES.items()
    }
    _check_singles(judged)
    above_usual(
        judged,
        "orders_without_view",
        _of_orders,
        "Orders of visitors that viewed nothing",
        design_effect=DESIGN_EFFECT,
        alone=False,
    )
    _check_popularity(judged)
    return found


def check_visitors(judged: Judged) -> None:
    _fewer(judged, "new_visitors", lambda day: _share(day.visits.get("known"), day.visits["visitors"]),
           "visitors who also came the day before are {now}, usually {usual}")  # fmt: skip
    above_usual(judged, "bots", lambda day: day.usable_share(day.visits["bot_rows"] - day.visits["shared_rows"]),
                "Rows of visitors above the limits", design_effect=DESIGN_EFFECT, told=True,
                detail=lambda number: f"; visitors: {judged.days[number].visits['bots']:,}")  # fmt: skip
    above_usual(judged, "shared_visitor", lambda day: day.usable_share(day.visits["shared_rows"]),
                "Rows of visitor ids that many share", told=True)  # fmt: skip
    above_usual(judged, "visitors_without_items", lambda day: _share(day.visits["without_items"], day.visits["visitors"]),
                "Visitors without any product")  # fmt: skip
    above_usual(judged, "items_without_visitors", lambda day: _share(day.products["without_visitors"], day.products["products"]),
                "Products without any visitor")  # fmt: skip


def check_prices(judged: Judged) -> None:
    medians = judged.values(median_price)
    for number in judged.judged:
        found = usual(number, medians, ratio=True)
        prices = sum(judged.days[number].values.get("price", {}).values())
        if number not in medians or found is None or prices < _ENOUGH:
            continue
        ratio = medians[number] / found.median
        factor = max(ratio, 1 / ratio)
        # Of a median of so many prices that spread over factors of e, and hang together in visits.
        chance = 1.25 * math.sqrt(DESIGN_EFFECT / prices)
        judged.findings.look(
            "price_level", factor, f"the median price is {medians[number]:,.2f}, usually {found.median:,.2f}", day=number,
            column="price", widened=lambda stated: 1 + found.bound(stated - 1, chance),  # noqa: B023
        )  # fmt: skip
    above_usual(judged, "price_not_positive", lambda day: _share(day.not_positive, day.usable - day.nulls["price_millionths"]),
                "Prices of zero or less", column="price", design_effect=DESIGN_EFFECT)  # fmt: skip
    _check_currencies(judged)


def median_price(day: Day) -> float | None:
    """In units of the currency, to a quarter: of bands. None where there is no price."""
    bands = sorted((int(band), count) for band, count in day.values.get("price", {}).items())
    half, below = sum(count for _, count in bands) / 2, 0.0
    for band, count in bands:
        if count and below + count >= half:
            low = PRICE_EDGES[max(band - 1, 0)] / 1e6
            high = PRICE_EDGES[min(band, len(PRICE_EDGES) - 1)] / 1e6
            return low * (high / low) ** ((half - below) / count)
        below += count
    return None


def _lengths(day: Day) -> dict[str, int]:
    """Sessions by length; none of a day of which much repeats: lengths count repeats, which preparation puts aside."""
    repeats = day.usable_share(day.repeats)
    if repeats is None or repeats > _MANY_REPEATS:
        return {}
    return {name: day.visits[f"length__{name}"] for name in LENGTHS}


def _share(count: int | None, total: int) -> float | None:
    return None if count is None or not total else count / total


def _of_orders(day: Day) -> float | None:
    orders = day.visits["orders"]
    return day.visits["orders_without_view"] / orders if orders >= _SOME else None


def _check_gone(judged: Judged) -> None:
    for number in judged.judged:
        like = list(days_like(number, judged.days).values())
        if not like or not judged.days[number].usable:
            continue
        medians = {kind: float(np.median([day.kinds[kind] for day in like])) for kind in KINDS}
        gone = [kind for kind in KINDS if medians[kind] >= _SOME and not judged.days[number].kinds[kind]]
        usually = ", ".join(f"{medians[kind]:,.0f} of {kind}" for kind in gone)
        judged.findings.look("event_gone", len(gone), f"there is no {' and no '.join(gone)}; usually {usually}", day=number,
                             column="event_type")  # fmt: skip


def _check_singles(judged: Judged) -> None:
    values = judged.values(lambda day: _share(_lengths(day).get("1"), day.visits["sessions"]))
    for number in judged.judged:
        found = usual(number, values, ratio=True)
        sessions = judged.days[number].visits["sessions"]
        if number not in values or found is None or found.median * sessions < _FEWEST:
            continue
        chance = math.sqrt((1 - found.median) / found.median / sessions)
        shown = CHECKS["single_event_sessions"].shown
        judged.findings.look(
            "single_event_sessions", abs(values[number] / found.median - 1),
            f"sessions of one event are {shown(values[number])}, usually {shown(found.median)}", day=number,
            widened=lambda stated: found.bound(stated, chance),  # noqa: B023
        )  # fmt: skip


def _fewer(judged: Judged, check: str, measure: Callable[[Day], float | None], sentence: str, form: str = "") -> None:
    """A measure that must not fall below the usual one by more than a share of it: a share of visitors or, with a form to
    be shown in, a number."""
    values = judged.values(measure)
    shown = (lambda number: format(number, form)) if form else CHECKS[check].shown
    for number in judged.judged:
        found = usual(number, values, ratio=True)
        if number not in values or found is None:
            continue
        usually = found.median * (1 if form else judged.days[number].visits["visitors"])
        if usually < _SOME:
            continue
        chance = 0.0 if form else math.sqrt(2 / usually)
        judged.findings.look(
            check, 1 - values[number] / found.median,
            sentence.format(now=shown(values[number]), usual=shown(found.median)), day=number,
            widened=lambda stated: min(found.bound(stated, chance), max(stated, 0.95)),  # noqa: B023
        )  # fmt: skip


def _check_popularity(judged: Judged) -> None:
    _fewer(judged, "popularity", lambda day: day.usable**2 / day.products["squares"] if day.products["squares"] else None,
           "rows are spread over {now} products, effectively, usually over {usual}", form=",.0f")  # fmt: skip
    above_usual(judged, "top_product", lambda day: day.usable_share(day.products["top_rows"]), "Rows of one product",
                design_effect=DESIGN_EFFECT, alone=False)  # fmt: skip
    overlap = {}
    for number, day in judged.days.items():
        before = judged.days.get(number - 1)
        if before is not None and len(day.top) == len(before.top) == TOP:  # of fewer products none is at the top
            overlap[number] = 1 - len(set(day.top) & set(before.top)) / len(day.top)
    for number in judged.judged:
        found = usual(number, overlap)
        if number in overlap and found is not None:
            shown = CHECKS["top_products"].shown
            judged.findings.look(
                "top_products", overlap[number],
                f"of the products of most rows {shown(overlap[number])} are not among yesterday's, usually {shown(found.median)}",
                day=number, widened=lambda stated: found.median + found.bound(stated),  # noqa: B023
            )  # fmt: skip

    def new(day: Day) -> float | None:
        known = day.usable_share(day.products.get("known_rows", 0))
        return None if known is None or "known_rows" not in day.products else 1 - known

    above_usual(
        judged,
        "new_products",
        new,
        "Rows of products that had none the day before",
        design_effect=DESIGN_EFFECT,
        alone=False,
    )


def _check_currencies(judged: Judged) -> None:
    days = {number: counts for number, day in judged.days.items() if (counts := day.values.get("currency", {}))}
    together: collections.Counter[str] = collections.Counter()
    for number in judged.judged:
        if number not in days:
            continue
        counts, total = days[number], sum(days[number].values())
        together.update(counts)
        like = list(days_like(number, days).values())
        if not like:
            continue
        usual_ = {
            currency
            for each in like
            for currency in each
            if np.median([other.get(currency, 0) / sum(other.values()) for other in like]) >= _USUAL_CURRENCY
        }
        new = {currency: count for currency, count in counts.items() if currency not in usual_}
        value = sum(new.values()) / total
        judged.findings.look(
            "currency", value,
            f"rows in {', '.join(sorted(new))}, which is not usual, are {CHECKS['currency'].shown(value)}; "
            f"usual is {', '.join(sorted(usual_))}",
            day=number, column="currency",
        )  # fmt: skip
    if together:  # what was always so is one finding, not one a day
        [(most, count)] = together.most_common(1)
        several = 1 - count / together.total()
        shown = CHECKS["several_currencies"].shown(several)
        judged.findings.look(
            "several_currencies", several, f"Rows in other currencies than {most} are {shown}", column="currency"
        )  # fmt: skip
