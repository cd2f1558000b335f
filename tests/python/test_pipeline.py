"""Nights of a small shop on this machine: released, refused, killed, resumed, raced."""

import contextlib
import datetime
import http.server
import json
import os
import pathlib
import random
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time

import fsspec
import jsonschema
import pytest

import stamp
import stamp.data
import stamp.pipeline
from small_shop import OPTIONS, day, make_clicks, make_shop
from stamp import cli
from stamp.base.folders import Folder
from stamp.pipeline import done, stages
from stamp.pipeline.steps import release
from stamp.pipeline.steps.reports import StepReport
from stamp.pipeline.work import Work
from stamp.store import Store

NOW = datetime.datetime(2026, 11, 20, 3, 12, tzinfo=datetime.timezone.utc)
NAMES = stages.NAMES


def run(shop, number, **options):
    return stamp.pipeline.run(shop, date=day(number), **{"now": NOW, "progress": False, **options})


def did(result):
    """The stages that were done now."""
    return [name for name, what in result.stages.items() if what == "done"]


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """A folder after the nights of days 5 and 6, what came of them, and the seventh day's clicks, which are broken."""
    folder = tmp_path_factory.mktemp("shop")
    shop = make_shop(folder)
    results = [run(shop, 5)]
    make_clicks(folder, 6)
    results.append(run(shop, 6))
    return folder, results


@pytest.fixture
def after(nights, tmp_path):
    """A copy of the folder, to do what one likes with."""
    shutil.copytree(nights[0], tmp_path / "copy")
    path = tmp_path / "copy" / "shop.json"
    return path


