"""Many writers of one alias, answers that are lost, and places that refuse to be written."""

import collections
import dataclasses
import os
import random
import re
import secrets
import subprocess
import sys
import tempfile
import threading

import pytest

from stamp.base.folders import Folder
from stamp.store import ConflictError, Store, sync
from store_steps import seen

RACERS = 20


@pytest.fixture
def store(place, nights):
    """With releases r0 to r20 of one bundle; the champion is r0."""
    store = Store(place)
    first = store.upload(nights[0], name="r0").release
    for n in range(1, RACERS + 1):
        store.place.create(f"releases/r{n}.json", dataclasses.replace(first, name=f"r{n}").to_json())
    store.promote("champion", "r0")
    return store


def at_once(act, count):
    """Results or errors of act(n) for each n, all begun together."""
    found, barrier = {}, threading.Barrier(count)

    def run(n):
        barrier.wait()
        try:
            found[n] = act(n)
        except Exception as error:
            found[n] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[n] for n in range(count)]


def test_of_many_that_expect_the_same_champion_one_wins(store):
    found = at_once(lambda n: Store(store.url).promote("champion", f"r{n + 1}", expect="r0", by=f"racer {n}"), RACERS)
    won = [n for n, each in enumerate(found) if not isinstance(each, Exception)]
    assert len(won) == 1
    alias = store.alias("champion")
    assert (
        (alias.release, alias.by) == (f"r{won[0] + 1}", f"racer {won[0]}") == (found[won[0]].release, found[won[0]].by)
    )
    assert [move.release for move in alias.history] == [alias.release, "r0"] and alias.previous == ("r0",)
    for n, error in enumerate(found):
        if n != won[0]:
            assert isinstance(error, ConflictError) and error.alias == alias
            assert f"racer {won[0]} moved it to {alias.release} at {alias.since}, r0 was expected" in str(error)
    assert not store.place.folder.list("leases")


def test_of_many_that_expect_nothing_none_is_lost(store):
    found = at_once(lambda n: Store(store.url).promote("champion", f"r{n + 1}", by=f"racer {n}"), RACERS)
    assert not [each for each in found if isinstance(each, Exception)]
    alias = store.alias("champion")
    assert collections.Counter(move.release for move in alias.history) == collections.Counter(list(store.releases()))
    for later, earlier in zip(alias.history[:-1], alias.history[1:], strict=True):
        assert later.before == earlier.release  # a chain: nobody overwrote what he had not seen
    assert alias.previous == tuple(move.release for move in alias.history[1:])


def test_processes_race_too(tmp_path, nights):
    """Of a folder, whose lock is of the machine."""
    store = Store(tmp_path / "store")
    for n in range(5):
        store.upload(nights[0], name=f"r{n}")
    store.promote("champion", "r0")
    program = (
        "import sys; from stamp.store import ConflictError, Store\n"
        "store = Store(sys.argv[1]); print('ready', flush=True); input()\n"
        "try: print(store.promote('champion', sys.argv[2], expect='r0').release)\n"
        "except ConflictError as error: print('conflict', error.alias.release)\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, store.url, f"r{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(1, 5)
    ]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    champion = store.alias("champion").release
    assert sorted(said) == sorted([champion, *[f"conflict {champion}"] * 3])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", ["create", "swap"])
def test_an_answer_that_is_lost_is_no_loss(place, nights, when, write):
    """The write went through, or did not, and an error comes in place of the answer."""
    store = Store(place)
    for n in range(3):
        store.upload(nights[n], name=f"r{n}")
    if write == "swap":
        store.promote("champion", "r0")
    objects, lost = store.place.objects, []

    class Losing:
        read, create, swap = objects.read, objects.create, objects.swap

    def lose(path, *arguments):
        if path.startswith("aliases/") and not lost:
            lost.append(path)
            if when == "after":
                assert getattr(objects, write)(path, *arguments)
            raise ConnectionError("connection reset by peer")
        return getattr(objects, write)(path, *arguments)

    setattr(Losing, write, staticmethod(lose))
    store.place.objects = Losing
    expect = "r0" if write == "swap" else None
    alias = store.promote("champion", "r1", expect=expect)
    assert lost and alias.release == "r1" and len(alias.history) == (2 if write == "swap" else 1)
    assert Store(place).alias("champion") == alias


def test_an_answer_that_is_lost_of_a_release(place, nights):
    store = Store(place)
    objects = store.place.objects

    class Losing:
        read, swap = objects.read, objects.swap

        def create(path, text):  # the client asked again by itself, and was told that there is one
            objects.create(path, text)
            return False

    store.place.objects = Losing
    assert store.upload(nights[0], name="r0").release == Store(place).release("r0")


def test_an_operation_is_done_once(place, nights):
    """A caller that was killed after its promotion asks again."""
    store = Store(place)
    for n in range(3):
        store.upload(nights[n], name=f"r{n}")
    store.promote("champion", "r0")
    first = store.promote("champion", "r1", expect="r0", operation="tonight's")
    assert store.promote("champion", "r1", expect="r0", operation="tonight's") == first
    second = store.promote("champion", "r2", operation="tomorrow's")
    assert store.promote("champion", "r1", expect="r0", operation="tonight's") == second == store.alias("champion")
    back = store.rollback("champion", expect="r2", operation="back")
    assert store.rollback("champion", expect="r2", operation="back") == back and back.release == "r1"


# Places that refuse.


@pytest.fixture
def without_permission(place, monkeypatch):
    """without_permission() -> a store whose every write is refused, by the errors of its own system where it has some."""

    def fail(*_, **__):
        raise PermissionError(13, "Permission denied")

    def forbid(*_, **__):
        from google.api_core.exceptions import Forbidden

        raise Forbidden("storage.objects.create is missing")

    def deny_s3():
        import aiobotocore.client
        from botocore.exceptions import ClientError

        made = aiobotocore.client.AioBaseClient._make_api_call
        denied = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}

        async def deny(self, operation, *arguments):
            if operation == "PutObject":
                raise ClientError(denied, operation)
            return await made(self, operation, *arguments)

        monkeypatch.setattr(aiobotocore.client.AioBaseClient, "_make_api_call", deny)

    def refuse():
        store = Store(place)
        for name in ("publish", "put_copy", "put"):
            monkeypatch.setattr(type(store.place.folder._files), name, fail)
        if store.place.folder.scheme == "s3":
            deny_s3()
        elif store.place.folder.scheme == "gs":
            monkeypatch.setattr("google.cloud.storage.Blob.upload_from_string", forbid)
        else:
            monkeypatch.setattr(type(store.place.objects), "_write", fail)
        return store

    return refuse


