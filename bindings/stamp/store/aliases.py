"""Aliases: which release is the champion, the candidate. All that changes in a store, by compare-and-swap."""

from __future__ import annotations

import dataclasses
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .documents import document, now, parsed, time_text
from .leases import leased
from .place import ALIASES, BLOBS, Place, require_name
from .releases import Release, require_release

FORMAT = 1
KEPT = 30  # moves and releases before that an alias remembers
_TRIES = 200  # of a move that others are faster than
_LOST = 3  # answers that may be lost in a row


class ConflictError(RuntimeError):
    """The alias is not at the release that was expected: somebody else moved it. Nothing was changed.

    Attributes
    ----------
    alias : Alias or None
        As it is; None where there is none.
    """

    def __init__(self, message: str, alias: Alias | None):
        super().__init__(message)
        self.alias = alias


class Whatever:
    """Of `expect`: what is there now is right."""

    def __repr__(self) -> str:
        return "WHATEVER"


WHATEVER = Whatever()


@dataclass(frozen=True)
class Move:
    """What happened to an alias.

    Attributes
    ----------
    what : str
        "promote" or "rollback".
    release, before : str, str or None
        Where it went, and where it came from.
    operation : str
        Of the call, of which there is one move.
    """

    what: str
    release: str
    before: str | None
    since: str
    by: str
    operation: str


