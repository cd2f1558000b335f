"""A store, in a folder, in memory, and in buckets: uploads, releases, aliases, what is fetched again."""

import datetime
import json
import re
import subprocess

import pytest

from stamp.base.folders import Folder
from stamp.store import ConflictError, Store
from store_bundles import contents

NOW = datetime.datetime(2026, 11, 28, 3, 12, tzinfo=datetime.timezone.utc)
MADE_BY = {"data": "5a5a", "options": {"dim": 8, "epochs": 2}}


def test_uploads_move_what_is_new_and_exports_are_the_bundle(place, nights, tmp_path):
    store = Store(place)
    record = tmp_path / "record"
    (record / "plots").mkdir(parents=True)
    (record / "index.html").write_text("<p>good</p>")
    (record / "plots/loss.svg").write_text("<svg/>")
    first = store.upload(
        nights[0], record=record, made_by=MADE_BY, products_time="2026-11-28T04:00:00+02:00", created=NOW
    )
    release = first.release
    assert release.name == f"2026-11-28T0312Z-{release.digest[:4]}" and release.created == "2026-11-28T03:12:00Z"
    assert release.products_time == "2026-11-28T02:00:00Z" and release.parent is None and release.made_by == MADE_BY
    bundle = contents(nights[0])
    assert {path: file.bytes for path, file in release.files.items()} == {p: len(c) for p, c in bundle.items()}
    assert first.old_blobs == 0 and first.new_blobs == len(set(bundle.values()))
    assert first.new_bytes == sum(map(len, set(bundle.values())))

    second = store.upload(nights[1], parent=release.name, created=NOW + datetime.timedelta(days=1))
    known, fresh = set(bundle.values()), set(contents(nights[1]).values())
    assert second.new_blobs == len(fresh - known) < len(fresh) and second.old_blobs == len(fresh & known)
    assert second.new_bytes == sum(map(len, fresh - known)) and second.old_bytes == sum(map(len, fresh & known))
    assert second.release.parent == release.name
    assert list(store.releases()) == [release.name, second.release.name]
    assert store.release(release.name) == release

    for n, uploaded in enumerate((first, second)):
        store.export(uploaded.release.name, tmp_path / f"out{n}")
        found = contents(tmp_path / f"out{n}")
        description = json.loads(found.pop("release.json"))
        assert found == contents(nights[n])
        assert description["release"] == uploaded.release.name and description["digest"] == uploaded.release.digest
        assert description.get("products_time") == uploaded.release.products_time
        command = "find . -type f ! -path ./release.json -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"
        said = subprocess.run(command, shell=True, cwd=tmp_path / f"out{n}", capture_output=True, text=True, check=True)
        assert said.stdout.split()[0] == uploaded.release.digest

    verified = store.verify()
    assert verified.passed and verified.releases == 2 and verified.blobs == len(known | fresh)
    assert verified.unreferenced == 0 and verified.bytes == sum(map(len, known | fresh))
    assert contents_of(store, f"records/{release.name}") == contents(record)
    assert not store.place.folder.names("leases")


def contents_of(store, path):
    folder = store.place.folder
    return {each[len(path) + 1 :]: folder.open(each).read() for each in folder.list(path)}


def test_aliases_move_back_and_forth(place, nights):
    store = Store(place)
    names = [store.upload(path, name=f"r{n}").release.name for n, path in enumerate(nights)]
    alias = store.promote("champion", names[0], expect=None, by="me")
    assert (alias.release, alias.digest, alias.by) == (names[0], store.release("r0").digest, "me")
    with pytest.raises(
        ConflictError, match=r"me moved it to r0 at 2\d{3}-.*Z, no alias was expected; nothing was changed"
    ):
        store.promote("champion", names[1], expect=None)
    store.promote("champion", names[1], expect=names[0])
    with pytest.raises(ConflictError, match=r"moved it to r1 at .*, r0 was expected") as conflict:
        store.promote("champion", names[2], expect=names[0])
    assert conflict.value.alias == store.alias("champion")
    alias = store.promote("champion", names[2])
    assert alias.previous == ("r1", "r0") and store.promote("champion", names[2]) == alias
    assert store.release("champion") == store.release("r2")

    alias = store.rollback("champion", expect="r2", by="you")
    assert (alias.release, alias.previous) == ("r1", ("r0",))
    with pytest.raises(ConflictError, match="you moved it to r1"):
        store.rollback("champion", expect="r2")
    assert store.alias("champion") == alias
    assert store.rollback("champion").release == "r0"
    with pytest.raises(ValueError, match="no release before r0"):
        store.rollback("champion")
    alias = store.alias("champion")
    assert [(move.what, move.before, move.release) for move in alias.history] == [
        ("rollback", "r1", "r0"),
        ("rollback", "r2", "r1"),
        ("promote", "r1", "r2"),
        ("promote", "r0", "r1"),
        ("promote", None, "r0"),
    ]
    store.promote("champion", "r1")
    store.promote("champion", "r2")
    assert store.rollback("champion", to="r0").previous == ()
    store.promote("candidate", "r2")
    assert {name: alias.release for name, alias in store.aliases().items()} == {"candidate": "r2", "champion": "r0"}
    assert not store.place.folder.names("leases")


