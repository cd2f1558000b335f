"""The directory of releases that a server watches, and patience."""

import hashlib
import json
import pathlib
import shutil
import time


def digest_of(bundle: pathlib.Path) -> str:
    """As the server's header says, by another hand."""
    files = {path.relative_to(bundle).as_posix(): path for path in bundle.rglob("*") if path.is_file()}
    files.pop("release.json", None)
    lines = [f"{hashlib.sha256(files[name].read_bytes()).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class Directory:
    """What a server watches. `pointer` is the file that is written: what is served, or the candidate."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        (path / "releases").mkdir(parents=True)

    def add(self, name: str, bundle: pathlib.Path) -> pathlib.Path:
        shutil.copytree(bundle, self.path / "releases" / name)
        (self.path / "releases" / name / "release.json").write_text(json.dumps({"release": name}))
        return self.path / "releases" / name

    def write(self, text: str, pointer: str = "current.json") -> None:
        (self.path / "aside").write_text(text)
        (self.path / "aside").rename(self.path / pointer)

    def point(self, name: str, digest: str | None = None, pointer: str = "current.json") -> None:
        digest = digest or digest_of(self.path / "releases" / name)
        self.write(json.dumps({"release": name, "digest": digest, "since": "2026-11-28T03:12:00Z"}), pointer)


def wait_until(what, seconds: float = 30):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)
    return found
