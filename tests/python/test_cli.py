"""The command line, in processes of its own, and the examples."""

import json
import pathlib
import subprocess
import sys

import nbclient
import nbformat
import pandas as pd

import stamp
from command_line import call
from stamp import cli
from stamp.cli.main import _parser

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
    assert "hr" in call("evaluate", model, tmp_path / "events.csv", "--k", 5).stdout
    answer = json.loads(run("recommend", model, "sku-00001", "--k", 3, "--exclude", "sku-00002", "--json").stdout)
    assert len(answer["ids"]) == 3 and "sku-00002" not in answer["ids"]
    assert call("recommend", model, "sku-00001", "--k", 3).stdout.count("\n") == 3
    assert len(json.loads(call("recommend", model, "sku-00001", "--json").stdout)["ids"]) == 20

    popular = run("recommend", model, "nobody", "--k", 2)
    most = pd.Series(shop.events["item_id"]).value_counts()
    assert popular.stdout.split()[1] in most.index[most == most.iloc[0]] and popular.stdout.count("\n") == 2
    assert popular.stderr == "path: popular (popular products, as no model knows an event)\nunknown products: nobody\n"
    assert call("recommend", model, "--k", 2).stdout == popular.stdout  # nothing was seen yet


def test_bundles(shop, tmp_path):
    """Two models of a half of the catalog each, as one bundle."""
    names = sorted(set(shop.events["item_id"]))
    events, halves = pd.DataFrame(shop.events), (names[::2], names[1::2])
    for cluster, half in enumerate(halves):
        events[events.item_id.isin(half)].to_csv(tmp_path / "events.csv", index=False)
        out = tmp_path / "models" / str(cluster) / "model"
        call("train", tmp_path / "events.csv", "--out", out, "-o", "dim=8", "-o", "epochs=1", "--quiet")
    known = stamp.load(tmp_path / "models" / "0" / "model").item_ids_.tolist()
    pd.DataFrame({
        "sku": [*names, "new"], "side": [*(["even", "odd"] * len(names))[: len(names)], "even"],
        "cents": range(len(names) + 1), "available": [name != known[0] for name in names] + [True],
    }).to_csv(tmp_path / "items.csv", index=False)  # fmt: skip
    rules = {"build": [{"rule": "only_available"}], "zones": {"home": {"k": 4, "history": 2, "rules": [
        {"rule": "exclude_seen"}]}}}  # fmt: skip
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    items = ["--items", tmp_path / "items.csv", "--item-id", "sku", "--number", "cents"]
    models = [f"{cluster}={tmp_path / 'models' / str(cluster) / 'model'}" for cluster in (0, 1)]
    build = ["bundle", "build", *models, *items, "--route-by", "side"]
    bundle, other = tmp_path / "bundle", tmp_path / "other"

    built = json.loads(run(*build, "--rules", tmp_path / "rules.json", "--out", bundle, "--json").stdout)
    assert built == stamp.inspect_bundle(bundle)
    assert built["attributes"] == {"side": "text", "cents": "number", "available": "number"}
    assert json.loads(call("bundle", "inspect", bundle, "--json").stdout) == built
    assert json.loads(run("bundle", "verify", bundle, "--json").stdout) == built
    shown = call("bundle", "inspect", bundle).stdout
    assert "zones: home (1)\nroute by: side; rules of the build: 1\n" in shown and shown.count("\ncluster ") == 2
    assert call("bundle", "verify", bundle).stdout.endswith(f"{built['products']} products, 2 clusters, all verified\n")
    assert call(*build, "--out", other).stdout == shown.replace("home (1)", "none").replace("build: 1", "build: 0")
    bare = json.loads(call(*build, "--no-scan-tables", "--out", other, "--json").stdout)
    assert [c["scan_table"] for c in (*bare["clusters"], *built["clusters"])] == [False, False, True, True]
    assert "scan tables: removed 0, 1" in call("bundle", "diff", bundle, other).stdout
    call(*build, "--out", other)
    changes = json.loads(call("bundle", "diff", bundle, other, "--json").stdout)
    assert changes == stamp.diff_bundles(bundle, other) and changes["zones"]["removed"] == ["home"]
    assert run("bundle", "diff", bundle, other).stdout.splitlines() == [
        "products: 0 added, 0 removed, 0 moved", "clusters: the same", "scan tables: the same", "attributes: the same",
        "zones: removed home", "value: the same", "rules of the build: changed",
    ]  # fmt: skip

    # The command line says what stamp.Recommender says.
    recommender = stamp.Recommender(bundle)
    session, limit = [known[3], known[5], known[1]], [{"rule": "limit", "attribute": "side", "max": 3}]
    (tmp_path / "limit.json").write_text(json.dumps(limit))
    expected = recommender.recommend(session, zone="home", rules=limit, history=1, explain=True)
    for text in (json.dumps(limit), tmp_path / "limit.json"):
        ask = ["recommend", bundle, *session, "--zone", "home", "--rules", text, "--history", 1, "--explain"]
        answer = json.loads(call(*ask, "--json").stdout)
        assert answer["ids"] == expected.ids.tolist() and answer["explanation"] == expected.explanation
        assert (answer["path"], answer["cluster"], answer["reason"]) == ("anchor", 0, expected.reason)
    assert run(*ask).stderr == f"path: anchor (cluster 0)\n{expected.reason}\n"
    pinned = ["recommend", bundle, known[1], "--k", 1, "--rules", f'[{{"rule": "pin", "products": ["{known[2]}"]}}]']
    assert call(*pinned).stdout == f"  1  {known[2]}  pinned\n"
    assert json.loads(call(*pinned, "--json").stdout)["scores"] == [None]
    group = call("recommend", bundle, known[1], "new", "--zone", "home")
    assert group.stderr == "path: group (cluster 0)\n" and group.stdout.count("\n") == 4

    damaged = bundle / "clusters" / "1.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    for arguments, message in (
        (["bundle", "verify", bundle], "1.safetensors has"),
        (["bundle", "inspect", tmp_path], "not a saved model"),
        (["bundle", "diff", other, tmp_path], "not a saved model"),
        (["bundle", "build", tmp_path, "--out", other], "holds no report.json"),
        ([*build, "--rules", tmp_path / "limit.json", "--out", other], "expected an object"),
        (["recommend", other, known[0], "--zone", "home"], "zone is 'home', expected none"),
        (["recommend", other, known[0], "--rules", "{}"], "No such file"),
        (["recommend", other, known[0], "--rules", "[{]"], "--rules [{]: not JSON"),
        (["recommend", other, known[0], "--rules", tmp_path / "rules.json"], "expected a JSON list of rules"),
        (["recommend", other, known[0], "--k", 0], "k is 0"),
    ):
        error = call(*arguments, status=2).stderr
        assert message in error and error.count("\n") == 1


