"""One model per cluster: semantics against naive loops, repetition, merging, warm starts, the CLI."""

import json
import shutil
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import stamp
from small_bundles import files_of
from small_clusters import OPTIONS, SMALL, Clusters, same, weights_of
from stamp import cli
from stamp.catalog import plans
from stamp.catalog.plans import merge


@pytest.fixture(scope="module")
def trained(small, members, tmp_path_factory):
    """All clusters, trained on the first sessions."""
    train, _ = small.sessions.split_last(0.2)
    out = tmp_path_factory.mktemp("trained")
    return out, stamp.train_clusters(train, Clusters(members), out=out, jobs=2, **SMALL)


def lists(sessions):
    return [sessions.session(s).tolist() for s in range(len(sessions))]


def test_examples_belong_to_the_cluster_of_their_anchor(small, members, trained):
    out, reports = trained
    train, _ = small.sessions.split_last(0.2)
    assert list(reports) == sorted(members)
    for cluster, report in reports.items():
        own = set(members[cluster])
        pairs = [(a, b) for items in lists(train) for a, b in zip(items, items[1:]) if a in own]
        seen = {item for items in lists(train) for item in items} & own
        assert report.status == "trained" and report.path == str(out / str(cluster) / "model")
        assert report.examples == len(pairs)
        assert report.inside == sum(b in own for _, b in pairs)
        assert report.ceiling == report.inside / report.examples
        assert (
            report.training["examples"] + report.training["calibration_examples"] == report.inside
        )  # of the refit: all of them
        model = stamp.load(report.path, device="cpu")
        assert set(model.item_ids_) == seen and report.products == len(seen)
        assert 0 < report.metrics["ceiling"] < 1 and report.metrics["hr@20"] <= report.metrics["ceiling"]


def test_the_reports_are_files(trained):
    out, reports = trained
    for cluster, report in reports.items():
        assert json.loads((out / str(cluster) / "report.json").read_text()) == report.to_dict()
        assert sorted(p.name for p in (out / str(cluster)).iterdir()) == ["model", "report.json"]  # no checkpoint
        assert report.peak_memory > 10 << 20 and report.versions["device"] == "cpu"
        assert report.config["dim"] == 8 and report.config["validation"] == 0.1 and report.config["refit"] is True
        assert f"cluster {cluster}: trained" in repr(report) and "ceiling" in repr(report)
        assert stamp.TrainReport.from_dict(report.to_dict()) == report
    summary = json.loads((out / "report.json").read_text())
    assert summary["status"] == "trained" and list(summary["reports"]) == ["2", "7", "11"]
    with pytest.raises(AttributeError):
        report.status = "failed"


def test_clusters_train_in_processes_as_they_do_alone(small, members, trained, tmp_path):
    out, reports = trained
    train, _ = small.sessions.split_last(0.2)
    alone = stamp.train_cluster(train, Clusters(members), np.int64(2), out=tmp_path, **SMALL)
    assert files_of(tmp_path / "model") == files_of(out / "2" / "model")
    assert alone.metrics == reports[2].metrics and alone.identity == reports[2].identity


@pytest.mark.parametrize("refit", [True, False])
def test_one_cluster_that_holds_everything_is_the_single_model(small, tmp_path, refit):
    train, test = small.sessions.split_last(0.2)
    single = stamp.StampRecommender(device="cpu", **OPTIONS).fit(train, validation=0.1, refit=refit, progress=False)
    config = {**OPTIONS, "refit": refit}
    everything = Clusters({0: small.products["id"].tolist()})
    reports = stamp.train_clusters(train, everything, out=tmp_path, **{**SMALL, "config": config})
    assert reports[0].ceiling == 1
    if refit:  # else the catalog has the products of the validation part, too
        assert same(weights_of(reports[0].path), single.weights_)
        expected = stamp.evaluate(single, test)
        actual = stamp.evaluate(stamp.load_clusters(tmp_path, device="cpu"), test)
        assert repr(actual) == repr(expected)
    else:
        assert stamp.load_clusters(tmp_path, device="cpu")._counts.sum() == single._counts.sum()


