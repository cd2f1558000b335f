"""Open Inference Protocol and Vertex AI: clients of these get what :predict answers."""

import pytest
from serving import Server, event, ids

EVENTS = ["sku-00010", "sku-00011", "sku-00040"]


def tensor(name="events", datatype="BYTES", data=EVENTS):
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


@pytest.fixture
def client(server):
    """NVIDIA's own, for Triton: it speaks the protocol and knows nothing of us."""
    import tritonclient.http as http

    client = http.InferenceServerClient(f"127.0.0.1:{server.port}")
    yield client
    client.close()


@pytest.mark.parametrize("zone", ["home", "product_page", "default"])
def test_a_client_of_the_protocol_gets_the_list_of_predict(server, client, zone):
    import numpy as np
    import tritonclient.http as http

    truth = server.predict(zone, events=EVENTS, k=3, params={"returnScore": True}).json
    events = http.InferInput("events", [1, len(EVENTS)], "BYTES")
    events.set_data_from_numpy(np.array([EVENTS], dtype=object), binary_data=False)
    k = http.InferInput("k", [1], "INT64").set_data_from_numpy(np.array([3]), binary_data=False)
    answer = client.infer(zone, [events, k], request_id="mine")
    assert answer.as_numpy("items").tolist() == [result["id"] for result in truth["results"]]
    assert answer.as_numpy("scores").tolist() == pytest.approx([r["metadata"]["score"] for r in truth["results"]])
    assert answer.as_numpy("path").tolist() == [truth["path"]]
    said = answer.get_response()
    assert (said["model_name"], said["model_version"], said["id"]) == (zone, truth["release"], "mine")
    only = client.infer(zone, [events], outputs=[http.InferRequestedOutput("path", binary_data=False)])
    assert [output["name"] for output in only.get_response()["outputs"]] == ["path"]


def test_what_a_client_asks_before(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("home") and client.is_model_ready("default") and not client.is_model_ready("nowhere")
    assert client.get_server_metadata()["name"] == "stamp-server"
    model = client.get_model_metadata("home")
    assert [(t["name"], t["datatype"], t["shape"]) for t in model["inputs"]] == [
        ("events", "BYTES", [-1]), ("k", "INT64", [1]),
    ]  # fmt: skip
    assert [t["name"] for t in model["outputs"]] == ["items", "scores", "path"]


def test_a_client_is_told_what_is_wrong(client):
    import numpy as np
    import tritonclient.http as http
    from tritonclient.utils import InferenceServerException

    events = http.InferInput("event", [1], "BYTES")
    events.set_data_from_numpy(np.array(["x"], dtype=object), binary_data=False)
    with pytest.raises(
        InferenceServerException, match='inputs\\[0\\]: has the name "event"; "events" or "k" is expected'
    ):
        client.infer("home", [events])
    with pytest.raises(InferenceServerException, match='there is no "nowhere"; there are "home"'):
        client.infer("nowhere", [http.InferInput("events", [0], "BYTES").set_data_from_numpy(
            np.array([], dtype=object), binary_data=False)])  # fmt: skip
    with pytest.raises(InferenceServerException, match="there is nothing at /v2/repository/index"):
        client.get_model_repository_index()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"inputs": [tensor(datatype="INT64")]}, 'inputs[0]: has the datatype "INT64"; BYTES is expected'),
        ({"inputs": [tensor() | {"shape": [2]}]}, "inputs[0]: has 3 values; 2 by its shape"),
        ({"inputs": [tensor(data=[1])]}, "inputs[0].data[0]: 1 is a number; a string is expected"),
        ({"inputs": [tensor() | {"parameters": {"binary_data_size": 30}}]}, "tensors are expected in the JSON"),
        (
            {"inputs": [tensor(), tensor("k", "INT64", [0])]},
            "inputs[1].data[0]: 0 is a number; an integer from 1 to 100",
        ),
        ({"inputs": [tensor()], "outputs": [{"name": "rank"}]}, 'outputs[0].name: there is no output "rank"'),
        ({"inputs": [tensor()], "model": "home"}, "model: there is no such key"),
        ({"inputs": []}, '"inputs" has no "events"'),
        ([], "body: is an array"),
    ],
)
def test_errors_are_of_the_protocol(server, body, says):
    reply = server.post("/v2/models/home/infer", body)
    assert reply.status == 400 and says in reply.json["error"]


