"""Recommending from a bundle: what servers call, and notebooks to see what servers would answer."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NoReturn

import numpy as np

from .. import _stamp
from ..base.checks import share, truth, whole_number
from ..base.equality import EqualByValue
from ..data.objectives import weights_of
from ..data.tables.ids import catalog_ids, events_listed, find_rows, listed
from ..models.hardware import check_device_names
from .rules import rules_text

RuleList = Sequence[Mapping[str, Any]]
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Recommendations(EqualByValue):
    """An answer. Equal to another with the same products, scores and so on.

    Attributes
    ----------
    ids, scores : arrays [n]
        Products, best first. Scores are logits with boosts and terms of value and tail; of the fallback what its baseline
        defines; of popular products ln(1 + clicks); NaN of pinned ones.
    path : str
        How it was found: "anchor" (the model that knows the current product), "group" (that of its attribute group),
        "history" (the model that knows most of the events), "fallback" (the bundle's baseline), "category" (popular
        products of its attribute group) or "popular".
    cluster : int or None
        Whose model answered.
    unknown : list
        Events that the catalog does not know.
    reason : str
        Why there are fewer than k.
    explanation : dict or None
        What rules removed and moved, where asked for (docs/rules.md).
    """

    ids: np.ndarray
    scores: np.ndarray
    path: str
    cluster: int | None
    unknown: list[Any]
    reason: str
    explanation: dict[str, Any] | None

    def __len__(self) -> int:
        return len(self.ids)


class Recommender:
    """Recommends from a bundle, and goes on while the bundle is replaced. Safe to use from many threads.

    Parameters
    ----------
    path : path
        Of a bundle: :func:`stamp.build_bundle` makes it of clusters, :meth:`StampRecommender.save` of one model.
    device, precision : str
        As of :class:`StampRecommender`.
    lazy : bool
        Load the model of a cluster when it is first asked for.
    memory : int
        Bytes of models to hold at once, 0 for no bound: the least recently used one makes room.

    Raises
    ------
    RuntimeError
        The bundle is damaged (the message names file and tensor), or the device cannot be had.
    ValueError
        Its rules cannot be; the message has the path of the key.

    Examples
    --------
    >>> import stamp, tempfile
    >>> model = stamp.StampRecommender(dim=8, epochs=1)
    >>> model = model.fit(stamp.Sessions.from_frame([["a", "b", "c"], ["b", "c", "a"]]), progress=False)
    >>> folder = tempfile.TemporaryDirectory()
    >>> model.save(folder.name + "/bundle")
    >>> recommender = stamp.Recommender(folder.name + "/bundle", device="cpu")
    >>> answer = recommender.recommend(["a", "b"], k=2, rules=[{"rule": "exclude_seen"}])
    >>> answer.ids.tolist(), answer.path, answer.reason
    (['c'], 'anchor', '1 of 2: 3 candidates, exclude_seen leaves 1')
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: str = "auto",
        lazy: bool = False,
        memory: int = 0,
    ):
        check_device_names(device, precision)
        self._core = _stamp.Recommender(
            os.fspath(path),
            device=device,
            precision=precision,
            lazy=bool(lazy),
            memory=whole_number("Recommender: memory", memory, least=0),
        )
        self._ids: tuple[_stamp.Release | None, np.ndarray] = (None, np.empty(0))

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Recommender has a bundle open and cannot be pickled or copied; make another where it is needed: "
            f"stamp.Recommender({os.fspath(self.path)!r})"
        )

    @property
    def path(self) -> pathlib.Path:
        return pathlib.Path(self._core.path)

    @property
    def zones(self) -> list[str]:
        return self._core.release().zones

    @property
    def objectives(self) -> list[str]:
        """What lists can serve beside "click": all that models of the bundle have learnt."""
        return self._core.release().objectives

    @property
    def clusters(self) -> list[int]:
        """Ids of the clusters."""
        return self._core.release().clusters

    @property
    def item_ids(self) -> np.ndarray:
        """Product ids [V] of the catalog."""
        return self._item_ids(self._core.release())

    def _item_ids(self, release: _stamp.Release) -> np.ndarray:
        """Made once for each release; those of another are replaced whole, as other threads may be reading them."""
        made_for, ids = self._ids
        if made_for is not release:
            ids = catalog_ids(release.catalog)
            self._ids = (release, ids)
        return ids

    def recommend(
        self,
        events: Iterable[Any],
        *,
        k: int | None = None,
        zone: str | None = None,
        rules: RuleList = (),
        exclude: Iterable[Any] = (),
        only: Iterable[Any] | None = None,
        history: int | None = None,
        value: float | None = None,
        tail: float | None = None,
        objective: Mapping[str, float] | None = None,
        bought: Iterable[Any] = (),
        explain: bool = False,
    ) -> Recommendations:
        """The k products most likely to come next, under the rules.

        Parameters
        ----------
        events : list of product ids
            What the visitor did, the current product last; may be empty, or hold products that nobody knows.
        k : int, optional
            What the zone says where absent, else 20.
        zone : str, optional
            Whose rules apply.
        rules : list of dict
            Of this request, besides the zone's (docs/rules.md).
        exclude, only : lists of product ids
            Never list these; choose among these.
        history : int, optional
            Read the last so many events; what the zone says where absent, else all.
        value, tail : float, optional
            How much what products are worth counts, and how much their popularity counts against them, 0 to 1: what the
            zone says where absent, else 0 (docs/rules.md). The bundle's rules name the number that says what they are
            worth.
        objective : dict of str to float, optional
            What the list is to serve, ``{"click": 0.7, "order": 0.3}`` say, of :attr:`objectives`; only the ratios count,
            and what the model that answers has not learnt counts as clicks. What the zone says where absent, else clicks
            alone (docs/rules.md).
        bought : list of product ids
            For the rule ``exclude_bought``.
        explain : bool
            Say what rules removed and moved.

        Raises
        ------
        ValueError
            An unknown zone, k or history below 1, value or tail outside 0 to 1, a value where the bundle's rules name no
            number for it, an objective that no model of the bundle has learnt, weights of it that are negative or all 0,
            ids of another kind than the catalog's (a product that it does not know is none), or rules that cannot be,
            with the path of the key.
        """
        release = self._core.release()
        ids = events_listed("recommend: events", events)
        rows = _rows(release, "recommend: events", ids)
        answer = release.list(
            rows,
            bought=_rows(release, "recommend: bought", bought),
            **_query(
                release,
                "recommend",
                k=k,
                zone=zone,
                rules=rules,
                exclude=exclude,
                only=only,
                history=history,
                value=value,
                tail=tail,
                objective=objective,
                explain=explain,
            ),
        )
        return self._named(release, ids, rows, answer)

    def recommend_batch(
        self,
        sessions: Iterable[Iterable[Any]],
        *,
        k: int | None = None,
        zone: str | None = None,
        rules: RuleList = (),
        exclude: Iterable[Any] = (),
        only: Iterable[Any] | None = None,
        history: int | None = None,
        value: float | None = None,
        tail: float | None = None,
        objective: Mapping[str, float] | None = None,
        bought: Iterable[Iterable[Any]] = (),
        explain: bool = False,
    ) -> list[Recommendations]:
        """:meth:`recommend` for many visitors at once, on all cores; `bought` is a list for each, or absent.

        What cannot be raises for the whole call.
        """
        release = self._core.release()
        of = "lists of product ids"
        ids = [
            events_listed("recommend_batch: a session", events)
            for events in listed("recommend_batch: sessions", sessions, of=of)
        ]
        rows = [_rows(release, "recommend_batch: a session", events) for events in ids]
        answers = release.list_batch(
            rows,
            bought=[
                _rows(release, "recommend_batch: bought", each)
                for each in listed("recommend_batch: bought", bought, of=of)
            ],
            **_query(
                release,
                "recommend_batch",
                k=k,
                zone=zone,
                rules=rules,
                exclude=exclude,
                only=only,
                history=history,
                value=value,
                tail=tail,
                objective=objective,
                explain=explain,
            ),
        )
        return [self._named(release, *each) for each in zip(ids, rows, answers)]

    def reload(self, path: str | os.PathLike[str] | None = None) -> None:
        """Load what stands at the path now, or at another one, and answer from it from then on.

        Requests under way end in the old release. Where the new one cannot be loaded the old one stays, and this raises.
        """
        self._core.reload(None if path is None else os.fspath(path))

    def set_numbers(self, attribute: str, values: Mapping[Any, float | None]) -> int:
        """Set a number of products, whether each can be bought or its price, in force with the next request in every rule.

        Parameters
        ----------
        attribute : str
            A number attribute of the bundle's products, "available" or "price" say.
        values : dict of product id to number
            ``None`` where it is missing from now on. A bundle that is loaded later has its own numbers again.

        Returns
        -------
        int
            How many of the products the catalog does not know, which are left out.

        Raises
        ------
        ValueError
            The catalog has no such number, an id is of another kind than the catalog's, or a value is no number; then
            nothing is set.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"set_numbers: values is {values!r}, expected a dict of product ids to numbers")
        release = self._core.release()
        rows = _rows(release, "set_numbers: values", list(values))
        numbers = np.empty(len(values), np.float32)
        for i, (product, value) in enumerate(values.items()):
            if not (value is None or isinstance(value, Real) and abs(value) <= _LARGEST):
                raise ValueError(
                    f"set_numbers: values[{product!r}] is {value!r}, expected a number that single precision holds, or None"
                )
            numbers[i] = np.nan if value is None else value
        release.set_numbers(attribute, rows, numbers)
        return int(np.count_nonzero(rows < 0))

    def _named(
        self, release: _stamp.Release, ids: list[Any], rows: np.ndarray, answer: _stamp.Answer
    ) -> Recommendations:
        found, scores, path, cluster, unknown, reason, explanation = answer
        return Recommendations(
            ids=self._item_ids(release)[found],
            scores=scores,
            path=path,
            cluster=None if cluster < 0 else cluster,
            unknown=[event for event, row in zip(ids, rows) if row < 0] if unknown else [],
            reason=reason,
            explanation=json.loads(explanation) if explanation else None,
        )

    def __repr__(self) -> str:
        release = self._core.release()
        return (
            f"Recommender({len(release.catalog):,} products, {len(release.clusters)} clusters, zones: {release.zones})"
        )


def _rows(release: _stamp.Release, what: str, ids: Iterable[Any]) -> np.ndarray:
    return find_rows(what, ids, release.catalog, "the bundle")


def _query(
    release: _stamp.Release,
    call: str,
    *,
    k: int | None,
    zone: str | None,
    rules: RuleList,
    exclude: Iterable[Any],
    only: Iterable[Any] | None,
    history: int | None,
    value: float | None,
    tail: float | None,
    objective: Mapping[str, float] | None,
    explain: bool,
) -> dict[str, Any]:
    if not (zone is None or isinstance(zone, str)):
        raise ValueError(f"{call}: zone is {zone!r}, expected a name")
    return {
        "k": 0 if k is None else whole_number(f"{call}: k", k, least=1),
        "zone": zone or "",
        "rules": rules_text(f"{call}: rules", rules),
        "exclude": _rows(release, f"{call}: exclude", exclude),
        "only": None if only is None else _rows(release, f"{call}: only", only),
        "history": 0 if history is None else whole_number(f"{call}: history", history, least=1),
        "value": None if value is None else share(f"{call}: value", value),
        "tail": None if tail is None else share(f"{call}: tail", tail),
        "objective": None if objective is None else weights_of(call, objective),
        "popular": True,
        "explain": truth(f"{call}: explain", explain),
    }
