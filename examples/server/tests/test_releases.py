"""Releases change while requests are answered: none fails, none is torn, what cannot be loaded changes nothing."""

import http.client
import json
import os
import pathlib
import shutil
import statistics
import threading
import time

import pytest
from release_directory import Directory, digest_of, wait_until
from serving import Server, ids

import stamp
from conftest import bundle_of

EVENTS = ["sku-00010", "sku-00011", "sku-00040"]


def act(server: Server, action: str, **options):
    return server.post(f"/release:{action}", None, admin=True, **options)


def release(server: Server):
    return server.get("/release").json


def served(server: Server) -> str | None:
    return release(server).get("release")


def why_refused(server: Server) -> str:
    return wait_until(lambda: release(server).get("refused"))[-1]["why"]


@pytest.fixture(scope="module")
def bundles(shop, bundle, tmp_path_factory):
    """Two that list differently."""
    return {"a": bundle, "b": bundle_of(shop, tmp_path_factory.mktemp("other"), seed=2)}


@pytest.fixture(scope="module")
def truth(bundles):
    lists = {
        name: stamp.Recommender(path, device="cpu").recommend(EVENTS, zone="home").ids.tolist()
        for name, path in bundles.items()
    }
    assert lists["a"] != lists["b"]
    return lists


@pytest.fixture
def directory(bundles, tmp_path):
    """With releases a and b, and no pointer yet."""
    directory = Directory(tmp_path / "watched")
    for name, path in bundles.items():
        directory.add(name, path)
    return directory


@pytest.fixture
def watch(start):
    def watch(directory: Directory, serving: str | None = "a", poll_ms: int = 20, **config) -> Server:
        if serving:
            directory.point(serving)
        server = start(bundle="", releases={"path": str(directory.path), "poll_ms": poll_ms}, **config)
        if serving:
            wait_until(lambda: server.get("/readyz").status == 200)
        return server

    return watch


def test_a_new_release_is_served_by_itself(watch, directory, truth):
    server = watch(directory)
    before = server.predict("home", events=EVENTS)
    assert ids(before) == truth["a"] and before.json["release"] == "a"
    directory.point("b")
    wait_until(lambda: served(server) == "b")
    after = server.predict("home", events=EVENTS)
    assert ids(after) == truth["b"] and after.json["release"] == "b"
    state = release(server)
    assert state["previous"] == "a" and not state["pinned"] and "refused" not in state
    assert state["digest"] == digest_of(directory.path / "releases/b")
    assert server.metric("stamp_release_info", 'release="b"') == 1
    assert server.metric("stamp_reloads_total") == 2 and server.metric("stamp_reload_failures_total") == 0
    assert abs(server.metric("stamp_release_loaded_seconds") - time.time()) < 3600


def test_a_bundle_is_watched_itself(start, bundles, truth, tmp_path):
    shutil.copytree(bundles["a"], tmp_path / "bundle")
    server = start(bundle=str(tmp_path / "bundle"), releases={"poll_ms": 20})
    assert ids(server.predict("home", events=EVENTS)) == truth["a"]
    shutil.copytree(bundles["b"], tmp_path / "next")
    (tmp_path / "bundle").rename(tmp_path / "old")
    (tmp_path / "next").rename(tmp_path / "bundle")
    wait_until(lambda: ids(server.predict("home", events=EVENTS)) == truth["b"])


def test_a_bundle_that_cannot_be_loaded_at_the_start_ends_the_server(start, tmp_path):
    with pytest.raises(RuntimeError, match=r"ended with 1: stamp-server: .*nothing/manifest.json"):
        start(bundle=str(tmp_path / "nothing"))


@pytest.mark.parametrize("config", [{"bundle": ""}, {"releases": {"path": "somewhere"}}])
def test_either_a_bundle_or_releases(start, config):
    with pytest.raises(RuntimeError, match=r"bundle: .*releases\.path"):
        start(**config)


