"""Devices: what there is, why one cannot be had, and the library working on each."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import stamp
from test_recommenders import scores_by_numpy

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = pathlib.Path(stamp.__file__).parent


def python(code, **environment):
    """What `code` prints, in a process of its own: a module is looked for once."""
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def module(folder, body, *libraries):
    """A CUDA module of our own making."""
    source, path = folder / "module.cpp", folder / "libstamp_cuda.so"
    source.write_text('#include "stamp/device.h"\nusing namespace stamp;\nextern "C" {\n' + body + "\n}\n")
    subprocess.run(["g++", "-std=c++20", "-shared", "-fPIC", f"-I{ROOT}", source, *libraries, "-o", path], check=True)
    return path


BROKEN_GPU = """
const char* stamp_module_version() { return "VERSION"; }
void stamp_module_devices(std::vector<DeviceInfo>& devices) { devices = {{"cuda", "A GPU", "it is broken"}}; }
Device* stamp_module_open(int, Precision) { fail("open_device: 'cuda' cannot be had: it is broken"); }
"""
REASON = "import stamp; print(stamp.devices()[1].reason)"
WITHOUT_CUDA = """
import stamp
train = stamp.Sessions.from_frame([[1, 2]])
print(stamp.devices()[1].reason)
for options in ({"device": "cuda"}, {"precision": "tf32"}, {"device": "cuda-sim"}):
    try:
        stamp.StampRecommender(**options).fit(train, progress=False)
    except Exception as error:
        print(type(error).__name__, error)
model = stamp.StampRecommender(dim=4, epochs=1).fit(train, progress=False)
print(model.device_, model.precision_, model.report_["device"], model.report_["precision"])
"""


def test_devices_are_listed():
    cpu, *others = stamp.devices()
    wide = stamp.cpu_isa().startswith("avx512")
    bf16 = ", bf16" if wide and "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text() else ""
    assert cpu == stamp.DeviceInfo("cpu", f"{stamp.num_threads()} threads, {stamp.cpu_isa()}{bf16}", True, "")
    assert others and all(d.name.startswith("cuda") and d.available == (not d.reason) for d in others)


def test_why_cuda_cannot_be_had(tmp_path):
    text = tmp_path / "text.so"
    text.write_text("no library, but long enough to be looked into: " + "x" * 100)
    missing = tmp_path / "libcumissing.so.1"
    subprocess.run(
        ["g++", "-shared", "-x", "c++", "/dev/null", "-Wl,-soname,libcumissing.so.1", "-o", missing], check=True
    )
    for folder in ("needs", "foreign", "old", "broken"):
        (tmp_path / folder).mkdir()
    needs = module(tmp_path / "needs", "", "-Wl,--no-as-needed", missing)
    missing.unlink()
    foreign = module(tmp_path / "foreign", "")
    old = module(tmp_path / "old", BROKEN_GPU.replace("VERSION", "0.0.9"))
    (version,) = re.findall("expected (.*)", python(REASON, STAMP_CUDA_MODULE=str(old)))
    broken = module(tmp_path / "broken", BROKEN_GPU.replace("VERSION", version))
    for path, reason in (
        ("/no/such.so", "there is no module /no/such.so, which STAMP_CUDA_MODULE names; install a build"),
        ("such.so", "there is no module such.so, which STAMP_CUDA_MODULE names; install a build"),
        (text, "its module cannot be loaded: .*invalid ELF header"),
        (
            needs,
            r"its module cannot be loaded: libcumissing.so.1: cannot open .*; pip install 'stamp-recommender\[cuda\]' brings it",
        ),
        (foreign, f"{foreign} is no module of stamp"),
        (old, rf"module .* is of version 0.0.9, expected {stamp.__version__}\+........$"),
        (broken, "it is broken"),
    ):
        output = python(WITHOUT_CUDA, STAMP_CUDA_MODULE=str(path), STAMP_CUDA_SIM_MODULE="/no/sim.so")
        listed, cuda, tf32, simulator, auto = output.split("\n")
        assert re.match(reason, listed), output
        assert cuda == f"RuntimeError open_device: 'cuda' cannot be had: {listed}"
        assert tf32.startswith(
            f"ValueError open_device: precision is tf32 and the device the CPU ('cuda' cannot be had: {listed})"
        )
        assert "there is no module /no/sim.so" in simulator and "the tests build it" in simulator
        assert auto == "cpu fp32 cpu fp32"


def test_what_is_no_device_and_no_precision(fitted, tmp_path):
    train = stamp.Sessions.from_frame([[1, 2]])
    fitted.save(tmp_path / "model")
    for options, message in (
        ({"device": "gpu"}, "unknown device 'gpu', expected 'auto', 'cpu', 'cuda' or 'cuda:N'"),
        ({"device": "cpu:1"}, "unknown device 'cpu:1'"),
        ({"device": "cuda:one"}, "'cuda:one', expected an index after the colon"),
        ({"device": "cuda:"}, "expected an index after the colon"),
        ({"device": "cpu", "precision": "tf32"}, "precision is tf32 and the device the CPU"),
        ({"device": "cpu", "precision": "half"}, "precision is 'half', expected auto, fp32, tf32 or bf16"),
    ):
        with pytest.raises(ValueError, match=message):
            stamp.StampRecommender(**options).fit(train, progress=False)
        with pytest.raises(ValueError, match=message):
            stamp.load(tmp_path / "model", **options)
    with pytest.raises(ValueError, match="precision is 'half'"):
        stamp.StampRecommender().set_params(precision="half")
    with pytest.raises(ValueError, match="not fitted"):
        print(stamp.StampRecommender().device_)


def test_nothing_but_the_module_needs_cuda():
    libraries = [p for p in PACKAGE.glob("*.so*") if not p.name.startswith("libstamp_cuda")]
    assert {p.name.split(".")[0] for p in libraries} == {"_stamp", "libstamp"}
    for library in libraries:
        needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
        assert "NEEDED" in needed and "libcu" not in needed
    code = """
