"""Everything at once: each list is that of the events that were acknowledged before it and of the release that it names,
whatever else goes on. With the store in memory tests/run.sh also has ThreadSanitizer watch this."""

import concurrent.futures
import http.client
import itertools
import json
import pathlib
import random
import subprocess
import threading
from functools import partial

import pytest
from release_directory import Directory, digest_of, wait_until
from serving import LOAD, Server, ask, event, ids
from test_keys import bearer, line

import stamp
from conftest import bundle_of

ROUNDS = 100
PRODUCTS = [f"sku-{i:05}" for i in range(120)]
SHOP, ADMIN = bearer("shop")["headers"], bearer("ops")["headers"]
PATIENT = {"predict": {"deadline_ms": 60_000}, "admission": {"queue_ms": 60_000}}  # a busy machine is no failure


@pytest.fixture(scope="module")
def bundles(shop, bundle, tmp_path_factory):
    return {"a": bundle, "b": bundle_of(shop, tmp_path_factory.mktemp("other"), seed=2)}


class Everybody:
    """Who asks the server; all of them at once."""

    def __init__(self, server: Server, directory: Directory, bundles) -> None:
        self.server, self.directory, self.bundles = server, directory, bundles
        self.lists: list[tuple[str, tuple[str, ...], list[str]]] = []  # a release, events, what was listed of them
        self.written = self.exposed = 0
        self.lock = threading.Lock()
        self.changed = threading.Event()  # change_releases is done

    def list(self, connection, visitor: str, events: tuple[str, ...]) -> None:
        reply = ask(connection, "POST", "/v1/servingConfigs/product_page:predict", {"userEvent": event(visitor)})
        assert "degraded" not in reply.json
        with self.lock:
            self.lists.append((reply.json["release"], events, ids(reply)))

    def shop(self, name: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        choice = random.Random(name)
        seen: dict[str, list[str]] = {}
        for n in itertools.count():
            if n >= ROUNDS and self.changed.is_set():
                break
            visitor, products = f"{name}-{n // ROUNDS}-{n % 5}", choice.sample(PRODUCTS, 1 + 2 * (n % 4 == 3))
            path, body = "/v1/userEvents:write", event(visitor, products[0])
            if len(products) > 1:
                events = [event(visitor, product) for product in products]
                path, body = "/v1/userEvents:import", {"inputConfig": {"userEventInlineSource": {"userEvents": events}}}
            assert ask(connection, "POST", path, body, SHOP).status == 200
            seen.setdefault(visitor, []).extend(products)
            self.list(connection, visitor, tuple(seen[visitor]))
            home = ask(connection, "POST", "/v1/servingConfigs/home:predict", {"userEvent": event(visitor)})
            assert len(ids(home)) == 4 and home.json["experiment"]["name"] == "test"
            with self.lock:
                self.written += len(products)
                self.exposed += 1
        connection.close()

    def forget(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        for n in range(ROUNDS):
            visitor = f"forgotten-{n % 3}"
            assert ask(connection, "POST", "/v1/userEvents:write", event(visitor, PRODUCTS[n]), SHOP).status == 200
            self.list(connection, visitor, (PRODUCTS[n],))
            for what in (f'visitorId = "{visitor}"', 'eventTime < "2020-01-01T00:00:00Z"'):
                asked = {"filter": what, "force": True}
                assert ask(connection, "POST", "/v1/userEvents:purge", asked, SHOP).status == 200
            self.list(connection, visitor, ())
            with self.lock:
                self.written += 1
        connection.close()

    def set_inventory(self) -> None:
        one, other = PRODUCTS[7], PRODUCTS[8]
        for n in range(ROUNDS):
            is_there = n % 2 == 0
            said = {"id": one, "availability": "IN_STOCK" if is_there else "OUT_OF_STOCK", "priceInfo": {"price": n}}
            assert self.server.post("/v1/products:setInventory", {"products": [said]}, headers=SHOP).status == 200
            buyable = self.server.predict(only=[one, other], rules=[{"rule": "only_available"}])
            assert (one in ids(buyable)) == is_there and other in ids(buyable)

    def change_releases(self) -> None:
        """Until each release was asked in each of its turns, so those who ask go on until this is done."""
        digests = {name: digest_of(path) for name, path in self.bundles.items()}
        for n in range(25):
            names = [f"{name}{n}" for name in ("ab" if n % 2 else "ba")]
            for name, pointer in zip(names, ("current.json", "candidate.json"), strict=True):
                (self.directory.path / "releases" / name).symlink_to(self.bundles[name[0]])
                self.directory.point(name, digests[name[0]], pointer)
            reply = self.server.post("/release:reload", None, admin=True, headers=ADMIN)
            assert reply.status == 200 and reply.json["release"] == names[0]
            wait_until(lambda: any(release == names[0] for release, _, _ in reversed(self.lists)))  # noqa: B023
            assert self.server.post("/release:rollback", None, admin=True, headers=ADMIN).status == 200
            assert self.server.post("/release:unpin", None, admin=True, headers=ADMIN).status == 200
        self.changed.set()

    def look(self) -> None:
        for _ in range(20):
            self.look_once()

    def look_once(self) -> None:
        for path in ("/metrics", "/release", "/config", "/readyz", "/healthz"):
            assert self.server.get(path).status == 200
        for path in ("/demo", "/openapi.json", "/v2/models/home", "/v2/health/ready", "/vertex/health"):
            assert self.server.get(path, admin=False).status == 200
        page = {"events": PRODUCTS[:2], "requests": [{"zone": "home"}, {"zone": "product_page"}] * 4}
        assert len(self.server.post("/v1/servingConfigs:batchPredict", page).json["responses"]) == 8
        assert self.server.post("/demo/products", {"search": "sku", "limit": 20}).status == 200
        named = {"name": "events", "shape": [1], "datatype": "BYTES", "data": PRODUCTS[:1]}
        assert self.server.post("/v2/models/home/infer", {"inputs": [named]}).status == 200
        instances = {"instances": [{"events": PRODUCTS[n : n + 2]} for n in range(8)]}
        assert len(self.server.post("/vertex/predict", instances).json["predictions"]) == 8
        assert self.server.predict("product_page", events=PRODUCTS[:3], explain=True).status == 200
        for visitor in ("ann-0-0", "ben-0-1", "forgotten-2"):  # while others write
            assert self.server.predict("product_page", userEvent=event(visitor)).status == 200
        assert self.server.predict("nowhere").status == 404 and self.server.predict(k=0).status == 400
        assert self.server.write("nobody", PRODUCTS[0]).status == 401

    def leave(self) -> None:
        body = json.dumps({"events": PRODUCTS[:2]}).encode()
        head = b"POST /v1/servingConfigs/home:predict HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
        message = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for sent in 50 * (b"", message[:-1], message, 20 * message, b"nonsense\r\n\r\n"):
            with self.server.socket() as client:
                client.sendall(sent)

    def pour(self, folder: pathlib.Path) -> None:
        """By a program that keeps all of the server's threads busy at once, as these threads of Python do not."""
        sessions = folder / "sessions"
        sessions.write_text("".join(f"{name} {' '.join(PRODUCTS[:9])}\n" for name in ("dan", "eve", "fay", "gus")))
        options = {"port": self.server.port, "closed": 16, "seconds": 3, "warm": 0, "zone": "product_page", "k": 5,
                   "visitors": 4, "sessions": sessions, "key": "shop"}  # fmt: skip
        command = [LOAD, *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
        got = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout)
        assert set(got["statuses"]) == {"200"} and not any(got["errors"].values())
        with self.lock:
            self.written += got["write"]["n"]

    def ask_until_it_ends(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            while True:
                asked = {"events": PRODUCTS[:2], "userEvent": event("late")}
                reply = ask(connection, "POST", "/v1/servingConfigs/product_page:predict", asked)
                assert reply.status == 200
                if reply.headers.get("Connection") == "close":
                    return
        except (OSError, http.client.HTTPException):  # refused, or closed before it was asked
            return
        finally:
            connection.close()


@pytest.mark.parametrize("store", ["memory", "embedded"])
def test_everything_at_once(start, bundles, tmp_path, store):
    directory = Directory(tmp_path / "watched")
    for name, path in bundles.items():
        directory.add(name, path)
    directory.point("a")
    directory.point("b", pointer="candidate.json")
    (tmp_path / "keys").write_text(line("shop", "shop") + line("ops", "ops", "admin"))
    arms = [{"name": "plain", "share": 5000}, {"name": "explored", "share": 5000, "explore": 1}]
    server = start(
        bundle="",
        releases={"path": str(directory.path), "poll_ms": 20},
        shadow={"share": 10_000},
        http={"threads": 3},
        visits={"store": store, "path": str(tmp_path / "visits")},
        inventory={"path": str(tmp_path / "inventory.sqlite")},
        keys={"file": str(tmp_path / "keys")},
        experiments=[{"name": "test", "zones": ["home"], "arms": arms}],
        exposures={"directory": str(tmp_path / "exposures"), "file_bytes": 4096, "files": 10_000},
        demo={"enabled": True},
        **PATIENT,
    )
    wait_until(lambda: server.get("/readyz").status == 200)
    everybody = Everybody(server, directory, bundles)
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        who = [partial(everybody.shop, name) for name in ("ann", "ben", "cid")]
        who += [everybody.forget, everybody.set_inventory, everybody.change_releases, everybody.look, everybody.leave]
        who.append(partial(everybody.pour, tmp_path))
        for each in [threads.submit(do) for do in who]:
            each.result()
        wait_until(lambda: server.metric("stamp_in_flight") == 0)
        assert server.metric("stamp_events_total") == everybody.written
        shown = {
            arm["name"]: server.metric("stamp_exposures_total", f'experiment="test",arm="{arm["name"]}"')
            for arm in arms
        }
        late = [threads.submit(everybody.ask_until_it_ends) for _ in range(4)]
        wait_until(lambda: server.metric("stamp_in_flight") > 0)
        assert server.end() == 0
        for each in late:
            each.result()

    library = {name: stamp.Recommender(path, device="cpu") for name, path in bundles.items()}
    assert len(everybody.lists) == everybody.exposed + 2 * ROUNDS
    for release, events, listed in everybody.lists:
        assert listed == library[release[0]].recommend(list(events), zone="product_page").ids.tolist()
    assert {release[0] for release, _, _ in everybody.lists} == {"a", "b"}
    lines = [text for file in (tmp_path / "exposures").iterdir() for text in file.read_text().splitlines()]
    written = [json.loads(text)["arm"] for text in lines]
    assert len(written) == everybody.exposed >= 3 * ROUNDS
    assert {arm: written.count(arm) for arm in shown} == shown
