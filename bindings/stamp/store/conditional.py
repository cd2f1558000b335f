"""One small object, written only if it is still what was read: what all that changes in a store changes by.

The methods of each class raise the errors of its system as they come; :class:`Place` names them.
"""

from __future__ import annotations

import abc
import contextlib
import fcntl
import hashlib
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Protocol

from ..base.files import write_text
from ..base.folders import Folder
from .clouds import GCSObjects, S3Objects

_LOCK = ".lock"  # in each folder that has such objects


class Objects(Protocol):
    """Texts at paths. What was read has a version, which no other state of the object has."""

    def read(self, path: str) -> tuple[str, str] | None:
        """Text and version, None where there is none."""

    def create(self, path: str, text: str) -> bool:
        """Whether it was written: there was none."""

    def swap(self, path: str, text: str, version: str) -> bool:
        """Whether it was written: it still had that version."""


def open_objects(folder: Folder) -> Objects:
    """Those of a folder. Where its system has no conditional writes they can be read only."""
    if folder.scheme == "file":
        return _LocalObjects(folder.root)
    if folder.scheme == "memory":
        return _MemoryObjects(folder)
    if folder.scheme in ("gs", "gcs"):
        return GCSObjects(folder.root)
    if folder.scheme in ("s3", "s3a"):
        return S3Objects(folder.system, folder.root)
    return _ReadOnlyObjects(folder)


def _version(text: str) -> str:
    """Writers put an id of their own into each text, so none comes twice."""
    return hashlib.sha256(text.encode()).hexdigest()


class _LockedObjects(abc.ABC):
    """Where a lock keeps writers apart: a look, and then a write."""

    def create(self, path: str, text: str) -> bool:
        return self._write(path, text, None)

    def swap(self, path: str, text: str, version: str) -> bool:
        return self._write(path, text, version)

    @abc.abstractmethod
    def _write(self, path: str, text: str, version: str | None) -> bool:
        """If what is there is of this version; None: if nothing is."""


class _LocalObjects(_LockedObjects):
    """A lock of the folder while it is looked at and written, which ends with the process that holds it. Readers need
    none: a file is renamed into its place."""

    def __init__(self, root: str):
        self._root = pathlib.Path(root)

    def read(self, path: str) -> tuple[str, str] | None:
        try:
            text = (self._root / path).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return text, _version(text)

    def _write(self, path: str, text: str, version: str | None) -> bool:
        with self._locked((self._root / path).parent):
            there = self.read(path)
            if (there[1] if there else None) != version:
                return False
            write_text(self._root / path, text)
            return True

    @contextlib.contextmanager
    def _locked(self, folder: pathlib.Path) -> Iterator[None]:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


class _MemoryObjects(_LockedObjects):
    """Of one process."""

    _lock = threading.Lock()

    def __init__(self, folder: Folder):
        self._folder = folder

    def read(self, path: str) -> tuple[str, str] | None:
        try:
            text = self._folder.system.cat_file(f"{self._folder.root}/{path}").decode()
        except FileNotFoundError:
            return None
        return text, _version(text)

    def _write(self, path: str, text: str, version: str | None) -> bool:
        with self._lock:
            there = self.read(path)
            if (there[1] if there else None) != version:
                return False
            self._folder.publish(path, text)
            return True


class _ReadOnlyObjects:
    def __init__(self, folder: Folder):
        self._folder = folder

    def read(self, path: str) -> tuple[str, str] | None:
        if self._folder.size(path) is None:
            return None
        text = self._folder.read_text(path)
        return text, _version(text)

    def create(self, path: str, text: str) -> bool:
        raise self._refused()

    def swap(self, path: str, text: str, version: str) -> bool:
        raise self._refused()

    def _refused(self) -> RuntimeError:
        return RuntimeError(
            f"{self._folder.scheme}:// has no conditional writes, without which two writers could both win; keep the store "
            "in a local folder, gs:// or s3://"
        )
