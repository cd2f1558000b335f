"""Several hosts on this machine: network namespaces on one bridge."""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

import pytest

CLONE_NEWNET = 0x40000000  # of <sched.h>


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """Hosts at 10.0.0.2, 10.0.0.3, … by their names, and that of whoever is `inside` at 10.0.0.1. Skips the test where
    there cannot be such."""

    def __init__(self, *names: str) -> None:
        self.addresses = {name: f"10.0.0.{2 + i}" for i, name in enumerate(names)}
        self.made: list[str] = []
        try:
            self._make()
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            self.end()
            pytest.skip(f"no network namespaces can be made here: {getattr(error, 'stderr', None) or error}")

    def _make(self) -> None:
        bridge = self._add("inside")
        _ip("-n", bridge, "link", "add", "bridge", "type", "bridge")
        _ip("-n", bridge, "address", "add", "10.0.0.1/24", "dev", "bridge")
        _ip("-n", bridge, "link", "set", "bridge", "up")
        for name, address in self.addresses.items():
            host = self._add(name)
            _ip("-n", bridge, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("-n", bridge, "link", "set", name, "master", "bridge", "up")
            _ip("-n", host, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "eth0", "up")

    def _add(self, name: str) -> str:
        namespace = self._namespace(name)
        _ip("netns", "add", namespace)
        self.made.append(namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")
        return namespace

    def _namespace(self, name: str) -> str:
        return f"stamp-{os.getpid()}-{name}"

    def at(self, name: str) -> dict:
        """What starts a process on that host."""
        return {"within": ("ip", "netns", "exec", self._namespace(name)), "host": self.addresses[name]}

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and those that it starts, are a host of the network."""
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(namespace: int) -> None:
            if libc.setns(namespace, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

        with open("/proc/thread-self/ns/net") as here, open(f"/run/netns/{self._namespace('inside')}") as there:
            enter(there.fileno())
            try:
                yield
            finally:
                enter(here.fileno())

    def end(self) -> None:
        for namespace in self.made:
            _ip("netns", "delete", namespace)
