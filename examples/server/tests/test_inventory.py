"""products:setInventory: in force with the next request, in every release, and there after kill -9; a bundle that was built
with the same numbers is the truth."""

import concurrent.futures
import json
import random
import signal
import sqlite3
import subprocess
import time

import pytest
from release_directory import Directory, wait_until
from serving import PROGRAM, Server, ids

import stamp

PATH = "/v1/products:setInventory"
RULES = {
    "build": [{"rule": "only_available"}],
    "zones": {
        "near": {"rules": [{"rule": "price_band", "attribute": "price", "from": 0.5, "to": 2}]},
        "all": {"k": 50},
    },
}


@pytest.fixture(scope="module")
def build(shop, tmp_path_factory):
    """build(available, price) -> bundle of one and the same model; what they do not say is as it is in the shop."""
    folder = tmp_path_factory.mktemp("inventory")
    model = stamp.StampRecommender(device="cpu", dim=16, epochs=1, batch_size=128, seed=4)
    model.fit(shop.sessions, progress=False).save(folder / "model")
    columns = {("item_id" if name == "id" else name): list(column) for name, column in shop.products.items()}
    count = 0

    def build(available=None, price=None):
        nonlocal count
        count += 1
        items = stamp.Products.from_frame(
            {
                **columns,
                "available": [float((available or {}).get(id, id != "sku-00003")) for id in columns["item_id"]],
                "price": [float((price or {}).get(id, was)) for id, was in zip(columns["item_id"], columns["price"])],
            }
        )
        stamp.build_bundle({0: folder / "model"}, items, out=folder / f"bundle-{count}", rules=RULES)
        return folder / f"bundle-{count}"

    return build


@pytest.fixture
def serve(build, tmp_path):
    """serve(**config) -> Server with an inventory, of the same file each time."""
    servers = []

    def serve(**config) -> Server:
        config = {"visits": {"store": "memory"}, "inventory": {"path": str(tmp_path / "inventory.sqlite")}, **config}
        if "releases" not in config:
            config.setdefault("bundle", str(build()))
        servers.append(Server(config, tmp_path / f"{len(servers)}.json"))
        return servers[-1]

    yield serve
    for server in servers:
        server.end(signal.SIGKILL)


def product(id, available=None, price=None):
    said = {"id": id}
    if available is not None:
        said["availability"] = "IN_STOCK" if available else "OUT_OF_STOCK"
    return said if price is None else {**said, "priceInfo": {"price": price}}


def set_(server, *products, **more):
    reply = server.post(PATH, {"products": list(products), **more})
    assert reply.status == 200, reply.body
    return reply.json


def lists(server, *events):
    return {zone: ids(server.predict(zone, events=list(events), k=60)) for zone in ("all", "near", "default")}


def lists_of(bundle, *events):
    recommender = stamp.Recommender(bundle, device="cpu")
    return {
        zone: recommender.recommend(list(events), zone=None if zone == "default" else zone, k=60).ids.tolist()
        for zone in ("all", "near", "default")
    }


def test_it_is_in_force_with_the_next_request_and_after_kill(serve, build, shop):
    server = serve()
    known = [id for id in shop.products["id"] if id != "sku-00003"]
    chosen = random.Random(5)
    available, price = {}, {}
    for _ in range(4):
        some = chosen.sample(known, 12) + ["sku-00003"]
        changes = []
        for id in some:
            available[id], price[id] = chosen.random() < 0.6, round(chosen.uniform(1, 80), 2)
            changes.append(product(id, available[id], price[id]))
        assert set_(server, *changes) == {"products": 13, "outdated": 0, "unknown": 0}
        truth = build(available, price)
        for events in ([], ["sku-00010"], some[:3]):
            assert lists(server, *events) == lists_of(truth, *events)
    assert server.metric("stamp_inventory_set_total") == 52
    assert server.metric("stamp_inventory_products") == len(available)
    server.end(signal.SIGKILL)
    again = serve()
    assert lists(again, "sku-00010") == lists_of(truth, "sku-00010")


