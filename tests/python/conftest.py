import os
import pathlib

import pytest

import stamp


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
    return stamp.StampRecommender(dim=24, epochs=3, batch_size=128).fit(train, progress=False)
