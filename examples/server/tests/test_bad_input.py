"""What cannot be has a status and says which key, and costs nobody else anything."""

import json

import pytest
from serving import event

PREDICT, WRITE = "/v1/servingConfigs/home:predict", "/v1/userEvents:write"
IMPORT, PURGE = "/v1/userEvents:import", "/v1/userEvents:purge"
VIEW = event("v", "sku-00010")


def import_of(*events):
    return {"inputConfig": {"userEventInlineSource": {"userEvents": list(events)}}}


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/v1/servingConfigs/nowhere:predict", {}, 404, 'zone: there is no "nowhere"; there are "home", "product_page"'),
        ("/v1/nothing", {}, 404, "/v1/nothing"),
        ("/v1/servingConfigs/%FF:predict", {}, 404, 'zone: there is no "\ufffd"'),  # and the answer is UTF-8
        (PREDICT, {"colour": 1}, 400, "colour: there is no such key"),
        (PREDICT, {"userEvent": {"colour": 1}}, 400, "userEvent.colour: there is no such key"),
        (PREDICT, {"params": {"diversity-level": "x"}}, 400, "params.diversity-level"),
        (PREDICT, {"k": 0}, 400, "k: 0 is a number; an integer from 1 to 100 is expected"),
        (PREDICT, {"k": 10000}, 400, "k: 10000"),
        (PREDICT, {"k": 2.5}, 400, "k: 2.5"),
        (PREDICT, {"k": None}, 400, "k: is null"),
        (PREDICT, {"pageSize": "5"}, 400, 'pageSize: "5" is a string'),
        (PREDICT, {"history": -1}, 400, "history: -1"),
        (PREDICT, {"value": -0.1}, 400, "value: -0.1"),
        (PREDICT, {"value": 1.5}, 400, "value: 1.5"),
        (PREDICT, {"tail": 2}, 400, "tail: 2"),
        (PREDICT, {"tail": "much"}, 400, 'tail: "much" is a string'),
        (PREDICT, {"objective": {"order": 1}}, 400, "objective names 'order', expected none but 'click'"),
        (PREDICT, {"objective": {"click": -1}}, 400, "objective.click: -1"),
        (PREDICT, {"objective": {"click": "much"}}, 400, 'objective.click: "much" is a string'),
        (PREDICT, {"objective": {}}, 400, "objective: names nothing"),
        (PREDICT, {"objective": ["click"]}, 400, "objective: is an array; an object is expected"),
        (PREDICT, {"explain": "yes"}, 400, 'explain: "yes" is a string; true or false'),
        (PREDICT, {"events": "sku-00010"}, 400, "events: \"sku-00010\" is a string; an array is expected"),
        (PREDICT, {"events": ["sku-00010", 7]}, 400, "events[1]: 7 is a number; a string is expected"),
        (PREDICT, {"events": [""]}, 400, "events[0]: of 0 bytes"),
        (PREDICT, {"rules": [{"rule": "exclude_everything"}]}, 400, "rules[0]"),
        (PREDICT, {"rules": {"rule": "limit"}}, 400, "rules"),
        (PREDICT, {"userEvent": {"visitorId": ""}}, 400, "userEvent.visitorId: of 0 bytes; 1 to 128"),
        (PREDICT, {"userEvent": {"visitorId": "v" * 129}}, 400, "userEvent.visitorId: of 129 bytes; 1 to 128"),
        (PREDICT, {"userEvent": {"visitorId": "a\0b"}}, 400, "userEvent.visitorId: has a zero byte"),
        (PREDICT, [], 400, "body: is an array; an object is expected"),
        (PREDICT, b"", 400, "body: is empty"),
        (PREDICT, b"{", 400, "body: is no JSON"),
        (PREDICT, b'{"k": 1} {"k": 2}', 400, "body: is no JSON"),
        (PREDICT, b'{"userEvent": {"visitorId": "\xff\xfe"}}', 400, "body: is no JSON"),
        (PREDICT, b'{"rules": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "body: is nested more than 32 deep"),
        ("/v1/servingConfigs:batchPredict", {"requests": []}, 400, "\"requests\" names no zone"),
        ("/v1/servingConfigs:batchPredict", {"requests": [{"zone": "home", "k": 0}]}, 400, "requests[0].k: 0"),
        (WRITE, {k: v for k, v in VIEW.items() if k != "visitorId"}, 400, "visitorId: is missing"),
        (WRITE, {k: v for k, v in VIEW.items() if k != "eventType"}, 400, "eventType: is missing"),
        (WRITE, VIEW | {"eventTime": 1764300000}, 400, "eventTime: 1764300000 is before the year 2000; milliseconds"),
        (WRITE, VIEW | {"eventTime": "2039-01-01T00:00:00Z"}, 400, "eventTime: 2039-01-01T00:00:00.000Z is in the future"),
        (WRITE, VIEW | {"eventTime": "1970-01-01T00:00:00Z"}, 400, "eventTime: 1970-01-01T00:00:00.000Z is before the year 2000"),
        (WRITE, VIEW | {"eventTime": "yesterday"}, 400, 'eventTime: "yesterday" is no time; RFC 3339'),
        (WRITE, VIEW | {"eventTime": "2026-02-30T00:00:00Z"}, 400, "eventTime"),
        (WRITE, VIEW | {"eventTime": "2026-02-20T00:00:00"}, 400, "eventTime"),
        (WRITE, VIEW | {"productDetails": [{"quantity": 1}]}, 400, 'productDetails[0]: has no "product"'),
        (WRITE, VIEW | {"productDetails": [{"product": {}}]}, 400, 'productDetails[0].product: has no "id"'),
        (IMPORT, {}, 400, "userEvents has no event"),
        (IMPORT, import_of(VIEW, {"eventType": "x"}), 400, "userEvents[1].visitorId: is missing"),
        (PURGE, {"filter": 'visitorId = "v"'}, 400, '"force": true'),
        (PURGE, {"filter": "*", "force": True}, 400, "filter: `visitorId = "),
        (PURGE, {"filter": f'visitorId = "{"v" * 129}"', "force": True}, 400, "filter: names a visitor of 129 bytes; 1 to 128"),
        (PURGE, {"force": True}, 400, '"filter" is missing'),
    ],
)  # fmt: skip
def test_bodies(server, path, body, status, says):
    reply = server.post(path, body)
    assert reply.status == status, reply.body
    assert says in reply.error


