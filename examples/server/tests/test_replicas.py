"""Replicas of a server, hosts of their own before one Bigtable: they come and go under load, and nobody notices."""

import http.client
import signal
import threading
import time
from collections import Counter, defaultdict

import pytest
from emulator import TABLE, Emulator
from network import Network
from release_directory import wait_until
from serving import Server, ask, event


class Balancer:
    """Sends each request to the next of those that said that they are ready, over connections that it keeps. It repeats
    none: what fails, fails for the caller."""

    def __init__(self) -> None:
        self.replicas: list[Server] = []
        self.ready: list[Server] = []
        self.turn = 0
        self.over = False
        self.connections = threading.local()
        self.prober = threading.Thread(target=self._probe)
        self.prober.start()

    def _probe(self) -> None:
        while not self.over:
            self.ready = [replica for replica in self.replicas if self._is_ready(replica)]
            time.sleep(0.3)

    def _is_ready(self, replica: Server) -> bool:
        try:
            return replica.get("/readyz").status == 200
        except OSError:
            return False

    def ask(self, path: str, body: dict):
        """The reply, and who gave it."""
        ready = self.ready
        self.turn += 1
        replica = ready[self.turn % len(ready)]
        kept = self.connections.__dict__
        if replica.host not in kept:
            kept[replica.host] = http.client.HTTPConnection(replica.host, replica.port, timeout=20)
        return ask(kept[replica.host], "POST", path, body), replica

    def end(self) -> None:
        self.over = True
        self.prober.join()


class Shoppers:
    """Threads of visitors who look at a product and ask for a list at once, which must know all that they looked at:
    answers name products that the catalog does not have."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.looked: dict[str, list[str]] = defaultdict(list)  # of each visitor, the products of written events
        self.answered: Counter[str] = Counter()  # by host
        self.failures: list[str] = []
        self.over = False
        self.threads = [threading.Thread(target=self._shop, args=(i,)) for i in range(3)]
        for thread in self.threads:
            thread.start()

    def _shop(self, thread: int) -> None:
        n = 0
        while not self.over:
            visitor, product = f"v{thread}.{n // 5}", f"of no catalog {thread}.{n}"
            n += 1
            try:
                self._look(visitor, product)
            except Exception as error:
                self.failures.append(repr(error))
            time.sleep(0.01)

    def _look(self, visitor: str, product: str) -> None:
        written, replica = self.balancer.ask("/v1/userEvents:write", event(visitor, product))
        assert written.status == 200, written.body
        self.answered[replica.host] += 1
        self.looked[visitor].append(product)
        listed, replica = self.balancer.ask("/v1/servingConfigs/home:predict", {"userEvent": {"visitorId": visitor}})
        assert listed.status == 200 and len(listed.json["results"]) == 4, listed.body
        assert "degraded" not in listed.json and listed.json["missingIds"] == self.looked[visitor], listed.body
        self.answered[replica.host] += 1

    def wait_for(self, n: int, *replicas: Server) -> None:
        """Until each has answered so many more."""
        before = Counter(self.answered)
        deadline = time.monotonic() + 60
        while any(self.answered[replica.host] < before[replica.host] + n for replica in replicas):
            assert time.monotonic() < deadline and not self.failures, self.failures[:3]
            time.sleep(0.01)

    def end(self) -> None:
        self.over = True
        for thread in self.threads:
            thread.join()


@pytest.fixture
def network():
    network = Network("store", "one", "two", "three")
    with network.inside():
        yield network
    network.end()


@pytest.fixture
def emulator(network):
    emulator = Emulator(**network.at("store"))
    yield emulator
    emulator.end()


@pytest.fixture
def replica(start, network, emulator):
    def begin(name: str) -> Server:
        return start(
            how={"environment": {"BIGTABLE_EMULATOR_HOST": emulator.address}, **network.at(name)},
            http={"address": "0.0.0.0", "grace_ms": 5000},
            admin={"address": "0.0.0.0"},
            visits={"store": "bigtable", "timeout_ms": 10000, "bigtable": TABLE},
            predict={"deadline_ms": 20000},
            admission={"queue_ms": 60000},
        )

    return begin


@pytest.fixture
def balancer(network):
    balancer = Balancer()
    yield balancer
    balancer.end()


@pytest.fixture
def shoppers(balancer):
    everybody = []

    def begin() -> Shoppers:
        everybody.append(Shoppers(balancer))
        return everybody[-1]

    yield begin
    for shoppers in everybody:
        shoppers.end()


def test_one_joins_and_one_drains(replica, balancer, shoppers):
    one, two = replica("one"), replica("two")
    balancer.replicas = [one, two]
    wait_until(lambda: len(balancer.ready) == 2)
    load = shoppers()
    load.wait_for(20, one, two)
    three = replica("three")
    balancer.replicas = [one, two, three]
    load.wait_for(20, one, two, three)
    assert one.end() == 0  # SIGTERM
    load.wait_for(20, two, three)
    load.end()
    assert not load.failures
    assert one not in balancer.ready
    assert sum(map(len, load.looked.values())) >= 50
    for server in (two, three):
        for visitor, products in load.looked.items():
            assert server.predict("home", userEvent={"visitorId": visitor}).json["missingIds"] == products
        assert server.end(signal.SIGINT) == 0  # at once
