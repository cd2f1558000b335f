"""What keeps uploads and the collection of garbage apart.

Whoever needs blobs or releases that nothing refers to yet writes a lease that names them, then looks for the mark of a
collection, and waits for its end before it looks what is there. A collection writes its mark, then looks for leases. So
either the collection sees the lease, or the other sees the mark.

Ages are differences of modification times, which the store's own clock gives: those of writers may be wrong.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..base.streams import tell
from .documents import document, now, parsed, time_text
from .place import GC, LEASES, Place, whoami

FORMAT = 1
LEASE_LIFE = 86_400.0  # s
MARK_LIFE = 3_600.0  # s; a collection ends long before
PATIENCE = 4_000.0  # s; beyond MARK_LIFE: a collection that was killed delays, and is no error
_RENEW = 3_600.0  # s
_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # s between two looks at the mark


@dataclass(frozen=True)
class Mark:
    """What a collection that runs says of itself."""

    id: str
    by: str
    since: str


class Lease:
    """Of one call, with the blobs and releases that it needs."""

    def __init__(self, place: Place, doing: str, blobs: Iterable[str] = (), releases: Iterable[str] = ()):
        self._place, self._doing = place, doing
        self._path = f"{LEASES}/{secrets.token_hex(16)}.json"
        needs = {"blobs": sorted(blobs), "releases": sorted(releases)}
        self._text = document(FORMAT, {"by": whoami(), "since": time_text(now()), "doing": doing, **needs})
        self._written = time.monotonic()

    def write(self) -> None:
        self._place.create(self._path, self._text)

    def time(self) -> float:
        """Of the store, when the lease was last written. Raises RuntimeError where it is gone."""
        found = self._place.folder.modified(self._path)
        if found is None:
            raise RuntimeError(f"{self._doing}: {self._place.folder.place(self._path)} is gone: {_LATE}")
        return found

    def renew(self) -> None:
        """Let it live anew. Raises RuntimeError where it was dead."""
        before = self.time()
        self._written = time.monotonic()
        self._place.folder.publish(self._path, self._text)
        if self.time() - before > LEASE_LIFE:
            raise RuntimeError(f"{self._doing}: {self._place.folder.place(self._path)} was too old: {_LATE}")

    def keep(self) -> None:
        """:meth:`renew`, if it is time."""
        if time.monotonic() - self._written > _RENEW:
            self.renew()

    def wait_for_collection(self, patience: float) -> None:
        """Until none runs that may not have seen this lease. Raises RuntimeError after `patience` seconds."""
        end, pause, told = time.monotonic() + patience, _PAUSE, False
        while (mark := live_mark(self._place, self.time())) is not None:
            if time.monotonic() >= end:
                raise RuntimeError(
                    f"{self._doing}: {mark.by} collects garbage in {self._place.url} since {mark.since}, and did not end "
                    f"within {patience:,.0f} s; try again. One that was killed counts for {MARK_LIFE:,.0f} s"
                )
            if not told:
                tell(f"stamp: {self._doing} waits for the end of the gc that {mark.by} began at {mark.since}")
                told = True
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)
            self.renew()  # which is how the store tells the time, too

    def remove(self) -> None:
        """Where it cannot be, it ends by itself."""
        with contextlib.suppress(RuntimeError):
            self._place.folder.remove(self._path)


_LATE = "a collection may have taken what this call relied on; begin it again, nothing refers to what it wrote"


@contextlib.contextmanager
def leased(
    place: Place, doing: str, patience: float, *, blobs: Iterable[str] = (), releases: Iterable[str] = ()
) -> Iterator[Lease]:
    """No collection takes these, from when the body begins until it ends, or the process was killed LEASE_LIFE ago."""
    lease = Lease(place, doing, blobs, releases)
    try:
        lease.write()
        lease.wait_for_collection(patience)
        yield lease
    finally:
        lease.remove()


def live_mark(place: Place, time: float) -> Mark | None:
    """Of the collection that runs at that time of the store."""
    found = place.read(GC)
    if found is None:
        return None
    mark = read_mark(place, found[0])
    written = place.folder.modified(GC)
    return None if mark is None or (written is not None and time - written > MARK_LIFE) else mark


def read_mark(place: Place, text: str) -> Mark | None:
    """None where its collection has ended."""
    read = parsed(place.folder.place(GC), text, FORMAT, "mark")
    return None if read["ended"] else Mark(read["id"], read["by"], read["since"])


def mark_text(mark: Mark, *, ended: bool) -> str:
    contents = {"id": mark.id, "by": mark.by, "since": mark.since, "ended": ended}
    return document(FORMAT, contents)


@dataclass(frozen=True)
class Leased:
    """What live leases name, and the paths of dead ones."""

    blobs: frozenset[str]
    releases: frozenset[str]
    dead: tuple[str, ...]


def read_leases(place: Place, time: float) -> Leased:
    """At that time of the store. Raises ValueError for a lease that cannot be read."""
    blobs: set[str] = set()
    releases: set[str] = set()
    dead = []
    for path, entry in place.folder.entries(LEASES).items():
        if time - entry.modified > LEASE_LIFE:
            dead.append(path)
        elif (found := place.read(path)) is not None:  # else its upload ended meanwhile, and there is a release
            read: dict[str, Any] = parsed(place.folder.place(path), found[0], FORMAT, "lease")
            blobs.update(read["blobs"])
            releases.update(read["releases"])
    return Leased(frozenset(blobs), frozenset(releases), tuple(dead))
