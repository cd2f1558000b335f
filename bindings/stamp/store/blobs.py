"""Blobs: contents by their SHA-256. Verified when they are written, and when they are read."""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Callable

from ..base.folders import Folder
from .place import BLOBS, Place
from .releases import StoredFile

_PIECE = 1 << 20
_BLOCK = 4 << 20  # bytes of a request, of which each thread holds two


def blob_path(sha256: str) -> str:
    return f"{BLOBS}/{sha256}"


def hashed_there(folder: Folder, path: str, use: Callable[[bytes], object] | None = None) -> StoredFile:
    """What a file of the store holds, handed to `use` in pieces. Raises ValueError where there is none, RuntimeError where
    it cannot be read."""
    digest, size = hashlib.sha256(), 0
    with folder.open(path, block=_BLOCK) as file:
        while True:
            with folder.errors_named("read", path):
                piece = file.read(_PIECE)
            if not piece:
                return StoredFile(digest.hexdigest(), size)
            digest.update(piece)
            size += len(piece)
            if use is not None:
                use(piece)


def store_file(place: Place, path: str, source: pathlib.Path, file: StoredFile) -> None:
    """Write a local file, and read back what the store has. Raises RuntimeError where that is something else; it is removed
    then."""
    place.folder.put_copy(path, source)
    if hashed_there(place.folder, path) != file:
        place.folder.remove(path)
        raise RuntimeError(
            f"{place.folder.place(path)} is not what {source} held when it was looked at: that was changed meanwhile, or was "
            "altered on its way; upload again"
        )


def fetch_blob(place: Place, file: StoredFile, to: pathlib.Path, of: str) -> None:
    """:func:`fetch_file` of a blob."""
    fetch_file(place, blob_path(file.sha256), file, to, of)


def fetch_file(place: Place, path: str, file: StoredFile, to: pathlib.Path, of: str) -> None:
    """Into a new local file, flushed to disk. Raises RuntimeError, which begins with `of`, where it is missing or altered."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with open(to, "wb") as out:
        try:
            found = hashed_there(place.folder, path, out.write)
        except ValueError as error:
            raise RuntimeError(f"{of}: {place.folder.place(path)} is missing; {_REPAIR}") from error
        out.flush()
        os.fsync(out.fileno())
    if found != file:
        raise RuntimeError(f"{of}: {place.folder.place(path)} was altered: it holds {found.sha256}; {_REPAIR}")


_REPAIR = "see stamp store verify, remove it if it is there, and upload the bundle again"
