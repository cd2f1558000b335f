"""A candidate is asked what was answered: metrics say how its lists differ, and callers notice nothing."""

import concurrent.futures
import hashlib
import re
import shutil
import time

import pytest
from release_directory import Directory, wait_until
from serving import Server, ids

import stamp
from conftest import ZONES, bundle_of

EVENTS = ["sku-00010", "sku-00011", "sku-00040"]
HISTORIES = [EVENTS, EVENTS[:1], ["sku-00077"], ["sku-00003", "sku-00090"], ["sku-00050", "nobody's"], []]
ALL = 10_000  # of 10,000
WITHOUT_HOME = {"product_page": ZONES["product_page"], "default": {"k": 3}}


@pytest.fixture(scope="module")
def bundles(shop, bundle, tmp_path_factory):
    """Served: a. By b other lists come of the same zones; c is b without a zone, and with one that is named default."""
    return {
        "a": bundle,
        "b": bundle_of(shop, tmp_path_factory.mktemp("b"), seed=2),
        "c": bundle_of(shop, tmp_path_factory.mktemp("c"), seed=2, zones=WITHOUT_HOME),
    }


@pytest.fixture(scope="module")
def library(bundles):
    """The same bundles by the library alone: the truth about lists."""
    return {name: stamp.Recommender(path, device="cpu") for name, path in bundles.items()}


@pytest.fixture
def shadow(start, bundles):
    """A server on a that asks another bundle, too, once that is loaded."""

    def shadow(name: str, share: int = ALL, **config) -> Server:
        server = start(shadow={"bundle": str(bundles[name]), "share": share}, **config)
        wait_until(lambda: "release" in candidate(server))
        return server

    return shadow


def candidate(server: Server) -> dict:
    return server.get("/release").json["candidate"]


def outcomes(server: Server) -> dict[str, float]:
    return {
        outcome: server.metric("stamp_shadow_requests_total", f'outcome="{outcome}"')
        for outcome in ("answered", "failed", "dropped")
    }


def compared(server: Server, wanted: str, ask) -> None:
    """Asks until the candidate was asked, too: one core that is busy for a moment is reason enough to drop that."""
    for _ in range(300):
        time.sleep(0.01)  # the thread that asks is of those that go last
        before = outcomes(server)
        assert ask().status == 200
        after = wait_until(lambda before=before: (now := outcomes(server)) != before and now)
        if after["dropped"] == before["dropped"]:
            break
    assert {outcome for outcome in after if after[outcome] != before[outcome]} == {wanted}


def assert_one_was_asked(server: Server) -> None:
    """What is asked is asked in order: nothing before it was."""
    after = outcomes(server)
    assert after["answered"] + after["failed"] == 1, after


def zone_metric(server: Server, name: str, zone: str, more: str = "") -> float:
    return server.metric(f"stamp_shadow_{name}", f'zone="{zone}"{more}')


def test_the_same_release_again_overlaps_wholly(shadow):
    server = shadow("a")
    for events in HISTORIES:
        compared(server, "answered", lambda events=events: server.predict("home", events=events))
    n = len(HISTORIES)
    assert zone_metric(server, "overlap_count", "home") == zone_metric(server, "overlap_sum", "home") == n
    assert zone_metric(server, "overlap_bucket", "home", ',le="0.9"') == 0
    assert zone_metric(server, "same_first_total", "home") == n
    for release in ("served", "candidate"):
        assert zone_metric(server, "empty_total", "home", f',release="{release}"') == 0
        assert server.metric("stamp_shadow_list_seconds_count", f'release="{release}"') == n
        assert server.metric("stamp_shadow_list_seconds_sum", f'release="{release}"') > 0
    state = candidate(server)
    assert state["overlap"] == state["sameFirst"] == 1 and state["answered"] == n and state["failed"] == 0
    assert state["beside"] == server.get("/release").json["release"]
    assert state["listSeconds"] > 0 and state["listSecondsServed"] > 0


