"""Laying prepared sessions out by cluster."""

import dataclasses
import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import stamp
import stamp.data
from small_prepared import prepare, visits, write_table
from stamp import cli
from stamp.base.folders import Folder
from stamp.data.prepared.manifest import FILE, publish
from test_prepared_reading import PRODUCTS, assert_same

COLUMNS = pd.DataFrame({"item_id": [n * 1_000_003 - 5 for n in range(50)], "cluster": [n // 8 for n in range(50)]})


@pytest.fixture(scope="module")
def engine():
    with stamp.data.DuckDBEngine(memory=256 << 20, threads=2) as engine:
        yield engine


def clusters_of(frame, labels):
    of = dict(zip(labels["item_id"], labels["cluster"]))
    return frame["item_id"].map(of).fillna(-1).astype(int)


def with_texts(labels):
    return labels.assign(item_id="sku-ü" + labels["item_id"].astype(str))


@pytest.mark.parametrize("texts", [False, True])
def test_every_cluster_has_its_rows_in_order_and_its_counts(tmp_path, texts, engine):
    frame, labels = visits(texts=texts), with_texts(COLUMNS) if texts else COLUMNS
    before = prepare(tmp_path, frame, products=PRODUCTS)
    prepared = stamp.data.partition(before, labels, engine=engine)
    prepared.verify()
    own = clusters_of(frame, labels)
    assert {*own} == {-1, *range(7)}
    for cluster, rows in frame.groupby(own):
        found = pq.read_table(tmp_path / f"sessions/cluster={cluster}", partitioning=None).to_pandas()
        pd.testing.assert_frame_equal(
            found.astype(object).where(found.notna(), None),
            rows[found.columns].reset_index(drop=True).astype(object).where(lambda r: r.notna(), None),
            check_dtype=False,
        )
        # Counted from one event to the next.
        counts = prepared.clusters[cluster]
        assert (counts.products, counts.events) == (rows["item_id"].nunique(), len(rows))
    nexts = frame.groupby("session_id", sort=False)[["item_id", "weight_millionths"]].shift(-1)
    pairs = Counter(
        (ours, theirs)
        for ours, theirs, weight in zip(own, clusters_of(nexts, labels), nexts["weight_millionths"])
        if weight > 0
    )
    assert {(a, b): n for a, counts in prepared.clusters.items() for b, n in counts.next.items()} == pairs
    for cluster, counts in prepared.clusters.items():
        assert counts.examples == sum(n for (a, _), n in pairs.items() if a == cluster)
        assert counts.inside == pairs[cluster, cluster]
    catalog = pq.read_table(tmp_path / "catalog").to_pandas()
    assert catalog["item_id"].tolist() == frame["item_id"].drop_duplicates().tolist()
    assert catalog["events"].tolist() == frame["item_id"].value_counts(sort=False)[catalog["item_id"]].tolist()
    # Nothing else is there, and nothing is lost.
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {FILE, *(file.path for file in prepared.files)}
    assert not [
        path for path in there if path.startswith("sessions/cluster=0/") and path in {f.path for f in before.files}
    ]
    assert [file for file in before.files if file.path.startswith("products/")][0] in prepared.files
    assert sum(file.rows for file in prepared.manifest.below("sessions")) == len(frame)
    assert_same(stamp.Sessions.from_frame(tmp_path), stamp.Sessions.from_frame(prepare(tmp_path / "whole", frame)))


def test_laying_out_again_starts_from_what_is_there(tmp_path, engine):
    frame = visits()
    prepare(tmp_path / "a", frame)
    first = stamp.data.partition(tmp_path / "a", COLUMNS, engine=engine)
    other = COLUMNS.assign(cluster=COLUMNS["cluster"] % 3)
    again = stamp.data.partition(first, other, engine=engine)
    directly = stamp.data.partition(prepare(tmp_path / "b", frame), other, engine=engine)
    assert again.fingerprint == directly.fingerprint and again.clusters == directly.clusters
    assert {*again.clusters} == {-1, 0, 1, 2} and not [*(tmp_path / "a/sessions/cluster=5").glob("*.parquet")]
    shuffled = other.sample(frac=1, random_state=0)
    assert stamp.data.partition(again, shuffled, engine=engine) is again
    assert stamp.data.partition(again, COLUMNS, engine=engine).fingerprint == first.fingerprint


@pytest.mark.parametrize("url", ["{}/elsewhere", "memory://{}/elsewhere"])
def test_another_folder_gets_sessions_and_products_and_leaves_the_first_as_it_was(tmp_path, url, engine):
    frame = visits()
    source = prepare(tmp_path / "source", frame, products=PRODUCTS)
    there = stamp.data.partition(source, COLUMNS, out=url.format(tmp_path), engine=engine)
    there.verify()
    stamp.data.open_prepared(tmp_path / "source").verify()
    assert stamp.data.open_prepared(tmp_path / "source").manifest == source.manifest
    assert {file.path.split("/")[0] for file in there.files} == {"sessions", "catalog", "products"}
    assert_same(stamp.Sessions.from_frame(there), stamp.Sessions.from_frame(source))
    assert stamp.Products.from_frame(url.format(tmp_path)).attributes == stamp.Products.from_frame(source).attributes
    back = stamp.data.partition(there, COLUMNS.assign(cluster=0), out=tmp_path / "source", engine=engine)
    back.verify()
    assert {*back.clusters} == {-1, 0}


def test_what_cannot_be_copied_to_another_folder_leaves_nothing_there(tmp_path, engine, monkeypatch):
    source = prepare(tmp_path / "source", visits(100), products=PRODUCTS.slice(0, 2))
    more = write_table(source.target, "held_out", PRODUCTS)
    publish(source.target, dataclasses.replace(source.manifest, files=(*source.files, *more)))
    put = Folder.put

    def fail(self, path, scratch):
        if path.startswith("held_out/"):
            raise RuntimeError(f"cannot write {path}: no space left")
        put(self, path, scratch)

    monkeypatch.setattr(Folder, "put", fail)
    with pytest.raises(RuntimeError, match="cannot write held_out/.*: no space left"):
        stamp.data.partition(tmp_path / "source", COLUMNS, out=tmp_path / "out", engine=engine)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    stamp.data.open_prepared(tmp_path / "source").verify()


def test_the_same_folder_by_another_name_is_no_other(tmp_path, engine, monkeypatch):
    source = prepare(tmp_path / "source", visits(50), folder="events/day=1970-01-01")
    sessions = prepare(tmp_path / "other", visits(50))
    for file in sessions.files:
        (tmp_path / "source" / file.path).parent.mkdir(parents=True)
        (tmp_path / "other" / file.path).rename(tmp_path / "source" / file.path)
    publish(source.target, dataclasses.replace(source.manifest, files=(*source.files, *sessions.files)))
    monkeypatch.chdir(tmp_path)
    for number, out in enumerate(("source/../source", f"file://{tmp_path}/source/", None)):
        found = stamp.data.partition("source", COLUMNS.assign(cluster=number), out=out, engine=engine)
        assert {file.path for file in source.files} < {file.path for file in found.files}
        stamp.data.open_prepared("source").verify()


def test_hundreds_of_clusters(tmp_path, engine):
    frame = visits(3000, products=900, group=4)
    ids = np.sort(frame["item_id"].unique())
    labels = pa.table({"item_id": ids, "cluster": np.arange(len(ids)) // 2 * 7})
    prepared = stamp.data.partition(prepare(tmp_path, frame, max_rows=10**6), labels, engine=engine)
    assert len(prepared.clusters) > 400 and -1 not in prepared.clusters
    assert_same(stamp.Sessions.from_frame(prepared), stamp.Sessions.from_frame(prepare(tmp_path / "whole", frame)))


def test_labels_that_cannot_be_are_refused_and_change_nothing(tmp_path, engine):
    prepared = prepare(tmp_path, visits(50))
    ids = COLUMNS["item_id"].tolist()
    for labels, message in (
        ({"item_id": ids}, "partition: labels: no column 'cluster'"),
        ({"item_id": ids[:2] + ids[:1], "cluster": [0, 1, 0]}, f"product {ids[0]} stands twice"),
        ({"item_id": ids[:2], "cluster": [0, -2]}, "column 'cluster' has -2, expected whole numbers of -1 or more"),
        ({"item_id": ids[:2], "cluster": [0.5, 1]}, r"column 'cluster' has 0\.5"),
        ({"item_id": ids[:2], "cluster": ["a", "b"]}, "column 'cluster' has 'a', expected whole numbers"),
        ({"item_id": ["a"], "cluster": [1]}, "ids of kind text, the prepared data of kind integer"),
        (
            {"item_id": [3], "cluster": [1]},
            f"no product of the sessions of {re.escape(str(tmp_path))} is in any cluster",
        ),
        ({"item_id": ids, "cluster": [-1] * len(ids)}, "no product of the sessions"),
        ({"item_id": [], "cluster": []}, "no product of the sessions"),
    ):
        with pytest.raises(ValueError, match=message):
            stamp.data.partition(prepared, labels, engine=engine)
    assert stamp.data.open_prepared(tmp_path).manifest == prepared.manifest
    assert {*prepared.target.list()} == {FILE, *(file.path for file in prepared.files)}
    with pytest.raises(ValueError, match="holds no prepared.json"):
        stamp.data.partition(tmp_path / "none", COLUMNS)


def test_the_command_line(tmp_path, shop, fitted, capsys):
    products = {"item_id": shop.sessions.item_ids, "kind": [id[-1] for id in shop.sessions.item_ids]}
    clusters = stamp.cluster_catalog(
        fitted, stamp.Products.from_frame(products), shop.sessions, attribute="kind", clusters=3, progress=False
    )
    clusters.save(tmp_path / "clusters")
    frame = visits(100, texts=True)
    frame["item_id"] = shop.sessions.item_ids[pd.factorize(frame["item_id"])[0]]
    frame["next_item_id"] = frame.groupby("session_id", sort=False)["item_id"].shift(-1)
    prepare(tmp_path / "prepared", frame)
    words = ["partition", f"{tmp_path}/prepared", f"{tmp_path}/clusters", "--out", f"{tmp_path}/out"]
    assert cli.main([*words, "--json", "--memory", "0.25", "--spill", f"{tmp_path}"]) == 0
    result = json.loads(capsys.readouterr().out)
    own = clusters_of(frame, {"item_id": clusters.item_ids, "cluster": clusters.labels})
    assert {int(c): n["events"] for c, n in result["clusters"].items()} == own.value_counts().to_dict()
    assert result["fingerprint"] == stamp.data.open_prepared(tmp_path / "out").fingerprint
    assert cli.main(words) == 0
    assert capsys.readouterr().out.startswith(f"Prepared('{tmp_path}/out', ")
    assert cli.main(["partition", f"{tmp_path}/nothing", f"{tmp_path}/clusters"]) == 2
    assert f"{tmp_path}/nothing holds no prepared.json" in capsys.readouterr().err
