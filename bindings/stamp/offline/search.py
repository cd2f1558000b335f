"""Tuning on a validation split: which options of a StampRecommender do best, found by Optuna, killed and resumed at will."""

from __future__ import annotations

import contextlib
import json
import math
import numbers
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import _stamp
from ..progress import make_bar
from ..recommenders import StampRecommender, TrainingDiverged
from ..sessions import Sessions
from .tables import Table

Objective = Callable[[StampRecommender, Sessions], float]

_NOT_SEARCHED = {
    "preset": "make one search of each preset",
    "device": "give it to search",
    "precision": "give it to search",
    "monitor": "give it to search",
    "min_history": "it also decides which events are asked about, so values would not compare; give it in options",
    "checkpoint_seconds": "a search writes no checkpoints",
}
_PRUNERS = (True, False, "median", "halving")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training.

    Attributes
    ----------
    number : int
        0 for the first.
    options : dict
        Of those that are searched.
    outcome : str
        "finished"; "pruned", when its epochs fell behind those of others; "diverged"; "failed", out of memory.
    value : float or None
        Of the objective, which only a finished trial has; without one, of the monitor in the best epoch that was.
    best_epoch : int or None
        Of the monitor, 1 for the first.
    epochs : tuple of float
        The monitor on validation after each.
    seconds : float
    reason : str
        Where diverged or failed.
    """

    number: int
    options: dict[str, Any]
    outcome: str
    value: float | None
    best_epoch: int | None
    epochs: tuple[float, ...]
    seconds: float
    reason: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class SearchResult:
    """What :func:`search` found.

    Attributes
    ----------
    trials : list of Trial
    best : Trial or None
        The finished one with the highest value, the first of equals.
    preset : str
    options : dict
        The fixed ones, monitor included.
    space : dict
        Of each searched option the list of choices, or ``{"low": …, "high": …, "log": …}``.
    metric : str
        Name of the values: the monitor, or "objective".
    stopped : {"finished", "interrupted"}
    """

    trials: list[Trial]
    preset: str
    options: dict[str, Any]
    space: dict[str, Any]
    metric: str
    stopped: str

    @property
    def best(self) -> Trial | None:
        finished = [trial for trial in self.trials if trial.outcome == "finished"]
        return max(finished, key=lambda trial: -math.inf if trial.value is None else trial.value, default=None)

    @property
    def best_options(self) -> dict[str, Any]:
        """Options for ``StampRecommender(**best_options)`` to be fitted on all data: those of the best trial, for the
        epochs that were best.

        Raises
        ------
        ValueError
            No trial was finished.
        """
        best = self.best
        if best is None or best.best_epoch is None:
            raise ValueError(f"best_options: none of {len(self.trials)} trials was finished")
        found = {"preset": self.preset, **self.options, **best.options, "epochs": best.best_epoch}
        if "patience" in found:
            found["patience"] = 0  # nothing is held out that could judge
        return found

    def recommender(self, **changes: Any) -> StampRecommender:
        """One with :attr:`best_options`, not fitted: ``result.recommender().fit(everything)`` is the tuned model."""
        return StampRecommender(**{**self.best_options, **changes})

    def table(self) -> Table:
        """A row for each trial: its options, value, best epoch, and the monitor after each epoch."""
        columns = ["trial", *self.space, self.metric, "best epoch", "outcome", "seconds", "by epoch"]
        rows = [
            [t.number, *t.options.values(), t.value, t.best_epoch, t.outcome, t.seconds,
             " ".join(f"{value:.4f}" for value in t.epochs)]
            for t in self.trials
        ]  # fmt: skip
        formats = {name: ".4g" for name, values in self.space.items() if _is_range_of_floats(values)}
        return Table(
            columns,
            rows,
            title=f"{self.preset}, {len(self.trials)} trials{'' if self.stopped == 'finished' else ', ' + self.stopped}",
            notes=[self._summary(), *(f"trial {t.number} {t.outcome}: {t.reason}" for t in self.trials if t.reason)],
            formats={**formats, "seconds": ",.1f"},
        )

    def _summary(self) -> str:
        best = self.best
        if best is None:
            return "No trial was finished."
        return f"Best: trial {best.number}, {self.metric} {best.value:.4f} after epoch {best.best_epoch}."

    def plot(self) -> Any:
        """A figure: values by trial with the best so far, and by each searched option.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        from ..plots import plot_search

        return plot_search(self)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        best = self.best
        return {
            "preset": self.preset, "options": self.options, "space": self.space, "metric": self.metric,
            "stopped": self.stopped, "trials": [asdict(trial) for trial in self.trials],
            "best": None if best is None else asdict(best),
            "best_options": None if best is None else self.best_options,
        }  # fmt: skip

    def __repr__(self) -> str:
        return self.table().to_text()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def search(
    space: Mapping[str, Any],
    train: Sessions,
    *,
    validation: Sessions | float = 0.1,
    preset: str = "official",
    options: Mapping[str, Any] | None = None,
    monitor: str = "hr@20",
    objective: Objective | None = None,
    trials: int = 20,
    storage: str | os.PathLike[str] | None = None,
    prune: bool | str = True,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    progress: bool = True,
) -> SearchResult:
    """Train with one set of options after another, and find those that do best on validation.

    Options are proposed by Optuna's tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter
    Optimization", NeurIPS 2011; Akiba et al., "Optuna", KDD 2019), at random for the first ten trials. Test sessions have
    no place here: the model that is trained with what was found is measured on them, once.

    Parameters
    ----------
    space : mapping of option to values
        Options of :class:`StampRecommender`. Values are a list of choices, ``(low, high)``, both ends included, or
        ``(low, high, "log")``, uniform in the logarithm; of whole numbers where the option is one. As JSON has no tuples,
        ``{"low": …, "high": …, "log": true}`` says the same.
    train : Sessions
    validation : Sessions or float
        Judges every epoch of every trial. A float takes that last share of `train`.
    preset, options
        Where options begin, and those that are the same in all trials.
    monitor : str
        "hr", "mrr" or "ndcg" with @k, on validation: chooses the best epoch of a trial, prunes, and is a trial's value.
    objective : callable, optional
        Of the fitted recommender and the validation sessions, a number that is a trial's value in place of the
        monitor's; higher is better.
    trials : int
        In all, those that `storage` has included.
    storage : path, optional
        SQLite file that keeps all trials. The same call goes on where one was killed; the trial that was under way is
        run again. One search at a time; ``STORAGE.lock`` beside it sees to that.
    prune : bool or {"median", "halving"}
        Stop trials that fall behind: below the median of others after as many epochs, from the sixth trial on (True), or
        by successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020).
    seed : int
        Of what is proposed. Equal calls make equal trials, however often they are killed.
    device, precision
        As of :class:`StampRecommender`.
    progress : bool
        A bar over trials on standard error, and a line for each.

    Returns
    -------
    SearchResult
        Ctrl-C stops cleanly: all trials that were done are there, and `stopped` is "interrupted".

    Raises
    ------
    ValueError
        An option that is unknown, fixed and searched, or cannot be searched; values that it cannot have; no example to
        learn from or to judge by; `storage` of other data, options or space, or that is no SQLite file.
    RuntimeError
        The device cannot be had, or another search is using `storage`.
    ImportError
        Optuna is not installed.

    Examples
    --------
    >>> import stamp.offline
    >>> shop = stamp.datasets.synthetic_shop(sessions=600, products=60, seed=1)
    >>> space = {"dim": [4, 8], "learning_rate": (1e-3, 1e-1, "log")}
    >>> result = stamp.offline.search(space, shop.sessions, options={"epochs": 2}, trials=3, progress=False)
    >>> len(result.trials), sorted(result.best.options)
    (3, ['dim', 'learning_rate'])
    >>> model = result.recommender().fit(shop.sessions, progress=False)
    """
    if not isinstance(train, Sessions):
        raise ValueError(f"search: train is {type(train).__name__}, expected stamp.Sessions (see Sessions.from_frame)")
    if isinstance(trials, bool) or not isinstance(trials, numbers.Integral) or trials < 1:
        raise ValueError(f"search: trials is {trials!r}, expected a whole number of 1 or more")
    if prune not in _PRUNERS:
        raise ValueError(f"search: prune is {prune!r}, expected True, False, 'median' or 'halving'")
    if seed < 0:
        raise ValueError(f"search: seed is {seed}, expected 0 or more")
    if options is not None and "monitor" in options:
        raise ValueError("search: options has 'monitor'; give it to search")
    fixed = {**(options or {}), "monitor": monitor}
    base = StampRecommender(preset=preset, device=device, precision=precision, **fixed)
    values = _check_space(space, base, fixed)
    if isinstance(validation, numbers.Real) and not isinstance(validation, bool):
        train, validation = train.split_last(float(validation))
    if not isinstance(validation, Sessions):
        raise ValueError(
            f"search: validation is {validation!r}, expected stamp.Sessions or the share of the last sessions"
        )
    _stamp.open_device(device, precision)  # or it cannot be had, which no trial can help
    optuna = _optuna()
    elsewhere = {*values, "preset", "device", "precision", "checkpoint_seconds"}
    identity = {
        "data": f"{train._core.fingerprint()} {validation._core.fingerprint()}",
        "preset": preset,
        "options": {name: value for name, value in base.get_params().items() if name not in elsewhere},
        "space": values,
        "objective": None if objective is None else getattr(objective, "__qualname__", type(objective).__qualname__),
    }
    metric = monitor if objective is None else "objective"
    with _quiet(optuna), _study(optuna, storage, prune, identity) as study:
        run = _Run(optuna, study, values, base, train, validation, objective, bool(prune), seed)
        bar = make_bar(int(trials), "search", "trials") if progress else None
        stopped = "finished"
        try:
            if bar is not None:
                bar.update(min(len(run.settled()), trials))
            while len(run.settled()) < trials:
                if not run.next():
                    stopped = "interrupted"
                    break
                if bar is not None:
                    bar.write(_line(run.settled()[-1], metric), file=sys.stderr)
                    bar.update(1)
        except KeyboardInterrupt:
            stopped = "interrupted"
        finally:
            run.give_up()
            if bar is not None:
                bar.close()
        return SearchResult(
            trials=run.settled(), preset=preset, options=fixed, space=values, metric=metric, stopped=stopped
        )


