"""Bundles of many clusters: built from the clusters' models, looked into, verified, compared."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import _stamp
from ..base.files import read_text
from ..base.json_text import strict_json_text
from ..data.products import Products
from ..data.tables.ids import Ids, catalog_ids, require_one_kind
from ..models.baselines import BaselineRecommender
from ..models.clustered import trained_models


def build_bundle(
    models: str | os.PathLike[str] | Mapping[int, str | os.PathLike[str]],
    items: Any = None,
    *,
    out: str | os.PathLike[str],
    rules: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    route_by: str | Sequence[str] = (),
    fallback: BaselineRecommender | None = None,
    scan_tables: bool = True,
) -> dict[str, Any]:
    """Make one bundle of the models of clusters. A bundle that stood at `out` is exchanged for it once it is whole.

    Parameters
    ----------
    models : path, or dict of int to path
        Where :func:`train_clusters` left them, or saved models by cluster id; ``{}`` for a fallback alone.
    items : Products, or anything that :meth:`Products.from_frame` reads
        Attributes of the products, for rules and routes: those that no model knows yet become part of the catalog too.
    out : path
        As of :meth:`StampRecommender.save`.
    rules : dict, or path of a JSON file
        ``{"build": [rules], "value": {"attribute": "price"}, "zones": {name: {"k": 20, "history": 10, "value": 0.5,
        "tail": 0.2, "objective": {"click": 0.7, "order": 0.3}, "rules": [rules]}}}`` (docs/rules.md). What the rules of
        "build" exclude is never recommended: ``{"rule": "only_available"}`` say.
    route_by : name or sequence of names
        Text attributes: a product that no model knows is answered for by the cluster of most products that share these
        values.
    fallback : baseline, optional
        Fitted: :class:`SessionKNNRecommender` say. Answers where no model knows an event of the visit and it does.
    scan_tables : bool
        Also write the 8-bit copy that a CPU scans, D + 4 bytes a product: servers then map it, and need not make it
        when they load the bundle. ``False`` saves the room where a GPU serves.

    Returns
    -------
    dict
        As :func:`inspect_bundle`.

    Raises
    ------
    ValueError
        A product is claimed by two clusters, a model, the fallback or `items` has ids of another kind, the fallback is not
        fitted, or rules cannot be, with the path of the key.
    RuntimeError
        A model is damaged, or `out` cannot be written: something else stands there, say. That is looked into first.
    """
    _stamp.check_bundle_target(os.fspath(out))
    if fallback is not None:
        if not isinstance(fallback, BaselineRecommender):
            raise ValueError(f"build_bundle: fallback is {type(fallback).__name__}, expected a fitted baseline")
        fallback._require_fitted("build_bundle: fallback")
    paths = _model_paths(models, alone=fallback is not None)
    device = _stamp.open_device("cpu", "auto")
    loaded = {cluster: _single(cluster, path, device) for cluster, path in sorted(paths.items())}
    known_by = [bundle.catalog for bundle in loaded.values()] + ([] if fallback is None else [fallback._catalog])
    catalog = _stamp.Catalog(known_by[0].kind)
    counts: list[np.ndarray] = []
    clusters: list[tuple[int, dict[str, Any], np.ndarray]] = []
    for cluster, bundle in loaded.items():
        [part] = bundle.clusters
        known = len(catalog)
        require_one_kind(f"build_bundle: the model of cluster {cluster}", bundle.catalog, "the others", catalog)
        rows = Ids("build_bundle: the products", catalog_ids(bundle.catalog)).add_to(catalog)
        if len(catalog) - known < len(rows):
            twice = int(rows[rows < known][0])
            other = next(id for id, _, other_rows in clusters if twice in other_rows)
            raise ValueError(
                f"build_bundle: product {catalog_ids(catalog)[twice]!r} is claimed by clusters {other} and {cluster}"
            )
        clusters.append((cluster, part, rows))
        counts.append(bundle.counts)
    if fallback is not None:
        known = len(catalog)
        require_one_kind("build_bundle: fallback", fallback._catalog, "the models", catalog)
        fallback_rows = Ids("build_bundle: the products", fallback.item_ids_).add_to(catalog)
        counts.append(fallback._counts[fallback_rows >= known])  # new ones come in its order
    columns: list[_stamp.Attribute] = []
    if items is not None:
        products = items if isinstance(items, Products) else Products.from_frame(items)
        require_one_kind("build_bundle: items", products._catalog, "the models", catalog)
        products.add_to(catalog)
        columns = products.columns_of(catalog)
    clicks = np.zeros(len(catalog), np.int64)
    clicks[: sum(map(len, counts))] = np.concatenate(counts)
    bundle = _stamp.Bundle(
        catalog,
        clicks.tolist(),
        columns,
        [
            (cluster, rows, part["model"], part["train"], part["fingerprint"], part["report"])
            for cluster, part, rows in clusters
        ],
        [route_by] if isinstance(route_by, str) else list(route_by),
        _rules_text(rules),
        None if fallback is None else fallback._core.in_catalog(fallback_rows, len(catalog)),
    )
    _stamp.Release(bundle)  # refuses rules that cannot be, before anything is replaced
    _stamp.save_bundle(os.fspath(out), bundle, scan_tables=scan_tables)
    return inspect_bundle(out)


def _model_paths(models: Any, alone: bool) -> dict[int, str]:
    if not isinstance(models, Mapping):
        return trained_models(models)
    if not models and not alone:
        raise ValueError("build_bundle: no models are given, expected paths by cluster id")
    for cluster in models:
        if isinstance(cluster, bool) or not isinstance(cluster, (int, np.integer)):
            raise ValueError(f"build_bundle: {cluster!r} is no cluster id, expected integers of 0 or more")
    return {int(cluster): os.fspath(path) for cluster, path in models.items()}


def _single(cluster: int, path: str, device: _stamp.Device) -> _stamp.Bundle:
    bundle = _stamp.load_bundle(path, device)
    if len(bundle.clusters) != 1:
        raise ValueError(f"build_bundle: {path} holds {len(bundle.clusters)} clusters, expected the one of {cluster}")
    return bundle


def _rules_text(rules: Any) -> str:
    if rules is None:
        return "{}"
    if isinstance(rules, Mapping):
        return strict_json_text("build_bundle: rules", rules)
    if not os.path.isfile(rules):
        raise ValueError(f"build_bundle: there is no file {os.fspath(rules)}")
    return read_text("build_bundle: rules", rules)


def inspect_bundle(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a bundle holds: products, attributes, clusters with their metrics, zones. Models are not read.

    Raises
    ------
    RuntimeError
        It is no bundle, or its catalog is damaged.
    """
    return _described(_stamp.read_bundle(os.fspath(path)))


