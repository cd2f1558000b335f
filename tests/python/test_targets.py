"""What is written to: nothing that is not certainly stamp's is replaced or removed, and every target is looked at before
any work."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import stamp
from stamp import _stamp, cli
from stamp.catalog import jobs


@pytest.fixture(scope="module")
def clustered(fitted, shop, tmp_path_factory):
    items = stamp.Products.from_frame(shop.products, item_id="id")
    found = stamp.cluster_catalog(fitted, items, shop.sessions, attribute="category", clusters=2, progress=False)
    path = tmp_path_factory.mktemp("clusters") / "clusters"
    found.save(path)
    return path


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def web_application(folder):
    """A directory with a manifest.json and more, none of it stamp's."""
    (folder / "icons").mkdir(parents=True)
    (folder / "manifest.json").write_text('{"name": "shop", "icons": []}')
    (folder / "icons" / "logo.svg").write_text("<svg/>")
    return folder


@pytest.mark.parametrize("save", ["model", "baseline", "bundle"])
def test_a_manifest_does_not_make_a_directory_ours(fitted, shop, tmp_path, save):
    fitted.save(tmp_path / "model")
    calls = {
        "model": fitted.save,
        "baseline": stamp.PopularityRecommender().fit(shop.sessions).save,
        "bundle": lambda out: stamp.build_bundle({0: tmp_path / "model"}, out=out),
    }
    folder = web_application(tmp_path / "public")
    before = files_of(folder)
    with pytest.raises(RuntimeError, match="it holds manifest.json, which is not that of a saved model"):
        calls[save](folder)
    assert files_of(folder) == before
    mine = tmp_path / "mine"
    calls[save](mine)
    (mine / "notes").mkdir()
    (mine / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(RuntimeError, match="it holds notes, which is not of a saved model"):
        calls[save](mine)
    assert (mine / "notes" / "thesis.txt").read_text() == "years of work"
    shutil.rmtree(mine / "notes")
    (mine / "clusters" / "mine.safetensors").write_text("mine")
    with pytest.raises(RuntimeError, match="it holds clusters/mine.safetensors, which is not of a saved model"):
        calls[save](mine)
    (mine / "clusters" / "mine.safetensors").unlink()
    calls[save](mine)


def test_links_are_followed_and_stay(fitted, tmp_path, monkeypatch):
    (tmp_path / "releases").mkdir()
    (tmp_path / "current").symlink_to("releases/today")
    monkeypatch.chdir(tmp_path / "releases")
    for _ in range(2):
        fitted.save("../current/")
        assert os.readlink(tmp_path / "current") == "releases/today" and not (tmp_path / "releases/today").is_symlink()
        assert len(list((tmp_path / "releases").iterdir())) == 1
    assert stamp.load(tmp_path / "current", device="cpu").n_items_ == fitted.n_items_


def test_a_checkpoint_is_removed_where_it_is_that_of_the_fit(shop, tmp_path, monkeypatch):
    def fit():
        return stamp.StampRecommender(dim=8, epochs=1).fit(shop.sessions, checkpoint="checkpoint", progress=False)

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    model = fit()
    (tmp_path / "elsewhere" / "checkpoint").write_text("somebody's")
    monkeypatch.chdir(tmp_path / "elsewhere")
    model.save(tmp_path / "model")
    assert not (tmp_path / "checkpoint").exists()
    assert (tmp_path / "elsewhere" / "checkpoint").read_text() == "somebody's"

    monkeypatch.chdir(tmp_path)
    model = fit()
    (tmp_path / "checkpoint").unlink()
    (tmp_path / "checkpoint").write_text("somebody's")
    model.save(tmp_path / "model")
    assert (tmp_path / "checkpoint").read_text() == "somebody's"
    with pytest.raises((ValueError, RuntimeError), match="checkpoint"):
        fit()
    assert (tmp_path / "checkpoint").read_text() == "somebody's"


def test_a_checkpoint_is_looked_at_before_any_work(shop, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("it has begun to work")

    monkeypatch.setattr(stamp.models.stamp_recommender, "_catalog_of", never)
    (tmp_path / "file").write_text("")
    for wrong, message in (
        (tmp_path / "file" / "checkpoint", "cannot write"),
        (tmp_path, "it is a directory"),
        ("/dev/null", "it is no regular file"),
        ("/proc/no/checkpoint", "cannot write"),
    ):
        with pytest.raises(RuntimeError, match=message):
            stamp.StampRecommender(dim=8).fit(shop.sessions, checkpoint=wrong, progress=False)
    with pytest.raises(AssertionError):
        stamp.StampRecommender(dim=8).fit(shop.sessions, checkpoint=tmp_path / "new" / "checkpoint", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


CONFIG = {"config": {"dim": 4, "epochs": 1, "validation": 0}, "device": "cpu", "min_examples": 0, "progress": False}


@pytest.mark.parametrize("name", ["report.json", "model"])
def test_a_training_replaces_no_file_of_somebody_else(shop, clustered, tmp_path, monkeypatch, name):
    monkeypatch.setattr(jobs.Job, "run", lambda *_: pytest.fail("it has begun to work"))
    out = tmp_path / "out"
    out.mkdir()
    if name == "model":
        web_application(out / "model")
    else:
        (out / name).write_text('{"title": "Release report", "passed": true}')
    before = files_of(out)
    with pytest.raises(RuntimeError, match=f"{name}"):
        stamp.train_cluster(shop.sessions, clustered, 0, out=out, **CONFIG)
    assert files_of(out) == before


@pytest.mark.parametrize("name", ["report.json", "catalog.safetensors", "manifest.json", "directory"])
def test_training_all_replaces_no_file_of_somebody_else(fitted, shop, clustered, tmp_path, name):
    out = tmp_path / "out"
    if name == "manifest.json":
        fitted.save(out)  # whose catalog.safetensors is another
    elif name == "directory":
        (out / "report.json").mkdir(parents=True)
    else:
        out.mkdir()
        (out / name).write_text("{}")
    before = files_of(out)
    with pytest.raises(RuntimeError, match="report.json" if name == "directory" else name):
        stamp.train_clusters(shop.sessions, clustered, out=out, **CONFIG)
    assert files_of(out) == before


def test_one_cluster_whose_place_is_taken_costs_no_other(shop, clustered, tmp_path):
    web_application(tmp_path / "0" / "model")
    before = files_of(tmp_path / "0")
    with pytest.raises(stamp.TrainingFailed, match="cluster 0: .*manifest.json, which is not that") as failed:
        stamp.train_clusters(shop.sessions, clustered, out=tmp_path, **CONFIG)
    assert [report.status for report in failed.value.reports.values()] == ["failed", "trained"]
    assert files_of(tmp_path / "0") == before


def test_what_is_no_checkpoint_is_set_aside(shop, clustered, tmp_path):
    """Not even where a training from the beginning is asked for is a file removed that may be somebody's."""
    checkpoint = tmp_path / "checkpoint.safetensors"
    for content in (b"weights of something else", b""):
        checkpoint.write_bytes(content)
        stamp.train_cluster(shop.sessions, clustered, 0, out=tmp_path, resume=False, **CONFIG)
        assert not checkpoint.exists()
    kept = sorted(path.name for path in tmp_path.glob("checkpoint*"))
    assert kept == ["checkpoint.damaged-1", "checkpoint.damaged-2"]
    assert (tmp_path / kept[0]).read_bytes() == b"weights of something else"


def test_clusters_replace_clusters(clustered, tmp_path):
    found = stamp.CatalogClusters.load(clustered)
    path = tmp_path / "table"
    path.write_text("item_id,brand\n1,a\n")
    with pytest.raises(RuntimeError, match="table: it is not a file of catalog clusters"):
        found.save(path)
    _stamp.write_tensors(str(tmp_path / "tensors"), {"x": np.zeros(3, np.float32)}, {})
    with pytest.raises(RuntimeError, match="it is not a file of catalog clusters"):
        found.save(tmp_path / "tensors")
    assert path.read_text() == "item_id,brand\n1,a\n"
    path.write_text("")
    for _ in range(2):
        found.save(path)
    assert stamp.CatalogClusters.load(path).fingerprint == found.fingerprint


def test_a_search_leaves_files_that_are_none_of_its_own(shop, tmp_path):
    pytest.importorskip("optuna")
    lock = tmp_path / "poetry.lock"
    lock.write_text("[[package]]")
    call = {"options": {"epochs": 1}, "trials": 1, "progress": False, "storage": tmp_path / "poetry"}
    stamp.offline.search({"dim": [4]}, shop.sessions, **call)
    assert lock.read_text() == "[[package]]"


def test_text_files(tmp_path):
    from stamp.base.files import write_text

    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"
    with pytest.raises(RuntimeError, match="no regular file"):
        write_text("/dev/null", "lost")
    assert pathlib.Path("/dev/null").is_char_device()


def test_verbs_look_at_their_targets_first(events_file, clustered, fitted, tmp_path, monkeypatch, capsys):
    """Before they read anything: of what they read nothing is there."""
    (tmp_path / "file").write_text("precious")
    foreign = web_application(tmp_path / "public")
    missing = str(tmp_path / "no.csv")
    below = tmp_path / "file" / "below"
    train = ["train", missing, "--out"]
    search = ["search", "--data", missing, "--space", '{"dim": [4]}']
    report = ["report", "--bundle", missing, "--sessions", missing]
    for arguments, message in (
        ([*train, tmp_path / "file"], "a file stands there"),
        ([*train, below], "cannot write"),
        ([*train, foreign], "it holds manifest.json"),
        ([*train, "/proc"], "it is a mount point"),
        ([*train, tmp_path / "m", "--checkpoint", below], "cannot write"),
        ([*train, tmp_path / "m", "--checkpoint", tmp_path], "it is a directory"),
        (["bundle", "build", f"0={missing}", "--items", missing, "--out", foreign], "it holds manifest.json"),
        (["cluster", missing, missing, missing, "--attribute", "a", "--clusters", 2, "--out", tmp_path / "file"],
         "it is not a file of catalog clusters"),
        (["train-cluster", missing, clustered, 0, "--out", tmp_path / "file"], "file"),
        (["train-clusters", missing, clustered, "--out", foreign], "holds a manifest.json"),
        ([*search, "--storage", tmp_path / "file"], "is no SQLite file"),
        ([*search, "--storage", below], "cannot write"),
        ([*search, "--plot", below.with_suffix(".png")], "cannot write"),
        ([*search, "--plot", tmp_path / "plot.xyz"], "expected a name that ends in one of"),
        ([*report, "--out", tmp_path], "it is a directory"),
        ([*report, "--out", tmp_path / "page.html", "--out-json", below], "cannot write"),
        ([*report, "--out", missing], "--out names the file of --bundle"),
    ):  # fmt: skip
        if "names the file" in message:
            pathlib.Path(missing).write_text("")
        assert cli.main([*map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
    assert (tmp_path / "file").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "no.csv", "public"]


def test_a_figure_of_a_search_is_whole(events_file, tmp_path):
    pytest.importorskip("optuna")
    call = ["search", "--data", events_file, "--space", '{"dim": [4]}', "--trials", 1, "-o", "epochs=1", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "stamp.cli", *map(str, call), "--plot", tmp_path / "new" / "p.png"], capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "p.png").read_bytes().startswith(b"\x89PNG")


def test_reports_of_trainings_are_json(clustered, shop, tmp_path):
    stamp.train_cluster(shop.sessions, clustered, 0, out=tmp_path, **CONFIG)
    json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