def test_an_empty_directory_is_waited_for(watch, directory, truth):
    server = watch(directory, None)
    assert server.get("/healthz").status == 200
    unready = server.get("/readyz")
    assert unready.status == 503 and "current.json: does not exist" in unready.error
    for path in ("/v1/servingConfigs/home:predict", "/v1/servingConfigs:batchPredict", "/v1/userEvents:write"):
        reply = server.post(path, {})
        assert reply.status == 503 and "no release yet" in reply.error and reply.headers["Retry-After"]
    assert "release" not in release(server)
    assert act(server, "rollback").status == act(server, "pin").status == act(server, "reload").status == 409
    assert server.metric("stamp_reload_failures_total") == 0
    directory.point("a")
    wait_until(lambda: server.get("/readyz").status == 200)
    assert ids(server.predict("home", events=EVENTS)) == truth["a"]


def test_the_first_release_may_be_bad(watch, directory, truth):
    directory.point("a", "0" * 64)
    server = watch(directory, None)
    wait_until(lambda: "the digest of its files" in server.get("/readyz").error)
    directory.point("b")
    wait_until(lambda: server.get("/readyz").status == 200)
    assert ids(server.predict("home", events=EVENTS)) == truth["b"]


def damaged(directory):
    path = directory.path / "releases/b/catalog.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    directory.point("b")  # its digest is right: the bundle's own checksums find it


def cut_short(directory):
    right = digest_of(directory.path / "releases/b")
    path = next((directory.path / "releases/b").glob("**/*.safetensors"))
    path.write_bytes(path.read_bytes()[:100])
    directory.point("b", right)


def vanished(directory):
    right = digest_of(directory.path / "releases/b")
    shutil.rmtree(directory.path / "releases/b")
    directory.point("b", right)


def with_rules(rules: dict):
    def change(directory):
        (directory.path / "releases/b/rules.json").write_text(json.dumps(rules))
        directory.point("b")

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (damaged, "catalog.safetensors"),
        (cut_short, "the digest of its files is"),
        (lambda d: d.point("b", "0" * 64), "says " + "0" * 64),
        (vanished, "No such file"),
        (with_rules({"zones": {"home": {"rules": [{"rule": "no such rule"}]}}}), "rules.json"),
        (lambda d: d.point("nowhere", "0" * 64), "nowhere"),
        (lambda d: d.write('{"release": "b"}'), '"digest" is missing; {"release": NAME, "digest": SHA256'),
        (lambda d: d.write("releases/b"), "is no JSON object"),
        (lambda d: d.write(""), "is no JSON object"),
        (lambda d: d.write('{"release": 7, "digest": ""}'), '"release" is no string'),
        (lambda d: d.write('{"release": "b", "digest": "ABC"}'), '"digest" is not 64'),
        (lambda d: d.point("../releases/b"), "cannot be the name"),
        (lambda d: d.point(".."), "cannot be the name"),
        (lambda d: (d.path / "current.json").unlink(), "does not exist"),
        (lambda d: ((d.path / "current.json").unlink(), (d.path / "current.json").mkdir()), "current.json"),
        (lambda d: d.write(json.dumps({"release": "b" * 70000})), "more than 65536"),
    ],
)
def test_what_cannot_be_loaded_changes_nothing(watch, directory, truth, bundles, change, why):
    server = watch(directory)
    change(directory)
    assert why in why_refused(server)
    assert server.metric("stamp_reload_failures_total") >= 1
    assert server.metric("stamp_release_info", 'release="a"') == 1
    ready = server.get("/readyz")
    assert ready.status == 200 and why in ready.json["refused"][-1]["why"]
    reply = act(server, "reload")
    assert reply.status == 409 and why in reply.error
    assert ids(server.predict("home", events=EVENTS)) == truth["a"] and served(server) == "a"
    if (directory.path / "current.json").is_dir():
        (directory.path / "current.json").rmdir()
    directory.add("c", bundles["b"])
    directory.point("c")
    wait_until(lambda: served(server) == "c")
    assert ids(server.predict("home", events=EVENTS)) == truth["b"] and "refused" not in release(server)


