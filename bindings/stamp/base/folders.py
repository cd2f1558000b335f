"""A folder, here or in an object store: where prepared data and stores lie."""

from __future__ import annotations

import contextlib
import datetime
import errno
import math
import os
import pathlib
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

from .extras import DISTRIBUTION, import_extra
from .files import write_text

_LOCAL = ("file", "local")  # schemes
_EXTRAS = {
    "gs": "gcs",
    "gcs": "gcs",
    "s3": "s3",
    "s3a": "s3",
}  # what brings the packages of a scheme; else "prepare" has fsspec


def is_url(data: str) -> bool:
    """Whether it names a scheme, as gs://bucket/prepared does."""
    return "://" in data


class Entry(NamedTuple):
    """A file of a folder."""

    bytes: int
    modified: float  # seconds since 1970 by the clock of what holds the folder; NaN where it does not say


class Folder:
    """A folder at a local path or at any URL that fsspec has a file system for. Paths are below it, with slashes.

    Attributes
    ----------
    url : str
        As it was given, without slashes at its end.
    scheme : str
        "file" for local paths, else as in the URL.
    root : str
        The local path, or bucket and path in it.
    system : fsspec file system, or None
        None for local paths.

    Raises
    ------
    ImportError
        fsspec, or the package that it reads this scheme with, is missing; the message names the URL.
    ValueError
        No file system is of this scheme.
    """

    def __init__(self, url: str | os.PathLike[str]):
        given = os.fspath(url)
        self.url = given.rstrip("/") or "/"
        scheme, sign, rest = given.partition("://")
        local = not sign or scheme in _LOCAL
        self._files = _Local(rest if sign else given) if local else _Remote(given)
        self.scheme = "file" if local else scheme
        self.root: str = self._files.root
        self.system: Any = self._files.system

    @property
    def local(self) -> str | None:
        """The path of a folder that is here; None at a URL."""
        return self._files.readable("") if isinstance(self._files, _Local) else None

    def place(self, path: str) -> str:
        """What messages call a file."""
        return f"{self.url.rstrip('/')}/{path}"

    def is_at(self, other: Folder) -> bool:
        """Whether both are the same folder."""
        return self._files.place == other._files.place

    def readable(self, path: str) -> str:
        """What engines read a file by: a local path, or a URL."""
        return self._files.readable(path)

    def size(self, path: str) -> int | None:
        """Bytes of a file, None where there is none. Raises RuntimeError where that cannot be told."""
        with self.errors_named("look for", path):
            return self._files.size(path)

    def open(self, path: str, *, block: int | None = None) -> BinaryIO:
        """A file to read, at any place of it; `block`: bytes that one request to an object store asks for, by default as its
        file system does. Raises ValueError where there is none, RuntimeError where it cannot be
        read."""
        with self.errors_named("read", path):
            return self._files.open(path, block)

    def read_text(self, path: str) -> str:
        """Raises ValueError where there is no such file, or it is not UTF-8, RuntimeError where it cannot be read."""
        with self.open(path) as file, self.errors_named("read", path):
            content = file.read()
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.place(path)} is not UTF-8: {error}") from None

    def publish(self, path: str, text: str) -> None:
        """Write a text, whole or not at all, in the place of what is there. Raises RuntimeError where it cannot be."""
        with self.errors_named("write", path):
            self._files.publish(path, text)

    def scratch(self, folder: str) -> str:
        """The path of a new local file, to be filled and :meth:`put` into `folder`, or removed. Raises RuntimeError where
        there is no place for it."""
        with self.errors_named("write", folder):
            return self._files.scratch(folder)

    def put(self, path: str, scratch: str) -> None:
        """A file that :meth:`scratch` gave, whole or not at all, in the place of what is there; it is gone from where it
        was. Raises RuntimeError where it cannot be."""
        with self.errors_named("write", path):
            self._files.put(path, scratch)

    def put_copy(self, path: str, source: str | os.PathLike[str]) -> None:
        """A copy of a local file, whole or not at all, in the place of what is there. Raises RuntimeError where it cannot
        be."""
        with self.errors_named("write", path):
            self._files.put_copy(path, os.fspath(source))

    def list(self, folder: str = "") -> dict[str, int]:
        """Bytes of all files below a folder by their paths, sorted, but of those whose names begin with a dot; none where
        there is no such folder. Raises RuntimeError where they cannot be listed."""
        return {path: entry.bytes for path, entry in self.entries(folder).items()}

    def entries(self, folder: str = "", *, hidden: bool = False) -> dict[str, Entry]:
        """As :meth:`list`, with the times at which they were written; `hidden`: those whose names begin with a dot, too."""
        with self.errors_named("list", folder):
            found = self._files.entries(folder)
        return {
            path: found[path]
            for path in sorted(found)
            if hidden or not any(part[:1] == "." for part in path.split("/"))
        }

    def names(self, folder: str = "") -> tuple[str, ...]:
        """Files and folders in a folder itself, sorted, but those whose names begin with a dot; none where there is no such
        folder. Raises RuntimeError where they cannot be listed."""
        with self.errors_named("list", folder):
            return tuple(sorted(name for name in self._files.names(folder) if name[:1] != "."))

    def modified(self, path: str) -> float | None:
        """When a file was written, as of :class:`Entry`, None where there is none. Raises RuntimeError where that cannot be
        told."""
        with self.errors_named("look for", path):
            return self._files.modified(path)

    def remove(self, path: str) -> None:
        """Raises RuntimeError where a file that is there cannot be removed."""
        with self.errors_named("remove", path):
            self._files.remove(path)

    def remove_empty(self, folder: str) -> None:
        """The folders that are left when all files below one are removed; object stores have none."""
        self._files.remove_empty(folder)

    @contextlib.contextmanager
    def errors_named(self, doing: str, path: str) -> Iterator[None]:
        """Errors of files become ValueErrors and RuntimeErrors that say what was done, with which file, and what is
        missing."""
        place = self.place(path)
        try:
            yield
        except Exception as error:  # each file system has errors of its own
            if isinstance(error, FileNotFoundError) and doing == "read":
                raise ValueError(
                    f"cannot read {place}: there is no such file; open what it is of again if that was made anew meanwhile"
                ) from None
            what = "no permission to: " if isinstance(error, PermissionError) else ""
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise RuntimeError(f"cannot {doing} {place}: {what}{reason or type(error).__name__}") from error

    def __repr__(self) -> str:
        return f"Folder({self.url!r})"


