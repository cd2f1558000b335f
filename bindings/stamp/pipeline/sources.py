"""Whether a shop's raw clicks are still the same."""

from __future__ import annotations

import glob
import hashlib
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from ..base.extras import import_extra
from ..base.folders import is_url
from ..data.engines.opening import ENGINES

_WHEN = ("ETag", "etag", "mtime", "LastModified", "updated", "created")  # that file systems tell of a file's state


def source_fingerprint(source: str) -> str | None:
    """Of the names, sizes and states of files, wherever the folder lies that they are in; None for tables of an engine, of
    which that is not known.

    Raises
    ------
    ValueError
        There is no such file.
    """
    scheme = source.partition("://")[0]
    if is_url(source) and scheme in ENGINES:
        return None
    files = sorted(_remote(source) if is_url(source) else _local(source))
    if not files:
        raise ValueError(f"source {source}: there is no such file")
    digest = hashlib.sha256()
    for file in files:
        digest.update(repr(file).encode())
    return digest.hexdigest()


def _local(source: str) -> Iterable[tuple[str, int, str]]:
    root = os.path.dirname(source)
    while glob.has_magic(root):
        root = os.path.dirname(root)
    for path in glob.glob(source, recursive=True) if glob.has_magic(source) else [source]:
        found = pathlib.Path(path)
        for file in found.rglob("*") if found.is_dir() else [found]:
            if file.is_file():
                status = file.stat()
                yield os.path.relpath(file, root or "."), status.st_size, str(status.st_mtime_ns)


def _remote(source: str) -> Iterable[tuple[str, int, str]]:
    fsspec = import_extra("fsspec", purpose=f"looking at {source}", extra="prepare")
    system, path = fsspec.core.url_to_fs(source)
    found: dict[str, dict[str, Any]] = (
        system.glob(path, detail=True) if glob.has_magic(path) else system.find(path, detail=True)
    )
    for name, told in found.items():
        if told["type"] == "file":
            yield name, int(told["size"]), str(next((told[key] for key in _WHEN if told.get(key)), ""))