def test_only_what_is_said_changes(serve, build):
    server = serve(demo={"enabled": True})
    set_(server, product("sku-00010", price=3.5))
    set_(server, product("sku-00010", available=False))
    set_(server, product("sku-00011", available=False), product("sku-00011", available=True, price=7))
    truth = build({"sku-00010": False}, {"sku-00010": 3.5, "sku-00011": 7})
    for events in (["sku-00010"], ["sku-00011"], []):
        assert lists(server, *events) == lists_of(truth, *events)
    shown = server.post("/demo/products", {"ids": ["sku-00010", "sku-00011"]}).json["products"]
    assert [{a["name"]: a["value"] for a in product["attributes"]}["price"] for product in shown] == [3.5, 7]
    for word, is_listed in (("PREORDER", True), ("OUT_OF_STOCK", False), ("BACKORDER", True)):
        server.post(PATH, {"products": [{"id": "sku-00010", "availability": word}]})
        assert ("sku-00010" in lists(server)["default"]) == is_listed


def test_what_is_older_stays_away(serve):
    server = serve()
    at = lambda minute: f"2026-11-01T10:{minute:02}:00Z"  # noqa: E731
    assert set_(server, product("sku-00010", available=False), setTime=at(30))["outdated"] == 0
    late = set_(server, product("sku-00010", available=True), product("sku-00011", available=False), setTime=at(10))
    assert late == {"products": 2, "outdated": 1, "unknown": 0}
    listed = lists(server)["default"]
    assert "sku-00010" not in listed and "sku-00011" not in listed
    assert (
        set_(server, product("sku-00010", True, 5), setTime=at(20))["outdated"] == 0
    )  # of the price nothing later is known
    assert "sku-00010" not in lists(server)["default"]
    assert set_(server, product("sku-00010", available=True), setTime=at(30))["outdated"] == 0
    assert "sku-00010" in lists(server)["default"]


def test_products_that_a_release_lacks_are_kept_for_the_next(serve, build, shop, tmp_path):
    """And a release whose products are of a later time has its own numbers."""
    directory = Directory(tmp_path / "releases-dir")
    directory.add("one", build())
    directory.point("one")
    server = serve(releases={"path": str(directory.path), "poll_ms": 20})
    wait_until(lambda: server.get("/readyz").status == 200)
    assert set_(server, product("nobody", available=False))["unknown"] == 1
    set_(server, product("sku-00010", available=False), setTime="2026-11-01T10:00:00Z")
    set_(server, product("sku-00012", available=False), setTime="2026-11-02T10:00:00Z")
    directory.add("two", build(price={"sku-00010": 4}))
    directory.point("two")
    wait_until(lambda: server.predict("all").json["release"] == "two")
    assert {"sku-00010", "sku-00012"}.isdisjoint(lists(server)["default"])
    three = directory.add("three", build())
    (three / "release.json").write_text(json.dumps({"release": "three", "products_time": "2026-11-01T12:00:00Z"}))
    directory.point("three")
    wait_until(lambda: server.predict("all").json["release"] == "three")
    listed = lists(server)["default"]
    assert "sku-00010" in listed and "sku-00012" not in listed
    set_(server, product("sku-00010", available=False))
    assert "sku-00010" not in lists(server)["default"]
    # Every release that may answer has it: the one before, too.
    assert server.post("/release:rollback", {}, admin=True).status == 200
    assert server.predict("all").json["release"] == "two" and "sku-00010" not in lists(server)["default"]


def test_arms_of_experiments_have_it(serve, build):
    arm = {"name": "b", "share": 10000, "bundle": str(build())}
    server = serve(experiments=[{"name": "x", "arms": [{"name": "a", "share": 0}, arm]}])
    set_(server, product("sku-00010", available=False))
    reply = server.predict("all", k=60, userEvent={"eventType": "home-page-view", "visitorId": "v"})
    assert reply.json["experiment"]["arm"] == "b" and "sku-00010" not in ids(reply)


