"""What a machine makes of openapi.json and sends: values at bounds, values that cannot be, other methods and types. No
answer is a fault, each is as documented, and what the document excludes is refused."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from serving import Server


@pytest.fixture
def roomy(bundle, tmp_path):
    """Limits of HTTP, deadlines and queues have tests of their own: here they come after what the document says."""
    config = {
        "inventory": {"path": str(tmp_path / "inventory.sqlite")},
        "bundle": str(bundle),
        "visits": {"store": "memory"},
        "http": {"max_header_bytes": 1 << 20, "max_body_bytes": 1 << 23, "max_import_bytes": 1 << 23},
        "predict": {"deadline_ms": 20000},
        "admission": {"queue_ms": 20000},
    }
    server = Server(config, tmp_path / "c.json")
    yield server
    server.end()


def test_schemathesis_finds_nothing(roomy, tmp_path):
    document = roomy.get("/openapi.json", admin=False).json
    # What rules may say is the library's; on a page with a bad one, that list alone has an error.
    document["components"]["schemas"]["Rules"] = {"type": "array"}
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    command = [
        pathlib.Path(sys.executable).parent / "schemathesis", "run", "openapi.json",
        "--url", f"http://127.0.0.1:{roomy.port}", "--phases", "examples,coverage,fuzzing",
        "--generation-deterministic", "--max-examples", os.environ.get("STAMP_SERVER_EXAMPLES", "5"), "--continue-on-failure",
        # Rules, zones and lengths in bytes: whether a body is right depends on more than its schema.
        "--exclude-checks", "positive_data_acceptance",
        "--warnings", "off", "--no-color",
    ]  # fmt: skip
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"Tested: {sum(len(item.keys() & {'get', 'post'}) for item in document['paths'].values())}" in run.stdout
    assert roomy.process.poll() is None and roomy.metric("stamp_in_flight") == 0
