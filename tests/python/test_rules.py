"""Business rules: their schema, what the parser says of the same documents, and the oracle of lists under rules."""

import importlib.resources
import json
import pathlib
import re

import jsonschema
import numpy as np
import pytest

import stamp
from rules_oracle import Shop, Visit, recommend
from stamp import _stamp

ROOT = pathlib.Path(__file__).parents[2]
GOOD = [
    {"rule": "exclude_products", "products": [1, 2]},
    {"rule": "exclude_products", "products": []},
    {"rule": "only_products", "products": [-9223372036854775808, 9223372036854775807, 3.0]},
    {"rule": "exclude_values", "attribute": "colour", "values": ["red", 7]},
    {"rule": "only_values", "attribute": "colour", "values": []},
    {"rule": "only_available"},
    {"rule": "only_available", "attribute": "price"},
    {"rule": "same_value", "attribute": "brand"},
    {"rule": "different_value", "attribute": "brand"},
    {"rule": "price_band", "attribute": "price", "from": 0, "to": 0},
    {"rule": "price_band", "attribute": "price", "from": 0.5, "to": 2},
    {"rule": "exclude_seen"},
    {"rule": "exclude_bought"},
    {"rule": "limit", "attribute": "brand", "max": 1},
    {"rule": "limit", "attribute": "brand", "max": 2.0},
    {"rule": "limit", "attribute": "brand", "max": 9223372036854775807},
    {"rule": "boost", "attribute": "brand", "values": ["x"], "by": -3.4028234663852886e38},
    {"rule": "pin", "products": [5, 5]},
    {"rule": "diversify", "by": "embedding", "strength": 0},
    {"rule": "diversify", "by": "brand", "strength": 1, "pool": 10000},
    {"rule": "min_score", "score": 3.4028234663852886e38},
]
# What a build may exclude for good.
FIXED = [rule for rule in GOOD if rule["rule"].startswith(("exclude_products", "exclude_values", "only_"))]
# What is wrong whatever the catalog.
BAD = [
    7,
    [],
    None,
    {},
    {"rule": "exclude"},
    {"rule": ["pin"]},
    {"products": [1]},
    {"rule": "exclude_products"},
    {"rule": "exclude_products", "products": 1},
    {"rule": "exclude_products", "products": [1.5]},
    {"rule": "exclude_products", "products": [True]},
    {"rule": "exclude_products", "products": [9223372036854775808]},
    {"rule": "exclude_products", "products": [1], "values": []},
    {"rule": "only_products", "products": {"1": 2}},
    {"rule": "exclude_values", "attribute": "colour"},
    {"rule": "exclude_values", "attribute": "colour", "values": [None]},
    {"rule": "only_values", "attribute": 3, "values": []},
    {"rule": "only_available", "attribute": 1},
    {"rule": "same_value"},
    {"rule": "different_value", "attribute": None},
    {"rule": "price_band", "attribute": "price", "from": 1},
    {"rule": "price_band", "attribute": "price", "from": -0.1, "to": 1},
    {"rule": "price_band", "attribute": "price", "from": 0, "to": "1"},
    {"rule": "price_band", "from": 0, "to": 1},
    {"rule": "exclude_seen", "days": 3},
    {"rule": "exclude_bought", "products": []},
    {"rule": "limit", "attribute": "brand", "max": 0},
    {"rule": "limit", "attribute": "brand", "max": 1.5},
    {"rule": "limit", "attribute": "brand", "max": True},
    {"rule": "limit", "attribute": "brand"},
    {"rule": "boost", "attribute": "brand", "values": ["x"]},
    {"rule": "boost", "attribute": "brand", "values": ["x"], "by": 1e39},
    {"rule": "boost", "attribute": "brand", "values": "x", "by": 1},
    {"rule": "pin", "products": [[1]]},
    {"rule": "diversify", "by": "embedding"},
    {"rule": "diversify", "by": "embedding", "strength": 1.5},
    {"rule": "diversify", "by": "embedding", "strength": 0.5, "pool": 0},
    {"rule": "diversify", "by": "embedding", "strength": 0.5, "pool": 10001},
    {"rule": "diversify", "by": None, "strength": 0.5},
    {"rule": "min_score"},
    {"rule": "min_score", "score": None},
    {"rule": "min_score", "score": -1e39},
]


@pytest.fixture(scope="module")
def catalog():
    catalog = _stamp.Catalog("integers")
    catalog.add_integers(np.arange(10))
    return catalog


@pytest.fixture(scope="module")
def validator():
    schema = stamp.rules_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def check(catalog, rules) -> int:
    return _stamp.check_rules(json.dumps(rules), catalog, ["brand", "colour"], ["available", "price"])


@pytest.mark.parametrize("rule", GOOD, ids=str)
def test_schema_and_parser_take(rule, validator, catalog):
    validator.validate([rule])
    check(catalog, [rule])


