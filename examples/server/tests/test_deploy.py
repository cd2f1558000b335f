"""What the manifests say can be: by Kubernetes' own schemas, and by the server's idea of its configuration."""

import json
import os
import pathlib
import re
import subprocess

import kubernetes_validate
import pytest
import yaml
from serving import PROGRAM

SERVER = pathlib.Path(__file__).parents[1]
MANIFESTS = SERVER / "deploy" / "kubernetes"
DOCUMENTS = [
    (file.name, document)
    for file in sorted(MANIFESTS.glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
]


@pytest.mark.parametrize(
    ("file", "document"), DOCUMENTS, ids=[f"{file}-{document['kind']}" for file, document in DOCUMENTS]
)
def test_manifests_are_what_kubernetes_takes(file, document):
    if (
        document["kind"] == "InferenceService"
    ):  # of KServe, whose predictor is the specification of a pod, and a few keys
        pod = {
            key: value
            for key, value in document["spec"]["predictor"].items()
            if key not in ("minReplicas", "maxReplicas")
        }
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": document["metadata"], "spec": pod}
    kubernetes_validate.validate(document, "1.29", strict=True)


@pytest.mark.parametrize("file", ["bigtable.yaml", "embedded.yaml"])
def test_their_configuration_is_one(file, tmp_path):
    [config] = [document for name, document in DOCUMENTS if name == file and document["kind"] == "ConfigMap"]
    (tmp_path / "server.json").write_text(config["data"]["server.json"])
    done = subprocess.run([PROGRAM, "--config", tmp_path / "server.json", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["http"]["idle_timeout_ms"] == 620000


@pytest.mark.parametrize("file", ["bigtable.yaml", "embedded.yaml", "kserve.yaml"])
def test_their_environment_is_known(file):
    for name in re.findall(r"STAMP_SERVER_\w+", (MANIFESTS / file).read_text()):
        value = {"STAMP_SERVER_BUNDLE": "x", "STAMP_SERVER_VISITS_STORE": "none"}[name]
        environment = {**os.environ, "STAMP_SERVER_BUNDLE": "y", name: value}
        done = subprocess.run([PROGRAM, "--check"], env=environment, capture_output=True, text=True)
        assert f'"{value}"' in done.stdout


def test_the_image_has_what_the_program_links():
    """Every library is the runtime's, the library beside the program, or of a package that runtime.sh names or pulls in."""
    wanted = re.search(r"packages=\((.*)\)", (SERVER / "runtime.sh").read_text()).group(1).split()
    depends = subprocess.run(
        ["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
         "--no-replaces", "--no-enhances", *wanted], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    installed = {line.strip().split()[-1] for line in depends.splitlines()}
    for path in re.findall(r"=> (/\S+)", subprocess.run(["ldd", PROGRAM], capture_output=True, text=True).stdout):
        if "libstamp" in path:
            continue
        real = os.path.realpath(path)  # under a merged /usr, where packages may name /lib
        names = [real, real.removeprefix("/usr")]
        found = subprocess.run(["dpkg", "-S", *names], capture_output=True, text=True).stdout
        assert found.split(":")[0] in installed, (
            f"{path} is of {found or 'no package'}, which runtime.sh does not install"
        )
