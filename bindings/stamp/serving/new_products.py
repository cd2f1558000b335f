"""Products that come when models have been trained: put into bundles without training."""

from __future__ import annotations

import os
from typing import Any

from .. import _stamp
from ..data.products import Products
from ..data.sessions import Sessions
from ..data.tables.ids import require_one_kind


def add_products(
    bundle: str | os.PathLike[str], items: Any, *, out: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Put new products into a bundle, by what their attributes say. Nothing is trained: it takes about as long as copying
    the bundle.

    Each product becomes one of the cluster that it is routed to (`route_by` of :func:`build_bundle`; the only cluster
    needs no routes), and its row the sum of the rows of its attributes, which a model has that was trained with `content`
    (docs/model.md, "New products"). From then on it is listed like any other, under all rules. A model that
    :meth:`StampRecommender.save` wrote is a bundle of one cluster.

    Parameters
    ----------
    bundle : path
    items : Products, or anything that :meth:`Products.from_frame` reads
        The new products with their attributes, those of `content` and those of the bundle; others are not looked at. It
        may hold products that a model knows already, the whole catalog say: these stay as they are. Attributes may be
        missing for some, or have values that training never saw.
    out : path, optional
        As of :meth:`StampRecommender.save`; by default the bundle is exchanged. A server takes it by reload.

    Returns
    -------
    dict
        ``added``, ``known`` (that a model knew already), and ``left_out``: ids of products that no cluster's products
        share the values of `route_by` with, or of which no attribute says anything to their cluster's model. They are in
        no cluster and are never listed; where the bundle has attributes they join its catalog, for rules and routes.

    Raises
    ------
    ValueError
        A product stands twice in `items`; ids, or an attribute, are of another kind than the bundle's; there are several
        clusters and no `route_by`; a model that a product would belong to was trained without `content`.
    RuntimeError
        `bundle` is none or damaged, or `out` cannot be written, which is looked into first.
    """
    out = _target(bundle, out)
    opened = _stamp.load_bundle(os.fspath(bundle), _stamp.open_device("cpu", "auto"))
    products = items if isinstance(items, Products) else Products.from_frame(items)
    catalog = products._catalog
    require_one_kind("add_products: items", catalog, "the bundle", opened.catalog)
    grown, added, known, left_out = _stamp.add_products(opened, catalog, products.columns_of(catalog))
    _save(out, opened, grown)
    return {"added": added, "known": known, "left_out": products.item_ids[left_out].tolist()}


def refresh_products(
    bundle: str | os.PathLike[str], sessions: Sessions, *, out: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Fit the rows of products that came after training to their first clicks, all else staying as it is, in seconds.

    These are the products that have attributes and no click in training. The row of one with clicks keeps its length
    and points where its attributes and the histories before its clicks point together, all clicks weighing a fourth of
    attributes at most (docs/model.md, "New products"); the row of one without is that of its attributes. A model whose
    rows turned has another fingerprint, so :func:`diff_bundles` shows it.

    Parameters
    ----------
    bundle : path
    sessions : Sessions
        All since training, not only those since the last refresh: what they say takes the place of what was known.
        Products that the bundle does not know are skipped in histories.
    out : path, optional
        As of :func:`add_products`.

    Returns
    -------
    dict
        ``refreshed``: how many products had a click.

    Raises
    ------
    ValueError
        `sessions` are none, or have ids of another kind; a model was trained without `content`.
    RuntimeError
        As of :func:`add_products`.
    """
    out = _target(bundle, out)
    if not isinstance(sessions, Sessions):
        raise ValueError(
            f"refresh_products: sessions is {type(sessions).__name__}, expected stamp.Sessions (see Sessions.from_frame)"
        )
    opened = _stamp.load_bundle(os.fspath(bundle), _stamp.open_device("cpu", "auto"))
    rows = sessions.rows_in(opened.catalog, "refresh_products: sessions", "the bundle")
    refreshed, fitted = _stamp.refresh_products(opened, rows)
    _save(out, opened, refreshed)
    return {"refreshed": fitted}


def _target(bundle: str | os.PathLike[str], out: str | os.PathLike[str] | None) -> str:
    path = os.fspath(bundle if out is None else out)
    _stamp.check_bundle_target(path)
    return path


def _save(path: str, opened: _stamp.Bundle, bundle: _stamp.Bundle) -> None:
    """With scan tables where the one that was opened had some."""
    _stamp.save_bundle(path, bundle, scan_tables=any(cluster["scan_table"] for cluster in opened.clusters))