def test_a_place_that_may_not_be_written_says_so_and_is_as_it_was(place, nights, without_permission, tmp_path):
    store = Store(place)
    store.upload(nights[0], name="r0")
    store.upload(nights[1], name="r1")
    store.promote("champion", "r0")
    before = Folder(place).entries()
    store = without_permission()
    for act in (
        lambda: store.upload(nights[2], name="r2"),
        lambda: store.promote("champion", "r1"),
        lambda: store.rollback("champion"),
        lambda: store.gc(keep=0, grace=-1),
    ):
        with pytest.raises(RuntimeError, match=r"^cannot write .*/(leases/\w+\.json|gc\.json): no permission to: "):
            act()
    assert Folder(place).entries() == before
    assert store.verify().passed and list(store.releases()) == ["r0", "r1"]  # who may only read reads
    assert sync(store, to=tmp_path / "served").release == "r0"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be somebody else")
def test_a_folder_of_somebody_else(nights):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are nobody else's to look into
        os.chmod(folder, 0o755)
        store = Store(f"{folder}/store")
        store.upload(nights[0], name="r0")
        before = Folder(store.url).entries()
        program = (
            "import os, sys; from stamp.store import Store; store = Store(sys.argv[1]); os.setuid(65534)\n"
            "print(store.verify().passed, list(store.releases()))\n"
            "try: store.promote('champion', 'r0')\n"
            "except RuntimeError as error: print(error)\n"
        )
        said = subprocess.run(
            [sys.executable, "-c", program, store.url], capture_output=True, text=True, check=True
        ).stdout
        assert re.fullmatch(
            rf"True \['r0'\]\ncannot write {store.url}/leases/\w+\.json: no permission to: Permission denied\n", said
        )
        assert Folder(store.url).entries() == before


@pytest.mark.parametrize("place", ["s3", "gs"], indirect=True)
def test_a_bucket_that_does_not_exist_is_named(place, nights):
    url = place.replace("://stores/", f"://no-{secrets.token_hex(4)}/")
    with pytest.raises(RuntimeError, match=rf"^cannot (write|list|read) {url}"):
        Store(url).upload(nights[0])


def test_systems_without_conditional_writes_are_refused(tmp_path, nights):
    Store(tmp_path / "store").upload(nights[0], name="r0")
    store = Store(f"simplecache::file://{tmp_path}/store")
    assert list(store.releases()) == ["r0"]
    for act in (lambda: store.upload(nights[1]), lambda: store.promote("champion", "r0")):
        with pytest.raises(
            RuntimeError, match=r"has no conditional writes, .*; keep the store in a local folder, gs:// or s3://"
        ):
            act()


def test_a_system_that_does_not_heed_conditions_is_refused(tmp_path, nights, monkeypatch):
    """As servers that know no If-None-Match do."""
    store = Store(f"memory://{tmp_path}")
    monkeypatch.setattr(
        type(store.place.objects), "_write", lambda self, path, text, _: store.place.folder.publish(path, text) or True
    )
    with pytest.raises(RuntimeError, match=r"does not heed conditions: it wrote store\.json twice"):
        store.upload(nights[0])
    assert not Folder(store.url).names()


def test_random_interleavings_keep_the_chain(tmp_path, nights):
    """Promotions and rollbacks of several threads, each pausing anywhere."""
    store = Store(tmp_path / "store")
    for n in range(4):
        store.upload(nights[n % 3], name=f"r{n}")
    store.promote("champion", "r0")

    def act(n):
        source = random.Random(n)
        mine = seen(store.url, lambda *_: os.sched_yield() if source.random() < 0.5 else None)
        for _ in range(5):
            try:
                if source.random() < 0.6:
                    mine.promote("champion", f"r{source.randrange(4)}")
                else:
                    mine.rollback("champion")
            except (ConflictError, ValueError):
                pass
        return None

    assert at_once(act, 6) == [None] * 6
    alias = store.alias("champion")
    assert alias.release == alias.history[0].release
    for later, earlier in zip(alias.history[:-1], alias.history[1:], strict=True):
        assert later.before == earlier.release
