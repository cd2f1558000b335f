"""A replay as an exploration: the lists of one recommender, as if they had been explored, and what came of them."""

from __future__ import annotations

import numpy as np

from ... import _stamp
from ...base.checks import whole_number
from ...data.tables.columns import object_array
from ...data.tables.ids import Ids
from ..recordings.questions import Lists
from ..recordings.recording import Recording
from .exposures import ExposureLog, explored_rows
from .plackett_luce import draw, slot_probabilities
from .policies import RankedLists, check_exploration


def explore(run: Recording, name: str, *, zone: str, k: int, strength: float, seed: int = 0) -> ExposureLog:
    """Show the lists of a replay in another order now and then, as the server's exploration would: a log whose truth is
    known.

    Slot by slot a product is taken with a probability ∝ exp(score / strength) among those that are left
    (Plackett-Luce), of as many candidates as the replay's lists have. The reward is 1 where the product that is shown
    is the next event's: what any other list would have earned is known, too, as :meth:`Replay.values` says. For
    rehearsing an estimate before a server explores: how strong, among how many, how long.

    Parameters
    ----------
    run : Replay
        Asked for lists of as many products as are to be candidates (``k=…`` of :func:`replay`).
    name, zone : str
        Of the recommender that is explored, and of the zone.
    k : int
        Slots that are shown.
    strength : float
        Above 0.
    seed : int
        Of the draw.

    Returns
    -------
    ExposureLog
        A list for each question; units are visitors where the replay knows them, else sessions.

    Raises
    ------
    ValueError
        There is no such recommender or zone, an option cannot be, or the lists have no scores.

    Examples
    --------
    >>> import stamp
    >>> from stamp import offline
    >>> from stamp.offline import off_policy
    >>> shop = stamp.datasets.synthetic_shop(sessions=600, products=60, seed=1)
    >>> train, test = shop.sessions.split_by_time("7D")
    >>> rules = stamp.SequentialRulesRecommender().fit(train)
    >>> run = offline.replay({"rules": rules}, test, zones=offline.product_page(k=8))
    >>> log = off_policy.explore(run, "rules", zone="product page", k=3, strength=2.0)
    >>> len(log.requests) == len(run.questions["product page"])
    True
    """
    check_exploration("explore", strength, k)
    whole_number("explore: seed", seed, least=0)
    lists = _lists("explore", run, name, zone)
    rows = lists.rows
    scores = lists.scores.astype(np.float64)
    if np.isnan(scores[rows >= 0]).all():
        raise ValueError(f"explore: the lists of '{name}' in zone '{zone}' have no scores to explore by")
    logits = np.where(rows < 0, -np.inf, scores / strength)
    questions = run.questions[zone]
    places, _ = draw(logits, k, np.random.default_rng(seed))
    shown = np.where(places < 0, -1, np.take_along_axis(rows, np.maximum(places, 0), axis=1))
    catalog, to = _catalog_of(run)
    return explored_rows(
        catalog=catalog,
        candidates=np.append(to, np.int32(-1))[rows],
        probabilities=slot_probabilities(logits, k),
        places=places,
        reward=(shown == questions.target[:, None]) & (shown >= 0),
        requests=np.arange(len(questions)),
        unit=questions.unit,
        units="sessions" if questions.visitor is None else "visitors",
    )


def replayed(run: Recording, name: str, *, zone: str) -> RankedLists:
    """The lists of a recommender of a replay, with their scores: what to evaluate on a log of :func:`explore`.

    Raises
    ------
    ValueError
        There is no such recommender or zone.
    """
    lists = _lists("replayed", run, name, zone)
    ids = object_array(run.item_ids.tolist())
    there = lists.rows >= 0
    listed = [ids[row[own]].tolist() for row, own in zip(lists.rows, there)]
    return RankedLists(listed, scores=[row[own] for row, own in zip(lists.scores, there)])


def _lists(call: str, run: Recording, name: str, zone: str) -> Lists:
    run.require_zone(zone)
    if (name, zone) not in run.lists:
        raise ValueError(f"{call}: recommender is '{name}', expected one of {', '.join(run.names)}")
    return run.lists[name, zone]


def _catalog_of(run: Recording) -> tuple[_stamp.Catalog, np.ndarray]:
    ids = Ids("explore: products", run.item_ids)
    catalog = _stamp.Catalog(ids.kind)
    return catalog, ids.add_to(catalog)