def change(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def test_two_nights_are_released(nights):
    folder, (first, second) = nights
    assert first.passed and second.passed and set(did(first)) == set(did(second)) == set(NAMES)
    store = Store(folder / "store")
    alias = store.aliases()["champion"]
    assert alias.release == second.release and alias.previous == (first.release,)
    released = store.release(second.release)
    assert released.parent == first.release and store.release(first.release).parent is None
    assert released.made_by["date"] == day(6) and released.created == "2026-11-20T03:12:00Z"
    assert released.products_time == "2026-11-07T00:00:00Z"
    assert not store.verify().findings
    # It began with the champion's models, which know nothing of day 6, and has learnt through it.
    judged = json.loads((folder / "work" / "runs" / day(6) / "models" / "judged" / "report.json").read_text())
    cold = json.loads((folder / "work" / "runs" / day(5) / "models" / "judged" / "report.json").read_text())
    for cluster, report in judged["reports"].items():
        losses = [epochs["training"]["epochs"][0]["loss"] for epochs in (cold["reports"][cluster], report)]
        assert losses[1] < losses[0]
    data = stamp.Sessions.from_frame(folder / "work" / "prepared")
    held_out = stamp.Sessions.from_frame(folder / "work" / "runs" / day(6) / "data" / "judged" / "held_out")
    seen = stamp.Sessions.from_frame(folder / "work" / "runs" / day(6) / "data" / "judged")
    assert len(data) == len(held_out) + len(seen) and len(held_out) > 20
    # The clusters of day 5 go on, the model of the whole catalog is that of day 5.
    assert second.reports["cluster"].counts["begun"] == first.reports["cluster"].fingerprint
    assert second.reports["train_full"].counts["day"] == day(5)
    # A bundle that anybody can open.
    store.export("champion", folder / "exported")
    assert set(stamp.inspect_bundle(folder / "exported")["zones"]) == {"home", "product_page"}
    shutil.rmtree(folder / "exported")


def test_an_upload_moves_only_what_changed(nights):
    moved = nights[1][1].reports["upload"].counts
    released = Store(nights[0] / "store").release(nights[1][1].release)
    before = Store(nights[0] / "store").release(nights[1][0].release)
    same = {file.sha256 for file in released.files.values()} & {file.sha256 for file in before.files.values()}
    assert moved["old_blobs"] == len(same) > 0
    assert moved["new_bytes"] == sum(
        {f.sha256: f.bytes for f in released.files.values() if f.sha256 not in same}.values()
    )


def test_the_record_is_one_page(nights):
    folder, (first, second) = nights
    record = folder / "store" / "records" / second.release
    page = (record / "index.html").read_text()
    for told in (
        second.release,
        first.release,
        "May go on",
        "Training curves",
        "Beside the champion",
        "Nothing was found",
    ):
        assert told in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "src=" not in page
    assert {"record.json", "report.html", "validation.html"} <= {path.name for path in record.iterdir()}
    assert "without a champion" in (folder / "store" / "records" / first.release / "index.html").read_text()


def test_what_is_done_is_not_repeated(after):
    again = run(after, 6)
    assert again.stages == dict.fromkeys(NAMES, "done before") and again.passed
    shown = run(change(after, judge={"zones": [{"like": "home", "name": "home", "k": 4}]}), 6, dry_run=True)
    to_do = [name for name, what in shown.stages.items() if what != "done before"]
    assert to_do[0] == "validate_model" and shown.stages["validate_model"] == "to do"
    again = run(after, 6)  # what passes once more is released already
    assert did(again) == ["validate_model", "compare_bundles"] and len(Store(after.parent / "store").releases()) == 2
    one = run(after, 6, only="build_judged")
    assert did(one) == ["build_judged"] and one.release is None
    later = run(after, 6, first="compare_bundles")
    assert did(later) == ["compare_bundles", "upload", "update_serving"]
    with pytest.raises(ValueError, match="first is 'train', expected one of validate_data, prepare"):
        run(after, 6, first="train")
    shutil.rmtree(after.parent / "work" / "runs" / day(6) / "steps")
    with pytest.raises(ValueError, match="validate_data of 2026-11-06 is not done; begin with it, or before it"):
        run(after, 6, only="partition")


def test_a_dry_run_writes_nothing(after):
    make_clicks(after.parent, 7)
    before = sorted(path for path in after.parent.rglob("*") if path.name != ".lock")
    shown = run(after, 7, dry_run=True)
    assert [shown.stages[name] for name in NAMES[:3]] == ["to do", "may be done", "may be done"]
    assert sorted(path for path in after.parent.rglob("*") if path.name != ".lock") == before


def test_broken_clicks_change_nothing(after):
    make_clicks(after.parent, 7, broken=7)
    before = (after.parent / "store" / "aliases" / "champion.json").read_bytes()
    refused = run(after, 7)
    assert not refused.passed and refused.stages["validate_data"] == "stopped" and refused.stages["prepare"] == "left"
    assert any("Rows without a product are 3" in reason for reason in refused.reasons)
    assert (after.parent / "store" / "aliases" / "champion.json").read_bytes() == before
    assert cli.main(["pipeline", "run", str(after), "--date", day(7), "--quiet"]) == 1
    make_clicks(after.parent, 7, 8)  # the export is made again; what was refused is judged by what was usual before
    assert run(after, 7).passed and run(after, 8).passed


def test_a_policy_that_says_no_stops_the_release(after):
    make_clicks(after.parent, 7)
    policy = {"format": 1, "checks": [{"metric": "hr@8", "at_least": 0.99}]}
    change(after, judge={"policy": policy})
    before = (after.parent / "store" / "aliases" / "champion.json").read_bytes()
    stopped = run(after, 7)
    assert stopped.stages["validate_model"] == "stopped" and "hr@8" in stopped.reasons[0]
    assert stopped.stages["train_released"] == stopped.stages["upload"] == "left"
    assert (after.parent / "store" / "aliases" / "champion.json").read_bytes() == before
    stopped = run(change(after, judge={"least_overlap": 1.0}), 7)
    assert stopped.stages["compare_bundles"] == "stopped" and "judge.least_overlap is 100.0%" in stopped.reasons[0]


def test_a_cluster_that_fails_falls_back(after):
    make_clicks(after.parent, 7)
    change(after, train={**json.loads(after.read_text())["train"], "most_failed": 1.0})
    foreign = after.parent / "work" / "runs" / day(7) / "models" / "judged" / "1" / "report.json"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("[]")  # which is no report, and is not replaced
    done = run(after, 7)
    assert done.passed and done.reports["train_judged"].counts["failed"] == [1]
    assert any("cluster 1 was not trained" in warning for warning in done.warnings)
    change(after, train={**json.loads(after.read_text())["train"], "most_failed": 0.01})
    assert run(after, 7).stages["train_judged"] == "stopped"


def test_another_champion_meanwhile_stops_the_promotion(nights, after, monkeypatch):
    """Judged against one, which by then serves no more: nothing is moved, and the next run judges anew."""
    make_clicks(after.parent, 7)
    store = Store(after.parent / "store")
    first, second = (night.release for night in nights[1])
    upload = release.upload

    def moved_meanwhile(*given, **options):
        store.rollback("champion", by="somebody")
        return upload(*given, **options)

    monkeypatch.setattr(release, "upload", moved_meanwhile)
    lost = run(after, 7)
    assert lost.stages["update_serving"] == "stopped"
    assert f"somebody moved it to {first}" in lost.reasons[0] and "run again" in lost.reasons[0]
    assert store.aliases()["champion"].release == first
    monkeypatch.undo()
    won = run(after, 7)
    assert did(won) == ["validate_model", "upload", "update_serving"]
    assert store.aliases()["champion"].release == won.release and store.release(won.release).parent == first


class Server(http.server.BaseHTTPRequestHandler):
    """Answers /release with what its server was told to serve."""

    def do_GET(self):
        served = self.server.serves()
        self.send_response(200 if served else 503)
        self.end_headers()
        self.wfile.write(json.dumps({"release": served}).encode() if served else b"{}")

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(serves):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.serves = serves
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_servers_are_waited_for(nights, after):
    store = Store(after.parent / "store")
    first, second = (night.release for night in nights[1])
    started = time.monotonic()

    def update(alias, *urls, timeout):
        store.promote(alias, first)
        return release.update_serving(
            store.url, second, urls=urls, timeout=timeout, alias=alias, expect=first, pause=0.05
        )

    def slow():
        return store.aliases()["one"].release if time.monotonic() > started + 0.3 else first

    with serving(slow) as late, serving(lambda: store.aliases()["one"].release) as soon:
        assert update("one", late, soon, timeout=20).passed and store.aliases()["one"].release == second
    with serving(lambda: first) as stuck, serving(lambda: None) as down:
        refused = update("two", stuck, down, timeout=0.3)
        assert not refused.passed and store.aliases()["two"].release == first
        assert f"{stuck} does not serve {second} after 0.3 s: {first}" in refused.reasons
        assert any(reason.startswith(f"{down} does not serve") and "503" in reason for reason in refused.reasons)
        assert refused.reasons[-1] == f"two is {first} again"
        # It was moved back by the step itself: once servers are well, it is promoted again.
        options = {"alias": "two", "expect": first, "timeout": 20}
        assert release.update_serving(store.url, second, **options).passed and store.aliases()["two"].release == second
    # Where the alias is somebody else's by then, it stays.
    third = store.upload(after.parent / "work" / "runs" / day(6) / "bundles" / "judged", name="third").release.name

    def taken():
        if store.aliases()["three"].release == second:
            store.promote("three", third, by="somebody")
        return first

    with serving(taken) as stuck:
        refused = update("three", stuck, timeout=0.3)
    assert "it was not moved back" in refused.reasons[-1] and store.aliases()["three"].release == third


def test_what_somebody_rolled_back_stays_so(nights, after):
    """The night that made it says what serves, and does not promote it again."""
    store = Store(after.parent / "store")
    first, second = (night.release for night in nights[1])
    store.rollback("champion", by="somebody")
    again = run(after, 6)
    assert again.passed and again.release == first and not did(again)
    stopped = run(after, 6, first="update_serving")
    assert stopped.stages["update_serving"] == "stopped" and store.aliases()["champion"].release == first
    assert f"somebody moved champion from {second} to {first}" in stopped.reasons[0]


def test_clicks_of_the_last_day_that_were_completed_are_learnt_from(after):
    """They change nothing of what is judged, and all of what is released."""
    before = Store(after.parent / "store").release("champion")
    clicks = after.parent / "clicks" / f"{day(6)}.csv"
    rows = clicks.read_text().splitlines()
    clicks.write_text(
        "\n".join([*rows, *(row.replace(rows[1].split(",")[4], "late-visitor") for row in rows[1:40])]) + "\n"
    )
    again = run(after, 6)
    assert {"prepare", "partition", "validate_model", "train_released", "build_released"} <= set(did(again))
    assert again.passed and Store(after.parent / "store").release("champion").digest != before.digest
    models = [json.loads((after.parent / "work" / "runs" / day(6) / "models" / kind / "report.json").read_text())
              for kind in ("judged", "released")]  # fmt: skip
    assert models[0]["data"] != models[1]["data"]


def test_a_resumed_night_gives_the_record_of_a_whole_one(after, monkeypatch):
    """Killed after the release was written and before that was noted: the next run writes the same, to the byte."""
    make_clicks(after.parent, 7)
    monkeypatch.setattr("stamp.pipeline.running.write_done", _killed_at("train_released"))
    with pytest.raises(KeyboardInterrupt):
        run(after, 7)
    monkeypatch.setattr("stamp.pipeline.running.write_done", _killed_at("upload"))
    with pytest.raises(KeyboardInterrupt):
        run(after, 7)
    monkeypatch.undo()
    resumed = run(after, 7)
    assert did(resumed) == ["upload", "update_serving"]
    record = json.loads((after.parent / "store" / "records" / resumed.release / "record.json").read_text())
    clusters = record["steps"]["train_released"]["counts"]["clusters"]
    assert clusters.keys() == record["steps"]["train_judged"]["counts"]["clusters"].keys() and len(clusters) == 2
    assert len(Store(after.parent / "store").releases()) == 3
    assert (after.parent / "store" / "records" / resumed.release / "index.html").read_text().count(">trained<") == 4


def _killed_at(stage):
    def write(night, name, *given):
        if name == stage:
            raise KeyboardInterrupt
        done.write_done(night, name, *given)

    return write


def test_the_whole_catalogs_training_begins_anew_with_other_options(after, monkeypatch):
    """Its checkpoint is of the options before."""
    shop = json.loads(after.read_text())
    change(after, full={"config": {**OPTIONS, "epochs": 40, "checkpoint_seconds": 0.01}})
    make_clicks(after.parent, 7)
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(after), day(7)], start_new_session=True)
    checkpoint = after.parent / "work" / "full" / day(7) / "checkpoint.safetensors"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    after.write_text(json.dumps({**shop, "full": {"config": {**OPTIONS, "epochs": 1}}}))
    assert run(after, 7).passed and not checkpoint.exists()


