"""Bundles: what is built, inspected, compared, and what cannot be built or loaded."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy

import stamp
from small_bundles import CATEGORIES, IDS, ITEMS, RULES, same, save_model


def test_bundles_that_cannot_be_loaded(built, recommender, tmp_path):
    def missing(path):
        (path / "clusters" / "3.safetensors").unlink()

    def cut(path):
        file = path / "clusters" / "3.safetensors"
        file.write_bytes(file.read_bytes()[:-4])

    def damage(name):
        def change(path):
            data = bytearray((path / name).read_bytes())
            data[-5] ^= 1
            (path / name).write_bytes(data)

        return change

    def of_another_version(path):
        (path / "manifest.json").write_text(
            (path / "manifest.json").read_text().replace('"version": 3', '"version": 1')
        )

    def of_another_kind(path):
        (path / "manifest.json").write_text('{"format": "something"}')

    def without_clusters(path):
        manifest = json.loads((path / "manifest.json").read_text())
        del manifest["clusters"]
        (path / "manifest.json").write_text(json.dumps(manifest))

    before = recommender.recommend(["a1"])
    for number, (change, message) in enumerate((
        (missing, r"clusters/3.safetensors is missing"),
        (cut, r"clusters/3.safetensors has \d+ bytes, its manifest says \d+"),
        (damage("clusters/3.safetensors"), r"clusters/3.safetensors has checksum fnv64x8:\w{16}, its manifest says fnv64x8:\w{16}"),
        (damage("clusters/3.scan.safetensors"), r"clusters/3.scan.safetensors has checksum"),
        (damage("catalog.safetensors"), r"catalog.safetensors has checksum"),
        (damage("rules.json"), r"rules.json has checksum"),
        (of_another_version, r"manifest.json has format version 1, this library reads 2"),
        (of_another_kind, r"manifest.json is not the manifest of a stamp bundle"),
        (without_clusters, r"manifest.json lacks something: .*'clusters'"),
        (shutil.rmtree, r"holds no manifest.json"),
    )):  # fmt: skip
        path = tmp_path / f"broken{number}"
        shutil.copytree(built, path)
        change(path)
        for load in (stamp.Recommender, stamp.verify_bundle, recommender.reload):
            with pytest.raises(RuntimeError, match=message):
                load(path)
        assert recommender.path == built and same(recommender.recommend(["a1"]), before)


def test_a_model_that_is_damaged_is_found_when_it_is_loaded(built):
    lazy = stamp.Recommender(built, device="cpu", lazy=True)
    file = built / "clusters" / "3.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    with file.open("r+b") as opened:
        opened.write(data)
    assert lazy.recommend(["a1"]).path == "anchor"
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"3.safetensors has checksum"):
            lazy.recommend(["b1"])
    assert stamp.inspect_bundle(built)["clusters"][0]["id"] == 3  # which reads no model
    with pytest.raises(RuntimeError, match=r"3.safetensors has checksum"):
        stamp.verify_bundle(built)


def test_build_inspect_verify(models, built, tmp_path):
    described = stamp.inspect_bundle(built)
    assert described == stamp.verify_bundle(built)
    assert described["products"] == 11 and described["in_no_cluster"] == 4
    assert described["attributes"] == {"category": "text", "available": "number"}
    assert described["route_by"] == ["category"] and described["build_rules"] == 1 and described["value"] is None
    assert described["zones"] == {"b": 1, "cart": 1, "home": 0}
    assert [(c["id"], c["products"], c["clicks"], c["dim"], c["scan_table"]) for c in described["clusters"]] == [
        (3, 3, 12, 8, True),
        (7, 4, 20, 8, True),
    ]

    (tmp_path / "rules.json").write_text(json.dumps(RULES))
    again = stamp.build_bundle(
        models, ITEMS, out=tmp_path / "again", rules=tmp_path / "rules.json", route_by=["category"]
    )
    assert again == described
    for name in ("catalog.safetensors", "clusters/3.safetensors", "clusters/3.scan.safetensors"):
        assert (built / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    bare = stamp.build_bundle(models, out=tmp_path / "bare")
    assert bare["in_no_cluster"] == 0 and bare["attributes"] == bare["zones"] == {}

    # The files as docs/data.md has them.
    catalog = safetensors.numpy.load_file(built / "catalog.safetensors")
    assert catalog["cluster"].dtype == np.int32 and catalog["cluster"].tolist() == [0] * 3 + [1] * 4 + [-1] * 4
    assert catalog["counts"].tolist() == [3, 8, 1, 5, 9, 2, 4, 0, 0, 0, 0]
    assert catalog["attribute.category.codes"].tolist()[-1] == -1
    assert catalog["attribute.available.numbers"].tolist() == [1.0] * 9 + [0.0, 1.0]
    assert json.loads((built / "rules.json").read_text()) == RULES
    manifest = json.loads((built / "manifest.json").read_text())
    assert [c["file"] for c in manifest["clusters"]] == ["clusters/3.safetensors", "clusters/7.safetensors"]
    assert [c["scan_table"] for c in manifest["clusters"]] == [f"clusters/{c}.scan.safetensors" for c in (3, 7)]
    assert set(manifest["files"]) == {
        "catalog.safetensors",
        "rules.json",
        *(c[key] for c in manifest["clusters"] for key in ("file", "scan_table")),
    }
    assert list(safetensors.numpy.load_file(built / "clusters" / "3.scan.safetensors")) == ["packed"]


def test_a_bundle_without_scan_tables_answers_the_same(models, built, recommender, tmp_path):
    options = {"rules": RULES, "route_by": "category", "scan_tables": False}
    described = stamp.build_bundle(models, ITEMS, out=tmp_path / "bare", **options)
    assert [c["scan_table"] for c in described["clusters"]] == [False, False]
    assert not list((tmp_path / "bare").rglob("*.scan.safetensors"))
    bare = stamp.Recommender(tmp_path / "bare", device="cpu")
    for id in IDS:
        assert same(bare.recommend([id]), recommender.recommend([id]))
    assert stamp.verify_bundle(tmp_path / "bare") == described
    changes = stamp.diff_bundles(built, tmp_path / "bare")
    assert changes["scan_tables"] == {"added": [], "removed": [3, 7]}
    assert stamp.diff_bundles(tmp_path / "bare", built)["scan_tables"] == {"added": [3, 7], "removed": []}
    for model in models.values():  # a model's own bundle has none
        assert not stamp.inspect_bundle(model)["clusters"][0]["scan_table"]


def test_builds_that_cannot_be(models, built, tmp_path):
    before = (built / "manifest.json").read_bytes()

    def refused(message, paths=models, items=ITEMS, error=ValueError, **options):
        with pytest.raises(error, match=message):
            stamp.build_bundle(paths, items, out=built, **options)

    twice = save_model(tmp_path / "twice", ["b1", "c0"], 3, [1, 1])
    numbers = save_model(tmp_path / "numbers", [1, 2], 3, [1, 1])
    refused("product 'b1' is claimed by clusters 3 and 12", {**models, 12: twice})
    refused("the model of cluster 12 has ids that are integers .* the others are strings", {**models, 12: numbers})
    refused("holds 2 clusters, expected the one of 12", {12: built})
    refused("no models are given", {})
    refused("'7' is no cluster id", {"7": twice})
    refused("holds no report.json of train_clusters", tmp_path / "none", error=RuntimeError)
    refused("holds no manifest.json", {1: tmp_path}, error=RuntimeError)
    refused("product a1 stands twice", items={"item_id": ["a1", "a1"]})
    refused("items has ids that are integers .* the models are strings", items={"item_id": [1]})
    refused("route_by names 'colour', expected text attributes of available, category", route_by="colour")
    refused("route_by names 'available'", route_by=["category", "available"])
    refused("there is no file", rules=tmp_path / "no.json")
    for rules, message in (
        ([], r"rules.json is \[\], expected an object"),
        ({"zone": {}}, r"rules.json.zone is unknown"),
        ({"zones": {"home": {"k": 1.5}}}, r"zones.home.k is 1.5, expected an integer of 1 or more"),
        ({"zones": {"home": {"history": 0}}}, r"zones.home.history is 0, expected an integer of 1 or more"),
        ({"zones": {"home": {"rules": [{"rule": "same_value", "attribute": "colr"}]}}},
         r"zones.home.rules\[0\].attribute is 'colr', expected one of category"),
        ({"build": [{"rule": "exclude_seen"}]}, r"build\[0\].rule is 'exclude_seen', which depends on the visit"),
    ):  # fmt: skip
        if isinstance(rules, dict):
            refused(message, rules=rules)
        else:
            (tmp_path / "rules.json").write_text(json.dumps(rules))
            refused(message, rules=tmp_path / "rules.json")
    assert (built / "manifest.json").read_bytes() == before  # nothing was replaced


def test_diff(models, built, tmp_path):
    assert stamp.diff_bundles(built, built) == {
        "products": {"added": 0, "removed": 0, "moved": 0},
        "clusters": {"added": [], "removed": [], "other_data": []},
        "scan_tables": {"added": [], "removed": []},
        "attributes": {"added": [], "removed": [], "changed": {}},
        "zones": {"added": [], "removed": [], "changed": []},
        "value_changed": False,
        "build_rules_changed": False,
    }
    # b2 moves to cluster 7, x0 to the new cluster 5; x3 goes, y0 and y1 come.
    save_model(tmp_path / "7", ["a0", "a1", "a2", "a3", "b2"], 8, [1] * 5)
    save_model(tmp_path / "5", ["x0", "y0"], 1, [1, 1])
    save_model(tmp_path / "2", ["b0", "b1"], 1, [1, 1])
    items = {
        "item_id": [*IDS[:10], "y1"],
        "category": ["Z", *CATEGORIES[1:8], None, "X", "X"],  # a0 and x1 change
        "price": [1.5] * 11,
    }
    rules = {"value": {"attribute": "price"}, "zones": {"home": {"k": 3}, "cart": RULES["zones"]["cart"], "new": {}}}
    stamp.build_bundle(
        {7: tmp_path / "7", 5: tmp_path / "5", 2: tmp_path / "2"}, items, out=tmp_path / "new", rules=rules
    )
    assert stamp.diff_bundles(built, tmp_path / "new") == {
        "products": {"added": 2, "removed": 1, "moved": 4},  # b0, b1, b2 and x0
        "clusters": {"added": [2, 5], "removed": [3], "other_data": [7]},
        "scan_tables": {"added": [2, 5], "removed": [3]},
        "attributes": {"added": ["price"], "removed": ["available"], "changed": {"category": 2}},
        "zones": {"added": ["new"], "removed": ["b"], "changed": ["home"]},
        "value_changed": True,
        "build_rules_changed": True,
    }
    with pytest.raises(RuntimeError, match="holds no manifest.json"):
        stamp.diff_bundles(built, tmp_path)
