"""HTTP/1.1 as RFC 9112 has it, and clients that do not keep to it."""

import json
import signal
import socket
import time

import pytest
from serving import event

BODY = json.dumps({"events": ["sku-00010"], "k": 2}).encode()


def message(body=BODY, path="/v1/servingConfigs/home:predict", *, headers=(), version="1.1", length=None):
    lines = [f"POST {path} HTTP/{version}", "Host: shop", "Content-Type: application/json", *headers]
    if length is not False:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_all(client: socket.socket) -> bytes:
    """Until the other side closes."""
    data = b""
    while part := client.recv(65536):
        data += part
    return data


def read_one(client: socket.socket) -> tuple[int, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(1)
        assert part, data
        data += part
    status_line, *lines = data.decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = b""
    while len(body) < int(headers.get("content-length", 0)):
        body += client.recv(int(headers["content-length"]) - len(body))
    return int(status_line.split()[1]), headers, body


def test_one_connection_many_requests(server):
    with server.socket() as client:
        for _ in range(3):
            client.sendall(message())
            status, headers, body = read_one(client)
            assert status == 200 and len(json.loads(body)["results"]) == 2 and "connection" not in headers


def test_requests_sent_at_once_are_answered_in_order(server):
    with server.socket() as client:
        client.sendall(b"".join(message(json.dumps({"events": ["sku-00010"], "k": k}).encode()) for k in range(1, 9)))
        assert [len(json.loads(read_one(client)[2])["results"]) for _ in range(8)] == list(range(1, 9))
    with server.socket() as client:
        client.sendall(
            b"".join(
                message(json.dumps({"events": ["sku-00010"], "k": k}).encode(), headers=[f"X-Request-Id: r{k}"])
                for k in range(1, 9)
            )
        )
        assert [read_one(client)[1]["x-request-id"] for _ in range(8)] == [f"r{k}" for k in range(1, 9)]


def test_a_request_in_pieces(server):
    with server.socket() as client:
        for i in range(len(data := message())):
            client.sendall(data[i : i + 1])
        assert read_one(client)[0] == 200


def test_http_1_0_and_closing(server):
    with server.socket() as client:
        client.sendall(message(version="1.0"))
        answer = read_all(client)  # closed without being asked to stay
        assert answer.startswith(b"HTTP/1.0 200") and b"Connection: close" in answer
    with server.socket() as client:
        client.sendall(message(headers=["Connection: close"]))
        assert read_all(client).startswith(b"HTTP/1.1 200")


def test_chunks(server):
    with server.socket() as client:
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:5], BODY[5:])) + b"0\r\n\r\n"
        client.sendall(message(chunks, headers=["Transfer-Encoding: chunked"], length=False))
        assert read_one(client)[0] == 200


def test_continue(server):
    with server.socket() as client:
        head = message(b"", headers=["Expect: 100-continue"], length=len(BODY))
        client.sendall(head)
        assert read_one(client)[0] == 100
        client.sendall(BODY)
        assert read_one(client)[0] == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (message(headers=["Content-Length: 5"]), 400),  # twice, and not the same
        (message(headers=["Transfer-Encoding: chunked"]), 400),  # and a length: whose request is smuggled in?
        (message(length="x"), 400),
        (message(length="-1"), 400),
        (message(b"zz\r\n", headers=["Transfer-Encoding: chunked"], length=False), 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (message(headers=["X: " + "x" * 9000]), 431),
        (message(length=70000), 413),
        (message(path="/v1/userEvents:import", length=5_000_000), 413),
        (message(b"fffff\r\n" + b"x" * 100_000, headers=["Transfer-Encoding: chunked"], length=False), 413),
        (message(b"", length=False), 400),  # a body of no length is empty
    ],
)
def test_what_cannot_be_read(server, data, status):
    with server.socket() as client:
        client.sendall(data)
        answer = read_one(client)
        assert answer[0] == status
        said = json.loads(answer[2])["error"]["message"]
        if status == 413:
            assert ("http.max_import_bytes" if b":import" in data else "http.max_body_bytes") in said
        assert said
        if status != 400 or b"\r\n\r\n{" not in data:
            return
    assert server.predict("home", events=["sku-00010"]).status == 200


