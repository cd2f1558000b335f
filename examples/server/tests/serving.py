"""Starts stamp-server and speaks HTTP with it."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
from dataclasses import dataclass

PROGRAM = pathlib.Path(
    os.environ.get("STAMP_SERVER") or pathlib.Path(__file__).parents[3] / "build/server/stamp-server"
)

LOAD = pathlib.Path(os.environ.get("STAMP_LOAD") or PROGRAM.parent / "benchmarks/stamp-load")  # the load generator


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """Of a google.rpc.Status, whose code is that of HTTP."""
        error = self.json["error"]
        assert error["code"] == self.status and error["status"]
        return error["message"]


def ask(connection: http.client.HTTPConnection, method: str, path: str, body=None, headers=None) -> Reply:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json"} if data is not None else {}
    connection.request(method, path, body=data, headers={**sent, **(headers or {})})
    response = connection.getresponse()
    return Reply(response.status, dict(response.getheaders()), response.read())


class Server:
    """Ports are free ones. `config` goes to a file at `path`; STAMP_SERVER_… of `environment` override it. `within` is a
    command that starts it elsewhere, at `host`."""

    def __init__(
        self,
        config: dict,
        path: pathlib.Path,
        environment: dict[str, str] | None = None,
        within: tuple[str, ...] = (),
        host: str = "127.0.0.1",
    ) -> None:
        self.host = host
        config = {
            **config,
            "http": {"port": 0, "grace_ms": 0, **config.get("http", {})},
            "admin": {"port": 0, **config.get("admin", {})},
        }
        path.write_text(json.dumps(config))
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [*within, PROGRAM, "--config", path],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"at http://\S+:(\d+), .* at http://\S+:(\d+)", line):
                self.port, self.admin_port = map(int, found.groups())
                return
        self.process.wait()
        raise RuntimeError(f"stamp-server ended with {self.process.returncode}: {''.join(self.log)}")

    def request(self, method: str, path: str, body=None, *, headers: dict | None = None, admin: bool = False) -> Reply:
        connection = http.client.HTTPConnection(self.host, self.admin_port if admin else self.port, timeout=20)
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def post(self, path: str, body, **options) -> Reply:
        return self.request("POST", path, body, **options)

    def predict(self, zone: str = "default", **body) -> Reply:
        return self.post(f"/v1/servingConfigs/{zone}:predict", body)

    def write(self, visitor: str, *products, type: str = "detail-page-view", **more) -> Reply:
        details = [{"product": {"id": product}} for product in products]
        event = {"eventType": type, "visitorId": visitor, "productDetails": details, **more}
        return self.post("/v1/userEvents:write", event)

    def get(self, path: str, **options) -> Reply:
        return self.request("GET", path, **{"admin": True, **options})

    def metric(self, name: str, labels: str = "") -> float:
        wanted = name + (f"{{{labels}}}" if labels else "")
        for line in self.get("/metrics").body.decode().splitlines():
            if line.rpartition(" ")[0] == wanted:
                return float(line.rpartition(" ")[2])
        raise KeyError(wanted)

    def socket(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=20)

    def end(self, with_signal: int = signal.SIGTERM) -> int:
        """What it exits with."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            self.log += self.process.communicate(timeout=30)[1].splitlines(keepends=True)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            raise
        except ValueError:  # it has been ended before
            pass
        assert not any("Sanitizer" in line or "runtime error:" in line for line in self.log), "".join(self.log)
        return self.process.wait()


def ids(reply: Reply) -> list[str]:
    assert reply.status == 200, reply.body
    return [result["id"] for result in reply.json["results"]]


def event(visitor: str = "", *products: str, type: str = "detail-page-view") -> dict:
    """A userEvent."""
    named = {"visitorId": visitor} if visitor else {}
    return {"eventType": type, **named, "productDetails": [{"product": {"id": product}} for product in products]}