def test_the_overlap_with_another_release_is_that_of_both_lists(shadow, library):
    server = shadow("b")
    overlaps: dict[str, list[float]] = {"home": [], "product_page": []}
    same_first = dict.fromkeys(overlaps, 0)
    own = [{}, {"k": 9}, {"exclude": ["sku-00012", "sku-00041"]}, {"only": [f"sku-{i:05}" for i in range(0, 60, 2)]}]
    for zone in overlaps:
        for events in HISTORIES:
            for more in own:
                compared(server, "answered", lambda z=zone, e=events, m=more: server.predict(z, events=e, **m))
                served, other = (library[name].recommend(events, zone=zone, **more).ids.tolist() for name in "ab")
                overlaps[zone].append(len(set(served) & set(other)) / len(served))
                same_first[zone] += served[0] == other[0]
    for zone, expected in overlaps.items():
        assert zone_metric(server, "overlap_count", zone) == len(expected)
        assert zone_metric(server, "overlap_sum", zone) == pytest.approx(sum(expected), abs=1e-6 * len(expected))
        assert zone_metric(server, "same_first_total", zone) == same_first[zone]
        for edge in (0, 0.5, 0.9, 1):
            within = sum(overlap <= edge for overlap in expected)
            assert zone_metric(server, "overlap_bucket", zone, f',le="{edge:g}"') == within
    every = [overlap for expected in overlaps.values() for overlap in expected]
    assert 0.05 < sum(every) / len(every) < 0.95  # else there is nothing to see
    state = candidate(server)
    assert state["overlap"] == pytest.approx(sum(every) / len(every))
    assert state["sameFirst"] == pytest.approx(sum(same_first.values()) / len(every))


def test_lists_without_a_product_are_counted(shadow, library):
    server = shadow("b")
    compared(server, "answered", lambda: server.predict("home", events=EVENTS, only=[]))
    assert ids(server.predict("home", events=EVENTS, only=[])) == []
    for release in ("served", "candidate"):
        assert zone_metric(server, "empty_total", "home", f',release="{release}"') >= 1
    assert zone_metric(server, "overlap_count", "home") == 0


def test_what_callers_get_is_the_same_bytes(shadow, start):
    def answers(server: Server) -> list[tuple]:
        replies = [
            server.predict(zone, events=events, params={"returnScore": True}, explain=True)
            for zone in ("home", "product_page", "default", "nowhere")
            for events in HISTORIES
        ]
        page = {"events": EVENTS, "requests": [{"zone": "home"}, {"zone": "nowhere"}, {"zone": "product_page"}]}
        replies.append(server.post("/v1/servingConfigs:batchPredict", page))
        token = re.compile(rb'("attributionToken":)"[^"]*"')  # of a time
        return [(reply.status, token.sub(rb"\1", reply.body)) for reply in replies]

    server = shadow("b")
    assert answers(server) == answers(start())
    wait_until(lambda: outcomes(server)["answered"] > 0)


def test_a_zone_that_the_candidate_lacks_fails_there_alone(shadow, library):
    server = shadow("c")
    expected = library["a"].recommend(EVENTS, zone="home").ids.tolist()
    for _ in range(4):  # whichever release is asked first
        compared(server, "failed", lambda: server.predict("home", events=EVENTS))
    assert ids(server.predict("home", events=EVENTS)) == expected
    assert "home" in candidate(server)["whyFailed"]
    compared(server, "answered", lambda: server.predict("product_page", events=EVENTS))


def test_each_release_has_its_own_default_zone(shadow, library):
    server = shadow("c")
    compared(server, "answered", lambda: server.predict("default", events=EVENTS))
    served = library["a"].recommend(EVENTS).ids.tolist()
    other = library["c"].recommend(EVENTS, zone="default").ids.tolist()
    assert len(other) == 3 < len(served)
    overlap = len(set(served) & set(other)) / len(served)
    assert zone_metric(server, "overlap_sum", "default") == pytest.approx(overlap, abs=1e-6)


