"""openapi.json against the server, both ways: what it names is taken, what the server knows is named, bounds are bounds,
and answers are as it says."""

import json
import pathlib
import re

import jsonschema
import openapi_spec_validator
import pytest

SERVER = pathlib.Path(__file__).parents[1]
DOCUMENT = json.loads((SERVER / "openapi.json").read_text())
UNKNOWN_KEY = "there is no such key"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH")


def resolved(schema: dict) -> dict:
    """Without $ref and allOf at its top."""
    if "$ref" in schema:
        target = DOCUMENT
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return resolved(target) | {k: v for k, v in schema.items() if k != "$ref"}
    if "allOf" in schema:
        merged = {}
        for part in schema["allOf"]:
            merged |= resolved(part)
        return merged
    return schema


def closed(schema):
    """Objects may have keys that the schema does not name; those of our server have none."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {key: closed(value) for key, value in schema.items()}
    if isinstance(shut.get("properties"), dict) and shut.get("type") == "object":
        shut.setdefault("additionalProperties", False)
    return shut


def validate(value, schema: dict, *, close: bool = True) -> None:
    schema = {**schema, "components": DOCUMENT["components"]}
    schema = closed(schema) if close else schema
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)


def operations():
    for path, item in DOCUMENT["paths"].items():
        for method in item.keys() & {"get", "post"}:
            yield path, method.upper(), item[method]


def media(part: dict) -> dict:
    return resolved(part)["content"]["application/json"]


def request_schema(path: str) -> dict:
    return media(DOCUMENT["paths"][path]["post"]["requestBody"])["schema"]


POSTS = [path for path, method, _ in operations() if method == "POST"]
VIEW = {"eventType": "detail-page-view", "visitorId": "v"}
EVENTS = {"name": "events", "shape": [1], "datatype": "BYTES", "data": ["sku-00010"]}
K = {"name": "k", "shape": [1], "datatype": "INT64", "data": [2]}
# The least of each request: what the server needs, and nothing beside.
LEAST = {
    "/v1/servingConfigs/{zone}:predict": {},
    "/v1/servingConfigs:batchPredict": {"requests": [{}]},
    "/v1/userEvents:write": VIEW,
    "/v1/userEvents:import": {"inputConfig": {"userEventInlineSource": {"userEvents": [VIEW]}}},
    "/v1/products:setInventory": {"products": [{"id": "sku-00010", "availability": "IN_STOCK"}]},
    "/v1/userEvents:purge": {"filter": 'visitorId = "nobody"', "force": True},
    "/v2/models/{zone}/infer": {"inputs": [EVENTS]},
    "/vertex/predict": {"instances": [{}]},
}
PRODUCT = {"product": {"id": "sku-00010"}}


def places(schema: dict, body, way=()):
    """(way, schema, body that holds an object there) for every object of a request whose keys are named."""
    schema = resolved(schema)
    if "properties" in schema:
        yield way, schema, body
        for key, part in schema["properties"].items():
            yield from places(part, with_value(body, (*way, key), MORE.get(key)), (*way, key))
    elif schema.get("type") == "array":
        for item in resolved(schema["items"]).get("anyOf", [schema["items"]]):
            wanted = resolved(item)
            if "properties" not in wanted or "rule" in wanted["properties"]:  # rules are the library's
                continue
            name = wanted["properties"].get("name", {}).get("const")
            if name:  # one of several tensors
                body = with_value(body, way, [EVENTS, K] if name == "k" else [EVENTS])
                yield from places(item, body, (*way, 1 if name == "k" else 0))
            else:
                yield from places(item, body, (*way, 0))


# What stands where LEAST has nothing, so that there is an object to look into.
MORE = {
    "userEvent": VIEW, "productDetails": [PRODUCT], "params": {}, "parameters": {}, "priceInfo": {"price": 5}, "outputs": [{"name": "items"}],
}  # fmt: skip


def with_value(body, way, value):
    """A copy that has `value` there, unless something stands there already (or value is None)."""
    body = json.loads(json.dumps(body))
    if value is not None:
        at = body
        for part in way[:-1]:
            at = at[part]
        if isinstance(at, list) or way[-1] not in at:
            at[way[-1]] = value
        elif isinstance(value, list) and len(value) > len(at[way[-1]]):
            at[way[-1]] = value
    return body


def replaced(body, way, value):
    body = json.loads(json.dumps(body))
    at = body
    for part in way[:-1]:
        at = at[part]
    at[way[-1]] = value
    return body


def text(way) -> str:
    """As messages write it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in way).lstrip(".")


