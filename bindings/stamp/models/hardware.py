"""What there is to compute on."""

from __future__ import annotations

import dataclasses
from typing import Any

from .. import _stamp
from ..base.checks import whole_number


@dataclasses.dataclass(frozen=True)
class DeviceInfo:
    """A device, or why it cannot be had."""

    name: str  # as ``device=`` takes it
    description: str  # processor or GPU
    available: bool
    reason: str  # why it is not available


def check_device_names(device: Any, precision: Any) -> None:
    for name, value, example in (("device", device, "cuda:0"), ("precision", precision, "fp32")):
        if not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}, expected a name like 'auto' or '{example}'")


def open_device(device: str, precision: str) -> _stamp.Device:
    check_device_names(device, precision)
    return _stamp.open_device(device, precision)


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


def set_num_threads(threads: int) -> None:
    """Threads that computations shall use, 1 or more."""
    _stamp.set_num_threads(whole_number("set_num_threads: threads", threads, least=1))