def test_visits_of_one_event_change_no_model(small, tmp_path):
    """They have no example, so no place among those that older ones weigh less than, alone or in a cluster."""
    rows = [
        (2 * n, 100 * n + at, item) for n, visit in enumerate(lists(small.sessions)) for at, item in enumerate(visit)
    ]
    first = [(session - 1, time - 50, item) for session, time, item in rows if time % 300 == 0]
    visits, both = (
        stamp.Sessions.from_frame(dict(zip(("session_id", "timestamp", "item_id"), map(list, zip(*events)))))
        for events in (rows, rows + first)
    )
    assert len(both) > 1.3 * len(visits)
    expected = stamp.StampRecommender(device="cpu", **OPTIONS).fit(visits, progress=False).weights_
    assert same(stamp.StampRecommender(device="cpu", **OPTIONS).fit(both, progress=False).weights_, expected)
    everything, config = Clusters({0: small.products["id"].tolist()}), {**OPTIONS, "validation": 0}
    report = stamp.train_cluster(both, everything, 0, out=tmp_path, **{**SMALL, "config": config})
    assert same(weights_of(report.path), expected)


def test_evaluating_clusters_is_brute_force(small, members, trained):
    out, _ = trained
    train, test = small.sessions.split_last(0.2)
    models = {cluster: stamp.load(out / str(cluster) / "model", device="cpu") for cluster in members}
    cluster_of = {item: cluster for cluster, model in models.items() for item in model.item_ids_.tolist()}
    known = {item for items in lists(train) for item in items}
    hits, n, cold, unanswered, unreachable = 0, 0, 0, 0, 0
    for items in lists(test):
        for i in range(1, len(items)):
            n += 1
            history = [item for item in items[:i] if item in known]
            cluster = cluster_of.get(history[-1]) if history else None
            if items[i] not in known:
                cold += 1
            elif not history:
                unanswered += 1
            elif cluster is None or cluster_of.get(items[i]) != cluster:
                unreachable += 1
            else:
                own = [item for item in history if cluster_of.get(item) == cluster]
                hits += items[i] in models[cluster].recommend(own, k=5)[0]
    clustered = stamp.load_clusters(out, device="cpu")
    result = stamp.evaluate(clustered, test, k=5)
    assert (result.examples, result.cold_targets, result.unanswered, result.unreachable) == (
        n, cold, unanswered, unreachable,
    )  # fmt: skip
    assert unreachable > 0
    assert result.at[5]["hr"] == pytest.approx(hits / n)
    assert result.ceiling == (n - cold - unanswered - unreachable) / n
    single = stamp.evaluate(stamp.StampRecommender(device="cpu", **OPTIONS).fit(train, progress=False), test)
    assert (single.examples, single.cold_targets) == (n, cold) and single.unreachable == 0
    assert "out of reach" in repr(result)
    assert repr(clustered) == f"ClusteredRecommender(3 models, {len(known)} products)"


def test_the_same_call_trains_once(small, members, tmp_path):
    call = {"out": tmp_path, **SMALL}
    first = stamp.train_cluster(small.sessions, Clusters(members), 2, **call)
    assert stamp.train_cluster(small.sessions, Clusters(members), 2, **call) == first  # with its times
    other = {**SMALL["config"], "epochs": 3}
    for data, clusters, changed in (
        (small.sessions.split_last(0.1)[0], Clusters(members), {}),
        (small.sessions, Clusters(members, fingerprint="another"), {}),
        (small.sessions, Clusters(members), {"config": other}),
        (small.sessions, Clusters(members), {"resume": False}),
    ):
        stamp.train_cluster(small.sessions, Clusters(members), 2, **call)
        before = (tmp_path / "report.json").stat().st_ino
        again = stamp.train_cluster(data, clusters, 2, **{**call, **changed})
        assert (tmp_path / "report.json").stat().st_ino != before and again.status == "trained"
    stamp.train_cluster(small.sessions, Clusters(members), 2, **call)
    shutil.rmtree(tmp_path / "model")
    stamp.train_cluster(small.sessions, Clusters(members), 2, **call)
    assert (tmp_path / "model" / "manifest.json").exists()


def test_every_device(small, members, device, tmp_path):
    train, _ = small.sessions.split_last(0.8)
    config = {"dim": 4, "epochs": 1, "batch_size": 256}
    reports = stamp.train_clusters(
        train, Clusters(members), out=tmp_path, jobs=2, **{**SMALL, "config": config, "device": device}
    )
    assert {report.versions["device"].split(":")[0] for report in reports.values()} == {device.split(":")[0]}
    models = stamp.load_clusters(tmp_path, device=device)
    assert len(models.models) == 3 and stamp.evaluate(models, small.sessions).unreachable > 0