def verify_bundle(path: str | os.PathLike[str]) -> dict[str, Any]:
    """:func:`inspect_bundle`, after every checksum, shape, scan table and rule has been verified.

    Raises
    ------
    RuntimeError, ValueError
        The first thing that is wrong: file and tensor, or the path of the key of a rule.
    """
    _stamp.Recommender(os.fspath(path), device="cpu", precision="auto", lazy=False, memory=0)
    return inspect_bundle(path)


def _described(bundle: _stamp.Bundle) -> dict[str, Any]:
    clusters = []
    for cluster in bundle.clusters:
        config, report = json.loads(cluster["config"]), json.loads(cluster["report"])
        epochs = report.get("epochs", [])
        best = epochs[report["best_epoch"] - 1] if epochs and 0 < report.get("best_epoch", 0) <= len(epochs) else {}
        clusters.append({
            "id": cluster["id"],
            "products": len(cluster["rows"]),
            "clicks": int(bundle.counts[cluster["rows"]].sum()),
            "dim": config["dim"],
            "examples": report.get("examples"),
            "validation": best.get("validation", {}).get("at"),
            "fingerprint": cluster["fingerprint"],
            "scan_table": cluster["scan_table"],
        })  # fmt: skip
    rules = json.loads(bundle.rules)
    known = sum(cluster["products"] for cluster in clusters)
    return {
        "products": len(bundle.catalog),
        "in_no_cluster": len(bundle.catalog) - known,
        "attributes": {column[0]: "text" if len(column) == 3 else "number" for column in bundle.attributes},
        "route_by": bundle.route_by,
        "clusters": clusters,
        "fallback": None if bundle.fallback is None else bundle.fallback.kind,
        "build_rules": len(rules.get("build", [])),
        "value": rules.get("value", {}).get("attribute"),
        "zones": {name: len(zone.get("rules", [])) for name, zone in rules.get("zones", {}).items()},
    }


