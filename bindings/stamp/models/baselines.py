"""Baselines: recommenders without a network. A model must beat them, and a bundle may fall back on them.

docs/baselines.md has their results on public data.
"""

from __future__ import annotations

import datetime
import inspect
import json
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from .. import _stamp
from ..base.checks import plain
from ..data.products import Products
from ..data.sessions import Sessions
from ..data.tables.ids import require_one_kind
from ..data.tables.times import parse_span
from .listing import _catalog_of, _changed, _count_clicks, _ListingRecommender, _warn_of_robots


class BaselineRecommender(_ListingRecommender):
    """What all baselines share: options by name, fitting, and a bundle that falls back on what was fitted.

    A product that a baseline does not score is not listed, so lists may be shorter than k; in :func:`stamp.evaluate`
    such a target is out of reach.
    """

    _LEARNT = ("_core", "_catalog", "_counts", "_attributes", "_route_by")
    _kind: ClassVar[str]
    _core: _stamp.Baseline
    _attributes: list[_stamp.Attribute]  # of the bundle
    _route_by: list[str]

    def __init__(self, **options: Any):
        self._given: dict[str, Any] = {}
        self.set_params(**options)

    def __init_subclass__(cls) -> None:
        if "__init__" not in vars(cls):  # its options are the library's, where their defaults live
            cls.__init__ = _options_of(cls._kind)  # type: ignore[method-assign]

    def _defaults(self) -> dict[str, Any]:
        return _library_options(self._kind)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {**self._defaults(), **self._given}

    def set_params(self, **params: Any) -> BaselineRecommender:
        """Change options; ValueError names an unknown one or a value that cannot be."""
        given = {**self._given, **{name: plain(value) for name, value in params.items()}}
        self._check(given)
        self._given = given
        return self

    def _check(self, given: dict[str, Any]) -> None:
        known = self._defaults()
        for name in given:
            if name not in known:
                expected = ", ".join(known) or "none"
                raise ValueError(f"{type(self).__name__}: unknown option '{name}', expected one of {expected}")
        try:
            _stamp.baseline_options(self._kind, json.dumps(self._library_values({**known, **given})))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{type(self).__name__}: {error}") from None

    def _library_values(self, params: dict[str, Any]) -> dict[str, Any]:
        """Options as the library takes them."""
        return params

    def fit(self, train: Sessions) -> BaselineRecommender:
        """Learn from sessions.

        Raises
        ------
        ValueError
            `train` has no events.
        """
        self._fit(train)
        return self

    def _fit(self, train: Sessions, products: Products | None = None, by: str | None = None) -> None:
        if not isinstance(train, Sessions):
            raise ValueError(f"fit: train is {type(train).__name__}, expected stamp.Sessions (see Sessions.from_frame)")
        catalog = _catalog_of([train])
        attributes: list[_stamp.Attribute] = []
        groups = None
        if by is not None:
            if products is None:
                raise ValueError(f"fit: by is {by!r}, so products is expected: stamp.Products with that attribute")
            require_one_kind("fit: products", products._catalog, "train", catalog)
            groups, values = products.codes(by, catalog)
            attributes = [(by, groups, values)]
        _warn_of_robots(train._core)
        options = json.dumps(self._library_values(self.get_params()))
        self._core = _stamp.fit_baseline(
            self._kind, options, train.rows_in(catalog, "fit: train", "training"), len(catalog), groups
        )
        self._catalog, self._counts = catalog, _count_clicks([train], catalog)
        self._attributes, self._route_by = attributes, [] if by is None else [by]
        self._release = None

    def _bundle(self) -> _stamp.Bundle:
        return _stamp.Bundle(
            self._catalog, self._counts.tolist(), self._attributes, [], self._route_by, "{}", self._core
        )  # fmt: skip

    def _open(self, bundle: _stamp.Bundle) -> None:
        assert bundle.fallback is not None
        self._core, self._catalog, self._counts = bundle.fallback, bundle.catalog, bundle.counts
        self._attributes, self._route_by = bundle.attributes, bundle.route_by

    def _evaluate(self, sessions: Sessions, **options: Any) -> str:
        return _stamp.evaluate_baseline(
            self._core, self._sessions_in_rows("evaluate: test", sessions), self._counts.tolist(), **options
        )  # fmt: skip

    def __repr__(self) -> str:
        preset = {"preset": self._given["preset"]} if "preset" in self._given else {}
        given = {**preset, **_changed(self._given, self._defaults())}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"


def _library_options(kind: str) -> dict[str, Any]:
    options: dict[str, Any] = json.loads(_stamp.baseline_options(kind, "{}"))
    return options


def _options_of(kind: str) -> Any:
    """An __init__ that takes the options of the library by name, and shows them in its signature."""

    def __init__(self: BaselineRecommender, **options: Any) -> None:
        BaselineRecommender.__init__(self, **options)

    names = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    options = _library_options(kind).items()
    __init__.__signature__ = inspect.Signature([  # type: ignore[attr-defined]
        names, *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in options)
    ])  # fmt: skip
    return __init__


