"""Nights on Kubeflow: what they release where KFP runs them on this machine, and what pods do with their parameters alone."""

import builtins
import contextlib
import datetime
import json
import logging
import shutil
import warnings

import pytest

import stamp.pipeline
from kubeflow_shop import make_kubeflow_shop
from small_shop import day, make_clicks
from stamp.pipeline import stages
from stamp.pipeline.kubeflow import entry
from stamp.pipeline.kubeflow.published import publish
from stamp.store import Store

NOW = datetime.datetime(2026, 11, 20, 3, 12, tzinfo=datetime.timezone.utc)


@pytest.fixture(scope="module")
def shop_file(tmp_path_factory):
    return make_kubeflow_shop(tmp_path_factory.mktemp("shop"))


def copy_of(shop_file, to):
    """The clicks and the pipeline file elsewhere."""
    to.mkdir()
    for name in ("clicks", "products.csv", "shop.json"):
        source = shop_file.parent / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, to / name)
    return to / "shop.json"


@contextlib.contextmanager
def kfp_local(root):
    """KFP runs pipelines here, each step in a process of its own."""
    from kfp import local
    from kfp.local.config import LocalExecutionConfig

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root), raise_on_error=True)
    # It indents what is printed and logged, and with steps side by side leaves that so.
    log, printed = logging.getLogger(), builtins.print
    level, handlers = log.level, [*log.handlers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of images and resources, which are of no use here
        try:
            yield
        finally:
            LocalExecutionConfig.instance = None
            builtins.print, log.level, log.handlers[:] = printed, level, handlers


def run_by_kfp(path, number, root):
    from stamp.pipeline.kubeflow.graph import make_pipeline

    shop = stamp.pipeline.Shop.read(path)
    with kfp_local(root):
        make_pipeline(shop, publish(shop))(date=day(number))


@pytest.fixture(scope="module")
def nights(shop_file, tmp_path_factory):
    """Pipeline files after the same night: by Kubeflow's local runner, and by our own."""
    folder = tmp_path_factory.mktemp("nights")
    by_kfp, by_stamp = (copy_of(shop_file, folder / name) for name in ("kfp", "stamp"))
    run_by_kfp(by_kfp, 5, folder / "root")
    result = stamp.pipeline.run(by_stamp, date=day(5), now=NOW, progress=False)
    assert result.passed
    return by_kfp, by_stamp, result


def summary_of(path, number):
    return json.loads((path.parent / "work" / "runs" / day(number) / "summary.json").read_text())


def test_both_runners_release_the_same(nights):
    by_kfp, by_stamp, result = nights
    aliases = [Store(path.parent / "store").aliases()["champion"] for path in (by_kfp, by_stamp)]
    assert aliases[0].digest == aliases[1].digest
    assert not Store(by_kfp.parent / "store").verify().findings
    told, ours = summary_of(by_kfp, 5), summary_of(by_stamp, 5)
    assert ours == json.loads(json.dumps(result.to_dict(), default=str))
    assert told["stages"] == ours["stages"] == dict.fromkeys(stages.NAMES, "done")
    assert (told["release"], ours["release"]) == (aliases[0].release, aliases[1].release)
    assert told["passed"] and told["warnings"] == ours["warnings"]
    for name in ("prepare", "cluster", "partition", "train_judged", "build_judged", "train_released", "build_released"):
        assert told["reports"][name]["fingerprint"] == ours["reports"][name]["fingerprint"], name


def test_shards_were_processes_of_their_own(nights):
    """Two clusters in two shards, twice."""
    (root,) = (nights[0].parents[1] / "root").iterdir()
    shards = sorted(path.parent.name for path in root.glob("for-loop-*/train-shard*"))
    assert len(shards) == 4 and len(set(shards)) == 4


def run_pods(shop, number, run, page):
    """What the pods of a run do, each with nothing but its parameters."""
    date = entry.begin(shop, day(number), run, "")
    for name in stages.NAMES:
        for shard in entry.plan(name, shop, date, "") if name in ("train_judged", "train_released") else ():
            assert entry.train(name, shop, date, [float(cluster) for cluster in shard]) == 0
        assert entry.do(name, shop, date, run, "")
    entry.report(shop, run, "SUCCEEDED", None, str(page))
    return date


def test_pods_share_a_bucket_and_nothing_else(nights, tmp_path):
    bucket = f"memory://{tmp_path.name}"
    shop = stamp.pipeline.Shop.read(nights[1])
    shop = stamp.pipeline.Shop.read({**shop.given, "work": f"{bucket}/work", "store": f"{bucket}/store"})
    run_pods(publish(shop), 5, "one", tmp_path / "page.md")
    assert (
        Store(shop.store).aliases()["champion"].digest == Store(nights[1].parent / "store").aliases()["champion"].digest
    )
    assert not Store(shop.store).verify().findings


def test_a_second_night_begins_with_the_models_of_the_first(nights, tmp_path):
    by_pods, by_stamp = (shutil.copytree(nights[1].parent, tmp_path / name) / "shop.json" for name in ("pods", "stamp"))
    for path in (by_pods, by_stamp):
        make_clicks(path.parent, 6)
    run_pods(publish(stamp.pipeline.Shop.read(by_pods)), 6, "two", tmp_path / "page.md")
    assert stamp.pipeline.run(by_stamp, date=day(6), now=NOW, progress=False).passed
    aliases = [Store(path.parent / "store").aliases()["champion"] for path in (by_pods, by_stamp)]
    assert aliases[0].digest == aliases[1].digest and aliases[0].previous == (nights[2].release,)
    losses = []
    for number in (5, 6):
        report = by_pods.parent / "work" / "runs" / day(number) / "models" / "judged" / "0" / "report.json"
        losses.append(json.loads(report.read_text())["training"]["epochs"][0]["loss"])
    assert losses[1] < losses[0]


def test_what_one_runner_did_is_done_for_the_other(nights, tmp_path):
    path = shutil.copytree(nights[1].parent, tmp_path / "copy") / "shop.json"
    shop = publish(stamp.pipeline.Shop.read(path))
    assert entry.plan("train_judged", shop, day(5), "") == [[]]
    date = run_pods(shop, 5, "again", tmp_path / "page.md")
    assert set(summary_of(path, 5)["stages"].values()) == {"done before"}
    assert summary_of(path, 5)["release"] == nights[2].release
    assert nights[2].release in (tmp_path / "page.md").read_text()
    # From a stage on all is done again, here to the same.
    assert entry.do("build_judged", shop, date, "again", "build_judged")
    assert sorted(sum(entry.plan("train_released", shop, date, "train_judged"), [])) == [0, 1]
    with pytest.raises(ValueError, match="first is 'train', expected one of validate_data"):
        entry.begin(shop, day(5), "again", "train")


def test_a_cluster_that_nothing_trained_has_failed(nights, tmp_path):
    path = shutil.copytree(nights[1].parent, tmp_path / "copy") / "shop.json"
    work = path.parent / "work" / "runs" / day(5)
    shop = publish(stamp.pipeline.Shop.read(path))
    for name in ("models/judged", "models/released"):
        shutil.rmtree(work / name)
    for name in stages.NAMES[stages.NAMES.index("train_judged") :]:
        (work / "steps" / f"{name}.json").unlink()
    date = entry.begin(shop, day(5), "once", "")
    for name in stages.NAMES[: stages.NAMES.index("train_judged")]:
        assert entry.do(name, shop, date, "once", "")
    one, other = sorted(sum(entry.plan("train_judged", shop, date, ""), []))
    assert entry.train("train_judged", shop, date, [float(one)]) == 0
    assert not entry.do("train_judged", shop, date, "once", "")
    assert not (work / "steps" / "build_judged.json").exists()
    with pytest.raises(
        RuntimeError, match=f"train_judged: cluster {other} was not trained: nothing trained it; .*most_failed"
    ):
        entry.stop(shop, date, "once")
    entry.report(shop, "once", "FAILED", "a step failed", str(tmp_path / "page.md"))
    told = summary_of(path, 5)
    assert told["stages"]["train_judged"] == "stopped" and told["release"] is None and not told["passed"]
    assert any(f"cluster {other} was not trained" in reason for reason in told["reasons"])
    # What is trained stays; the rest is what the other runner makes.
    model = work / "models" / "judged" / str(one) / "model"
    before = {file.name: file.stat().st_mtime_ns for file in model.iterdir()}
    assert entry.train("train_judged", shop, date, [one, other]) == 0
    assert {file.name: file.stat().st_mtime_ns for file in model.iterdir()} == before
    assert entry.do("train_judged", shop, date, "twice", "")
    assert told["reports"]["train_judged"]["fingerprint"] != nights[2].reports["train_judged"].fingerprint
    kept = json.loads((work / "steps" / "train_judged.json").read_text())
    assert kept["report"]["fingerprint"] == nights[2].reports["train_judged"].fingerprint


def test_a_step_that_dies_is_reported(nights, tmp_path):
    path = shutil.copytree(nights[1].parent, tmp_path / "copy") / "shop.json"
    shop = publish(stamp.pipeline.Shop.read(path))
    date = entry.begin(shop, day(5), "dies", "")
    assert entry.do("validate_data", shop, date, "dies", "")
    entry.report(shop, "dies", "FAILED", "OOMKilled", str(tmp_path / "page.md"))
    told = summary_of(path, 5)
    assert told["stages"]["validate_data"] == "done before" and told["stages"]["prepare"] == "failed"
    assert told["stages"]["train_full"] == "left" and told["release"] is None and not told["passed"]
    assert told["reasons"] == ["prepare: Kubeflow says FAILED: OOMKilled; its log says why"]
    entry.report(shop, "never", "FAILED", "no such image", str(tmp_path / "page.md"))
    page = (tmp_path / "page.md").read_text()
    assert "the night did not begin" in page and "no such image" in page


def test_data_that_a_policy_refuses_release_nothing(shop_file, tmp_path):
    path = copy_of(shop_file, tmp_path / "shop")
    make_clicks(path.parent, 5, broken=5)
    with pytest.raises(RuntimeError, match="'stop"):  # so that the run is seen to have failed
        run_by_kfp(path, 5, tmp_path / "root")
    assert not Store(path.parent / "store").releases() and not Store(path.parent / "store").aliases()
    told = summary_of(path, 5)
    assert told["stages"] == {**dict.fromkeys(stages.NAMES, "left"), "validate_data": "stopped"}
    assert told["reasons"] and told["reasons"][0].startswith("validate_data: ") and told["release"] is None
    (page,) = (tmp_path / "root").glob("*/report/page")
    assert told["reasons"][0] in page.read_text()
    assert not list((tmp_path / "root").glob("*/prepare"))