def test_what_cannot_become_right_is_not_tried_again(watch, directory):
    server = watch(directory, poll_ms=10)
    directory.point("b", "0" * 64)
    why_refused(server)
    time.sleep(0.5)  # 50 polls
    assert server.metric("stamp_reload_failures_total") == 1
    directory.point("a")  # what is served is wanted again: nothing is wrong any more
    wait_until(lambda: "refused" not in release(server))


def test_what_may_still_be_on_its_way_is_tried_again_now_and_then(watch, directory, bundles):
    server = watch(directory, poll_ms=10)
    directory.write(json.dumps({"release": "late", "digest": digest_of(bundles["b"])}))
    wait_until(lambda: server.metric("stamp_reload_failures_total") >= 2)
    time.sleep(0.5)
    assert server.metric("stamp_reload_failures_total") < 10
    assert len(release(server)["refused"]) == 1  # one cause, once
    shutil.copytree(bundles["b"], directory.path / "aside.d")
    (directory.path / "aside.d").rename(directory.path / "releases/late")
    wait_until(lambda: served(server) == "late")


def test_reload_looks_at_once(watch, directory, truth):
    server = watch(directory, poll_ms=3_600_000)
    directory.point("b")
    reply = act(server, "reload")
    assert reply.status == 200 and reply.json["release"] == "b" and reply.json["previous"] == "a"
    assert ids(server.predict("home", events=EVENTS)) == truth["b"]
    assert act(server, "reload").json["previous"] == "a"  # nothing new
    assert server.metric("stamp_reloads_total") == 2


def test_back_to_the_release_before_and_pinned_to_it(watch, directory, bundles, truth):
    server = watch(directory)
    assert act(server, "rollback").status == 409
    directory.point("b")
    wait_until(lambda: served(server) == "b")
    back = act(server, "rollback").json
    assert back["release"] == "a" and back["previous"] == "b" and back["pinned"]
    assert server.get("/readyz").json["pinned"] and server.metric("stamp_release_pinned") == 1
    directory.add("c", bundles["b"])
    directory.point("c")
    time.sleep(0.3)  # 15 polls
    assert ids(server.predict("home", events=EVENTS)) == truth["a"] and served(server) == "a"
    refused = act(server, "reload")
    assert refused.status == 409 and "pinned" in refused.error
    assert not act(server, "unpin").json["pinned"]
    wait_until(lambda: served(server) == "c")
    assert release(server)["previous"] == "a"


def test_unpinned_the_pointer_holds_again_without_loading(watch, directory):
    server = watch(directory)
    directory.point("b")
    wait_until(lambda: served(server) == "b")
    act(server, "rollback")
    loads = server.metric("stamp_reloads_total")
    act(server, "unpin")
    wait_until(lambda: served(server) == "b")
    assert server.metric("stamp_reloads_total") == loads


def test_pinned_before_anything_is_wrong(watch, directory):
    server = watch(directory)
    assert act(server, "pin").json["pinned"]
    directory.point("b")
    time.sleep(0.3)
    assert served(server) == "a"
    act(server, "unpin")
    wait_until(lambda: served(server) == "b")


def test_administration_is_posted_to(server):
    got = server.get("/release:reload")
    assert got.status == 405 and got.headers["Allow"] == "POST"
    assert act(server, "nonsense").status == 404
    assert server.request("POST", "/release", {}, admin=True).status == 405


