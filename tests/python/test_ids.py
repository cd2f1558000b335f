"""Ids: what they are, whatever they come in, and that nothing is lost or matched with what it is not."""

import csv
import decimal
import json
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

import stamp
from stamp.data.tables.ids import Ids, as_written, plain_id

U = [uuid.UUID(int=i) for i in (1, 2, 3)]


def ids_of(column, **options):
    """The products of three events, in the order of the rows."""
    data = {"session_id": [1, 1, 1], "item_id": column}
    if isinstance(column, (pd.Series, pa.Array, pl.Series)):
        frames = {pd.Series: pd.DataFrame, pl.Series: pl.DataFrame}
        data = frames.get(type(column), pa.table)(data)
    return stamp.Sessions.from_frame(data, **options).session(0).tolist()


def objects(*values):
    return np.array([*values, None], object)[:-1]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([5, -3, 0], [5, -3, 0]),
        (np.array([5, 3, 0], np.uint64), [5, 3, 0]),
        (np.array([5.0, -3.0, 2.0**53 - 1]), [5, -3, 2**53 - 1]),
        (objects(5, 3.0, np.int32(7)), [5, 3, 7]),
        (objects(decimal.Decimal(5), decimal.Decimal("3.00"), decimal.Decimal(10**18)), [5, 3, 10**18]),
        (objects(*U), list(map(str, U))),
        (["a", "007", "7"], ["a", "007", "7"]),
        (["1", "2", "3"], ["1", "2", "3"]),  # texts stay what they are
        (np.array([b"a", b"b", b"c"]), ["a", "b", "c"]),
        (pd.Series([5, 3, 7], dtype="Int64"), [5, 3, 7]),
        (pd.Series([5, 3, 7]).convert_dtypes(dtype_backend="pyarrow"), [5, 3, 7]),
        (pd.Series(["a", "b", "a"], dtype="category"), ["a", "b", "a"]),
        (pd.Series(["a", "b", "a"], dtype="string"), ["a", "b", "a"]),
        (pd.Series(U), list(map(str, U))),
        (pd.Series([decimal.Decimal(i) for i in (5, 3, 7)]), [5, 3, 7]),
        (pl.Series([5, 3, 7]), [5, 3, 7]),
        (pl.Series([decimal.Decimal(i) for i in (5, 3, 7)]), [5, 3, 7]),
        (pa.array([5, 3, 7], pa.int16()), [5, 3, 7]),
        (pa.array([decimal.Decimal(i) for i in (5, 3, 7)]), [5, 3, 7]),
        (pa.array([5.0, 3.0, 7.0]), [5, 3, 7]),
    ],
)
def test_ids_are_what_their_values_are(column, expected):
    assert ids_of(column) == expected
    assert ids_of(column, ids="text") == list(map(str, expected))


