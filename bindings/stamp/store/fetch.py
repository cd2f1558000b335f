"""Bringing a release to a local folder: written aside, verified, renamed."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from ..base.files import write_text
from .blobs import fetch_blob
from .place import Place, side_by_side
from .releases import DESCRIPTION, Release, StoredFile, hashed


@dataclass(frozen=True)
class Fetched:
    """Files and bytes that came from the store, and that were here."""

    files: int = 0
    bytes: int = 0
    files_here: int = 0
    bytes_here: int = 0


def fetch_release(place: Place, release: Release, folder: pathlib.Path, here: Mapping[str, pathlib.Path]) -> Fetched:
    """Fill `folder`, which a fetch that was killed may have begun to fill.

    Parameters
    ----------
    here : dict of str to path
        Local files by their SHA-256, as somebody said: they are linked, or copied where links cannot be, and verified.

    Raises
    ------
    RuntimeError
        A blob is missing or altered, or a file cannot be written.
    """

    def bring(path: str) -> bool:
        """Whether it was here."""
        file, to = release.files[path], folder / path
        if is_content(to, file):
            return True
        to.unlink(missing_ok=True)
        to.parent.mkdir(parents=True, exist_ok=True)
        if file.sha256 in here and _link(here[file.sha256], to):
            if is_content(to, file):
                return True
            to.unlink()
        fetch_blob(place, file, to, f"{release.name}/{path}")
        return False

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stray in [path for path in folder.rglob("*") if path.is_file()]:
            if stray.relative_to(folder).as_posix() not in release.files:
                stray.unlink()
        were_here = dict(zip(release.files, side_by_side(bring, release.files), strict=True))
    except OSError as error:
        raise RuntimeError(f"cannot write {error.filename or folder}: {error.strerror or error}") from error
    write_text(folder / DESCRIPTION, description(release))
    sizes = {True: [release.files[path].bytes for path, was in were_here.items() if was]}
    sizes[False] = [release.files[path].bytes for path, was in were_here.items() if not was]
    return Fetched(len(sizes[False]), sum(sizes[False]), len(sizes[True]), sum(sizes[True]))


def description(release: Release) -> str:
    """release.json, as servers read it. It holds for a time of the products only where one is known."""
    known = {} if release.products_time is None else {"products_time": release.products_time}
    files = {path: {"sha256": file.sha256, "bytes": file.bytes} for path, file in sorted(release.files.items())}
    return json.dumps({"release": release.name, "digest": release.digest, **known, "files": files}, indent=1) + "\n"


def export(place: Place, release: Release, to: pathlib.Path) -> Fetched:
    """As :meth:`Store.export`."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ValueError(f"export: {to} is there already; expected a new place, or an empty folder")
    aside = to.parent / f".{to.name}.{os.getpid()}.part"
    try:
        fetched = fetch_release(place, release, aside, {})
        try:
            os.replace(aside, to)
        except OSError as error:
            raise RuntimeError(f"export: cannot write {to}: {error.strerror}") from error
        return fetched
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def is_content(path: pathlib.Path, file: StoredFile) -> bool:
    """Whether the content is that, by its hash."""
    return path.is_file() and path.stat().st_size == file.bytes and hashed(path) == file


def _link(source: pathlib.Path, to: pathlib.Path) -> bool:
    """Whether there is something at `to` now."""
    try:
        os.link(source, to)
    except OSError:  # another file system, or one without links
        with contextlib.suppress(OSError):
            shutil.copyfile(source, to)
    return to.exists()
