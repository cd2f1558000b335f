"""Collecting garbage: what goes, what stays, and uploads and promotions at every moment of it."""

import datetime
import os
import threading

import pytest

from stamp.store import Store
from store_steps import Once, one_thread, seen

DAY = 86_400


def age(store, seconds, below=""):
    """Let all files of a store in a folder be so much older."""
    for path in store.place.folder.entries(below, hidden=True):
        full = os.path.join(store.place.folder.root, path)
        stat = os.stat(full)
        os.utime(full, (stat.st_atime - seconds, stat.st_mtime - seconds))


def blobs(store, *names):
    return {f"blobs/{blob}" for name in names for blob in store.release(name).blobs}


@pytest.fixture
def store(tmp_path, nights):
    store = Store(tmp_path / "store")
    for n, path in enumerate(nights):
        store.upload(path, name=f"r{n}", record=record(tmp_path))
    return store


def record(tmp_path):
    (tmp_path / "record").mkdir(exist_ok=True)
    (tmp_path / "record/index.html").write_text("<p>")
    return tmp_path / "record"


def test_what_nothing_needs_goes_after_its_grace(place, nights):
    store = Store(place)
    for n, path in enumerate(nights):
        store.upload(path, name=f"r{n}")
    store.promote("champion", "r1")
    needed, all_of_them = blobs(store, "r1"), blobs(store, "r0", "r1", "r2")
    assert store.gc(keep=0).releases == () and set(store.place.folder.list("blobs")) == all_of_them
    would = store.gc(keep=0, grace=-1, dry_run=True)
    assert would.releases == ("r0", "r2") and would.blobs == len(all_of_them - needed)
    assert set(store.place.folder.list("blobs")) == all_of_them and len(store.releases()) == 3
    done = store.gc(keep=0, grace=-1)
    assert (done.releases, done.blobs, done.bytes) == (would.releases, would.blobs, would.bytes)
    assert done.finished and done.kept_releases == 1 and done.kept_blobs == len(needed)
    assert set(store.place.folder.list("blobs")) == needed and list(store.releases()) == ["r1"]
    assert store.verify().passed and store.verify().unreferenced == 0
    assert store.gc(keep=0, grace=-1).blobs == 0


def test_histories_and_the_newest_stay(store):
    age(store, 2 * DAY)
    assert store.gc(keep=1, dry_run=True).releases == ("r0", "r1")
    store.promote("candidate", "r0")
    store.promote("candidate", "r1")
    store.rollback("candidate")
    done = store.gc(keep=0)
    assert done.releases == ("r2",) and done.records == 1
    assert store.place.folder.names("records") == ("r0", "r1") and store.verify().passed


def test_the_newest_are_those_that_the_store_got_last(store):
    """Whatever their names and the clocks of who uploaded them say."""
    age(store, 2 * DAY)
    age(store, DAY, "releases/")
    later = os.path.join(store.place.folder.root, "releases/r0.json")
    os.utime(later, (os.stat(later).st_atime + 1000, os.stat(later).st_mtime + 1000))
    assert store.gc(keep=1).releases == ("r1", "r2")


@pytest.mark.parametrize("years", [-20, 20])
def test_clocks_of_writers_do_not_matter(tmp_path, nights, monkeypatch, years):
    wrong = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=365 * years)
    for module in ("upload", "aliases", "leases", "collection"):
        monkeypatch.setattr(f"stamp.store.{module}.now", lambda: wrong)
    monkeypatch.setattr("time.time", lambda: wrong.timestamp())
    store = Store(tmp_path / "store")
    old = store.upload(nights[0]).release.name
    age(store, 2 * DAY)
    new = store.upload(nights[1]).release.name
    assert old.startswith(f"{wrong.year}-")
    assert store.gc(keep=0).releases == (old,) and list(store.releases()) == [new] and store.verify().passed