def at_home(path: str) -> str:
    return path.replace("{zone}", "home")


PLACES = [(path, *place) for path in POSTS for place in places(request_schema(path), LEAST[path])]


def known_names() -> set[str]:
    """Whatever could be a key in the handlers' sources, and all that the document names."""
    names = set(re.findall(r'"(\w[\w-]*)":', json.dumps(DOCUMENT)))
    for file in ("predict_api", "events_api", "events", "inference_api", "inventory_api"):
        names |= set(re.findall(r'"([A-Za-z_][\w-]*)"', (SERVER / f"src/{file}.cpp").read_text()))
    return names


def test_the_file_is_openapi():
    openapi_spec_validator.validate(DOCUMENT)
    assert len(PLACES) == 43, [(path, way) for path, way, *_ in PLACES]


def test_it_is_served_as_this_server_is_configured(server, start):
    served = server.get("/openapi.json", admin=False)
    assert served.status == 200 and served.json == DOCUMENT
    other = start(predict={"max_k": 7}, vertex={"predict_route": "/p", "health_route": "/h"})
    document = other.get("/openapi.json", admin=False).json
    assert document["components"]["schemas"]["K"]["maximum"] == 7
    assert other.predict(k=7).status == 200 and other.predict(k=8).status == 400
    assert "/p" in document["paths"] and "/h" in document["paths"] and "/vertex/predict" not in document["paths"]
    assert other.post("/p", {"instances": [{}]}).status == 200 and other.get("/h", admin=False).status == 200


def test_paths_are_those_of_the_server(server):
    for path, _, _ in operations():
        documented = {method.upper() for method in DOCUMENT["paths"][path].keys() & {"get", "post"}}
        if "GET" in documented:
            documented.add("HEAD")
        for method in METHODS:
            reply = server.request(method, at_home(path), {} if method != "GET" else None)
            if method in documented:
                assert reply.status not in (404, 405), (path, method)
            else:
                assert reply.status == 405 and reply.headers["Allow"] == ", ".join(sorted(documented)), (path, method)
    # And the other way: what could be a path in the sources is one of the document's, or in front of one, or its end.
    sources = "".join((SERVER / f"src/{file}").read_text() for file in ("routes.cpp", "config.h"))
    for literal in re.findall(r'"([/:][\w/:.]+)"', sources):
        assert any(path.startswith(literal) or path.endswith(literal) for path in DOCUMENT["paths"]), literal


@pytest.mark.parametrize(
    ("path", "way", "schema", "body"), PLACES, ids=lambda x: text(x) if isinstance(x, tuple) else ""
)
def test_keys_are_those_of_the_server(server, path, way, schema, body):
    assert schema["additionalProperties"] is False
    for name in known_names() | {"no_such_key"}:
        said = server.post(at_home(path), replaced(body, (*way, name), None)).body.decode()
        is_known = f"{text((*way, name))}: {UNKNOWN_KEY}" not in said
        assert is_known == (name in schema["properties"]), (name, said)


def good_value(schema: dict):
    schema = resolved(schema)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][-1]
    if "anyOf" in schema:
        return good_value(schema["anyOf"][0])
    kind = schema.get("type", "object")
    if schema.get("format") == "date-time":
        return "2026-11-01T00:00:00Z"
    if "visitorId *" in schema.get("pattern", ""):
        return 'visitorId = "nobody"'
    return {
        "string": "x" * max(1, schema.get("minLength", 1)), "integer": schema.get("minimum", 1), "boolean": True,
        "array": [], "object": {},
    }[kind]  # fmt: skip


