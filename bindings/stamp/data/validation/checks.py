"""What is looked at, where a warning begins and where the night stops, and why there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_FIELD = "convention of the field"
_PSI = "the usual bands of the index are 0.1 and 0.25 (Siddiqi, Credit Risk Scorecards, 2006)"
_SALE = f"{_PSI}; a sale moves it, and is what a model should learn, so nothing stops"

Unit = Literal["share", "psi", "factor", "count"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that is looked at.

    Attributes
    ----------
    name : str
        As in a policy.
    about : {"rows", "days", "volumes", "mix", "visitors", "prices", "catalog"}
    measure : str
        What is measured. A share is of the day's rows where it does not say otherwise.
    unit : {"share", "psi", "factor", "count"}
    warn, stop : float or None
        The default policy: a finding is a warning above the one and an error above the other.
    above_usual : bool
        The bounds are of what is more than usual: the median of the same weekday in the 28 days before. They widen,
        to four spreads of the shop itself, where it varies more than the bounds allow.
    why : str
        Why the bounds are what they are.
    """

    name: str
    about: Literal["rows", "days", "volumes", "mix", "visitors", "prices", "catalog"]
    measure: str
    unit: Unit
    warn: float | None
    stop: float | None
    above_usual: bool = False
    why: str

    def shown(self, number: float) -> str:
        """A measure in words."""
        if not number:
            return "0 %" if self.unit == "share" else "0"
        if self.unit == "share":
            digits = 1 if abs(number) >= 0.0995 else 2 if abs(number) >= 0.00095 else 4
            return f"{100 * number:.{digits}f} %"
        if self.unit == "psi":
            return f"{number:.3f}"
        return f"{number:,.0f}" if self.unit == "count" else f"×{number:.3g}"