def _seconds(name: str, span: Any) -> float:
    """A span as seconds, 0 for None."""
    if span is None:
        return 0.0
    kind, value = ("", 0) if isinstance(span, (bool, int, float)) else parse_span(name, span)
    if kind != "span" or value <= 0:
        raise ValueError(f"{name} is {span!r}, expected a span like '7D' or '12h', or a timedelta")
    return value / 1e6


class PopularityRecommender(BaselineRecommender):
    """The most clicked products: of all, of the current product's category, of late.

    A score is the number of clicks in training, or their weight where `half_life` is given:
    ``sum(2 ** -(age / half_life))``, age back from the last event of training. Of equal products that with more clicks
    comes first.

    Parameters
    ----------
    by : str, optional
        An attribute of the products, the category say: lists hold products of the value of the last product that
        training knows. Where there is none, or it has no value, they hold all.
    recent : span, optional
        Only clicks of so long before the last event of training count: "7D", "12h" or a timedelta.
    half_life : span, optional
        A click comes to weigh half in so long.

    Examples
    --------
    >>> import stamp
    >>> train = stamp.Sessions.from_frame([["hat", "shoe"], ["shoe", "sock"], ["shoe"]])
    >>> ids, clicks = stamp.PopularityRecommender().fit(train).recommend(k=1)
    >>> ids.tolist(), clicks.tolist()
    (['shoe'], [3.0])
    """

    _kind = "popularity"

    def __init__(self, *, by: str | None = None, recent: Any = None, half_life: Any = None):
        super().__init__(by=by, recent=recent, half_life=half_life)

    def _defaults(self) -> dict[str, Any]:
        return {"by": None, "recent": None, "half_life": None}

    def _library_values(self, params: dict[str, Any]) -> dict[str, Any]:
        by = params["by"]
        if not (by is None or isinstance(by, str)):
            raise ValueError(f"by is {by!r}, expected the name of an attribute of the products")
        return {"by": by or "", **{name: _seconds(name, params[name]) for name in ("recent", "half_life")}}

    def fit(self, train: Sessions, products: Products | None = None) -> PopularityRecommender:
        """Weigh the clicks of `train`.

        Parameters
        ----------
        train : Sessions
            With timestamps where `recent` or `half_life` is given.
        products : Products, optional
            Has the attribute that `by` names.

        Raises
        ------
        ValueError
            `train` has no events, timestamps or products are missing, or have ids of another kind, or the attribute is
            none.
        """
        self._fit(train, products, self.get_params()["by"])
        return self

    def recommend(
        self, items: Iterable[Any] = (), *, k: int = 20, exclude: Iterable[Any] = (), only: Iterable[Any] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return super().recommend(items, k=k, exclude=exclude, only=only)

    recommend.__doc__ = _ListingRecommender.recommend.__doc__


class SessionPopularityRecommender(BaselineRecommender):
    """Products of the session, those that occur in it most often first.

    A score is ``count in the session + clicks / (1 + clicks of the most clicked product)``, so that the products that
    are popular in training come first among equals. After S-POP of GRU4Rec's baselines (Hidasi et al., ICLR 2016).
    """

    _kind = "session_popularity"


class AssociationRulesRecommender(BaselineRecommender):
    """Products that share sessions with the current one.

    The weight of x → y is the number of pairs of events, one of x and one of y, in the same session. AR of Ludewig and
    Jannach, "Evaluation of session-based recommendation algorithms" (UMUAI 2018), section 3.1. A session of L events
    takes L² steps to fit: leave robots out.

    Parameters
    ----------
    per_item : int
        Rules kept of each product, those of the largest weight; 0 keeps all.
    history : int
        Events that are read, 0 for all: a score is the sum of the weights from each of them, times `decay`.
    decay : {"same", "div", "linear", "log", "quadratic"}
        What the i-th event from the end weighs: 1, 1/i, 1 - i/10 (0 from 10 on), 1/log10(i + 1.7), 1/i².
    """

    _kind = "association_rules"


class SequentialRulesRecommender(BaselineRecommender):
    """Products that follow the current one in sessions.

    The weight of x → y is the sum, over pairs of events where y is the i-th after x, of a weight of i. SR of Ludewig and
    Jannach, "Evaluation of session-based recommendation algorithms" (UMUAI 2018), section 3.1; with ``steps=1`` a
    first-order Markov chain.

    Parameters
    ----------
    steps : int
        Largest distance i that counts.
    weighting : {"same", "div", "linear", "log", "quadratic"}
        What a distance weighs: 1, 1/i, 1 - i/10 (0 from 10 on), 1/log10(i + 1.7), 1/i².
    per_item, history, decay
        As of :class:`AssociationRulesRecommender`.
    """

    _kind = "sequential_rules"


class ItemKNNRecommender(BaselineRecommender):
    """Products that are most similar to the current one, by the sessions that hold them.

    With n sessions that hold x, m that hold y and c that hold both, the similarity is
    ``c / ((n + shrinkage)**alpha * (m + shrinkage)**(1 - alpha)) * min(c, significance) / significance``: the cosine of
    binary vectors of sessions (Sarwar et al., WWW 2001), regularised as in GRU4Rec's baselines (Hidasi et al., ICLR 2016),
    with the significance weighting of Herlocker et al. (SIGIR 1999). A product is not its own neighbour.

    Parameters
    ----------
    shrinkage : float
        Takes from the similarity of products that few sessions hold.
    alpha : float
        0.5 is the cosine, 1 the confidence of x → y.
    significance : float
        Sessions that must hold both before a similarity counts in full; 0: any does.
    per_item, history, decay
        As of :class:`AssociationRulesRecommender`.
    """

    _kind = "item_knn"


class SessionKNNRecommender(BaselineRecommender):
    """Products of past sessions that are most like the current one: VS-kNN and VMIS-kNN.

    Of the past sessions that share a product with the current one, the `sample` most recent are looked at; the
    `neighbours` most similar of these give each of their products
    ``similarity * score_weighting(i) * idf``, where the last product that both share is the i-th event from the end of
    the current session. VS-kNN: Ludewig and Jannach, "Evaluation of session-based recommendation algorithms" (UMUAI 2018);
    VMIS-kNN: Kersbergen et al., "Serenade" (SIGMOD 2022).

    Parameters
    ----------
    preset : {"vs-knn", "vmis-knn"}
        Where options begin: those that are usual for each. When :meth:`set_params` changes it, options keep the values
        that the old one did not give them.
    neighbours : int
    sample : int
        0 looks at all.
    similarity : {"dot", "cosine"}
        Sum of the weights of the shared products, over the number of products of the current session ("dot"), or over
        the root of the products of one session times those of the other ("cosine"; with ``weighting="same"`` SKNN's).
    weighting : {"same", "div", "linear", "log", "quadratic"}
        What a product of the current session weighs whose last event is the p-th of n: 1, p/n, 1 - (n - p)/10 (not below
        0), 1/log10(n - p + 1.7), (p/n)².
    score_weighting : {"same", "div", "linear", "log", "quadratic"}
        1, 1/i, 1 - i/10 (0 from 10 on), 1/log10(i + 1.7), 1/i².
    idf : {"none", "multiply", "add"}
        1, or by the N sessions of training and the m that hold the product ln(N/m), or 1 + `idf_weight` · ln(N/m).
    idf_weight : float
    history : int
        Events that are read, 0 for all.
    remind : bool
        Whether products of the current session are listed too.
    """

    _kind = "session_knn"

    def __init__(self, *, preset: str = "vs-knn", **options: Any):
        self._given = {}
        self.set_params(preset=preset, **options)

    def _defaults(self) -> dict[str, Any]:
        return {"preset": self._given.get("preset", "vs-knn"), **self._preset(self._given.get("preset", "vs-knn"))}

    @staticmethod
    def _preset(name: str) -> dict[str, Any]:
        options: dict[str, Any] = json.loads(_stamp.session_knn_preset(name))
        return options

    def set_params(self, **params: Any) -> SessionKNNRecommender:
        before = self._given
        if "preset" in params:
            try:
                self._preset(params["preset"])
            except (TypeError, ValueError):
                raise ValueError(
                    f"SessionKNNRecommender: preset is {params['preset']!r}, expected vs-knn or vmis-knn"
                ) from None
            kept = before if params["preset"] == before.get("preset") else _changed(before, self._defaults())
            self._given = {**kept, "preset": params["preset"]}  # whose defaults the others are checked with
        try:
            super().set_params(**params)
        except ValueError:
            self._given = before
            raise
        return self

    def _library_values(self, params: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in params.items() if name != "preset"}


SessionKNNRecommender.__init__.__signature__ = inspect.Signature([  # type: ignore[attr-defined]
    *list(inspect.signature(SessionKNNRecommender.__init__).parameters.values())[:-1],
    *(
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value)
        for name, value in _library_options("session_knn").items()
    ),
])  # fmt: skip

_CLASSES = {
    cls._kind: cls
    for cls in (
        PopularityRecommender,
        SessionPopularityRecommender,
        AssociationRulesRecommender,
        SequentialRulesRecommender,
        ItemKNNRecommender,
        SessionKNNRecommender,
    )
}


def opened(bundle: _stamp.Bundle) -> BaselineRecommender:
    """The recommender whose bundle this is."""
    core = bundle.fallback
    assert core is not None
    options = json.loads(core.options)
    if core.kind == "popularity":
        by = options.pop("by") or None
        spans = {name: datetime.timedelta(seconds=value) if value else None for name, value in options.items()}
        options = {"by": by, **spans}
    recommender = _CLASSES[core.kind](**options)
    recommender._open(bundle)
    return recommender
