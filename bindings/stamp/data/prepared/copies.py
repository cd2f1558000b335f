"""Files of prepared data that other prepared data have, too."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence

from ...base.folders import Folder
from .parts import PartFile
from .prepared import Prepared


def copy_files(source: Prepared, target: Folder, files: Sequence[PartFile]) -> list[PartFile]:
    """Written below another folder, where they are not there already; what was written is taken back where one cannot be.

    Raises
    ------
    ValueError
        One is missing.
    RuntimeError
        One cannot be read or written.
    """
    new: list[str] = []
    try:
        for file in files:
            there = target.size(file.path) is not None
            _copy(source, target, file.path)
            if not there:
                new.append(file.path)
    except BaseException:
        for path in new:
            target.remove(path)
        raise
    return list(files)


def _copy(source: Prepared, target: Folder, path: str) -> None:
    scratch = target.scratch(path.rpartition("/")[0])
    try:
        with source.target.open(path) as content, target.errors_named("write", path), open(scratch, "wb") as copy:
            shutil.copyfileobj(content, copy, 1 << 20)
        target.put(path, scratch)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(scratch)
