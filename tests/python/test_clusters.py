"""Catalog clusters: counts and labels against naive Python, planted clusters, continuing, files, and bad input."""

import collections
import itertools
import json
import sys

import numpy as np
import pytest
import scipy.cluster.hierarchy
import scipy.sparse

import stamp
from stamp import _stamp
from stamp.catalog import clusters, grouping


def matrix(size, pairs):
    dense = np.zeros((size, size), np.int64)
    for (g, h), count in pairs.items():
        dense[g, h] += count
    return scipy.sparse.csr_array(dense)


def groups_of(recommendations, transitions=None, products=None, clicks=None, first=None):
    """Counts of groups where what is not given is the same for all."""
    size = recommendations.shape[0]
    transitions = matrix(size, {(g, g): 1 for g in range(size)}) if transitions is None else transitions
    ones = np.ones(size, np.int64)
    return grouping.GroupCounts(
        recommendations, transitions, ones if products is None else np.array(products),
        ones if clicks is None else np.array(clicks), None if first is None else np.array(first),
    )  # fmt: skip


def planted(blocks, size, seed=0, inside=40, outside=3):
    """Counts of blocks · size groups, many within a block and few between blocks; groups are shuffled."""
    random = np.random.default_rng(seed)
    truth = random.permutation(np.repeat(np.arange(blocks), size))
    mean = np.where(truth[:, None] == truth[None, :], inside, outside / (blocks * size))
    return truth, scipy.sparse.csr_array(random.poisson(mean))


def same_partition(a, b):
    return len(set(zip(a, b))) == len(set(a)) == len(set(b))


# What is counted.


@pytest.fixture(scope="module")
def mall():
    """A shop with more products than its model knows, some without a category."""
    shop = stamp.datasets.synthetic_shop(sessions=1500, products=120, seed=5)
    train, _ = shop.sessions.split_last(0.3)
    model = stamp.StampRecommender(device="cpu", dim=12, epochs=2, batch_size=128).fit(train, progress=False)
    table = {name: np.append(values, values[:2]) for name, values in shop.products.items()}
    table["id"][-2:] = ["new-1", "new-2"]
    table["category"][[3, 50]] = None
    return shop, model, stamp.Products.from_frame(table, item_id="id")


def test_counts_are_those_of_recommending_for_every_prefix(mall):
    shop, model, items = mall
    _, sessions = shop.sessions.split_last(0.1)
    grouped = clusters._group_products(items, model, ("category", "collection"))
    ids = grouped.catalog.ids()
    counts, counted = clusters._count(model, sessions, grouped, 7, None, False)
    group = dict(zip(ids, grouped.groups.tolist()))
    known = set(model.item_ids_)
    recommended, went = collections.Counter(), collections.Counter()
    examples = 0
    for s in range(len(sessions)):
        history = []
        for item in sessions.session(s):
            if history:
                examples += 1
                for found in model.recommend(history, k=7)[0]:
                    recommended[group[history[-1]], group[found]] += 1
                if item in known:
                    went[group[history[-1]], group[item]] += 1
            if item in known:
                history.append(item)
    assert counted == examples
    for counted_pairs, expected in ((counts.recommendations, recommended), (counts.transitions, went)):
        assert dict(counted_pairs.todok().items()) == expected
    few, looked_at = clusters._count(model, sessions, grouped, 7, 50, False)
    assert looked_at == 50 and few.recommendations.sum() == 350
    assert (few.transitions != counts.transitions).nnz == 0


def test_products_without_an_attribute_are_groups_of_one(mall):
    _, model, items = mall
    grouped = clusters._group_products(items, model, ("category",))
    ids = np.array(grouped.catalog.ids(), object)
    sizes = np.bincount(grouped.groups)
    for item in items.item_ids[[3, 50]]:
        group = grouped.groups[ids.tolist().index(item)]
        assert sizes[group] == 1 and grouped.names[group] == item
    codes, values = items.codes("category", grouped.catalog)
    for row in np.flatnonzero(codes >= 0):
        assert grouped.names[grouped.groups[row]] == values[codes[row]]


