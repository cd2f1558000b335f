"""A store whose every look and write can be seen, and used to do something else first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from stamp.store import Store

_FOLDER = ("open", "publish", "put", "put_copy", "remove", "entries", "list", "names", "modified", "size", "read_text")
_OBJECTS = ("read", "create", "swap")


class _Seen:
    def __init__(self, inner, names, before: Callable[[str, str], object]):
        self._inner, self._names, self._before = inner, names, before

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if name not in self._names:
            return found

        def call(*args, **options):
            self._before(name, str(args[0]) if args else "")
            return found(*args, **options)

        return call


def seen(url: str, before: Callable[[str, str], object], **options) -> Store:
    """`before` is called with the name of what is done next, and its path."""
    store = Store(url, **options)
    store.place.objects = _Seen(store.place.objects, _OBJECTS, before)
    store.place.folder = _Seen(store.place.folder, _FOLDER, before)
    return store


class Once:
    """Does something before the step of a number, once. What it does is not seen."""

    def __init__(self, step: int, act: Callable[[], object]):
        self.steps, self.reached, self._step, self._act = 0, False, step, act

    def __call__(self, name: str, path: str) -> None:
        self.steps += 1
        if self.steps == self._step and not self.reached:
            self.reached = True
            self._act()


@contextlib.contextmanager
def one_thread(monkeypatch):
    """Steps come in the same order each time."""
    with monkeypatch.context() as patched:
        patched.setattr("stamp.store.place._THREADS", 1)
        yield
