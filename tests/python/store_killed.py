"""A process that kills children of its own while they work with a store, and looks what they left: run as a program.

Children are forked from here, where no other threads run. `steps SCENARIO` kills one before, and halfway through, every call
of the operating system that changes a file; `random COUNT SEED` at moments of a whole night.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable

from stamp.base import files
from stamp.store import Store, sync
from stamp.store.releases import bundle_digest
from store_bundles import contents

CHANGES = ("replace", "rename", "link", "unlink", "fsync", "mkdir", "rmdir", "utime")


def forked(act: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def done(act: Callable[[], object]) -> None:
    """In a child, for what begins threads of the library."""
    status = os.waitpid(forked(act), 0)[1]
    assert status == 0, status


def killed_at(step: int) -> None:
    """From now on this process dies at its step of that number: before a change, or with half a file copied."""
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return steps == step

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(call):
        def called(*args, **options):
            if count():
                die()
            return call(*args, **options)

        return called

    def copy(source, to):
        if count():
            content = pathlib.Path(source).read_bytes()
            pathlib.Path(to).write_bytes(content[: len(content) // 2])
            die()
        return copied(source, to)

    copied = shutil.copyfile
    shutil.copyfile = copy
    for name in CHANGES:
        setattr(os, name, dying(getattr(os, name)))
    files._stamp.write_file = dying(files._stamp.write_file)


def aged(folder: pathlib.Path, seconds: float) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (path.stat().st_atime - seconds, path.stat().st_mtime - seconds))


class Scenario:
    """What is done in a folder, and how it must be after it was killed, and done again."""

    def __init__(self, folder: pathlib.Path, nights: list[str]):
        self.folder, self.nights = folder, nights
        self.store, self.to = Store(folder / "store"), folder / "served"

    def prepare(self) -> None:
        for n in (0, 1):
            self.store.upload(self.nights[n], name=f"r{n}", made_by={"night": n})
        self.store.promote("champion", "r0")

    def act(self) -> None:
        raise NotImplementedError

    def check(self) -> None:
        """After a kill, then again once it was done."""
        verified = self.store.verify()
        assert verified.passed, verified.findings
        for alias in self.store.aliases().values():
            assert alias.release in self.store.releases()

    def is_done(self) -> None:
        """After all."""

    def clear(self) -> None:
        """What a killed process left counts no more."""
        aged(self.folder / "store", 90_000)


class Upload(Scenario):
    def act(self) -> None:
        record = self.folder / "record"
        record.mkdir(exist_ok=True)
        (record / "index.html").write_text("<p>")
        self.store.upload(self.nights[2], name="r2", parent="r1", made_by={"night": 2}, record=record)

    def is_done(self) -> None:
        self.store.export("r2", self.folder / "out")
        found = contents(self.folder / "out")
        del found["release.json"]
        assert found == contents(self.nights[2]) and list(self.store.releases()) == ["r0", "r1", "r2"]
        self.clear()
        self.store.gc(keep=3)
        assert self.store.verify().unreferenced == 0 and not list((self.folder / "store").rglob(".*.tmp"))
        assert not self.store.place.folder.list("leases")


class Promote(Scenario):
    def act(self) -> None:
        self.store.promote("champion", "r1", expect="r0", operation="tonight")

    def check(self) -> None:
        super().check()
        assert self.store.alias("champion").release in ("r0", "r1")

    def is_done(self) -> None:
        alias = self.store.alias("champion")
        assert alias.release == "r1" and [move.release for move in alias.history] == ["r1", "r0"]


class Collect(Scenario):
    def prepare(self) -> None:
        super().prepare()
        self.store.upload(self.nights[2], name="r2", record=self.nights[2])
        self.store.place.folder.publish("blobs/" + "0" * 64, "garbage")
        self.clear()

    def act(self) -> None:
        self.store.gc(keep=0)

    def is_done(self) -> None:
        assert list(self.store.releases()) == ["r0"]
        needed = {f"blobs/{blob}" for blob in self.store.release("r0").blobs}
        assert set(self.store.place.folder.list("blobs")) == needed and not self.store.place.folder.names("records")


class Sync(Scenario):
    def prepare(self) -> None:
        super().prepare()
        sync(self.store, to=self.to)
        self.store.upload(self.nights[2], name="r2")
        self.store.promote("champion", "r1")
        sync(self.store, to=self.to)
        self.store.promote("champion", "r2")
        self.store.promote("candidate", "r1")

    def act(self) -> None:
        sync(self.store, to=self.to, keep=2, candidate="candidate")

    def check(self) -> None:
        super().check()
        seen_by_servers(self.to)

    def is_done(self) -> None:
        assert json.loads((self.to / "current.json").read_text())["release"] == "r2"
        assert json.loads((self.to / "candidate.json").read_text())["release"] == "r1"
        assert sorted(path.name for path in (self.to / "releases").iterdir()) == ["r0", "r1", "r2"]


def seen_by_servers(to: pathlib.Path) -> None:
    """Every pointer names a release that is whole, and every release is one."""
    for file in ("current.json", "candidate.json"):
        if (to / file).exists():
            pointer = json.loads((to / file).read_text())
            assert bundle_digest(to / "releases" / pointer["release"]) == pointer["digest"]
    for folder in (to / "releases").glob("[!.]*"):
        assert bundle_digest(folder) == json.loads((folder / "release.json").read_text())["digest"]


def steps(scenario: type[Scenario], folder: pathlib.Path, nights: list[str]) -> int:
    made = scenario(folder / "made", nights)
    done(made.prepare)
    step = 0
    while True:
        step += 1
        case = scenario(folder / str(step), nights)
        shutil.copytree(folder / "made", folder / str(step), symlinks=True)

        def act(case=case, step=step) -> None:
            killed_at(step)
            case.act()

        status = os.waitpid(forked(act), 0)[1]
        case.check()
        if status == 0:
            case.is_done()
            return step - 1
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
        if scenario is Collect:
            case.clear()
        done(case.act)
        case.check()
        case.is_done()
        shutil.rmtree(folder / str(step))


class Night(Scenario):
    """All of it, one after the other."""

    def act(self) -> None:
        Upload.act(self)
        self.store.promote("champion", "r2", expect="r0", operation="tonight")
        self.store.gc(keep=0)
        sync(self.store, to=self.to)

    def is_done(self) -> None:
        alias = self.store.alias("champion")
        assert [move.release for move in alias.history] == ["r2", "r0"]
        assert json.loads((self.to / "current.json").read_text())["digest"] == alias.digest


def at_random(count: int, seed: int, folder: pathlib.Path, nights: list[str]) -> int:
    """How many were killed while they worked."""
    source, killed = random.Random(seed), 0
    made = Night(folder / "made", nights)
    done(made.prepare)
    shutil.copytree(folder / "made", folder / "timed")
    started = time.monotonic()
    done(Night(folder / "timed", nights).act)
    longest = time.monotonic() - started
    for n in range(count):
        case = Night(folder / str(n), nights)
        shutil.copytree(folder / "made", folder / str(n))
        child = forked(case.act)
        time.sleep(source.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        case.check()
        if case.to.exists():
            seen_by_servers(case.to)
        mark = folder / str(n) / "store/gc.json"
        if mark.exists():
            os.utime(mark, (mark.stat().st_atime - 4_000, mark.stat().st_mtime - 4_000))
        done(case.act)
        case.check()
        seen_by_servers(case.to)
        case.is_done()
        shutil.rmtree(folder / str(n))
    return killed


if __name__ == "__main__":
    what, argument, seed, where, *bundles = sys.argv[1:]
    scenarios = {"upload": Upload, "promote": Promote, "gc": Collect, "sync": Sync}
    if what == "steps":
        print(steps(scenarios[argument], pathlib.Path(where), bundles))
    else:
        print(at_random(int(argument), int(seed), pathlib.Path(where), bundles))
