"""The pipeline of Kubeflow: what is compiled, how clusters are sharded, what the server is given."""

import http.server
import json
import pathlib
import threading

import pytest

import stamp.pipeline
from kubeflow_shop import GPU_IMAGE, IMAGE, changed, make_kubeflow_shop
from read_kubeflow import Compiled
from small_shop import day
from stamp import cli
from stamp.base.cpus import allowed_cpus
from stamp.pipeline import stages
from stamp.pipeline.kubeflow import compile, submit
from stamp.pipeline.kubeflow.published import publish, read_published
from stamp.pipeline.kubeflow.shards import balance

OUTLINE = """\
exit-handler
  begin
  validate-data (after begin)
  if ['validate-data-Output'] == true
    prepare
    train-full (after prepare)
    cluster (after train-full)
    partition (after cluster)
    plan (after partition)
    for each of plan-Output, 2 at a time (after plan)
      train-shard
    train-judged (after for-loop)
    if ['train-judged-Output'] == true
      build-judged
      validate-model (after build-judged)
      if ['validate-model-Output'] == true
        plan-2
        for each of plan-2-Output, 2 at a time (after plan)
          train-shard-2
        train-released (after for-loop)
        if ['train-released-Output'] == true
          build-released
          compare-bundles (after build-released)
          if ['compare-bundles-Output'] == true
            upload
            update-serving (after upload)
            if ['update-serving-Output'] == false (after update-serving)
              stop
          if !(['compare-bundles-Output'] == true)
            stop-2
        if !(['train-released-Output'] == true)
          stop-3
      if !(['validate-model-Output'] == true)
        stop-4
    if !(['train-judged-Output'] == true)
      stop-5
  if !(['validate-data-Output'] == true)
    stop-6
report (after exit-handler)"""


