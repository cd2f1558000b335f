"""How much memory there is to work in."""

from __future__ import annotations

import os
import pathlib

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


def available_memory() -> int:
    """Bytes of this machine, or of this container where they are fewer."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _LIMITS:
        try:
            return min(machine, int(pathlib.Path(path).read_text()))
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
    return machine