def test_the_same_upload_again_is_no_error_and_another_of_its_name_is(place, nights):
    store = Store(place)
    first = store.upload(nights[0], name="r", made_by=MADE_BY, created=NOW)
    before = Folder(place).entries()
    again = store.upload(nights[0], name="r", made_by=MADE_BY)
    assert again.release == first.release and again.new_blobs == 0 and again.old_blobs == first.new_blobs
    with pytest.raises(ValueError, match=r"has a release r already, of another digest, .*files.*: give another name"):
        store.upload(nights[1], name="r", made_by=MADE_BY)
    with pytest.raises(ValueError, match=r"has a release r already, of another made_by; "):
        store.upload(nights[0], name="r")
    assert Folder(place).entries() == before


def test_a_blob_that_is_cut_off_is_written_anew(place, nights):
    store = Store(place)
    release = store.upload(nights[0], name="r").release
    cut, lost = (f"blobs/{release.files[path].sha256}" for path in ("clusters/3.safetensors", "catalog.safetensors"))
    store.place.folder.publish(cut, "half")
    store.place.folder.remove(lost)
    with pytest.raises(
        RuntimeError, match=r"promote champion: the blob [0-9a-f]{64} of r \(.*\) (is missing|has 4 bytes)"
    ):
        store.promote("champion", "r")
    assert not store.aliases()
    found = {finding.file: finding for finding in store.verify().findings}
    assert {path: finding.what for path, finding in found.items()} == {cut: "altered", lost: "missing"}
    assert found[cut].releases == ("r",) and found[cut].paths == ("clusters/3.safetensors",)
    again = store.upload(nights[0], name="r")
    assert again.new_blobs == 2 and store.verify().passed
    store.promote("champion", "r")


def test_an_altered_blob_is_found_and_never_handed_out(place, nights, tmp_path):
    store = Store(place)
    first = store.upload(nights[0], name="r0").release
    store.upload(nights[1], name="r1")
    path = f"blobs/{first.files['clusters/7.safetensors'].sha256}"
    content = store.place.folder.open(path).read()
    (tmp_path / "altered").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    store.place.folder.put_copy(path, tmp_path / "altered")
    [finding] = store.verify().findings
    assert (finding.file, finding.what, finding.releases) == (path, "altered", ("r0", "r1"))
    assert finding.paths == ("clusters/7.safetensors",) and not store.verify("r1").passed
    with pytest.raises(RuntimeError, match=rf"r0/clusters/7.safetensors: .*{path} was altered"):
        store.export("r0", tmp_path / "out")
    store.place.folder.remove(path)
    with pytest.raises(RuntimeError, match=rf"r0/clusters/7.safetensors: .*{path} is missing"):
        store.export("r0", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "store") == ["altered"]


def test_what_was_altered_on_its_way_is_no_release(place, nights, tmp_path, monkeypatch):
    store = Store(place)
    put_copy = Folder.put_copy

    def alter(self, path, source):
        content = bytearray(open(source, "rb").read())
        if len(content) > 1000:
            content[500] ^= 1
        (tmp_path / path.rpartition("/")[2]).write_bytes(content)
        put_copy(self, path, tmp_path / path.rpartition("/")[2])

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "put_copy", alter)
        with pytest.raises(RuntimeError, match=r"blobs/\w{64} is not what .* held when it was looked at"):
            store.upload(nights[0], name="r0")
    assert store.releases() == {} and not store.place.folder.list("leases")
    uploaded = store.upload(nights[0], name="r0")
    assert store.verify().passed and uploaded.old_blobs < uploaded.new_blobs  # the small ones had come