class _Local:
    def __init__(self, folder: str):
        self._folder = pathlib.Path(folder)
        self.root, self.system = folder, None
        self.place = os.path.realpath(folder)

    def readable(self, path: str) -> str:
        return os.fspath(self._folder / path)

    def size(self, path: str) -> int | None:
        try:
            return (self._folder / path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, path: str, block: int | None) -> BinaryIO:
        return open(self._folder / path, "rb")

    def publish(self, path: str, text: str) -> None:
        write_text(self._folder / path, text)

    def scratch(self, folder: str) -> str:
        """In the folder that it will be in, as renaming is whole within one file system only."""
        (self._folder / folder).mkdir(parents=True, exist_ok=True)
        path = self._folder / folder / f".{secrets.token_hex(8)}.tmp"
        path.touch(exist_ok=False)  # with the rights that new files have, unlike what tempfile makes
        return os.fspath(path)

    def put(self, path: str, scratch: str) -> None:
        place = self._folder / path
        _flush(scratch)
        os.replace(scratch, place)
        _flush(place.parent)

    def put_copy(self, path: str, source: str) -> None:
        scratch = self.scratch(path.rpartition("/")[0])
        try:
            shutil.copyfile(source, scratch)
            self.put(path, scratch)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(scratch)
            raise

    def entries(self, folder: str) -> dict[str, Entry]:
        found = {}
        for path in (self._folder / folder).rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # of another process
                if path.is_file():
                    found[path.relative_to(self._folder).as_posix()] = Entry(path.stat().st_size, path.stat().st_mtime)
        return found

    def names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self._folder / folder)
        except FileNotFoundError:
            return []

    def modified(self, path: str) -> float | None:
        try:
            return (self._folder / path).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, path: str) -> None:
        (self._folder / path).unlink(missing_ok=True)

    def remove_empty(self, folder: str) -> None:
        for path, _, _ in os.walk(self._folder / folder, topdown=False):
            with contextlib.suppress(OSError):  # somebody writes there
                os.rmdir(path)


