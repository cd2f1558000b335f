"""What people install: the sdist, the wheel, and what it does without compiler or checkout."""

import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.parser import BytesParser

import pytest

import stamp
from stamp.base.extras import DISTRIBUTION

CHECKOUT = pathlib.Path(__file__).parents[2]
PACKAGE = CHECKOUT / "bindings/stamp"
# Ways to this checkout and its builds.
HERE = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "STAMP_CUDA_MODULE", "STAMP_CUDA_SIM_MODULE")


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--outdir", folder, CHECKOUT)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """The one that STAMP_WHEEL names, built from the checkout, whose files the sdist has; else one built from the sdist."""
    if os.environ.get("STAMP_WHEEL"):
        return pathlib.Path(os.environ["STAMP_WHEEL"]).resolve()
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, sdist)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def files(wheel):
    """Contents of the wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(sdist):
    with tarfile.open(sdist) as archive:
        (name,) = (name for name in archive.getnames() if name.endswith("/PKG-INFO"))
        return BytesParser().parse(archive.extractfile(name))


def sources(*folders):
    """Files of the checkout in some folders, without what compilers and Python leave there."""
    paths = (path for folder in folders for path in (CHECKOUT / folder).rglob("*") if path.is_file())
    return {path for path in paths if path.suffix != ".pyc" and ".so" not in path.suffixes}


def test_the_sdist_holds_what_a_wheel_is_built_from(sdist):
    with tarfile.open(sdist) as archive:
        names = [pathlib.PurePath(name) for name in archive.getnames()]
    assert {name.parts[0] for name in names} == {f"stamp_recommender-{stamp.__version__}"}
    wanted = sources("bindings", "cmake", "docs", "kernels", "stamp")
    wanted |= {CHECKOUT / name for name in ("CHANGELOG.md", "CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml")}
    held = {"/".join(name.parts[1:]) for name in names}
    assert held == {str(path.relative_to(CHECKOUT)) for path in wanted} | {"PKG-INFO"}


def test_the_sdist_is_the_checkout_and_can_be_configured(sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path)
    (root,) = tmp_path.iterdir()
    for path in root.rglob("*"):
        if path.is_file() and path.name != "PKG-INFO":
            assert path.read_bytes() == (CHECKOUT / path.relative_to(root)).read_bytes(), path
    run("cmake", "-S", root, "-B", tmp_path / "build", "-DSTAMP_BUILD_TESTS=OFF", "-DSTAMP_CUDA=OFF")


def test_the_wheel_holds_the_package_and_the_library(files):
    package = {f"stamp/{path.relative_to(PACKAGE)}" for path in sources("bindings/stamp")}
    assert {"stamp/py.typed", "stamp/_stamp.pyi"} <= package <= files.keys()
    about = {name for name in files if ".dist-info/" in name}
    compiled = {re.sub(r"\.cpython-\d+-\w+-linux-\w+", "", name) for name in files.keys() - about - package}
    assert compiled - {"stamp/libstamp_cuda.so"} == {"stamp/_stamp.so", "stamp/libstamp.so.0"}
    assert {pathlib.PurePath(name).parent.name for name in about} == {
        f"stamp_recommender-{stamp.__version__}.dist-info",
        "licenses",
    }
    (licence,) = (name for name in about if name.endswith("/licenses/LICENSE"))
    assert files[licence] == (CHECKOUT / "LICENSE").read_bytes()


def test_what_they_say_of_themselves(sdist, wheel, files, metadata):
    assert (metadata["Name"], metadata["Version"]) == (DISTRIBUTION, stamp.__version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line] == ["numpy>=1.24"]
    assert metadata.get_payload(decode=True) == (CHECKOUT / "README.md").read_bytes()
    (of_wheel,) = (content for name, content in files.items() if name.endswith(".dist-info/METADATA"))
    assert BytesParser().parsebytes(of_wheel).items() == metadata.items()
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)


def test_the_systems_that_it_runs_on_are_the_documented_ones(wheel, files):
    audit = json.loads(run(sys.executable, "-m", "auditwheel", "show", "--json", wheel))
    foreign = {name for name in audit["external_libs"] if not name.startswith("libcublas")}  # which an extra brings
    assert not foreign and not audit["unsupported_isa"]
    if platform.freedesktop_os_release().get("VERSION_CODENAME") != "bookworm" or "stamp/libstamp_cuda.so" in files:
        pytest.skip("docs/releasing.md says it of wheels built on Debian 12 without CUDA")
    documented = (CHECKOUT / "docs/releasing.md").read_text(encoding="utf-8")
    assert f"| `{audit['overall_tag']}` |" in documented


TEXTS = {".cpp", ".cu", ".h", ".ipynb", ".md", ".py", ".pyi", ".sh", ".toml", ".txt"}


def texts():
    """Everything that may tell people what to install, this file excepted."""
    for pattern in ("*", "benchmarks/*", "bindings/**/*", "docs/*", "examples/**/*", "stamp/*", "tests/**/*"):
        for path in CHECKOUT.glob(pattern):
            if path.suffix in TEXTS and path != pathlib.Path(__file__):
                yield str(path.relative_to(CHECKOUT)), path.read_text(encoding="utf-8")


def test_hints_name_this_distribution_and_extras_that_it_has(metadata):
    extras, named = set(metadata.get_all("Provides-Extra")), set()
    for path, text in texts():
        stranger = re.search(r"(?<![\w-])stamp\\?\[[a-z]+[\],\\].*|pip install ['\"]?stamp\b(?!-).*", text)
        assert not stranger, f"{path} names another distribution, stamp on PyPI: {stranger[0]}"
        for found in re.findall(rf"{DISTRIBUTION}\\?\[([a-z,-]+)\\?\]", text):
            named |= {(path, extra) for extra in found.split(",")}
        if path.startswith("bindings/"):
            named |= {(path, extra) for extra in re.findall(r'import_extra\([^)]*extra="([\w-]+)"', text)}
    assert {path for path, _ in named} >= {"stamp/device.cpp", "docs/cuda.md", "bindings/stamp/data/tables/columns.py"}
    assert not {(path, extra) for path, extra in named if extra not in extras}


