import os
import pathlib

import numpy as np
import pandas as pd
import pytest

import stamp
from engine_harness import big_client, big_query, duck, spark, spark_session, zetasql  # noqa: F401, fixtures
from small_bundles import IDS, ITEMS, RULES, save_model
from stamp import _stamp
from store_bundles import nights  # noqa: F401, a fixture
from store_emulators import gcs_bucket, place, s3_bucket  # noqa: F401, fixtures


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items) -> None:
    """Where several processes run tests: those of a file in one of them, and all that need Spark, which starts slowly."""
    for item in items:
        group = "spark" if "spark_session" in getattr(item, "fixturenames", ()) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    path = os.environ.get("STAMP_DATA")
    if not path:
        pytest.skip("STAMP_DATA names no folder of real data")
    return pathlib.Path(path)


@pytest.fixture(scope="session")
def shop():
    return stamp.datasets.synthetic_shop(sessions=3000, products=200, seed=3)


@pytest.fixture(scope="session")
def events_file(shop, tmp_path_factory):
    path = tmp_path_factory.mktemp("events") / "events.csv"
    pd.DataFrame(shop.events).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def fitted(shop):
    train, _ = shop.sessions.split_last(0.2)
    return stamp.StampRecommender(preset="official", device="cpu", dim=24, epochs=3, batch_size=128).fit(
        train, progress=False
    )


@pytest.fixture(scope="session", params=["cpu", "cuda-sim", "cuda"])
def device(request) -> str:
    """A device to test on; "cuda-sim" is the simulator, whose module STAMP_CUDA_SIM_MODULE names."""
    try:
        return _stamp.open_device(request.param, "auto").name
    except RuntimeError as error:
        missing = f"NOT TESTED ON {request.param}: {error}"
    required = {"cuda-sim": "STAMP_REQUIRE_CUDA_SIM", "cuda": "STAMP_REQUIRE_CUDA"}[request.param]
    if os.environ.get(required) == "1":
        pytest.fail(f"{missing} ({required}=1)")
    pytest.skip(missing)


# Of training clusters.


@pytest.fixture(scope="session")
def small():
    return stamp.datasets.synthetic_shop(sessions=500, products=60, seed=5)


@pytest.fixture(scope="session")
def members(small):
    """Three clusters by category; some products are in none, and one is not in the data."""
    category = np.unique(small.products["category"], return_inverse=True)[1]
    ids = small.products["id"]
    return {7: [*ids[category < 5], "never clicked"], 2: ids[(category >= 5) & (category < 7)].tolist(),
            11: ids[category == 7].tolist()}  # fmt: skip


# Of serving: the shop of small_bundles.


@pytest.fixture
def models(tmp_path):
    """Saved models by cluster."""
    return {
        7: save_model(tmp_path / "models" / "7", IDS[:4], 1, [5, 9, 2, 4]),
        3: save_model(tmp_path / "models" / "3", IDS[4:7], 2, [3, 8, 1]),
    }


@pytest.fixture
def built(models, tmp_path):
    stamp.build_bundle(models, ITEMS, out=tmp_path / "bundle", rules=RULES, route_by="category")
    return tmp_path / "bundle"


@pytest.fixture
def recommender(built):
    return stamp.Recommender(built, device="cpu")
