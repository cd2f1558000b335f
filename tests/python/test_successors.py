"""Floors of successors, from training to lists: what a bundle's tensors say of them, in NumPy."""

import copy
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import stamp
from repeats_oracle import repeats_of

OPTIONS = {"dim": 16, "epochs": 2, "batch_size": 64, "seed": 1}
NONE = {"successor_floors": 0, "second_floors": 0}


@pytest.fixture(scope="module")
def fitted(small):
    return stamp.StampRecommender(device="cpu", **OPTIONS).fit(small.sessions, progress=False)


def tensors_of(recommender, folder):
    recommender.save(folder)
    return load_file(next((folder / "clusters").glob("*.safetensors")))


def successors_of(tensors, row, table="successors"):
    first, last = tensors[f"{table}.offsets"][row : row + 2]
    return tensors[f"{table}.values"][first:last], tensors[f"{table}.log_shares"][first:last]


def without(recommender, sessions, *names):
    """The same model, without these floors."""
    other = stamp.StampRecommender(device="cpu", **OPTIONS).fit(sessions, progress=False)
    weights = recommender.weights_
    other._model.set_weights({**weights, **{name: np.full_like(weights[name], -3.4028235e38) for name in names}})
    return other


def test_a_list_is_the_mixture_that_the_documentation_says(fitted, small, tmp_path):
    tensors = tensors_of(fitted, tmp_path / "model")
    floors, in_one = fitted.weights_["successor.floors"], fitted.get_params()["successor_floors"]
    assert (floors > -1e38).any(), "nothing follows in a shop whose visitors walk along categories"
    floors[in_one:] = 5  # the fit gives these none here: what lies two steps away, the network knows
    fitted = copy.deepcopy(fitted)
    fitted._model.set_weights({**fitted.weights_, "successor.floors": floors})
    ways = {"successors": floors[:in_one], "second_successors": floors[in_one:]}
    plain = without(fitted, small.sessions, "repeat.floors", "successor.floors")
    V, ids = len(fitted.item_ids_), fitted.item_ids_.tolist()
    for session in [small.sessions.session(i).tolist() for i in range(40)]:
        history = [ids.index(item) for item in session]
        found, scores = plain.recommend(session, k=V)
        p = np.empty(V)
        p[[ids.index(item) for item in found.tolist()]] = np.exp(scores.astype(float))
        for row, floor in repeats_of(history, fitted.weights_["repeat.floors"]).items():
            p[row] += np.exp(floor)
        for table, of_table in ways.items():
            for floor, row in zip(of_table, history[::-1]):
                rows, log_shares = successors_of(tensors, row, table)
                p[rows] += np.exp(float(floor) + log_shares)
        found, scores = fitted.recommend(session, k=V)
        np.testing.assert_allclose(scores, np.log(p[[ids.index(item) for item in found.tolist()]]), atol=2e-4)
        assert (np.diff(scores) <= 0).all()


def assert_same_lists(one, other):
    for item in one.item_ids_[:20].tolist():
        assert all(np.array_equal(a, b) for a, b in zip(one.recommend([item]), other.recommend([item])))


def test_successors_are_kept_by_files_and_copies(fitted, small, tmp_path):
    before = tensors_of(fitted, tmp_path / "model")
    for name, other in {"again": stamp.load(tmp_path / "model", device="cpu"), "copy": copy.deepcopy(fitted)}.items():
        again = tensors_of(other, tmp_path / name)
        assert all(np.array_equal(before[name], again[name]) for name in before)
    assert max(len(successors_of(before, row)[0]) for row in range(len(fitted.item_ids_))) > 1
    few = stamp.StampRecommender(device="cpu", **OPTIONS, successors=3, successor_floors=1, second_floors=1)
    tensors = tensors_of(few.fit(small.sessions, progress=False), tmp_path / "few")
    assert tensors["successor.floors"].shape == (2,)
    for table in ("successors", "second_successors"):
        assert max(len(successors_of(tensors, row, table)[0]) for row in range(len(few.item_ids_))) == 3
    none = stamp.StampRecommender(device="cpu", **OPTIONS, **NONE).fit(small.sessions, progress=False)
    assert not [name for name in tensors_of(none, tmp_path / "none") if "successor" in name]
    # What the two differ in is in the lists alone: the weights have learnt the same.
    assert np.array_equal(none.weights_["items"], fitted.weights_["items"])


@pytest.mark.parametrize(
    "given", [{"successor_floors": -1}, {"successor_floors": 65}, {"second_floors": 65}, {"successors": 0}]
)
def test_numbers_that_cannot_be_are_refused(given):
    ((name, value),) = given.items()
    with pytest.raises(ValueError, match=f"Config: {name} is {value}, expected"):
        stamp.StampRecommender(**given)


def test_a_bundle_from_before_there_were_successors_lists_as_it_did(small, tmp_path):
    before = stamp.StampRecommender(device="cpu", **OPTIONS, **NONE).fit(small.sessions, progress=False)
    before.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    for name in (*NONE, "successors"):
        del manifest["clusters"][0]["config"][name]
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))
    after = stamp.load(tmp_path / "model", device="cpu")
    assert_same_lists(before, after)


def test_a_bundle_from_before_there_were_two_steps_lists_as_it_did(small, tmp_path):
    options = {**OPTIONS, "successor_floors": 5, "second_floors": 0}
    before = stamp.StampRecommender(device="cpu", **options).fit(small.sessions, progress=False)
    before.save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    del manifest["clusters"][0]["config"]["second_floors"]
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))
    after = stamp.load(tmp_path / "model", device="cpu")
    assert after.weights_["successor.floors"].shape == (5,) and after.get_params()["second_floors"] == 0
    assert_same_lists(before, after)