@pytest.fixture(scope="module")
def shop_file(tmp_path_factory):
    return make_kubeflow_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def compiled(shop_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("compiled") / "shop.yaml"
    url = compile(shop_file, out)
    return Compiled(out), url


# What is compiled.


def test_the_pipeline_in_outline(compiled):
    assert compiled[0].outline() == OUTLINE


def test_every_stage_is_one_step(compiled):
    names = [executor.removeprefix("exec-").replace("-", "_") for _, executor in compiled[0].tasks()]
    assert sorted(name for name in names if name in stages.NAMES) == sorted(stages.NAMES)


def test_a_step_has_what_the_pipeline_file_says(compiled, shop_file):
    read, url = compiled
    for task, executor in read.tasks():
        step = executor.removeprefix("exec-").rstrip("-0123456789")
        container, on = read.container(executor), read.platform[executor]
        assert container.image == (GPU_IMAGE if step == "train-shard" else IMAGE), step
        assert "pip install" not in " ".join(container.command)
        assert not task.caching_options.enable_cache, step
        retry = task.retry_policy
        told = (retry.max_retry_count, retry.backoff_duration.seconds, retry.backoff_factor)
        assert told == ((0, 0, 0) if step == "stop" else (3, 30, 2)), step
        resources = container.resources
        asked = (resources.resource_cpu_request, resources.resource_memory_request,
                 resources.resource_cpu_limit, resources.resource_memory_limit)  # fmt: skip
        assert asked == {
            "prepare": ("1", "32Gi", "", "48Gi"), "train-shard": ("4", "4Gi", "8", "")
        }.get(step, ("1", "4Gi", "", ""))  # fmt: skip
        gpus = (resources.accelerator.resource_type, resources.accelerator.resource_count)
        assert gpus == (("nvidia.com/gpu", "1") if step == "train-shard" else ("", "")), step
        nodes = {"pool": "nightly", **({"accelerator": "l4"} if step == "train-shard" else {})}
        assert dict(on.node_selector.labels) == nodes
        assert [(each.key, each.operator, each.effect) for each in on.tolerations] == [
            ("nightly", "Exists", "NoSchedule")
        ]
        (secret,), (mounted,), (volume,) = on.secret_as_env, on.secret_as_volume, on.pvc_mount
        assert (secret.secret_name, secret.key_to_env[0].secret_key, secret.key_to_env[0].env_var) == (
            "s3", "key", "AWS_ACCESS_KEY_ID",
        )  # fmt: skip
        assert (mounted.secret_name, mounted.mount_path) == ("gcp", "/secrets")
        assert (volume.constant, volume.mount_path) == ("shop", str(shop_file.parent))


def test_parameters_name_the_pipeline_file_by_its_contents(compiled, shop_file):
    read, url = compiled
    given = read.spec.root.input_definitions.parameters
    assert {name: given[name].default_value for name in given}.keys() == {"shop", "date", "first", "anew"}
    assert given["shop"].default_value.string_value == url
    assert given["date"].default_value.string_value == given["first"].default_value.string_value == ""
    held = read_published(url)
    assert held.given == stamp.pipeline.Shop.read(shop_file).given
    # The order of keys stands in bundles: of zones, say.
    assert held.to_json() == stamp.pipeline.Shop.read(shop_file).to_json()
    assert publish(held) == url
    other = publish(stamp.pipeline.Shop.read({**held.given, "alias": "other"}))
    assert other != url and pathlib.Path(other).parent == pathlib.Path(url).parent
    text = pathlib.Path(other).read_text()
    pathlib.Path(other).write_text(text.replace("other", "another"))
    with pytest.raises(ValueError, match="holds something else than was published"):
        read_published(other)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kubeflow": None}, "has no kubeflow, expected its image"),
        ({"work": "/elsewhere"}, "work is /elsewhere, which pods would not find; expected a URL as gs://bucket/folder"),
        ({"kubeflow": {"resources": {"train": {}}}}, "kubeflow.resources has the key 'train', expected some of default, begin"),
        ({"kubeflow": {"resources": {"prepare": {"memory": "much"}}}}, "kubeflow.resources of prepare: Invalid memory"),
        ({"kubeflow": {"shards": 65}}, "kubeflow.shards cannot be: 65 is greater than"),
    ],
)  # fmt: skip
def test_what_cannot_be_compiled(shop_file, tmp_path, capsys, changes, told):
    if changes.get("kubeflow"):
        changes = {"kubeflow": {**json.loads(shop_file.read_text())["kubeflow"], **changes["kubeflow"]}}
    path = changed(shop_file, **changes)
    out = tmp_path / "out.yaml"
    assert cli.main(["pipeline", "compile", str(path), "-o", str(out)]) == 2
    assert told in capsys.readouterr().err and not out.exists()
    assert cli.main(["pipeline", "compile", str(shop_file), "-o", str(tmp_path / "out.txt")]) == 2
    assert "expected a name that ends in .yaml" in capsys.readouterr().err


# Shards.


@pytest.mark.parametrize("shards", [1, 2, 5, 64])
@pytest.mark.parametrize("clusters", [1, 2, 7, 300])
def test_shards_hold_each_cluster_once_and_are_about_even(clusters, shards):
    examples = {cluster: (cluster * 7919) % 1000 for cluster in range(3, clusters + 3)}
    made = balance(examples, shards)
    assert len(made) == min(shards, clusters) and all(made)
    assert sorted(cluster for shard in made for cluster in shard) == sorted(examples)
    loads = [sum(examples[cluster] + 1 for cluster in shard) for shard in made]
    # No shard has more than the emptiest one and a cluster.
    assert max(loads) <= min(loads) + max(examples.values()) + 1


def test_a_cluster_beyond_all_others_is_alone():
    assert balance({5: 100, 1: 10, 2: 20, 9: 30}, 2) == [[5], [1, 2, 9]]
    assert balance({}, 16) == [[]]  # a loop over nothing would fail


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_pod_knows_its_cores(tmp_path, files, cpus):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert allowed_cpus(tmp_path) == cpus


# Submitting.


