"""Asking recommenders: those of stamp all questions at once by the code that serves, others one by one; and faults."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ... import _stamp
from ...data.objectives import weights_of
from ...data.products import Products
from ...data.tables.ids import Ids, catalog_ids, find_rows, require_one_kind
from ...models.clustered import ClusteredRecommender
from ...models.listing import _ListingRecommender
from ...models.stamp_recommender import StampRecommender
from ...serving.recommender import Recommender
from ...serving.rules import rules_text
from ..recordings.checks import require_fitted
from ..recordings.questions import FAULTS, Lists
from ..recordings.sets import distinct, members, pieces, take
from ..recordings.zones import Zone
from .questions import History

Advance = Callable[[int], None]  # gets how many questions of a replay are answered
_BLOCK = 4096  # answers whose ids are looked up at once


class Served:
    """A release: all that stamp trains, builds or counts. Messages of ValueErrors begin with `call`."""

    def __init__(self, name: str, release: _stamp.Release, *, popular: bool, call: str):
        self.name, self._release, self._popular, self._call = name, release, popular, call
        self.item_ids = catalog_ids(release.catalog)

    def check(self, zone: Zone) -> None:
        """Raises ValueError for a zone whose rules this release cannot apply."""
        if zone.bundle_zone and zone.bundle_zone not in self._release.zones:
            raise ValueError(
                f"{self._call}: zone '{zone.name}' asks for the rules of zone '{zone.bundle_zone}', '{self.name}' has "
                f"{', '.join(self._release.zones) or 'none'}"
            )
        query = {name: value for name, value in self._options(zone).items() if name != "exclude"}
        self._release.list([], bought=[], exclude=[], only=None, explain=False, **query)

    def _options(self, zone: Zone) -> dict[str, Any]:
        return {
            "k": zone.k,
            "history": zone.history or 0,
            "exclude": zone.exclude,
            "zone": zone.bundle_zone or "",
            "rules": rules_text(f"{self._call}: the rules of zone '{zone.name}'", zone.rules),
            "value": zone.value,
            "tail": zone.tail,
            "objective": None if zone.objective is None else weights_of(f"Zone '{zone.name}'", zone.objective),
            "popular": self._popular,
        }

    def answer(self, history: History, zone: Zone, catalog: _stamp.Catalog, *, latency: int, advance: Advance) -> Lists:
        here = Ids(f"{self._call}: all products", catalog_ids(catalog)).find_in(self._release.catalog, f"'{self.name}'")
        there = Ids(f"{self._call}: '{self.name}'", self.item_ids).find_in(catalog, "the replay")
        asked = (np.append(here, np.int32(-1))[history.events], history.begin, history.end)
        options = self._options(zone)
        start = time.perf_counter()
        rows, scores = _stamp.replay(self._release, *asked, **options, progress=lambda done, _: advance(done))
        seconds = time.perf_counter() - start
        rows = np.append(there, np.int32(-1))[rows]
        faults = check_lists(rows, scores, rows >= 0, history, zone, len(self.item_ids), len(catalog))
        times = _stamp.time_requests(self._release, *asked, _spread(len(rows), latency), **options)
        return Lists(rows=rows, scores=scores, faults=faults, seconds=seconds, latency=times)


class Foreign:
    """Anything with ``recommend(items, k=k)``, asked in the shop's own ids."""

    item_ids: np.ndarray | None = None  # of a catalog that nobody told

    def __init__(self, name: str, recommender: Any):
        self.name, self._recommender = name, recommender

    def check(self, zone: Zone) -> None:
        """Raises ValueError for a zone with rules, value, tail or objective, which nobody told the recommender of."""
        has_rules = zone.rules or zone.bundle_zone
        if has_rules or any(option is not None for option in (zone.value, zone.tail, zone.objective)):
            what = "rules" if has_rules else "a value, a tail or an objective"
            raise ValueError(
                f"replay: zone '{zone.name}' has {what}, which '{self.name}' ({type(self._recommender).__name__}) "
                f"cannot apply; expected recommenders of stamp, or a zone without {what}"
            )

    def answer(self, history: History, zone: Zone, catalog: _stamp.Catalog, *, latency: int, advance: Advance) -> Lists:
        ids, n = catalog_ids(catalog), len(history.begin)
        rows = np.full((n, zone.k), -1, np.int32)
        scores = np.full((n, zone.k), np.nan, np.float32)
        given, nan = np.zeros(rows.shape, bool), np.zeros(rows.shape, bool)
        timed = set(_spread(n, latency).tolist())
        times = []
        begin = history.begin if zone.history is None else np.maximum(history.begin, history.end - zone.history)
        start = time.perf_counter()
        edges = [0, *range(1, n, _BLOCK), n]  # the first answer by itself: what cannot be is said at once
        for first, last in zip(edges, edges[1:]):
            found: list[Any] = []
            for i in range(first, last):
                items = ids[history.events[begin[i] : history.end[i]]].tolist()
                since = time.perf_counter()
                try:
                    answer = self._recommender.recommend(items, k=zone.k)
                except Exception as error:
                    raise RuntimeError(
                        f"replay: '{self.name}' failed in zone '{zone.name}' at {items}: {error}; return [] where it "
                        "knows nothing"
                    ) from error
                if i in timed:
                    times.append(time.perf_counter() - since)
                listed, scored = self._read(answer, zone.k)
                given[i, : len(listed)] = True
                if scored is not None:
                    scores[i, : len(scored)] = scored
                    nan[i, : len(scored)] = np.isnan(scored)
                found += listed
            if found:
                rows[first:last][given[first:last]] = self._find(found, catalog)
            advance(last)
        seconds = time.perf_counter() - start
        faults = check_lists(rows, scores, given, history, zone, len(catalog), len(catalog), nan)
        return Lists(rows=rows, scores=scores, faults=faults, seconds=seconds, latency=times)

    def _read(self, answer: Any, k: int) -> tuple[list[Any], np.ndarray | None]:
        """The first k ids, and their scores if there are any."""
        scores: Any = None
        if hasattr(answer, "ids"):
            answer, scores = answer.ids, getattr(answer, "scores", None)
        elif isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], (list, tuple, np.ndarray)):
            answer, scores = answer
        if isinstance(answer, (str, bytes)) or not isinstance(answer, Iterable):
            raise ValueError(f"replay: '{self.name}' answers {answer!r}, expected product ids, or ids and scores")
        ids = list(answer.tolist() if isinstance(answer, np.ndarray) else answer)
        if scores is None:
            return ids[:k], None
        numbers = np.asarray(scores, np.float32)
        if numbers.shape != (len(ids),):
            raise ValueError(f"replay: '{self.name}' answers {len(ids)} ids with scores of shape {numbers.shape}")
        return ids[:k], numbers[:k]

    def _find(self, found: list[Any], catalog: _stamp.Catalog) -> np.ndarray:
        return find_rows(f"replay: the answer of '{self.name}'", found, catalog, "the sessions")