def test_what_is_no_part_of_a_store_is_left_and_told(store):
    folder = store.place.folder
    folder.publish("blobs/README", "mine")
    folder.publish("blobs/" + "A" * 64, "mine, too")
    folder.publish("blobs/" + "a" * 64, "of an upload that was killed")
    folder.publish("releases/notes.txt", "mine")
    folder.publish("records/killed/index.html", "of an upload that was killed")
    scratch = folder.scratch("blobs")  # of an upload that was killed
    young = store.gc(keep=3)
    assert young.blobs == young.records == 0 and os.path.exists(scratch)
    age(store, 2 * DAY)
    done = store.gc(keep=3)
    assert done.unknown == ("releases/notes.txt", "blobs/" + "A" * 64, "blobs/README")
    assert done.blobs == 1 and done.records == 1 and done.releases == () and not os.path.exists(scratch)
    assert folder.read_text("blobs/README") == "mine" and folder.read_text("releases/notes.txt") == "mine"
    assert store.verify().passed


@pytest.mark.parametrize("path", ["releases/r1.json", "aliases/champion.json", "leases/x.json"])
@pytest.mark.parametrize("text", ["{", '{"format": 2}'])
def test_nothing_goes_while_something_cannot_be_read(store, path, text):
    store.promote("champion", "r0")
    age(store, 2 * DAY)
    store.place.folder.publish(path, text)
    before = store.place.folder.list("blobs")
    with pytest.raises(ValueError, match=path):
        store.gc(keep=0)
    assert store.place.folder.list("blobs") == before and store.place.folder.size("releases/r2.json")
    store.place.folder.remove(path)
    store.gc(keep=0)


def test_two_collections_do_not_run_at_once(store):
    entered, go_on = threading.Event(), threading.Event()

    def wait(name, path):
        if name == "entries" and path == "leases":
            entered.set()
            assert go_on.wait(30)

    thread = threading.Thread(target=lambda: seen(store.url, wait).gc())
    thread.start()
    assert entered.wait(30)
    with pytest.raises(RuntimeError, match=r"gc: \S+@\S+ began one in .* at 2\S+Z; run it again when that has ended"):
        store.gc()
    go_on.set()
    thread.join()
    store.gc()


def killed_gc(store):
    """Leave the mark of a collection that was killed."""

    class Killed(BaseException):
        pass

    killed = []

    def kill(name, path):
        if killed or (name, path) == ("entries", "leases"):
            killed.append(name)
            raise Killed

    with pytest.raises(Killed):
        seen(store.url, kill).gc()


def test_a_collection_that_was_killed_counts_for_an_hour(store, nights, monkeypatch, capfd):
    killed_gc(store)
    impatient = Store(store.url, patience=0.3)
    monkeypatch.setattr("stamp.store.leases._PAUSE", 0.05)
    with pytest.raises(
        RuntimeError, match=r"collects garbage in .*, and did not end within 0 s; try again\. One that was killed"
    ):
        impatient.upload(nights[0], name="late")
    assert capfd.readouterr().err.count("waits for the end of the gc that ") == 1
    with pytest.raises(RuntimeError, match="did not end within"):
        impatient.promote("champion", "r0")
    assert not store.aliases() and "late" not in store.releases() and not store.place.folder.names("leases")
    mark = os.path.join(store.place.folder.root, "gc.json")
    os.utime(mark, (os.stat(mark).st_atime - 3_700, os.stat(mark).st_mtime - 3_700))
    impatient.upload(nights[0], name="late")
    store.gc()
    impatient.promote("champion", "r0")


def test_leases_of_what_was_killed_count_for_a_day(store, nights):
    class Killed(BaseException):
        pass

    def kill(name, path):
        if name == "remove" or (name == "create" and path.startswith("releases/")):
            raise Killed

    for name in store.releases():
        store.place.folder.remove(f"releases/{name}.json")
    with pytest.raises(Killed):
        seen(store.url, kill).upload(nights[0], name="killed")
    age(store, 2 * DAY, "blobs/")
    assert store.place.folder.list("leases")
    first = store.gc(keep=0)
    assert first.leases == 0 and first.kept_blobs > 0
    age(store, 2 * DAY, "leases/")
    done = store.gc(keep=0)
    assert done.leases == 1 and done.kept_blobs == 0 and not store.place.folder.names("leases")


