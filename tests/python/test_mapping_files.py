"""Mappings as JSON files: strict keys, errors with the path of the key, and a schema that says the same."""

import importlib.resources
import json

import jsonschema
import pytest

from raw_files import write_csv, write_json_lines
from stamp.data.sources.mapping_files import mapping_schema, read_mapping
from stamp.data.sources.opening import open_events

GOOD = {
    "format": 1,
    "name": "our clicks",
    "visitor_id": ["cookie", "customer"],
    "item_id": "sku",
    "item_ids": "text",
    "time": "clicked",
    "time_zone": "Europe/Berlin",
    "event_type": "kind",
    "event_types": {"look": "view", "buy": "order"},
    "separator": "|",
}


def test_a_file_maps_columns_that_nothing_fits(duck, tmp_path):
    rows = [
        ("a", "", "007", "2026-03-29 03:30:00", "look"),
        ("", "b", "8", "2026-10-25 02:30:00", "buy"),
        ("a", "b", "9", "2026-01-01", "?"),
    ]
    write_csv(tmp_path / "clicks.csv", ("cookie", "customer", "sku", "clicked", "kind"), rows, delimiter="|")
    (tmp_path / "mapping.json").write_text(json.dumps(GOOD))
    opened = open_events(tmp_path / "clicks.csv", duck, mapping=tmp_path / "mapping.json")
    columns = ("visitor_id", "item_id", "time_us", "event_type", "raw_event_type")
    assert sorted(map(tuple, (row.values() for row in duck.rows(opened.events.select(*columns)).to_pylist()))) == [
        ("a", "007", 1774747800000000, "view", "look"),  # 01:30 in UTC: the clock has just gone forward
        ("a", "9", 1767222000000000, None, "?"),
        ("b", "8", 1792888200000000, "order", "buy"),  # 00:30 in UTC: the first of two such hours
    ]
    assert opened.mapping.name == "our clicks"


def test_a_mapping_reaches_into_nested_columns(duck, tmp_path):
    rows = [
        {"who": {"id": 5}, "basket": [{"sku": "x", "n": 2}, {"sku": "y"}], "at": 1767225600},
        {"who": {"id": 6}, "basket": [], "at": 1767225601},
    ]
    write_json_lines(tmp_path / "clicks.jsonl", rows)
    mapping = read_mapping({
        "format": 1, "visitor_id": "who.id", "item_id": "basket.sku", "quantity": "basket.n", "time": "at",
        "unnest": "basket", "columns": {
            "who": "struct<id: int64>", "basket": "array<struct<sku: string, n: int64>>", "at": "int64",
        },
    })  # fmt: skip
    found = duck.rows(open_events(tmp_path / "clicks.jsonl", duck, mapping=mapping).events).to_pylist()
    assert sorted((row["visitor_id"], row["item_id"] or "", row["quantity"], row["time_us"]) for row in found) == [
        ("5", "x", 2, 1767225600000000),
        ("5", "y", None, 1767225600000000),
        ("6", "", None, 1767225601000000),  # of no product, which is a fault of the row
    ]


BAD = [
    ({"visitor": "a"}, r"mapping: the mapping has the key 'visitor', expected some of format, visitor_id"),
    ({"format": 2}, r"mapping: format is 2, expected 1"),
    ({"item_id": None}, r"mapping: item_id is None, expected the name of a column or a list of such names"),
    ({"item_id": ["a", ""]}, r"mapping: item_id\[1\] is '', expected a name"),
    ({"visitor_id": ["a", 1]}, r"mapping: visitor_id\[1\] is 1, expected a name"),
    (
        {"event_types": {"look": "seen"}},
        r"mapping: our clicks: event_types\['look'\] is 'seen', expected one of view, cart",
    ),
    ({"event_types": ["look"]}, r"mapping: event_types is \['look'\], expected an object"),
    ({"time_unit": "h"}, r"mapping: our clicks: time_unit is 'h', expected one of s, ms, us, ns"),
    ({"item_ids": "float"}, r"mapping: our clicks: item_ids is 'float', expected one of as they are, integer, text"),
    ({"names": "a,b"}, r"mapping: names is 'a,b', expected .* a list of such names"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_errors_have_the_path_of_the_key(change, message):
    with pytest.raises(ValueError, match=message):
        read_mapping({**GOOD, **change})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**GOOD, **change}, mapping_schema())


@pytest.mark.parametrize("missing", ["format", "time", "item_id", "visitor_id", "event_types"])
def test_what_is_needed_is_said(missing):
    given = {key: value for key, value in GOOD.items() if key != missing}
    with pytest.raises(ValueError, match=f"^mapping: .*{missing}"):
        read_mapping(given)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(given, mapping_schema())


def test_types_are_those_of_ibis():
    with pytest.raises(ValueError, match=r"mapping: columns.basket is 'list of things', which is no type of Ibis"):
        read_mapping({**GOOD, "columns": {"basket": "list of things"}})


def test_files_that_are_no_mappings_are_named(tmp_path):
    (tmp_path / "mapping.json").write_text('{"format": 1, "format": 1}')
    with pytest.raises(ValueError, match=r"mapping.json: not JSON: the key 'format' stands twice"):
        read_mapping(tmp_path / "mapping.json")
    with pytest.raises(ValueError, match=r"nowhere.json"):
        read_mapping(tmp_path / "nowhere.json")


def test_the_schema_is_published_and_takes_what_is_good():
    jsonschema.Draft202012Validator.check_schema(mapping_schema())
    jsonschema.validate(GOOD, mapping_schema())
    assert read_mapping(GOOD).visitor_id == ("cookie", "customer")
    assert importlib.resources.files("stamp.data.sources").joinpath("mapping.schema.json").is_file()