@pytest.mark.parametrize("rule", BAD, ids=str)
def test_schema_and_parser_refuse(rule, validator, catalog):
    assert not validator.is_valid([rule])
    with pytest.raises(ValueError, match=r"^rules\[1\]"):
        check(catalog, [GOOD[0], rule])


def test_every_type_is_in_the_schema_and_in_the_parser(catalog):
    types = [rule["properties"]["rule"]["const"] for rule in stamp.rules_schema()["$defs"]["rule"]["oneOf"]]
    assert set(types) == {rule["rule"] for rule in GOOD}
    with pytest.raises(ValueError) as refused:
        check(catalog, [{"rule": "?"}])
    assert str(refused.value).split("expected one of ")[1].split(", ") == types


def test_what_only_a_catalog_can_tell(validator, catalog):
    rules = [{"rule": "price_band", "attribute": "price", "from": 1, "to": 0.5}]  # no schema compares two keys
    validator.validate(rules)
    with pytest.raises(ValueError, match=r"rules\[0\]\.to is 0.5, expected a number of from, 1, or more"):
        check(catalog, rules)
    with pytest.raises(ValueError, match=r"rules\[0\]\.attribute is 'colr', expected one of brand, colour"):
        check(catalog, [{"rule": "same_value", "attribute": "colr"}])
    with pytest.raises(ValueError, match=r"rules\[0\]\.products\[0\] is '1', expected an integer"):
        check(catalog, [{"rule": "pin", "products": ["1"]}])
    assert check(catalog, [{"rule": "pin", "products": [3, 10, 11]}, {"rule": "only_products", "products": [12]}]) == 3


def test_examples_of_the_documentation(validator):
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "rules.md").read_text(encoding="utf-8"), re.DOTALL)
    examples = [json.loads(block) for block in blocks]
    lists = [example for example in examples if isinstance(example, list)]
    files = [example for example in examples if "zones" in example]
    assert lists and files
    for file in files:
        validator.validate(file)
        release_of(_stamp.Catalog("integers"), file)
    catalog = _stamp.Catalog("strings")
    for rules in lists:
        validator.validate(rules)
        _stamp.check_rules(json.dumps(rules), catalog, ["brand", "collection"], ["available", "price"])


def release_of(catalog, rules) -> _stamp.Release:
    """Of a bundle without models that has this rules file."""
    V = len(catalog)
    codes, prices = np.full(V, -1, np.int32), np.ones(V, np.float32)
    attributes = [("brand", codes, []), ("colour", codes, []), ("available", prices), ("price", prices)]
    return _stamp.Release(_stamp.Bundle(catalog, [0] * V, attributes, [], [], json.dumps(rules)))


def test_documents(validator, catalog):
    assert importlib.resources.files("stamp.serving").joinpath("rules.schema.json").is_file()
    for good in [
        [],
        GOOD,
        {},
        {"build": FIXED},
        {"zones": {"home": {}, "product page": {"k": 12, "history": 1.0, "rules": GOOD}}},
    ]:
        validator.validate(good)
        if isinstance(good, dict):
            release_of(catalog, good)
    for bad in [
        "exclude_seen",
        GOOD[0],
    ]:
        assert not validator.is_valid(bad), bad
    for bad in [
        {"rules": []},
        {"build": {}},
        {"build": [{"rule": "?"}]},
        *({"build": [FIXED[0], rule]} for rule in GOOD if rule not in FIXED),
        {"zones": []},
        {"zones": {"": {}}},
        {"zones": {"home": []}},
        {"zones": {"home": {"k": 0}}},
        {"zones": {"home": {"k": 1.5}}},
        {"zones": {"home": {"k": "1"}}},
        {"zones": {"home": {"history": 0}}},
        {"zones": {"home": {"rule": []}}},
        {"zones": {"home": {"rules": [{"rule": "pin"}]}}},
    ]:
        assert not validator.is_valid(bad), bad
        with pytest.raises(ValueError, match=r"^(rules.json|zones|build)"):
            release_of(catalog, bad)


# The oracle: ten products "a" to "j", the first eight of them candidates with scores 8 to 1.
IDS = "abcdefghij"
SHOP = Shop(
    ids=IDS,
    texts={"colour": ["red", "blue"] * 5, "brand": [None, "x", "x", "y", None, "x", "y", "7", "x", None]},
    numbers={
        "price": [10, 20, None, 5, 40, 15, float("nan"), 10, 8, 1],
        "available": [1, 0, 1, None, 1, 1, 1, 1, 1, 1],
    },
)


def oracle(rules, k=8, **options):
    visit = Visit(**{name: options.pop(name) for name in list(options) if name in Visit.__dataclass_fields__})
    scores = options.pop("scores", np.arange(8, 0, -1, dtype=np.float32))
    answer = recommend(SHOP, range(8), scores, rules, visit, k, **options)
    return "".join(IDS[row] for row, _ in answer)


