"""STAMP: fit on sessions, recommend products, save, load."""

from __future__ import annotations

import copy
import inspect
import json
import numbers
import os
import pathlib
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from .. import _stamp
from ..base.checks import plain, truth
from ..base.files import check_file
from ..base.progress import TrainingBar
from ..data.objectives import check_names
from ..data.products import Products
from ..data.sessions import Sessions, labelled_for
from ..data.tables.ids import Ids, catalog_ids, require_one_kind
from .hardware import check_device_names, open_device
from .listing import _catalog_of, _changed, _count_clicks, _ListingRecommender, _warn_of_robots

# Options that are not of the model or its training.
_FIXED = ("preset", "device", "precision")


class TrainingDiverged(RuntimeError):
    """The loss ran away. The recommender keeps the last good weights; the message says where and what to change."""


def _options(preset: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if not isinstance(preset, str):
        raise ValueError(f"StampRecommender: preset is {preset!r}, expected tuned, official or paper")
    model, train = _stamp.presets(preset)
    return json.loads(model), json.loads(train)


class StampRecommender(_ListingRecommender):
    """STAMP, Short-Term Attention/Memory Priority (Liu et al., KDD 2018).

    Parameters
    ----------
    preset : {"tuned", "official", "paper"}
        Where options begin: what ranks best, the authors' published code, or the paper's text (docs/model.md). When
        :meth:`set_params` changes it, options keep the values that the old one did not give them.
    device : {"auto", "cpu", "cuda", "cuda:1", …}
        Where to compute; "auto" is the first GPU that works, else the CPU. :func:`stamp.devices` lists what there is.
    precision : {"auto", "fp32", "tf32", "bf16"}
        Of the operands of products in training; weights, sums and all else are single precision. "fp32" keeps all 24
        bits of a mantissa, "tf32" 11 and "bf16" 8, on CUDA both on tensor cores. "auto" is bf16 on CUDA and fp32 on
        the CPU, which has no tf32 and where bf16 is faster if :func:`stamp.devices` says that it has bf16.
        docs/cuda.md says what each costs in accuracy.
    **options
        Any option of the model and its training, by name; :meth:`get_params` lists them with their values. Defaults
        are those of the preset. Among them: `dim`, `epochs`, `batch_size`, `learning_rate`, `seed`, `dropout`,
        `history` (last events read, 0 for all), `min_history`, `oldest_weight` (what the oldest session counts for, of
        the newest's 1), `patience` and `monitor` (early stopping), `clip_norm`, `schedule`, `weight_decay`, `score`,
        `max_norm`; `repeat_floors`, `successor_floors`, `second_floors`, `successors` and `calibration` (visitors come
        back, and go where others went, in one step or two; how often is learnt from up to a twentieth of the examples,
        which teach no weight: docs/model.md); `content`, names of attributes that item rows are made of, or True for
        all that :meth:`fit` is given, with `content_bins`, `difference_bound` and `difference_dropout`, so that
        products without clicks have rows, too; `objectives`, types of events such as ``["order"]`` that lists may
        serve beside clicks, in any mixture that :meth:`recommend` is asked for (docs/model.md).

    Attributes
    ----------
    item_ids_ : array [V]
        Product ids in the order of the rows of the item table.
    device_, precision_ : str
        What the model is on, and computes in.
    report_ : dict
        Epochs with loss and validation metrics, the best one, and the device that trained. Of the sessions trained on:
        `longest_session` (events), and `long_sessions` and `cut_examples`, those that `history` cuts. Of the model:
        `temperature` and `tail_power`, 1 where nothing was held out to fit them to (docs/model.md). After :meth:`fit`
        also what that run took: `seconds` (of each epoch, too), `examples_per_second`, and whether it was `resumed`. A
        saved model does not hold these, so the same training saves the same bytes, and one that is loaded lacks them.
    weights_ : dict of str to float32 array
        Named as in files: `items` [V,D], `attention.w1` [D,D], …, `repeat.floors` [10,repeat_floors],
        `successor.floors` [successor_floors + second_floors]; with floors also `temperature` [1] and `tail.power` [1],
        with `content` `attribute_rows` [K,D]; with K `objectives` three more [K,D], `attention.objectives` say, and
        floors of each: first those for clicks.
    """

    _LEARNT = ("_model", "_catalog", "_counts", "_trained_with", "fingerprint_")
    _checkpoint: tuple[pathlib.Path, tuple[int, int]] | None = None  # of the last fit, and which file that was
    _trained_with: str

    def __init__(self, *, preset: str = "tuned", device: str = "auto", precision: str = "auto", **options: Any):
        self.preset = preset
        self.device = device
        self.precision = precision
        self._given: dict[str, Any] = {}
        self.set_params(**options)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {**{name: getattr(self, name) for name in _FIXED}, **self._defaults(), **self._given}

    def _defaults(self) -> dict[str, Any]:
        model, train = _options(self.preset)
        return {**model, **train}

    def set_params(self, **params: Any) -> StampRecommender:
        """Change options; ValueError names an unknown one or a value that cannot be."""
        preset, device, precision = (params.pop(name, getattr(self, name)) for name in _FIXED)
        model, train = _options(preset)
        for name in params:
            if name not in model and name not in train:
                raise ValueError(
                    f"StampRecommender: unknown option '{name}', expected one of {', '.join([*model, *train])}"
                )
        before = self._given if preset == self.preset else _changed(self._given, self._defaults())
        given = {**before, **{name: plain(value) for name, value in params.items()}}
        check_device_names(device, precision)
        named = {**given, "content": _names_of(given["content"])} if "content" in given else given
        if given.get("objectives", []) != []:
            check_names("StampRecommender", given["objectives"])
        _stamp.check_options(*_configs(preset, named), precision)
        self.preset, self.device, self.precision, self._given = preset, device, precision, given
        return self

    def fit(
        self,
        train: Sessions,
        *,
        products: Products | None = None,
        validation: Sessions | float | None = None,
        refit: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool | Any = True,
        on_epoch: Callable[[dict[str, Any]], bool | None] | None = None,
    ) -> StampRecommender:
        """Train on sessions.

        Parameters
        ----------
        train : Sessions
        products : Products, optional
            What is known of the products of the sessions: `content` needs it. Products that no session holds do not count.
        validation : Sessions or float, optional
            Judges every epoch; the weights of the best are kept. A float takes that last share of `train`.
        refit : bool
            Then train anew on `train` and `validation` together, for the epochs that were best.
        checkpoint : path, optional
            Written about once a minute; a fit that was killed continues from it, to the same bits, and one that was
            done gives its model back. :meth:`save` removes it. A file that is no checkpoint of this fit is refused.
        progress : bool or callable
            A bar, or a function of (phase, epoch, epochs, done, total, loss, examples_per_second); returning False stops.
        on_epoch : callable, optional
            A function of every epoch that has been validated, as ``report_["epochs"]`` lists it; returning False stops.

        Ctrl-C stops cleanly: the best weights so far stay, and ``report_["stopped"]`` is "interrupted".

        Raises
        ------
        ValueError
            No example to learn from, `validation` has ids of another kind than `train`, or options that cannot be;
            `content` without `products`, with an attribute that these have not, or that no product has; `objectives` that
            no event is of, as :meth:`Sessions.labelled` says.
        RuntimeError
            The device cannot be had, with the reason, or is out of memory. `checkpoint` cannot be written, which is
            looked into before any work.
        TrainingDiverged
            The loss ran away; the last good weights are kept.
        """
        require_products("fit", products)
        refit = truth("fit: refit", refit)
        if checkpoint is not None:
            check_file(checkpoint)
        if not isinstance(train, Sessions):
            raise ValueError(f"fit: train is {type(train).__name__}, expected stamp.Sessions (see Sessions.from_frame)")
        objectives = self.get_params()["objectives"]
        train = labelled_for("fit: train", train, objectives)
        if isinstance(validation, numbers.Real) and not isinstance(validation, bool):
            train, validation = train.split_last(float(validation))
        if not (validation is None or isinstance(validation, Sessions)):
            raise ValueError(
                f"fit: validation is {validation!r}, expected stamp.Sessions or the share of the last sessions"
            )
        if validation is not None:
            require_one_kind("fit: validation", validation._catalog, "train", train._catalog)
            if refit:
                validation = labelled_for("fit: validation", validation, objectives, all_there=False)
        parts = [train, validation] if refit and validation is not None else [train]
        catalog = _catalog_of(parts)
        self._train(
            catalog,
            _count_clicks(parts, catalog),
            train.rows_in(catalog, "fit: train", "training"),
            None if validation is None else validation.rows_in(catalog, "fit: validation", "train"),
            attributes=[] if products is None else products.columns_of(catalog),
            refit=refit,
            checkpoint=checkpoint,
            progress=progress,
            on_epoch=on_epoch,
        )
        return self

    def _train(
        self,
        catalog: _stamp.Catalog,
        counts: np.ndarray,
        sessions: _stamp.Sessions,
        held_out: _stamp.Sessions | None,
        *,
        attributes: list[_stamp.Attribute],
        refit: bool,
        checkpoint: str | os.PathLike[str] | None,
        progress: bool | Any,
        on_epoch: Callable[[dict[str, Any]], bool | None] | None = None,
        warm_start: StampRecommender | None = None,
    ) -> None:
        """What every training comes down to: sessions as rows of a catalog whose products were clicked `counts` times, and
        have these attributes."""
        _warn_of_robots(sessions)
        content = named_content(self._given.get("content", []), [column[0] for column in attributes])
        config, train_config = _configs(self.preset, {**self._given, "content": content})
        model = _stamp.Model(config, len(catalog), _stamp.open_device(self.device, self.precision), attributes)
        if warm_start is not None:
            model.set_weights(_carried_over(warm_start, model, catalog))
            if _keeps_floors(warm_start, model, catalog, sessions):
                train_config = _configs(self.preset, {**self._given, "content": content, "calibration": 0})[1]
        callback = TrainingBar() if progress is True else progress if callable(progress) else None
        path = os.fspath(checkpoint or "")

        def tell(epoch: str) -> bool | None:
            return on_epoch(json.loads(epoch)) if on_epoch is not None else True

        try:
            report = _stamp.train(
                model, sessions, train_config, held_out, refit, warm_start is not None, path, callback, tell
            )  # fmt: skip
        finally:
            if isinstance(callback, TrainingBar):
                callback.close()
        self._catalog, self._counts, self._model = catalog, counts, model
        self._release = None
        self._trained_with, self._checkpoint = train_config, _written(checkpoint)
        whole = sessions.concatenate(held_out.without_unknown()) if refit and held_out is not None else sessions
        self.fingerprint_ = whole.fingerprint()
        self.report_ = json.loads(report)
        if self.report_["stopped"] == "diverged":
            raise TrainingDiverged(f"fit: {self.report_['reason']}")
        if self.report_["streamed"]:
            warnings.warn(
                f"fit: the sessions have no room on {self.report_['device']} beside the model and travelled there in "
                "pieces; the model is the same, but may have taken longer",
                stacklevel=2,
            )

    @property
    def device_(self) -> str:
        self._require_fitted("device_")
        return self._model.device.name

    @property
    def precision_(self) -> str:
        self._require_fitted("precision_")
        return self._model.device.precision

    @property
    def weights_(self) -> dict[str, np.ndarray]:
        self._require_fitted("weights_")
        return self._model.weights()

    def _bundle(self) -> _stamp.Bundle:
        cluster = (
            0, np.arange(len(self._catalog)), self._model, self._trained_with, self.fingerprint_, json.dumps(self.report_)
        )  # fmt: skip
        return _stamp.Bundle(self._catalog, self._counts.tolist(), [], [cluster], [], "{}")

    def _open(self, bundle: _stamp.Bundle) -> None:
        [cluster] = bundle.clusters
        self._take(cluster, bundle.catalog, bundle.counts)

    def _take(self, cluster: dict[str, Any], catalog: _stamp.Catalog, counts: np.ndarray) -> None:
        """A cluster of a bundle; the rows of its model are those of `catalog`."""
        self._catalog, self._counts, self._model = catalog, counts, cluster["model"]
        self._trained_with, self.fingerprint_ = cluster["train"], cluster["fingerprint"]
        self.report_ = json.loads(cluster["report"])

    def _with_rows(self, catalog: _stamp.Catalog, rows: np.ndarray) -> StampRecommender:
        """The same network over another catalog, whose rows are `rows` [V,D]; a product that training never saw has no
        clicks."""
        known = Ids("the model", self.item_ids_).find_in(catalog, "the catalog")
        counts = np.zeros(len(catalog), np.int64)
        counts[known[known >= 0]] = np.asarray(self._counts)[known >= 0]
        plain_rows = json.dumps({**json.loads(self._model.config()), "content": []})
        model = _stamp.Model(plain_rows, len(catalog), self._device_to_open())
        weights = {name: values for name, values in self.weights_.items() if name != "attribute_rows"}
        model.set_weights({**weights, "items": rows})
        model.take_successors(self._model, known)
        other = copy.copy(self)
        other._given = {name: value for name, value in self._given.items() if name != "content"}
        other._catalog, other._counts, other._model, other._release = catalog, counts, model, None
        return other

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "report_" in state:  # whole: that of the bundle lacks what the run took
            self.report_ = state["report_"]

    def _device_to_open(self) -> _stamp.Device:
        return open_device(self.device, self.precision)

    def recommend(
        self,
        items: Iterable[Any],
        *,
        k: int = 20,
        exclude: Iterable[Any] = (),
        only: Iterable[Any] | None = None,
        objective: Mapping[str, float] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k products most likely to come next, or to lead to what `objective` asks for.

        Parameters
        ----------
        items : list of product ids
            The session so far, the current product last. Products that training never saw are skipped with a warning.
        k : int
            All products when the catalog is smaller.
        exclude, only : lists of product ids
            Never list these; choose among these. Nothing is excluded unless asked for, not even `items`.
        objective : dict of str to float, optional
            What the list is to serve, ``{"click": 0.7, "order": 0.3}`` say, of a model that was trained with such
            `objectives`; only the ratios count. Clicks alone where it is not given.

        Returns
        -------
        ids, scores : arrays [k]
            Best first. Scores are logits, raised to floors for products of `items` and what follows them where the model
            has floors (docs/model.md). Fewer than k where `exclude` and `only` leave fewer.

        Raises
        ------
        ValueError
            No known product in `items`, ids of another kind than those of training, k < 1, an objective that the model
            has not learnt, or weights that are negative or all 0.
        """
        return self._recommend(items, self._query("recommend", k, exclude, only, objective))

    def recommend_batch(
        self,
        sessions: Iterable[Iterable[Any]],
        *,
        k: int = 20,
        exclude: Iterable[Any] = (),
        only: Iterable[Any] | None = None,
        objective: Mapping[str, float] | None = None,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """:meth:`recommend` for many sessions at once, on all cores: a list of (ids, scores), the same bits.

        A session without a known product gets empty arrays; the warning counts unknown events.
        """
        return self._recommend_batch(sessions, self._query("recommend_batch", k, exclude, only, objective))

    def _evaluate(self, sessions: Sessions, **options: Any) -> str:
        rows = self._sessions_in_rows("evaluate: test", sessions)
        return _stamp.evaluate_model(self._model, rows, self._counts.tolist(), **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        super().save(path)
        if self._checkpoint is not None and _written(self._checkpoint[0]) == self._checkpoint:
            self._checkpoint[0].unlink()
        self._checkpoint = None

    save.__doc__ = _ListingRecommender.save.__doc__

    def __repr__(self) -> str:
        given = "".join(f", {name}={value!r}" for name, value in _changed(self._given, self._defaults()).items())
        return f"StampRecommender(preset={self.preset!r}{given})"


def _written(checkpoint: str | os.PathLike[str] | None) -> tuple[pathlib.Path, tuple[int, int]] | None:
    """Where a checkpoint is, whatever the working directory will be, and what tells the file from a later one there."""
    if checkpoint is None:
        return None
    path = pathlib.Path(checkpoint).resolve()
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return path, (found.st_ino, found.st_mtime_ns)


def _configs(preset: str, given: dict[str, Any]) -> tuple[str, str]:
    model, train = _options(preset)
    for name, value in given.items():
        (model if name in model else train)[name] = value
    return json.dumps(model), json.dumps(train)


def _names_of(content: Any) -> list[str]:
    """Those that the option `content` lists, whose order says nothing; none where it is True or False."""
    if isinstance(content, bool):
        return []
    if not isinstance(content, (list, tuple)) or not all(isinstance(name, str) for name in content):
        raise ValueError(
            f"StampRecommender: content is {content!r}, expected a list of names of attributes, ['brand', 'price'] say, or True"
        )
    return sorted(content)


def require_products(call: str, products: Any) -> None:
    """Raises ValueError, beginning with `call`, for anything but Products or None."""
    if not (products is None or isinstance(products, Products)):
        raise ValueError(
            f"{call}: products is {type(products).__name__}, expected stamp.Products (see Products.from_frame)"
        )


def named_content(content: Any, attributes: Collection[str]) -> list[str]:
    """The names of the attributes that item rows are made of, of the option `content` and those that products have."""
    names = sorted(attributes) if content is True else _names_of(content)
    if (names or content is True) and not attributes:
        raise ValueError(f"fit: content is {content!r}, but no product has attributes; pass products that have some")
    return names


# Options that a model may have other values of than the one whose weights it starts with.
_FREE = ("dropout", "history", "item_std", "weight_std", "seed", "repeat_floors", "successor_floors", "second_floors",
         "successors", "content_bins", "difference_bound", "difference_dropout")  # fmt: skip


def _carried_over(old: StampRecommender, model: _stamp.Model, catalog: _stamp.Catalog) -> dict[str, np.ndarray]:
    """The weights of `old`, with the rows of the products that both know; the other rows as `model` drew them."""
    mine, theirs = json.loads(model.config()), json.loads(old._model.config())
    for name, value in mine.items():
        if name not in _FREE and theirs[name] != value:
            raise ValueError(
                f"warm_start: that model has {name}={theirs[name]!r}, this one {name}={value!r}; they must agree"
            )
    if mine["content"]:
        model.take_content(old._model)
    weights, trained = model.weights(), old.weights_
    trained.pop("attribute_rows", None)
    for option, name in (("repeat_floors", "repeat.floors"), ("successor_floors", "successor.floors"),
                         ("second_floors", "successor.floors")):  # fmt: skip
        if mine[option] != theirs[option]:
            trained.pop(name, None)
    for name in ("temperature", "tail.power"):  # of models with floors
        if name not in weights:
            trained.pop(name, None)
    rows = Ids("warm_start: that model", old.item_ids_).find_in(catalog, "this one")
    weights["items"][rows[rows >= 0]] = trained.pop("items")[rows >= 0]
    return {**weights, **trained}


_OPTIONS_OF_FLOORS = ("repeat_floors", "successor_floors", "second_floors")
# Of the products that a model knows, yesterday's of the same cluster, which loses some from day to day.
_OF_ONE_CUT = 0.9


def _keeps_floors(
    old: StampRecommender, model: _stamp.Model, catalog: _stamp.Catalog, sessions: _stamp.Sessions
) -> bool:
    """Whether `model` keeps the floors that it has of `old`: where it cannot be told which sessions `old` did not learn
    from. Those are chosen by seed and times, so there are none where it had another seed, sessions that were cut for other
    products or have no times, or held none out. Floors fitted to what a model knows are far too low: 1.5 points of P@20
    and 1.4 of MRR on Diginetica in clusters (docs/tried.md)."""
    mine, theirs = json.loads(model.config()), json.loads(old._model.config())
    if any(mine[option] != theirs[option] for option in _OPTIONS_OF_FLOORS):
        return False
    weights = old.weights_
    fitted = [weights[name] for name in ("repeat.floors", "successor.floors") if name in weights]
    if not any((floors > np.finfo(np.float32).min).any() for floors in fitted):
        return False
    known = Ids("warm_start: that model", old.item_ids_).find_in(catalog, "this one") >= 0
    told = len(sessions.timestamps) > 0 and mine["seed"] == theirs["seed"] and known.mean() >= _OF_ONE_CUT
    return not told or old.get_params()["calibration"] == 0


def _signature() -> inspect.Signature:
    """Of __init__, with every option of the library in the place of **options."""
    *fixed, _ = inspect.signature(StampRecommender.__init__).parameters.values()
    model, train = _options("tuned")
    options = {**model, **train}.items()
    return inspect.Signature(
        [*fixed, *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in options)]
    )


StampRecommender.__init__.__signature__ = _signature()  # type: ignore[attr-defined]


def load_model(path: str | os.PathLike[str], *, device: str = "auto", precision: str = "auto") -> StampRecommender:
    """:func:`load` where only a model will do. Raises ValueError for what is none."""
    bundle = _stamp.load_bundle(os.fspath(path), open_device(device, precision))
    return model_of(path, bundle, device, precision)


def _options_of(cluster: dict[str, Any]) -> dict[str, Any]:
    return {**json.loads(cluster["config"]), **json.loads(cluster["train"])}


def load_cluster(
    path: str | os.PathLike[str], cluster: int, *, device: str, precision: str = "auto"
) -> StampRecommender:
    """The model of one cluster of a bundle, which knows the products of that cluster."""
    bundle = _stamp.load_bundle(os.fspath(path), open_device(device, precision))
    [part] = [part for part in bundle.clusters if part["id"] == cluster]
    catalog = _stamp.Catalog(bundle.catalog.kind)
    Ids("the products of the cluster", catalog_ids(bundle.catalog)[part["rows"]]).add_to(catalog)
    recommender = StampRecommender(device=device, precision=precision, **_options_of(part))
    recommender._take(part, catalog, np.asarray(bundle.counts)[part["rows"]])
    return recommender


def model_of(path: str | os.PathLike[str], bundle: _stamp.Bundle, device: str, precision: str) -> StampRecommender:
    clusters = bundle.clusters
    if len(clusters) != 1 or len(clusters[0]["rows"]) != len(bundle.catalog):
        raise ValueError(
            f"load: {os.fspath(path)} holds {len(clusters)} clusters of {len(bundle.catalog)} products, expected one "
            "model that knows them all; open it with stamp.Recommender"
        )
    recommender = StampRecommender(device=device, precision=precision, **_options_of(clusters[0]))
    recommender._open(bundle)
    return recommender
