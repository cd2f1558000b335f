"""What there is to compute on."""

from __future__ import annotations

import dataclasses

from . import _stamp


@dataclasses.dataclass(frozen=True)
class DeviceInfo:
    """A device, or why it cannot be had."""

    name: str  # as ``device=`` takes it
    description: str  # processor or GPU
    available: bool
    reason: str  # why it is not available


def devices() -> list[DeviceInfo]:
    """The CPU and every CUDA device there is; where there is none, "cuda" with the reason.

    Looks for CUDA on the first call: every GPU is asked to run a kernel.

    >>> import stamp
    >>> stamp.devices()[0].name
    'cpu'
    """
    return [
        DeviceInfo(name, description, available=not reason, reason=reason)
        for name, description, reason in _stamp.devices()
    ]
