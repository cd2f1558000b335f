"""What all recommenders share: a catalog, lists through the code that serves, saving."""

from __future__ import annotations

import os
import pathlib
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from .. import _stamp
from ..base.checks import whole_number
from ..data.objectives import weights_of
from ..data.sessions import Sessions
from ..data.tables.ids import Ids, catalog_ids, events_listed, find_rows, listed


class _CatalogRecommender:
    """What all recommenders share: a catalog of product ids and how often each was clicked in training."""

    _catalog: _stamp.Catalog
    _counts: np.ndarray

    def _evaluate(self, sessions: Sessions, **options: Any) -> str:
        """Metrics as JSON, for :func:`stamp.evaluate`."""
        raise NotImplementedError

    def _require_fitted(self, call: str) -> None:
        if not hasattr(self, "_catalog"):
            raise ValueError(f"{call}: this {type(self).__name__} is not fitted yet; call fit first")

    @property
    def item_ids_(self) -> np.ndarray:
        """Product ids [V], in the order of the rows of the item table."""
        self._require_fitted("item_ids_")
        return catalog_ids(self._catalog)

    def _ids_by_row(self) -> np.ndarray:
        """item_ids_, made once: requests ask for it."""
        if getattr(self, "_ids_of", None) is not self._catalog:
            self._ids, self._ids_of = self.item_ids_, self._catalog
        return self._ids

    @property
    def n_items_(self) -> int:
        self._require_fitted("n_items_")
        return len(self._catalog)

    def _rows(self, what: str, ids: Iterable[Any]) -> np.ndarray:
        return find_rows(what, ids, self._catalog, "the model")

    def _sessions_in_rows(self, what: str, sessions: Sessions) -> _stamp.Sessions:
        return sessions.rows_in(self._catalog, what, "the model")


class _ListingRecommender(_CatalogRecommender):
    """Recommends through the same code as a server: a bundle in memory, listed from."""

    _release: _stamp.Release | None = None
    _LEARNT: ClassVar[tuple[str, ...]]  # attributes that a bundle holds

    def _bundle(self) -> _stamp.Bundle:
        raise NotImplementedError

    def _open(self, bundle: _stamp.Bundle) -> None:
        """Take over what a bundle holds."""
        raise NotImplementedError

    def _device_to_open(self) -> _stamp.Device:
        """What a bundle's model is to be on."""
        return _stamp.open_device("cpu", "auto")

    def __getstate__(self) -> dict[str, Any]:
        """Options, and what was learnt as the files of a bundle: pickle, joblib and deepcopy go by it."""
        state = vars(self).copy()
        for name in (*self._LEARNT, "_release", "_checkpoint", "_ids", "_ids_of"):
            state.pop(name, None)
        if hasattr(self, "_catalog"):
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder, "bundle")
                _stamp.save_bundle(os.fspath(path), self._bundle())
                files = (file for file in path.rglob("*") if file.is_file())
                state["bundle"] = {file.relative_to(path).as_posix(): file.read_bytes() for file in files}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop("bundle", None)
        vars(self).update(state)
        if files is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
            self._open(_stamp.load_bundle(folder, self._device_to_open()))

    def _listing(self) -> _stamp.Release:
        release = self._release
        if release is None:
            release = self._release = _stamp.Release(self._bundle())
        return release

    def _query(
        self,
        call: str,
        k: int,
        exclude: Iterable[Any],
        only: Iterable[Any] | None,
        objective: Mapping[str, float] | None = None,
    ) -> dict[str, Any]:
        """What a query says beyond events."""
        self._require_fitted(call)
        return {
            "bought": [],
            "k": whole_number(f"{call}: k", k, least=1),
            "exclude": self._rows(f"{call}: exclude", exclude),
            "only": None if only is None else self._rows(f"{call}: only", only),
            "objective": weights_of(call, objective),
            **{"history": 0, "zone": "", "rules": "", "value": None, "tail": None, "popular": False, "explain": False},
        }

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
            Best first. Scores are logits, raised to floors for products of `items` and what follows them where the model
            has floors (docs/model.md); those of a baseline are what it defines. Fewer than k where `exclude` and `only`
            leave fewer, or where a baseline scores fewer.

        Raises
        ------
        ValueError
            No known product in `items`, ids of another kind than those of training, or k < 1.
        """
        return self._recommend(items, self._query("recommend", k, exclude, only))

    def _recommend(self, items: Iterable[Any], query: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """For a method that callers call, as warnings tell whose line they are of."""
        rows = self._rows("recommend: items", events_listed("recommend: items", items))
        answer = self._listing().list(rows, **query)
        found, scores, path, _, unknown, *_ = answer
        if path == "none" and unknown == len(rows):
            raise ValueError(
                f"recommend: items has {len(rows)} events and no known product; expected one or more "
                "(PopularityRecommender needs none)"
            )
        if unknown:
            warnings.warn(f"recommend: {unknown} of {len(rows)} events are products unknown to the model", stacklevel=3)
        return self._ids_by_row()[found], scores

    def recommend_batch(
        self,
        sessions: Iterable[Iterable[Any]],
        *,
        k: int = 20,
        exclude: Iterable[Any] = (),
        only: Iterable[Any] | None = None,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """:meth:`recommend` for many sessions at once, on all cores: a list of (ids, scores), the same bits.

        A session that has nothing to go by, no known product say, gets empty arrays; the warning counts unknown events.
        """
        return self._recommend_batch(sessions, self._query("recommend_batch", k, exclude, only))

    def _recommend_batch(
        self, sessions: Iterable[Iterable[Any]], query: dict[str, Any]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """As :meth:`_recommend`."""
        of_all = listed("recommend_batch: sessions", sessions, of="lists of product ids")
        what = "recommend_batch: a session"
        rows = [self._rows(what, events_listed(what, items)) for items in of_all]
        answers = self._listing().list_batch(rows, **query)
        unknown = sum(answer[4] for answer in answers)
        if unknown:
            warnings.warn(f"recommend_batch: {unknown} events are products unknown to the model", stacklevel=3)
        ids = self._ids_by_row()
        return [(ids[answer[0]], answer[1]) for answer in answers]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a bundle: a directory of JSON and safetensors files (docs/data.md), for any device.

        Written aside and exchanged: the bundle that stood at `path` survives any failure. A symbolic link stays, and the
        bundle that it leads to is exchanged.

        Raises
        ------
        ValueError
            It is not fitted.
        RuntimeError
            It cannot be written; or something else stands at `path`: a file, or a directory that is not empty and no
            bundle, or a bundle with any other file or folder in it.
        """
        self._require_fitted("save")
        _stamp.save_bundle(os.fspath(path), self._bundle())


