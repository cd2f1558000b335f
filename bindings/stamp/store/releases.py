"""Releases: which blobs a bundle is made of, and what made it. Each is written once."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .documents import document, parsed
from .place import BLOB_NAME, RELEASES, Place, side_by_side

FORMAT = 1
DESCRIPTION = "release.json"  # beside a bundle's files, about them and none of them
_PIECE = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """A file of a release: its content is the blob of that name."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Release:
    """A bundle in the store.

    Attributes
    ----------
    name : str
    created : str
        Time of UTC by the clock of who uploaded it.
    digest : str
        SHA-256 over the sorted lines of `sha256sum` of its files, as servers compute it.
    parent : str or None
        The release that it came from.
    products_time : str or None
        When the shop's catalog was exported for it.
    files, record : dict of str to StoredFile
        By path: the bundle's, and the reports' for people.
    made_by : dict
        Fingerprints, versions, options: what whoever uploaded it said.
    """

    name: str
    created: str
    digest: str
    parent: str | None
    products_time: str | None
    files: Mapping[str, StoredFile]
    record: Mapping[str, StoredFile]
    made_by: Mapping[str, Any]

    @property
    def bytes(self) -> int:
        """Of all files of the bundle."""
        return sum(file.bytes for file in self.files.values())

    @property
    def blobs(self) -> dict[str, int]:
        """Bytes of each blob that it needs."""
        return {file.sha256: file.bytes for file in self.files.values()}

    def same_as(self, other: Release) -> bool:
        """Whether they are of the same content, whenever they were made."""
        return dataclasses.replace(self, created=other.created) == other

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "created": self.created,
            "digest": self.digest,
            "bytes": self.bytes,
            "parent": self.parent,
            "products_time": self.products_time,
            "files": {path: dataclasses.asdict(file) for path, file in sorted(self.files.items())},
            "record": {path: dataclasses.asdict(file) for path, file in sorted(self.record.items())},
            "made_by": dict(self.made_by),
        }

    def to_json(self) -> str:
        return document(FORMAT, self.to_dict())

    @classmethod
    def from_json(cls, where: str, text: str) -> Release:
        """Raises ValueError, which begins with `where`, for what is no release of this format, or one whose digest is not of
        its files."""
        read = parsed(where, text, FORMAT, "release")
        try:
            release = cls(
                name=read["name"],
                created=read["created"],
                digest=read["digest"],
                parent=read["parent"],
                products_time=read["products_time"],
                files=_files(read["files"]),
                record=_files(read["record"]),
                made_by=dict(read["made_by"]),
            )
            digest = release_digest(release.files)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where} is a release of format {FORMAT}, but damaged: {error!r}") from None
        if digest != release.digest:
            raise ValueError(f"{where} was altered: its digest is {release.digest}, its files have {digest}")
        return release


def _files(read: Mapping[str, Any]) -> dict[str, StoredFile]:
    """Raises ValueError for what would be written elsewhere than in a bundle, or is no blob."""
    for path, file in read.items():
        if path.startswith("/") or not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise ValueError(f"{path!r} is no path in a bundle")
        if not BLOB_NAME.fullmatch(file["sha256"]):
            raise ValueError(f"{path!r} has no SHA-256")
    return {path: StoredFile(file["sha256"], int(file["bytes"])) for path, file in read.items()}


def bundle_digest(folder: str | os.PathLike[str]) -> str:
    """:func:`release_digest` of a bundle, or of any folder."""
    return release_digest(files_of(folder, without=DESCRIPTION))


def release_digest(files: Mapping[str, StoredFile]) -> str:
    """SHA-256 of a line for each file, sorted by the bytes of its path: its SHA-256, two spaces, its path. The same as of
    servers, and of ``find . -type f ! -path ./release.json -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum |
    sha256sum``."""
    lines = (f"{files[path].sha256}  {path}\n" for path in sorted(files, key=str.encode))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def files_of(folder: str | os.PathLike[str], *, without: str | None = None) -> dict[str, StoredFile]:
    """Files below a local folder, by path, but for `without`. Links to files count as files. Raises RuntimeError for what
    cannot be read, ValueError for what can be in no release."""
    found: dict[str, StoredFile] = {}
    root = pathlib.Path(folder)

    def fail(error: OSError) -> None:
        raise RuntimeError(f"cannot read {error.filename}: {error.strerror}") from error

    for above, folders, names in os.walk(root, onerror=fail):
        for name in folders:
            if (pathlib.Path(above) / name).is_symlink():
                raise ValueError(f"{pathlib.Path(above) / name} is a link to a folder, which no release can have")
        for name in names:
            path = pathlib.Path(above) / name
            inside = path.relative_to(root).as_posix()
            if inside == without:
                continue
            if "\n" in inside or "\\" in inside:
                raise ValueError(f"{path} has a newline or a backslash in its name, which no release can have")
            if not path.is_file():
                raise ValueError(f"{path} is neither file nor folder, which no release can have")
            found[inside] = hashed(path)
    return found


def hashed(path: pathlib.Path) -> StoredFile:
    """Raises RuntimeError for what cannot be read."""
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                size += len(piece)
    except OSError as error:
        raise RuntimeError(f"cannot read {path}: {error.strerror}") from error
    return StoredFile(digest.hexdigest(), size)


def release_path(name: str) -> str:
    return f"{RELEASES}/{name}.json"


def find_release(place: Place, name: str) -> Release | None:
    """Raises ValueError for what is no release of this format."""
    found = place.read(release_path(name))
    if found is None:
        return None
    release = Release.from_json(place.folder.place(release_path(name)), found[0])
    if release.name != name:
        raise ValueError(
            f"{place.folder.place(release_path(name))} is of the release {release.name!r}; was it renamed?"
        )
    return release


def release_names(place: Place) -> list[str]:
    """Sorted, which is by time for names that the store gave."""
    return [name[: -len(".json")] for name in place.folder.names(RELEASES) if name.endswith(".json")]


def all_releases(place: Place) -> dict[str, Release]:
    """By name, sorted."""
    found = side_by_side(lambda name: find_release(place, name), release_names(place))
    return {release.name: release for release in found if release is not None}


def require_release(place: Place, call: str, name: str) -> Release:
    """Raises ValueError, which begins with `call`, where there is none."""
    if (release := find_release(place, name)) is not None:
        return release
    there = release_names(place)
    newest = ", ".join(there[-5:][::-1])
    raise ValueError(
        f"{call}: {place.url} has no release {name!r}; "
        + (f"the newest of {len(there)} are {newest}" if there else "it has none: upload one")
    )
