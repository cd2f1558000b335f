"""Bearer keys: who may write events and who may administer."""

import hashlib
import pathlib
import re
import subprocess
import time

import pytest
from serving import PROGRAM, event

WRITE, IMPORT, PURGE = (f"/v1/userEvents:{verb}" for verb in ("write", "import", "purge"))
VIEW = event("v", "sku-00010")


def line(name: str, key: str, rights: str = "write", per_second: int | str = "") -> str:
    return f"{name} {hashlib.sha256(key.encode()).hexdigest()} {rights} {per_second}\n"


def bearer(key: str) -> dict[str, str]:
    return {"headers": {"Authorization": f"Bearer {key}"}}


@pytest.fixture
def keys(tmp_path) -> pathlib.Path:
    path = tmp_path / "keys"
    path.write_text("# who may\n\n" + line("shop", "old") + line("shop", "new") + line("ops", "root", "write,admin"))
    return path


@pytest.fixture
def guarded(start, keys):
    return start(keys={"file": str(keys)})


def eventually(status: int, ask) -> None:
    deadline = time.monotonic() + 30
    while (got := ask().status) != status:
        assert time.monotonic() < deadline, got
        time.sleep(0.05)


def test_without_a_file_anybody_writes_and_administers_from_here(server):
    assert server.post(WRITE, VIEW).status == 200
    assert server.post("/release:pin", None, admin=True).status == 200
    assert server.post("/release:unpin", None, admin=True).status == 200


def test_administration_from_elsewhere_wants_a_file(start):
    server = start(admin={"address": "0.0.0.0"})
    reply = server.post("/release:pin", None, admin=True)
    assert reply.status == 403 and "keys.file" in reply.error
    assert server.get("/release").status == 200


def test_two_keys_of_a_name_are_good_at_once(guarded):
    for key in ("old", "new", "root"):
        assert guarded.post(WRITE, VIEW, **bearer(key)).status == 200
    assert guarded.post(WRITE, VIEW, headers={"Authorization": "bearer old"}).status == 200


@pytest.mark.parametrize("path", [WRITE, IMPORT, PURGE])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer unknown"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic old"},
        {"Authorization": "old"},
        {"Authorization": "Bearer old "[:-1] + "x"},
        {"Authorization": "Bearer " + "x" * 1000},
        {"Authorization": "Bearer " + hashlib.sha256(b"old").hexdigest()},  # a hash is no key
    ],
)
def test_writing_wants_a_key(guarded, path, headers):
    reply = guarded.post(path, VIEW, headers=headers)
    assert reply.status == 401 and reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert reply.json["error"]["status"] == "UNAUTHENTICATED"
    assert guarded.metric("stamp_denied_total", 'why="key"') == 1
    assert guarded.metric("stamp_responses_total", 'status="401"') == 1


def test_predictions_and_health_want_none(guarded):
    assert guarded.predict("home", events=["sku-00010"]).status == 200
    for path in ("/healthz", "/readyz", "/metrics", "/release", "/config"):
        assert guarded.get(path).status == 200


def test_rights(guarded):
    for action in ("reload", "rollback", "pin", "unpin"):
        path = f"/release:{action}"
        nobody = guarded.post(path, None, admin=True)
        assert nobody.status == 401 and nobody.headers["WWW-Authenticate"]
        shop = guarded.post(path, None, admin=True, **bearer("new"))
        assert shop.status == 403 and shop.error == 'the key "shop" may not administer'
        assert guarded.post(path, None, admin=True, **bearer("root")).status in (200, 409)


def test_a_key_that_only_administers_does_not_write(start, keys):
    keys.write_text(line("ops", "root", "admin"))
    server = start(keys={"file": str(keys)})
    assert server.post(WRITE, VIEW, **bearer("root")).status == 403
    assert server.post("/release:pin", None, admin=True, **bearer("root")).status == 200


