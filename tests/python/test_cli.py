"""The command line, in processes of its own, and the examples."""

import json
import pathlib
import subprocess
import sys

import nbclient
import nbformat
import pandas as pd

import stamp

ROOT = pathlib.Path(__file__).parents[2]


def run(*arguments, status=0):
    command = [sys.executable, "-m", "stamp.cli", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == status, result.stderr
    return result


def test_train_evaluate_recommend(shop, tmp_path):
    pd.DataFrame(shop.events).to_csv(tmp_path / "events.csv", index=False)
    model = tmp_path / "model"
    out = run("train", tmp_path / "events.csv", "--out", model, "-o", "dim=12", "-o", "epochs=2", "--json")
    report = json.loads(out.stdout)
    assert report["stopped"] == "finished" and len(report["epochs"]) == 2
    metrics = json.loads(run("evaluate", model, tmp_path / "events.csv", "--json").stdout)
    assert 0 < metrics["hr@20"] <= 1
    assert "hr" in run("evaluate", model, tmp_path / "events.csv", "--k", 5).stdout
    answer = json.loads(run("recommend", model, "sku-00001", "--k", 3, "--exclude", "sku-00002", "--json").stdout)
    assert len(answer["ids"]) == 3 and "sku-00002" not in answer["ids"]
    assert run("recommend", model, "sku-00001", "--k", 3).stdout.count("\n") == 3


def test_cluster(fitted, shop, tmp_path):
    fitted.save(tmp_path / "model")
    pd.DataFrame(shop.products).to_csv(tmp_path / "items.csv", index=False)
    pd.DataFrame(shop.events).to_csv(tmp_path / "events.csv", index=False)
    files = [tmp_path / "model", tmp_path / "items.csv", tmp_path / "events.csv", "--item-id", "id"]
    out = tmp_path / "clusters"
    made = json.loads(run("cluster", *files, "--attribute", "category", "--clusters", 3, "--out", out, "--json").stdout)
    found = stamp.CatalogClusters.load(out)
    assert made["ids"] == [0, 1, 2] == list(found.ids) and made["fingerprint"] == found.fingerprint
    direct = stamp.cluster_catalog(
        fitted, stamp.Products.from_frame(shop.products, item_id="id"), shop.sessions, attribute="category", clusters=3,
        progress=False,
    )  # fmt: skip
    assert found.fingerprint == direct.fingerprint and made["report"] == direct.report
    said = run(
        "cluster", *files, "--attribute", "category", "collection", "--previous", out, "--out", out, "--quiet"
    ).stdout
    assert "by category / collection" in said
    assert "neither of" in run("cluster", *files, "--attribute", "category", "--out", out, status=2).stderr


def test_devices(shop, tmp_path):
    found = json.loads(run("devices", "--json").stdout)["devices"]
    assert [device["name"] for device in found] == [device.name for device in stamp.devices()]
    assert run("devices").stdout.count("\n") == len(found)
    pd.DataFrame(shop.events).to_csv(tmp_path / "events.csv", index=False)
    train = ["train", tmp_path / "events.csv", "--out", tmp_path / "m", "-o", "dim=8", "-o", "epochs=1", "--json"]
    report = json.loads(run(*train, "--device", "cpu", "--precision", "fp32").stdout)
    assert report["device"] == "cpu" and report["precision"] == "fp32"
    for options, message in (
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--device", "cpu", "--precision", "bf16"], "expected precision fp32"),
        (["-o", "precision=bf16"], "use --precision"),
    ):
        assert message in run(*train, *options, status=2).stderr
    assert "unknown device" in run("recommend", tmp_path / "m", "sku-00001", "--device", "tpu", status=2).stderr


def test_errors_are_one_line_on_stderr(tmp_path):
    for arguments, message in (
        (["train", "no.csv", "--out", tmp_path / "m"], "there is no file no.csv"),
        (["evaluate", tmp_path, "no.csv"], "not a saved model"),
        (["train", "no.csv", "--out", tmp_path / "m", "-o", "dim"], "expected NAME=VALUE"),
    ):
        error = run(*arguments, status=2).stderr
        assert message in error and error.count("\n") == 1


def test_quickstart(shop, tmp_path):
    pd.DataFrame(shop.events).to_parquet(tmp_path / "events.parquet")
    for extra in ([], ["--data", str(tmp_path / "events.parquet")]):
        command = [
            sys.executable,
            str(ROOT / "examples" / "quickstart.py"),
            "--epochs",
            "2",
            "--out",
            str(tmp_path / "m"),
        ]
        out = subprocess.run([*command, *extra], capture_output=True, text=True, check=True).stdout
        assert "STAMP recommends" in out and "Saved in" in out


def test_notebook():
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
