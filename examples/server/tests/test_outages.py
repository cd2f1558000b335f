"""Bigtable gone, hung or slow under a server: answers go on without events, in time, and with them once it is back."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest
from emulator import TABLE, Emulator, Proxy
from release_directory import wait_until
from serving import Server

DEADLINE_MS = 10_000  # far beyond visits.timeout_ms: an answer that waited for Bigtable longer would be 503


@pytest.fixture
def emulator():
    emulator = Emulator()
    yield emulator
    emulator.go_on()
    emulator.end()


@pytest.fixture
def proxy(emulator):
    proxy = Proxy(emulator.port)
    yield proxy
    proxy.end()


@pytest.fixture
def server(start, proxy):
    return start(
        how={"environment": {"BIGTABLE_EMULATOR_HOST": proxy.address}},
        visits={"store": "bigtable", "timeout_ms": 50, "bigtable": TABLE},
        predict={"deadline_ms": DEADLINE_MS},
        admission={"queue_ms": 60000},
    )


class Answer(NamedTuple):
    status: int
    products: int
    degraded: bool  # without events
    seen: bool  # an event, which the catalog does not know
    seconds: float


class Callers:
    """Ask for one visitor's lists without a pause, and keep what they were told."""

    def __init__(self, server: Server, visitor: str) -> None:
        self.server, self.visitor = server, visitor
        self.answers: list[Answer] = []
        self.over = False
        self.threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def _ask(self) -> None:
        while not self.over:
            began = time.monotonic()
            reply = self.server.predict("home", userEvent={"visitorId": self.visitor})
            said = reply.json
            self.answers.append(
                Answer(
                    reply.status,
                    len(said.get("results", [])),
                    "events" in said.get("degraded", []),
                    bool(said.get("missingIds")),
                    time.monotonic() - began,
                )
            )

    def more(self, n: int = 20) -> list[Answer]:
        """The next ones."""
        began = len(self.answers)
        wait_until(lambda: len(self.answers) >= began + n)
        return self.answers[began:]

    def __enter__(self) -> "Callers":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over = True
        for thread in self.threads:
            thread.join()


def gone(emulator: Emulator, _: Proxy) -> Callable[[], None]:
    emulator.end()
    return emulator.begin


def hung(emulator: Emulator, _: Proxy) -> Callable[[], None]:
    emulator.stop()
    return emulator.go_on


def slow(_: Emulator, proxy: Proxy) -> Callable[[], None]:
    proxy.delay = 0.3

    def quick() -> None:
        proxy.delay = 0

    return quick


@pytest.mark.parametrize("outage", [gone, hung, slow])
def test_answers_go_on(server, emulator, proxy, outage):
    def write() -> int:
        return server.write("ann", "of no catalog").status  # answers name it as missing: it was read

    wait_until(lambda: write() == 200)
    with Callers(server, "ann") as callers:
        wait_until(lambda: any(answer.seen for answer in callers.more()))
        end = outage(emulator, proxy)
        wait_until(lambda: all(answer.degraded for answer in callers.answers[-4:]))
        without = callers.more()
        assert write() == (200 if outage is slow else 503)
        assert server.get("/readyz").status == 200
        end()
        wait_until(lambda: write() == 200)
        wait_until(lambda: any(answer.seen for answer in callers.more()))
    assert all(answer.degraded and not answer.seen for answer in without)
    for answer in callers.answers:
        assert answer.status == 200 and answer.products == 4
        assert answer.degraded or answer.seen or outage is gone  # whose table comes back empty
        assert answer.seconds < DEADLINE_MS / 1000
    assert server.metric("stamp_degraded_total", 'part="events"') >= len(without)