def test_merging_is_by_examples_and_follows_parents():
    inside = {1: 5, 2: 7, 3: 50, 4: 0, 5: 9}
    for parents, least, expected in (
        ({1: 2, 2: 3, 4: 3, 5: 3}, 10, {4: 3, 1: 2, 5: 3}),  # 2 has 12 examples when its turn comes
        ({1: 2, 2: 3, 4: 3, 5: 3}, 13, {4: 3, 1: 3, 5: 3, 2: 3}),
        ({1: 2, 2: 1, 4: 1, 5: None}, 30, {4: 2, 1: 2}),  # what has joined it is no parent
        ({}, 30, {}),
        ({1: 2, 2: 3, 4: 3, 5: 3}, 0, {}),
    ):
        assert merge(Clusters({1: []}, parents), inside, least) == expected
    with pytest.raises(ValueError, match="the parent of cluster 4 is 9, which is no cluster"):
        merge(Clusters({1: []}, {4: 9}), inside, 1)


def test_a_merged_cluster_trains_in_its_parent(small, members, tmp_path, trained):
    train, _ = small.sessions.split_last(0.2)
    counts = {cluster: report.inside for cluster, report in trained[1].items()}
    least = sorted(counts.values())[0] + 1
    smallest = min(counts, key=counts.get)
    parent = next(cluster for cluster in members if cluster != smallest)
    call = {**SMALL, "min_examples": least}
    clusters = Clusters(members, {smallest: parent})
    fallen = stamp.train_cluster(train, clusters, smallest, out=tmp_path / "fallen", **call)
    assert fallen.status == "merged" and fallen.into == parent and fallen.path is None
    assert fallen.inside == counts[smallest]
    assert [p.name for p in (tmp_path / "fallen").iterdir()] == ["report.json"]
    assert f"merged into {parent}" in repr(fallen)
    assert stamp.train_cluster(train, clusters, smallest, out=tmp_path / "fallen", **call) == fallen

    reports = stamp.train_clusters(train, clusters, out=tmp_path / "all", **call)
    assert reports[smallest].into == parent
    union = stamp.train_clusters(train, Clusters({parent: members[parent] + members[smallest]}), out=tmp_path / "union",
                                 **SMALL)[parent]  # fmt: skip
    assert same(weights_of(reports[parent].path), weights_of(union.path))
    assert (reports[parent].examples, reports[parent].inside) == (union.examples, union.inside)
    assert len(stamp.load_clusters(tmp_path / "all", device="cpu").models) == 2


def test_a_cluster_that_has_fallen_counts_no_more_by_its_old_model(small, members, tmp_path):
    train, _ = small.sessions.split_last(0.2)
    clusters = Clusters(members, {11: 7})
    call = {**SMALL, "out": tmp_path / "models"}
    before = stamp.train_clusters(train, clusters, **call)
    least = {**call, "min_examples": before[11].inside + 1}
    assert before[11].inside < min(before[2].inside, before[7].inside)
    after = stamp.train_clusters(train, clusters, only=[7], **least)
    assert after[7].products == before[7].products + before[11].products
    for only, expected in (([7], [7]), ([2], [2, 7]), ([11], [2, 7])):  # the summary knows what others have left
        stamp.train_clusters(train, clusters, only=only, **least)
        assert list(stamp.load_clusters(tmp_path / "models", device="cpu").models) == expected
        bundle = stamp.build_bundle(tmp_path / "models", out=tmp_path / "bundle")
        assert [cluster["id"] for cluster in bundle["clusters"]] == expected
    summary = json.loads((tmp_path / "models" / "report.json").read_text())
    assert {cluster: report["status"] for cluster, report in summary["reports"].items()} == {
        "2": "trained", "7": "trained", "11": "merged",
    }  # fmt: skip


def test_other_options_for_one_cluster_leave_the_others(small, members, tmp_path):
    stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path, **SMALL)
    other = {**SMALL, "config": {**OPTIONS, "dim": 4}}
    stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path, only=[7], **other)
    models = stamp.load_clusters(tmp_path, device="cpu").models
    assert {cluster: model.weights_["items"].shape[1] for cluster, model in models.items()} == {2: 8, 7: 4, 11: 8}
    stamp.train_cluster(small.sessions, Clusters(members), 2, out=tmp_path / "2", **other)
    with pytest.raises(RuntimeError, match="2 is not what the last call of train_clusters left there"):
        stamp.load_clusters(tmp_path, device="cpu")
    stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path, only=[2], **other)
    assert stamp.load_clusters(tmp_path, device="cpu").models[2].weights_["items"].shape[1] == 4


