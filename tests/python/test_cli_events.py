"""The command line on raw files: every verb that reads events takes their columns' names and their separator."""

import json
import pathlib

import pandas as pd
import pytest

import stamp
from stamp.cli import main

RAW = ["--separator", ";", "--names", "kind,when,sku,visit,uid,note"]
NAMES = ["--session-id", "visit", "--item-id", "sku", "--timestamp", "when"]
SMALL = ["-o", "dim=8", "-o", "epochs=1"]


@pytest.fixture
def stamp_says(capsys):
    """Runs the command line: what it printed as JSON, or the error."""

    def run(*arguments, status=0):
        assert main([*map(str, arguments)]) == status
        printed = capsys.readouterr()
        return json.loads(printed.out) if status == 0 else printed.err

    return run


@pytest.fixture(scope="module")
def files(shop, fitted, tmp_path_factory):
    """The same events as this library would have them and as they come, products, a model and clusters."""
    folder = tmp_path_factory.mktemp("files")
    events = pd.DataFrame(shop.events)
    held = events["session_id"] >= events["session_id"].quantile(0.8)
    for name, part in (("events", events[~held]), ("later", events[held])):
        part.to_csv(folder / f"{name}.csv", index=False)
        raw = part[["timestamp", "item_id", "session_id", "visitor_id"]]
        raw.insert(0, "kind", "view")
        # Of no use to anybody, and not UTF-8.
        raw.assign(note="café").to_csv(folder / f"{name}.dat", sep=";", header=False, index=False, encoding="latin-1")
    products = pd.DataFrame(shop.products)[["id", "category"]]
    products.to_csv(folder / "products.csv", index=False)
    products.rename(columns={"id": "sku"}).to_csv(folder / "products.dat", sep=";", index=False)
    fitted.save(folder / "model")
    stamp.cluster_catalog(
        fitted, stamp.Products.from_frame(shop.products, item_id="id"), shop.sessions, attribute="category", clusters=2,
        progress=False,
    ).save(folder / "clusters")  # fmt: skip
    return folder


def test_train_and_evaluate(files, tmp_path, stamp_says):
    plain = stamp_says("train", files / "events.csv", "--out", tmp_path / "plain", *SMALL, "--json")
    raw = stamp_says("train", files / "events.dat", "--out", tmp_path / "raw", *RAW, *NAMES, *SMALL, "--json")
    assert raw["products"] == plain["products"] and raw["epochs"][0]["loss"] == plain["epochs"][0]["loss"]
    model = tmp_path / "raw"
    assert stamp_says("evaluate", model, files / "later.dat", *RAW, *NAMES, "--json") == stamp_says(
        "evaluate", model, files / "later.csv", "--json"
    )


def test_items_weights_and_tabs(files, tmp_path, stamp_says):
    (tmp_path / "a.txt").write_text("x\tsku-00001 sku-00002 sku-00003\t1\nx\tsku-00002 sku-00001\t0\n")
    lines = [tmp_path / "a.txt", "--separator", r"\t", "--names", "x,basket,w", "--items", "basket", "--weight", "w"]
    found = stamp_says("evaluate", files / "model", *lines, "--json")
    assert found["examples"] == 2  # those of weight 0 are none


def test_search(files, tmp_path, stamp_says, capsys):
    common = ["--space", '{"learning_rate": [0.001, 0.01]}', "--trials", 1, *SMALL]
    plain = stamp_says("search", "--data", files / "events.csv", *common, "--json")
    raw = stamp_says("search", "--data", files / "events.dat", *RAW, *NAMES, *common, "--json")
    assert [trial["value"] for trial in raw["trials"]] == [trial["value"] for trial in plain["trials"]]
    assert main([*map(str, ["search", "--data", files / "events.dat", *RAW, *NAMES, *common, "--quiet"])]) == 0
    advice = capsys.readouterr().out.splitlines()[-1]
    assert advice.startswith(f"stamp train {files / 'events.dat'} --session-id visit --item-id sku --timestamp when "
                             "--separator ';' --names kind,when,sku,visit,uid,note --out MODEL")  # fmt: skip


def test_cluster(files, tmp_path, stamp_says):
    common = ["--attribute", "category", "--clusters", 2, "--out", tmp_path / "clusters", "--json"]
    plain = stamp_says(
        "cluster", files / "model", files / "products.csv", files / "events.csv", "--product-id", "id", *common
    )
    raw = stamp_says("cluster", files / "model", files / "products.dat", files / "events.dat", *RAW, *NAMES, *common)
    assert raw["fingerprint"] == plain["fingerprint"]
    error = stamp_says("cluster", files / "model", files / "products.csv", files / "events.dat", *RAW[2:], *NAMES,
                       *common, status=2)  # fmt: skip
    assert f"{files / 'products.csv'}: no column 'sku' among id, category" in error
    mixed = stamp_says("cluster", files / "model", files / "products.csv", files / "events.dat", *RAW, *NAMES,
                       "--product-id", "id", "--product-separator", ",", *common)  # fmt: skip
    assert mixed["fingerprint"] == plain["fingerprint"]
    pd.read_csv(files / "products.csv").to_parquet(tmp_path / "products.parquet")
    mixed = stamp_says("cluster", files / "model", tmp_path / "products.parquet", files / "events.dat", *RAW, *NAMES,
                       "--product-id", "id", *common)  # fmt: skip
    assert mixed["fingerprint"] == plain["fingerprint"]


