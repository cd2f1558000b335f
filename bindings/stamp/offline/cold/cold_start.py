"""The cold-start test: how well products are found that training has hardly seen, beside what is trivial."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...base.checks import list_lengths, whole_number
from ...data.products import Products
from ...data.sessions import Sessions
from ...data.tables.ids import require_one_kind
from ...models.stamp_recommender import StampRecommender
from ..metrics.cuts import CLICKS, cut_by_clicks
from ..metrics.registry import find_metric
from ..recordings.checks import require_fitted
from ..recordings.sets import members
from ..recordings.zones import Zone
from ..replays.asking import applies_rules
from ..replays.replay import replay
from ..replays.results import Replay
from .baselines import CategoryPopularity, RandomNew, with_mean_rows
from .judging import Resampling, judge
from .results import ALL, EVERY, FIRST, NEW, NOBODY, ColdStart
from .shop import Shop

CATEGORY_POPULARITY, CATEGORY_MEAN, RANDOM_NEW = "category popularity", "category mean row", "random new product"


def cold_start(
    recommenders: Any,
    train: Sessions,
    test: Sessions,
    products: Products,
    *,
    attribute: str,
    k: int | Sequence[int] = 10,
    clicks: Sequence[int] = CLICKS,
    metrics: Collection[str] = ("hr", "mrr"),
    rows: StampRecommender | None = None,
    min_history: int = 1,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    leakage: str = "refuse",
    progress: bool = False,
) -> ColdStart:
    """Judge recommenders by how often training saw the target, new products first, beside trivial baselines.

    All are asked every question of `test` (:func:`replay`): every event with enough before it is a target, and nothing is
    excluded from the lists. They are asked twice: for lists of all products, judged on all targets, and for lists of new
    products alone, judged on targets that are new. The first is what a visitor would see; the second says which of the
    new products are found, however the new are mixed with the others. Visits come back to products, new ones too, so new
    targets that the visit has not held before are judged by themselves as well.

    Parameters
    ----------
    recommenders : dict of str to recommender, or one recommender
        As of :func:`replay`. What is not stamp's cannot be asked for new products alone, and is not.
    train, test : Sessions
        What the recommenders have learnt from, and what they have not. :func:`hide_products` makes new products where a
        log has few.
    products : Products
        The shop's. Products without a click in `train` are new; the trivial baselines list those that stand here.
    attribute : str
        A text attribute of `products`: the category.
    k : int or sequence of int
        List lengths.
    clicks : sequence of int
        Upper ends of the kinds of targets, by clicks in training, ascending: (0, 10) gives 0, 1 to 10, and more than 10.
    metrics : collection of str
        Without k; of those with a value per question.
    rows : StampRecommender, optional
        Whose rows new products get the mean of; the first StampRecommender of `recommenders` where absent. Without one
        there is no such baseline.
    min_history : int
        Events before a target, at least.
    confidence, resamples, seed
        Of the bootstrap over visitors (sessions where these are unknown), 100 resamples or more; the seed is also that of
        what baselines draw.
    leakage, progress
        As of :func:`replay`.

    Returns
    -------
    ColdStart

    Raises
    ------
    ValueError
        An option cannot be, a recommender has the name of a trivial baseline, no product of `products` is new, no target
        is, or whatever :func:`replay` refuses.

    Notes
    -----
    The trivial baselines:

    - "category popularity": products of the categories of the visit, the category of most of its events first (of equals
      the latest); in a category the most clicked first, equals, so all new ones, at random; then other categories.
    - "category mean row": the network of `rows`, in which a new product has the mean of the rows of its category's
      products. It reads new products in histories, too. Those of a category tie, in an order that is drawn once.
    - "random new product": each as likely as the other, and no others.

    A mean over questions is a ratio of two sums over resampled visitors, and so is, from the same resamples, its ratio to
    the best trivial baseline. That is the best on these very targets, so what is ahead of it is not flattered.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=2000, products=100)
    >>> products = stamp.Products.from_frame(
    ...     {"item_id": shop.products["id"], "category": shop.products["category"]}
    ... )
    >>> train, test = shop.sessions.split_by_time("7D")
    >>> train, hidden = stamp.offline.hide_products(train, 0.1, seed=1)
    >>> model = stamp.StampRecommender(dim=16, epochs=2).fit(train, progress=False)
    >>> found = stamp.offline.cold_start({"stamp": model}, train, test, products, attribute="category")
    >>> found.row("stamp", "hr@10", clicks="0").value  # it has no rows for what it has not seen
    0.0
    >>> found.row("category mean row", "hr@10", clicks="0").value > 0
    True
    """
    ks = list_lengths("cold_start", k)
    asked = _metrics(metrics)
    limits = _limits(clicks)
    whole_number("cold_start: seed", seed, least=0)
    resampling = Resampling(confidence, resamples, seed)
    named = dict(recommenders) if isinstance(recommenders, Mapping) else {type(recommenders).__name__: recommenders}
    if not named:
        raise ValueError("cold_start: there are no recommenders")
    for name in (CATEGORY_POPULARITY, CATEGORY_MEAN, RANDOM_NEW):
        if name in named:
            raise ValueError(
                f"cold_start: a recommender is named '{name}', as a trivial baseline is; name it otherwise"
            )
    for what, given in (("train", train), ("test", test)):
        if not isinstance(given, Sessions):
            raise ValueError(f"cold_start: {what} is {type(given).__name__}, expected stamp.Sessions")
    if not isinstance(products, Products):
        raise ValueError(f"cold_start: products is {type(products).__name__}, expected stamp.Products")
    require_one_kind("cold_start: products", products._catalog, "train", train._catalog)
    shop = Shop(train, products, attribute)
    if not len(shop.new):
        raise ValueError(f"cold_start: training has clicked all {len(shop):,} products; hide_products makes new ones")
    network = rows if rows is not None else next((m for m in named.values() if isinstance(m, StampRecommender)), None)
    served: dict[str, Any] = {name: each for name, each in named.items() if applies_rules(each)}
    notes = [f"'{name}' cannot be asked for new products alone." for name in named if name not in served]
    trivial = [CATEGORY_POPULARITY, RANDOM_NEW]
    if network is None:
        notes.append(f"no '{CATEGORY_MEAN}': that takes rows=…, a fitted StampRecommender.")
    elif not isinstance(network, StampRecommender):
        raise ValueError(f"cold_start: rows is {type(network).__name__}, expected a fitted StampRecommender")
    else:
        require_fitted("cold_start", "rows", network)
        served[CATEGORY_MEAN] = named[CATEGORY_MEAN] = with_mean_rows(network, shop, seed=seed)
        trivial.insert(1, CATEGORY_MEAN)

    def ask(which: Mapping[str, Any], zone: Zone, leakage: str) -> Replay:
        return replay(
            which, test, zones=zone, train=train, products=products, min_history=min_history, latency=0, leakage=leakage,
            progress=progress,
        )  # fmt: skip

    of_all = ask({**named, **_drawing(shop, seed, only_new=False)}, Zone(name=ALL, k=max(ks)), leakage)
    labels, kinds = cut_by_clicks(of_all, ALL, limits)
    target, learnt = of_all.questions[ALL].target, of_all.clicks
    assert learnt is not None  # training was handed over
    new = learnt[target] == 0
    first = new & (members(of_all.facts.seen(ALL), target[:, None], of_all.V)[:, 0] < 0)
    groups = {kind: labels == code for code, kind in enumerate(kinds)} | {EVERY: np.ones(len(labels), bool)}
    if not new.any():
        raise ValueError(
            f"cold_start: none of the {len(target):,} targets of test is new; hide_products makes new ones"
        )
    found = judge(
        [of_all],
        ALL,
        [*_without(of_all.names, trivial), *trivial],
        trivial,
        groups | {FIRST: first},
        asked,
        ks,
        resampling,
    )

    only_new = [{"rule": "only_products", "products": shop.item_ids[shop.new].tolist()}]
    of_new = [ask(_drawing(shop, seed, only_new=True), Zone(name=NEW, k=max(ks)), "report")]
    if served:
        of_new.append(ask(served, Zone(name=NEW, k=max(ks), rules=only_new), "report"))
    names = [*_without(served, trivial), *trivial]
    found += judge(of_new, NEW, names, trivial, {NOBODY: new, FIRST: first}, asked, ks, resampling)
    return ColdStart(
        rows=found,
        names=[*_without(named, trivial), *trivial],
        trivial=trivial,
        attribute=attribute,
        new_products=int((learnt == 0).sum()),
        products=of_all.V,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        units="sessions" if of_all.questions[ALL].visitor is None else "visitors",
        notes=[*of_all.notes, *notes],
    )


def _drawing(shop: Shop, seed: int, *, only_new: bool) -> dict[str, Any]:
    """The baselines that draw among equals, as at the first question."""
    return {
        CATEGORY_POPULARITY: CategoryPopularity(shop, only_new=only_new, seed=seed),
        RANDOM_NEW: RandomNew(shop, seed=seed),
    }


def _without(names: Iterable[str], others: Collection[str]) -> list[str]:
    return [name for name in names if name not in others]


def _metrics(metrics: Any) -> list[str]:
    if isinstance(metrics, str) or not metrics:
        raise ValueError(f"cold_start: metrics is {metrics!r}, expected a list like ['hr', 'mrr']")
    for name in metrics:
        metric, _ = find_metric(name)
        if not metric.per_question:
            raise ValueError(
                f"cold_start: '{name}' is of all lists together, expected metrics with a value per question"
            )
    return list(dict.fromkeys(metrics))


def _limits(clicks: Any) -> list[int]:
    """Ascending, 0 or more."""
    if isinstance(clicks, (str, bytes)) or not isinstance(clicks, Iterable):
        clicks = [clicks]
    limits = [whole_number("cold_start: clicks", each, least=0) for each in clicks]
    if not limits or any(high <= low for low, high in zip(limits, limits[1:])):
        raise ValueError(f"cold_start: clicks is {limits}, expected upper ends of kinds, ascending, like [0, 10]")
    return limits
