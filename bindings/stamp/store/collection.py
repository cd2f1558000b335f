"""Collecting garbage: what no alias, no history and no upload needs any more, after a time of grace."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..base.checks import whole_number
from .aliases import all_aliases
from .documents import now, time_text
from .leases import LEASE_LIFE, Lease, Mark, live_mark, mark_text, read_leases, read_mark
from .place import BLOB_NAME, BLOBS, GC, RECORDS, RELEASES, Place, side_by_side, whoami
from .releases import Release, all_releases, release_path

LONGEST = 1_800.0  # s that a collection removes for: half of what its mark lives
_SCRATCH = re.compile(r"\..*\.tmp")  # of local writers that were killed


@dataclass(frozen=True)
class Collected:
    """What was removed, or would be.

    Attributes
    ----------
    releases : tuple of str
    records, blobs, bytes, leases : int
        Files of records, blobs and their bytes, leases of calls that were killed.
    kept_releases, kept_blobs, kept_bytes : int
    unknown : tuple of str
        Files where blobs and releases lie that are none: left as they are.
    dry_run : bool
        Nothing was removed.
    finished : bool
        False where its time was over: another call goes on.
    """

    releases: tuple[str, ...]
    records: int
    blobs: int
    bytes: int
    leases: int
    kept_releases: int
    kept_blobs: int
    kept_bytes: int
    unknown: tuple[str, ...]
    dry_run: bool
    finished: bool


@dataclass
class _Plan:
    """Paths that go."""

    releases: list[str]
    records: list[str] = field(default_factory=list)
    blobs: dict[str, int] = field(default_factory=dict)
    scratch: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)  # of records, once they are empty
    leases: Sequence[str] = ()
    unknown: list[str] = field(default_factory=list)
    kept_releases: int = 0
    kept: dict[str, int] = field(default_factory=dict)


def collect(place: Place, *, keep: int, grace: float, dry_run: bool) -> Collected:
    """As :meth:`Store.gc`."""
    keep = whole_number("gc: keep", keep, least=0)
    place.require_made("gc")
    started = time.monotonic()  # before the mark, whose life it must not outlast
    mark, version = _take_mark(place)
    try:
        plan = _plan(place, _written(place), keep, grace)
        finished = dry_run or _remove(place, plan, started)
    finally:
        place.swap(GC, mark_text(mark, ended=True), version)
    return Collected(
        releases=tuple(plan.releases),
        records=len(plan.records),
        blobs=len(plan.blobs),
        bytes=sum(plan.blobs.values()),
        leases=len(plan.leases),
        kept_releases=plan.kept_releases,
        kept_blobs=len(plan.kept),
        kept_bytes=sum(plan.kept.values()),
        unknown=tuple(plan.unknown),
        dry_run=dry_run,
        finished=finished,
    )


def _take_mark(place: Place) -> tuple[Mark, str]:
    """With its version. Raises RuntimeError where another collection runs."""
    mark = Mark(secrets.token_hex(16), whoami(), time_text(now()))
    found = place.read(GC)
    if found is None:
        place.create(GC, mark_text(mark, ended=False))
    else:
        clock = Lease(place, "gc")
        clock.write()
        try:
            other = live_mark(place, clock.time())
        finally:
            clock.remove()
        if other is None:
            place.swap(GC, mark_text(mark, ended=False), found[1])
    found = place.read(GC)  # and not what the answer was, which may have been lost
    if found is None or found[0] != mark_text(mark, ended=False):
        other = read_mark(place, found[0]) if found else None
        by = f"{other.by} began one in {place.url} at {other.since}" if other else f"another one ran in {place.url}"
        raise RuntimeError(f"gc: {by}; run it again when that has ended. One that was killed counts for an hour")
    return mark, found[1]


def _written(place: Place) -> float:
    """The store's time, of which all ages are."""
    found = place.folder.modified(GC)
    if found is None:
        raise RuntimeError(f"gc: {place.folder.place(GC)} is gone, which nobody removes; nothing was done")
    return found


def _plan(place: Place, time: float, keep: int, grace: float) -> _Plan:
    """Leases are read first: what they named and is no lease's any more is a release's or an alias's by then."""
    leases = read_leases(place, time)
    written = {path: entry.modified for path, entry in place.folder.entries(RELEASES).items()}
    releases = all_releases(place)
    needed = {name for alias in all_aliases(place).values() for name in alias.needs} | leases.releases

    def age(name: str) -> float:
        return time - written.get(release_path(name), time)

    by_age = sorted(releases, key=age)
    needed |= {*by_age[:keep]} | {name for name in releases if not age(name) > grace}
    kept = [release for name, release in releases.items() if name in needed]
    plan = _Plan(releases=[name for name in releases if name not in needed], leases=leases.dead)
    plan.kept_releases = len(kept)
    plan.unknown += [path for path in written if path.rpartition(".")[2] != "json"]
    _plan_blobs(place, plan, kept, leases.blobs, time, grace)
    _plan_records(place, plan, {*releases} | leases.releases, time, grace)
    if place.folder.scheme == "file":
        dead = max(grace, LEASE_LIFE)  # whatever the grace: one that is being written is in somebody's hands
        plan.scratch += [
            path
            for path, entry in place.folder.entries(hidden=True).items()
            if time - entry.modified > dead and _SCRATCH.fullmatch(path.rpartition("/")[2])
        ]
    return plan


def _plan_records(place: Place, plan: _Plan, named: set[str], time: float, grace: float) -> None:
    """Of releases that go, and of uploads that were killed."""
    files: dict[str, list[tuple[str, float]]] = {name: [] for name in place.folder.names(RECORDS)}
    for path, entry in place.folder.entries(RECORDS).items():
        files.setdefault(path.split("/")[1], []).append((path, time - entry.modified))
    for name, of_release in files.items():
        if name in plan.releases or (name not in named and all(age > grace for _, age in of_release)):
            plan.records += [path for path, _ in of_release]
            plan.folders.append(f"{RECORDS}/{name}")


def _plan_blobs(
    place: Place, plan: _Plan, kept: list[Release], leased: frozenset[str], time: float, grace: float
) -> None:
    needed = leased.union(*(release.blobs for release in kept))
    for path, entry in place.folder.entries(BLOBS).items():
        name = path.rpartition("/")[2]
        if not BLOB_NAME.fullmatch(name):
            plan.unknown.append(path)
        elif name in needed or not time - entry.modified > grace:
            plan.kept[path] = entry.bytes
        else:
            plan.blobs[path] = entry.bytes


def _remove(place: Place, plan: _Plan, started: float) -> bool:
    """Releases first: what is left of a collection that was killed is blobs that nothing needs. Whether all is done."""
    for paths in (
        [release_path(name) for name in plan.releases],
        plan.records,
        [*plan.blobs, *plan.scratch],
        plan.leases,
    ):

        def remove(path: str) -> bool:
            if time.monotonic() - started > LONGEST:
                return False
            place.folder.remove(path)
            return True

        if not all(side_by_side(remove, paths)):
            return False
    for folder in plan.folders:
        place.folder.remove_empty(folder)
    return True