def test_text_makes_texts_of_all():
    assert ids_of(np.array([1, 2**64 - 1, 3], np.uint64), ids="text") == ["1", str(2**64 - 1), "3"]
    assert ids_of([1, 2**64 - 1, 3], ids="text") == ["1", str(2**64 - 1), "3"]
    assert ids_of(objects(1, "a", 2**70), ids="text") == ["1", "a", str(2**70)]
    assert stamp.Sessions.from_frame([[1, 2], [3]], ids="text").item_ids.tolist() == ["1", "2", "3"]
    assert stamp.Products.from_frame({"item_id": [7, 8]}, ids="text").item_ids.tolist() == ["7", "8"]
    for read in (stamp.Sessions.from_frame, stamp.Products.from_frame):
        with pytest.raises(ValueError, match="from_frame: ids is 'integers', expected one of auto, text"):
            read({"session_id": [1], "item_id": [1]}, ids="integers")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.array([1.0, 2.0**53, 3.0]), "has 9007199254740992.0 in row 1; a float that stands for several integers"),
        (
            np.array([1.0, 2.0**24, 3.0], np.float32),
            "has 16777216.0 in row 1; a float that stands for several integers",
        ),
        (objects(1, 2.0**60, 3), r"has 1.15.*e\+18 in row 1; a float that stands for several integers"),
        ([1.0, 2.5, 3.0], "has 2.5 in row 1; ids are integers or strings"),
        (objects(1, decimal.Decimal("2.5"), 3), r"has Decimal\('2.5'\) in row 1; ids are integers or strings"),
        (objects(1, True, 3), "has True in row 1; ids are integers or strings"),
        ([True, False, True], "has dtype bool; ids are integers or strings"),
        (objects(1, (2, 3), 3), r"has \(2, 3\) in row 1; ids are integers or strings"),
        (objects(1, "a", 3), "has 1 in row 0 and 'a' in row 1; ids are all integers or all strings"),
        (objects(1, U[0], 3), r"has 1 in row 0 and UUID\(.*\) in row 1; ids are all integers or all strings"),
        (np.array([1, 2**64 - 1, 3], np.uint64), r"has an id beyond 64-bit signed integers; from_frame\(ids='text'\)"),
        ([1, 2**64 - 1, 3], r"has an id beyond 64-bit signed integers; from_frame\(ids='text'\)"),
        (objects(1, 2**70, 3), r"has an id beyond 64-bit signed integers; from_frame\(ids='text'\)"),
        (["a", "", "b"], "has 1 missing values, the first in row 1"),
        (objects("a", None, ""), "has 1 missing values, the first in row 1"),
        (objects(1, None, pd.NA), "has 2 missing values, the first in row 1"),
        (np.array([1.0, np.nan, 2.0]), "has 1 missing values, the first in row 1"),
        (pd.Series(["a", "", "b"]), "has 1 missing values, the first in row 1"),
        (pd.Series(["a", None, "b"], dtype="string"), "has 1 missing values, the first in row 1"),
        (pl.Series(["a", "", "b"]), "has 1 missing values, the first in row 1"),
        (pl.Series(["a", None, "b"]), "has 1 missing values, the first in row 1"),
        (pa.array(["a", "", "b"]).dictionary_encode(), "has 1 missing values, the first in row 1"),
    ],
)
def test_what_is_no_id_is_named(column, message):
    for options in ({}, {"ids": "text"}):
        if options and ("all integers or" in message or "beyond" in message):
            continue  # which texts can be
        with pytest.raises(ValueError, match="column 'item_id' " + message):
            ids_of(column, **options)


def test_one_id_as_python_has_it():
    assert [plain_id(v) for v in (np.int64(5), np.str_("a"), U[0], decimal.Decimal(4), 3.0)] == [
        5,
        "a",
        str(U[0]),
        4,
        3,
    ]
    assert [type(plain_id(v)) for v in (np.int64(5), np.str_("a"))] == [int, str]
    for nothing in (True, None, 2.5, float("nan"), float("inf"), 2.0**53, decimal.Decimal("NaN"), b"a", [1]):
        assert plain_id(nothing) is None


# Text files.