def test_a_part_of_what_was_brought_to_a_bucket_is_not_taken_for_all(tmp_path, monkeypatch):
    """A pod that is killed between two files."""
    url = f"memory://{tmp_path.name}"
    put = Folder.put_copy

    def killed(folder, path, file):
        put(folder, path, file)
        raise KeyboardInterrupt

    monkeypatch.setattr(Folder, "put_copy", killed)
    with pytest.raises(KeyboardInterrupt), Work(url) as work, work.writing("made") as folder:
        for name in ("a", "b"):
            pathlib.Path(folder, name).write_text(name)
    monkeypatch.undo()
    assert list(Work(url).folder.list("made")) == ["made/a"]
    with Work(url) as work, work.writing("made") as folder:
        assert not os.listdir(folder)
        pathlib.Path(folder, "c").write_text("c")
    with Work(url) as work, work.writing("made") as folder:
        assert os.listdir(folder) == ["c"]


def test_a_promotion_that_was_killed_is_its_own(nights, after):
    """The alias is at the release already: the step goes on to the servers."""
    store = Store(after.parent / "store")
    first, second = (night.release for night in nights[1])
    done = release.update_serving(store.url, second, alias="champion", expect=first)
    assert done == StepReport(fingerprint=second, counts={"release": second, "alias": "champion", "servers": 0})
    assert len(store.aliases()["champion"].history) == 2


