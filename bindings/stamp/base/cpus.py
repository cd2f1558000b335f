"""The cores that a container may keep busy, which is not what the machine has."""

from __future__ import annotations

import math
import pathlib

_CGROUP = pathlib.Path("/sys/fs/cgroup")


def allowed_cpus(cgroup: pathlib.Path = _CGROUP) -> int | None:
    """Cores' worth of time that this container has, rounded up; None where nothing limits it."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):  # of version 1
        try:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        cores = int(quota) / int(period)
    except ValueError:  # "max"
        return None
    return max(1, math.ceil(cores)) if cores > 0 else None  # -1 of version 1
