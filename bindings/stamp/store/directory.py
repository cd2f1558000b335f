"""The directory that a server watches (docs/server.md): releases that are whole, and pointers to them.

A release comes aside and is renamed; a pointer is written aside and renamed. So whoever looks sees whole ones, however this
ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from ..base.files import read_text, write_text
from .fetch import Fetched, fetch_release, is_content
from .place import Place
from .releases import DESCRIPTION, Release

CURRENT, CANDIDATE = "current.json", "candidate.json"
_LOCK = ".sync.lock"
_PART, _OLD = ".sync-part", ".sync-old"  # releases that come, and go
_LITTER = re.compile(rf"\..*({_PART}|{_OLD})")


class ServedDirectory:
    """What servers of one machine, or one volume, take their releases from.

    Raises
    ------
    RuntimeError
        It cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path)
        self._releases = self.path / "releases"
        try:
            self._releases.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RuntimeError(f"sync: cannot make {self._releases}: {error.strerror}") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Raises RuntimeError while another process holds it."""
        handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(f"sync: another one keeps {self.path}; end it, or give another --to") from None
            yield
        finally:
            os.close(handle)

    def release(self, name: str) -> pathlib.Path:
        return self._releases / name

    def pointer(self, file: str) -> Mapping[str, Any] | None:
        """What `current.json` or `candidate.json` says; None where there is none that can be read."""
        found = _json(self.path / file)
        return found if isinstance(found, dict) else None

    def point(self, file: str, release: Release, since: str) -> bool:
        """Whether it did not say so before."""
        contents = {"release": release.name, "digest": release.digest, "since": since}
        if self.pointer(file) == contents:
            return False
        write_text(self.path / file, json.dumps(contents) + "\n")
        os.utime(self.release(release.name) / DESCRIPTION)  # :meth:`tidy` keeps what was pointed at last
        return True

    def unpoint(self, file: str) -> bool:
        """Whether there was one."""
        there = (self.path / file).exists()
        (self.path / file).unlink(missing_ok=True)
        return there

    def holds(self, release: Release) -> bool:
        """Whether it is here, by the sizes of its files."""
        folder = self.release(release.name)
        return (_described(folder) or {}).get("digest") == release.digest and all(
            _size(folder / path) == file.bytes for path, file in release.files.items()
        )

    def bring(self, place: Place, release: Release) -> Fetched:
        """Verified by its hashes, what is here of it and of other releases taken from there.

        Raises
        ------
        ValueError
            Something else is in its place.
        RuntimeError
            A blob is missing or altered, or a file cannot be written.
        """
        folder = self.release(release.name)
        described = _described(folder)
        if described is None and folder.exists():
            raise ValueError(f"sync: {folder} is there, and was not brought by a sync: move it away")
        if described is not None and self.holds(release):
            if all(is_content(folder / path, file) for path, file in release.files.items()):
                return Fetched(0, 0, len(release.files), release.bytes)
        aside = self._releases / f".{release.name}{_PART}"
        fetched = fetch_release(place, release, aside, self._contents())
        try:
            if described is not None:  # damaged, or of another content
                self._move_aside(release.name)
            os.rename(aside, folder)
        except OSError as error:
            raise RuntimeError(f"sync: cannot write {folder}: {error.strerror}") from error
        return fetched

    def tidy(self, keep: int) -> tuple[str, ...]:
        """Remove what was begun and not ended, and releases other than the candidate and the `keep` that were current last.
        What no sync brought is left. Returns the names of releases that are gone."""
        for path in self._releases.iterdir():
            if _LITTER.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        candidate = (self.pointer(CANDIDATE) or {}).get("release")
        ours = [path for path in self._releases.iterdir() if _described(path) is not None and path.name != candidate]
        ours.sort(key=lambda path: (path / DESCRIPTION).stat().st_mtime_ns, reverse=True)
        gone = tuple(sorted(path.name for path in ours[keep:]))
        for name in gone:
            self._move_aside(name)
        return gone

    def _move_aside(self, name: str) -> None:
        """And remove: nobody sees half of it."""
        old = self._releases / f".{name}{_OLD}"
        shutil.rmtree(old, ignore_errors=True)
        os.rename(self.release(name), old)
        shutil.rmtree(old, ignore_errors=True)

    def _contents(self) -> dict[str, pathlib.Path]:
        """Files of releases that are here by what they should hold."""
        found = {}
        for folder in self._releases.iterdir():
            for path, file in (_described(folder) or {}).get("files", {}).items():
                if isinstance(file, dict):
                    found[str(file.get("sha256"))] = folder / path
        return found


def _described(folder: pathlib.Path) -> dict[str, Any] | None:
    """The release.json that a sync wrote, None where there is none."""
    found = _json(folder / DESCRIPTION)
    is_ours = isinstance(found, dict) and found.get("release") == folder.name and isinstance(found.get("files"), dict)
    return found if is_ours else None


def _json(path: pathlib.Path) -> Any:
    try:
        return json.loads(read_text("sync:", path))
    except ValueError:
        return None


def _size(path: pathlib.Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