def write(path, rows, *, quoted=False):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)  # fmt: skip
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["e.csv", "e.tsv"])
@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (["7", "0", "-3"], [7, 0, -3]),
        ([str(2**63 - 1), str(-(2**63)), "1"], [2**63 - 1, -(2**63), 1]),
        (["0663713001", "7", "8"], None),
        (["7", "007", "07"], None),
        (["7", "+5", "5"], None),
        (["100000", "1e5", "3"], None),
        (["7", "-0", "0"], None),
        (["31", "0x1F", "3"], None),
        (["7", "7.0", "8"], None),
        (["7", " 7", "7 "], None),
        (["1", str(2**63), str(2**64)], None),
        (["7", "a", "8"], None),
        (["NULL", "a", "NaN"], None),  # among texts, texts
        (["1_000", "1000", "1"], None),
    ],
)
def test_ids_in_text_files_stay_as_they_are_written(tmp_path, name, quoted, written, kept):
    rows = [("session_id", "item_id"), *(("s", text) for text in written)]
    path = write(tmp_path / name, rows, quoted=quoted)
    assert stamp.Sessions.from_frame(path).session(0).tolist() == (written if kept is None else kept)
    assert stamp.Sessions.from_frame(path, ids="text").session(0).tolist() == written
    swapped = write(tmp_path / f"swapped_{name}", [("item_id", "session_id"), *rows[1:]], quoted=quoted)
    assert len(stamp.Sessions.from_frame(swapped)) == 3  # no two sessions are one
    products = write(tmp_path / f"items_{name}", [("item_id",), *((text,) for text in written)], quoted=quoted)
    assert stamp.Products.from_frame(products).item_ids.tolist() == (written if kept is None else kept)
    assert stamp.Products.from_frame(products, ids="text").item_ids.tolist() == written
    if not any(" " in text for text in written):
        lists = write(tmp_path / f"lists_{name}", [("items",), (" ".join(written),)], quoted=quoted)
        assert stamp.Sessions.from_frame(lists).session(0).tolist() == (written if kept is None else kept)
        assert stamp.Sessions.from_frame(lists, ids="text").session(0).tolist() == written
        frame = pd.DataFrame({"items": [" ".join(written)]})
        assert stamp.Sessions.from_frame(frame).session(0).tolist() == (written if kept is None else kept)
        singles = write(tmp_path / f"singles_{name}", [("items",), *((text,) for text in written)], quoted=quoted)
        assert [stamp.Sessions.from_frame(singles).session(i).tolist() for i in range(3)] == [
            [text] for text in (written if kept is None else kept)
        ]


