import os
import pathlib

import pytest

import stamp
from stamp import _stamp


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
def fitted(shop):
    train, _ = shop.sessions.split_last(0.2)
    return stamp.StampRecommender(preset="official", device="cpu", dim=24, epochs=3, batch_size=128).fit(train, progress=False)


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