def _spread(n: int, count: int) -> np.ndarray:
    """At most `count` of n questions, evenly spread."""
    return np.arange(min(n, count), dtype=np.int64) * n // max(1, min(n, count))


def check_lists(
    rows: np.ndarray,
    scores: np.ndarray,
    given: np.ndarray,
    history: History,
    zone: Zone,
    known: int,
    V: int,
    nan: np.ndarray | None = None,
) -> dict[str, int]:
    """Faults by kind. Their places in rows [n,K] become empty.

    `given` says where a list has an entry, `nan` where its score is no number and should be one; `known` is how many
    products the recommender has, V how many there are.
    """
    faults = dict.fromkeys(FAULTS, 0)
    seen = None
    if zone.exclude == "seen":
        seen = distinct(history.events, history.begin, history.end, V)[0]
    for first, last in pieces(*rows.shape):
        some, there = rows[first:last], given[first:last]
        excluded = np.zeros(len(some), np.int64)
        wrong = {"unknown": there & (some < 0), "duplicates": _repeated(some)}
        if nan is not None:
            wrong["nan"] = nan[first:last]
        if zone.exclude == "anchor":
            end = history.end[first:last]
            excluded = (end > history.begin[first:last]).astype(np.int64)
            anchor = np.append(history.events, -1)[np.where(excluded > 0, end - 1, -1)]
            wrong["anchor"] = (some == anchor[:, None]) & (some >= 0)
        if seen is not None:
            sets = take(seen, first, last)
            excluded = np.diff(sets[0])
            wrong["seen"] = members(sets, some, V) >= 0
        faults["short"] += int((there.sum(axis=1) < np.minimum(rows.shape[1], known - excluded)).sum())
        for kind, where in wrong.items():
            faults[kind] += int(where.sum())
            some[where] = -1
            scores[first:last][where] = np.nan
    return faults