def test_only_the_sample_is_asked(shadow):
    server = shadow("a", share=3000)
    sampled = 0
    for i in range(60):
        name = f"request {i}".replace(" ", "-")
        wanted = int.from_bytes(hashlib.sha256(f"shadow\0{name}".encode()).digest()[:8], "big") % 10_000 < 3000
        sampled += wanted
        reply = server.post("/v1/servingConfigs/home:predict", {"events": EVENTS}, headers={"X-Request-Id": name})
        assert reply.status == 200
    assert 0 < sampled < 60
    wait_until(lambda: sum(outcomes(server).values()) >= sampled)
    assert sum(outcomes(server).values()) == sampled


@pytest.mark.parametrize("body", [{"validateOnly": True}, {"k": 0}, {"rules": [{"rule": "nonsense"}]}])
def test_what_was_not_listed_is_not_asked(shadow, body):
    server = shadow("a")
    server.predict("home", events=EVENTS, **body)
    server.predict("nowhere", events=EVENTS)
    compared(server, "answered", lambda: server.predict("home", events=EVENTS))
    assert_one_was_asked(server)


def test_answers_that_do_without_a_part_are_not_compared(bundles, tmp_path):
    config = {
        "bundle": str(bundles["a"]),
        "shadow": {"bundle": str(bundles["a"]), "share": ALL},
        "visits": {"store": "bigtable", "timeout_ms": 20, "bigtable": {"project": "p", "instance": "i"}},
    }
    server = Server(config, tmp_path / "server.json", {"BIGTABLE_EMULATOR_HOST": "127.0.0.1:1"})  # nobody is there
    try:
        wait_until(lambda: "release" in candidate(server))
        answer = server.predict("home", userEvent={"visitorId": "v", "eventType": "home-page-view"})
        assert answer.json["degraded"] == ["events"]
        compared(server, "answered", lambda: server.predict("home", events=EVENTS))
        assert_one_was_asked(server)
    finally:
        server.end()


def test_what_another_release_answered_is_not_compared(shadow, bundles):
    arm = {"name": "b", "share": 10_000, "bundle": str(bundles["b"])}
    server = shadow("a", experiments=[{"name": "test", "zones": ["home"], "arms": [arm]}])
    named = {"visitorId": "v", "eventType": "home-page-view"}
    assert server.predict("home", events=EVENTS, userEvent=named).json["experiment"]["arm"] == "b"
    compared(server, "answered", lambda: server.predict("product_page", events=EVENTS, userEvent=named))
    assert_one_was_asked(server)
    assert candidate(server)["overlap"] == 1


def test_under_load_the_candidate_is_what_is_dropped(shadow, library):
    patient = {"predict": {"deadline_ms": 60_000}, "admission": {"queue_ms": 60_000}}  # callers' own limits are far
    server = shadow("b", **patient)
    zones = ["home", "product_page"] * 16
    expected = [library["a"].recommend(EVENTS, zone=zone).ids.tolist() for zone in zones]
    page = {"events": EVENTS, "requests": [{"zone": zone} for zone in zones]}

    def ask(_) -> list:
        answer = server.post("/v1/servingConfigs:batchPredict", page).json
        assert not any("degraded" in response for response in answer["responses"])
        return [[result["id"] for result in response["results"]] for response in answer["responses"]]

    with concurrent.futures.ThreadPoolExecutor(64) as threads:
        assert all(listed == expected for listed in threads.map(ask, range(64)))
    total = 64 * len(zones)
    wait_until(lambda: sum(outcomes(server).values()) == total)
    counted = outcomes(server)
    assert counted["failed"] == 0 and counted["dropped"] > total / 3  # a page alone is twice what may wait
    assert server.metric("stamp_refused_total") == 0


