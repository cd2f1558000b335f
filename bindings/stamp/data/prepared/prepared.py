"""Prepared data that are there: what their manifest says, and whether their files are what it says."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from ...base.folders import Folder, is_url
from .layout import HELD_OUT, SESSIONS
from .manifest import FILE, ClusterCounts, Manifest, read_manifest
from .parts import PartFile


class Prepared:
    """Prepared data at a URL. What :func:`prepare`, :func:`partition` and :func:`open_prepared` return.

    Attributes
    ----------
    url : str
    manifest : Manifest
    """

    def __init__(self, target: Folder, manifest: Manifest):
        self.target = target
        self.manifest = manifest

    @property
    def url(self) -> str:
        return self.target.url

    @property
    def window(self) -> Mapping[str, Any]:
        return self.manifest.window

    @property
    def options(self) -> Mapping[str, Any]:
        return self.manifest.options

    @property
    def mapping(self) -> Mapping[str, Any]:
        return self.manifest.mapping

    @property
    def event_types(self) -> tuple[str, ...]:
        """What events may be, by the mapping: views alone where it says nothing."""
        said = self.mapping["event_types"].values() if "event_type" in self.mapping else ("view",)
        return (*dict.fromkeys(said),)

    @property
    def item_ids(self) -> str:
        """What product ids are: "integer" or "text"."""
        return self.manifest.item_ids

    @property
    def counts(self) -> Mapping[str, int]:
        """Of every step of preparation."""
        return self.manifest.counts

    @property
    def quarantined(self) -> Mapping[str, int]:
        """Rows by reason."""
        return self.manifest.quarantined

    @property
    def clusters(self) -> Mapping[int, ClusterCounts]:
        """Counts by cluster; empty before a partition."""
        return self.manifest.clusters

    @property
    def files(self) -> tuple[PartFile, ...]:
        return self.manifest.files

    @property
    def fingerprint(self) -> str:
        """Of all files."""
        return self.manifest.fingerprint

    def verify(self) -> None:
        """Read all files and compare their hashes. Raises ValueError for the first that is missing or altered,
        RuntimeError where one cannot be read."""
        self.check_sizes()
        for file in self.files:
            digest = hashlib.sha256()
            with self.target.open(file.path) as content, self.target.errors_named("read", file.path):
                while block := content.read(1 << 20):
                    digest.update(block)
            if digest.hexdigest() != file.sha256:
                raise ValueError(
                    f"{self.target.place(file.path)} was altered: its SHA-256 is {digest.hexdigest()}, {FILE} says "
                    f"{file.sha256}; prepare the data anew"
                )

    def check_sizes(self) -> None:
        """Raises ValueError for a file that is missing or of another size, RuntimeError where they cannot be listed."""
        sizes = self.target.list()
        for file in self.files:
            size = sizes.get(file.path)
            if size != file.bytes:
                found = "is missing" if size is None else f"has {size:,} bytes"
                raise ValueError(
                    f"{self.target.place(file.path)} {found}, {FILE} says {file.bytes:,} bytes; open it again if the data "
                    "were prepared anew meanwhile, else prepare them anew"
                )

    def __repr__(self) -> str:
        size = sum(file.bytes for file in self.files)
        sessions = sum(file.rows for file in self.manifest.below("sessions"))
        clusters = f", {len(self.clusters):,} clusters" if self.manifest.labels is not None else ""
        days = " to ".join(str(self.window[end]) for end in ("first_day", "last_day") if end in self.window)
        return (
            f"Prepared({self.url!r}, {days + ', ' if days else ''}{sessions:,} events{clusters}, {len(self.files):,} files, "
            f"{size / 1e6:,.1f} MB)"
        )


def is_prepared(data: Any) -> bool:
    """Whether something handed over as data is prepared data, or what was held out of them: opened, their URL, or a local
    folder with a prepared.json."""
    if isinstance(data, Prepared):
        return True
    if not isinstance(data, (str, os.PathLike)):
        return False
    path = os.fspath(data)
    return is_url(path) or any(
        os.path.exists(os.path.join(each, FILE)) for each in (path, _around_held_out(path)) if each
    )


def open_sessions(data: str | os.PathLike[str] | Prepared) -> tuple[Prepared, str]:
    """Prepared data, and which of their tables of sessions is meant: "held_out" where the path says so, else "sessions".

    Raises
    ------
    ValueError
        As :func:`open_prepared`; nothing was held out.
    """
    if isinstance(data, Prepared):
        return data, SESSIONS
    around = _around_held_out(os.fspath(data))
    if around is None or Folder(data).size(FILE) is not None:
        return open_prepared(data), SESSIONS
    prepared = open_prepared(around)
    if not prepared.manifest.below(HELD_OUT):
        raise ValueError(f"{prepared.url}: nothing was held out; prepare the data with held_out")
    return prepared, HELD_OUT


def _around_held_out(path: str) -> str | None:
    """The folder of the prepared data whose held-out sessions a path may be of."""
    folder, _, name = path.rstrip("/").rpartition("/")
    return (folder or ".") if name == HELD_OUT else None


def refuse_options(prepared: Prepared, given: Mapping[str, Any]) -> None:
    """Raises ValueError for what is asked of other data alone, and was given."""
    for option, value in given.items():
        if value is not None:
            raise ValueError(
                f"from_frame: {option} is {value!r}, but {prepared.url} is prepared: it has columns of its own"
            )


def open_prepared(url: str | os.PathLike[str] | Prepared) -> Prepared:
    """Prepared data in a local folder, or at any URL that fsspec reads.

    Raises
    ------
    ValueError
        There is no prepared.json, or it is of another format; a file that it lists is missing or of another size.
    RuntimeError
        Something cannot be read.
    ImportError
        The package that reads such URLs is missing.

    Examples
    --------
    >>> import stamp.data
    >>> stamp.data.open_prepared("prepared/")  # doctest: +SKIP
    Prepared('prepared', 1,204,311 events, 12 clusters, 64 files, 51.3 MB)
    """
    if isinstance(url, Prepared):
        return url
    target = Folder(url)
    manifest = read_manifest(target)
    if manifest is None:
        raise ValueError(f"{target.url} holds no {FILE}: it is no prepared data, or preparing them was not finished")
    prepared = Prepared(target, manifest)
    prepared.check_sizes()
    return prepared