def test_a_warm_start_keeps_what_both_know(small, members, tmp_path):
    train, _ = small.sessions.split_last(0.5)
    few = [item for i, item in enumerate(members[7]) if i % 4]
    yesterday = stamp.train_clusters(train, Clusters({7: few, 50: members[2]}), out=tmp_path / "old", **SMALL)
    old = stamp.load(yesterday[7].path, device="cpu")
    still = {**SMALL, "config": {**OPTIONS, "learning_rate": 1e-12}}  # what it begins with is what it ends with
    cold = stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "cold", **still)
    warm = stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "warm",
                               warm_start=yesterday[7].path, **still)  # fmt: skip
    assert warm.identity != cold.identity
    cold_model, warm_model = stamp.load(cold.path, device="cpu"), stamp.load(warm.path, device="cpu")
    ids = warm_model.item_ids_.tolist()
    assert ids == cold_model.item_ids_.tolist() and set(ids) - set(old.item_ids_) and set(ids) & set(old.item_ids_)
    for row, item in enumerate(ids):
        at = np.flatnonzero(old.item_ids_ == item)
        expected = old.weights_["items"][at[0]] if len(at) else cold_model.weights_["items"][row]
        np.testing.assert_allclose(warm_model.weights_["items"][row], expected, atol=1e-6)
    np.testing.assert_allclose(warm_model.weights_["attention.w1"], old.weights_["attention.w1"], atol=1e-6)
    # Floors too, where none are fitted; those of another number, or of other steps, are not.
    ways = [{}, {"repeat_floors": 3}, {"second_floors": 0}, {"successor_floors": 5, "second_floors": 0}]
    for way, floors in enumerate(ways):
        config = {**still["config"], "calibration": 0, **floors}
        report = stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / f"floors {way}",
                                     warm_start=yesterday[7].path, **{**still, "config": config})  # fmt: skip
        found = stamp.load(report.path, device="cpu").weights_
        for name, options in {"repeat.floors": {"repeat_floors"}, "temperature": set(), "tail.power": set(),
                              "successor.floors": {"successor_floors", "second_floors"}}.items():  # fmt: skip
            kept = np.array_equal(found[name], old.weights_[name])
            assert (found[name] < -1e38).all() if options & floors.keys() else kept
    config = {**still["config"], **dict.fromkeys(("repeat_floors", "successor_floors", "second_floors"), 0)}
    report = stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "no floors",
                                 warm_start=yesterday[7].path, **{**still, "config": config})  # fmt: skip
    assert "temperature" not in stamp.load(report.path, device="cpu").weights_  # which goes with floors

    both = stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path / "new", warm_start=tmp_path / "old",
                                **still)  # fmt: skip
    assert same(weights_of(both[7].path), warm_model.weights_)
    assert both[2].identity != both[7].identity  # which had no model yesterday
    # One model for all, of the whole catalog: each begins with its own rows of it.
    whole = stamp.StampRecommender(device="cpu", **{**OPTIONS, "epochs": 1}).fit(small.sessions, progress=False)
    whole.save(tmp_path / "whole")
    all_ = stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path / "from", warm_start=tmp_path / "whole",
                                **still)  # fmt: skip
    rows = {item: row for row, item in enumerate(whole.item_ids_.tolist())}
    for report in all_.values():
        model = stamp.load(report.path, device="cpu")
        expected = whole.weights_["items"][[rows[item] for item in model.item_ids_.tolist()]]
        np.testing.assert_allclose(model.weights_["items"], expected, atol=1e-6)
    # It has learnt from all sessions of a cluster, which could only say too little of floors; yesterday's own held some out.
    tomorrow = stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path / "next", warm_start=tmp_path / "from",
                                    **still)  # fmt: skip
    for report in (*all_.values(), *tomorrow.values()):
        assert report.training["calibration_examples"] == 0
        found = stamp.load(report.path, device="cpu").weights_
        for name in ("repeat.floors", "successor.floors", "temperature", "tail.power"):
            assert np.array_equal(found[name], whole.weights_[name])
    config = {**still["config"], "seed": 9}  # which holds out others
    other = stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "seed",
                                warm_start=yesterday[7].path, **{**still, "config": config})  # fmt: skip
    assert other.training["calibration_examples"] == 0 < both[7].training["calibration_examples"]
    assert warm_model.report_["temperature"] != old.report_["temperature"]
    for option, value in (("dim", 9), ("residual", "anchor"), ("mlp_bias", False)):
        with pytest.raises(ValueError, match=f"warm_start: that model has {option}="):
            stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "wrong",
                                warm_start=yesterday[7].path, **{**SMALL, "config": {**OPTIONS, option: value}})  # fmt: skip
    # A bundle of all: each begins with its own, as from the folder; and where it has none, with nothing.
    stamp.build_bundle(tmp_path / "old", out=tmp_path / "bundle")
    from_bundle = stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path / "b", warm_start=tmp_path / "bundle",
                                       **still)  # fmt: skip
    for cluster, report in from_bundle.items():
        assert same(weights_of(report.path), weights_of(both[cluster].path))
    one = stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "one", warm_start=tmp_path / "bundle",
                              **still)  # fmt: skip
    assert one.identity == from_bundle[7].identity
    with pytest.raises(ValueError, match="holds no report.json of train_clusters, nor the manifest.json of a model"):
        stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "wrong", warm_start=tmp_path, **SMALL)
    with pytest.raises(ValueError, match="holds no report.json of train_clusters"):
        stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path / "wrong", warm_start=tmp_path, **SMALL)