def test_a_broken_candidate_changes_nothing(start, bundles, library, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(bundles["b"], broken)
    catalog = broken / "catalog.safetensors"
    catalog.write_bytes(catalog.read_bytes()[:-1] + b"?")
    server = start(shadow={"bundle": str(broken), "share": ALL})
    why = wait_until(lambda: candidate(server).get("refused"))[0]["why"]
    assert "catalog.safetensors" in why and "catalog.safetensors" in candidate(server)["none"]
    assert server.metric("stamp_shadow_reload_failures_total") == 1
    assert server.metric("stamp_reload_failures_total") == 0
    assert server.get("/readyz").status == 200 and "refused" not in server.get("/release").json
    assert ids(server.predict("home", events=EVENTS)) == library["a"].recommend(EVENTS, zone="home").ids.tolist()
    assert sum(outcomes(server).values()) == 0


def test_a_candidate_comes_changes_and_goes(start, bundles, library, tmp_path):
    directory = Directory(tmp_path / "watched")
    for name, path in bundles.items():
        directory.add(name, path)
    directory.point("a")
    server = start(bundle="", releases={"path": str(directory.path), "poll_ms": 20}, shadow={"share": ALL})
    wait_until(lambda: server.get("/readyz").status == 200)
    assert "candidate.json: does not exist" in wait_until(lambda: candidate(server).get("none"))
    assert server.predict("home", events=EVENTS).status == 200
    assert sum(outcomes(server).values()) == server.metric("stamp_shadow_reload_failures_total") == 0

    directory.point("a", pointer="candidate.json")
    wait_until(lambda: candidate(server).get("release") == "a")
    compared(server, "answered", lambda: server.predict("home", events=EVENTS))
    assert candidate(server)["overlap"] == 1

    directory.point("b", pointer="candidate.json")
    wait_until(lambda: candidate(server).get("release") == "b")
    assert server.metric("stamp_shadow_release_info", 'release="b"') == 1
    assert "answered" not in candidate(server)  # figures are of the one at hand
    compared(server, "answered", lambda: server.predict("home", events=EVENTS))
    lists = {name: set(library[name].recommend(EVENTS, zone="home").ids.tolist()) for name in "ab"}
    assert candidate(server)["overlap"] == pytest.approx(len(lists["a"] & lists["b"]) / len(lists["a"]))
    wait_until(lambda: server.metric("stamp_shadow_releases_in_memory") == 1)  # none stays behind

    directory.point("c", "0" * 64, pointer="candidate.json")
    assert wait_until(lambda: candidate(server).get("refused"))[0]["release"] == "c"
    assert candidate(server)["release"] == "b"

    directory.point("b")  # it is promoted
    wait_until(lambda: server.get("/release").json["release"] == "b")
    directory.point("b", pointer="candidate.json")
    compared(server, "answered", lambda: server.predict("home", events=EVENTS))
    assert candidate(server)["overlap"] == 1 and candidate(server)["beside"] == "b"

    (directory.path / "candidate.json").unlink()
    wait_until(lambda: "none" in candidate(server))
    wait_until(lambda: server.metric("stamp_shadow_releases_in_memory") == 0)
    assert "refused" not in candidate(server)
    before = outcomes(server)
    assert ids(server.predict("home", events=EVENTS)) == library["b"].recommend(EVENTS, zone="home").ids.tolist()
    assert outcomes(server) == before


def test_ending_while_the_candidate_is_asked(shadow):
    """Lists that take their time, each under rules that are read anew, of which some still wait: each holds both releases."""
    server = shadow("b")
    unknown = [f"{i:x}" for i in range(500)]
    rules = [[{"rule": "exclude_products", "products": [*unknown, f"{i}"]}] for i in range(16)]
    page = {"events": EVENTS, "requests": [{"zone": "home", "rules": rule} for rule in rules]}
    answer = server.post("/v1/servingConfigs:batchPredict", page).json
    assert all(response["results"] for response in answer["responses"])
    assert server.end() == 0


def test_without_a_share_nobody_is_asked(start, bundles):
    server = start(shadow={"bundle": str(bundles["b"])})
    assert "candidate" not in server.get("/release").json
    assert b"stamp_shadow" not in server.get("/metrics").body


def test_a_shadow_wants_a_candidate(start):
    with pytest.raises(RuntimeError, match=r"shadow\.bundle: is missing"):
        start(shadow={"share": 1})
