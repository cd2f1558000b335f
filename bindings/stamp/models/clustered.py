"""The models of all clusters as one, to be measured beside a single model."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import numpy as np

from .. import _stamp
from ..data.sessions import Sessions
from ..data.tables.ids import Ids
from .listing import _CatalogRecommender
from .stamp_recommender import StampRecommender, load_model
from .train_reports import finished


class ClusteredRecommender(_CatalogRecommender):
    """One model per cluster over the products of all: what :func:`load_clusters` gives :func:`evaluate`.

    An example is ranked by the model of the cluster of its anchor, the last known event. Products count as known, and as
    cold, just as for a single model of the same data; so do those of no cluster, which are never listed.

    Attributes
    ----------
    models : dict of int to StampRecommender
        By cluster.
    """

    def __init__(self, catalog: _stamp.Catalog, counts: np.ndarray, models: dict[int, StampRecommender]):
        self._catalog, self._counts, self.models = catalog, counts.copy(), models
        self._parts = []
        for cluster, model in models.items():
            what = f"ClusteredRecommender: the model of cluster {cluster}"
            rows = Ids(what, model.item_ids_).find_in(catalog, "the catalog")
            if (rows < 0).any():
                raise ValueError(f"ClusteredRecommender: cluster {cluster} has products that the catalog has not")
            self._counts[rows] = model._counts  # without validation's, where that was not trained on
            self._parts.append((rows, model._model))

    def __reduce__(self) -> tuple[Any, ...]:
        """By its models, which are pickled as bundles."""
        return type(self), (self._catalog, self._counts, self.models)

    def _evaluate(self, sessions: Sessions, **options: Any) -> str:
        return _stamp.evaluate_clusters(
            self._parts, self._sessions_in_rows("evaluate: test", sessions), self._counts.tolist(), **options
        )  # fmt: skip

    def _bundle(self) -> _stamp.Bundle:
        """Products stand in the order of the models, then those of no cluster."""
        catalog = _stamp.Catalog(self._catalog.kind)
        clusters = [
            (cluster, Ids("the products of a cluster", model.item_ids_).add_to(catalog), model._model,
             model._trained_with, model.fingerprint_, json.dumps(model.report_))
            for cluster, model in self.models.items()
        ]  # fmt: skip
        counts = np.empty(len(self._catalog), np.int64)
        counts[Ids("the products", self.item_ids_).add_to(catalog)] = self._counts
        return _stamp.Bundle(catalog, counts.tolist(), [], clusters, [], "{}")

    def __repr__(self) -> str:
        return f"ClusteredRecommender({len(self.models):,} models, {self.n_items_:,} products)"


def load_clusters(
    path: str | os.PathLike[str], *, device: str = "auto", precision: str = "auto"
) -> ClusteredRecommender:
    """Read the models that :func:`train_clusters` left in `path`.

    Those of another plan than the last call's (other data, clusters or `min_examples`) are left out, as are failed ones.

    Parameters
    ----------
    device, precision : str
        As of :class:`StampRecommender`.

    Raises
    ------
    RuntimeError
        There are no such models, the last call was interrupted, or a model is damaged or of a later
        :func:`train_cluster`.
    """
    models = {id: load_model(model, device=device, precision=precision) for id, model in trained_models(path).items()}
    catalog, counts = _stamp.load_catalog(os.path.join(path, "catalog.safetensors"))
    return ClusteredRecommender(catalog, counts, models)


def trained_models(path: str | os.PathLike[str]) -> dict[int, str]:
    """Paths of the models that the last call of :func:`train_clusters` left in `path`, by cluster."""
    folder = pathlib.Path(path)
    if not (folder / "report.json").is_file():
        raise RuntimeError(
            f"{folder} holds no report.json of train_clusters, which is written last; if a call was interrupted, repeat it"
        )
    try:
        reports = json.loads((folder / "report.json").read_text(encoding="utf-8"))["reports"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RuntimeError(f"{folder / 'report.json'} is no report of train_clusters: {error}") from None
    models = {}
    for cluster, report in reports.items():
        if report["status"] != "trained":
            continue
        place = folder / cluster
        if finished(place, report["identity"]) is None:
            raise RuntimeError(f"{place} is not what the last call of train_clusters left there; repeat that call")
        models[int(cluster)] = str(place / "model")
    if not models:
        raise RuntimeError(f"{folder} holds no trained cluster")
    return models
