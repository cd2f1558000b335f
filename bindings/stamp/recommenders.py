"""Recommenders: fit on sessions, recommend products, save, load."""

from __future__ import annotations

import inspect
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from . import _stamp
from .columns import Ids
from .progress import TrainingBar
from .sessions import Sessions


class TrainingDiverged(RuntimeError):
    """The loss ran away. The recommender keeps the last good weights; the message says where and what to change."""


def _options(preset: str) -> tuple[dict[str, Any], dict[str, Any]]:
    model, train = _stamp.presets(preset)
    return json.loads(model), json.loads(train)


class _CatalogRecommender:
    """What all recommenders share: a catalog of product ids and how often each was clicked in training."""

    _catalog: _stamp.Catalog
    _counts: np.ndarray

    def _require_fitted(self, call: str) -> None:
        if not hasattr(self, "_catalog"):
            raise ValueError(f"{call}: this {type(self).__name__} is not fitted yet; call fit first")

    @property
    def item_ids_(self) -> np.ndarray:
        """Product ids [V], in the order of the rows of the item table."""
        self._require_fitted("item_ids_")
        ids = self._catalog.ids()
        return ids if isinstance(ids, np.ndarray) else np.array([*ids, None], object)[:-1]

    @property
    def n_items_(self) -> int:
        self._require_fitted("n_items_")
        return len(self._catalog)

    def _rows(self, ids: Iterable[Any], what: str) -> np.ndarray:
        if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
            raise ValueError(f"recommend: {what} is {ids!r}, expected a list of product ids")
        values = list(ids)
        return (
            Ids(what, np.array([*values, None], object)[:-1]).find_in(self._catalog)
            if values
            else np.empty(0, np.int32)
        )

    def _learn_catalog(self, parts: Sequence[Sessions]) -> None:
        """The products that occur in `parts`, and nothing of the catalog they were cut from."""
        first = parts[0]
        counts = np.zeros(len(first._catalog), np.int64)
        shared = [part for part in parts if part._catalog is first._catalog]
        for part in shared:
            counts += _stamp.item_counts(part._core, len(counts))
        self._catalog = _stamp.Catalog(first._catalog.kind)
        if counts.any():
            Ids("items", first.item_ids[counts > 0]).add_to(self._catalog)
        for part in parts:
            if part not in shared:
                Ids("items", part.item_ids).add_to(self._catalog)


