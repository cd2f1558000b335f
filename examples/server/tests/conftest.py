"""A server to ask: started on a small shop's bundle, asked as anybody would."""

import pathlib
from types import SimpleNamespace

import numpy as np
import pytest
from serving import Server

import stamp

ZONES = {
    "home": {"k": 4, "rules": [{"rule": "exclude_bought"}]},
    "product_page": {"k": 5, "rules": [{"rule": "exclude_seen"}, {"rule": "limit", "attribute": "category", "max": 2}]},
}


def rules_of(zones: dict) -> dict:
    return {"value": {"attribute": "price"}, "zones": zones}


@pytest.fixture(scope="session")
def shop():
    return stamp.datasets.synthetic_shop(sessions=1500, products=120, seed=3)


def bundle_of(shop, folder: pathlib.Path, seed: int = 1, zones: dict = ZONES, **options) -> pathlib.Path:
    model = stamp.StampRecommender(device="cpu", dim=16, epochs=1, batch_size=128, seed=seed, **options)
    model.fit(shop.sessions, progress=False).save(folder / "model")
    columns = {("item_id" if name == "id" else name): column for name, column in shop.products.items()}
    items = stamp.Products.from_frame({**columns, "available": [1.0] * len(columns["item_id"])})
    stamp.build_bundle({0: folder / "model"}, items, out=folder / "bundle", rules=rules_of(zones))
    return folder / "bundle"


@pytest.fixture(scope="session")
def bundle(shop, tmp_path_factory) -> pathlib.Path:
    return bundle_of(shop, tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def orders_bundle(shop, tmp_path_factory) -> pathlib.Path:
    """Of a model that has learnt what is ordered, too, and with a zone that wants it."""
    lengths = shop.sessions.lengths
    log = {
        "session_id": np.repeat(np.arange(len(lengths)), lengths),
        "item_id": shop.sessions.item_ids[shop.sessions._core.items],
        "timestamp": shop.sessions._core.timestamps,
        "event_type": np.resize(["view", "view", "order"], lengths.sum()),
    }
    labelled = SimpleNamespace(sessions=stamp.Sessions.from_frame(log), products=shop.products)
    zones = {**ZONES, "basket": {"k": 6, "objective": {"click": 1, "order": 1}}}
    folder = tmp_path_factory.mktemp("orders")
    return bundle_of(labelled, folder, zones=zones, objectives=["order"], learning_rate=0.01)


@pytest.fixture(scope="session")
def recommender(bundle):
    """The same bundle by the library alone: the truth about lists."""
    return stamp.Recommender(bundle, device="cpu")


@pytest.fixture
def start(bundle, tmp_path):
    """start(**config) -> Server, with what else a Server takes in `how`; all of them end with the test."""
    servers = []

    def start(how=None, **config) -> Server:
        config = {"bundle": str(bundle), "visits": {"store": "memory"}, **config}
        servers.append(Server(config, tmp_path / f"server-{len(servers)}.json", **(how or {})))
        return servers[-1]

    yield start
    for server in servers:
        server.end()


@pytest.fixture(scope="module")
def server(bundle, tmp_path_factory):
    """One for tests that leave nothing behind but their own visitors' events."""
    path = tmp_path_factory.mktemp("server")
    config = {
        "bundle": str(bundle),
        "visits": {"store": "memory"},
        "inventory": {"path": str(path / "inventory.sqlite")},
    }
    server = Server(config, path / "c.json")
    yield server
    server.end()
