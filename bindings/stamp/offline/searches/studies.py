"""The Optuna study of a search: opened, checked, and nobody else's meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from ...base.extras import import_extra
from ...base.files import check_file


def import_optuna() -> Any:
    return import_extra("optuna", purpose="search", extra="search")


@contextlib.contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Without what Optuna says of itself on standard error."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


@contextlib.contextmanager
def open_study(
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
    with _alone(path):
        # Who looks at the file meanwhile, a dashboard say, delays a search and does not end it.
        patient = {"connect_args": {"timeout": 60}}  # seconds
        database = optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs=patient)
        try:
            study = optuna.create_study(
                storage=database, study_name="stamp", load_if_exists=True, direction="maximize", pruner=pruner
            )
            _check_identity(path, study, json.loads(json.dumps(identity)))
            yield study
        finally:
            database.remove_session()
            database.engine.dispose()


def check_storage(path: str | os.PathLike[str]) -> None:
    """Raises RuntimeError where no file can be written, ValueError where one stands that SQLite has not made."""
    check_file(path)
    if os.path.exists(path):
        with open(path, "rb") as file:
            begin = file.read(16)
        if begin and begin != b"SQLite format 3\0":
            raise ValueError(f"search: storage {os.fspath(path)} is no SQLite file; name another")


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[None]:
    """While no other process searches there: its trial under way would be taken for one that was killed."""
    import fcntl

    with open(f"{path}.lock", "a") as file:  # which may be a file of somebody's
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"search: another search is using storage {path}; wait, or name another") from None
        yield


def _check_identity(path: pathlib.Path, study: Any, identity: dict[str, Any]) -> None:
    stored = study.user_attrs.get("search")
    if stored is None:
        if study.get_trials(deepcopy=False):
            raise ValueError(f"search: storage {path} holds trials of something else; name another file")
        study.set_user_attr("search", identity)
        return
    for what, asked in identity.items():
        there = stored[what]
        if there == asked:
            continue
        if isinstance(asked, dict):
            names = sorted(name for name in {*asked, *there} if asked.get(name) != there.get(name))
            differs = ", ".join(f"{name} was {there.get(name)!r} and is {asked.get(name)!r}" for name in names)
        else:
            differs = "other sessions" if what == "data" else f"it was {there!r} and is {asked!r}"
        raise ValueError(f"search: storage {path} holds a search that differs in {what} ({differs}); name another file")