class StampRecommender(_CatalogRecommender):
    """STAMP, Short-Term Attention/Memory Priority (Liu et al., KDD 2018).

    Parameters
    ----------
    preset : {"official", "paper"}
        Where options begin: the authors' published code, or the paper's text (docs/model.md says how they differ).
    device : str
        "auto" or "cpu".
    **options
        Any option of the model and its training, by name; :meth:`get_params` lists them with their values. Defaults
        are those of the preset. Among them: `dim`, `epochs`, `batch_size`, `learning_rate`, `seed`, `dropout`,
        `history` (last events read, 0 for all), `min_history`, `patience` and `monitor` (early stopping), `clip_norm`,
        `schedule`, `weight_decay`, `score`, `max_norm`.

    Attributes
    ----------
    item_ids_ : array [V]
        Product ids in the order of the rows of the item table.
    report_ : dict
        Epochs with loss and validation metrics, the best one, time and speed.
    weights_ : dict of str to float32 array
        Named as in files: `items` [V,D], `attention.w1` [D,D], …
    """

    def __init__(self, *, preset: str = "official", device: str = "auto", **options: Any):
        self.preset = preset
        self.device = device
        self._given: dict[str, Any] = {}
        self.set_params(**options)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        model, train = _options(self.preset)
        return {"preset": self.preset, "device": self.device, **model, **train, **self._given}

    def set_params(self, **params: Any) -> StampRecommender:
        """Change options; ValueError names an unknown one or a value that cannot be."""
        for name in ("preset", "device"):
            if name in params:
                setattr(self, name, params.pop(name))
        model, train = _options(self.preset)
        for name in params:
            if name not in model and name not in train:
                raise ValueError(
                    f"StampRecommender: unknown option '{name}', expected one of {', '.join([*model, *train])}"
                )
        self._given.update({name: _plain(value) for name, value in params.items()})
        _stamp.check_options(*self._configs())
        return self

    def _configs(self) -> tuple[str, str]:
        model, train = _options(self.preset)
        for name, value in self._given.items():
            (model if name in model else train)[name] = value
        return json.dumps(model), json.dumps(train)

    def fit(
        self,
        train: Sessions,
        *,
        validation: Sessions | float | None = None,
        refit: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool | Any = True,
    ) -> StampRecommender:
        """Train on sessions.

        Parameters
        ----------
        train : Sessions
        validation : Sessions or float, optional
            Judges every epoch; the weights of the best are kept. A float takes that last share of `train`.
        refit : bool
            Then train anew on `train` and `validation` together, for the epochs that were best.
        checkpoint : path, optional
            Written about once a minute; a fit that was killed continues from it, to the same bits.
        progress : bool or callable
            A bar, or a function of (phase, epoch, epochs, done, total, loss, examples_per_second); returning False stops.

        Ctrl-C stops cleanly: the best weights so far stay, and ``report_["stopped"]`` is "interrupted".

        Raises
        ------
        ValueError
            No example to learn from, or options that cannot be.
        TrainingDiverged
            The loss ran away; the last good weights are kept.
        """
        if not isinstance(train, Sessions):
            raise ValueError(f"fit: train is {type(train).__name__}, expected stamp.Sessions (see Sessions.from_frame)")
        if isinstance(validation, float):
            train, validation = train.split_last(validation)
        parts = [train, validation] if refit and validation is not None else [train]
        self._learn_catalog(parts)
        if not len(self._catalog):
            raise ValueError("fit: train has no events")
        sessions = train.rows_in(self._catalog)
        held_out = validation.rows_in(self._catalog) if validation is not None else None
        self._counts = sum(_stamp.item_counts(part.rows_in(self._catalog), len(self._catalog)) for part in parts)
        self.fingerprint_ = sessions.fingerprint()
        config, train_config = self._configs()
        self._recommender = None
        self._model = _stamp.Model(config, len(self._catalog), self.device)
        callback = TrainingBar() if progress is True else progress if callable(progress) else None
        try:
            report = _stamp.train(
                self._model, sessions, train_config, held_out, refit, os.fspath(checkpoint or ""), callback
            )
        finally:
            if isinstance(callback, TrainingBar):
                callback.close()
        self.report_ = json.loads(report)
        if self.report_["stopped"] == "diverged":
            raise TrainingDiverged(f"fit: {self.report_['reason']}")
        return self

    @property
    def weights_(self) -> dict[str, np.ndarray]:
        self._require_fitted("weights_")
        return self._model.weights()

    def _scanner(self) -> _stamp.Recommender:
        if self._recommender is None:
            self._recommender = _stamp.Recommender(self._model)
        return self._recommender

    def recommend(
        self,
        items: Iterable[Any],
        *,
        k: int = 20,
        exclude: Iterable[Any] = (),
        only: Iterable[Any] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k products most likely to come next.

        Parameters
        ----------
        items : list of product ids
            The session so far, the current product last. Products that training never saw are skipped with a warning.
        k : int
            All products when the catalog is smaller.
        exclude, only : lists of product ids
            Never list these; choose among these. Nothing is excluded unless asked for, not even `items`.

        Returns
        -------
        ids, scores : arrays [k]
            Best first; scores are raw logits. Fewer than k where `exclude` and `only` leave fewer.

        Raises
        ------
        ValueError
            No known product in `items`, or k < 1.
        """
        self._require_fitted("recommend")
        rows = self._rows(items, "items")
        found, scores, unknown = self._scanner().recommend(
            rows, k, self._rows(exclude, "exclude"), None if only is None else self._rows(only, "only")
        )
        if unknown:
            warnings.warn(f"recommend: {unknown} of {len(rows)} events are products unknown to the model", stacklevel=2)
        return self._ids_by_row()[found], scores

    def recommend_batch(
        self,
        sessions: Iterable[Iterable[Any]],
        *,
        k: int = 20,
        exclude: Iterable[Any] = (),
        only: Iterable[Any] | None = None,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """:meth:`recommend` for many sessions at once, on all cores: a list of (ids, scores), the same bits."""
        self._require_fitted("recommend_batch")
        rows = [self._rows(items, "items") for items in sessions]
        answers = self._scanner().recommend_batch(
            rows, k, self._rows(exclude, "exclude"), None if only is None else self._rows(only, "only")
        )
        unknown = sum(answer[2] for answer in answers)
        if unknown:
            warnings.warn(f"recommend_batch: {unknown} events are products unknown to the model", stacklevel=2)
        ids = self._ids_by_row()
        return [(ids[found], scores) for found, scores, _ in answers]

    def _ids_by_row(self) -> np.ndarray:
        """item_ids_, made once: requests ask for it."""
        if getattr(self, "_ids_of", None) is not self._catalog:
            self._ids, self._ids_of = self.item_ids_, self._catalog
        return self._ids

    def _evaluate(self, sessions: Sessions, **options: Any) -> str:
        return _stamp.evaluate_model(self._model, sessions.rows_in(self._catalog), self._counts.tolist(), **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a bundle: a directory with manifest.json, catalog.safetensors and model.safetensors.

        Written aside and exchanged: what stood at `path` survives any failure (RuntimeError).
        """
        self._require_fitted("save")
        _, train = self._configs()
        _stamp.save_bundle(
            os.fspath(path), self._catalog, self._counts.tolist(), self._model, train, self.fingerprint_,
            json.dumps(self.report_),
        )  # fmt: skip

    def __repr__(self) -> str:
        given = "".join(f", {name}={value!r}" for name, value in self._given.items())
        return f"StampRecommender(preset={self.preset!r}{given})"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _signature() -> inspect.Signature:
    model, train = _options("official")
    fixed = [("self", inspect.Parameter.empty), ("preset", "official"), ("device", "auto")]
    options = [*fixed, *model.items(), *train.items()]
    kinds = [inspect.Parameter.POSITIONAL_OR_KEYWORD] + [inspect.Parameter.KEYWORD_ONLY] * (len(options) - 1)
    return inspect.Signature(
        [inspect.Parameter(name, kind, default=default) for (name, default), kind in zip(options, kinds)]
    )


StampRecommender.__init__.__signature__ = _signature()  # type: ignore[attr-defined]


class PopularityRecommender(_CatalogRecommender):
    """The most clicked products, the same for everybody: the baseline that every model must beat."""

    def fit(self, train: Sessions) -> PopularityRecommender:
        """Count the clicks of `train`."""
        self._learn_catalog([train])
        if not len(self._catalog):
            raise ValueError("fit: train has no events")
        self._counts = _stamp.item_counts(train.rows_in(self._catalog), len(self._catalog))
        self._order = np.argsort(-self._counts, kind="stable")
        return self

    def recommend(
        self, items: Iterable[Any] = (), *, k: int = 20, exclude: Iterable[Any] = (), only: Iterable[Any] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(ids, clicks) of the k most clicked products; `items` are not looked at."""
        self._require_fitted("recommend")
        if k < 1:
            raise ValueError(f"recommend: k is {k}, expected 1 or more")
        allowed = np.ones(len(self._counts), bool)
        if only is not None:
            allowed[:] = False
            chosen = self._rows(only, "only")
            allowed[chosen[chosen >= 0]] = True
        dropped = self._rows(exclude, "exclude")
        allowed[dropped[dropped >= 0]] = False
        rows = self._order[allowed[self._order]][:k]
        return self.item_ids_[rows], self._counts[rows].astype(np.float32)

    def _evaluate(self, sessions: Sessions, **options: Any) -> str:
        return _stamp.evaluate_popularity(sessions.rows_in(self._catalog), self._counts.tolist(), **options)


def load(path: str | os.PathLike[str], *, device: str = "auto") -> StampRecommender:
    """Read what :meth:`StampRecommender.save` wrote.

    Raises
    ------
    RuntimeError
        The bundle is damaged, of another version, or not one: the message names file and tensor.
    """
    catalog, counts, model, train, fingerprint, report = _stamp.load_bundle(os.fspath(path), device)
    recommender = StampRecommender(device=device, **json.loads(model.config()), **json.loads(train))
    recommender._catalog, recommender._counts, recommender._model = catalog, counts, model
    recommender._recommender = None
    recommender.fingerprint_ = fingerprint
    recommender.report_ = json.loads(report)
    return recommender