KILLED = """
import sys, datetime, stamp.pipeline
stamp.pipeline.run(sys.argv[1], date=sys.argv[2], now=datetime.datetime(2026, 11, 20, 3, 12, tzinfo=datetime.timezone.utc), progress=False)
"""


@pytest.mark.parametrize("seed", range(int(os.environ.get("STAMP_TEST_KILLS", 2))))
def test_killed_at_any_moment_it_ends_in_the_same_release(nights, tmp_path, seed):
    folder, (_, second) = nights
    expected = Store(folder / "store").release(second.release).digest
    shutil.copytree(folder, tmp_path / "shop")
    shop, store = tmp_path / "shop" / "shop.json", Store(tmp_path / "shop" / "store")
    # The same night once more, in another place, from the clicks of six days alone.
    for path in ("work", "store"):
        shutil.rmtree(tmp_path / "shop" / path)
    (tmp_path / "shop" / "clicks" / f"{day(6)}.csv").rename(tmp_path / "sixth.csv")
    run(shop, 5)
    (tmp_path / "sixth.csv").rename(tmp_path / "shop" / "clicks" / f"{day(6)}.csv")
    pick, kills = random.Random(seed), 0
    champions = {store.aliases()["champion"].release}
    while True:
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(shop), day(6)], start_new_session=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert process.wait(timeout=pick.uniform(0.5, 6 + kills)) == 0
            break
        if seed % 2:
            process.kill()  # what it began to train with goes by itself
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        champions.add(store.aliases()["champion"].release)
        assert not store.verify().findings
    print(f"killed {kills} times")
    champion = store.release("champion")
    assert champion.digest == expected and champions <= {champion.name, champion.parent} and kills > 0
    assert not store.verify().findings