class _Run:
    """The trials of one study, from one to the next."""

    def __init__(self, optuna: Any, study: Any, space: dict[str, Any], base: StampRecommender, train: Sessions,
                 validation: Sessions, objective: Objective | None, prune: bool, seed: int):  # fmt: skip
        self._optuna, self._study, self._space, self._base = optuna, study, space, base
        self._train, self._validation, self._objective = train, validation, objective
        self._prune, self._seed = prune, seed
        self._distributions = {name: _distribution(optuna, values) for name, values in space.items()}
        self.give_up()  # what a kill has left under way

    def give_up(self) -> None:
        """Trials under way are as if they had never begun."""
        states = self._optuna.trial.TrialState
        for trial in self._study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            self._study.tell(trial.number, state=states.FAIL)

    def settled(self) -> list[Trial]:
        """Trials that have an outcome, in order; one that was killed has none."""
        states = self._optuna.trial.TrialState
        found: list[Trial] = []
        for t in self._study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED, states.FAIL)):
            outcome = t.user_attrs.get("outcome")
            if t.state == states.FAIL and outcome != "failed":
                continue
            epochs = tuple(value for _, value in sorted(t.intermediate_values.items()))
            found.append(Trial(
                number=len(found),
                options={name: t.params[name] for name in self._space},
                outcome=outcome,
                value=t.value if t.state == states.COMPLETE else None if self._objective else max(epochs, default=None),
                best_epoch=epochs.index(max(epochs)) + 1 if epochs else None,
                epochs=epochs,
                seconds=t.duration.total_seconds(),
                reason=t.user_attrs.get("reason", ""),
            ))  # fmt: skip
        return found

    def next(self) -> bool:
        """Run one trial; False where Ctrl-C ended it.

        A proposal follows from the trials before it and the seed, not from how often the search was killed: random numbers
        begin anew for each.
        """
        states = self._optuna.trial.TrialState
        entropy = np.random.SeedSequence([self._seed, len(self.settled())])
        self._study.sampler = self._optuna.samplers.TPESampler(seed=int(entropy.generate_state(1)[0]))
        trial = self._study.ask(self._distributions)
        model = StampRecommender(**{**self._base.get_params(), **trial.params})
        epochs, values, pruned = model.get_params()["epochs"], [], False

        def on_epoch(epoch: dict[str, Any]) -> bool:
            nonlocal pruned
            values.append(_value_of(model.get_params()["monitor"], epoch["validation"]))
            trial.report(values[-1], epoch["epoch"])
            pruned = self._prune and epoch["epoch"] < epochs and trial.should_prune()
            return not pruned

        def settle(outcome: str, state: Any, value: float | None = None, reason: object = "") -> bool:
            trial.set_user_attr("outcome", outcome)
            if reason:
                trial.set_user_attr("reason", str(reason))
            self._study.tell(trial, value, state=state)
            return True

        try:
            model.fit(self._train, validation=self._validation, progress=False, on_epoch=on_epoch)
        except TrainingDiverged as error:
            return settle("diverged", states.PRUNED, reason=error)  # the sampler learns that it is bad
        except (RuntimeError, MemoryError) as error:
            return settle("failed", states.FAIL, reason=error)
        if pruned:
            return settle("pruned", states.PRUNED)
        if model.report_["stopped"] == "interrupted":
            return False
        value = max(values)
        if self._objective is not None:
            value = float(self._objective(model, self._validation))
            if not math.isfinite(value):
                raise ValueError(f"search: objective is {value} with {trial.params}, expected a number")
        return settle("finished", states.COMPLETE, value)