def test_training_like_an_earlier_one(small, members, tmp_path):
    """As many epochs as were best, on all sessions: what a refit on the same sessions does."""
    config = {**OPTIONS, "epochs": 4, "learning_rate": 0.05, "patience": 2}
    settings = {**SMALL, "config": config}
    judged = stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path / "judged", only=[7], **settings)
    again = stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path / "again", like=tmp_path / "judged",
                                 **settings)  # fmt: skip
    assert same(weights_of(again[7].path), weights_of(judged[7].path)) and not again[7].metrics
    assert again[7].config["epochs"] == judged[7].training["best_epoch"] and again[7].config["validation"] == 0
    assert again[2].metrics and again[2].config["epochs"] == 4  # which was not trained there
    one = stamp.train_cluster(small.sessions, Clusters(members), 7, out=tmp_path / "one", like=tmp_path / "judged",
                              **settings)  # fmt: skip
    assert one.identity == again[7].identity
    with pytest.raises(ValueError, match="like: .* holds no report.json of train_clusters"):
        stamp.train_clusters(small.sessions, Clusters(members), out=tmp_path / "x", like=tmp_path, **settings)


def test_input_that_cannot_be(small, members, tmp_path):
    clusters = Clusters(members)

    def refused(message, *, data=small.sessions, clusters=clusters, cluster=2, **changed):
        call = {**SMALL, "out": tmp_path, **changed}
        with pytest.raises(ValueError, match=message):
            stamp.train_cluster(data, clusters, cluster, **call)
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["status"] == "failed" and report["reason"]

    refused("there is no cluster 3, expected one of 2, 7, 11", cluster=3)
    refused("unknown option 'dims'", config={"dims": 3})
    refused("dim is 0", config={"dim": 0})
    refused("'device' is an argument", config={"device": "cpu"})
    for value in (1, -0.1, True, "0.1", None):
        refused(f"validation is {value!r}", config={"validation": value})
    refused("refit is 1", config={"refit": 1})
    refused("refit is True without validation", config={"refit": True, "validation": 0})
    for value in (0, 1.5, -1):
        refused(f"oldest_weight is {value}, expected 0.001 to 1", config={"oldest_weight": value})
    refused("patience needs validation", config={**OPTIONS, "patience": 1, "validation": 0})
    refused("min_examples is -1", min_examples=-1)
    refused("unknown device 'tpu'", device="tpu")
    refused("no product of the data is in any cluster", clusters=Clusters({2: ["nobody", "knows"]}))
    refused("clusters has ids that are integers .*, those of the data are strings", clusters=Clusters({2: [1, 2, 3]}))
    refused("there are no clusters", clusters=Clusters({}))
    refused("cannot read int", data=17)
    single = stamp.Sessions.from_frame([["a", "b"]])
    refused(
        "1 sessions have an example of cluster 2, expected 2 or more", data=single, clusters=Clusters({2: ["a", "b"]})
    )
    apart = stamp.Sessions.from_frame([["a", "b"], ["a", "b"]])
    refused("no example in", data=apart, clusters=Clusters({2: ["a"], 3: ["b"]}))
    for name in ("jobs", "threads", "memory"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            stamp.train_clusters(small.sessions, clusters, out=tmp_path, **{name: 0}, **SMALL)
    with pytest.raises(ValueError, match="only: there is no cluster 3"):
        stamp.train_clusters(small.sessions, clusters, out=tmp_path, only=[2, 3], **SMALL)
    with pytest.raises(ValueError, match="unknown device"):
        stamp.train_clusters(small.sessions, clusters, out=tmp_path, **{**SMALL, "device": "tpu"})
    with pytest.raises(RuntimeError, match="holds no report.json of train_clusters"):
        stamp.load_clusters(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        stamp.train_cluster(small.sessions, clusters, 2, out=tmp_path / "file", **SMALL)


def test_without_validation_all_is_trained_on(small, members, tmp_path):
    call = {**SMALL, "config": {**OPTIONS, "validation": 0}}
    report = stamp.train_cluster(small.sessions, Clusters(members), 2, out=tmp_path, **call)
    assert report.metrics == {} and report.config["refit"] is False
    assert report.training["examples"] + report.training["calibration_examples"] == report.inside


def test_a_directory_of_parquet_files(small, tmp_path):
    table = pa.table({name: pa.array(column) for name, column in small.events.items()})
    (tmp_path / "day=2").mkdir()
    pyarrow.parquet.write_table(table.slice(0, 900), tmp_path / "a.parquet")
    pyarrow.parquet.write_table(table.slice(900), tmp_path / "day=2" / "b.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    assert stamp.Sessions.from_frame(tmp_path)._core.fingerprint() == small.sessions._core.fingerprint()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no .parquet files"):
        stamp.Sessions.from_frame(tmp_path / "empty")


def test_the_command_line(small, members, tmp_path, monkeypatch, capsys):
    stand_in = types.SimpleNamespace(load=lambda path: Clusters(json.loads(open(path).read())))
    monkeypatch.setattr(plans, "CatalogClusters", stand_in)
    monkeypatch.setattr(Clusters, "__init__", by_integers(Clusters.__init__))
    (tmp_path / "clusters").write_text(json.dumps(members))
    table = pa.table({name: pa.array(column) for name, column in small.events.items()})
    pyarrow.parquet.write_table(table, tmp_path / "events.parquet")
    common = [str(tmp_path / "events.parquet"), str(tmp_path / "clusters")]
    options = ["--device", "cpu", "-o", "dim=8", "-o", "epochs=1", "-o", "validation=0.2"]
    one = ["train-cluster", *common, "2", "--out", str(tmp_path / "one"), *options, "--min-examples", "1"]
    assert cli.main([*one, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["status"] == "trained" and report["config"]["validation"] == 0.2
    assert cli.main([*one, "--quiet"]) == 0
    assert "cluster 2: trained" in capsys.readouterr().out
    every = ["train-clusters", *common, "--out", str(tmp_path / "all"), *options, "--min-examples", "1"]
    assert cli.main([*every, "--jobs", "2", "--json", "--memory", "1.5"]) == 0
    reports = json.loads(capsys.readouterr().out)
    assert sorted(reports) == ["11", "2", "7"] and reports["2"]["inside"] == report["inside"]
    used = reports["2"]["training"]
    assert used["examples"] + used["calibration_examples"] == report["inside"] and used["calibration_examples"] > 0
    assert cli.main([*every, "--only", "2", "--only", "7", "--no-resume"]) == 0
    written = capsys.readouterr()
    assert written.out.count("trained") == 2 and "clusters: " in written.err
    assert cli.main([*one[:3], "3", *one[4:]]) == 2
    assert "there is no cluster 3" in capsys.readouterr().err
    assert cli.main([*every, "-o", "learning_rate=1e18", "--quiet"]) == 2
    assert "3 of 3 clusters failed" in capsys.readouterr().err


def by_integers(init):
    """Of JSON's keys, which are strings."""
    return lambda self, members: init(self, {int(cluster): items for cluster, items in members.items()})