@dataclass(frozen=True)
class Alias:
    """An alias of a release.

    Attributes
    ----------
    name, release, digest : str
    since, by, operation : str
        Of the last move: when by the mover's clock, who, and the id of the call.
    previous : tuple of str
        Where rollbacks go, newest first.
    history : tuple of Move
        Newest first, at most 30.
    """

    name: str
    release: str
    digest: str
    since: str
    by: str
    operation: str
    previous: tuple[str, ...]
    history: tuple[Move, ...]

    @property
    def needs(self) -> frozenset[str]:
        """Releases that it may go back to, or was at."""
        return frozenset((self.release, *self.previous, *(move.release for move in self.history)))

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "name"}

    def to_json(self) -> str:
        return document(FORMAT, self.to_dict())

    @classmethod
    def from_json(cls, where: str, name: str, text: str) -> Alias:
        """Raises ValueError, which begins with `where`, for what is no alias of this format."""
        read = parsed(where, text, FORMAT, "alias")
        try:
            return cls(
                name=name,
                release=read["release"],
                digest=read["digest"],
                since=read["since"],
                by=read["by"],
                operation=read["operation"],
                previous=tuple(read["previous"]),
                history=tuple(Move(**move) for move in read["history"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{where} is an alias of format {FORMAT}, but damaged: {error!r}") from None


def find_alias(place: Place, name: str) -> Alias | None:
    return _read(place, name)[0]


def all_aliases(place: Place) -> dict[str, Alias]:
    """By name, sorted."""
    names = [name[: -len(".json")] for name in place.folder.names(ALIASES) if name.endswith(".json")]
    return {name: alias for name in names if (alias := find_alias(place, name)) is not None}


def require_alias(place: Place, call: str, name: str) -> Alias:
    """Raises ValueError, which begins with `call`, where there is none."""
    if (alias := find_alias(place, name)) is not None:
        return alias
    there = ", ".join(all_aliases(place)) or "none: promote a release"
    raise ValueError(f"{call}: {place.url} has no alias {name!r}; there are {there}")


def promote(
    place: Place,
    alias: str,
    release: str,
    *,
    expect: str | None | Whatever,
    by: str,
    operation: str | None,
    patience: float,
) -> Alias:
    """As :meth:`Store.promote`."""
    call = f"promote {alias}"
    require_name(call, alias)
    place.require_made(call)

    def step(current: Alias | None) -> tuple[str, tuple[str, ...]]:
        return release, () if current is None else (current.release, *current.previous)

    with leased(place, call, patience, releases=[release]):
        return _move(place, alias, "promote", step, expect, by, operation)


def rollback(
    place: Place, alias: str, *, expect: str | Whatever, to: str | None, by: str, operation: str | None, patience: float
) -> Alias:
    """As :meth:`Store.rollback`."""
    call = f"rollback {alias}"

    def step(current: Alias | None) -> tuple[str, tuple[str, ...]]:
        if current is None:
            raise ValueError(f"{call}: {place.url} has no alias {alias!r} any more")
        if not current.previous:
            raise ValueError(f"{call}: there is no release before {current.release}; promote another one")
        target = current.previous[0] if to is None else to
        if target not in current.previous:
            raise ValueError(
                f"{call}: {target} is not among the releases before {current.release}: {', '.join(current.previous)}; "
                "promote it instead"
            )
        return target, current.previous[current.previous.index(target) + 1 :]

    current = require_alias(place, call, alias)
    with leased(place, call, patience, releases=current.previous):
        return _move(place, alias, "rollback", step, expect, by, operation)


def _whole(place: Place, call: str, name: str) -> Release:
    """A release all of whose blobs are there, by their sizes. Raises ValueError where there is no such release, RuntimeError
    where a blob is missing."""
    release = require_release(place, call, name)
    there = place.folder.list(BLOBS)
    for path, file in release.files.items():
        size = there.get(f"{BLOBS}/{file.sha256}")
        if size != file.bytes:
            found = "is missing" if size is None else f"has {size:,} bytes, not {file.bytes:,}"
            raise RuntimeError(
                f"{call}: the blob {file.sha256} of {name} ({path}) {found}; upload its bundle again, and look for more with "
                "stamp store verify"
            )
    return release


def _move(
    place: Place,
    name: str,
    what: str,
    step: Callable[[Alias | None], tuple[str, tuple[str, ...]]],
    expect: str | None | Whatever,
    by: str,
    operation: str | None,
) -> Alias:
    """Swap until it is won, or cannot be. An answer that was lost is no matter: the next look finds the operation."""
    call, path = f"{what} {name}", f"{ALIASES}/{name}.json"
    operation, lost = operation or secrets.token_hex(16), 0
    digests: dict[str, str] = {}  # of releases that were looked at, and are whole
    for attempt in range(_TRIES):
        current, version = _read(place, name)
        if current is not None and any(move.operation == operation for move in current.history):
            return current
        if not isinstance(expect, Whatever) and (current.release if current else None) != expect:
            raise ConflictError(_conflict(place, call, name, expect, current), current)
        target, previous = step(current)
        if current is not None and current.release == target:
            return current
        if target not in digests:
            digests[target] = _whole(place, call, target).digest
        before = None if current is None else current.release
        move = Move(what, target, before, time_text(now()), by, operation)
        history = (move, *(current.history if current else ()))[:KEPT]
        new = Alias(name, target, digests[target], move.since, by, operation, previous[:KEPT], history)
        try:
            if place.create(path, new.to_json()) if version is None else place.swap(path, new.to_json(), version):
                return new
        except RuntimeError as error:
            lost += 1
            if isinstance(error.__cause__, PermissionError) or lost == _LOST:
                if (now_there := _read(place, name)[0]) and now_there.operation == operation:
                    return now_there
                raise
        time.sleep(random.uniform(0, min(0.02 * (attempt + 1), 1.0)))
    raise RuntimeError(f"{call}: others moved it {_TRIES} times meanwhile; nothing was changed, try again")


def _read(place: Place, name: str) -> tuple[Alias | None, str | None]:
    """With its version."""
    path = f"{ALIASES}/{name}.json"
    found = place.read(path)
    return (None, None) if found is None else (Alias.from_json(place.folder.place(path), name, found[0]), found[1])


def _conflict(place: Place, call: str, name: str, expect: str | None, current: Alias | None) -> str:
    expected = f"{expect} was expected" if expect else "no alias was expected"
    if current is None:
        return f"{call}: {place.url} has no alias {name!r}, {expected}; nothing was changed"
    return (
        f"{call}: {current.by} moved it to {current.release} at {current.since}, {expected}; nothing was changed: judge "
        f"again against {current.release}"
    )
