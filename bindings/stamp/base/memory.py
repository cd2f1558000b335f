"""What this process held of memory, and what it may still hold."""

from __future__ import annotations

import pathlib


def _kilobytes(file: str, name: str) -> int:
    """Bytes that a line "name: … kB" of a file in /proc says."""
    fields = dict(line.split(":", 1) for line in pathlib.Path(file).read_text().splitlines())
    return int(fields[name].split()[0]) * 1024


def peak_memory() -> int:
    """Bytes that this process held at most; getrusage would count the process that spawned it, too."""
    return _kilobytes("/proc/self/status", "VmHWM")


def available_memory() -> int:
    """Bytes that this process may still use: what the machine has free, and what its cgroup is allowed."""
    available = _kilobytes("/proc/meminfo", "MemAvailable")
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            available = min(available, int(pathlib.Path(limit).read_text()) - int(pathlib.Path(used).read_text()))
        except (OSError, ValueError):  # not that version, or "max"
            continue
    return max(1, available)
