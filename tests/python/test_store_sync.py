"""What a sync brings to the directory that a server watches."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from stamp.store import Store, sync
from store_bundles import contents

RELEASE = "release.json"


@pytest.fixture
def store(place, nights):
    """Three releases, the first one the champion."""
    store = Store(place)
    for n, path in enumerate(nights):
        store.upload(path, name=f"r{n}", products_time=None if n else "2026-11-28T02:00:00Z")
    store.promote("champion", "r0")
    return store


def bundle_in(directory, name):
    found = contents(directory / "releases" / name)
    description = json.loads(found.pop(RELEASE))
    assert description["release"] == name
    return found, description


def pointer(directory, file="current.json"):
    return json.loads((directory / file).read_text())


def test_releases_come_whole_and_only_what_is_new(store, nights, tmp_path):
    to = tmp_path / "served"
    first = sync(store, to=to)
    bundle = contents(nights[0])
    assert first.changed and (first.fetched.files, first.fetched.bytes) == (len(bundle), sum(map(len, bundle.values())))
    found, description = bundle_in(to, "r0")
    assert found == bundle and description["products_time"] == "2026-11-28T02:00:00Z"
    alias = store.alias("champion")
    assert pointer(to) == {"release": "r0", "digest": alias.digest, "since": alias.since}

    before = {path: path.stat().st_mtime_ns for path in to.rglob("*")}
    again = sync(store, to=to)
    assert not again.changed and again.fetched == type(again.fetched)() and not again.removed
    assert {path: path.stat().st_mtime_ns for path in to.rglob("*")} == before

    store.promote("champion", "r1")
    second = sync(store, to=to)
    later = contents(nights[1])
    new = {path for path, content in later.items() if content not in bundle.values()}
    assert second.fetched.files == len(new) < len(later)
    assert second.fetched.bytes == sum(len(later[path]) for path in new)
    assert second.fetched.bytes_here == sum(map(len, later.values())) - second.fetched.bytes
    found, description = bundle_in(to, "r1")
    assert found == later and "products_time" not in description and pointer(to)["release"] == "r1"
    model = to / "releases/{}/clusters/7.safetensors"
    assert os.path.samefile(str(model).format("r0"), str(model).format("r1"))
    assert bundle_in(to, "r0")[0] == bundle

    store.rollback("champion")
    back = sync(store, to=to)
    assert back.changed and back.fetched.files == 0 and pointer(to)["release"] == "r0"


def test_candidates_come_beside_and_go(store, tmp_path):
    to = tmp_path / "served"
    assert sync(store, to=to, candidate="candidate").candidate is None and not (to / "candidate.json").exists()
    store.promote("candidate", "r1")
    assert sync(store, to=to, candidate="candidate").candidate == "r1"
    assert pointer(to, "candidate.json")["digest"] == store.release("r1").digest and pointer(to)["release"] == "r0"
    store.promote("champion", "r1")
    synced = sync(store, to=to, candidate="candidate")
    assert synced.changed and synced.candidate is None and not (to / "candidate.json").exists()
    assert pointer(to)["release"] == "r1"


def test_what_was_current_last_stays(store, nights, tmp_path):
    to = tmp_path / "served"
    by_hand = to / "releases/by-hand"
    shutil.copytree(nights[0], by_hand)
    sync(store, to=to, keep=2)
    store.promote("candidate", "r2")
    for name in ("r1", "r0", "r1"):
        store.promote("champion", name)
        assert not sync(store, to=to, keep=2, candidate="candidate").removed
    assert {path.name for path in (to / "releases").iterdir()} == {"by-hand", "r0", "r1", "r2"}
    store.promote("champion", "r2")
    assert sync(store, to=to, keep=2, candidate="candidate").removed == ("r0",)
    assert {path.name for path in (to / "releases").iterdir()} == {"by-hand", "r1", "r2"}
    store.promote("champion", "r0")
    assert not sync(store, to=to, keep=2, candidate="candidate").removed  # r2 is the candidate anew, and does not count
    assert sync(store, to=to, keep=2).removed == ("r1",)
    with pytest.raises(ValueError, match="keep is 1, expected a whole number of 2 or more"):
        sync(store, to=to, keep=1)
    assert contents(by_hand) == contents(nights[0]) and bundle_in(to, "r2")[0] == contents(nights[2])


def test_what_is_damaged_here_is_fetched_again(store, nights, tmp_path):
    to = tmp_path / "served"
    sync(store, to=to)
    model = to / "releases/r0/clusters/7.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    assert sync(store, to=to).fetched.files == 1 and bundle_in(to, "r0")[0] == contents(nights[0])
    content = model.read_bytes()
    model.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the same size: the next release would link it
    store.promote("champion", "r1")
    sync(store, to=to)
    assert bundle_in(to, "r1")[0] == contents(nights[1])
    store.promote("champion", "r0")
    sync(store, to=to)
    assert bundle_in(to, "r0")[0] == contents(nights[0])


def test_files_are_copied_where_links_cannot_be(store, nights, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    to = tmp_path / "served"
    sync(store, to=to)
    store.promote("champion", "r1")
    assert sync(store, to=to).fetched.files_here > 0 and bundle_in(to, "r1")[0] == contents(nights[1])
    model = to / "releases/{}/clusters/7.safetensors"
    assert not os.path.samefile(str(model).format("r0"), str(model).format("r1"))


def test_what_cannot_be_had_moves_nothing(store, nights, tmp_path):
    to = tmp_path / "served"
    with pytest.raises(ValueError, match="sync: .* has no alias 'champoin'; there are champion"):
        sync(store, to=to, alias="champoin")
    sync(store, to=to)
    before = contents(to)
    path = f"blobs/{store.release('r1').files['clusters/3.safetensors'].sha256}"
    store.promote("champion", "r1")
    store.place.folder.publish(path, "altered")
    with pytest.raises(RuntimeError, match=rf"r1/clusters/3\.safetensors: .*{path} was altered"):
        sync(store, to=to)
    assert {path: content for path, content in contents(to).items() if ".sync-part" not in path} == before
    store.upload(nights[1], name="r1")
    synced = sync(store, to=to)
    assert synced.fetched.files >= 1 and bundle_in(to, "r1")[0] == contents(nights[1])
    shutil.copytree(nights[2], to / "releases/r2")
    store.promote("champion", "r2")
    with pytest.raises(ValueError, match="r2 is there, and was not brought by a sync: move it away"):
        sync(store, to=to)
    assert pointer(to)["release"] == "r1"


def test_a_bundle_of_a_newer_library_is_not_pointed_at(place, nights, tmp_path, monkeypatch):
    newer = tmp_path / "newer"
    shutil.copytree(nights[1], newer)
    manifest = newer / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 3', '"version": 4'))
    store = Store(place)
    store.upload(nights[0], name="r0")
    with pytest.raises(RuntimeError, match=r"manifest.json has format version 4"):
        store.upload(newer, name="r1")
    monkeypatch.setattr("stamp.store.upload.verify_bundle", lambda _: None)  # as the newer library would
    store.upload(newer, name="r1")
    store.promote("champion", "r0")
    sync(store, to=tmp_path / "served")
    store.promote("champion", "r1")
    with pytest.raises(
        RuntimeError, match=r"r1 cannot be read by this library, stamp .*format version 4.*current\.json stays"
    ):
        sync(store, to=tmp_path / "served")
    assert pointer(tmp_path / "served")["release"] == "r0"


# Watching: a process of its own.


@pytest.fixture
def watching(tmp_path, nights):
    """A store in a folder, and what watches it: begins with nothing to bring."""
    store, to = Store(tmp_path / "store"), tmp_path / "served"
    command = [sys.executable, "-m", "stamp.cli", "store", "sync", store.url, "--to", to, "--watch", "0.05"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    yield store, to, process
    process.kill()
    process.wait()


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def test_watching_brings_each_release_and_says_failures_once(watching, nights):
    store, to, process = watching
    assert "has no alias 'champion'; there are none" in process.stderr.readline()
    store.upload(nights[0], name="r0")
    store.promote("champion", "r0")
    assert process.stderr.readline().startswith("stamp: current is r0: ")
    with pytest.raises(RuntimeError, match="another one keeps"):
        sync(store, to=to)
    store.upload(nights[1], name="r1")
    lost = store.place.folder.root + f"/blobs/{store.release('r1').files['clusters/3.safetensors'].sha256}"
    store.promote("champion", "r1")
    assert process.stderr.readline().startswith("stamp: current is r1: ")
    store.upload(nights[2], name="r2")
    lost = store.place.folder.root + f"/blobs/{store.release('r2').files['clusters/3.safetensors'].sha256}"
    content = open(lost, "rb").read()
    store.rollback("champion")  # so that the watcher has nothing to do with r2 meanwhile
    assert process.stderr.readline().startswith("stamp: current is r0: ")
    alias = to.parent / "store/aliases/champion.json"
    os.rename(lost, f"{lost}.away")
    alias.write_text(alias.read_text().replace('"release": "r0"', '"release": "r2"', 1))
    assert "r2/clusters/3.safetensors" in process.stderr.readline()
    time.sleep(0.5)  # ten looks
    assert pointer(to)["release"] == "r0"
    open(lost, "wb").write(content)
    assert process.stderr.readline().startswith("stamp: current is r2: ")
    until(lambda: pointer(to)["release"] == "r2")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0 and process.stderr.read() == ""
    assert bundle_in(to, "r2")[0] == contents(nights[2])