# From counts to labels.


def test_large_groups():
    clicks = np.array([5, 0, 40, 30, 25])
    assert grouping.large_groups(clicks, 0.7).tolist() == [2, 3]
    assert grouping.large_groups(clicks, 0.71).tolist() == [2, 3, 4]
    assert grouping.large_groups(clicks, 1.0).tolist() == [2, 3, 4, 0]  # without clicks there is nothing to go by
    assert grouping.large_groups(clicks, 1).tolist() == [2] and grouping.large_groups(clicks, 99).tolist() == [
        2,
        3,
        4,
        0,
    ]
    for wrong in (0, -1, 0.0, 1.5):
        with pytest.raises(ValueError, match="large is"):
            grouping.large_groups(clicks, wrong)
    with pytest.raises(ValueError, match="no group has a click"):
        grouping.large_groups(np.zeros(3, np.int64), 0.9)


def test_distances_are_the_formula():
    random = np.random.default_rng(2)
    dense = random.poisson(0.7, (23, 23))
    counts = groups_of(scipy.sparse.csr_array(dense))
    leaves = random.permutation(23)[:11]
    s = dense + dense.T
    n = s.sum(axis=1) - s.diagonal()
    expected = [1 - s[g, h] / np.sqrt(n[g] * n[h]) for g, h in itertools.combinations(leaves, 2)]
    np.testing.assert_allclose(grouping.condensed_distances(counts.exchanges, leaves), expected, rtol=1e-12)
    assert grouping.condensed_distances(counts.exchanges, leaves[:1]).shape == (0,)


