"""The same training gives the same files, to the byte: whatever a run took, wherever it was stopped, on any threads."""

import copy
import json
import os
import subprocess
import sys

import pytest

import stamp
from small_bundles import files_of

OPTIONS = {"dim": 16, "epochs": 3, "batch_size": 64, "device": "cpu"}
FIT = {"validation": 0.2, "refit": True, "progress": False}
OF_THE_RUN = {"seconds", "examples_per_second", "resumed", "streamed"}


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A training in one go: the recommender, and where it is saved."""
    path = tmp_path_factory.mktemp("whole") / "model"
    model = stamp.StampRecommender(**OPTIONS).fit(small.sessions, **FIT)
    model.save(path)
    return model, path


def manifest_of(path):
    return json.loads((path / "manifest.json").read_text())


def without(report):
    """What a bundle holds of a report."""
    kept = {key: value for key, value in report.items() if key not in OF_THE_RUN}
    kept["epochs"] = [{key: value for key, value in epoch.items() if key != "seconds"} for epoch in report["epochs"]]
    return kept


def test_a_bundle_holds_what_the_model_is_and_not_what_the_run_took(whole, tmp_path):
    model, path = whole
    assert model.report_.keys() >= OF_THE_RUN and all(epoch["seconds"] > 0 for epoch in model.report_["epochs"])
    assert manifest_of(path)["clusters"][0]["report"] == without(model.report_)
    loaded = stamp.load(path, device="cpu")
    assert loaded.report_ == without(model.report_)
    loaded.save(tmp_path / "again")
    copy.deepcopy(model).save(tmp_path / "copy")
    assert files_of(tmp_path / "again") == files_of(tmp_path / "copy") == files_of(path)


def test_trained_again(small, whole, tmp_path):
    again = stamp.StampRecommender(**OPTIONS).fit(small.sessions, **FIT)
    assert again.report_["seconds"] != whole[0].report_["seconds"]
    again.save(tmp_path / "model")
    assert files_of(tmp_path / "model") == files_of(whole[1])


@pytest.mark.parametrize("phase", ["train", "refit"])
def test_stopped_and_resumed(small, whole, tmp_path, phase):
    def stop(now, epoch, *_):
        return (now, epoch) != (phase, 2)

    def fit(**options):
        model = stamp.StampRecommender(**OPTIONS)
        return model.fit(small.sessions, checkpoint=tmp_path / "checkpoint", **{**FIT, **options})

    assert fit(progress=stop).report_["stopped"] == "interrupted"
    resumed = fit()
    given_back = fit()  # by the checkpoint of the end
    assert resumed.report_["resumed"] and given_back.report_["resumed"]
    resumed.save(tmp_path / "resumed")
    given_back.save(tmp_path / "given back")
    assert files_of(tmp_path / "resumed") == files_of(tmp_path / "given back") == files_of(whole[1])


# A model, every baseline, and bundles of two models with rules, scan tables and a baseline, in a process of its own.
SCRIPT = f"""
import sys, stamp
out = sys.argv[1]
shop = stamp.datasets.synthetic_shop(sessions=500, products=60, seed=5)
stamp.StampRecommender(**{OPTIONS}).fit(shop.sessions, **{FIT}).save(out + "/model")

products = stamp.Products.from_frame(shop.products, item_id="id")
baselines = {{
    "popular": stamp.PopularityRecommender(by="category").fit(shop.sessions, products),
    "session": stamp.SessionPopularityRecommender().fit(shop.sessions),
    "association": stamp.AssociationRulesRecommender().fit(shop.sessions),
    "sequential": stamp.SequentialRulesRecommender().fit(shop.sessions),
    "items": stamp.ItemKNNRecommender().fit(shop.sessions),
    "sessions": stamp.SessionKNNRecommender(idf="multiply").fit(shop.sessions),
}}
for name, baseline in baselines.items():
    baseline.save(f"{{out}}/{{name}}")

halves = {{}}
for half in (0, 1):
    of_half = [sum(map(ord, id)) % 2 == half for id in shop.events["item_id"]]
    part = {{name: shop.events[name][of_half] for name in ("session_id", "item_id")}}
    halves[half] = f"{{out}}/half-{{half}}"
    stamp.StampRecommender(**{OPTIONS}, score="cosine").fit(stamp.Sessions.from_frame(part), progress=False).save(halves[half])
rules = {{"zones": {{"home": {{"k": 5, "rules": [{{"rule": "exclude_seen"}}]}}}}}}
stamp.build_bundle(halves, products, out=out + "/bundle", rules=rules, route_by="category", fallback=baselines["sessions"])
"""


def test_any_threads_and_whatever_memory_held_before(whole, tmp_path):
    runs = []
    for threads, perturb in ((1, 0), (3, 0xA5)):
        out = tmp_path / str(threads)
        out.mkdir()
        env = {**os.environ, "STAMP_NUM_THREADS": str(threads), "MALLOC_PERTURB_": str(perturb)}
        subprocess.run([sys.executable, "-c", SCRIPT, out], env=env, check=True)
        runs.append(files_of(out))
    assert runs[0].keys() >= {
        "bundle/clusters/1.scan.safetensors",
        "bundle/fallback.safetensors",
        "items/manifest.json",
    }
    assert {name for name, content in runs[0].items() if content != runs[1].get(name)} == set()
    assert runs[0].keys() == runs[1].keys()
    assert files_of(tmp_path / "1" / "model") == files_of(whole[1])


def test_bundles_of_models_that_say_what_their_runs_took(whole, tmp_path):
    """As an older library saved them."""
    model, path = whole
    old = tmp_path / "old"
    for name, content in files_of(path).items():
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_bytes(content)
    manifest = manifest_of(old)
    manifest["clusters"][0]["report"] = model.report_
    (old / "manifest.json").write_text(json.dumps(manifest))
    assert stamp.load(old, device="cpu").report_ == model.report_
    assert stamp.inspect_bundle(old) == stamp.inspect_bundle(path)
    stamp.build_bundle({4: path}, out=tmp_path / "of new")
    stamp.build_bundle({4: old}, out=tmp_path / "of old")
    assert files_of(tmp_path / "of old") == files_of(tmp_path / "of new")
    assert manifest_of(tmp_path / "of old")["clusters"][0]["report"] == without(model.report_)