def _value_of(monitor: str, metrics: dict[str, Any]) -> float:
    name, k = monitor.split("@")
    return metrics["at"][k][name]


def _line(trial: Trial, metric: str) -> str:
    chosen = [f"{n}={format(v, '.4g') if isinstance(v, float) else v}" for n, v in trial.options.items()]
    value = "" if trial.value is None else f", {metric} {trial.value:.4f}"
    return f"trial {trial.number} {trial.outcome}, epochs {len(trial.epochs)}{value}: {', '.join(chosen)}"


def _is_range_of_floats(values: Any) -> bool:
    return isinstance(values, dict) and isinstance(values["low"], float)


def _check_space(space: Mapping[str, Any], base: StampRecommender, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of choices and {"low", "high", "log"}, of values that each option can have."""
    if not isinstance(space, Mapping) or not space:
        raise ValueError(f"search: space is {space!r}, expected a mapping of options to their values, one or more")
    params = base.get_params()
    found: dict[str, Any] = {}
    for name, given in space.items():
        what = f"search: space['{name}']"
        if name in _NOT_SEARCHED:
            raise ValueError(f"{what} cannot be searched: {_NOT_SEARCHED[name]}")
        if name not in params:
            known = ", ".join(known for known in params if known not in _NOT_SEARCHED)
            raise ValueError(f"{what}: unknown option, expected one of {known}")
        if name in fixed:
            raise ValueError(f"{what}: options fixes it to {fixed[name]!r}; leave out one of the two")
        is_list = isinstance(given, (list, np.ndarray))
        values = _choices(what, given) if is_list else _range(what, given, params[name])
        ends = values if isinstance(values, list) else [values["low"], values["high"]]
        for value in ends:
            try:
                StampRecommender(**{**params, name: value})
            except ValueError as error:
                raise ValueError(f"{what} has {value!r}: {error}") from None
        found[name] = values
    return found


def _choices(what: str, given: Any) -> list[Any]:
    choices = [value.item() if isinstance(value, np.generic) else value for value in given]
    if not choices or any(a == b for i, a in enumerate(choices) for b in choices[:i]):
        raise ValueError(f"{what} is {choices!r}, expected one choice or more, each once")
    return choices


def _range(what: str, given: Any, default: Any) -> dict[str, Any]:
    if isinstance(given, Mapping) and {"low", "high"} <= set(given) <= {"low", "high", "log"}:
        low, high, log = given["low"], given["high"], given.get("log", False)
    elif isinstance(given, tuple) and (len(given) == 2 or (len(given) == 3 and given[2] == "log")):
        low, high, log = given[0], given[1], len(given) == 3
    else:
        raise ValueError(f"{what} is {given!r}, expected a list of choices, (low, high) or (low, high, 'log')")
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        raise ValueError(f"{what} is {given!r}, expected a list of choices, as {default!r} is no number")
    kind, wanted = (numbers.Integral, "whole numbers") if isinstance(default, int) else (numbers.Real, "numbers")
    if any(isinstance(end, bool) or not isinstance(end, kind) or not math.isfinite(end) for end in (low, high)):
        raise ValueError(f"{what} is {given!r}, expected {wanted}")
    if not isinstance(log, bool):
        raise ValueError(f"{what}: log is {log!r}, expected true or false")
    if low >= high or (log and low <= 0):
        raise ValueError(f"{what} is {given!r}, expected low below high{', and above 0 for log' if log else ''}")
    return {"low": type(default)(low), "high": type(default)(high), "log": log}


def _distribution(optuna: Any, values: Any) -> Any:
    if isinstance(values, list):
        return optuna.distributions.CategoricalDistribution(values)
    kind = "FloatDistribution" if _is_range_of_floats(values) else "IntDistribution"
    return getattr(optuna.distributions, kind)(**values)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError("search needs Optuna: pip install 'stamp[search]'") from error
    return optuna


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Without what Optuna says of itself on standard error."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextlib.contextmanager
def _study(
    optuna: Any, storage: str | os.PathLike[str] | None, prune: bool | str, identity: dict[str, Any]
) -> Iterator[Any]:
    """The study that `storage` holds, new where it holds none, and nobody else's meanwhile."""
    pruners = optuna.pruners
    pruner = pruners.SuccessiveHalvingPruner() if prune == "halving" else pruners.MedianPruner()
    if storage is None:
        yield optuna.create_study(direction="maximize", pruner=pruner)
        return
    path = pathlib.Path(storage).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        with open(path, "rb") as file:
            begin = file.read(16)
        if begin and begin != b"SQLite format 3\0":
            raise ValueError(f"search: storage {path} is no SQLite file; name another")
    with _alone(path):
        database = optuna.storages.RDBStorage(f"sqlite:///{path}")
        try:
            study = optuna.create_study(
                storage=database, study_name="stamp", load_if_exists=True, direction="maximize", pruner=pruner
            )
            _check_identity(path, study, json.loads(json.dumps(identity)))
            yield study
        finally:
            database.remove_session()
            database.engine.dispose()


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[None]:
    """While no other process searches there: its trial under way would be taken for one that was killed."""
    import fcntl

    with open(f"{path}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"search: another search is using storage {path}; wait for it, or name another") from None
        yield


def _check_identity(path: pathlib.Path, study: Any, identity: dict[str, Any]) -> None:
    stored = study.user_attrs.get("search")
    if stored is None:
        if study.get_trials(deepcopy=False):
            raise ValueError(f"search: storage {path} holds trials of something else; name another file")
        study.set_user_attr("search", identity)
        return
    for what, asked in identity.items():
        if stored[what] == asked:
            continue
        if isinstance(asked, dict):
            names = sorted(name for name in {*asked, *stored[what]} if asked.get(name) != stored[what].get(name))
            differs = ", ".join(f"{n} was {stored[what].get(n)!r} and is {asked.get(n)!r}" for n in names)
        else:
            differs = "the sessions differ" if what == "data" else f"was {stored[what]!r} and is {asked!r}"
        raise ValueError(f"search: storage {path} holds a search of other {what}: {differs}; name another file")
