"""Bundles of two nights for stores: the second night's model of one cluster is another, the other one's is the same."""

import pathlib

import pytest

import stamp
from small_bundles import IDS, ITEMS, RULES, save_model


def bundle_of(folder: pathlib.Path, seed: int) -> pathlib.Path:
    """`seed` is of cluster 3's model."""
    models = {
        7: save_model(folder / "7", IDS[:4], 1, [5, 9, 2, 4]),
        3: save_model(folder / "3", IDS[4:7], seed, [3, 8, 1]),
    }
    stamp.build_bundle(models, ITEMS, out=folder / "bundle", rules=RULES, route_by="category")
    return folder / "bundle"


@pytest.fixture(scope="session")
def nights(tmp_path_factory) -> list[pathlib.Path]:
    """Three bundles."""
    return [bundle_of(tmp_path_factory.mktemp(f"night{seed}"), seed) for seed in (2, 3, 4)]


def contents(folder) -> dict[str, bytes]:
    """Of a folder's files by their paths."""
    folder = pathlib.Path(folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