def diff_bundles(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> dict[str, Any]:
    """What a release changes: products that come, go and change their cluster, models that were trained on other data or
    whose new products other clicks have turned (:func:`refresh_products`), attributes and rules. Models are not read.

    Raises
    ------
    RuntimeError
        One of them is no bundle, or its catalog is damaged.
    ValueError
        Their ids are of two kinds.
    """
    before, after = _stamp.read_bundle(os.fspath(old)), _stamp.read_bundle(os.fspath(new))
    ids = catalog_ids(after.catalog)
    rows = Ids("diff_bundles: new", ids).find_in(before.catalog, "old")
    stayed = rows >= 0
    moved = _labels(after)[stayed] != _labels(before)[rows[stayed]]
    models = [{c["id"]: c["fingerprint"] for c in bundle.clusters} for bundle in (before, after)]
    tables = [{c["id"] for c in bundle.clusters if c["scan_table"]} for bundle in (before, after)]
    columns = [{column[0]: column for column in bundle.attributes} for bundle in (before, after)]
    rules = [json.loads(bundle.rules) for bundle in (before, after)]
    zones = [r.get("zones", {}) for r in rules]
    return {
        "products": {
            "added": int((~stayed).sum()),
            "removed": len(before.catalog) - int(stayed.sum()),
            "moved": int(moved.sum()),
        },
        "clusters": {
            "added": sorted(models[1].keys() - models[0].keys()),
            "removed": sorted(models[0].keys() - models[1].keys()),
            "other_data": sorted(id for id in models[0].keys() & models[1].keys() if models[0][id] != models[1][id]),
        },
        "scan_tables": {"added": sorted(tables[1] - tables[0]), "removed": sorted(tables[0] - tables[1])},
        "attributes": {
            "added": sorted(columns[1].keys() - columns[0].keys()),
            "removed": sorted(columns[0].keys() - columns[1].keys()),
            "changed": {
                name: changed
                for name in sorted(columns[0].keys() & columns[1].keys())
                if (changed := _changed(columns[0][name], columns[1][name], rows))
            },
        },
        "zones": {
            "added": sorted(zones[1].keys() - zones[0].keys()),
            "removed": sorted(zones[0].keys() - zones[1].keys()),
            "changed": sorted(name for name in zones[0].keys() & zones[1].keys() if zones[0][name] != zones[1][name]),
        },
        "value_changed": rules[0].get("value") != rules[1].get("value"),
        "build_rules_changed": rules[0].get("build", []) != rules[1].get("build", []),
    }


def _labels(bundle: _stamp.Bundle) -> np.ndarray:
    labels = np.full(len(bundle.catalog), -1, np.int64)
    for cluster in bundle.clusters:
        labels[cluster["rows"]] = cluster["id"]
    return labels


def _changed(old: _stamp.Attribute, new: _stamp.Attribute, rows: np.ndarray) -> int:
    """Products of both catalogs whose value differs; `rows` are those of the new one's products in the old one."""

    def values(column: _stamp.Attribute) -> np.ndarray:
        if len(column) == 2:
            return column[1]
        return np.array([*column[2], None], object)[column[1]]  # code -1, missing, is the last

    before, after = values(old), values(new)
    stayed = rows >= 0
    a, b = before[rows[stayed]], after[stayed]
    if a.dtype != b.dtype:
        return len(a)
    same = a == b
    if a.dtype != object:
        same |= np.isnan(a) & np.isnan(b)
    return int((~same).sum())