def test_cluster(fitted, shop, tmp_path):
    fitted.save(tmp_path / "model")
    pd.DataFrame(shop.products).to_csv(tmp_path / "items.csv", index=False)
    pd.DataFrame(shop.events).to_csv(tmp_path / "events.csv", index=False)
    files = [tmp_path / "model", tmp_path / "items.csv", tmp_path / "events.csv", "--product-id", "id"]
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
        "cluster",
        *files,
        "--attribute",
        "category",
        "--attribute",
        "collection",
        "--previous",
        out,
        "--out",
        out,
        "--quiet",
    ).stdout
    assert "by category / collection" in said
    assert "neither of" in run("cluster", *files, "--attribute", "category", "--out", out, status=2).stderr


def test_devices(shop, tmp_path):
    found = json.loads(run("devices", "--json").stdout)["devices"]
    assert [device["name"] for device in found] == [device.name for device in stamp.devices()]
    assert call("devices").stdout.count("\n") == len(found)
    pd.DataFrame(shop.events).to_csv(tmp_path / "events.csv", index=False)
    train = ["train", tmp_path / "events.csv", "--out", tmp_path / "m", "-o", "dim=8", "-o", "epochs=1", "--json"]
    for precision in ("fp32", "bf16"):
        report = json.loads(call(*train, "--device", "cpu", "--precision", precision).stdout)
        assert report["device"] == "cpu" and report["precision"] == precision
    for options, message in (
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--device", "cpu", "--precision", "tf32"], "expected precision fp32, bf16 or auto"),
        (["-o", "precision=bf16"], "use --precision"),
    ):
        assert message in call(*train, *options, status=2).stderr
    assert "unknown device" in call("recommend", tmp_path / "m", "sku-00001", "--device", "tpu", status=2).stderr


def test_errors_are_one_line_on_stderr(tmp_path):
    for arguments, message in (
        (["train", "no.csv", "--out", tmp_path / "m"], "there is no file no.csv"),
        (["evaluate", tmp_path, "no.csv"], "not a saved model"),
        (["train", "no.csv", "--out", tmp_path / "m", "-o", "dim"], "--option dim: expected NAME=VALUE"),
        (
            ["train", "no.csv", "--out", tmp_path / "m", "-o", "dim=8", "-o", "dim=9"],
            "--option dim=9: 'dim' is given twice",
        ),
    ):
        error = run(*arguments, status=2).stderr
        assert message in error and error.count("\n") == 1


def test_an_option_takes_one_value(fitted, tmp_path, capsys):
    fitted.save(tmp_path / "model")
    ask = ["recommend", str(tmp_path / "model")]

    def answer(*words):
        assert cli.main([*ask, *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    plain = answer("sku-00001", "sku-00002")
    first, second = plain["ids"][:2]
    assert answer("--exclude", first, "sku-00001", "sku-00002")["ids"][0] == second
    assert answer("sku-00001", "--exclude", first, "sku-00002")["ids"][0] == second
    without = answer("--exclude", first, "sku-00001", "--exclude", second, "sku-00002", "--k", "5")["ids"]
    assert first not in without and second not in without and without == plain["ids"][2:7]


def test_no_option_takes_what_follows_its_value():
    """One that takes several values would take arguments, too."""

    def options(parser):
        for action in parser._actions:
            if hasattr(action, "choices") and isinstance(action.choices, dict):
                for verb in action.choices.values():
                    yield from options(verb)
            elif action.option_strings:
                yield action

    found = list(options(_parser()))
    assert len(found) > 50 and not [action.option_strings for action in found if action.nargs in ("+", "*")]


def test_lists_between_arguments(fitted, shop, tmp_path, capsys):
    bundle = tmp_path / "model"
    fitted.save(bundle)
    pd.DataFrame(shop.events).to_csv(tmp_path / "events.csv", index=False)
    call = ["evaluate", "--k", "3", str(bundle), "--k", "7", str(tmp_path / "events.csv"), "--json"]
    assert cli.main(call) == 0
    assert {name.split("@")[1] for name in json.loads(capsys.readouterr().out) if "@" in name} == {"3", "7"}
    assert cli.main([*call[:1], *call[3:4], *call[6:]]) == 0  # without --k
    assert "hr@20" in json.loads(capsys.readouterr().out)


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
