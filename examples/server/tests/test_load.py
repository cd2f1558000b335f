"""The load generator's accounting, against servers whose doings are known."""

import http.server
import json
import os
import pathlib
import subprocess
import threading
import time
from collections import Counter, defaultdict

import pytest
from serving import LOAD


def answer(handler, status: int = 200, body: bytes = b'{"results":[{"id":"1"}]}') -> None:
    handler.wfile.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))


class Peer:
    """Answers with `act(handler, number of the request, its path, its body)`, and remembers what it was asked."""

    def __init__(self, act) -> None:
        self.asked: list[tuple[str, dict]] = []
        self.at_once = self.most_at_once = 0
        lock, peer = threading.Lock(), self

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256  # else a burst of connections waits a second for its SYN to come again

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(peer.asked)
                    peer.asked.append((self.path, body))
                    peer.at_once += 1
                    peer.most_at_once = max(peer.most_at_once, peer.at_once)
                try:
                    act(self, number, self.path, body)
                finally:
                    with lock:
                        peer.at_once -= 1

            def log_message(self, *_):
                pass

        self.server = Listener(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def load(self, *arguments) -> dict:
        command = [LOAD, "--port", self.server.server_port, "--warm", 0, *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def peer():
    peers = []

    def start(act) -> Peer:
        peers.append(Peer(act))
        return peers[-1]

    yield start
    for each in peers:
        each.server.shutdown()
        each.server.server_close()


def test_times_run_from_when_a_request_was_due(peer):
    """One connection, 20 ms a request, 400 a second for 0.1 s: the last waits for all before it."""

    def slow(handler, *_):
        time.sleep(0.02)
        answer(handler)

    got = peer(slow).load("--rate", 400, "--seconds", 0.1, "--connections", 1, "--writes", 0)
    n = got["due"]
    assert n > 20 and got["statuses"] == {"200": n} and got["predict"]["n"] == n
    assert got["predict"]["max_ms"] >= 20 * n - 100
    assert got["predict"]["p50_ms"] >= 20 * (n // 2) - 100
    assert got["late"]["max_ms"] >= 20 * (n - 1) - 100
    assert got["predict"]["good"] == 0 and got["good_a_second"] == 0


def test_every_request_is_counted_as_what_became_of_it(peer):
    done = Counter()
    lock = threading.Lock()

    def act(handler, number, *_):
        what = ("200", "200", "503", "closed", "malformed", "429")[number % 6]
        with lock:
            done[what] += 1
        if what.isdigit():
            answer(handler, int(what))
        elif what == "malformed":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nof no length")
        handler.close_connection = what in ("closed", "malformed")

    got = peer(act).load("--rate", 600, "--seconds", 0.5, "--writes", 0.3)
    assert got["due"] == sum(done.values()) > 100
    assert got["statuses"] == {status: done[status] for status in ("200", "429", "503")}
    errors = {"no_connection": 0, "closed": done["closed"], "timeouts": 0, "malformed": done["malformed"], "unsent": 0}
    assert got["errors"] == errors
    assert got["predict"]["n"] + got["write"]["n"] == done["200"]
    assert got["other"]["n"] == done["503"] + done["429"]


def test_what_is_never_answered_times_out_and_what_never_went_is_unsent(peer):
    over = threading.Event()

    def act(handler, number, *_):
        if number % 10 == 0:
            over.wait(30)
            handler.close_connection = True
        else:
            answer(handler)

    server = peer(act)
    got = server.load("--rate", 400, "--seconds", 0.25, "--timeout-ms", 2000)
    silent = (len(server.asked) + 9) // 10
    assert got["errors"] == {"no_connection": 0, "closed": 0, "timeouts": silent, "malformed": 0, "unsent": 0}
    assert got["statuses"] == {"200": got["due"] - silent}
    got = peer(lambda *_: over.wait(30)).load("--rate", 400, "--seconds", 0.25, "--connections", 1, "--timeout-ms", 300)
    assert got["statuses"] == {} and got["errors"]["timeouts"] + got["errors"]["unsent"] == got["due"]
    assert got["errors"]["unsent"] > 0
    over.set()


def test_nobody_there(peer):
    server = peer(answer)
    server.server.server_close()
    got = server.load("--rate", 200, "--seconds", 0.2)
    assert got["errors"]["no_connection"] == got["due"] > 0 and got["statuses"] == {}


def test_degraded_and_empty_lists_are_seen(peer):
    bodies = [b'{"results":[{"id":"7"}],"degraded":["events"]}', b'{"results":[]}', b'{"results":[{"id":"7"}]}']
    server = peer(lambda handler, number, *_: answer(handler, body=bodies[number % 3]))
    got = server.load("--rate", 300, "--seconds", 0.3, "--writes", 0)
    n = got["due"]
    assert (got["predict"]["degraded"], got["predict"]["empty"]) == ((n + 2) // 3, (n + 1) // 3)


def test_visitors_walk_through_their_sessions(peer, tmp_path):
    """A product is written before lists are asked for at it, and in the session's order."""
    sessions = {f"v{i}": [str(100 * i + j) for j in range(1 + i % 5)] for i in range(40)}
    file = tmp_path / "sessions.txt"
    file.write_text("".join(f"{visitor} {' '.join(products)}\n" for visitor, products in sessions.items()))
    server = peer(lambda handler, *_: answer(handler))
    server.load("--rate", 500, "--seconds", 0.5, "--sessions", file, "--visitors", 8, "--zone", "home", "--k", 7)
    written = defaultdict(list)
    paths = Counter(path for path, _ in server.asked)
    assert set(paths) == {"/v1/userEvents:write", "/v1/servingConfigs/home:predict"}
    assert min(paths.values()) > 50
    for path, body in server.asked:
        event = body if path == "/v1/userEvents:write" else body["userEvent"]
        assert event["eventType"] == "detail-page-view"
        (detail,) = event["productDetails"]
        if event is body:
            written[event["visitorId"]].append(detail["product"]["id"])
        else:
            assert body["pageSize"] == 7
    seen = 0
    for visitor, products in written.items():
        walked = sessions[visitor.partition(".")[0]]  # v3.1: the sessions start over
        assert sorted(products) == sorted(walked[: len(products)])  # threads of this server may hand over in any order
        seen += len(products)
    assert seen == paths["/v1/userEvents:write"]


def test_inline_events_are_the_session_so_far(peer, tmp_path):
    file = tmp_path / "sessions.txt"
    file.write_text("v 1 2 3\n")
    server = peer(lambda handler, *_: answer(handler))
    server.load("--closed", 1, "--seconds", 0.2, "--sessions", file, "--inline")
    lists = [body["events"] for path, body in server.asked if path.endswith(":predict")]
    assert {len(events) for events in lists} == {1, 2, 3}
    assert all(events == ["1", "2", "3"][: len(events)] for events in lists)


def test_where_nothing_is_written_visitors_stand_at_the_end_of_their_sessions(peer, tmp_path):
    file = tmp_path / "sessions.txt"
    file.write_text("v 1 2 3\n")
    server = peer(lambda handler, *_: answer(handler))
    server.load("--closed", 1, "--seconds", 0.1, "--writes", 0, "--sessions", file, "--inline")
    assert {tuple(body["events"]) for _, body in server.asked} == {("1", "2", "3")}


def test_another_seed_has_other_visitors(peer):
    server = peer(lambda handler, *_: answer(handler))
    seen = []
    for seed in (1, 2):
        server.asked.clear()
        server.load("--closed", 1, "--seconds", 0.1, "--writes", 1, "--seed", seed)
        seen.append({body["visitorId"] for _, body in server.asked})
    assert all(seen) and not seen[0] & seen[1]


def test_the_servers_cpu_time_and_memory(peer):
    server = peer(lambda handler, *_: answer(handler))
    before = time.process_time()
    got = server.load("--closed", 2, "--seconds", 0.5, "--pid", os.getpid())
    status = pathlib.Path("/proc/self/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0]) / 1024
    assert got["rss_after_mib"] == pytest.approx(resident, rel=0.2)
    ticks = 0.03  # what the kernel rounds to, twice and for two kinds of time
    assert 0 < got["cores"] * got["seconds"] <= time.process_time() - before + ticks
    assert got["cpu_us"] == pytest.approx(1e6 * got["cores"] / got["a_second"], rel=1e-3)


def test_a_closed_loop_keeps_so_many_in_flight(peer):
    def act(handler, *_):
        time.sleep(0.005)
        answer(handler)

    server = peer(act)
    got = server.load("--closed", 4, "--seconds", 0.3)
    assert server.most_at_once == 4
    assert got["statuses"] == {"200": got["due"]} and got["due"] == len(server.asked)
    assert got["predict"]["max_ms"] >= 5


def test_a_seed_decides_the_arrivals(peer):
    server = peer(lambda handler, *_: answer(handler))
    arguments = ("--rate", 400, "--seconds", 0.5, "--seed", 5)
    first, second = server.load(*arguments), server.load(*arguments)
    assert first["due"] == second["due"] == len(server.asked) / 2
    assert abs(first["due"] - 200) < 5 * 200**0.5
    assert first["write"]["n"] == second["write"]["n"]


def test_warming_up_does_not_count(peer):
    server = peer(lambda handler, *_: answer(handler))
    got = server.load("--warm", 0.3, "--rate", 300, "--seconds", 0.2)
    assert got["due"] < len(server.asked) and got["statuses"] == {"200": got["due"]}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--rate", "0"], "--rate"),
        (["--speed", "1"], "--speed: is no option"),
        (["--seconds"], "--seconds: a value is missing"),
        (["--sessions", "/nowhere"], "/nowhere: there is no session"),
        (["--host", "shop"], "--host: shop is no IPv4 address"),
    ],
)
def test_what_cannot_be_is_said(arguments, message):
    done = subprocess.run([LOAD, *arguments], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and message in done.stderr
