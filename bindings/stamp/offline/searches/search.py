"""Tuning on a validation split: which options of a StampRecommender do best, found by Optuna, resumed after a kill."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import _stamp
from ...base.checks import whole_number
from ...base.progress import make_bar
from ...base.streams import STDERR
from ...data.sessions import Sessions
from ...models.stamp_recommender import StampRecommender, TrainingDiverged
from .results import SearchResult
from .space import check_space, is_range_of_floats
from .studies import check_storage, import_optuna, open_study, quiet
from .trials import Trial

Objective = Callable[[StampRecommender, Sessions], float]

_PRUNERS = (True, False, "median", "halving")


def search(
    space: Mapping[str, Any],
    train: Sessions,
    *,
    validation: Sessions | float = 0.1,
    preset: str = "tuned",
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

    Optuna's tree-structured Parzen estimator proposes options (Bergstra et al., "Algorithms for Hyper-Parameter
    Optimization", NeurIPS 2011; Akiba et al., "Optuna", KDD 2019), at random for the first ten trials. Test sessions
    have no place here: the model that is trained with what was found is measured on them, once.

    Parameters
    ----------
    space : mapping of option to values
        Options of :class:`StampRecommender`. Values are a list of choices, ``(low, high)``, both ends included, or
        ``(low, high, "log")``, uniform in the logarithm; of whole numbers where the option is one. As JSON has no
        tuples, ``{"low": …, "high": …, "log": true}`` says the same.
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
        Stop trials that fall behind: below the median of others after as many epochs, from the sixth trial on (True,
        "median"), or by successive halving (Li et al., "A System for Massively Parallel Hyperparameter Tuning",
        MLSys 2020).
    seed : int
        Of what is proposed. On a CPU equal calls make equal trials, however often they are killed ("halving" also
        remembers the trial that a kill has ended).
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
        The device cannot be had, or `storage` cannot be written, or another search is using it.
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
    if storage is not None:
        check_storage(storage)
    trials = whole_number("search: trials", trials, least=1)
    if prune not in _PRUNERS:
        raise ValueError(f"search: prune is {prune!r}, expected True, False, 'median' or 'halving'")
    whole_number("search: seed", seed, least=0)
    if options is not None and "monitor" in options:
        raise ValueError("search: options has 'monitor'; give it to search")
    fixed = {**(options or {}), "monitor": monitor}
    base = StampRecommender(preset=preset, device=device, precision=precision, **fixed)
    values = check_space(space, base, fixed)
    if isinstance(validation, numbers.Real) and not isinstance(validation, bool):
        train, validation = train.split_last(float(validation))
    if not isinstance(validation, Sessions):
        raise ValueError(
            f"search: validation is {validation!r}, expected stamp.Sessions or the share of the last sessions"
        )
    _stamp.open_device(device, precision)  # or it cannot be had, which no trial can help
    optuna = import_optuna()
    elsewhere = {*values, "preset", "device", "precision", "checkpoint_seconds"}
    identity = {
        "data": f"{train._core.fingerprint()} {validation._core.fingerprint()}",
        "preset": preset,
        "space": values,
        "options": {name: value for name, value in base.get_params().items() if name not in elsewhere},
        "objective": None if objective is None else getattr(objective, "__qualname__", type(objective).__qualname__),
    }
    metric = monitor if objective is None else "objective"
    with quiet(optuna), open_study(optuna, storage, prune, identity) as study:
        run = _Run(optuna, study, values, base, train, validation, objective, bool(prune), seed)
        bar = make_bar(trials, "search", "trials") if progress else None
        stopped = "finished"
        try:
            if bar is not None:
                bar.update(min(len(run.settled()), trials))
            while len(run.settled()) < trials:
                if not run.next():
                    stopped = "interrupted"
                    break
                if bar is not None:
                    bar.write(_line(run.settled()[-1], metric), file=STDERR)
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

        A proposal follows from the trials before it and the seed, not from how often the search was killed: random
        numbers begin anew for each.
        """
        states = self._optuna.trial.TrialState
        entropy = np.random.SeedSequence([self._seed, len(self.settled())])
        self._study.sampler = self._optuna.samplers.TPESampler(seed=int(entropy.generate_state(1)[0]))
        trial = self._study.ask(self._distributions)
        model = StampRecommender(**{**self._base.get_params(), **trial.params})
        epochs, pruned = model.get_params()["epochs"], False
        values: list[float] = []

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


def _distribution(optuna: Any, values: Any) -> Any:
    if isinstance(values, list):
        return optuna.distributions.CategoricalDistribution(values)
    kind = "FloatDistribution" if is_range_of_floats(values) else "IntDistribution"
    return getattr(optuna.distributions, kind)(**values)
