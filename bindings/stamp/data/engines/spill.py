"""Folders for what does not fit in memory, which are gone with their process, however it ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile
from typing import Any

_PREFIX, _OWNER = "stamp-prepare-", "stamp.owner"  # a file that its process holds locked


class SpillFolder:
    """A new folder below `parent`, by default the system's for temporary files. Those that killed processes left there are
    removed: nobody holds their file of ownership any more.

    Raises
    ------
    ValueError
        `parent` is no folder.
    RuntimeError
        It cannot be written to.
    """

    def __init__(self, parent: str | os.PathLike[str] | None):
        within = pathlib.Path(tempfile.gettempdir() if parent is None else parent)
        if not within.is_dir():
            raise ValueError(f"engine: spill is {os.fspath(within)!r}, which is no folder")
        for left in within.glob(f"{_PREFIX}*/{_OWNER}"):
            _remove_if_left(left)
        try:
            self.path = tempfile.mkdtemp(prefix=_PREFIX, dir=within)
            self._owner: Any = open(os.path.join(self.path, "new"), "wb")
            fcntl.flock(self._owner, fcntl.LOCK_EX)
            os.rename(os.path.join(self.path, "new"), os.path.join(self.path, _OWNER))  # locked by the time it is seen
        except OSError as error:
            raise RuntimeError(f"engine: spill {os.fspath(within)!r} cannot be written to: {error.strerror}") from None

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._owner.close()


def _remove_if_left(owner: pathlib.Path) -> None:
    with contextlib.suppress(OSError), owner.open("rb") as file:  # it may go meanwhile, or be somebody else's
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(owner.parent, ignore_errors=True)