class Asking(threading.Thread):
    """Asks all the time on one connection, and holds each answer against the list of the release that it names."""

    def __init__(self, server: Server, truth: dict[str, list[str]], bundle_of_release) -> None:
        super().__init__()
        self.server, self.truth, self.bundle_of_release = server, truth, bundle_of_release
        self.ending = threading.Event()
        self.wrong: list = []
        self.seconds: list[float] = []
        self.seen: set[str] = set()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        body, headers = json.dumps({"events": EVENTS}), {"Content-Type": "application/json"}
        while not self.ending.is_set():
            began = time.perf_counter()
            try:
                connection.request("POST", "/v1/servingConfigs/home:predict", body, headers)
                reply = connection.getresponse()
                answer = json.loads(reply.read())
                listed = [result["id"] for result in answer.get("results", [])]
                if reply.status != 200 or listed != self.truth[self.bundle_of_release(answer["release"])]:
                    self.wrong.append((reply.status, answer))
                    continue
            except Exception as error:
                self.wrong.append(error)
                return
            self.seconds.append(time.perf_counter() - began)
            self.seen.add(answer["release"])
        connection.close()


def figures(server: Server) -> dict[str, int]:
    process = pathlib.Path(f"/proc/{server.process.pid}")
    pages = int((process / "statm").read_text().split()[1])
    return {
        "rss": pages * os.sysconf("SC_PAGESIZE"),
        "threads": len(list((process / "task").iterdir())),
        "files": len(list((process / "fd").iterdir())),
    }


def test_200_reloads_under_load(watch, directory, bundles, truth):
    digests = {name: digest_of(path) for name, path in bundles.items()}
    patient = {"predict": {"deadline_ms": 60_000}, "admission": {"queue_ms": 60_000}}  # a busy machine is no failure
    server = watch(directory, poll_ms=3_600_000, **patient)
    asking = [Asking(server, truth, lambda name: name[0]) for _ in range(3)]
    for thread in asking:
        thread.start()
    after, names = [], []
    try:
        for i in range(200):
            names.append(f"{'ba'[i % 2]}{i:03}")
            (directory.path / "releases" / names[-1]).symlink_to(bundles[names[-1][0]])
            directory.point(names[-1], digests[names[-1][0]])
            reply = act(server, "reload")
            assert reply.status == 200 and reply.json["release"] == names[-1], reply.body
            asked = [len(thread.seconds) for thread in asking]
            wait_until(lambda asked=asked: any(len(t.seconds) > n for t, n in zip(asking, asked, strict=True)))
            after.append(figures(server))
    finally:
        for thread in asking:
            thread.ending.set()
        for thread in asking:
            thread.join()
    assert [wrong for thread in asking for wrong in thread.wrong] == []
    seen = set().union(*(thread.seen for thread in asking))
    assert len(seen & set(names)) > 100
    assert server.metric("stamp_reloads_total") == 201 and server.metric("stamp_reload_failures_total") == 0
    early, late = after[50:100], after[150:]
    grown = statistics.median(x["rss"] for x in late) - statistics.median(x["rss"] for x in early)
    assert grown < 4 << 20, grown
    more = statistics.median(x["threads"] for x in late) - statistics.median(x["threads"] for x in early)
    assert more <= 1, more
    assert max(x["files"] for x in late) <= max(x["files"] for x in early) + 3
    wait_until(lambda: server.metric("stamp_releases_in_memory") == 2)  # the others have gone


def test_only_the_thread_that_loads_is_of_low_priority(watch, directory, bundles):
    server = watch(directory)

    def lowered() -> int:
        tasks = [int(task.name) for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir()]
        return sum(os.sched_getscheduler(task) == os.SCHED_IDLE for task in tasks)

    digest = digest_of(bundles["b"])
    for i in range(4):
        (directory.path / "releases" / f"b{i}").symlink_to(bundles["b"])
        directory.point(f"b{i}", digest)
        wait_until(lambda i=i: served(server) == f"b{i}")
        assert server.predict("home", events=EVENTS).status == 200  # by threads of the new release
    wait_until(lambda: server.metric("stamp_releases_in_memory") == 2)
    assert lowered() == 1


def test_ending_while_a_release_is_asked_for(watch, directory):
    server = watch(directory)
    directory.point("b")
    assert server.end() == 0
