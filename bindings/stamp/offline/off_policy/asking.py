"""The lists that a recommender of stamp would have shown in the requests of a log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ... import _stamp
from ...data.tables.columns import object_array
from ...data.tables.ids import Ids, catalog_ids, events_listed, find_rows
from ..recordings.zones import Zone
from ..replays.asking import Served, served_or_foreign
from ..replays.questions import History
from .policies import RankedLists


def ask(recommender: Any, histories: Sequence[Iterable[Any]], *, zone: Zone) -> RankedLists:
    """Ask a recommender what it would have listed, by the code that serves.

    Parameters
    ----------
    recommender : fitted recommender of stamp, Recommender, or path of a bundle
        For others make :class:`RankedLists` of what they answer.
    histories : sequence [R] of sequences of product ids
        What the visitor had done before each list of the log, in the order of :attr:`ExposureLog.requests`; the last is
        the current product. Products that the recommender does not know are passed over, as they are in serving.
    zone : Zone
        How many products, what is excluded, which rules.

    Returns
    -------
    RankedLists
        With scores.

    Raises
    ------
    ValueError
        The recommender is none of stamp's, or cannot apply the rules of the zone; a history is no list, or its ids are
        of another kind.

    Examples
    --------
    >>> import stamp
    >>> from stamp import offline
    >>> shop = stamp.datasets.synthetic_shop(sessions=200, products=30, seed=1)
    >>> popular = stamp.PopularityRecommender().fit(shop.sessions)
    >>> lists = offline.off_policy.ask(popular, [[], shop.sessions.session(0)], zone=offline.product_page(k=3))
    >>> [len(each) for each in lists.lists]
    [3, 3]
    """
    if not isinstance(zone, Zone):
        raise ValueError(f"ask: zone is {zone!r}, expected stamp.offline.Zone, such as offline.product_page()")
    served = served_or_foreign("recommender", recommender, None, call="ask")
    if not isinstance(served, Served):
        raise ValueError(
            f"ask: recommender is {type(recommender).__name__}, expected one of stamp's or the path of a bundle; of "
            "others make RankedLists of what they answer"
        )
    served.check(zone)
    known = Ids("ask: products", served.item_ids)
    catalog = _stamp.Catalog(known.kind)
    known.add_to(catalog)
    listed = [events_listed(f"ask: history {at}", each) for at, each in enumerate(histories)]
    ends = np.cumsum([0, *map(len, listed)])
    events = find_rows("ask: histories", [id for each in listed for id in each], catalog, "the recommender")
    history = History(events.astype(np.int64), ends[:-1], ends[1:])
    lists = served.answer(history, zone, catalog, latency=0, advance=lambda _: None)
    ids = object_array(catalog_ids(catalog).tolist())
    there = lists.rows >= 0
    return RankedLists(
        [ids[row[own]].tolist() for row, own in zip(lists.rows, there)],
        scores=[row[own] for row, own in zip(lists.scores, there)],
    )
