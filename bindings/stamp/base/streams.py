"""Standard output and error, which may be closed, or may close while we work."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any


class StandardError:
    """What is told to people beside the results. Where standard error is none, or can no longer be written to, what is
    told is lost, and no reason to stop: so this, and never sys.stderr, is what messages and bars go to."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a pipe or a terminal that has gone; a file that is closed
            if sys.stderr is not None:
                sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.flush()

    def isatty(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return sys.stderr is not None and sys.stderr.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        """The rest, as tqdm asks for it: encoding and file number."""
        return getattr(sys.stderr, name)


STDERR: Any = StandardError()


def tell(text: str) -> None:
    print(text, file=STDERR, flush=True)


def open_closed_streams() -> None:
    """Where a program was begun without one of the standard streams, it gets an empty one: else the first file that it
    opens takes that number, and whatever writes to it without asking writes into that file."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))


def finish(stream: Any) -> None:
    """Write what waits to be written. Where that cannot be, it goes nowhere, and the end of the program says nothing."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):  # one without a file number has no end of the program
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
