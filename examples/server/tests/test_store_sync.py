"""Releases come from a store to a running server: by stamp store sync, once and as a sidecar."""

import json
import signal
import subprocess
import sys
import threading

import pytest
from release_directory import digest_of, wait_until
from serving import ids

import stamp
from conftest import bundle_of

EVENTS = ["sku-00010", "sku-00011", "sku-00040"]


@pytest.fixture(scope="module")
def bundles(shop, bundle, tmp_path_factory):
    """Two that list differently."""
    return [bundle, bundle_of(shop, tmp_path_factory.mktemp("next"), seed=2)]


@pytest.fixture(scope="module")
def truth(bundles):
    lists = [stamp.Recommender(path, device="cpu").recommend(EVENTS, zone="home").ids.tolist() for path in bundles]
    assert lists[0] != lists[1]
    return lists


@pytest.fixture
def store(bundles, tmp_path):
    store = stamp.store.Store(tmp_path / "store")
    for n, path in enumerate(bundles):
        store.upload(path, name=f"r{n}")
    return store


def answer(server):
    reply = server.predict("home", events=EVENTS)
    return reply.json.get("release"), ids(reply) if reply.status == 200 else []


def test_a_server_answers_from_what_is_synced(store, truth, start, tmp_path):
    to = tmp_path / "served"
    store.promote("champion", "r0")
    stamp.store.sync(store, to=to)
    server = start(bundle="", releases={"path": str(to), "poll_ms": 20})
    wait_until(lambda: server.get("/readyz").status == 200)
    assert answer(server) == ("r0", truth[0])
    store.promote("champion", "r1")
    synced = stamp.store.sync(store, to=to)
    wait_until(lambda: answer(server) == ("r1", truth[1]))
    assert synced.digest == digest_of(to / "releases/r1") == server.get("/release").json["digest"]
    assert synced.fetched.bytes_here > 0  # what both have was linked
    store.rollback("champion")
    stamp.store.sync(store, to=to)
    wait_until(lambda: answer(server) == ("r0", truth[0]))
    assert server.metric("stamp_reload_failures_total") == 0


def test_a_candidate_is_shadowed(store, start, tmp_path):
    to = tmp_path / "served"
    store.promote("champion", "r0")
    store.promote("candidate", "r1")
    stamp.store.sync(store, to=to, candidate="candidate")
    server = start(bundle="", releases={"path": str(to), "poll_ms": 20}, shadow={"share": 10_000})
    # Either may be loaded first.
    wait_until(lambda: server.get("/readyz").status == 200 and "r1" in json.dumps(server.get("/release").json))
    assert server.get("/release").json["release"] == "r0"


def test_a_sidecar_and_a_server_start_with_nothing(store, truth, start, tmp_path):
    """While it is asked all the time: no answer is half of one release and half of another."""
    to = tmp_path / "served"
    (to / "releases").mkdir(parents=True)
    server = start(bundle="", releases={"path": str(to), "poll_ms": 20})
    command = [sys.executable, "-m", "stamp.cli", "store", "sync", store.url, "--to", str(to), "--watch", "0.05"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as sidecar:
        store.promote("champion", "r0")
        wait_until(lambda: server.get("/readyz").status == 200)
        answers, over = [], threading.Event()

        def ask():
            while not over.is_set():
                answers.append(answer(server))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for turn in range(4):
                name = f"r{(turn + 1) % 2}"
                store.promote("champion", name)
                wait_until(lambda name=name: answers and answers[-1][0] == name)
        finally:
            over.set()
            asking.join()
        sidecar.send_signal(signal.SIGTERM)
        assert sidecar.wait(timeout=30) == 0
    assert {name: listed for name, listed in answers} == {"r0": truth[0], "r1": truth[1]}
    assert all(listed == truth[int(name[1])] for name, listed in answers)
