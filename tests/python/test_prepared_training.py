"""Training clusters from prepared data gives the models of the whole data, to the bit."""

import pathlib

import numpy as np
import pyarrow.parquet as pq
import pytest

import stamp
import stamp.data
from made_clicks import MAPPING, made_clicks
from small_bundles import files_of
from small_clusters import OPTIONS, Clusters, same, weights_of
from small_prepared import plain_frame, prepare, visits
from stamp import _stamp
from stamp.catalog.plans import Plan
from stamp.data.prepared import rows as rows_module

# Weights that are 0, times that are equal, products of no cluster; clusters that fall to others; validation and none.
MEMBERS = {3: range(0, 20), 5: range(20, 28), 8: range(28, 40), 13: range(40, 44), 21: range(44, 52)}
PARENTS = {5: 3, 13: 8, 21: 3, 8: 3, 3: 8}


def clusters_for(texts=False, members=MEMBERS):
    def item(n):
        return f"sku-ü{n * 1_000_003 - 5}" if texts else n * 1_000_003 - 5

    return Clusters({cluster: [item(n) for n in of] for cluster, of in members.items()}, PARENTS)


def labels_of(clusters):
    return {"item_id": clusters.item_ids.tolist(), "cluster": clusters.labels.tolist()}


@pytest.fixture(scope="module", params=[False, True], ids=["integers", "texts"])
def laid_out(request, tmp_path_factory):
    """The frame, the same data laid out, and the clusters."""
    folder, frame = tmp_path_factory.mktemp("prepared"), visits(1500, texts=request.param)
    clusters = clusters_for(request.param)
    prepare(folder, frame, max_rows=2000)
    with stamp.data.DuckDBEngine(memory=256 << 20) as engine:
        stamp.data.partition(folder, labels_of(clusters), engine=engine)
    return frame, folder, clusters


def arrays(sessions):
    return [sessions.items, sessions.offsets, sessions.timestamps, sessions.weights]


@pytest.mark.parametrize("keep_misses", [False, True])
@pytest.mark.parametrize("held", [1, 1 << 20])
@pytest.mark.parametrize("least", [0, 500, 100_000])
def test_a_cluster_sees_of_its_files_what_it_sees_of_the_whole(laid_out, keep_misses, held, least, monkeypatch):
    frame, folder, clusters = laid_out
    monkeypatch.setattr(rows_module, "_HELD", held)
    monkeypatch.setattr(rows_module, "_FEWEST", 5)
    whole = Plan.make(stamp.Sessions.from_frame(plain_frame(frame)), clusters, least, None)
    parts = Plan.make(folder, clusters, least, None)
    assert (parts.ids, parts.into, parts.own, parts.clusters_fingerprint) == (
        whole.ids, whole.into, whole.own, whole.clusters_fingerprint,
    )  # fmt: skip
    assert len(whole.into) == {0: 0, 500: 3, 100_000: 4}[least], whole.own
    np.testing.assert_array_equal(parts.labels, whole.labels)
    np.testing.assert_array_equal(parts.data.clicks, whole.data.clicks)
    assert parts.data.item_ids.tolist() == whole.data.item_ids.tolist()
    for cluster in whole.ids:
        if cluster in whole.into:
            continue
        assert parts.merged[cluster] == whole.merged[cluster]
        group = [each for each in whole.ids if whole.into.get(each, each) == cluster]
        rows = np.where(whole.labels == whole.ids.index(cluster), np.arange(len(whole.labels)), -1).astype(np.int32)
        seen = [_stamp.cluster_sessions(plan.data.seen_from(group), rows, keep_misses) for plan in (parts, whole)]
        assert seen[0][1:] == seen[1][1:] == whole.merged[cluster][1:]
        assert len(seen[1][0]) > 100
        for ours, theirs in zip(arrays(seen[0][0]), arrays(seen[1][0])):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("held", [1, 1 << 20])
