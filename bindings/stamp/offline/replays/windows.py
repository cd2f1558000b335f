"""Training and replaying in every window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...data.sessions import Sessions
from ..splits.windows import Window
from .replay import replay
from .results import Replay


def replay_windows(
    factories: Mapping[str, Callable[[Sessions], Any]], splits: Sequence[Window], **options: Any
) -> list[Replay]:
    """Train and replay in every window: what :func:`compare` takes to pair recommenders over several splits.

    Parameters
    ----------
    factories : dict of str to callable
        A recommender's name, and a function that takes the training sessions and returns it fitted.
    splits : Windows
        See :func:`windows`.
    **options
        Of :func:`replay`: zones, k, products … Its `train` is that of the window.

    Returns
    -------
    list of Replay
        One per window, oldest first.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=2000, products=100)
    >>> splits = stamp.offline.windows(shop.sessions, train="14D", test="2D", n=2)
    >>> factories = {"popularity": lambda train: stamp.PopularityRecommender().fit(train)}
    >>> len(stamp.offline.replay_windows(factories, splits))
    2
    """
    if not factories or not all(callable(make) for make in factories.values()):
        raise ValueError("replay_windows: factories is {name: function of the training sessions}, one or more")
    if not len(splits):
        raise ValueError("replay_windows: there are no windows")
    if "train" in options:
        raise ValueError("replay_windows: train is that of each window")
    replays = []
    for name, train, test in splits:
        recommenders = {}
        for recommender, make in factories.items():
            recommenders[recommender] = make(train)
            if recommenders[recommender] is None:
                raise ValueError(f"replay_windows: the factory of {recommender!r} returned None in window {name}")
        replays.append(replay(recommenders, test, train=train, **options))
    return replays
