"""Replay: any number of recommenders over held-out sessions, event by event, as zones would ask."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ... import _stamp
from ...base.checks import whole_number
from ...base.progress import make_bar
from ...data.products import Products
from ...data.sessions import Sessions
from ...data.tables.ids import catalog_ids, require_one_kind
from ..recordings.checks import require_products
from ..recordings.questions import Lists
from ..recordings.recording import TIES
from ..recordings.zones import Zone, listed_zones, product_page
from ..splits.leakage import KINDS, LeakageError, LeakageReport, check_leakage
from .asking import served_or_foreign
from .catalogs import clusters_of, find_embeddings, lay_out, union_catalog
from .questions import ask
from .results import Replay


def replay(
    recommenders: Any,
    sessions: Sessions,
    *,
    zones: Zone | Sequence[Zone] = (product_page(),),
    k: int | None = None,
    train: Sessions | None = None,
    products: Products | None = None,
    embeddings: Any = None,
    min_history: int = 1,
    ties: str = "served",
    latency: int = 200,
    leakage: str = "refuse",
    progress: bool = False,
) -> Replay:
    """Ask recommenders over held-out sessions, event by event, the way zones of a shop would.

    Every event of a weight above 0 with enough events before it is a target: the question is asked after the event
    before it. The lists are what serving would show, made by the same code, on all cores.

    Parameters
    ----------
    recommenders : dict of str to recommender, or one recommender
        A fitted recommender of stamp, a :class:`stamp.Recommender` or the path of a bundle, or any object with
        ``recommend(items, k=…)``, which gives ids, or ids and scores, best first.
    sessions : Sessions
        That no recommender has learnt from.
    zones : Zone or sequence of Zone
        See :func:`product_page`, :func:`home`, :func:`cart`.
    k : int, optional
        Products to list; what each zone says where absent.
    train : Sessions, optional
        That the recommenders have learnt from: popularity, novelty, the long tail, cold products and freshness come
        from there, and what visitors did before, where a zone reads that. Overlap with `sessions` is looked for
        (:func:`check_leakage`).
    products : Products, optional
        Attributes, for diversity, cuts, and rules of zones.
    embeddings : StampRecommender, or (ids, vectors [n,D]), optional
        By which products of a list are compared; those of the first StampRecommender, or bundle of one network, where
        absent.
    min_history : int
        Events before a target, at least.
    ties : {"served", "conservative"}
        Where relevant products of lists with equal scores count: where they were served, or last among their equals.
    latency : int
        Single requests that are timed for each recommender and zone, on one thread.
    leakage : {"refuse", "report"}
        What to do about overlap of `train` and `sessions`.
    progress : bool
        Show a bar.

    Returns
    -------
    Replay

    Raises
    ------
    ValueError
        An option cannot be, no event is a target, ids of products are of two kinds, or training and sessions overlap.
    RuntimeError
        A recommender that is not stamp's failed; the message says at which question.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=600, products=60, seed=1)
    >>> train, test = shop.sessions.split_by_time("7D")
    >>> popular = stamp.PopularityRecommender().fit(train)
    >>> stamp.offline.replay({"popular": popular}, test, train=train).metrics(k=20, metrics=["hr", "coverage"]).columns
    ['recommender', 'questions', 'hr@20', 'coverage@20', 'p50 ms', 'p95 ms', 'p99 ms']
    """
    named = dict(recommenders) if isinstance(recommenders, Mapping) else {type(recommenders).__name__: recommenders}
    asked_zones = listed_zones("replay", zones)
    if k is not None:
        whole_number("replay: k", k, least=1)
        asked_zones = [dataclasses.replace(zone, k=k) for zone in asked_zones]
    _check(named, sessions, train, products, min_history, latency, leakage, ties)
    found = None if train is None else _look_for_leakage(train, sessions, leakage)
    answering = [served_or_foreign(name, each, products) for name, each in named.items()]
    embeddings = find_embeddings("replay", embeddings, named)
    for zone in asked_zones:
        for each in answering:
            each.check(zone)
    catalog = union_catalog(answering, sessions, train, products)
    vectors = None if embeddings is None else lay_out(catalog, *embeddings)
    rows = sessions.rows_in(catalog, "replay: sessions", "the recommenders").items
    trained = None if train is None else train.rows_in(catalog, "replay: train", "the recommenders")
    past = None if train is None or trained is None else (train, trained.items)

    questions, histories, notes = {}, {}, list[str]()
    if train is None and products is None and all(each.item_ids is None for each in answering):
        notes.append("products are only those of the sessions: hand train=… or products=…")
    for zone in asked_zones:
        questions[zone.name], histories[zone.name], said = ask(
            sessions, rows, len(catalog), zone, min_history=min_history, past=past
        )
        notes += said
    lists: dict[tuple[str, str], Lists] = {}
    total = len(answering) * sum(map(len, questions.values()))
    bar = make_bar(total, "replay", "questions") if progress else None
    done = 0

    def advance(answered: int) -> None:
        if bar is not None:
            bar.update(done + answered - bar.n)

    try:
        for zone in asked_zones:
            for each in answering:
                history = histories[zone.name]
                lists[each.name, zone.name] = each.answer(history, zone, catalog, latency=latency, advance=advance)
                done += len(questions[zone.name])
    finally:
        if bar is not None:
            bar.close()
    return Replay(
        zones={zone.name: zone for zone in asked_zones},
        questions=questions,
        lists=lists,
        item_ids=catalog_ids(catalog),
        clicks=None if trained is None else _stamp.item_counts(trained, len(catalog)),
        sessions=sessions,
        train=train,
        products=products,
        embeddings=vectors,
        clusters=clusters_of(catalog, named.values()),
        ties=ties,
        leakage=found,
        notes=[*notes, *(found.notes if found is not None and any(map(len, found.offenders.values())) else ())],
    )


def _check(
    named: dict[str, Any],
    sessions: Any,
    train: Any,
    products: Any,
    min_history: int,
    latency: int,
    leakage: str,
    ties: str,
) -> None:
    if not named:
        raise ValueError("replay: there are no recommenders")
    for what, given in (("sessions", sessions), ("train", train)):
        if not (isinstance(given, Sessions) or (what == "train" and given is None)):
            raise ValueError(
                f"replay: {what} is {type(given).__name__}, expected stamp.Sessions (see Sessions.from_frame)"
            )
    if train is not None:
        require_one_kind("replay: train", train._catalog, "sessions", sessions._catalog)
    require_products("replay", products)
    whole_number("replay: min_history", min_history, least=1)
    whole_number("replay: latency", latency, least=0)
    if ties not in TIES:
        raise ValueError(f"replay: ties is {ties!r}, expected one of {', '.join(TIES)}")
    if leakage not in ("refuse", "report"):
        raise ValueError(f"replay: leakage is {leakage!r}, expected 'refuse' or 'report'")


def _look_for_leakage(train: Sessions, sessions: Sessions, leakage: str) -> LeakageReport:
    try:
        return check_leakage(train, sessions, allow=() if leakage == "refuse" else KINDS)
    except LeakageError as error:
        raise LeakageError(error.report, call="replay", option="leakage='report'") from None
