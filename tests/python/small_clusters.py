"""Clusters of a small shop, to train one model each; and trainings in processes of their own."""

import pathlib
import subprocess
import sys

import numpy as np

import stamp

OPTIONS = {"dim": 8, "epochs": 2, "batch_size": 64}
SMALL = {"config": OPTIONS, "device": "cpu", "min_examples": 0, "progress": False}


class Clusters:
    """What training reads of CatalogClusters."""

    def __init__(self, members, parents=None, fingerprint="of the test"):
        self.item_ids = np.array([*[item for items in members.values() for item in items], None], object)[:-1]
        self.labels = np.repeat(list(members), [len(items) for items in members.values()])
        self.ids = list(members)
        self.parents = parents or {}
        self.fingerprint = fingerprint

    def parent(self, cluster):
        return self.parents.get(cluster)


def weights_of(path):
    return stamp.load(path, device="cpu").weights_


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


SCRIPT = """
import sys
import numpy as np
import stamp

class Clusters:
    item_ids = np.array([f"sku-{i:05d}" for i in range(60)], object)
    labels = np.arange(60) // 40
    ids = [0, 1]
    fingerprint = "two"
    def parent(self, cluster):
        return None

shop = stamp.datasets.synthetic_shop(sessions=2000, products=60, seed=5)
config = {"dim": 32, "epochs": int(sys.argv[2]), "batch_size": 32, "checkpoint_seconds": 0.02}
print("ready", flush=True)
report = stamp.train_cluster(shop.sessions, Clusters(), 0, out=sys.argv[1], config=config, device="cpu",
                             min_examples=0, progress=False)
print(report.status, report.training["resumed"])
"""


def start(out, epochs):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, out, str(epochs)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def trainings_of(parent):
    """Processes that were spawned to train."""
    found = []
    for file in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
        for child in file.read_text().split():
            try:
                if b"spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
            except OSError:  # it has ended
                pass
    return found