def test_blobs_of_an_upload_that_was_killed_are_read_before_they_are_used(place, nights, tmp_path):
    store = Store(place)
    release = store.upload(nights[0], name="r0").release
    path = f"blobs/{release.files['clusters/7.safetensors'].sha256}"
    content = bytearray(store.place.folder.open(path).read())
    content[-1] ^= 1
    (tmp_path / "altered").write_bytes(content)
    store.place.folder.put_copy(path, tmp_path / "altered")
    store.place.folder.remove("releases/r0.json")
    store.place.folder.publish("releases/newer.json", '{"format": 2}')  # of a newer library: no matter to uploads
    assert store.upload(nights[0], name="r1").new_blobs == 1 and store.verify("r1").passed


def test_differences(place, nights):
    store = Store(place)
    store.upload(nights[0], name="r0", made_by={"data": "a", "options": {"dim": 8, "epochs": 2}})
    store.upload(nights[1], name="r1", made_by={"data": "b", "options": {"dim": 8}, "seed": 3})
    store.promote("champion", "r0")
    found = store.diff("champion", "r1")
    assert found.clusters.changed == ("3",) and found.clusters.same == ("7",) and found.clusters.new == ()
    before, after = contents(nights[0]), contents(nights[1])
    assert set(found.files.changed) == {path for path in before if before[path] != after[path]}
    assert found.new_bytes == sum(map(len, set(after.values()) - set(before.values())))
    assert found.made_by == {"data": ("a", "b"), "options.epochs": (2, None), "seed": (None, 3)}


def test_what_is_not_there_is_named(place, nights, tmp_path):
    store = Store(place)
    assert store.releases() == {} and store.aliases() == {} and store.verify().passed
    for call in (lambda: store.promote("champion", "r"), store.gc, lambda: store.rollback("champion")):
        with pytest.raises(ValueError, match=rf"{re.escape(store.url)} is empty; upload a bundle first"):
            call()
    assert not Folder(place).names()
    store.upload(nights[0], name="r0")
    with pytest.raises(ValueError, match="has no release 'r1'; the newest of 1 are r0"):
        store.promote("champion", "r1")
    with pytest.raises(ValueError, match="has no alias 'champion'; there are none: promote a release"):
        store.rollback("champion")
    store.promote("champion", "r0")
    with pytest.raises(ValueError, match="has no alias 'champoin'; there are champion"):
        store.alias("champoin")
    with pytest.raises(ValueError, match="has no release 'nothing'"):
        store.export("nothing", tmp_path / "out")
    with pytest.raises(ValueError, match="parent: .* has no release 'nothing'"):
        store.upload(nights[1], parent="nothing")
    for name in ("", "../r", ".r", "a/b", "x" * 101):
        with pytest.raises(ValueError, match="is no name; expected"):
            store.upload(nights[0], name=name)
        with pytest.raises(ValueError, match="is no name; expected"):
            store.promote(name, "r0")


def test_documents_that_are_damaged_are_found(tmp_path, nights):
    store = Store(tmp_path / "store")
    store.upload(nights[0], name="r0")
    store.promote("champion", "r0")
    file = tmp_path / "store/releases/r0.json"
    text = file.read_text()
    first = json.loads(text)["files"]["catalog.safetensors"]["sha256"]
    for change, message in (
        (lambda: text.replace('"catalog.safetensors"', '"../catalog.safetensors"'), "is no path in a bundle"),
        (lambda: text.replace('"catalog.safetensors"', '"/etc/passwd"'), "is no path in a bundle"),
        (lambda: text.replace(first, "../" + first), "has no SHA-256"),
        (lambda: text.replace(first, "0" * 64), "was altered: its digest is"),
        (lambda: text.replace('"r0"', '"r1"'), "is of the release 'r1'; was it renamed"),
        (lambda: text.replace('"parent": null,', ""), "but damaged: KeyError"),
        (lambda: text.replace('"format": 1', '"format": 2'), "is a release of format 2, this is stamp"),
        (lambda: text[:-9], "is not JSON"),
    ):
        file.write_text(change())
        with pytest.raises(ValueError, match=rf"store/releases/r0\.json .*{message}"):
            store.export("champion", tmp_path / "out")
        assert [finding.file for finding in store.verify().findings] == ["releases/r0.json", "aliases/champion.json"]
    file.write_text(text)
    alias = tmp_path / "store/aliases/champion.json"
    alias.write_text(alias.read_text().replace(store.release("r0").digest, "0" * 64))
    assert [finding.file for finding in store.verify().findings] == ["aliases/champion.json"]
    assert not (tmp_path / "out").exists()