def _catalog_of(parts: Sequence[Sessions]) -> _stamp.Catalog:
    """The products that occur in `parts`, and nothing else of the catalogs they were cut from. All have one kind of ids."""
    catalog = _stamp.Catalog(parts[0]._catalog.kind)
    seen: dict[int, tuple[Sessions, np.ndarray]] = {}
    for part in parts:
        _, counts = seen.get(id(part._catalog), (part, 0))
        seen[id(part._catalog)] = part, counts + _stamp.item_counts(part._core, len(part._catalog))
    for part, counts in seen.values():
        if counts.any():
            Ids("fit: the products", part.item_ids[counts > 0]).add_to(catalog)
    if not len(catalog):
        raise ValueError("fit: train has no events")
    return catalog


def _count_clicks(parts: Sequence[Sessions], catalog: _stamp.Catalog) -> np.ndarray:
    counts = np.zeros(len(catalog), np.int64)
    for part in parts:
        counts += _stamp.item_counts(part.rows_in(catalog, "fit: train", "training"), len(catalog))
    return counts


def _changed(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Of the options that were given, those that are not what they would be anyway. scikit-learn's ``clone`` gives all,
    so what a preset brought along must go with it."""
    return {name: value for name, value in given.items() if value != defaults[name]}


# Events of a session beyond which it is hardly a visitor's: the longest of the logs in docs/accuracy.md has 285.
_ROBOT = 1000


def _warn_of_robots(sessions: _stamp.Sessions) -> None:
    """Of sessions to learn from, before that takes long; for a method that fit calls."""
    lengths = np.diff(sessions.offsets)
    robots = lengths[lengths > _ROBOT]
    if len(robots):
        warnings.warn(
            f"fit: {len(robots):,} of {len(lengths):,} sessions have more than {_ROBOT:,} events, the longest "
            f"{robots.max():,}; they hold {robots.sum() / lengths.sum():.1%} of all events. Robots? "
            f"train.select(train.lengths <= {_ROBOT}) leaves them out",
            stacklevel=4,
        )