def test_writers_and_readers_at_once(serve, build, shop):
    """A writer's own change is there as soon as it is told so, whatever others do."""
    server = serve()
    known = [id for id in shop.products["id"] if id != "sku-00003"]

    def write(worker: int) -> int:
        wrong = 0
        for round in range(25):
            id = known[worker + 4 * round]
            for available in (False, True, False):
                set_(server, product(id, available=available))
                wrong += (id in ids(server.predict("all", k=100))) != available
        return wrong

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(4))) == [0] * 4
    gone = {id: False for id in known[:100]}
    assert lists(server) == lists_of(build(gone))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"products": [{"id": "sku-00010"}]}, 'products[0]: has neither "availability" nor "priceInfo"'),
        ({"products": [{"availability": "IN_STOCK"}]}, 'products[0]: has no "id"'),
        ({"products": []}, "products has no product"),
        ({}, "products has no product"),
        (product("sku-00010", True), "id: there is no such key"),
        ({"products": [{"id": "a", "availability": "SOLD"}]}, 'products[0].availability: "SOLD" is none; IN_STOCK,'),
        ({"products": [{"id": "a", "priceInfo": {"price": -1}}]}, "products[0].priceInfo.price: -1 is a number; a number from 0"),
        ({"products": [{"id": "a", "priceInfo": {"price": "3"}}]}, 'products[0].priceInfo.price: "3" is a string; a number'),
        ({"products": [{"id": "a", "priceInfo": {"price": 1e39}}]}, "products[0].priceInfo.price: "),
        ({"products": [{"id": 7, "availability": "IN_STOCK"}]}, "products[0].id: 7 is a number; a string is expected"),
        ({"products": [product("a", True)], "setTime": "2126-01-01T00:00:00Z"}, "setTime: 2126-01-01T00:00:00.000Z is in the"),
        ({"products": [product("a", True)], "setTime": 1764322200}, "setTime: 1764322200 is before the year 2000; milli"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_is_named(server, body, message):
    reply = server.post(PATH, body)
    assert reply.status == 400 and message in reply.error, reply.body


def test_a_release_without_the_number_says_so(serve, bundle, tmp_path):
    server = serve(inventory={"path": str(tmp_path / "i.sqlite"), "available": "sellable"}, bundle=str(bundle))
    reply = server.post(PATH, {"products": [product("sku-00010", price=3), product("sku-00011", available=True)]})
    assert reply.status == 400 and reply.error.startswith(
        'products[1].availability: products of release "bundle" have no number "sellable" that rules could look at; they'
    )


def test_it_wants_a_key_where_writing_does(serve, tmp_path):
    made = subprocess.run([PROGRAM, "--new-key", "shop"], capture_output=True, text=True, check=True).stdout
    key, line = (line.partition(": ")[2].strip() for line in made.splitlines())
    (tmp_path / "keys").write_text(line + "\n")
    server = serve(keys={"file": str(tmp_path / "keys")})
    body = {"products": [product("sku-00010", available=False)]}
    assert server.post(PATH, body).status == 401
    assert server.post(PATH, body, headers={"Authorization": f"Bearer {key}"}).status == 200


def test_files_that_are_not_ours_are_left_alone(bundle, tmp_path):
    def refusal(path) -> str:
        config = {"bundle": str(bundle), "visits": {"store": "none"}, "inventory": {"path": str(path)}}
        with pytest.raises(RuntimeError) as error:
            Server(config, tmp_path / "c.json")
        return str(error.value)

    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE t (x)")
    before = other.read_bytes()
    assert "is another program's; inventory.path should be a file of its own" in refusal(other)
    text = tmp_path / "text"
    text.write_text("no database" * 100)
    assert "the inventory cannot be opened: file is not a database" in refusal(text)
    assert "the inventory cannot be opened: unable to open database file" in refusal(tmp_path / "nowhere" / "file")
    assert other.read_bytes() == before and text.read_text() == "no database" * 100


def test_a_file_has_one_server(serve, bundle, tmp_path):
    serve()
    config = {
        "bundle": str(bundle),
        "visits": {"store": "none"},
        "inventory": {"path": str(tmp_path / "inventory.sqlite")},
    }
    with pytest.raises(RuntimeError, match="the inventory cannot be opened: database is locked"):
        Server(config, tmp_path / "second.json")


def test_more_than_there_may_be(serve, tmp_path):
    server = serve(inventory={"path": str(tmp_path / "inventory.sqlite"), "max_products": 3})
    set_(server, *(product(f"sku-0001{i}", available=False) for i in range(3)))
    more = {"products": [product("sku-00010", available=True), product("sku-00020", available=False)]}
    reply = server.post(PATH, more)
    assert reply.status == 400 and "more than inventory.max_products products, 3" in reply.error
    assert "sku-00010" not in lists(server)["default"] and "sku-00020" in lists(server)["default"]
    assert server.metric("stamp_inventory_failures_total") == 1
    set_(server, product("sku-00010", available=True))


def test_room_is_made_by_releases_that_know_later(serve, build, tmp_path):
    """And a call that finds none is no reason to refuse others."""
    directory = Directory(tmp_path / "releases-dir")
    for name, products_time in (("one", "2026-11-01"), ("two", "2026-11-03"), ("three", "2026-11-03")):
        said = {"release": name, "products_time": f"{products_time}T00:00:00Z"}
        (directory.add(name, build()) / "release.json").write_text(json.dumps(said))
    directory.point("one")
    config = {"path": str(tmp_path / "inventory.sqlite"), "max_products": 3}
    server = serve(releases={"path": str(directory.path), "poll_ms": 20}, inventory=config)
    wait_until(lambda: server.get("/readyz").status == 200)
    for i, day in enumerate((2, 2, 4)):
        set_(server, product(f"sku-0001{i}", available=False), setTime=f"2026-11-0{day}T00:00:00Z")
    known, more = ({"products": [product(id, available=False)]} for id in ("sku-00010", "sku-00020"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = pool.map(lambda body: (body is more, server.post(PATH, body).status), [more, known] * 50)
        assert set(statuses) == {(True, 400), (False, 200)}
    directory.point("two")
    wait_until(lambda: server.predict("all").json["release"] == "two")
    assert server.post(PATH, more).status == 400  # one may be gone back to
    directory.point("three")
    wait_until(lambda: server.predict("all").json["release"] == "three")
    wait_until(lambda: server.metric("stamp_releases_in_memory") == 2)
    assert server.post(PATH, more).status == 200
    assert server.metric("stamp_inventory_products") == 3  # what was set of sku-00011 is in both
    listed = lists(server)["default"]
    assert "sku-00011" in listed and {"sku-00010", "sku-00012", "sku-00020"}.isdisjoint(listed)


def test_what_releases_know_later_is_outdated(serve, build, tmp_path):
    directory = Directory(tmp_path / "releases-dir")
    said = {"release": "one", "products_time": "2026-11-03T00:00:00Z"}
    (directory.add("one", build()) / "release.json").write_text(json.dumps(said))
    directory.point("one")
    server = serve(releases={"path": str(directory.path), "poll_ms": 20})
    wait_until(lambda: server.get("/readyz").status == 200)
    assert set_(server, product("sku-00010", available=False), setTime="2026-11-02T00:00:00Z")["outdated"] == 1
    assert "sku-00010" in lists(server)["default"] and server.metric("stamp_inventory_products") == 0
    for said_time, message in (
        ("2126-11-03T00:00:00Z", "products_time: 2126-11-03T00:00:00.000Z is in the future"),
        ("yesterday", "products_time: "),
        (7, "products_time: is no string"),
    ):
        name = f"of-{said_time}".replace(":", "-")
        described = {"release": name, "products_time": said_time}
        (directory.add(name, directory.path / "releases" / "one") / "release.json").write_text(json.dumps(described))
        directory.point(name)
        wait_until(lambda message=message: message in server.get("/release").body.decode())


def test_without_a_time_it_is_later_than_all_that_is_known(serve):
    """Whatever the clocks of those who set it say."""
    server = serve()
    soon = 1000 * int(time.time()) + 200_000
    set_(server, product("sku-00010", available=False, price=5), setTime=soon)
    assert set_(server, product("sku-00010", available=True))["outdated"] == 0
    assert "sku-00010" in lists(server)["default"]


@pytest.fixture
def small_disk(tmp_path):
    """Asked for before `serve`, so that no server has it open in the end."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be had here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_what_the_disk_does_not_take_is_not_set(small_disk, serve):
    """Lists go on, and so does setting when there is room."""
    config = {"path": str(small_disk / "inventory.sqlite")}
    server = serve(inventory=config)
    set_(server, product("sku-00010", available=False))
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(b"x" * 4096)
    many = [product(f"more-{i}" + "x" * 200, available=False) for i in range(500)]
    reply = server.post(PATH, {"products": [product("sku-00011", available=False), *many]})
    assert reply.status == 503 and "the inventory cannot be stored now: " in reply.error
    listed = lists(server)["default"]
    assert "sku-00011" in listed and "sku-00010" not in listed
    filler.unlink()
    set_(server, product("sku-00011", available=False))
    assert "sku-00011" not in lists(server)["default"]
    server.end(signal.SIGKILL)
    assert {"sku-00010", "sku-00011"}.isdisjoint(lists(serve(inventory=config))["default"])