def test_the_file_is_read_again(guarded, keys):
    assert guarded.post(WRITE, VIEW, **bearer("old")).status == 200
    keys.write_text(line("shop", "new") + line("shop", "newest"))
    eventually(200, lambda: guarded.post(WRITE, VIEW, **bearer("newest")))
    assert guarded.post(WRITE, VIEW, **bearer("old")).status == 401
    assert guarded.post(WRITE, VIEW, **bearer("new")).status == 200


def test_a_file_that_cannot_be_changes_nothing(guarded, keys):
    keys.write_text(line("shop", "new") + "shop secret-by-mistake write\n")

    def failures():
        guarded.post(WRITE, VIEW, **bearer("old"))
        return guarded.metric("stamp_keys_failures_total")

    deadline = time.monotonic() + 30
    while failures() == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert guarded.post(WRITE, VIEW, **bearer("old")).status == 200
    keys.unlink()
    time.sleep(1.2)
    assert guarded.post(WRITE, VIEW, **bearer("old")).status == 200
    guarded.end()
    log = "".join(guarded.log)
    assert "line 2: the second word is not 64 hexadecimal digits" in log
    for secret in ("secret-by-mistake", "old", *(hashlib.sha256(k).hexdigest() for k in (b"old", b"new", b"root"))):
        assert secret not in log


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("shop\n", "line 1: has less than three words"),
        ("\n" + line("shop", "k", "read"), "line 2: the third word"),
        (line("shop", "k", "write", 0), "line 1: the fourth word"),
        (line("shop", "k", "write", "many"), "line 1: the fourth word"),
        (line("shop", "k", "write", "5 more"), "line 1: has more than four words"),
        (line("shop", "k") + line("other", "k"), "line 2: is of a key that stands above"),
        (None, "No such file"),
    ],
)
def test_files_that_cannot_be_end_the_start(start, keys, text, says):
    keys.unlink() if text is None else keys.write_text(text)
    with pytest.raises(RuntimeError, match=re.escape(says)):
        start(keys={"file": str(keys)})


def test_a_key_over_its_quota_waits_and_others_do_not(start, keys):
    keys.write_text(line("shop", "one", "write", 3) + line("shop", "two", "write", 3) + line("ops", "free"))
    server = start(keys={"file": str(keys)})
    began, statuses = time.monotonic(), []
    while len(statuses) < 30 or statuses[-1] != 429:
        reply = server.post(WRITE, VIEW, **bearer(("one", "two")[len(statuses) % 2]))
        statuses.append(reply.status)
    assert statuses[:3] == [200, 200, 200]  # one second's at once
    assert statuses.count(200) <= 3 + 3 * (time.monotonic() - began)  # of both keys together
    assert reply.status == 429 and int(reply.headers["Retry-After"]) == 1
    assert reply.json["error"]["status"] == "RESOURCE_EXHAUSTED" and '"shop"' in reply.error
    assert server.metric("stamp_denied_total", 'why="quota"') == statuses.count(429)
    assert server.post(WRITE, VIEW, **bearer("free")).status == 200
    time.sleep(1)  # as it was told
    assert server.post(WRITE, VIEW, **bearer("one")).status == 200


def test_new_keys(start, keys):
    made = [
        subprocess.run([PROGRAM, "--new-key", "shop"], capture_output=True, text=True, check=True) for _ in range(2)
    ]
    secrets, lines = zip(
        *([line.partition(": ")[2].strip() for line in run.stdout.splitlines()] for run in made), strict=True
    )
    assert len(set(secrets)) == 2 and all(re.fullmatch("stamp_[0-9a-f]{64}", secret) for secret in secrets)
    keys.write_text("\n".join(lines))
    server = start(keys={"file": str(keys)})
    assert [server.post(WRITE, VIEW, **bearer(secret)).status for secret in secrets] == [200, 200]
    assert server.post("/release:pin", None, admin=True, **bearer(secrets[0])).status == 403
    assert subprocess.run([PROGRAM, "--new-key", "two words"], capture_output=True).returncode == 1