@pytest.fixture(scope="module")
def empty(wheel, tmp_path_factory):
    """The tools of an environment that has the wheel alone, and where they run: an empty folder, nothing else on PATH."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder / "venv", with_pip=True, symlinks=True)
    kept = {name: value for name, value in os.environ.items() if name not in HERE}
    (folder / "work").mkdir()
    where = {"cwd": folder / "work", "env": {**kept, "PATH": str(folder / "venv/bin")}}
    run(folder / "venv/bin/pip", "install", "--quiet", "--only-binary=:all:", wheel, **where)
    return folder / "venv/bin", where


def test_it_brings_numpy_and_nothing_else(empty):
    bin, where = empty
    listed = json.loads(run(bin / "pip", "list", "--format=json", **where))
    assert {package["name"] for package in listed} - {"pip", "setuptools"} == {DISTRIBUTION, "numpy"}
    assert run(bin / "stamp", "--version", **where).strip() == stamp.__version__
    loaded = json.loads(
        run(bin / "python", "-c", "import json, stamp, sys; print(json.dumps([*sys.modules]))", **where)
    )
    third = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert {name for name in third if not name.startswith("_")} == {"stamp", "numpy"}


TRAIN = """
import json, stamp
train, test = stamp.datasets.synthetic_shop(sessions=2000, products=200, seed=1).sessions.split_last(0.1)
model = stamp.StampRecommender(preset="official", device="cpu", dim=16, epochs=2).fit(train, progress=False)
model.save("model")
found = stamp.evaluate(stamp.load("model", device="cpu"), test)
print(json.dumps([found.at[20]["hr"], stamp.__file__, [str(i) for i in test.session(0)]]))
"""


def test_it_trains_saves_loads_evaluates_and_recommends(empty):
    bin, where = empty
    rate, path, session = json.loads(run(bin / "python", "-c", TRAIN, **where))
    assert path.startswith(str(bin.parent)) and 0.2 < rate < 1  # 20 of 200 products at random: 0.1
    answer = json.loads(run(bin / "stamp", "recommend", "model", *session, "--k", 5, "--json", **where))
    # What it saved is the same model to whoever tests it here.
    ids, scores = stamp.load(where["cwd"] / "model", device="cpu").recommend(session, k=5)
    assert answer["ids"] == list(ids) and answer["scores"] == pytest.approx(list(map(float, scores)))


MISSING = """
import json, pathlib, stamp
from stamp import offline
shop = stamp.datasets.synthetic_shop(sessions=200, products=50, seed=1)
model = stamp.StampRecommender(device="cpu", dim=8, epochs=1).fit(shop.sessions, progress=False)
pathlib.Path("events.csv").write_text("session_id,item_id\\na,x\\na,y\\n")
said = {}
for name, call in {
    "data": lambda: stamp.Sessions.from_frame("events.csv"),
    "prepare": lambda: stamp.data.prepare("events.csv", out="prepared"),
    "plot": lambda: offline.plot_coverage(None),
    "search": lambda: offline.search({"dim": [4, 8]}, shop.sessions, trials=1),
    "cluster": lambda: stamp.cluster_catalog(model, {}, shop.sessions, attribute="category", clusters=2),
    "offline": lambda: offline.ab.proportions(control=(300, 10_000), treatment=(360, 10_000)),
    "pipeline": lambda: stamp.pipeline.run("shop.json"),
    "gcs": lambda: stamp.store.Store("gs://shop/store"),
    "s3": lambda: stamp.store.Store("s3://shop/store"),
    "pandas": lambda: offline.Table(["a"], [[1]]).to_frame(),
}.items():
    try:
        call()
    except ImportError as error:
        said[name] = str(error)
print(json.dumps(said))
"""


def test_what_is_missing_is_said_with_the_command_that_installs_it(empty, metadata):
    bin, where = empty
    said = json.loads(run(bin / "python", "-c", MISSING, **where))
    assert said == {
        "data": "reading events.csv needs pyarrow: pip install 'stamp-recommender[data]'",
        "prepare": "stamp.data.prepare needs ibis: pip install 'stamp-recommender[prepare]'",
        "plot": "plotting needs matplotlib: pip install 'stamp-recommender[plot]'",
        "search": "search needs optuna: pip install 'stamp-recommender[search]'",
        "cluster": "clustering a catalog needs scipy: pip install 'stamp-recommender[cluster]'",
        "offline": "A/B arithmetic needs scipy: pip install 'stamp-recommender[offline]'",
        "pipeline": "stamp.pipeline.run needs jsonschema: pip install 'stamp-recommender[pipeline]'",
        "gcs": "reading and writing gs://shop/store needs fsspec: pip install 'stamp-recommender[gcs]'",
        "s3": "reading and writing s3://shop/store needs fsspec: pip install 'stamp-recommender[s3]'",
        "pandas": "Table.to_frame needs pandas: pip install pandas",
    }
    for extra, message in list(said.items())[:-1]:
        package = re.search(r"needs (\w+):", message)[1]
        assert any(
            line.startswith(package) and f'extra == "{extra}"' in line for line in metadata.get_all("Requires-Dist")
        )
    done = subprocess.run(
        [bin / "stamp", "train", "events.csv", "--out", "new"], capture_output=True, text=True, **where
    )
    assert done.returncode == 2 and said["data"] in done.stderr
