"""Probabilities of listed products beside how often these came next."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import _stamp
from ...base.checks import whole_number
from ...base.tables import Table
from ...data.sessions import Sessions
from ...models.clustered import ClusteredRecommender
from ...models.stamp_recommender import StampRecommender
from ...serving.recommender import Recommender
from ..recordings.checks import require_fitted

K, BINS = 20, 10  # of reliability


class Reliability:
    """Made by :func:`reliability`.

    Attributes
    ----------
    k : int
        Products of each list.
    lists : int
        Questions that a model answered.
    temperatures : list of float
        Of the models, in the order of their clusters (docs/model.md).
    bins : Table
        Entries of lists by predicted probability, as many in each: its range, the mean predicted, the share that came
        next, and how many there are.
    error : float
        The expected calibration error: over the bins, the mean of |share − mean predicted|, weighed by their entries (Guo
        et al., 2017, arXiv 1706.04599; with bins of as many entries as Nguyen and O'Connor, EMNLP 2015, have them).
    """

    def __init__(
        self, probabilities: np.ndarray, came_next: np.ndarray, *, k: int, bins: int, temperatures: list[float]
    ):
        self.k, self.lists, self.temperatures = k, len(probabilities), temperatures
        there = ~np.isnan(probabilities)
        order = np.argsort(probabilities[there], kind="stable")
        p, hit = probabilities[there][order].astype(np.float64), came_next[there][order].astype(np.float64)
        rows: list[list[Any]] = []
        off = 0.0
        for members in np.array_split(np.arange(len(p)), bins):
            if len(members):
                predicted, share = float(p[members].mean()), float(hit[members].mean())
                off += len(members) * abs(share - predicted)
                rows.append([float(p[members[0]]), float(p[members[-1]]), predicted, share, len(members)])
        self.error = off / len(p) if len(p) else float("nan")
        self.bins = Table(
            ["from", "to", "predicted", "came next", "entries"],
            rows,
            title=f"Products of lists of {k} by predicted probability",
            notes=[
                f"Expected calibration error {self.error:.5f}; temperature "
                f"{', '.join(f'{temperature:.3f}' for temperature in temperatures)}; {self.lists:,} lists."
            ],
            formats={name: ".5f" for name in ("from", "to", "predicted", "came next")},
        )

    def __repr__(self) -> str:
        return repr(self.bins)

    def _repr_html_(self) -> str:
        return self.bins._repr_html_()


def reliability(recommender: Any, sessions: Sessions, *, k: int = K, bins: int = BINS) -> Reliability:
    """How far predicted probabilities of listed products are from how often these came next.

    Every event of `sessions` with one before it that the model of its cluster knows is asked about, as :func:`evaluate`
    asks; nothing is excluded and no rule applies. A product's probability is the softmax of all the model's scores,
    floors included, over its temperature, which training fitted to sessions that it held out: judge by others.

    Parameters
    ----------
    recommender : StampRecommender, ClusteredRecommender, Recommender, or path of a bundle
        Each model says what it holds for probable among the products of its cluster.
    sessions : Sessions
        Held out.
    k : int
        Products of each list.
    bins : int
        Of as many entries each, by rising probability.

    Returns
    -------
    Reliability

    Raises
    ------
    ValueError
        `recommender` has no model, an option cannot be, ids are of another kind, or there is nothing to ask.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=1000, products=100)
    >>> train, test = shop.sessions.split_by_time("7D")
    >>> model = stamp.StampRecommender(dim=16, epochs=5).fit(train, progress=False)
    >>> stamp.offline.reliability(model, test, bins=5).bins.columns
    ['from', 'to', 'predicted', 'came next', 'entries']
    """
    k = whole_number("reliability: k", k, least=1)
    bins = whole_number("reliability: bins", bins, least=1)
    if not isinstance(sessions, Sessions):
        raise ValueError(
            f"reliability: sessions is {type(sessions).__name__}, expected stamp.Sessions (see Sessions.from_frame)"
        )
    if not _has_models(recommender):
        raise ValueError(
            f"reliability: recommender is {type(recommender).__name__}, expected a StampRecommender, a "
            "ClusteredRecommender, a Recommender or the path of a bundle, with a model"
        )
    found = _reliability(recommender, sessions, k, bins)
    if found is None:
        raise ValueError(f"reliability: no event of {sessions!r} follows one that a model knows")
    return found


def reliability_where_asked(recommender: Any, sessions: Sessions) -> Reliability | None:
    """:func:`reliability` for a page; None where there is no model, or nothing to ask it."""
    return _reliability(recommender, sessions, K, BINS) if _has_models(recommender) else None


def _reliability(recommender: Any, sessions: Sessions, k: int, bins: int) -> Reliability | None:
    found, temperatures = [], []
    for model, seen in _parts(recommender, sessions):
        found.append(_stamp.listed_probabilities(model, seen, k=k, min_history=1))
        temperatures.append(model.temperature)
    probabilities, came_next = (np.concatenate(arrays) for arrays in zip(*found))
    if not len(probabilities):
        return None
    return Reliability(probabilities, came_next.astype(bool), k=k, bins=bins, temperatures=temperatures)


def _has_models(recommender: Any) -> bool:
    """Whether there is a model in it to be judged."""
    if isinstance(recommender, (StampRecommender, ClusteredRecommender)):
        return True
    path = _path_of(recommender)
    return path is not None and bool(_stamp.read_bundle(path).clusters)


def _path_of(recommender: Any) -> str | None:
    if isinstance(recommender, Recommender):
        return os.fspath(recommender.path)
    return os.fspath(recommender) if isinstance(recommender, (str, os.PathLike)) else None


def _parts(recommender: Any, sessions: Sessions) -> Iterator[tuple[_stamp.Model, _stamp.Sessions]]:
    """Each model with what its cluster sees of the sessions."""
    path = _path_of(recommender)
    if path is None:
        require_fitted("reliability", "recommender", recommender)
    else:
        bundle = _stamp.load_bundle(path, _stamp.open_device("cpu", "auto"))
    if isinstance(recommender, StampRecommender):
        yield recommender._model, recommender._sessions_in_rows("reliability: sessions", sessions)
        return
    if isinstance(recommender, ClusteredRecommender):
        catalog, parts = recommender._catalog, recommender._parts
    else:
        catalog, parts = bundle.catalog, [(cluster["rows"], cluster["model"]) for cluster in bundle.clusters]
    of_all = sessions.rows_in(catalog, "reliability: sessions", "the models")
    for rows, model in parts:
        places = np.full(len(catalog), -1, np.int32)
        places[rows] = np.arange(len(rows), dtype=np.int32)
        yield model, _stamp.cluster_sessions(of_all, places, True)[0]