def test_oracle_exclusions():
    assert oracle([]) == "abcdefgh"
    assert oracle([], k=3) == "abc"
    assert oracle([], exclude=[0, 2], only=[0, 1, 2, 3, 9]) == "bd"
    assert oracle([{"rule": "exclude_products", "products": ["b", "zz"]}], k=3) == "acd"
    assert oracle([{"rule": "only_products", "products": ["h", "b", "j"]}]) == "bh"
    assert oracle([{"rule": "exclude_values", "attribute": "brand", "values": ["x", 7]}]) == "adeg"
    assert oracle([{"rule": "only_values", "attribute": "brand", "values": ["x", 7]}]) == "bcfh"
    assert oracle([{"rule": "only_available"}]) == "acefgh"
    assert oracle([{"rule": "same_value", "attribute": "brand"}], anchor=8) == "bcf"
    assert oracle([{"rule": "different_value", "attribute": "brand"}], anchor=8) == "adegh"
    assert oracle([{"rule": "same_value", "attribute": "brand"}], anchor=9) == "abcdefgh"
    assert oracle([{"rule": "same_value", "attribute": "brand"}]) == "abcdefgh"
    assert oracle([{"rule": "price_band", "attribute": "price", "from": 0.5, "to": 1.5}], anchor=0) == "adfh"
    assert oracle([{"rule": "price_band", "attribute": "price", "from": 0.5, "to": 1.5}], anchor=6) == "abcdefgh"
    assert oracle([{"rule": "exclude_seen"}, {"rule": "exclude_bought"}], seen=[0, 1], bought=[1, 7]) == "cdefg"


def test_oracle_order():
    blue = {"rule": "boost", "attribute": "colour", "values": ["blue"], "by": 1.5}
    assert oracle([blue]) == "badcfehg"
    assert oracle([{**blue, "by": 2}] * 2) == "bdafcheg"
    assert oracle([{**blue, "by": -9}]) == "acegbdfh"
    assert oracle([], scores=np.zeros(8, np.float32)) == "abcdefgh"
    assert oracle([{"rule": "min_score", "score": 6}, {"rule": "min_score", "score": 3}]) == "abc"
    assert oracle([{"rule": "min_score", "score": 6}], min_score=False) == "abcdefgh"
    assert oracle([blue, {"rule": "min_score", "score": 6}]) == "badc"


def test_oracle_limits_and_pins():
    limit = {"rule": "limit", "attribute": "colour", "max": 2}
    assert oracle([limit]) == "abcd"
    assert oracle([{"rule": "limit", "attribute": "brand", "max": 1}]) == "abdeh"
    assert (
        oracle([{"rule": "pin", "products": ["j", "f"]}, {"rule": "pin", "products": ["f", "zz", "i"]}], k=5) == "jfiab"
    )
    assert oracle([{"rule": "pin", "products": ["e", "g", "c"]}, limit], k=5) == "egcbd"
    assert (
        oracle([{"rule": "pin", "products": ["e", "h"]}, {"rule": "exclude_products", "products": ["e"]}], k=2) == "ha"
    )
    assert oracle([{"rule": "pin", "products": ["e", "h"]}], k=1) == "e"


def test_oracle_diversify():
    by_colour = {"rule": "diversify", "by": "colour", "strength": 0.9}
    # Red and blue are there after the first two; from then on the score decides.
    assert oracle([by_colour]) == "abcdefgh"
    assert oracle([{"rule": "pin", "products": ["c"]}, by_colour], k=4) == "cbad"
    assert oracle([{"rule": "pin", "products": ["c"]}, {**by_colour, "pool": 1}], k=4) == "cabd"
    # Two directions: a to d point one way, e to h another, opposite ones count as unlike.
    embeddings = np.array([[1, 0]] * 4 + [[0, 2]] * 3 + [[-1, 0]], np.float32)
    by_embedding = {"rule": "diversify", "by": "embedding", "strength": 1}
    assert oracle([by_embedding], embeddings=embeddings) == "aehbcdfg"
    assert oracle([by_embedding]) == "abcdefgh"
    assert oracle([{**by_embedding, "strength": 0}], embeddings=embeddings) == "abcdefgh"
    assert (
        oracle([by_embedding, {"rule": "diversify", "by": "colour", "strength": 0}], embeddings=embeddings)
        == "abcdefgh"
    )
    # Relevance 1, 6/7, …: e is worth 0.5 · 3/7, b 0.5 · 6/7 - 0.5.
    assert oracle([{**by_embedding, "strength": 0.5}], embeddings=embeddings, k=3) == "aeh"
    limit = {"rule": "limit", "attribute": "colour", "max": 2}
    assert oracle([by_embedding, limit], embeddings=embeddings) == "aehb"