_ALL = (
    # What is wrong with rows.
    Check(name="no_rows", about="rows", measure="sources without any row", unit="count", warn=None, stop=0,
          why="there is nothing to prepare"),
    Check(name="id_type", about="rows", measure="type of product ids differs from yesterday's profile", unit="count",
          warn=None, stop=0, why="integers and texts never compare equal: no product would be the one of yesterday"),
    Check(name="malformed", about="rows", measure="rows, product ids, prices or other fields that cannot be read",
          unit="share", warn=0.001, stop=0.01, above_usual=True,
          why=f"{_FIELD}: one in a thousand is an export's dirt, one in a hundred a broken export"),
    Check(name="no_visitor", about="rows", measure="rows without a visitor", unit="share", warn=0.001, stop=0.01,
          above_usual=True,
          why=f"{_FIELD}; without consent GA4 sends no visitor, always about as many: what counts is more than usual"),
    Check(name="no_item", about="rows", measure="rows without a product", unit="share", warn=0.001, stop=0.01,
          above_usual=True, why=f"{_FIELD}; page views without a product are usual in some shops: what counts is more than usual"),
    Check(name="undated", about="rows", measure="rows of the days judged whose time is missing or cannot be read",
          unit="share", warn=0.001, stop=0.01, why="a row without a time belongs to no day, so no day is its usual"),
    Check(name="future", about="rows", measure="rows dated more than five minutes ahead", unit="share", warn=0.001,
          stop=0.01, why="clocks of single devices are wrong (below 1 in 1,000 rows); of more, it is the export's clock"),
    Check(name="outside_window", about="rows", measure="rows before or after the window", unit="share", warn=0.001,
          stop=0.01, why="as in the future: single devices, or a wrong unit (seconds read as milliseconds are in 1970)"),
    Check(name="unknown_event_type", about="rows", measure="rows of a kind that the mapping does not know",
          unit="share", warn=0.001, stop=0.2, above_usual=True,
          why="a new kind (a wish list) is to be mapped some day; a fifth of all rows is a kind that was renamed"),
    Check(name="duplicates", about="rows", measure="rows that repeat another", unit="share", warn=0.02, stop=None,
          above_usual=True, why=f"{_FIELD}: 2 %, of trackers that try again; repeats are put aside exactly, so nothing stops"),
    Check(name="unreadable_text", about="rows", measure="rows with control characters or broken letters in an id, category or brand",
          unit="share", warn=0.001, stop=0.05, above_usual=True,
          why="a wrongly decoded export splits a product into two; single names are dirt of the catalog"),
    Check(name="id_pattern", about="rows", measure="ids written in another way than usual: digits, decimals, other",
          unit="share", warn=0.01, stop=0.1, above_usual=True,
          why="ids that became floats (123.0) are new products; a new assortment with other ids is rarely 10 % at once"),
    Check(name="nulls", about="rows", measure="rows without a value in a column", unit="share", warn=0.05, stop=0.5,
          above_usual=True, why="attributes are allowed to be missing; a column that is suddenly empty is not"),
    Check(name="quarantined", about="rows", measure="rows of all days that are put aside, but for unknown kinds",
          unit="share", warn=0.05, stop=0.5,
          why="what is always wrong is never more than usual: this says so, on the first day"),
    # What is wrong with days and hours.
    Check(name="day_missing", about="days", measure="days without any row", unit="count", warn=None, stop=0,
          why="a model must not learn from a hole, and the day can still be loaded"),
    Check(name="day_changed", about="days", measure="rows that a day lost since yesterday's profile", unit="share",
          warn=0.005, stop=None, why="GA4 rewrites its tables for three days, by adding; an older day, or one that loses rows, is news"),
    Check(name="hour_missing", about="days", measure="hours without a row that have 100 or more usually", unit="count",
          warn=0, stop=5, why="100 rows are some twenty visits: by chance such an hour is empty once in e^20; a quarter of a day is lost history"),
    Check(name="hour_doubled", about="days", measure="hours of 1.8 times their rows and more, beside the day's other hours",
          unit="count", warn=0, stop=None, why="an hourly file loaded twice; campaigns do so too, so nothing stops"),
    Check(name="times_tied", about="days", measure="sessions of several events, all at one time", unit="share",
          warn=0.5, stop=None, above_usual=True, why="times that are days or are rounded: the order inside of sessions is lost"),
    Check(name="session_span", about="days", measure="the shop's sessions that last longer than a day", unit="share",
          warn=0.01, stop=None, above_usual=True, why="clocks that step back, or session ids used again; preparation cuts them"),
    # Volumes.
    Check(name="day_low", about="volumes", measure="rows fewer than usual", unit="share", warn=0.3, stop=0.5,
          above_usual=True, why=f"{_FIELD}: 30 and 50 %; half a day is a lost file"),
    Check(name="day_high", about="volumes", measure="rows more than usual", unit="share", warn=0.3, stop=None,
          above_usual=True, why="as of low days; a campaign is no fault, so nothing stops"),
    Check(name="day_doubled", about="volumes", measure="repeats on a day of 1.8 times its rows and more", unit="share",
          warn=0.4, stop=None, why="a day loaded twice is half repeats; they are put aside exactly, so nothing stops"),
    # The mix.
    Check(name="event_gone", about="mix", measure="kinds of events without a row that have 20 or more usually",
          unit="count", warn=None, stop=0, why="by chance once in e^20 days; orders that are not tracked cost their weight"),
    Check(name="event_mix", about="mix", measure="PSI of the kinds of events", unit="psi", warn=0.1, stop=0.25, why=_PSI),
    Check(name="category_mix", about="mix", measure="PSI of categories", unit="psi", warn=0.1, stop=None, why=_SALE),
    Check(name="brand_mix", about="mix", measure="PSI of brands", unit="psi", warn=0.1, stop=None, why=_SALE),
    Check(name="price_mix", about="mix", measure="PSI of the deciles of prices", unit="psi", warn=0.1, stop=None, why=_SALE),
    Check(name="hour_mix", about="mix", measure="PSI of the hours of the day (UTC) that have rows", unit="psi", warn=0.1, stop=None,
          why=f"{_PSI}; of a clock in another zone the order inside of sessions is whole, so nothing stops"),
    Check(name="session_length", about="mix", measure="PSI of the lengths of sessions, where no tenth of the rows repeats", unit="psi", warn=0.1, stop=0.25, why=_PSI),
    Check(name="single_event_sessions", about="mix", measure="share of sessions of one event: change, relative", unit="share",
          warn=0.2, stop=None, above_usual=True, why=f"{_FIELD}: 20 %; such sessions teach nothing"),
    Check(name="orders_without_view", about="mix", measure="orders of visitors that viewed nothing on the day", unit="share",
          warn=0.2, stop=None, above_usual=True, why="orders by telephone and from carts of yesterday are usual; a fifth more is views that are lost"),
    Check(name="popularity", about="mix", measure="effective number of products (rows² by Σ rows²) fewer than usual",
          unit="share", warn=0.5, stop=0.9, above_usual=True, why="half: a page that shows the same to all; a tenth: an export of few products"),
    Check(name="top_product", about="mix", measure="rows of the one product that has most", unit="share", warn=0.05,
          stop=0.25, above_usual=True, why="a product in the news has a few per cent; a quarter of the day is a fallback id"),
    Check(name="top_products", about="mix", measure="of the 100 products of most rows, those not among yesterday's",
          unit="share", warn=0.3, stop=None, above_usual=True, why="PSI over products is noise; the top 100 change little from day to day"),
    Check(name="new_products", about="mix", measure="rows of products that had none the day before", unit="share",
          warn=0.2, stop=0.5, above_usual=True, why="collections change by some per cent a day; half the rows is other ids"),
    # Visitors.
    Check(name="new_visitors", about="visitors", measure="visitors who also came the day before, fewer than usual: relative",
          unit="share", warn=0.4, stop=0.9, above_usual=True,
          why="a campaign brings new visitors beside the old; where nearly none returns, ids are new"),
    Check(name="bots", about="visitors", measure="rows of visitors above the limits of events a day or an hour", unit="share",
          warn=0.005, stop=0.3, above_usual=True,
          why=f"{_FIELD}: 1,000 events a day; they are put aside, so only a flood stops"),
    Check(name="shared_visitor", about="visitors", measure="rows of visitor ids that many people share", unit="share",
          warn=None, stop=0.01, above_usual=True,
          why="Google's documentation of user events warns of shared ids: all their sessions are one, and all are lost"),
    Check(name="visitors_without_items", about="visitors", measure="visitors without any product", unit="share",
          warn=0.05, stop=None, above_usual=True, why="of visitors, not rows: pages that lost their product ids"),
    Check(name="items_without_visitors", about="visitors", measure="products without any visitor", unit="share",
          warn=0.05, stop=None, above_usual=True, why="of products: pages that lost their visitor ids"),
    # Prices.
    Check(name="price_level", about="prices", measure="median price beside the usual one, either way", unit="factor",
          warn=1.5, stop=5, why="no assortment changes by half in a day; by 5 it is another unit or currency"),
    Check(name="price_not_positive", about="prices", measure="prices of zero or less", unit="share", warn=0.01, stop=0.2,
          above_usual=True, why="gifts and returns are below 1 %"),
    Check(name="currency", about="prices", measure="rows in a currency that is not usual", unit="share", warn=0.001, stop=0.01,
          why="values would be added up that are not the same money"),
    Check(name="several_currencies", about="prices", measure="rows in other currencies than the most frequent one",
          unit="share", warn=None, stop=0.01, why="as of currency, where it was always so: say in the policy that it is meant"),
    # The catalog.
    Check(name="not_in_catalog", about="catalog", measure="rows of products that the catalog lacks", unit="share", warn=0.05,
          stop=0.2, why=f"{_FIELD}: old products leave a catalog; a fifth of all clicks is another catalog or other ids"),
    Check(name="catalog_without_clicks", about="catalog", measure="products of the catalog without any row", unit="share",
          warn=0.8, stop=None, why="a long tail without clicks is usual; four fifths is a catalog of other ids or of another shop"),
    Check(name="catalog_duplicates", about="catalog", measure="rows of the catalog whose product has one already", unit="share",
          warn=0, stop=0.05, why="which of two rows has the right price nobody knows; 5 % is a catalog of variants"),
    Check(name="catalog_coverage", about="catalog", measure="products that lost an attribute since yesterday's profile", unit="share",
          warn=0.05, stop=0.5, why="attributes come and go with single products; half a column is a broken export"),
)  # fmt: skip
CHECKS = {check.name: check for check in _ALL}