def _repeated(rows: np.ndarray) -> np.ndarray:
    """Where a product stands that stood further up already: bool [n,K]."""
    repeated = np.zeros(rows.shape, bool)
    for j in range(1, rows.shape[1]):
        repeated[:, j] = (rows[:, :j] == rows[:, j : j + 1]).any(axis=1) & (rows[:, j] >= 0)
    return repeated


def applies_rules(recommender: Any) -> bool:
    """Whether zones with rules may ask it: it is stamp's, or the path of a bundle."""
    return isinstance(recommender, (str, os.PathLike, Recommender, _ListingRecommender, ClusteredRecommender))


def served_or_foreign(
    name: str, recommender: Any, products: Products | None, *, call: str = "replay"
) -> Served | Foreign:
    """How to ask `recommender`. Attributes of `products` are handed to models, whose rules may name them. Messages of
    ValueErrors begin with `call`."""
    if isinstance(recommender, (str, os.PathLike)):
        recommender = Recommender(recommender)
    if isinstance(recommender, Recommender):
        return Served(name, recommender._core.release(), popular=True, call=call)
    if isinstance(recommender, (_ListingRecommender, ClusteredRecommender)):
        require_fitted(call, f"'{name}'", recommender)
        # A network that is served answers with popular products where it knows nothing; a baseline is measured alone.
        popular = isinstance(recommender, (StampRecommender, ClusteredRecommender))
        release = _stamp.Release(_with_attributes(recommender._bundle(), products))
        return Served(name, release, popular=popular, call=call)
    if isinstance(recommender, type):
        raise ValueError(
            f"{call}: '{name}' is the class {recommender.__name__}, expected a recommender made of it: "
            f"{recommender.__name__}(…), fitted"
        )
    if callable(getattr(recommender, "recommend", None)):
        return Foreign(name, recommender)
    raise ValueError(
        f"{call}: '{name}' is {type(recommender).__name__}, expected a recommender of stamp, the path of a bundle, or "
        "an object with recommend(items, k=…)"
    )


def _with_attributes(bundle: _stamp.Bundle, products: Products | None) -> _stamp.Bundle:
    """The same bundle; rules may name the attributes of `products`, too."""
    if products is None:
        return bundle
    require_one_kind("replay: products", products._catalog, "the recommenders", bundle.catalog)
    clusters = [
        (each["id"], each["rows"], each["model"], each["train"], each["fingerprint"], each["report"])
        for each in bundle.clusters
    ]
    columns = bundle.attributes
    known = {column[0] for column in columns}
    columns += products.columns_of(bundle.catalog, [name for name in products.attributes if name not in known])
    return _stamp.Bundle(
        bundle.catalog, bundle.counts.tolist(), columns, clusters, bundle.route_by, bundle.rules, bundle.fallback
    )  # fmt: skip