def values(schema: dict):
    """At and beyond what a schema says, and of every type."""
    schema = resolved(schema)
    yield from (None, 2.5, 7, "text", True, [], {})
    yield from [schema["const"]] if "const" in schema else schema.get("enum", ())
    for one in schema.get("anyOf", ()):
        yield from values(one)
    if "minimum" in schema:
        yield from (schema["minimum"], schema["minimum"] - 1)
    if "maximum" in schema:
        yield from (schema["maximum"], schema["maximum"] + 1)
    if schema.get("format") == "date-time":
        yield from ("2026-11-01T00:00:00Z", "2026-11-01T01:00:00.5+01:00", "2026-11-01", "2026-13-01T00:00:00Z", "")
    elif schema.get("type") == "string":
        least, most = schema.get("minLength", 0), schema.get("maxLength", 0)
        yield from ("x" * n for n in {least, max(0, least - 1), most, most + 1})
        yield "a\0b"
        if "visitorId" in schema.get("pattern", ""):
            yield from (f'visitorId = "{"x" * n}"' for n in (0, 1, 128, 129))
            yield from ('eventTime < "2001-01-01T00:00:00Z"', 'eventTime > "2001-01-01T00:00:00Z"', 'visitorId = "a"b"')
    elif schema.get("type") == "array":
        one = sample(schema["items"])
        least, most = schema.get("minItems", 0), schema.get("maxItems", 2)
        yield from ([one] * n for n in {least, max(0, least - 1), most, most + 1})


def is_right(value, schema: dict) -> bool:
    if isinstance(value, list) and len(value) > 1000:  # of one good value, many times: that would take long
        return len(value) <= resolved(schema)["maxItems"]
    try:
        validate(value, schema, close=False)
    except jsonschema.ValidationError:
        return False
    return True


def sample(schema: dict):
    schema = resolved(schema)
    if "properties" in schema and "required" in schema:
        wanted = schema["required"] + schema.get("then", {}).get("required", [])
        return {key: sample(schema["properties"][key]) for key in wanted}
    if isinstance(schema.get("type"), list):
        return "x"
    return good_value(schema)


@pytest.fixture(scope="module")
def roomy(bundle, tmp_path_factory):
    """Of no limit that comes before those of the document."""
    from serving import Server

    http = {"max_body_bytes": 1 << 24, "max_import_bytes": 1 << 24}
    config = {"bundle": str(bundle), "visits": {"store": "memory"}, "http": http, "predict": {"deadline_ms": 20000}}
    path = tmp_path_factory.mktemp("roomy")
    server = Server({**config, "inventory": {"path": str(path / "inventory.sqlite")}}, path / "c.json")
    yield server
    server.end()


# Keys whose values depend on others, and have tests of their own.
ELSEWHERE = {("inputs",), ("inputs", 0, "shape"), ("inputs", 0, "data"), ("inputs", 1, "shape"), ("inputs", 1, "data")}


@pytest.mark.parametrize(
    ("path", "way", "schema", "body"), PLACES, ids=lambda x: text(x) if isinstance(x, tuple) else ""
)
def test_types_and_bounds_are_those_of_the_server(roomy, path, way, schema, body):
    for key, part in schema["properties"].items():
        if (*way, key) in ELSEWHERE or resolved(part).get("properties") or key == "rules":
            continue
        for value in values(part):
            if isinstance(value, int) and "ProductId" in str(part):
                continue  # of a catalog of integers
            right = is_right(value, part)
            reply = roomy.post(at_home(path), replaced(body, (*way, key), value))
            case = f"{path} {text((*way, key))} = {str(value)[:80]}: {reply.body[:300]}"
            if right and key == "zone":
                assert "zone: there is no" in reply.body.decode(), case
            else:
                assert reply.status == (200 if right else 400), case
    for key in schema.get("required", ()):
        lacking = json.loads(json.dumps(body))
        at = lacking
        for step in way:
            at = at[step]
        del at[key]
        assert roomy.post(at_home(path), lacking).status == 400, (path, way, key)


def test_rules_are_those_of_the_library():
    library = json.loads((SERVER.parents[1] / "bindings/stamp/serving/rules.schema.json").read_text())
    named = set(re.findall(r'"rule": \{"const": "(\w+)"', json.dumps(library)))
    assert set(DOCUMENT["components"]["schemas"]["Rules"]["items"]["properties"]["rule"]["enum"]) == named


