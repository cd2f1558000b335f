"""Bringing releases to where a server looks for them, once or for as long as it runs."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import overload

from .. import _stamp
from ..base.checks import whole_number
from ..base.streams import tell
from ..serving.bundles import inspect_bundle
from .aliases import Alias, find_alias, require_alias
from .directory import CANDIDATE, CURRENT, ServedDirectory
from .fetch import Fetched
from .place import Place
from .releases import Release, require_release
from .store import Store

_AGAIN = 600.0  # s: a disk may be full for a while, and a release may look damaged then


@dataclass(frozen=True)
class Synced:
    """What a look at the store brought.

    Attributes
    ----------
    release, digest : str
        Of current.json.
    candidate : str or None
        Of candidate.json.
    changed : bool
        One of the two is another than before.
    fetched : Fetched
        What came from the store, and what was here, for releases that were not pointed at before.
    removed : tuple of str
        Releases that are here no more.
    """

    release: str
    digest: str
    candidate: str | None
    changed: bool
    fetched: Fetched
    removed: tuple[str, ...]


@overload
def sync(
    store: Store | str | os.PathLike[str],
    *,
    to: str | os.PathLike[str],
    alias: str = ...,
    candidate: str | None = ...,
    keep: int = ...,
    watch: None = None,
) -> Synced: ...


@overload
def sync(
    store: Store | str | os.PathLike[str],
    *,
    to: str | os.PathLike[str],
    alias: str = ...,
    candidate: str | None = ...,
    keep: int = ...,
    watch: float | None,
) -> Synced | None: ...


def sync(
    store: Store | str | os.PathLike[str],
    *,
    to: str | os.PathLike[str],
    alias: str = "champion",
    candidate: str | None = None,
    keep: int = 3,
    watch: float | None = None,
) -> Synced | None:
    """Bring the release of an alias to a directory that a server watches (docs/server.md): only what is new of it, verified,
    and then current.json.

    Parameters
    ----------
    store : Store, str or path
    to : path
        The directory.
    alias, candidate : str
        Whose release current.json and candidate.json name. The latter is removed where there is no such alias, or it is at
        the same release.
    keep : int
        Releases that stay in the directory, 2 or more: those that were current last. The candidate stays, too.
    watch : float, optional
        Seconds between two looks: goes on until SIGTERM. What fails is told once on standard error, and tried again.

    Returns
    -------
    synced : Synced, or None
        Of the last look that brought something; None where SIGTERM came before it.

    Raises
    ------
    ValueError
        There is no such alias, with those that there are; or something else is in the way.
    RuntimeError
        The store cannot be read, a blob is missing or altered, the release is of a newer library, the directory cannot be
        written, or another sync keeps it. current.json is as it was.
    """
    keep = whole_number("sync: keep", keep, least=2)
    if watch is not None and not (math.isfinite(watch) and watch > 0):
        raise ValueError(f"sync: watch is {watch!r}, expected seconds above 0")
    look = _Look(
        (store if isinstance(store, Store) else Store(store)).place, ServedDirectory(to), alias, candidate, keep
    )
    with look.directory.locked():
        return look() if watch is None else _watched(look, watch)


class _Look:
    """One look at the store after another."""

    def __init__(self, place: Place, directory: ServedDirectory, alias: str, candidate: str | None, keep: int):
        self._place, self.directory, self._alias, self._candidate, self._keep = place, directory, alias, candidate, keep
        self._refused: dict[str, tuple[str, float]] = {}  # by digest: why, and until when it is not looked at again

    def __call__(self) -> Synced:
        self._place.require_store()
        alias = require_alias(self._place, "sync", self._alias)
        release, fetched, changed = self._bring(alias, CURRENT)
        candidate, more, other = self._bring_candidate(release)
        total = Fetched(*(a + b for a, b in zip(vars(fetched).values(), vars(more).values(), strict=True)))
        removed = self.directory.tidy(self._keep)
        return Synced(release.name, release.digest, candidate, changed or other, total, removed)

    def _bring_candidate(self, current: Release) -> tuple[str | None, Fetched, bool]:
        alias = None if self._candidate is None else find_alias(self._place, self._candidate)
        if alias is None or alias.release == current.name:
            return None, Fetched(), self.directory.unpoint(CANDIDATE)
        release, fetched, changed = self._bring(alias, CANDIDATE)
        return release.name, fetched, changed

    def _bring(self, alias: Alias, pointer: str) -> tuple[Release, Fetched, bool]:
        """Whether the pointer moved, too."""
        release = require_release(self._place, f"sync: {alias.name}", alias.release)
        there = self.directory.pointer(pointer) or {}
        fetched = Fetched()
        if there.get("digest") != release.digest or not self.directory.holds(release):
            why, until = self._refused.get(release.digest, ("", 0.0))
            if time.monotonic() < until:
                raise RuntimeError(why)
            fetched = self.directory.bring(self._place, release)
            self._require_readable(release, pointer)
        return release, fetched, self.directory.point(pointer, release, alias.since)

    def _require_readable(self, release: Release, pointer: str) -> None:
        try:
            inspect_bundle(self.directory.release(release.name))
        except (RuntimeError, ValueError) as error:
            why = (
                f"sync: {release.name} cannot be read by this library, stamp {_stamp.__version__}: {error}; {pointer} stays "
                "as it is. Where a newer library made it, update the servers first"
            )
            self._refused[release.digest] = why, time.monotonic() + _AGAIN
            raise RuntimeError(why) from error


class _Ended(BaseException):
    """By SIGTERM."""


def _watched(look: _Look, seconds: float) -> Synced | None:
    said, synced = None, None
    with _ended_by_signal():
        while True:
            try:
                synced = look()
                if synced.changed or said is not None:
                    tell(f"stamp: {told(synced)}")
                said = None
            except (ValueError, RuntimeError, OSError) as error:
                if str(error) != said:
                    tell(f"stamp: {error}; looking again every {seconds:g} s")
                said = str(error)
            time.sleep(seconds)
    if synced is None:
        raise RuntimeError(
            f"sync: ended by SIGTERM before anything was brought: {said or 'the first look had not ended'}"
        )
    return synced


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """The body ends with SIGTERM. Python hands signals to the main thread alone; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise _Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _Ended:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def told(synced: Synced) -> str:
    """A line for people."""
    fetched = synced.fetched
    candidate = f", candidate {synced.candidate}" if synced.candidate else ""
    removed = f"; removed {', '.join(synced.removed)}" if synced.removed else ""
    return (
        f"current is {synced.release}{candidate}{'' if synced.changed else ', as before'}: {fetched.files:,} files of "
        f"{fetched.bytes:,} bytes fetched, {fetched.files_here:,} of {fetched.bytes_here:,} bytes were here{removed}"
    )
