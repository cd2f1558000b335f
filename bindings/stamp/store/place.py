"""Where a store lies: its folder, its objects that are written conditionally, and whether it is a store at all."""

from __future__ import annotations

import functools
import getpass
import os
import re
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ..base.folders import Folder
from .conditional import Objects, open_objects
from .documents import document, parsed

STORE = "store.json"
FORMAT = 1
BLOBS, RELEASES, ALIASES, RECORDS, LEASES = "blobs", "releases", "aliases", "records", "leases"
GC = "gc.json"
BLOB_NAME = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_OURS = {STORE, BLOBS, RELEASES, ALIASES, RECORDS, LEASES, GC}
_THREADS = 8  # what waits for a bucket takes no core

T = TypeVar("T")
R = TypeVar("R")


class Place:
    """What the parts of a store share. Errors name the file, and what was done with it."""

    def __init__(self, url: str | os.PathLike[str]):
        self.folder = Folder(url)

    @property
    def url(self) -> str:
        return self.folder.url

    @functools.cached_property
    def objects(self) -> Objects:
        return open_objects(self.folder)

    def read(self, path: str) -> tuple[str, str] | None:
        """Text and version of an object, None where there is none."""
        with self.folder.errors_named("read", path):
            return self.objects.read(path)

    def create(self, path: str, text: str) -> bool:
        """Whether it was written: there was none. A writer whose answer was lost may be told that there is one."""
        with self.folder.errors_named("write", path):
            return self.objects.create(path, text)

    def swap(self, path: str, text: str, version: str) -> bool:
        """Whether it was written: it still had that version. As of :meth:`create` for lost answers."""
        with self.folder.errors_named("write", path):
            return self.objects.swap(path, text, version)

    def require_store(self) -> None:
        """Raises ValueError where something else lies there, or a store of a newer library. An empty place is an empty
        store."""
        if (found := self.read(STORE)) is not None:
            parsed(self.folder.place(STORE), found[0], FORMAT, "store")
        elif others := [name for name in self.folder.names() if name not in _OURS]:
            raise ValueError(
                f"{self.url} is no store: it holds {', '.join(others[:3])}{', …' if len(others) > 3 else ''} and no {STORE}; "
                "expected a store, or a place with nothing in it"
            )

    def require_made(self, call: str) -> None:
        """As :meth:`require_store`, and raises ValueError, which begins with `call`, where nothing was ever uploaded."""
        self.require_store()
        if self.read(STORE) is None:
            raise ValueError(
                f"{call}: {self.url} is empty; upload a bundle first, or look whether that is where the store is"
            )

    def make_store(self) -> None:
        """Make an empty place a store. As :meth:`require_store`, and raises RuntimeError where conditions of writes are not
        heeded: some servers that speak S3 do not, and both of two writers would win."""
        self.require_store()
        if self.read(STORE) is None and self.create(STORE, document(FORMAT, {})):
            if self.create(STORE, document(FORMAT, {})):
                self.folder.remove(STORE)
                raise RuntimeError(
                    f"{self.url} does not heed conditions: it wrote {STORE} twice, which was to be written only if it was not "
                    "there; keep the store where conditional writes are"
                )


def require_name(what: str, name: str) -> str:
    """Raises ValueError, which begins with `what`, for what can be the name of no release and no alias."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{what}: {name!r} is no name; expected 1 to 100 letters, digits, dots, dashes and underscores, the first one a "
            "letter or a digit"
        )
    return name


def whoami() -> str:
    """Whom others are told of."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def side_by_side(call: Callable[[T], R], values: Iterable[T]) -> list[R]:
    """Results in the order of the values, made by a few threads; the first error ends it, what is under way included."""
    with ThreadPoolExecutor(_THREADS) as pool:
        futures = [pool.submit(call, value) for value in values]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