def test_tensors(server):
    infer = lambda **tensor: server.post("/v2/models/home/infer", {"inputs": [EVENTS | tensor]}).status  # noqa: E731
    two = ["sku-00010", "sku-00011"]
    assert infer(shape=[2], data=two) == infer(shape=[1, 2], data=two) == infer(shape=[1, 2], data=[two]) == 200
    assert infer(shape=[0], data=[]) == 200
    for shape in ([], [1], [3], [2, 1], [1, 1, 2], [-1], ["2"], 2):
        assert infer(shape=shape, data=two) == 400, shape
    with_k = lambda **tensor: server.post("/v2/models/home/infer", {"inputs": [EVENTS, K | tensor]}).status  # noqa: E731
    assert with_k() == with_k(shape=[1, 1], data=[[3]]) == 200
    for tensor in ({"data": [0]}, {"data": [101]}, {"data": ["2"]}, {"data": [2, 2], "shape": [2]}, {"data": []}):
        assert with_k(**tensor) == 400, tensor
    assert server.post("/v2/models/home/infer", {"inputs": [K]}).status == 400


@pytest.mark.parametrize(("path", "method", "operation"), list(operations()))
def test_examples(server, path, method, operation):
    """Those of requests are answered, as the document says; those of answers are as it says."""
    bodies = media(operation["requestBody"])["examples"].values() if method == "POST" else [{"value": None}]
    for example in bodies:
        if method == "POST":
            validate(example["value"], request_schema(path), close=False)
        reply = server.request(method, at_home(path), example["value"])
        assert reply.status == 200, reply.body
        validate(reply.json, media(operation["responses"]["200"])["schema"])
    for status, response in operation["responses"].items():
        content = media(response)
        for example in content.get("examples", {}).values():
            validate(example["value"], content["schema"])
        assert status == "200" and path == "/openapi.json" or content["examples"]


def test_answers_of_every_kind_are_as_it_says(server, start):
    def check(path, body, status=200, by=server):
        reply = by.post(at_home(path).replace("home", "nowhere" if status == 404 else "home"), body)
        assert reply.status == status, reply.body
        response = resolved(DOCUMENT["paths"][path]["post"]["responses"][str(status)])
        validate(reply.json, media(response)["schema"])
        for name, header in response.get("headers", {}).items():
            validate(
                int(reply.headers[name]) if name == "Retry-After" else reply.headers[name], resolved(header)["schema"]
            )
        return reply.json

    predict = "/v1/servingConfigs/{zone}:predict"
    pinned = [{"rule": "pin", "products": ["sku-00100"]}, {"rule": "exclude_seen"}]
    assert "explanation" in check(predict, {"events": ["sku-00010"], "explain": True, "rules": pinned})
    assert "missingIds" in check(predict, {"events": ["gone"], "params": {"returnScore": True}})
    assert "reason" in check(predict, {"only": ["sku-00010"]})
    assert check(predict, {"only": []})["results"] == []
    assert check(predict, {"validateOnly": True})["validateOnly"]
    check(predict, {"k": 0}, 400)
    check(predict, {}, 404)
    check("/v1/servingConfigs:batchPredict", {"requests": [{"zone": "home"}, {"zone": "nowhere"}, {}]})
    check("/vertex/predict", {"instances": [{"zone": "home"}, {"zone": "nowhere"}]})
    check("/vertex/predict", {"instances": [{"zone": "nowhere"}]}, 404)
    check("/vertex/predict", {"instances": [{"zoned": "home"}]}, 400)
    infer = "/v2/models/{zone}/infer"
    check(infer, {"inputs": [EVENTS, K]})
    check(infer, {"inputs": [EVENTS, K]}, 404)
    check(infer, {"inputs": []}, 400)
    small = start(http={"max_body_bytes": 1024, "max_import_bytes": 1024})
    for path in POSTS:
        check(path, {"filter": "x" * 1024}, 413, by=small)
    without = start(visits={"store": "none"})
    for action in ("write", "import", "purge"):
        path = f"/v1/userEvents:{action}"
        check(path, LEAST[path], 501, by=without)
    check("/v1/products:setInventory", LEAST["/v1/products:setInventory"], 501, by=without)