def test_a_zone_whose_name_is_escaped(server):
    assert server.get("/v2/models/ho%6De", admin=False).json["name"] == "home"
    missing = server.get("/v2/models/%FF/ready", admin=False)
    assert missing.status == 404 and "\ufffd" in missing.json["error"]  # and is UTF-8


# ---- Vertex AI


def vertex(server: Server, *instances, **parameters):
    body = {"instances": list(instances), **({"parameters": parameters} if parameters else {})}
    return server.post("/vertex/predict", body)


def test_instances_are_lists_of_predict(server):
    server.write("vertex-1", *EVENTS)
    server.write("vertex-2", "sku-00050")
    answer = vertex(
        server,
        {"zone": "home", "userEvent": {"visitorId": "vertex-1"}},
        {"zone": "home", "userEvent": {"visitorId": "vertex-2"}, "k": 2},
        {"events": EVENTS, "exclude": ["sku-00000"], "params": {"returnScore": True}},
        zone="product_page",
        k=3,
    ).json["predictions"]
    truths = [
        server.predict("home", userEvent={"visitorId": "vertex-1"}, k=3),
        server.predict("home", userEvent={"visitorId": "vertex-2"}, k=2),
        server.predict("product_page", events=EVENTS, exclude=["sku-00000"], params={"returnScore": True}, k=3),
    ]
    for got, truth in zip(answer, truths, strict=True):
        assert got | {"attributionToken": ""} == truth.json | {"attributionToken": ""}


def test_one_bad_instance_fails_alone(server):
    good, bad = vertex(server, {"events": EVENTS}, {"zone": "nowhere"}).json["predictions"]
    assert good["results"] and bad["error"]["code"] == 404
    assert vertex(server, {"zone": "nowhere"}).status == 404
    assert "instances[1].k: 0" in vertex(server, {}, {"k": 0}).error
    assert '"instances" has none' in vertex(server).error


def test_the_environment_of_a_container(bundle, tmp_path):
    environment = {
        "AIP_HTTP_PORT": "0", "AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict",
        "AIP_HEALTH_ROUTE": "/v1/endpoints/1/deployedModels/2", "AIP_STORAGE_URI": str(bundle),
    }  # fmt: skip
    server = Server({"visits": {"store": "none"}, "http": {"port": 1}}, tmp_path / "c.json", environment)
    try:
        assert "http://0.0.0.0:" in server.log[-1]  # Vertex AI comes from outside
        assert server.get(environment["AIP_HEALTH_ROUTE"], admin=False).status == 200
        reply = server.post(environment["AIP_PREDICT_ROUTE"], {"instances": [{"zone": "home", "events": EVENTS}]})
        assert [r["id"] for r in reply.json["predictions"][0]["results"]] == ids(server.predict("home", events=EVENTS))
        assert server.post("/vertex/predict", {"instances": [{}]}).status == 404
    finally:
        server.end()


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"AIP_STORAGE_URI": "gs://shop/bundle"}, 'AIP_STORAGE_URI: "gs://shop/bundle" cannot be read from here'),
        ({"AIP_HTTP_PORT": "none"}, "AIP_HTTP_PORT, which stands for http.port"),
        ({"AIP_PREDICT_ROUTE": "predict"}, 'vertex.predict_route: "predict" cannot be; a path'),
        ({"AIP_PREDICT_ROUTE": "/vertex/health"}, "vertex.health_route"),
    ],
)
def test_an_environment_that_cannot_be(bundle, tmp_path, environment, says):
    with pytest.raises(RuntimeError) as error:
        Server({"bundle": str(bundle), "visits": {"store": "none"}}, tmp_path / "c.json", environment)
    assert says in str(error.value)


def test_of_a_userevent(server):
    """The visitor's own events and what is looked at now, as in :predict."""
    server.write("vertex-3", EVENTS[0])
    asked = event("vertex-3", EVENTS[1])
    [prediction] = vertex(server, {"zone": "home", "userEvent": asked}).json["predictions"]
    assert [r["id"] for r in prediction["results"]] == ids(server.predict("home", userEvent=asked))
