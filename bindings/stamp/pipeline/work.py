"""The folder of a shop's nights, at a path or a URL, and local copies of what lies in it."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from ..base.folders import Folder
from ..base.json_text import json_text


class Work:
    """What steps read and write. Here they do so in place; at a URL what they read is fetched first, once, and what they
    wrote is brought there at their end.

    Attributes
    ----------
    folder : Folder
    """

    def __init__(self, url: str):
        self.folder = Folder(url)
        self._copies: tempfile.TemporaryDirectory[str] | None = None
        self._fetched: set[str] = set()

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        if self._copies is not None:
            self._copies.cleanup()

    def url(self, path: str) -> str:
        """For what reads any URL."""
        return self.folder.place(path)

    def read_json(self, path: str) -> Any:
        """None where there is no such file. Raises ValueError where it is not JSON."""
        if self.folder.size(path) is None:
            return None
        try:
            return json.loads(self.folder.read_text(path))
        except ValueError as error:
            raise ValueError(f"{self.folder.place(path)} is not JSON: {error}") from None

    def write_json(self, path: str, values: Any) -> None:
        """Whole or not at all."""
        self.folder.publish(path, json_text(values, ensure_ascii=False, indent=1, default=str) + "\n")

    def days(self, folder: str, name: str) -> list[str]:
        """Days, the latest first, of which ``folder/<day>/name`` is there."""
        paths = (path.removeprefix(f"{folder}/").split("/", 1) for path in self.folder.list(folder))
        return sorted((rest[0] for rest in paths if rest[1:] == [name]), reverse=True)

    def local(self, path: str) -> str:
        """A file or folder as a local path, which is only read. Raises ValueError where there is none."""
        if self.folder.local is not None:
            return self._existing(os.path.join(self.folder.local, path))
        copy = os.path.join(self._room(), path)
        if path not in self._fetched:
            if not self._fetch(path, copy):
                raise ValueError(f"there is no {self.folder.place(path)}; it was removed while the pipeline ran")
            self._fetched.add(path)
        return copy

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[str]:
        """A folder, to be written to, with what is there already. What is new in it is brought to its place when it is
        left, unless by an error."""
        if self.folder.local is not None:
            place = os.path.join(self.folder.local, path)
            os.makedirs(place, exist_ok=True)
            yield place
            return
        copy, begun = os.path.join(self._room(), path), f"{path}/.writing"
        os.makedirs(copy, exist_ok=True)
        if self.folder.size(begun) is not None:  # by one that was killed: a part of its files is of no use
            for name in self.folder.list(path):
                self.folder.remove(name)
        self._fetch(path, copy)
        before = _states(copy)
        yield copy
        after = _states(copy)
        self.folder.publish(begun, "")
        for name in sorted(after):
            if after[name] != before.get(name):
                self.folder.put_copy(f"{path}/{name}", os.path.join(copy, name))
        for name in before.keys() - after.keys():
            self.folder.remove(f"{path}/{name}")
        self.folder.remove(begun)
        self._fetched.add(path)

    def aside(self, path: str) -> str:
        """A local path for what is fetched from elsewhere: in the folder, where that is here, else until this is left."""
        return os.path.join(self.folder.local or self._room(), path)

    def remove(self, path: str, *, last: str) -> None:
        """A folder with all that is in it, and `last` what makes it known, so that what was begun can be ended."""
        for name in self.folder.list(path):
            if name != f"{path}/{last}":
                self.folder.remove(name)
        self.folder.remove(f"{path}/{last}")
        if self.folder.local is not None:
            shutil.rmtree(os.path.join(self.folder.local, path), ignore_errors=True)  # the folders

    def _room(self) -> str:
        if self._copies is None:
            self._copies = tempfile.TemporaryDirectory(prefix="stamp-pipeline-")
        return self._copies.name

    def _existing(self, path: str) -> str:
        if not os.path.exists(path):
            raise ValueError(f"there is no {path}; it was removed while the pipeline ran")
        return path

    def _fetch(self, path: str, copy: str) -> bool:
        """False where there is nothing."""
        names = list(self.folder.list(path)) or ([path] if self.folder.size(path) else [])  # an empty folder may have 0
        for name in names:
            to = pathlib.Path(copy + name.removeprefix(path))
            to.parent.mkdir(parents=True, exist_ok=True)
            with self.folder.open(name) as content, open(to, "wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
        return bool(names)


def _states(folder: str) -> dict[str, tuple[int, int]]:
    """Size and time of change of all files below, by their paths."""
    found = {}
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file():
            status = path.stat()
            found[path.relative_to(folder).as_posix()] = (status.st_size, status.st_mtime_ns)
    return found
