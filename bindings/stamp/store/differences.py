"""What one release changes of another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .releases import Release, StoredFile

_CLUSTER = re.compile(r"clusters/(\d+)\.")


@dataclass(frozen=True)
class Changes:
    """Of files by their paths, or of clusters by their ids: which are new, of other content, the same, and gone."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    same: tuple[str, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """What the release `after` changes of `before`.

    Attributes
    ----------
    before, after : str
        Their names.
    files, clusters : Changes
    new_bytes, same_bytes, gone_bytes : int
        Of blobs that the second has and the first has not, that both have, that the first alone has.
    made_by : dict of str to pair
        Values that differ, by their paths with dots: before and after, None where there is none.
    """

    before: str
    after: str
    files: Changes
    clusters: Changes
    new_bytes: int
    same_bytes: int
    gone_bytes: int
    made_by: dict[str, tuple[Any, Any]]


def diff(before: Release, after: Release) -> Difference:
    old, new = before.blobs, after.blobs
    ways = flat(before.made_by), flat(after.made_by)
    return Difference(
        before=before.name,
        after=after.name,
        files=_changes(before.files, after.files),
        clusters=_changes(_clusters(before.files), _clusters(after.files)),
        new_bytes=sum(bytes for blob, bytes in new.items() if blob not in old),
        same_bytes=sum(bytes for blob, bytes in new.items() if blob in old),
        gone_bytes=sum(bytes for blob, bytes in old.items() if blob not in new),
        made_by={
            key: (ways[0].get(key), ways[1].get(key))
            for key in sorted({*ways[0], *ways[1]})
            if ways[0].get(key) != ways[1].get(key)
        },
    )


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    both = [key for key in new if key in old]
    return Changes(
        new=tuple(sorted(key for key in new if key not in old)),
        changed=tuple(sorted(key for key in both if old[key] != new[key])),
        same=tuple(sorted(key for key in both if old[key] == new[key])),
        gone=tuple(sorted(key for key in old if key not in new)),
    )


def _clusters(files: Mapping[str, StoredFile]) -> dict[str, dict[str, str]]:
    """The contents of each cluster's files, by its id."""
    found: dict[str, dict[str, str]] = {}
    for path, file in files.items():
        if match := _CLUSTER.match(path):
            found.setdefault(match[1], {})[path] = file.sha256
    return found


def flat(value: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Values of nested dicts by their paths with dots."""
    found: dict[str, Any] = {}
    for key, each in value.items():
        if isinstance(each, Mapping):
            found.update(flat(each, f"{above}{key}."))
        else:
            found[f"{above}{key}"] = each
    return found