def test_clusters_are_trained(files, tmp_path, stamp_says):
    common = [files / "clusters", *SMALL, "--min-examples", 0, "--json"]
    plain = stamp_says("train-clusters", files / "events.csv", *common, "--jobs", 1, "--out", tmp_path / "plain")
    raw = stamp_says("train-cluster", files / "events.dat", *common, 1, *RAW, *NAMES, "--out", tmp_path / "raw")
    assert raw["data"] == plain["1"]["data"] and raw["status"] == "trained" and raw["metrics"] == plain["1"]["metrics"]
    again = stamp_says("train-clusters", files / "events.dat", *common, *RAW, *NAMES, "--out", tmp_path / "plain")
    assert again == plain  # the same data: nothing is trained anew
    wrong = ["--out", tmp_path / "raw", *RAW, *NAMES[:-1], "tiem"]
    error = stamp_says("train-cluster", files / "events.dat", *common, 1, *wrong, status=2)
    assert "no column 'tiem' among kind, when, sku, visit, uid, note" in error
    report = json.loads((tmp_path / "raw" / "report.json").read_text())
    assert report["status"] == "failed" and f"stamp: {report['reason']}\n" == error
    with pytest.raises(ValueError, match="reading is for data that is read here"):
        sessions = stamp.Sessions.from_frame([["a", "b"]])
        stamp.train_cluster(sessions, files / "clusters", 1, out=tmp_path / "x", reading={"separator": ";"})


def test_report(files, tmp_path, stamp_says):
    zones = tmp_path / "zones.json"
    zones.write_text('[{"like": "home", "earlier_sessions": true}]')
    common = [
        "--bundle",
        files / "model",
        "--zones",
        zones,
        "--resamples",
        50,
        "--out",
        tmp_path / "page.html",
        "--json",
    ]
    plain = stamp_says("report", "--sessions", files / "later.csv", *common)
    raw = tmp_path / "later.dat"
    raw.write_bytes((files / "later.dat").read_bytes().replace(b"caf\xe9", b"x"))  # a report reads all columns
    named = [*RAW, *NAMES, "--visitor-id", "uid", "--event-type", "kind"]
    found = stamp_says(
        "report", "--sessions", raw, *named, *common, "--products", files / "products.dat", "--cut", "event_type"
    )
    (plain,), (found,) = plain["metrics"], found["metrics"]
    hits = [row for row in plain["rows"] if row["metric"] in ("hr@20", "mrr@20", "coverage@20")]
    assert found["title"] == plain["title"] and [row for row in found["rows"] if row in hits] == hits
    command = (
        "--session-id visit --item-id sku --timestamp when --visitor-id uid --event-type kind --separator &#x27;;&#x27;"
    )
    assert command in pathlib.Path(tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    "column", ["session-id", "item-id", "items", "timestamp", "weight", "visitor-id", "event-type", "value"]
)
@pytest.mark.parametrize(
    "verb",
    [
        ["train", "DATA", "--out", "m"],
        ["evaluate", "MODEL", "DATA"],
        ["search", "--data", "DATA", "--space", "{}"],
        ["cluster", "MODEL", "PRODUCTS", "DATA", "--attribute", "category", "--clusters", "2", "--out", "c", "--product-id", "id"],
        ["train-cluster", "DATA", "CLUSTERS", "1", "--out", "o"],
        ["train-clusters", "DATA", "CLUSTERS", "--out", "o"],
        ["report", "--bundle", "MODEL", "--sessions", "DATA", "--out", "page.html"],
    ],
    ids=lambda verb: verb[0],
)  # fmt: skip
def test_a_column_that_is_not_there(files, tmp_path, monkeypatch, stamp_says, verb, column):
    monkeypatch.chdir(tmp_path)
    for place, name in (
        ("DATA", "events.csv"),
        ("MODEL", "model"),
        ("PRODUCTS", "products.csv"),
        ("CLUSTERS", "clusters"),
    ):
        verb = [str(files / name) if word == place else word for word in verb]
    error = stamp_says(*verb, f"--{column}", "tiem", status=2)
    assert f"{files / 'events.csv'}: no column 'tiem' among session_id, visitor_id, item_id, timestamp" in error


def test_json_on_the_command_line_that_is_not_utf8(files, tmp_path, monkeypatch, stamp_says):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("latin.json").write_bytes('["café"]'.encode("latin-1"))
    for arguments, option in (
        (["recommend", files / "model", "--rules", "latin.json"], "--rules"),
        (["search", "--data", files / "events.csv", "--space", "latin.json"], "--space"),
        (["report", "--bundle", files / "model", "--sessions", files / "later.csv", "--out", "p", "--zones", "latin.json"], "--zones"),
    ):  # fmt: skip
        assert f"stamp: {option} latin.json: not UTF-8: " in stamp_says(*arguments, status=2)
