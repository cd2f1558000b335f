"""Uploading a bundle: a lease, the blobs that are missing, the record, and the release last."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..base.json_text import strict_json_text
from ..serving.bundles import verify_bundle
from .blobs import blob_path, hashed_there, store_file
from .documents import now, time_of, time_text
from .leases import Lease, leased
from .place import BLOBS, RECORDS, Place, require_name, side_by_side
from .releases import (
    DESCRIPTION,
    Release,
    files_of,
    find_release,
    release_digest,
    release_names,
    release_path,
    require_release,
)


@dataclass(frozen=True)
class Uploaded:
    """A release, and what was moved for it.

    Attributes
    ----------
    release : Release
        As it is in the store.
    new_blobs, new_bytes : int
        That were written.
    old_blobs, old_bytes : int
        That were there.
    """

    release: Release
    new_blobs: int
    new_bytes: int
    old_blobs: int
    old_bytes: int


def upload(
    place: Place,
    bundle: str | os.PathLike[str],
    *,
    parent: str | None,
    record: str | os.PathLike[str] | None,
    made_by: Mapping[str, Any],
    products_time: str | datetime.datetime | None,
    name: str | None,
    created: datetime.datetime | None,
    patience: float,
) -> Uploaded:
    """As :meth:`Store.upload`."""
    call = f"upload {os.fspath(bundle)}"
    made = json.loads(strict_json_text(f"{call}: made_by", made_by))
    place.require_store()
    verify_bundle(bundle)
    files = files_of(bundle, without=DESCRIPTION)
    digest = release_digest(files)
    created = time_of(f"{call}: created", created) if created is not None else now()
    release = Release(
        name=require_name(call, name) if name is not None else release_name(created, digest),
        created=time_text(created),
        digest=digest,
        parent=parent,
        products_time=None if products_time is None else time_text(time_of(f"{call}: products_time", products_time)),
        files=files,
        record={} if record is None else files_of(record),
        made_by=made,
    )
    if parent is not None:
        require_release(place, f"{call}: parent", parent)
    place.make_store()
    with leased(place, call, patience, blobs=release.blobs, releases=[release.name]) as lease:
        _require_same(place, call, release)
        new = _store_blobs(place, pathlib.Path(bundle), release, lease)
        if record is not None:
            _store_record(place, pathlib.Path(record), release)
        lease.renew()
        place.create(release_path(release.name), release.to_json())
        there = _require_same(place, call, release)
        if there is None:
            raise RuntimeError(
                f"{call}: {place.folder.place(release_path(release.name))} was removed at once by another"
            )
    bytes = sum(release.blobs[blob] for blob in new)
    return Uploaded(there, len(new), bytes, len(release.blobs) - len(new), sum(release.blobs.values()) - bytes)


def release_name(created: datetime.datetime, digest: str) -> str:
    """Sorted by time, and told apart by content."""
    return f"{created.astimezone(datetime.timezone.utc):%Y-%m-%dT%H%MZ}-{digest[:4]}"


def _require_same(place: Place, call: str, release: Release) -> Release | None:
    """What is there by that name. Raises ValueError where it is of other content."""
    there = find_release(place, release.name)
    if there is not None and not there.same_as(release):
        mine, its = release.to_dict(), there.to_dict()
        differs = ", ".join(key for key in mine if key != "created" and mine[key] != its[key])
        raise ValueError(
            f"{call}: {place.url} has a release {release.name} already, of another {differs}; releases are written once: "
            "give another name"
        )
    return there


def _store_blobs(place: Place, bundle: pathlib.Path, release: Release, lease: Lease) -> list[str]:
    """Those that are missing, or are not whole: by their sizes where a release has them, whose upload read them back, else by
    their hashes, as what was killed may not have."""
    there = place.folder.list(BLOBS)
    paths = {file.sha256: path for path, file in release.files.items()}
    here = [blob for blob, size in release.blobs.items() if there.get(blob_path(blob)) == size]
    trusted = _blobs_of_releases(place) if here else frozenset()

    def is_whole(blob: str) -> bool:
        return blob in trusted or hashed_there(place.folder, blob_path(blob)) == release.files[paths[blob]]

    whole = {blob for blob, found in zip(here, side_by_side(is_whole, here), strict=True) if found}
    missing = [blob for blob in release.blobs if blob not in whole]

    def store(blob: str) -> None:
        path = paths[blob]
        store_file(place, blob_path(blob), bundle / path, release.files[path])
        lease.keep()

    side_by_side(store, missing)
    return missing


def _blobs_of_releases(place: Place) -> frozenset[str]:
    """But of those that cannot be read, which are no matter here."""

    def blobs(name: str) -> frozenset[str]:
        try:
            found = find_release(place, name)
        except ValueError:
            return frozenset()
        return frozenset() if found is None else frozenset(found.blobs)

    return frozenset().union(*side_by_side(blobs, release_names(place)))


def _store_record(place: Place, record: pathlib.Path, release: Release) -> None:
    def store(path: str) -> None:
        store_file(place, f"{RECORDS}/{release.name}/{path}", record / path, release.record[path])

    side_by_side(store, release.record)
