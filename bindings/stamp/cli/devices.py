"""stamp devices."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import stamp

from .arguments import Parents


def add(verbs: Any, parents: Parents) -> None:
    devices = verbs.add_parser("devices", parents=[parents.output], help="what there is to compute on")
    devices.set_defaults(verb=_devices)


def _devices(args: argparse.Namespace) -> dict[str, Any]:
    found = stamp.devices()
    if not args.json:
        for device in found:
            reason = "" if device.available else f"not available: {device.reason}"
            print(f"{device.name:8}", *filter(None, (device.description, reason)))
    return {"devices": [dataclasses.asdict(device) for device in found]}