def test_two_runs_of_a_shop_are_kept_apart(after):
    work = after.parent / "work"
    holder = subprocess.Popen(["flock", work / ".lock", "-c", "echo held; exec sleep 60"], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    try:
        with pytest.raises(RuntimeError, match="another run of made-up is under way"):
            run(after, 6)
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_work_in_a_bucket_gives_the_same_release(nights, request, scheme):
    folder, (first, _) = nights
    bucket = request.getfixturevalue({"s3": "s3_bucket", "gs": "gcs_bucket"}[scheme])
    place = f"{bucket}/{secrets.token_hex(8)}"
    shop = {**json.loads((folder / "shop.json").read_text()), "work": f"{place}/work", "store": f"{place}/store"}
    files = fsspec.filesystem(scheme)
    files.put_file(str(folder / "products.csv"), f"{place}/products.csv")
    for number in range(1, 6):
        files.put_file(str(folder / "clicks" / f"{day(number)}.csv"), f"{place}/clicks/{day(number)}.csv")
    shop |= {"source": f"{place}/clicks/*.csv", "catalog": f"{place}/products.csv"}
    done = stamp.pipeline.run(shop, date=day(5), now=NOW, progress=False)
    assert done.passed
    assert Store(shop["store"]).release("champion").digest == Store(folder / "store").release(first.release).digest
    assert stamp.pipeline.run(shop, date=day(5), now=NOW, progress=False).stages == dict.fromkeys(NAMES, "done before")


def test_what_cannot_be_is_said_before_any_work(after, tmp_path):
    folder = after.parent
    given = json.loads(after.read_text())
    for changes, message in (
        ({"sorce": "x"}, "shop.json: has the key 'sorce', expected some of format, shop, source"),
        ({"train": {"epochs": 3}}, "shop.json: train has the key 'epochs', expected some of config, min_examples"),
        ({"train": {"config": {"dims": 3}}}, "shop.json: train: StampRecommender: unknown option 'dims'"),
        ({"shop": "Made Up"}, "shop.json: shop cannot be: 'Made Up' does not match"),
        ({"judge": {"policy": {"format": 1, "checks": []}}}, "shop.json: judge.policy: "),
        ({"judge": {"policy": "none.json"}}, "none.json"),
        ({"judge": {"zones": ["shelf"]}}, "shop.json: judge.zones: .* expected"),
        ({"validate": {"policy": {"format": 1, "checks": [{"check": "day"}]}}}, "shop.json: validate.policy: "),
        ({"mapping": {"format": 1}}, "shop.json: mapping: "),
        ({"source": "gone/*.csv"}, "source .*gone/.* there is no such file"),
        ({"full": {"config": {"dims": 3}}}, "shop.json: full: StampRecommender: unknown option 'dims'"),
        ({"prepare": {"days": "36h"}}, "shop.json: prepare: prepare: days is '36h', expected whole days"),
        ({"shop": "other"}, "is the work of the shop made-up, not of other"),
        ({"shop": "other", "work": "its-own"}, "is at .* of the shop made-up, and this is other: give each a store"),
    ):
        after.write_text(json.dumps({**given, **changes}))
        with pytest.raises(ValueError, match=message):
            run(after, 6)
    after.write_text(json.dumps(given))
    with pytest.raises(ValueError, match="2026-11-20 is not over"):
        run(after, 20)
    with pytest.raises(ValueError, match="date is 'soon'"):
        stamp.pipeline.run(after, date="soon")
    with pytest.raises(ValueError, match=r"holds days up to 2026-11-06, and 2026-11-03 is to be the last"):
        run(after, 3)
    with pytest.raises(ValueError, match="prepared with options min_support = 1, not 2"):
        run(change(after, prepare={"min_support": 2}), 6)
    assert json.loads((folder / "work" / "runs" / day(6) / "summary.json").read_text())["stages"]["prepare"] == "failed"
    assert run(after, 6, anew=True).passed
    assert not [path for path in folder.glob("its-own/*") if path.name != ".lock"]


def test_a_store_that_cannot_be_written_to_is_found_out_first(after, monkeypatch):
    make_clicks(after.parent, 7)

    def refuse(place, path, text):
        raise RuntimeError(f"cannot write {path}: no permission to")

    monkeypatch.setattr("stamp.store.place.Place.create", refuse)
    with pytest.raises(RuntimeError, match="cannot write leases/.*: no permission to"):
        run(after, 7)
    assert not (after.parent / "work" / "runs" / day(7)).exists()
    monkeypatch.undo()
    change(after, store="clicks")
    with pytest.raises(ValueError, match="clicks"):
        run(after, 7)


def test_models_of_a_shop_may_be_made_of_attributes_and_learn_orders(tmp_path):
    """Such take new products, and list what is ordered."""
    config = {**OPTIONS, "content": ["category"], "objectives": ["order"]}
    shop = make_shop(
        tmp_path, full={"config": config}, train={"config": config, "min_examples": 50, "jobs": 1}
    )  # fmt: skip
    result = run(shop, 5)
    assert result.passed
    work = tmp_path / "work" / "runs" / day(5)
    paths = [tmp_path / "work" / "full" / day(5) / "model", *(work / "models" / "released").glob("*/model")]
    assert len(paths) == 1 + result.reports["train_released"].counts["trained"] > 1
    assert all(stamp.load(path).weights_["attention.objectives"].any() for path in paths)
    bundle = work / "bundles" / "released"
    shirts = {"item_id": ["newest"], "category": ["shirts"]}
    assert stamp.add_products(bundle, shirts, out=tmp_path / "grown")["added"] == 1


def test_the_schema_is_one(nights):
    schema = stamp.pipeline.shop_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    example = pathlib.Path(__file__).parents[2] / "examples" / "pipeline" / "shop.json"
    jsonschema.validate(json.loads(example.read_text()), schema)
    read = stamp.pipeline.Shop.read(nights[0] / "shop.json")
    again = stamp.pipeline.Shop.read(json.loads(read.to_json()))
    assert again.given == read.given and read.work == str(nights[0] / "work")


def test_later_nights(after):
    """The model of the whole catalog is made anew when it is old, and old runs are removed, what is released is not."""
    change(after, full={"config": OPTIONS, "every": 2})
    for number in (7, 8):
        make_clicks(after.parent, number)
        result = run(after, number)
        assert result.passed and result.reports["train_full"].counts["day"] == day(7)
    for folder in ("runs", "clusters"):
        assert sorted(path.name for path in (after.parent / "work" / folder).iterdir()) == [day(6), day(7), day(8)]
    assert len(Store(after.parent / "store").releases()) == 4
