"""Whether a store is whole: every blob read, and every record."""

from __future__ import annotations

from dataclasses import dataclass

from .aliases import all_aliases
from .blobs import blob_path, hashed_there
from .place import BLOB_NAME, BLOBS, RECORDS, Place, side_by_side
from .releases import Release, StoredFile, find_release, release_names, require_release


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file of a store.

    Attributes
    ----------
    file : str
        Below the store.
    what : str
        "missing", "altered", or what else is wrong.
    releases : tuple of str
        That need it.
    paths : tuple of str
        What it is in their bundles.
    """

    file: str
    what: str
    releases: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """What was read.

    Attributes
    ----------
    releases, blobs, bytes : int
        Bytes are of the blobs.
    unreferenced : int
        Blobs that no release needs: of uploads that were killed, or that gc will take.
    findings : tuple of Finding
    """

    releases: int
    blobs: int
    bytes: int
    unreferenced: int
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return not self.findings


def verify(place: Place, release: str | None) -> Verified:
    """As :meth:`Store.verify`."""
    place.require_store()
    findings: list[Finding] = []
    if release is not None:
        releases = {release: require_release(place, "verify", release)}
    else:
        releases = _readable(place, findings)
        findings += _astray(place, releases)
    needed: dict[str, int] = {}
    for each in releases.values():
        needed.update(each.blobs)
    there = place.folder.list(BLOBS)

    def look(blob: str) -> str | None:
        return _wrong(place, blob_path(blob), StoredFile(blob, needed[blob]))

    for blob, wrong in zip(needed, side_by_side(look, needed), strict=True):
        if wrong is not None:
            users = {name: each for name, each in releases.items() if blob in each.blobs}
            paths = {path for each in users.values() for path, file in each.files.items() if file.sha256 == blob}
            findings.append(Finding(blob_path(blob), wrong, tuple(users), tuple(sorted(paths))))
    for name, each in releases.items():
        findings += _of_record(place, name, each)
    unreferenced = 0
    if release is None:
        everybody = {blob_path(blob) for blob in needed}
        unreferenced = sum(
            path not in everybody and bool(BLOB_NAME.fullmatch(path.rpartition("/")[2])) for path in there
        )
    return Verified(len(releases), len(needed), sum(needed.values()), unreferenced, tuple(findings))


def _readable(place: Place, findings: list[Finding]) -> dict[str, Release]:
    releases = {}
    for name in release_names(place):
        try:
            found = find_release(place, name)
        except ValueError as error:
            findings.append(Finding(f"releases/{name}.json", str(error), (name,)))
        else:
            releases.update({name: found} if found is not None else {})
    return releases


def _astray(place: Place, releases: dict[str, Release]) -> list[Finding]:
    """Aliases of releases that are not there, or not of that digest."""
    found = []
    for name, alias in all_aliases(place).items():
        release = releases.get(alias.release)
        if release is None:
            wrong = f"is at {alias.release}, which is no release"
        elif release.digest != alias.digest:
            wrong = f"says digest {alias.digest}, {alias.release} has {release.digest}"
        else:
            continue
        found.append(Finding(f"aliases/{name}.json", wrong, (alias.release,)))
    return found


def _of_record(place: Place, name: str, release: Release) -> list[Finding]:
    paths = {f"{RECORDS}/{name}/{path}": file for path, file in release.record.items()}
    wrong = side_by_side(lambda path: _wrong(place, path, paths[path]), paths)
    return [Finding(path, what, (name,)) for path, what in zip(paths, wrong, strict=True) if what is not None]


def _wrong(place: Place, path: str, file: StoredFile) -> str | None:
    try:
        return None if hashed_there(place.folder, path) == file else "altered"
    except ValueError:
        return "missing"