class Api(http.server.BaseHTTPRequestHandler):
    """As much of the API of Kubeflow Pipelines as a submission needs."""

    def _handle(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path = self.path.partition("?")[0].removeprefix("/apis/v2beta1/")
        state = self.server.state
        state["asked"].append((self.command, path, body, self.headers.get("authorization")))
        status, answer = 200, {}
        if path == "healthz":
            answer = {"multi_user": False}
        elif state["refuse"]:
            status, answer = 403, {"error": "not for you"}
        elif path == "experiments" and self.command == "POST":
            answer = {"experiment_id": "e-1", "display_name": body["display_name"]}
        elif path == "runs":
            answer = {"run_id": "r-1", "display_name": body["display_name"]}
        elif path == "recurringruns" and self.command == "POST":
            state["recurring"][f"n-{len(state['recurring'])}"] = body["display_name"]
            answer = {"recurring_run_id": list(state["recurring"])[-1], "display_name": body["display_name"]}
        elif path == "recurringruns":  # a page each
            listed = list(state["recurring"].items())
            at = int(self.path.partition("page_token=")[2].partition("&")[0] or 0)
            answer = {
                "recurringRuns": [{"recurring_run_id": id, "display_name": name} for id, name in listed[at : at + 1]]
            }
            if at + 1 < len(listed):
                answer["next_page_token"] = str(at + 1)
        elif path.startswith("recurringruns/"):
            del state["recurring"][path.rpartition("/")[2]]
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_GET = do_POST = do_DELETE = _handle

    def log_message(self, *_):
        pass


@pytest.fixture
def api():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.state = {"asked": [], "recurring": {"o-1": "stamp-made-up", "o-2": "another"}, "refuse": False}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def address(server):
    return f"http://127.0.0.1:{server.server_port}"


def posted(server, what):
    return [body for command, path, body, _ in server.state["asked"] if (command, path) == ("POST", what)]


def test_a_night_is_submitted(shop_file, api, monkeypatch, compiled):
    monkeypatch.setenv("KUBEFLOW_TOKEN", "secret")
    done = submit(shop_file, host=address(api), date=day(5), first="upload", service_account="trainer")
    assert (done.id, done.name, done.shop, done.schedule) == ("r-1", f"stamp-made-up {day(5)}", compiled[1], None)
    (run,) = posted(api, "runs")
    assert run["experiment_id"] == "e-1" and run["service_account"] == "trainer"
    assert run["runtime_config"]["parameters"] == {"date": day(5), "first": "upload"}
    spec = run["pipeline_spec"]["pipeline_spec"]
    assert spec["root"]["inputDefinitions"]["parameters"]["shop"]["defaultValue"] == compiled[1]
    assert run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]
    assert api.state["asked"][-1][3] == "Bearer secret"
    assert posted(api, "experiments")[0]["display_name"] == "stamp-made-up"


def test_all_nights_are_submitted_in_the_place_of_the_earlier_ones(shop_file, api, capsys):
    assert cli.main(["pipeline", "submit", str(shop_file), "--host", address(api), "--recurring", "--json"]) == 0
    (body,) = posted(api, "recurringruns")
    assert body["trigger"]["cron_schedule"]["cron"] == "0 30 3 * * *"  # Kubeflow's begins with seconds
    assert body["max_concurrency"] == 1 and body["no_catchup"] is True and body["mode"] == "ENABLE"
    assert "shop" not in body["runtime_config"].get("parameters", {})
    assert (
        sorted(api.state["recurring"].values()) == ["another", "stamp-made-up"] and "o-1" not in api.state["recurring"]
    )
    asked = [(command, path.partition("/")[0]) for command, path, *_ in api.state["asked"]]
    assert asked.index(("DELETE", "recurringruns")) > asked.index(("POST", "recurringruns"))
    told = json.loads(capsys.readouterr().out)
    assert (told["id"], told["schedule"], told["replaced"]) == ("n-2", "0 30 3 * * *", ["o-1"])


def test_what_cannot_be_submitted(shop_file, api, tmp_path):
    with pytest.raises(ValueError, match="date, first and anew are of one run"):
        submit(shop_file, host=address(api), date=day(5), recurring=True)
    with pytest.raises(ValueError, match="first is 'nothing', expected one of validate_data"):
        submit(shop_file, host=address(api), first="nothing")
    for schedule, told in ((None, "has no schedule"), ("daily", "schedule is 'daily', expected five fields")):
        with pytest.raises(ValueError, match=told):
            submit(changed(shop_file, schedule=schedule), host=address(api), recurring=True)
    assert not api.state["asked"]
    api.state["refuse"] = True
    with pytest.raises(RuntimeError, match=f"submit: {address(api)} says 403"):
        submit(shop_file, host=address(api))
