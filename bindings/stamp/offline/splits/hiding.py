"""Products hidden from training, as if they came new to the shop."""

from __future__ import annotations

import numpy as np

from ... import _stamp
from ...base.checks import whole_number
from ...data.sessions import Sessions


def hide_products(train: Sessions, share: float = 0.1, *, seed: int = 0) -> tuple[Sessions, np.ndarray]:
    """Training without a share of its products, for :func:`cold_start`.

    Their events are taken out, so that what stood around them stands together; a session without any other is gone.
    Test sessions are left as they are: events of hidden products are what is to be found there.

    Parameters
    ----------
    share : float
        Of the products that occur, between 0 and 1; one product at least, and not all.
    seed : int
        A seed hides the same products, in whatever order they come.

    Returns
    -------
    train : Sessions
    hidden : array
        Ids of the hidden products, ascending.

    Raises
    ------
    ValueError
        An option is out of its range, or fewer than two products occur.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=600, products=60, seed=1)
    >>> train, hidden = stamp.offline.hide_products(shop.sessions, 0.1, seed=1)
    >>> len(hidden), set(hidden) & set(train.item_ids[train._core.items])
    (6, set())
    """
    if not isinstance(train, Sessions):
        raise ValueError(f"hide_products: train is {type(train).__name__}, expected stamp.Sessions")
    if isinstance(share, (bool, np.bool_)) or not isinstance(share, (int, float, np.number)) or not 0 < share < 1:
        raise ValueError(f"hide_products: share is {share!r}, expected a number between 0 and 1")
    whole_number("hide_products: seed", seed, least=0)
    core = train._core
    occur = np.flatnonzero(_stamp.item_counts(core, len(train._catalog)))
    if len(occur) < 2:
        raise ValueError(f"hide_products: train has {len(occur)} products, expected 2 or more")
    ids = train.item_ids
    occur = occur[np.argsort(ids[occur], kind="stable")]
    count = min(len(occur) - 1, max(1, round(len(occur) * share)))
    chosen = np.sort(np.random.default_rng(seed).choice(len(occur), count, replace=False))
    hidden = np.zeros(len(train._catalog), bool)
    hidden[occur[chosen]] = True
    events = np.flatnonzero((core.items < 0) | ~hidden[core.items])
    session = np.repeat(np.arange(len(core)), np.diff(core.offsets))[events]
    lengths = np.bincount(session, minlength=len(core))
    return train._with_events(events, lengths[lengths > 0]), ids[occur[chosen]]