class _Remote:
    """An object store: it has whole objects or none, so one put publishes."""

    def __init__(self, url: str):
        extra = _EXTRAS.get(url.partition("://")[0], "prepare")
        fsspec = import_extra("fsspec", purpose=f"reading and writing {url}", extra=extra)
        try:
            self._system, folder = fsspec.core.url_to_fs(url)
        except ImportError as error:
            wanted = f": pip install '{DISTRIBUTION}[{extra}]'" if extra != "prepare" else ""
            raise ImportError(f"{url}: {error}{wanted}") from error
        except ValueError as error:
            raise ValueError(f"{url}: {error}; expected a path, or a URL as gs://bucket/folder") from None
        self._folder = folder.rstrip("/")
        self.root, self.system = self._folder, self._system
        self.place = str(self._system.unstrip_protocol(self._folder))

    def readable(self, path: str) -> str:
        return str(self._system.unstrip_protocol(self._full(path)))

    def _full(self, path: str) -> str:
        return f"{self._folder}/{path}".rstrip("/")

    def size(self, path: str) -> int | None:
        self._system.invalidate_cache()  # of listings, which others' writing makes wrong
        try:
            return int(self._system.size(self._full(path)))
        except FileNotFoundError:
            return None

    def open(self, path: str, block: int | None) -> Any:
        self._system.invalidate_cache()  # which has the sizes of files that others wrote anew
        return self._system.open(self._full(path), "rb", block_size=block)

    def publish(self, path: str, text: str) -> None:
        self._system.pipe_file(self._full(path), text.encode())

    def scratch(self, folder: str) -> str:
        handle, path = tempfile.mkstemp(suffix=".tmp")
        os.close(handle)
        return path

    def put(self, path: str, scratch: str) -> None:
        self._system.put_file(scratch, self._full(path))
        os.unlink(scratch)

    def put_copy(self, path: str, source: str) -> None:
        self._system.put_file(source, self._full(path))

    def entries(self, folder: str) -> dict[str, Entry]:
        self._system.invalidate_cache()
        try:
            found = self._system.find(self._full(folder), detail=True)
        except FileNotFoundError:
            return {}
        return {
            path[len(self._folder) :].strip("/"): Entry(int(each["size"]), _modified(each))
            for path, each in found.items()
        }

    def names(self, folder: str) -> list[str]:
        self._system.invalidate_cache()
        try:
            paths = self._system.ls(self._full(folder), detail=False)
        except FileNotFoundError:
            return []
        return [path.rstrip("/").rpartition("/")[2] for path in paths]

    def modified(self, path: str) -> float | None:
        self._system.invalidate_cache()
        try:
            return _modified(self._system.info(self._full(path)))
        except FileNotFoundError:
            return None

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._full(path))

    def remove_empty(self, folder: str) -> None:
        pass


def _modified(info: Mapping[str, Any]) -> float:
    """Each file system has its own word for it."""
    for name in ("mtime", "LastModified", "modified", "created"):
        value = info.get(name)
        if isinstance(value, datetime.datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return math.nan


def _flush(path: str | os.PathLike[str]) -> None:
    """To disk. Some file systems cannot flush a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)