@pytest.mark.parametrize("least", [0, 500])
def test_what_a_cluster_sees_leads_to_what_it_does_in_the_whole(laid_out, held, least, monkeypatch):
    """Also what is bought after visitors were elsewhere."""
    frame, folder, clusters = laid_out
    monkeypatch.setattr(rows_module, "_HELD", held)
    monkeypatch.setattr(rows_module, "_FEWEST", 5)
    objectives = ("order", "cart")
    sessions = stamp.Sessions.from_frame(plain_frame(frame))
    plans = [Plan.make(data, clusters, least, None, objectives=objectives) for data in (folder, sessions)]
    for cluster in plans[1].ids:
        if cluster in plans[1].into:
            continue
        group = [each for each in plans[1].ids if plans[1].into.get(each, each) == cluster]
        rows = np.where(plans[1].labels == plans[1].ids.index(cluster), np.arange(len(plans[1].labels)), -1)
        parts, whole = (_stamp.cluster_sessions(p.data.seen_from(group), rows.astype(np.int32), True)[0] for p in plans)
        known = whole.items >= 0
        np.testing.assert_array_equal(parts.labels[known], whole.labels[known])
        assert not parts.labels[~known].any() and (~known).any() and {*parts.labels[known]} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("least", "validation", "objectives"),
    [(0, 0, []), (0, 0.2, []), (500, 0, []), (500, 0.2, []), (0, 0, ["order"]), (500, 0.2, ["order", "cart"])],
)
def test_models_are_equal_to_the_bit(laid_out, tmp_path, least, validation, objectives):
    frame, folder, clusters = laid_out
    options = {
        "config": {**OPTIONS, "validation": validation, "objectives": objectives},
        "device": "cpu",
        "min_examples": least,
        "progress": False,
    }
    whole = stamp.train_clusters(
        stamp.Sessions.from_frame(plain_frame(frame)), clusters, out=tmp_path / "whole", jobs=2, **options
    )
    parts = stamp.train_clusters(folder, clusters, out=tmp_path / "parts", jobs=2, **options)
    assert [report.status for report in parts.values()] == [report.status for report in whole.values()]
    assert {"trained"} | ({"merged"} if least else set()) == {report.status for report in parts.values()}
    for cluster, report in whole.items():
        found = parts[cluster]
        for name in ("into", "products", "examples", "inside", "metrics", "clusters"):
            assert getattr(found, name) == getattr(report, name)
        if report.status == "trained":
            assert files_of(pathlib.Path(found.path)) == files_of(pathlib.Path(report.path))
            one, other = (stamp.load(path, device="cpu") for path in (found.path, report.path))
            assert one.item_ids_.tolist() == other.item_ids_.tolist()
            assert found.training["epochs"][0]["loss"] == report.training["epochs"][0]["loss"]
    catalogs = [(tmp_path / of / "catalog.safetensors").read_bytes() for of in ("whole", "parts")]
    assert catalogs[0] == catalogs[1]
    alone = stamp.train_cluster(f"file://{folder}", clusters, 3, out=tmp_path / "alone", **options)
    assert files_of(pathlib.Path(alone.path)) == files_of(pathlib.Path(whole[3].path))
    assert alone.data == parts[3].data != whole[3].data and alone.identity == parts[3].identity


def test_one_cluster_reads_its_files_alone(laid_out, tmp_path, monkeypatch):
    _, folder, clusters = laid_out
    read, target = [], type(stamp.data.open_prepared(folder).target)
    opened = target.open
    monkeypatch.setattr(target, "open", lambda self, path: (read.append(path), opened(self, path))[1])
    options = {"config": OPTIONS, "device": "cpu", "progress": False}
    stamp.train_cluster(folder, clusters, 21, out=tmp_path / "one", min_examples=0, **options)
    assert {pathlib.PurePath(path).parent.as_posix() for path in read} == {".", "catalog", "sessions/cluster=21"}
    read.clear()
    report = stamp.train_cluster(folder, clusters, 3, out=tmp_path / "parent", min_examples=500, **options)
    fallen = [c for c, r in stamp.data.open_prepared(folder).clusters.items() if 0 <= c != 3 and r.inside < 500]
    assert report.status == "trained" and 21 in fallen
    folders = {pathlib.PurePath(path).parent.name for path in read if path.startswith("sessions/")}
    assert {"cluster=3", "cluster=21"} <= folders and "cluster=8" not in folders and "cluster=-1" not in folders


def test_data_that_are_laid_out_otherwise_are_refused(laid_out, tmp_path):
    frame, folder, clusters = laid_out
    texts = isinstance(clusters.item_ids[0], str)
    moved = clusters_for(texts, {**MEMBERS, 3: range(1, 20), 5: range(20, 28), 8: [0, *range(28, 40)]})
    options = {"config": OPTIONS, "device": "cpu", "progress": False}
    with pytest.raises(ValueError, match="is laid out by other clusters; lay it out by these first .*partition"):
        stamp.train_cluster(folder, moved, 3, out=tmp_path / "a", **options)
    prepare(tmp_path / "plain", frame)
    with pytest.raises(ValueError, match="plain is not laid out by cluster; lay it out by these first"):
        stamp.train_clusters(tmp_path / "plain", clusters, out=tmp_path / "b", **options)
    with pytest.raises(ValueError, match="train_cluster: reading is for data that are not prepared"):
        stamp.train_cluster(folder, clusters, 3, out=tmp_path / "c", reading={"item_id": "sku"}, **options)
    other = clusters_for(not texts)
    with pytest.raises(ValueError, match="ids of kind .*, the prepared data of kind"):
        stamp.train_cluster(folder, other, 3, out=tmp_path / "d", **options)