def test_an_upload_whose_lease_died_says_so(store, nights):
    """Of a machine that slept for days: what it relied on may be gone."""

    def sleep(name, path):
        if name == "publish" and path.startswith("leases/"):
            age(store, 2 * DAY, "leases/")

    def gone(name, path):
        if name == "publish" and path.startswith("leases/"):
            store.place.folder.remove(path)

    for act in (sleep, gone):
        before = []

        def first(name, path, act=act, before=before):
            if name == "modified" and path.startswith("leases/") and len(before) == 1:
                act("publish", path)
            before.extend([1] if name == "modified" and path.startswith("leases/") else [])

        with pytest.raises(RuntimeError, match="a collection may have taken what this call relied on; begin it again"):
            seen(store.url, first).upload(nights[0], name="slept")
        assert "slept" not in store.releases()


# At every moment.


def with_garbage(url, nights):
    """A store whose blobs no release needs: those of an old upload, which another upload finds."""
    store = Store(url)
    store.upload(nights[1], name="old")
    store.place.folder.remove("releases/old.json")
    return store


def until_not_reached(attempt):
    """attempt(step) -> whether the step came; for all steps."""
    step = 1
    while attempt(step):
        step += 1
    return step - 1


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_a_collection_at_every_moment_of_an_upload(scheme, tmp_path, nights, monkeypatch):
    def attempt(step):
        url = f"{'' if scheme == 'file' else 'memory:/'}{tmp_path}/{step}"
        store = with_garbage(url, nights)
        collected = []
        once = Once(step, lambda: collected.append(store.gc(keep=0, grace=-1)))
        uploaded = seen(url, once).upload(nights[0], name="new")
        if "new" in store.releases():
            assert store.verify().passed
            store.promote("champion", "new")
        else:  # all was over but for the lease's removal, so that it was an old release like others
            assert collected[0].releases == ("new",)
        assert uploaded.release.name == "new"
        return once.reached

    with one_thread(monkeypatch):
        assert until_not_reached(attempt) >= 20


def in_background(act, waits, monkeypatch):
    """Begin what a collection may hold up, and go on once it is done or waits. Returns what joins it."""
    moved = threading.Event()
    failed = []

    def run():
        try:
            act()
        except BaseException as error:
            failed.append(error)
        finally:
            moved.set()

    monkeypatch.setattr("stamp.store.leases.tell", lambda _: (waits.append(1), moved.set()))
    thread = threading.Thread(target=run)

    def begin():
        thread.start()
        assert moved.wait(30)

    def join():
        if thread.ident is not None:
            thread.join()
        assert not failed, failed

    return begin, join


@pytest.mark.parametrize("what", ["upload", "promote"])
def test_an_upload_or_promotion_at_every_moment_of_a_collection(what, tmp_path, nights, monkeypatch):
    monkeypatch.setattr("stamp.store.leases._PAUSE", 0.002)
    waits: list[int] = []

    def attempt(step):
        url = str(tmp_path / str(step))
        store = with_garbage(url, nights)
        if what == "promote":
            store.upload(nights[1], name="idle")

        def act():
            if what == "upload":
                Store(url).upload(nights[0], name="new")
                return
            try:
                Store(url).promote("champion", "idle")
            except ValueError as error:  # it was garbage, and went before it was asked for
                assert "has no release 'idle'" in str(error)

        begin, join = in_background(act, waits, monkeypatch)
        once = Once(step, begin)
        seen(url, once).gc(keep=1 if what == "upload" else 0, grace=-1)
        join()
        if once.reached:
            assert store.verify().passed
            assert what == "promote" or "new" in store.releases()
        return once.reached

    with one_thread(monkeypatch):
        assert until_not_reached(attempt) > 15
    assert waits  # some did wait