def test_after_what_cannot_be_read_the_connection_ends(server):
    with server.socket() as client:
        client.sendall(message(length="x") + message())
        answer = read_all(client)
        assert answer.count(b"\r\n\r\n") == 1 and b"Connection: close" in answer


def test_slow_clients_are_cut(start):
    server = start(http={"request_timeout_ms": 300, "idle_timeout_ms": 300})
    with server.socket() as idle, server.socket() as slow, server.socket() as body:
        began = time.monotonic()
        body.sendall(message()[:-3])
        slow.settimeout(0.05)
        cut = False
        for byte in message() * 100:  # one at a time, for ever: a whole request may not take so long
            try:
                slow.sendall(bytes([byte]))
                if slow.recv(100) == b"":
                    cut = True
            except TimeoutError:
                continue
            except OSError:
                cut = True
            if cut:
                break
        assert cut and read_all(body) == b"" and read_all(idle) == b""
        assert time.monotonic() - began < 15
    assert server.predict("home", events=["sku-00010"]).status == 200


def test_clients_that_leave_take_their_connection_with_them(start):
    server = start()
    for _ in range(200):
        with server.socket() as client:
            client.sendall(message())
    deadline = time.monotonic() + 10
    while server.metric("stamp_http_connections") > 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.metric("stamp_http_connections") == 0
    assert server.metric("stamp_in_flight") == 0


def test_more_connections_than_are_allowed(start):
    server = start(http={"max_connections": 2})
    with server.socket() as one, server.socket() as two:
        one.sendall(message())
        two.sendall(message())
        assert read_one(one)[0] == read_one(two)[0] == 200
        with server.socket() as three:
            assert three.recv(1) == b""
        assert server.get("/readyz").status == 200  # on a port of its own
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with server.socket() as four:
            four.sendall(message())
            try:
                assert read_one(four)[0] == 200
                return
            except (AssertionError, ConnectionError):
                time.sleep(0.01)
    pytest.fail("connections were not given back")


def test_ending_answers_what_is_under_way(start):
    server = start()
    with server.socket() as busy, server.socket() as idle:
        idle.sendall(message())
        assert read_one(idle)[0] == 200
        busy.sendall(message()[:-1])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        assert read_all(idle) == b""  # had nothing to wait for
        busy.sendall(message()[-1:])
        answer = read_all(busy)
        assert answer.startswith(b"HTTP/1.1 200") and b"Connection: close" in answer
    assert server.end() == 0


def test_told_to_end_it_serves_on_until_all_have_heard(start):
    server = start(http={"grace_ms": 1500})
    assert server.get("/v2/health/ready", admin=False).status == server.get("/vertex/health", admin=False).status == 200
    server.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 10
    while server.get("/readyz").status == 200 and time.monotonic() < deadline:
        time.sleep(0.01)
    for path, admin in (("/readyz", True), ("/v2/health/ready", False), ("/vertex/health", False)):
        assert server.get(path, admin=admin).status == 503
    assert server.get("/healthz").status == 200
    assert server.predict("home", events=["sku-00010"]).status == 200
    assert server.end() == 0  # a second signal ends it at once


def test_health_release_and_configuration(server):
    assert server.get("/healthz").status == server.get("/readyz").status == 200
    release = server.get("/release").json
    assert (
        release["release"] == "bundle" and release["zones"] == ["home", "product_page"] and release["products"] == 120
    )
    assert server.get("/config").json["visits"]["store"] == "memory"
    assert server.get("/nothing").status == 404
    assert server.request("POST", "/readyz", {}, admin=True).status == 405


def test_metrics_count(start):
    server = start()
    server.write("v", "sku-00010")
    server.predict("home", userEvent=event("v"))
    server.predict("home", k=0)
    text = server.get("/metrics").body.decode()
    assert server.metric("stamp_lists_total", 'path="anchor"') == 1
    assert server.metric("stamp_events_total") == 1
    assert server.metric("stamp_responses_total", 'status="200"') == 2
    assert server.metric("stamp_responses_total", 'status="400"') == 1
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
