"""The verbs of a store."""

import json
import re
import subprocess
import sys

import pytest

from stamp.cli.main import main
from stamp.store import Store
from store_bundles import contents


@pytest.fixture
def said(capsys):
    """said(verb, …) -> status, standard output, standard error; the output read where it is JSON."""

    def said(*words):
        status = main(["store", *map(str, words)])
        out, err = capsys.readouterr()
        return status, json.loads(out) if "--json" in words else out, err

    return said


def test_from_a_bundle_to_a_served_release(place, nights, tmp_path, said):
    (tmp_path / "made.json").write_text('{"data": "5a"}')
    status, found, _ = said("upload", place, nights[0], "--name", "r0", "--made-by", tmp_path / "made.json", "--json")
    assert status == 0 and found["release"]["made_by"] == {"data": "5a"} and found["old_blobs"] == 0
    status, out, _ = said("upload", place, nights[1], "--name", "r1", "--parent", "r0")
    assert status == 0 and re.fullmatch(r"r1: [\d,]+ blobs of [\d,]+ bytes moved, [\d,]+ of [\d,]+ were there\n", out)
    assert said("promote", place, "champion", "r0", "--expect", "-", "--by", "me")[0] == 0
    status, found, err = said("promote", place, "champion", "r1", "--expect", "-", "--json")
    assert status == 1 and found["passed"] is False and found["alias"]["release"] == "r0"
    assert "me moved it to r0" in err and "nothing was changed" in err
    assert said("promote", place, "champion", "r1", "--expect", "r0")[1].startswith("champion is at r1 since ")
    status, out, _ = said("list", place)
    assert status == 0 and re.search(r"^r1 .*champion$", out, re.M) and "2 releases; aliases: champion" in out
    status, found, _ = said("list", place, "--json")
    assert [each["name"] for each in found["releases"]] == ["r0", "r1"] and found["aliases"]["champion"][
        "previous"
    ] == ["r0"]
    status, found, _ = said("show", place, "champion", "--json")
    assert found["name"] == "r1" and found["parent"] == "r0" and list(found["aliases"]) == ["champion"]
    status, out, _ = said("diff", place, "r0", "champion")
    assert status == 0 and "clusters: changed 3; 1 the same" in out and 'data: "5a" -> null' in out
    assert said("export", place, "champion", tmp_path / "out")[0] == 0
    found = contents(tmp_path / "out")
    found.pop("release.json")
    assert found == contents(nights[1])
    status, out, _ = said("sync", place, "--to", tmp_path / "served")
    assert status == 0 and out.startswith("current is r1: ")
    assert said("rollback", place, "champion", "--expect", "r1")[0] == 0
    status, found, _ = said("sync", place, "--to", tmp_path / "served", "--json")
    assert status == 0 and found["release"] == "r0" and found["changed"] and found["fetched"]["files_here"] > 0
    status, found, _ = said("gc", place, "--dry-run", "--json")
    assert status == 0 and found["releases"] == [] and found["dry_run"]
    assert said("gc", place)[1].startswith("removed 0 releases, 0 blobs of 0 bytes")
    status, out, _ = said("verify", place)
    assert status == 0 and out.endswith("all well\n")
    Store(place).place.folder.remove(f"blobs/{Store(place).release('r1').files['clusters/3.safetensors'].sha256}")
    status, out, _ = said("verify", place)
    assert status == 1 and re.search(r"^blobs/\w{64}: missing, needed by r1 for clusters/3.safetensors$", out, re.M)
    assert said("verify", place, "champion")[0] == 0
    status, _, err = said("promote", place, "champion", "r1")
    assert status == 2 and "is missing" in err
    status, _, err = said("rollback", place, "champoin")
    assert status == 2 and "has no alias 'champoin'; there are champion" in err


def test_records_are_opened_in_a_browser(place, nights, tmp_path, said, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "record/plots").mkdir(parents=True)
    (tmp_path / "record/a.html").write_text("a")
    (tmp_path / "record/index.html").write_text("the page")
    (tmp_path / "record/plots/x.svg").write_text("<svg/>")
    store = Store(place)
    store.upload(nights[0], name="r0", record=tmp_path / "record")
    store.upload(nights[0], name="r1")
    assert said("show", place, "r0", "--open")[0] == 0
    [url] = opened
    page = url.removeprefix("file://")
    assert open(page).read() == "the page" and open(page.replace("index.html", "plots/x.svg")).read() == "<svg/>"
    status, _, err = said("show", place, "r1", "--open")
    assert status == 2 and "r1 has no page in its record; upload with --record" in err


def test_what_is_wrong_is_said(nights, tmp_path, said):
    status, _, err = said("list", tmp_path)
    assert status == 0
    (tmp_path / "something").write_text("")
    for words in (["list", tmp_path], ["upload", tmp_path, nights[0]], ["gc", tmp_path], ["verify", tmp_path]):
        status, _, err = said(*words)
        assert status == 2 and f"{tmp_path} is no store: it holds something and no store.json" in err
    (tmp_path / "store").mkdir()
    (tmp_path / "store/store.json").write_text('{"format": 2}')
    status, _, err = said("list", tmp_path / "store")
    assert status == 2 and "store.json is a store of format 2, this is stamp" in err
    (tmp_path / "made.json").write_text("[]")
    status, _, err = said("upload", tmp_path / "new", nights[0], "--made-by", tmp_path / "made.json")
    assert status == 2 and "made.json: expected a JSON object" in err
    status, _, err = said("upload", tmp_path / "new", nights[0], "--products-time", "yesterday")
    assert status == 2 and "products_time is 'yesterday', expected a time with its zone" in err
    assert said("upload", "zip://x", nights[0])[0] == 2


def test_a_store_needs_no_fsspec_where_it_is_a_folder(nights, tmp_path):
    program = (
        "import sys; sys.modules['fsspec'] = None\n"
        "from stamp.store import Store, sync\n"
        "store = Store(sys.argv[2])\n"
        "store.upload(sys.argv[1], name='r0'); store.promote('champion', 'r0'); store.gc()\n"
        "print(sync(store, to=sys.argv[3]).release, store.verify().passed)\n"
    )
    words = [sys.executable, "-c", program, nights[0], tmp_path / "store", tmp_path / "served"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "r0 True\n"