def test_the_same_call_trains_once_and_new_data_train_anew(tmp_path):
    frame, clusters = visits(600), clusters_for()
    options = {"config": OPTIONS, "device": "cpu", "progress": False, "min_examples": 0, "out": tmp_path / "model"}

    def train(frame):
        prepare(tmp_path / "prepared", frame)
        with stamp.data.DuckDBEngine(memory=256 << 20) as engine:
            stamp.data.partition(tmp_path / "prepared", labels_of(clusters), engine=engine)
        return stamp.train_cluster(tmp_path / "prepared", clusters, 3, **options)

    first, again = train(frame), train(frame)
    assert first.identity == again.identity and first.seconds == again.seconds
    assert train(visits(600, seed=1)).identity != first.identity


def test_missing_rows_are_noticed(tmp_path):
    """Those of an event in the middle of a session, which no order of the rows shows."""
    frame, clusters = visits(600), clusters_for()
    prepared = prepare(tmp_path / "a", frame)
    with stamp.data.DuckDBEngine(memory=256 << 20) as engine:
        right = stamp.data.partition(prepared, labels_of(clusters), engine=engine)
        own = frame["item_id"].map(dict(zip(clusters.item_ids, clusters.labels))) == 3
        inner = own & own.shift(1) & own.shift(-1) & (frame["position"] > 0) & (frame["weight_millionths"] > 0)
        inner &= frame["next_weight_millionths"].fillna(0) > 0
        short = prepare(tmp_path / "b", frame.drop(index=frame.index[inner][0]))
        wrong = stamp.data.partition(short, labels_of(clusters), engine=engine)
    wrong.manifest.clusters.update(right.manifest.clusters)
    with pytest.raises(ValueError, match="the data have .* examples of cluster 3, .* but were counted to have"):
        stamp.train_cluster(wrong, clusters, 3, out=tmp_path / "m", config=OPTIONS, device="cpu", min_examples=0,
                            progress=False)  # fmt: skip


def test_from_raw_clicks_to_the_models_of_the_whole_data(tmp_path):
    """Prepared, laid out and trained, as against the events that preparation stored, put together here."""
    clicks = made_clicks(days=6, sessions=250, products=60, seed=4)
    with stamp.data.DuckDBEngine(memory=512 << 20) as engine:
        prepared = stamp.data.prepare(
            clicks.table(), out=tmp_path / "prepared", mapping=MAPPING, weights={"cart": 2, "order": 5}, min_support=1,
            engine=engine, progress=False,
        )  # fmt: skip
        stored = pq.read_table(tmp_path / "prepared/events").to_pandas()
        stored["visit"] = stored["visitor_id"] + "/" + stored["session_id"]
        stored["weight"] = stored["event_type"].map({"view": 1, "cart": 2, "order": 5, "remove": 0})
        content = ["timestamp", "item_id", "event_type", "price_millionths", "quantity"]
        of_visit = stored.groupby("visit")["timestamp"]
        stored = stored.assign(end=of_visit.transform("max"), n=of_visit.transform("size")).query("n >= 2")
        stored = stored.sort_values(["end", "visit", *content])
        plain = {name: stored[name].to_numpy() for name in ("item_id", "timestamp", "weight")}
        plain |= {
            "session_id": stored["visit"].to_numpy(object),
            "timestamp": plain["timestamp"].view("datetime64[us]"),
        }
        whole = stamp.Sessions.from_frame(plain)
        found = stamp.Sessions.from_frame(prepared, keep=())
        assert found._core.fingerprint() == whole._core.fingerprint() and len(found) > 1000
        items = whole.item_ids
        clusters = Clusters({1: items[::3].tolist(), 2: items[1::3].tolist()})  # the others in none
        laid_out = stamp.data.partition(prepared, labels_of(clusters), engine=engine)
    options = {"config": OPTIONS, "device": "cpu", "min_examples": 0, "progress": False}
    for cluster in (1, 2):
        ours = stamp.train_cluster(laid_out, clusters, cluster, out=tmp_path / f"ours{cluster}", **options)
        theirs = stamp.train_cluster(whole, clusters, cluster, out=tmp_path / f"theirs{cluster}", **options)
        assert same(weights_of(ours.path), weights_of(theirs.path)) and ours.inside == theirs.inside > 100
    assert stamp.Products.from_frame(tmp_path / "prepared").numbers("price", found._catalog).min() > 0
