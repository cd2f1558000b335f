"""A store of releases: all that is done with one."""

from __future__ import annotations

import datetime
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from . import aliases as moves
from .aliases import WHATEVER, Alias, Whatever, all_aliases, find_alias, require_alias
from .collection import Collected, collect
from .differences import Difference, diff
from .fetch import Fetched, export
from .leases import PATIENCE, Lease
from .place import Place, require_name, whoami
from .releases import Release, all_releases, require_release
from .upload import Uploaded, upload
from .verification import Verified, verify


class Store:
    """Releases of the recommender, and aliases that say which one serves (docs/store.md).

    Parameters
    ----------
    url : str or path
        A local folder, or gs://bucket/folder, s3://bucket/folder. A place with nothing in it is an empty store.
    patience : float
        Seconds that uploads and promotions wait for the end of a collection of garbage. One that was killed counts for an
        hour.

    Raises
    ------
    ImportError
        A package that reads such URLs is missing.
    ValueError
        No file system is of this scheme.
    """

    def __init__(self, url: str | os.PathLike[str], *, patience: float = PATIENCE):
        self.place = Place(url)
        self._patience = patience

    @property
    def url(self) -> str:
        return self.place.url

    def upload(
        self,
        bundle: str | os.PathLike[str],
        *,
        parent: str | None = None,
        record: str | os.PathLike[str] | None = None,
        made_by: Mapping[str, Any] | None = None,
        products_time: str | datetime.datetime | None = None,
        name: str | None = None,
        created: datetime.datetime | None = None,
    ) -> Uploaded:
        """Make a release of a bundle. It is verified first; only contents that the store has not are moved, and each is read
        back. A call that is killed leaves nothing that anybody sees, and can be made again.

        Parameters
        ----------
        bundle : path
            As :func:`stamp.build_bundle` makes it. A release.json in it is left out.
        parent : str, optional
            The release that it came from.
        record : path, optional
            A folder of reports for people: index.html is what ``stamp store show --open`` opens.
        made_by : dict, optional
            Fingerprints, versions, options, as JSON.
        products_time : str or datetime, optional
            When the shop's catalog was exported: servers forget prices that were set before (docs/server.md).
        name : str, optional
            By default time and digest: 2026-11-28T0312Z-3f9c.
        created : datetime, optional
            By default now, with its zone.

        Returns
        -------
        uploaded : Uploaded
            With the release as it is in the store: the one that was there, if of the same content.

        Raises
        ------
        ValueError
            The name has a release of other content, there is no such parent, or the place holds something else.
        RuntimeError
            The bundle is damaged, the store cannot be written, or a collection of garbage did not end.
        """
        return upload(
            self.place,
            bundle,
            parent=parent,
            record=record,
            made_by=made_by or {},
            products_time=products_time,
            name=name,
            created=created,
            patience=self._patience,
        )

    def releases(self) -> dict[str, Release]:
        """All of them by name, sorted, which is by time for names that the store gave. Raises ValueError for one that is
        damaged."""
        self.place.require_store()
        return all_releases(self.place)

    def release(self, name: str) -> Release:
        """Of a name, or of an alias. Raises ValueError where there is neither."""
        require_name("release", name)
        self.place.require_store()
        alias = find_alias(self.place, name)
        return require_release(self.place, "release", name if alias is None else alias.release)

    def aliases(self) -> dict[str, Alias]:
        """All of them by name, sorted. Raises ValueError for one that is damaged."""
        self.place.require_store()
        return all_aliases(self.place)

    def alias(self, name: str) -> Alias:
        """Raises ValueError where there is none, with those that there are."""
        require_name("alias", name)
        self.place.require_store()
        return require_alias(self.place, "alias", name)

    def require_writable(self) -> None:
        """Raises RuntimeError where nothing can be written, ValueError where something else is there. An empty place becomes
        a store."""
        self.place.require_store()
        self.place.make_store()
        lease = Lease(self.place, "look")
        lease.write()
        lease.remove()

    def diff(self, before: str, after: str) -> Difference:
        """What the second release changes of the first; names or aliases. Raises ValueError where there is none such."""
        return diff(self.release(before), self.release(after))

    def promote(
        self,
        alias: str,
        release: str,
        *,
        expect: str | None | Whatever = WHATEVER,
        by: str | None = None,
        operation: str | None = None,
    ) -> Alias:
        """Let an alias be at a release, all of whose blobs are there. Of two that expect the same, one wins.

        Parameters
        ----------
        alias, release : str
        expect : str or None, optional
            The release where it must be now, as the one that `release` was judged against; None: there is no such alias
            yet. By default it may be anywhere, and a call that others are faster than goes on after them.
        by : str, optional
            Whom others are told of; by default user and host.
        operation : str, optional
            An id of what is done: once it is in the alias's history, further calls with it change nothing, and return the
            alias. So a caller that was killed can ask again.

        Returns
        -------
        alias : Alias
            As it is now. Where it was at that release already, nothing is changed.

        Raises
        ------
        ConflictError
            It is not where it was expected: says who moved it where. Nothing was changed.
        ValueError
            There is no such release, or the alias is no name.
        RuntimeError
            A blob is missing, or the store cannot be written.
        """
        return moves.promote(
            self.place,
            alias,
            release,
            expect=expect,
            by=by or whoami(),
            operation=operation,
            patience=self._patience,
        )

    def rollback(
        self,
        alias: str,
        *,
        expect: str | Whatever = WHATEVER,
        to: str | None = None,
        by: str | None = None,
        operation: str | None = None,
    ) -> Alias:
        """Let an alias be at the release before, or at `to`, one of those before. Else as :meth:`promote`; the release that
        it leaves is in the history, and no more where a further rollback would go."""
        self.place.require_made(f"rollback {alias}")
        return moves.rollback(
            self.place, alias, expect=expect, to=to, by=by or whoami(), operation=operation, patience=self._patience
        )

    def export(self, release: str, to: str | os.PathLike[str]) -> Fetched:
        """Write the bundle of a release, a name or an alias, with release.json, to a new folder, whole or not at all.

        Raises
        ------
        ValueError
            There is no such release, or `to` is there already.
        RuntimeError
            A blob is missing or altered, or the folder cannot be written.
        """
        return export(self.place, self.release(release), pathlib.Path(to))

    def verify(self, release: str | None = None) -> Verified:
        """Read every blob and record of a release, a name or an alias, or of all. Raises RuntimeError where the store cannot
        be read; what is wrong with it is returned."""
        return verify(self.place, None if release is None else self.release(release).name)

    def gc(self, *, keep: int = 7, grace: float = 86_400.0, dry_run: bool = False) -> Collected:
        """Remove what nothing needs: releases that are older than `grace` seconds, and that neither an alias, its history
        nor the `keep` newest are; blobs of that age that no release and no upload needs.

        Parameters
        ----------
        keep : int
            Releases, 0 or more.
        grace : float
            Seconds, 0 or more, by the store's own clock.
        dry_run : bool
            Say what would go. Uploads wait for this, too.

        Raises
        ------
        ValueError
            A release, an alias or a lease cannot be read: nothing is removed.
        RuntimeError
            Another collection runs, or the store cannot be written.
        """
        return collect(self.place, keep=keep, grace=grace, dry_run=dry_run)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"