import stamp
shop = stamp.Sessions.from_frame([[1, 2], [2, 1]])
stamp.StampRecommender(device="cpu", dim=4, epochs=1).fit(shop, progress=False).recommend([1])
print([line for line in open("/proc/self/maps") if "libcu" in line or "stamp_cuda" in line])
"""
    assert python(code) == "[]"


def test_import_is_quick():
    code = "import time; start = time.process_time(); import stamp; print(time.process_time() - start)"
    assert min(float(python(code)) for _ in range(3)) < 0.3


@pytest.fixture(scope="module")
def small():
    return stamp.datasets.synthetic_shop(sessions=300, products=70, seed=3).sessions.split_last(0.2)


@pytest.fixture(scope="module")
def options(device):
    given = {"preset": "official", "dim": 12, "batch_size": 128, "learning_rate": 0.01}
    return {"device": device, "precision": "fp32", **given}


@pytest.fixture(scope="module")
def on_device(small, options):
    return stamp.StampRecommender(**options, epochs=2).fit(small[0], validation=0.1, progress=False)


def test_every_device_says_what_it_is(on_device, options):
    assert on_device.device_ == on_device.report_["device"] == options["device"]
    assert on_device.precision_ == on_device.report_["precision"] == "fp32"
    assert on_device.get_params().items() >= options.items()


def test_training_is_the_same_on_every_device(on_device, small, options):
    again = stamp.StampRecommender(**options, epochs=2).fit(small[0], validation=0.1, progress=False)
    cpu = stamp.StampRecommender(**{**options, "device": "cpu"}, epochs=2)
    cpu.fit(small[0], validation=0.1, progress=False)
    for name, weight in on_device.weights_.items():
        np.testing.assert_array_equal(weight, again.weights_[name])  # to the bit
        np.testing.assert_allclose(weight, cpu.weights_[name], atol=1e-3)
    assert on_device.report_["epochs"][-1]["loss"] == pytest.approx(cpu.report_["epochs"][-1]["loss"], rel=1e-4)


def test_recommending_is_brute_force_on_every_device(on_device, small, tmp_path):
    on_device.save(tmp_path / "model")
    for s in range(0, 40, 13):
        items = small[0].session(s).tolist()
        names, z = scores_by_numpy(tmp_path / "model", items)
        ids, scores = on_device.recommend(items, k=10, exclude=names[:3])
        expected = dict(zip(names[3:], z[3:]))
        np.testing.assert_allclose(scores, [expected[i] for i in ids], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scores, sorted(expected.values(), reverse=True)[:10], rtol=1e-4, atol=1e-5)
        batch = on_device.recommend_batch([items, items[:1]], k=10, exclude=names[:3])
        np.testing.assert_allclose(batch[0][1], scores, rtol=1e-4, atol=1e-5)
        few = on_device.recommend(items, only=names[:5], exclude=names[:3])
        assert sorted(few[0]) == sorted(names[3:5])


def test_models_move_between_devices(on_device, small, options, tmp_path):
    on_device.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["clusters"][0]["report"]["device"] == options["device"]
    same = stamp.load(tmp_path / "model", device=options["device"], precision="fp32")
    cpu = stamp.load(tmp_path / "model", device="cpu")
    assert (same.device_, cpu.device_) == (options["device"], "cpu")
    items = small[0].session(0).tolist()
    np.testing.assert_array_equal(same.recommend(items)[1], on_device.recommend(items)[1])
    np.testing.assert_allclose(cpu.recommend(items)[1], on_device.recommend(items)[1], rtol=1e-4, atol=1e-5)
    at, of_cpu = (stamp.evaluate(model, small[1]).to_dict() for model in (on_device, cpu))
    assert at == pytest.approx(of_cpu, abs=0.02)  # a rank or two, where scores are close


def test_bf16_trains_on_every_device_and_is_the_default_of_cuda(small, options):
    auto = stamp.StampRecommender(**{**options, "precision": "auto"}, epochs=1).fit(small[0], progress=False)
    assert auto.precision_ == auto.report_["precision"] == ("fp32" if options["device"] == "cpu" else "bf16")
    model = stamp.StampRecommender(**{**options, "precision": "bf16"}, epochs=1).fit(small[0], progress=False)
    assert model.precision_ == model.report_["precision"] == "bf16"
    single = stamp.StampRecommender(**options, epochs=1).fit(small[0], progress=False)
    loss, expected = (m.report_["epochs"][0]["loss"] for m in (model, single))
    assert loss == pytest.approx(expected, rel=0.01) and loss != expected


def test_a_cpu_lists_in_fp32_whatever_it_trains_in(small, on_device, tmp_path):
    on_device.save(tmp_path / "model")
    in_bf16, in_fp32 = (stamp.load(tmp_path / "model", device="cpu", precision=p) for p in ("bf16", "fp32"))
    assert (in_bf16.precision_, in_fp32.precision_) == ("bf16", "fp32")
    for s in range(0, 40, 7):
        items = small[0].session(s).tolist()
        for found, expected in zip(in_bf16.recommend(items, k=20), in_fp32.recommend(items, k=20)):
            np.testing.assert_array_equal(found, expected)  # to the bit
    assert stamp.evaluate(in_bf16, small[1]).to_dict() == stamp.evaluate(in_fp32, small[1]).to_dict()


def test_errors_on_every_device(small, options):
    name = options["device"]
    with pytest.raises(stamp.TrainingDiverged, match="at step .* learning rate"):
        stamp.StampRecommender(**{**options, "learning_rate": 1e18}).fit(small[0], progress=False)
    if name != "cpu":
        with pytest.raises(RuntimeError, match=f"'{name}:99' cannot be had: there "):
            stamp.StampRecommender(**{**options, "device": f"{name}:99"}).fit(small[0], progress=False)