def test_cuts_are_scipys():
    random = np.random.default_rng(4)
    ones = np.ones(40, np.int64)
    for method in ("average", "complete", "ward"):
        tree = scipy.cluster.hierarchy.linkage(random.random(40 * 39 // 2), method)
        for n in (1, 2, 7, 40):
            labels = grouping.cut(tree, ones, ones, n, None, grouping.Bounds())
            assert same_partition(labels, scipy.cluster.hierarchy.fcluster(tree, n, "maxclust"))
        t = float(np.median(tree[:, 2]))
        assert same_partition(
            grouping.cut(tree, ones, ones, None, t, grouping.Bounds()),
            scipy.cluster.hierarchy.fcluster(tree, t, "distance"),
        )


def test_cuts_keep_to_bounds():
    random = np.random.default_rng(6)
    products, examples = random.integers(1, 50, 60), random.integers(0, 900, 60)
    tree = scipy.cluster.hierarchy.linkage(random.random(60 * 59 // 2), "average")
    for bounds in (
        grouping.Bounds(max_products=200),
        grouping.Bounds(max_examples=2000),
        grouping.Bounds(max_products=20, max_examples=500),
    ):
        labels = grouping.cut(tree, products, examples, 2, None, bounds)
        for c in range(labels.max() + 1):
            inside = labels == c
            held = products[inside].sum(), examples[inside].sum()
            assert not bounds.above(*held) or inside.sum() == 1  # a single group cannot be split
    # Nodes below a bound do not count: all that count are there, where single leaves would have taken their place.
    bounds = grouping.Bounds(min_products=100)
    labels = grouping.cut(tree, products, examples, 4, None, bounds)
    sizes = np.bincount(labels, products)
    assert (sizes >= 100).sum() == 4


def test_planted_clusters_are_found():
    for seed, method in enumerate(("average", "complete", "weighted", "ward")):
        truth, counts = planted(6, 15, seed)
        found = grouping.cluster_groups(groups_of(counts), large=1.0, clusters=6, linkage=method)
        assert same_partition(found.labels, truth)
        assert (found.how == grouping.CLUSTERED).all() and found.linkage.shape == (89, 4)
        # By distance as well, somewhere between what is within blocks and what is not.
        assert same_partition(grouping.cluster_groups(groups_of(counts), large=1.0, distance=0.99).labels, truth)


def test_small_groups_join_by_naive_python():
    random = np.random.default_rng(11)
    size = 60
    recommendations = scipy.sparse.csr_array(random.poisson(0.25, (size, size)) * (random.random((size, 1)) < 0.7))
    transitions = scipy.sparse.csr_array(random.poisson(0.03, (size, size)))
    products, clicks, first = random.integers(1, 9, size), random.permutation(size) + 1, random.integers(-1, 6, size)
    counts = groups_of(recommendations, transitions, products, clicks, first)
    found = grouping.cluster_groups(counts, large=12, clusters=5)
    s, t = (of.toarray() + of.toarray().T for of in (recommendations, transitions))
    examples = transitions.toarray().sum(axis=1)
    core = found.how == grouping.CLUSTERED
    assert core.sum() == 12 and set(np.flatnonzero(core)) == set(np.argsort(-clicks)[:12])
    by = collections.Counter()
    labelled = core.copy()
    for g in np.flatnonzero(~core):
        for way, evidence in ((grouping.BY_RECOMMENDATIONS, s), (grouping.BY_TRANSITIONS, t)):
            exchanged = [evidence[g, core & (found.labels == c)].sum() for c in range(5)]
            if max(exchanged) > 0:
                assert found.how[g] == way and exchanged[found.labels[g]] == max(exchanged)
                labelled[g] = True
                by[way] += 1
                break
    held = [examples[labelled & (found.labels == c)].sum() for c in range(5)]
    assert held[found.default] == max(held)
    for g in np.flatnonzero(~labelled):
        akin = [products[labelled & (first == first[g]) & (found.labels == c)].sum() for c in range(5)]
        if first[g] >= 0 and max(akin) > 0:
            assert found.how[g] == grouping.BY_FIRST and akin[found.labels[g]] == max(akin)
        else:
            assert found.how[g] == grouping.BY_DEFAULT and found.labels[g] == found.default
        by[found.how[g]] += 1
    assert by[grouping.BY_RECOMMENDATIONS] and by[grouping.BY_TRANSITIONS]


def test_groups_without_evidence():
    # Two clusters of two; group 4 is akin to 2, group 5 to nothing.
    pairs = {(0, 1): 9, (2, 3): 9, (0, 0): 1}
    moves = {(0, 1): 5, (1, 0): 5, (2, 3): 1}
    counts = groups_of(matrix(6, pairs), matrix(6, moves), clicks=[9, 9, 9, 9, 0, 0], first=[0, 0, 1, 1, 1, -1])
    found = grouping.cluster_groups(counts, large=1.0, clusters=2)
    assert found.labels.tolist() == [0, 0, 1, 1, 1, 0] and found.default == 0
    assert found.how[4:].tolist() == [grouping.BY_FIRST, grouping.BY_DEFAULT]


def test_clusters_have_room_first():
    # Groups 2, 3 and 4 exchange with both clusters, most with 0, which has room for one of them, the largest.
    pairs = {(0, 0): 9, (1, 1): 9, **{(g, 0): 5 for g in (2, 3, 4)}, **{(g, 1): 1 for g in (2, 3)}}
    moves = {(0, 0): 50, (1, 1): 50, (2, 2): 2, (3, 3): 3, (4, 4): 1}
    counts = groups_of(matrix(5, pairs), matrix(5, moves), clicks=[9, 9, 2, 3, 1])
    whole = grouping.cluster_groups(counts, large=2, clusters=2)
    assert whole.labels[2] == whole.labels[3] == whole.labels[4] == whole.labels[0]
    found = grouping.cluster_groups(counts, large=2, clusters=2, bounds=grouping.Bounds(max_products=2))
    assert found.labels[3] == found.labels[0] and found.labels[2] == found.labels[1]
    assert found.labels[4] == found.labels[0]  # none has room: the one with evidence
    assert found.how[2:].tolist() == [grouping.BY_RECOMMENDATIONS] * 3


def test_clusters_below_bounds_join_what_they_exchange_most_with():
    truth, dense = planted(4, 10, 3)
    dense = dense.toarray()
    small = np.flatnonzero(truth == 0)
    friend = np.flatnonzero(truth == 2)
    dense[np.ix_(small, friend)] += 1
    counts = groups_of(scipy.sparse.csr_array(dense), products=np.where(truth == 0, 1, 30))
    found = grouping.cluster_groups(counts, large=1.0, distance=0.97, bounds=grouping.Bounds(min_products=100))
    assert same_partition(found.labels, np.where(truth == 0, 2, truth))


# Continuing.


def test_groups_keep_their_cluster_unless_evidence_moves_them():
    truth, dense = planted(4, 10, 7)
    dense = dense.toarray()
    names = np.array([30, 10, 40, 7])  # labels as they were, and stay
    before = names[truth]
    steady = grouping.continue_groups(groups_of(scipy.sparse.csr_array(dense)), before, stickiness=0.5)
    assert (steady.labels == before).all() and (steady.how == grouping.KEPT).all() and steady.linkage is None
    # Group g exchanges 1.4 times, then 1.6 times as much with cluster 10 as with the rest of its own.
    g = int(np.flatnonzero(truth == 0)[0])
    own, other = ((truth == c) & (np.arange(len(truth)) != g) for c in (0, 1))
    dense[g], dense[:, g] = 0, 0
    dense[g, own] = 100
    for factor, label, how in ((140, 30, grouping.KEPT), (160, 10, grouping.MOVED)):
        dense[g, other] = 0
        dense[g, np.flatnonzero(other)[:9]] = factor
        found = grouping.continue_groups(groups_of(scipy.sparse.csr_array(dense)), before, stickiness=0.5)
        assert found.labels[g] == label and found.how[g] == how
        assert (np.delete(found.labels, g) == np.delete(before, g)).all()
    room = grouping.continue_groups(
        groups_of(scipy.sparse.csr_array(dense)), before, stickiness=0.5, bounds=grouping.Bounds(max_products=10)
    )
    assert room.labels[g] == 30  # no room
    # A group that is what its cluster is about stays, whatever it exchanges.
    clicks = np.ones(len(truth), np.int64)
    clicks[g] = 9
    about = grouping.continue_groups(groups_of(scipy.sparse.csr_array(dense), clicks=clicks), before, stickiness=0)
    assert about.labels[g] == 30


def test_new_groups_join_and_empty_clusters_vanish():
    truth, dense = planted(3, 8, 8)
    before = np.array([5, 9, 2])[truth]
    new = np.flatnonzero(truth == 1)[:3]
    before[new] = -1
    found = grouping.continue_groups(groups_of(dense), before, stickiness=0.5)
    assert (found.labels == np.array([5, 9, 2])[truth]).all()
    assert (found.how[new] == grouping.BY_RECOMMENDATIONS).all()
    # Cluster 5 is too small now and joins another, which keeps its label.
    found = grouping.continue_groups(
        groups_of(dense, products=np.where(truth == 0, 1, 10)),
        before,
        stickiness=0.5,
        bounds=grouping.Bounds(min_products=20),
    )
    assert set(found.labels) == {2, 9}


# The whole way.


@pytest.fixture(scope="module")
def clustered(mall):
    shop, model, items = mall
    return stamp.cluster_catalog(model, items, shop.sessions, attribute="category", clusters=3, progress=False)


def test_a_catalog_of_planted_categories():
    """Visitors of four departments never meet; each sells in three categories."""
    random = np.random.default_rng(9)
    department = np.arange(120) // 30
    category = department * 3 + random.integers(0, 3, 120)
    sessions = [random.choice(30, 6) + 30 * random.integers(0, 4) for _ in range(1500)]
    clicks = stamp.Sessions.from_frame([list(map(int, s)) for s in sessions])
    model = stamp.StampRecommender(device="cpu", dim=16, epochs=6, batch_size=64, learning_rate=0.01)
    model.fit(clicks, progress=False)
    items = {"item_id": np.arange(120), "category": category}
    found = stamp.cluster_catalog(model, items, clicks, attribute="category", clusters=4, large=1.0, progress=False)
    labels = [found.label_of(item) for item in range(120)]
    assert same_partition(labels, department)
    assert found.transitions_inside == 1 and found.recommendations_inside > 0.9
    assert sum(found.n_examples.values()) == 5 * 1500 and set(found.n_products.values()) == {30}


def test_what_a_result_says(mall, clustered):
    shop, model, items = mall
    grouped = clusters._group_products(items, model, ("category",))
    counts, _ = clusters._count(model, shop.sessions, grouped, 20, None, False)
    group_label = dict(zip(grouped.groups.tolist(), clustered.labels.tolist()))
    assert len(group_label) == len({*zip(grouped.groups.tolist(), clustered.labels.tolist())})  # a group, a cluster
    for dense, share in (
        (counts.recommendations.toarray(), clustered.recommendations_inside),
        (counts.transitions.toarray(), clustered.transitions_inside),
    ):
        inside = sum(n for (g, h), n in np.ndenumerate(dense) if group_label[g] == group_label[h])
        assert share == pytest.approx(inside / dense.sum())
    assert clustered.ids == (0, 1, 2) and json.loads(clustered.ids_json()) == [0, 1, 2]
    assert set(clustered.item_ids) == {*model.item_ids_, *items.item_ids}
    assert sorted(np.concatenate([clustered.products_of(c) for c in clustered.ids])) == sorted(clustered.item_ids)
    assert {c: len(clustered.products_of(c)) for c in clustered.ids} == clustered.n_products
    ids = clustered.item_ids.tolist()
    assert clustered.label_of("new-1") == clustered.labels[ids.index("new-1")]
    assert clustered.label_of("nowhere") == clustered.default
    both = clustered.recommendations + clustered.recommendations.T
    for c in clustered.ids:
        others = [d for d in clustered.ids if d != c]
        assert clustered.parent(c) == max(others, key=lambda d: both[c, d])
    assert sum(clustered.report["products"].values()) == len(ids) and clustered.report["products_unknown_to_model"] >= 2
    assert clustered.attribute == ("category",) and set(clustered.dendrogram.names) <= {
        *shop.products["category"],
        *ids,
    }
    assert "3 clusters" in repr(clustered) and "<table>" in clustered._repr_html_()


def test_parents_without_recommendations_go_by_transitions():
    def made(recommendations, transitions):
        size = len(transitions)
        return stamp.CatalogClusters(
            np.arange(size), np.arange(size, dtype=np.int32), ("x",), 0, tuple(range(size)),
            np.array(recommendations), np.array(transitions), {},
        )  # fmt: skip

    none = np.zeros((3, 3), int)
    assert made(none, [[9, 0, 1], [0, 8, 0], [0, 0, 1]]).parent(2) == 0
    assert made(none, [[2, 0, 0], [0, 8, 0], [0, 0, 1]]).parent(2) == 1  # nothing but size
    assert made(none, [[2, 0, 0], [0, 8, 0], [0, 0, 1]]).parent(1) == 0
    assert made([[1]], [[1]]).parent(0) is None


def test_continuing_a_catalog(mall, clustered):
    shop, model, items = mall
    again = stamp.cluster_catalog(
        model, items, shop.sessions, attribute="category", previous=clustered, progress=False, stickiness=9
    )
    assert again.fingerprint == clustered.fingerprint and again.dendrogram is None
    assert again.report["products_moved"] == 0 and set(again.report["groups"]) == {"kept"}
    # Split between clusters by an accident, a category goes where most of its clicks are.
    labels = clustered.labels.copy()
    category = clusters._group_products(items, model, ("category",))
    group = np.bincount(category.groups).argmax()
    members = np.flatnonzero(category.groups == group)
    clicks = collections.Counter(itertools.chain.from_iterable(map(shop.sessions.session, range(len(shop.sessions)))))
    popular = max(members, key=lambda row: clicks[clustered.item_ids[row]])
    other = next(c for c in clustered.ids if c != labels[popular])
    weights = np.array([clicks[clustered.item_ids[row]] for row in members])
    labels[members] = np.where(weights > np.median(weights), labels[popular], other)
    torn = stamp.CatalogClusters(
        clustered.item_ids, labels, clustered.attribute, clustered.default, clustered.ids, clustered.recommendations,
        clustered.transitions, {},
    )  # fmt: skip
    whole = stamp.cluster_catalog(
        model, items, shop.sessions, attribute="category", previous=torn, progress=False, stickiness=9
    )
    assert set(whole.labels[members]) == {labels[popular]}
    assert whole.report["products_moved"] == int((labels[members] == other).sum())


def test_saved_and_read(clustered, mall, tmp_path):
    shop, model, items = mall
    numbered = stamp.CatalogClusters(
        np.arange(len(clustered.labels)), clustered.labels, clustered.attribute, clustered.default, clustered.ids,
        clustered.recommendations, clustered.transitions, {},
    )  # fmt: skip
    for written in (clustered, numbered):
        written.save(tmp_path / "c.safetensors")
        read = stamp.CatalogClusters.load(tmp_path / "c.safetensors")
        assert read.fingerprint == written.fingerprint
        for name in ("item_ids", "labels", "recommendations", "transitions"):
            np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        for name in ("attribute", "default", "ids", "report"):
            assert getattr(read, name) == getattr(written, name)
        assert (read.dendrogram is None) == (written.dendrogram is None)
    clustered.save(tmp_path / "c.safetensors")
    tree = stamp.CatalogClusters.load(tmp_path / "c.safetensors").dendrogram
    for name, value in vars(clustered.dendrogram).items():
        np.testing.assert_array_equal(getattr(tree, name), value)


def test_fingerprints_differ_with_a_label(clustered):
    labels = clustered.labels.copy()
    labels[0] = (labels[0] + 1) % 3
    changed = stamp.CatalogClusters(
        clustered.item_ids, labels, clustered.attribute, clustered.default, clustered.ids, clustered.recommendations,
        clustered.transitions, {},
    )  # fmt: skip
    assert changed.fingerprint != clustered.fingerprint


def test_damaged_files_are_refused(clustered, tmp_path):
    path = tmp_path / "c.safetensors"
    clustered.save(path)
    whole = path.read_bytes()
    for place in range(10, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(RuntimeError, match="c.safetensors"):
            stamp.CatalogClusters.load(path)
    path.write_bytes(whole[:-3])
    with pytest.raises(RuntimeError, match="c.safetensors"):
        stamp.CatalogClusters.load(path)
    _stamp.write_tensors(str(path), {"x": np.zeros(2, np.float32)}, {})
    with pytest.raises(RuntimeError, match="not a file of catalog clusters"):
        stamp.CatalogClusters.load(path)
    _stamp.write_tensors(str(path), {}, {"format": "stamp-clusters", "version": "9"})
    with pytest.raises(RuntimeError, match="clusters of version 9, expected 1"):
        stamp.CatalogClusters.load(path)
    with pytest.raises(RuntimeError, match="nowhere"):
        stamp.CatalogClusters.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="'x' is of dtype float64"):
        _stamp.write_tensors(str(path), {"x": np.zeros(2)}, {})


def test_figures(mall, clustered):
    shop, model, items = mall
    continued = stamp.cluster_catalog(
        model, items, shop.sessions, attribute="category", previous=clustered, progress=False
    )
    for found, parts in ((clustered, 3), (continued, 2)):  # dendrogram, matrix and its scale
        figure = found.plot()
        assert len(figure.axes) == parts
        figure.canvas.draw()


def test_products_beyond_bounds_are_reported(mall):
    shop, model, items = mall
    found = stamp.cluster_catalog(
        model, items, shop.sessions, attribute="category", clusters=2, max_products=5, progress=False
    )
    beyond = {entry["cluster"]: entry["products"] for entry in found.report["beyond_bounds"]}
    assert beyond and beyond == {c: n for c, n in found.n_products.items() if n > 5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attribute": "colour"}, "no attribute 'colour'"),
        ({"attribute": "price"}, "'price' is a number"),
        ({"attribute": ()}, r"attribute is \(\)"),
        ({"attribute": ("category", "category")}, "several different ones"),
        ({"clusters": None}, "neither of clusters and distance"),
        ({"distance": 0.5}, "both of clusters and distance"),
        ({"clusters": 0}, "clusters is 0"),
        ({"clusters": 11, "large": 2}, "clusters is 11, but large=2 leaves 2 of"),
        ({"clusters": None, "distance": -0.1}, "distance is -0.1"),
        ({"linkage": "centre"}, "linkage is 'centre', expected one of average"),
        ({"k": 0}, "k is 0"),
        ({"examples": 0}, "examples is 0"),
        ({"stickiness": -1}, "stickiness is -1"),
        ({"large": 0}, "large is 0"),
        ({"min_products": 9, "max_products": 8}, "min_products is 9, above max_products, 8"),
        ({"min_examples": 9, "max_examples": 8}, "min_examples is 9, above max_examples, 8"),
        ({"max_products": 0}, "max_products is 0"),
        ({"previous": "clusters"}, "previous is str"),
        ({"sessions": [[1, 2]]}, "sessions is list"),
        ({"sessions": stamp.Sessions.from_frame([["?", "!"]])}, "no session has two events of products"),
        ({"model": stamp.StampRecommender()}, "not fitted"),
        ({"model": None}, "model is NoneType"),
        (
            {"items": {"item_id": [1], "category": ["x"]}},
            "items has ids that are integers .*, those of the model are strings",
        ),
        ({"items": {"item_id": ["x"]}}, "no column 'category'"),
    ],
)
def test_what_cannot_be_is_refused(mall, options, message):
    shop, model, items = mall
    given = {"model": model, "items": items, "sessions": shop.sessions, "attribute": "category", "clusters": 3,
             "progress": False, **options}  # fmt: skip
    with pytest.raises(ValueError, match=message):
        stamp.cluster_catalog(given.pop("model"), given.pop("items"), given.pop("sessions"), **given)


def test_previous_that_cannot_be_is_refused(mall, clustered):
    shop, model, items = mall
    with pytest.raises(ValueError, match="neither clusters nor distance"):
        stamp.cluster_catalog(model, items, shop.sessions, attribute="category", clusters=2, previous=clustered)
    elsewhere = stamp.CatalogClusters(
        np.array(["far"], object),
        np.zeros(1, np.int32),
        ("x",),
        0,
        (0,),
        np.ones((1, 1), int),
        np.ones((1, 1), int),
        {},
    )
    with pytest.raises(ValueError, match="previous has none of these products"):
        stamp.cluster_catalog(model, items, shop.sessions, attribute="category", previous=elsewhere, progress=False)
    for wrong in (99, "0"):
        with pytest.raises(ValueError, match="there is no cluster"):
            clustered.products_of(wrong)


def test_one_group_is_one_cluster(mall):
    shop, model, _ = mall
    items = {"item_id": model.item_ids_, "all": ["same"] * model.n_items_}
    found = stamp.cluster_catalog(model, items, shop.sessions, attribute="all", clusters=1, progress=False)
    assert found.ids == (0,) and found.parent(0) is None and found.transitions_inside == 1
    with pytest.raises(ValueError, match="clusters is 2, but large=0.9 leaves 1 of 1 groups"):
        stamp.cluster_catalog(model, items, shop.sessions, attribute="all", clusters=2, progress=False)


def test_what_is_missing_is_named(mall, clustered, monkeypatch):
    shop, model, items = mall
    for module in ("scipy", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"pip install 'stamp-recommender\[cluster\]'"):
        stamp.cluster_catalog(model, items, shop.sessions, attribute="category", clusters=3)
    with pytest.raises(ImportError, match=r"pip install 'stamp-recommender\[plot\]'"):
        clustered.plot()