def test_every_block_of_a_large_file_is_of_one_kind(tmp_path):
    """Arrow reads blocks of a megabyte by themselves; the id that makes texts of all is in the last."""
    n = 400_000
    table = pa.table({"session_id": np.arange(n) // 4, "item_id": np.arange(n)})
    pa.csv.write_csv(table, tmp_path / "e.csv")
    assert stamp.Sessions.from_frame(tmp_path / "e.csv").item_ids.tolist() == list(range(n))
    with open(tmp_path / "e.csv", "a") as file:
        file.write('0,"007"\n')
    found = stamp.Sessions.from_frame(tmp_path / "e.csv").item_ids
    assert sorted(found.tolist()) == sorted([*map(str, range(n)), "007"])


def test_parquet_has_types(tmp_path):
    pa.parquet.write_table(pa.table({"session_id": [1, 1], "item_id": ["1", "2"]}), tmp_path / "e.parquet")
    assert stamp.Sessions.from_frame(tmp_path / "e.parquet").item_ids.tolist() == ["1", "2"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("ids", ["auto", "text"])
def test_an_empty_id_in_a_text_file_is_missing(tmp_path, suffix, quoted, ids):
    for column, rows, row in (
        ("item_id", [("a", "x"), ("a", ""), ("b", "y")], 1),
        ("session_id", [("a", "x"), ("a", "y"), ("", "y")], 2),
        ("item_id", [("a", "1"), ("a", ""), ("b", "2")], 1),
    ):
        path = write(tmp_path / f"e{suffix}", [("session_id", "item_id"), *rows], quoted=quoted)
        with pytest.raises(ValueError, match=f"column '{column}' has 1 missing values, the first in row {row}"):
            stamp.Sessions.from_frame(path, ids=ids)
        for frame in (pd.read_csv, pl.read_csv):  # which say so, too
            with pytest.raises(ValueError, match=f"column '{column}' has 1 missing values, the first in row {row}"):
                stamp.Sessions.from_frame(frame(path, **{"sep" if frame is pd.read_csv else "separator": ",\t"[suffix == ".tsv"]}))  # fmt: skip
    path = write(tmp_path / f"items{suffix}", [("item_id", "brand"), ("a", "x"), ("", "y")], quoted=quoted)
    with pytest.raises(ValueError, match="column 'item_id' has 1 missing values, the first in row 1"):
        stamp.Products.from_frame(path, ids=ids)


def test_what_others_write_for_a_missing_number_is_one_among_integers(tmp_path):
    path = write(tmp_path / "e.csv", [("session_id", "item_id"), ("1", "5"), ("1", "NULL"), ("2", "6")])
    with pytest.raises(ValueError, match="column 'item_id' has 1 missing values, the first in row 1"):
        stamp.Sessions.from_frame(path)
    assert stamp.Sessions.from_frame(path, ids="text").session(0).tolist() == ["5", "NULL"]
    assert as_written(pa.array(["5", "nan", ""]), as_text=False).to_pylist() == [5, None, None]


def test_visitors_in_text_files(tmp_path):
    """An unknown one is nobody in particular; leading zeros tell visitors apart; so in A/B tests."""
    rows = [("session_id", "item_id", "visitor_id", "timestamp")]
    rows += [(i, item, visitor, i) for i, visitor in enumerate(["007", "7", "", "", "007"]) for item in "xy"]
    sessions = stamp.Sessions.from_frame(write(tmp_path / "e.csv", rows))
    run = stamp.offline.replay({"p": stamp.PopularityRecommender().fit(sessions)}, sessions, latency=0)
    [questions] = run.questions.values()
    first = questions.visitor[np.unique(questions.session, return_index=True)[1]]
    assert first[0] == first[4] and len(set(first.tolist())) == 4

    arm = write(tmp_path / "arm.csv", [("visitor", "sales"), ("007", 1), ("7", 2), ("007", 3), ("8", 4)])
    call = {"value": "sales", "visitor": "visitor"}
    assert stamp.offline.ab.means(control=arm, treatment=arm, **call).control.visitors == 3
    with pytest.raises(ValueError, match="visitor has 1 missing values, the first in row 1"):
        bad = write(tmp_path / "bad.csv", [("visitor", "sales"), ("007", 1), ("", 2), ("8", 4)])
        stamp.offline.ab.means(control=bad, treatment=arm, **call)


# Ids of another kind.

INTEGERS = stamp.Sessions.from_frame(
    {"session_id": [1, 1, 1, 2, 2, 2], "item_id": [1, 2, 3, 2, 3, 1], "timestamp": range(6)}
)
TEXTS = stamp.Sessions.from_frame(
    {"session_id": [1, 1, 1, 2, 2, 2], "item_id": list("123231"), "timestamp": range(6, 12)}
)
EMPTY = stamp.Sessions.from_frame([])
OPTIONS = {"dim": 4, "epochs": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name, sessions in (("integers", INTEGERS), ("strings", TEXTS)):
        found[name] = stamp.StampRecommender(**OPTIONS).fit(sessions, progress=False)
        found[name].save(folder / name)
        found[f"{name} served"] = stamp.Recommender(folder / name, device="cpu")
        found[f"{name} path"] = folder / name
        found[f"{name} counted"] = stamp.SequentialRulesRecommender().fit(sessions)
    return found


def other_kind(argument, other="strings", own="integers"):
    return rf"{argument}.* has ids that are {other} \(.*\), those of .* are {own} \(.*\); expected one kind"


@pytest.mark.parametrize("who", ["", " served", " counted"])
@pytest.mark.parametrize(
    ("own", "other", "known", "wrong"), [("integers", "strings", 1, "1"), ("strings", "integers", "1", 1)]
)
def test_requests(models, who, own, other, known, wrong):
    asked = models[own + who]
    arguments = {"exclude": [wrong], "only": [wrong]}
    if who == " served":
        arguments["bought"] = [wrong]
    for name, value in arguments.items():
        with pytest.raises(ValueError, match=other_kind(f"recommend: {name}", other, own)):
            asked.recommend([known], k=2, **{name: value})
        with pytest.raises(ValueError, match=other_kind(f"recommend_batch: {name}", other, own)):
            asked.recommend_batch([[known]], k=2, **{name: [value] if name == "bought" else value})
    with pytest.raises(ValueError, match=other_kind("recommend: (items|events)", other, own)):
        asked.recommend([wrong], k=2)
    with pytest.raises(ValueError, match=other_kind("recommend_batch: a session", other, own)):
        asked.recommend_batch([[known], [wrong]], k=2)
    stranger = 99 if own == "integers" else "nobody"  # of the right kind, and just not known
    with_stranger = asked.recommend([known], exclude=[stranger], k=2)
    assert repr(with_stranger) == repr(asked.recommend([known], exclude=[], k=2))
    if who == " served":
        assert asked.recommend([stranger, known], k=2).unknown == [stranger]


def test_requests_in_whatever_python_has(models):
    asked = models["integers"]
    first = asked.recommend([1], k=3)[0].tolist()
    for exclude in ([np.int64(first[0])], np.array(first[:1]), np.array(first[:1], float), pd.Series(first[:1], dtype="Int64"),
                    pl.Series(first[:1]), pa.array(first[:1]), {decimal.Decimal(first[0])}, (i for i in first[:1])):  # fmt: skip
        assert asked.recommend([1], k=3, exclude=exclude)[0].tolist() == first[1:]


def test_sessions_of_another_kind(models):
    model, counted = models["integers"], models["integers counted"]
    for each in (model, counted):
        with pytest.raises(ValueError, match=other_kind("evaluate: test")):
            stamp.evaluate(each, TEXTS)
    for refit in (False, True):
        with pytest.raises(ValueError, match=other_kind("fit: validation")):
            stamp.StampRecommender(**OPTIONS).fit(INTEGERS, validation=TEXTS, refit=refit, progress=False)
    with pytest.raises(ValueError, match=other_kind("check_leakage: test")):
        stamp.offline.check_leakage(INTEGERS, TEXTS)
    products = stamp.Products.from_frame({"item_id": ["1", "2", "3"], "brand": ["a", "b", "b"]})
    with pytest.raises(ValueError, match=other_kind("fit: products")):
        stamp.PopularityRecommender(by="brand").fit(INTEGERS, products)
    with pytest.raises(ValueError, match=other_kind("cluster_catalog: items")):
        stamp.cluster_catalog(model, products, INTEGERS, attribute="brand", clusters=2, progress=False)
    items = stamp.Products.from_frame({"item_id": [1, 2, 3], "brand": ["a", "b", "b"]})
    with pytest.raises(ValueError, match=other_kind("cluster_catalog: sessions")):
        stamp.cluster_catalog(model, items, TEXTS, attribute="brand", clusters=2, progress=False)
    with pytest.raises(ValueError, match="no events"):
        stamp.StampRecommender(**OPTIONS).fit(EMPTY)
    with pytest.raises(ValueError, match="no example in the 0 validation sessions"):
        stamp.StampRecommender(**OPTIONS).fit(TEXTS, validation=EMPTY, progress=False)


class Foreign:
    def __init__(self, *answer):
        self.answer = list(answer)

    def recommend(self, items, k):
        return self.answer


def test_replays(models):
    replay, model = stamp.offline.replay, models["integers"]
    texts = stamp.Products.from_frame({"item_id": ["1", "2"], "brand": ["a", "b"]})
    for message, recommender, options in (
        ("replay: sessions", model, {}),
        ("replay: sessions", models["integers served"], {}),
        ("replay: sessions", models["integers path"], {}),
        ("replay: the answer of 'x'", Foreign(1), {}),
    ):
        other, own = ("integers", "strings") if isinstance(recommender, Foreign) else ("strings", "integers")
        with pytest.raises(ValueError, match=other_kind(message, other, own)):
            replay({"x": recommender}, TEXTS, latency=0, **options)
    for message, options in (
        ("replay: train", {"train": TEXTS}),
        ("replay: products", {"products": texts}),
        ("replay: embeddings", {"embeddings": (["1"], np.ones((1, 2)))}),
        ("replay: embeddings", {"embeddings": models["strings"]}),
    ):
        with pytest.raises(ValueError, match=other_kind(message)):
            replay({"x": model}, INTEGERS, latency=0, **options)
    with pytest.raises(ValueError, match=other_kind("replay: ")):
        replay({"x": model, "y": models["strings"]}, INTEGERS, latency=0)
    run = replay({"x": model, "y": Foreign()}, INTEGERS, latency=0)
    with pytest.raises(ValueError, match=other_kind("cut: the mapping")):
        run.by({"1": "a"})
    visitors = {"session_id": [1, 1], "item_id": [1, 2], "timestamp": [1, 2]}
    train, test = (stamp.Sessions.from_frame({**visitors, "visitor_id": [v, v]}) for v in (5, "5"))
    with pytest.raises(ValueError, match=other_kind("replay: visitor_id", "strings", "integers")):
        replay({"x": model}, test, train=train, zones=stamp.offline.home(), latency=0, leakage="report")


def test_bundles(models, tmp_path):
    integers, strings = models["integers path"], models["strings path"]
    for message, paths, options in (
        ("build_bundle: the model of cluster 2", {1: integers, 2: strings}, {}),
        ("build_bundle: fallback", {1: integers}, {"fallback": models["strings counted"]}),
        ("build_bundle: items", {1: integers}, {"items": {"item_id": ["1"], "brand": ["a"]}}),
    ):
        with pytest.raises(ValueError, match=other_kind(message)):
            stamp.build_bundle(paths, options.pop("items", None), out=tmp_path / "bundle", **options)
    with pytest.raises(ValueError, match=other_kind("diff_bundles: new")):
        stamp.diff_bundles(integers, strings)


def test_clusters(models, tmp_path):
    items = stamp.Products.from_frame({"item_id": [1, 2, 3], "brand": ["a", "b", "b"]})
    call = {"attribute": "brand", "clusters": 2, "progress": False}
    found = stamp.cluster_catalog(models["integers"], items, INTEGERS, **call)
    with pytest.raises(ValueError, match=other_kind("label_of: item")):
        found.label_of("1")
    assert found.label_of(99) == found.default
    with pytest.raises(ValueError, match=other_kind("train_cluster: clusters", "integers", "strings")):
        stamp.train_cluster(TEXTS, found, found.ids[0], out=tmp_path, progress=False)
    texts = stamp.Products.from_frame({"item_id": ["1", "2", "3"], "brand": ["a", "b", "b"]})
    with pytest.raises(ValueError, match=other_kind("cluster_catalog: previous", "integers", "strings")):
        stamp.cluster_catalog(models["strings"], texts, TEXTS, attribute="brand", previous=found, progress=False)
    config = {"dim": 4, "epochs": 1, "validation": 0}
    for cluster in found.ids:
        with pytest.raises(ValueError, match=other_kind("warm_start: that model")):
            stamp.train_cluster(
                INTEGERS, found, cluster, out=tmp_path / str(cluster), config=config, min_examples=0,
                warm_start=models["strings path"], progress=False, device="cpu",
            )  # fmt: skip
        break


def test_nothing_at_all_is_of_any_kind(models):
    for own, known in (("integers", 1), ("strings", "1")):
        for who in ("", " served"):
            asked = models[own + who]
            expected = repr(asked.recommend([known], k=2))
            for none in (
                [],
                (),
                np.array([]),
                np.array([], object),
                pd.Series([], dtype=float),
                pa.array([], pa.string()),
            ):
                assert repr(asked.recommend([known], k=2, exclude=none)) == expected
                assert len(asked.recommend([known], k=2, only=none)[0] if not who else asked.recommend([known], k=2, only=none)) == 0  # fmt: skip
    assert Ids("x", np.array([])).find_in(TEXTS._catalog, "y").tolist() == []


# The command line.


def test_the_command_line(tmp_path, capsys):
    from stamp.cli import main

    def run(*arguments, status=0):
        assert main(list(map(str, arguments))) == status
        return capsys.readouterr()

    events = [("session_id", "item_id"), *((s, item) for s in "ab" for item in ("1", "2", "3"))]
    plain = write(tmp_path / "plain.csv", events)
    zeros = write(tmp_path / "zeros.csv", [*events, ("b", "007")])
    items = write(tmp_path / "items.csv", [("item_id", "brand"), ("1", "a"), ("2", "b"), ("3", "b")])
    quick = ["-o", "dim=4", "-o", "epochs=1", "--quiet"]
    run("train", zeros, "--out", tmp_path / "zeros", *quick)
    assert sorted(stamp.load(tmp_path / "zeros").item_ids_.tolist()) == ["007", "1", "2", "3"]
    wrong = run("evaluate", tmp_path / "zeros", plain, status=2).err
    assert (
        "evaluate: test has ids that are integers (1), those of the model are strings" in wrong
        and "ids='text'" in wrong
    )
    run("evaluate", tmp_path / "zeros", plain, "--ids", "text")

    run("train", plain, "--out", tmp_path / "texts", "--ids", "text", *quick)
    assert stamp.load(tmp_path / "texts").item_ids_.tolist() == ["1", "2", "3"]
    run("search", "--data", plain, "--space", '{"dim": [4]}', "--trials", 1, "--ids", "text", "--validation", 0.5, "-o", "epochs=1", "--quiet")  # fmt: skip
    cluster = ["cluster", tmp_path / "texts", items, plain, "--attribute", "brand", "--clusters", 2, "--quiet"]
    assert "expected one kind" in run(*cluster, "--out", tmp_path / "c", status=2).err
    run(*cluster, "--out", tmp_path / "c", "--ids", "text")
    trained = ["train-cluster", plain, tmp_path / "c", 0, "--min-examples", 0, *quick, "-o", "validation=0"]
    assert "expected one kind" in run(*trained, "--out", tmp_path / "one", status=2).err
    run(*trained, "--out", tmp_path / "one", "--ids", "text")
    every = [
        "train-clusters",
        plain,
        tmp_path / "c",
        "--jobs",
        1,
        *quick,
        "-o",
        "validation=0",
        "--out",
        tmp_path / "all",
    ]
    run(*every, "--ids", "text")
    build = ["bundle", "build", f"0={tmp_path / 'texts'}", "--items", items, "--out", tmp_path / "bundle"]
    assert "build_bundle: items has ids that are integers" in run(*build, status=2).err
    run(*build, "--ids", "text")
    assert stamp.Recommender(tmp_path / "bundle", device="cpu").item_ids.tolist() == ["1", "2", "3"]
    report = ["report", "--bundle", tmp_path / "bundle", "--sessions", plain, "--products", items, "--resamples", 20,
              "--out", tmp_path / "r.html", "--out-json", tmp_path / "r.json", "--quiet"]  # fmt: skip
    assert "expected one kind" in run(*report, status=2).err
    run(*report, "--ids", "text")
    assert "--ids text" in (tmp_path / "r.html").read_text()

    run("train", plain, "--out", tmp_path / "integers", *quick)
    answer = json.loads(run("recommend", tmp_path / "integers", "1", "--exclude", "2", "--k", 2, "--json").out)
    assert 2 not in answer["ids"] and answer["ids"]
    for given in ("007", "+5", "1_0", "x"):
        wrong = run("recommend", tmp_path / "integers", given, status=2).err
        assert f"recommend: items has '{given}', expected an integer, as the product ids of this bundle are" in wrong
    assert json.loads(run("recommend", tmp_path / "zeros", "007", "--json").out)["unknown"] == []