def test_a_key_that_stands_twice_counts_once(server):
    requests = json.dumps({"requests": [{"zone": "home"}] * 32})
    reply = server.post("/v1/servingConfigs:batchPredict", f"{requests[:-1]}, {requests[1:]}".encode())
    assert len(reply.json["responses"]) == 32
    products = json.dumps({"productDetails": VIEW["productDetails"] * 100})
    twice = f"{json.dumps(event('twice'))[:-1]}, {products[1:-1]}, {products[1:]}".encode()
    assert server.post(WRITE, twice).status == 200
    before = server.metric("stamp_events_total")
    assert server.post(WRITE, twice).status == 200
    assert server.metric("stamp_events_total") - before == 100


def test_methods_and_content_types(server):
    assert server.request("GET", PREDICT).status == 405
    assert server.request("GET", PREDICT).headers["Allow"] == "POST"
    form = server.post(PREDICT, b"{}", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert form.status == 415 and "application/json" in form.error
    assert server.post(PREDICT, b"{}", headers={"Content-Type": "application/json; charset=utf-8"}).status == 200


def test_ids_of_a_catalog_of_integers(start, shop, tmp_path):
    """Digits in a string are an integer there; anything else is not."""
    import numpy as np

    import stamp

    sessions = stamp.Sessions.from_frame(
        {"session_id": np.repeat(np.arange(100), 3), "item_id": np.tile(np.arange(10, 40), 10)}
    )
    stamp.StampRecommender(device="cpu", dim=8, epochs=1, batch_size=32).fit(sessions, progress=False).save(
        tmp_path / "m"
    )
    stamp.build_bundle({0: tmp_path / "m"}, out=tmp_path / "bundle")
    server = start(bundle=str(tmp_path / "bundle"))
    by_number, by_text = (server.predict(events=events).json for events in ([10, 11], ["10", "11"]))
    assert by_number["results"] == by_text["results"] and by_number["path"] == "anchor"
    assert isinstance(by_number["results"][0]["id"], str)  # as in the Retail API
    assert 'events[0]: "ten" is no integer' in server.predict(events=["ten"]).error
    server.write("v", "10")
    assert server.predict(userEvent={"visitorId": "v"}).json["path"] == "anchor"


def test_keys_of_the_retail_api_that_are_of_no_use_are_passed_over(server):
    rich = event("rich", "sku-00010") | {
        "sessionId": "s", "uri": "https://shop/p", "userInfo": {"userAgent": "x"}, "attributes": {"a": {"numbers": [1]}},
        "experimentIds": ["e"], "pageViewId": "p",
    }  # fmt: skip
    rich["productDetails"][0] |= {"quantity": 2}
    assert server.post(WRITE, rich).status == 200
    assert server.post(PREDICT, {"userEvent": rich, "labels": {"team": "x"}}).status == 200


def test_numbers_read_back_as_they_are(server):
    reply = server.predict("home", events=["sku-00010"], params={"returnScore": True})
    assert all(isinstance(r["metadata"]["score"], float) for r in reply.json["results"])
    assert json.loads(reply.body) == reply.json
