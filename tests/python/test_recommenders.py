"""fit, recommend, save, load: against numpy, and with input that cannot be."""

import itertools
import json
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy

import stamp


def scores_by_numpy(path, items):
    """STAMP's scores from the saved files alone; the `official` preset: + m_s, no bias, norm of lookups at most 1."""
    w = {k: v.astype(np.float64) for k, v in safetensors.numpy.load_file(path / "clusters" / "0.safetensors").items()}
    catalog = safetensors.numpy.load_file(path / "catalog.safetensors")
    offsets, text = catalog["id_offsets"], catalog["id_bytes"].tobytes()
    ids = [text[a:b].decode() for a, b in itertools.pairwise(offsets)]
    x = w["items"][[ids.index(i) for i in items]]
    x = x * np.minimum(1, 1 / np.maximum(1e-12, np.linalg.norm(x, axis=1)))[:, None]
    mean, anchor = x.mean(0), x[-1]
    query = w["attention.w2"] @ anchor + w["attention.w3"] @ mean
    a = 1 / (1 + np.exp(-(x @ w["attention.w1"].T + query))) @ w["attention.w0"]
    memory = a @ x + mean
    h = np.tanh(w["mlp_session.weight"] @ memory) * np.tanh(w["mlp_anchor.weight"] @ anchor)
    return np.array(ids, object), w["items"] @ h


def test_recommend_is_brute_force(fitted, shop, tmp_path):
    fitted.save(tmp_path / "model")
    for s in range(0, 60, 7):
        items = shop.sessions.session(s).tolist()[:3]
        names, z = scores_by_numpy(tmp_path / "model", items)
        assert names.tolist() == fitted.item_ids_.tolist()
        exclude, only = names[::3].tolist(), names[::2].tolist()
        for k in (1, 7, 1000):
            for kwargs, allowed in (
                ({}, names),
                ({"exclude": exclude}, [n for n in names if n not in set(exclude)]),
                ({"only": only}, only),
                ({"only": only, "exclude": exclude}, [n for n in only if n not in set(exclude)]),
            ):
                ids, scores = fitted.recommend(items, k=k, **kwargs)
                order = [n for n in names[np.argsort(-z, kind="stable")] if n in set(allowed)][:k]
                assert len(ids) == len(order) and set(ids) <= set(allowed)
                expected = dict(zip(names, z))
                np.testing.assert_allclose(scores, [expected[i] for i in ids], rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(scores, [expected[i] for i in order], rtol=1e-4, atol=1e-5)


def test_batches_are_single_requests(fitted, shop):
    sessions = [shop.sessions.session(i).tolist() for i in range(50)]
    for items, (ids, scores) in zip(sessions, fitted.recommend_batch(sessions, k=9)):
        alone = fitted.recommend(items, k=9)
        assert ids.tolist() == alone[0].tolist()
        assert scores.tolist() == alone[1].tolist()


def test_save_and_load(fitted, shop, tmp_path):
    path = tmp_path / "new" / "folder" / "model"
    fitted.save(path)
    fitted.save(path)
    loaded = stamp.load(path, device="cpu")
    items = shop.sessions.session(5).tolist()
    assert loaded.recommend(items)[1].tolist() == fitted.recommend(items)[1].tolist()
    assert loaded.get_params()["dim"] == 24
    assert loaded.fingerprint_ == fitted.fingerprint_
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["version"] == 3 and manifest["clusters"][0]["config"]["dim"] == 24
    tensors = safetensors.numpy.load_file(path / "clusters" / "0.safetensors")
    assert "attention.bias" not in tensors  # absent, not zero
    assert tensors["items"].shape == (loaded.n_items_, 24)

    model = path / "clusters" / "0.safetensors"
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with pytest.raises(RuntimeError, match="0.safetensors has checksum"):
        stamp.load(path)
    with pytest.raises(RuntimeError, match="not a saved model"):
        stamp.load(tmp_path)


def test_bad_requests(fitted, shop):
    known = shop.sessions.session(0).tolist()
    with pytest.warns(UserWarning, match="2 of 3 events"):
        ids, _ = fitted.recommend(["nobody", known[0], "knows"], k=3)
    assert ids.tolist() == fitted.recommend([known[0]], k=3)[0].tolist()
    for items in ([], ["nobody"]):
        with pytest.raises(ValueError, match="no known product"):
            fitted.recommend(items)
    with pytest.raises(ValueError, match="expected a list"):
        fitted.recommend("sku-00001")
    with pytest.raises(ValueError, match="k is 0"):
        fitted.recommend(known, k=0)
    ids, scores = fitted.recommend(known, exclude=fitted.item_ids_)
    assert len(ids) == len(scores) == 0
    assert len(fitted.recommend(known, k=10**6)[0]) == fitted.n_items_
    with pytest.raises(ValueError, match="not fitted"):
        stamp.StampRecommender().recommend(known)


def test_options_are_named_and_checked():
    model = stamp.StampRecommender(preset="paper", dim=7, learning_rate=np.float32(0.25))
    params = model.get_params()
    assert (
        params["precision"] == "auto" and params["dim"] == 7 and params["mlp_bias"] is True and params["epochs"] == 30
    )
    assert stamp.StampRecommender(**params).get_params() == params  # what scikit-learn's clone does
    assert model.set_params(dim=8).get_params()["dim"] == 8
    for wrong, message in (
        ({"dims": 3}, "unknown option 'dims'"),
        ({"dim": 0}, "dim is 0"),
        ({"dim": "8"}, "option 'dim'"),
        ({"dropout": 1.5}, "dropout is 1.5"),
        ({"preset": "best"}, "unknown preset 'best'"),
        ({"residual": "sum"}, "option 'residual'"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"monitor": "recall"}, "monitor is 'recall'"),
    ):
        with pytest.raises(ValueError, match=message):
            stamp.StampRecommender(**wrong)
    with pytest.raises(TypeError):
        stamp.StampRecommender("paper")


def test_fit_refuses_what_it_cannot_learn_from():
    with pytest.raises(ValueError, match="no example"):
        stamp.StampRecommender().fit(stamp.Sessions.from_frame([[1], [2], [1]]), progress=False)
    with pytest.raises(ValueError, match="expected stamp.Sessions"):
        stamp.StampRecommender().fit([[1, 2]])
    events = {"session_id": [1, 1], "item_id": [1, 2], "weight": [1, 0]}
    with pytest.raises(ValueError, match="an event of a weight above 0"):
        stamp.StampRecommender().fit(stamp.Sessions.from_frame(events), progress=False)
    one = stamp.StampRecommender(dim=4, epochs=1).fit(stamp.Sessions.from_frame([[1, 2]]), progress=False)
    assert one.n_items_ == 2


def test_divergence_says_where_and_keeps_weights(shop):
    model = stamp.StampRecommender(dim=8, learning_rate=1e18)
    with pytest.raises(stamp.TrainingDiverged, match="at step .* learning rate"):
        model.fit(shop.sessions, progress=False)
    assert all(np.isfinite(w).all() for w in model.weights_.values())


def test_sessions_that_travel_in_pieces_are_said_once(shop, monkeypatch):
    # No device here is too small for sessions that fit a test; which pieces travel is tests/test_batches.cpp's.
    train = stamp._stamp.train
    monkeypatch.setattr(stamp._stamp, "train", lambda *a: train(*a).replace('"streamed":false', '"streamed":true'))
    with pytest.warns(UserWarning, match="no room on cpu") as said:
        stamp.StampRecommender(dim=4, epochs=1, device="cpu").fit(shop.sessions, progress=False)
    assert len(said) == 1


def test_each_epoch_is_told_and_may_be_the_last(shop):
    told = []
    model = stamp.StampRecommender(dim=8, epochs=3)
    model.fit(shop.sessions, validation=0.2, refit=True, progress=False, on_epoch=told.append)
    assert told == model.report_["epochs"] and len(told) == 3
    assert told[2]["validation"]["at"]["20"]["mrr"] > 0

    model.fit(shop.sessions, validation=0.2, progress=False, on_epoch=lambda epoch: epoch["epoch"] < 2)
    assert model.report_["stopped"] == "interrupted" and len(model.report_["epochs"]) == 2
    assert model.report_["epochs"][1]["validation"] == told[1]["validation"]

    def explode(epoch):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        model.fit(shop.sessions, validation=0.2, progress=False, on_epoch=explode)


def test_validation_refit_and_vocabulary(shop):
    train, test = shop.sessions.split_last(0.3)
    model = stamp.StampRecommender(dim=16, epochs=3, batch_size=64).fit(
        train, validation=0.2, refit=True, progress=False
    )
    assert len(model.report_["epochs"]) == 3
    assert "validation" in model.report_["epochs"][0]
    seen = set(itertools.chain.from_iterable(train.session(i) for i in range(len(train))))
    assert set(model.item_ids_) == seen  # products of the test part alone are not in the model


def test_weights_shift_the_model():
    """Sessions that end in 'a' or 'b' equally often; weight decides which is recommended."""
    events = {"session_id": [], "item_id": [], "weight": []}
    for s in range(400):
        events["session_id"] += [s, s]
        events["item_id"] += ["start", "ab"[s % 2]]
        events["weight"] += [1.0, [5.0, 0.5][s % 2]]
    model = stamp.StampRecommender(dim=8, epochs=300, learning_rate=0.01, schedule="linear").fit(
        stamp.Sessions.from_frame(events), progress=False
    )
    ids, scores = model.recommend(["start"], only=["a", "b"])
    assert ids.tolist() == ["a", "b"]
    assert np.exp(scores[0] - scores[1]) == pytest.approx(10, rel=0.2)


SCRIPT = """
import sys, stamp
shop = stamp.datasets.synthetic_shop(sessions=4000, products=200, seed=3)
model = stamp.StampRecommender(dim=48, epochs=int(sys.argv[2]), batch_size=64, checkpoint_seconds=0.05)
print("ready", flush=True)
model.fit(shop.sessions, validation=0.2, checkpoint=sys.argv[1] or None, progress=False)
print(model.report_["stopped"], model.report_["resumed"], flush=True)
import hashlib
print(hashlib.sha256(b"".join(w.tobytes() for w in model.weights_.values())).hexdigest())
"""


def start(checkpoint, epochs):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, checkpoint, str(epochs)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_kill_and_resume_to_the_same_bits(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    whole = start("", 4).communicate()[0].split()
    killed = start(str(checkpoint), 4)
    while not checkpoint.exists() and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert checkpoint.exists()
    resumed = start(str(checkpoint), 4).communicate()[0].split()
    assert resumed[:2] == ["finished", "True"]
    assert resumed[2] == whole[2]
    assert start(str(checkpoint), 4).communicate()[0].split() == resumed  # the end, without training


def test_a_checkpoint_stays_until_the_model_is_saved(shop, tmp_path):
    checkpoint = tmp_path / "new" / "folder" / "checkpoint"
    model = stamp.StampRecommender(dim=8, epochs=1).fit(shop.sessions, checkpoint=checkpoint, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match="a file stands there"):
        model.save(tmp_path / "file")
    assert checkpoint.exists()
    model.save(tmp_path / "model")
    assert not checkpoint.exists()
    with pytest.raises(RuntimeError, match="it is a directory"):
        model.fit(shop.sessions, checkpoint=tmp_path, progress=False)


def test_saving_destroys_nobody_elses_files(fitted, tmp_path):
    (tmp_path / "precious.csv").write_text("1,2")
    with pytest.raises(RuntimeError, match="it holds precious.csv, which is not of a saved model"):
        fitted.save(tmp_path)
    assert (tmp_path / "precious.csv").read_text() == "1,2"


def test_a_fit_that_fails_changes_nothing(shop, tmp_path):
    model = stamp.StampRecommender(dim=8, epochs=1).fit(shop.sessions, progress=False)
    before = model.recommend(shop.sessions.session(0).tolist())
    for data in (stamp.Sessions.from_frame([[1], [2]]), stamp.Sessions.from_frame([])):
        with pytest.raises(ValueError):
            model.fit(data, progress=False)
        with pytest.raises(ValueError, match="not fitted"):
            fresh = stamp.StampRecommender()
            with pytest.raises(ValueError):
                fresh.fit(data, progress=False)
            fresh.recommend([1])
    after = model.recommend(shop.sessions.session(0).tolist())
    np.testing.assert_array_equal(after, before)
    with pytest.raises(ValueError, match="dim is 0"):
        model.set_params(dim=0)
    with pytest.raises(ValueError, match="unknown preset"):
        model.set_params(preset="zzz")
    assert model.get_params()["dim"] == 8
    model.set_params(epochs=7)
    model.save(tmp_path / "model")
    assert stamp.load(tmp_path / "model").get_params()["epochs"] == 1  # what it was trained with


def test_looking_at_the_model_while_it_trains(shop, tmp_path):
    items = shop.sessions.session(0).tolist()
    model = stamp.StampRecommender(dim=8, epochs=1).fit(shop.sessions, progress=False)
    seen = []
    model.set_params(epochs=3, learning_rate=0.01)
    model.fit(shop.sessions, progress=lambda *_: seen.append(model.recommend(items)) or True)
    assert seen
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(model.recommend(items)[1], stamp.load(tmp_path / "model").recommend(items)[1])


def test_a_visitor_without_known_products_spoils_no_batch(fitted, shop):
    known = shop.sessions.session(0).tolist()
    with pytest.warns(UserWarning, match="1 events are products unknown"):
        answers = fitted.recommend_batch([known, ["nobody knows"], known], k=5)
    assert [len(ids) for ids, _ in answers] == [5, 0, 5]


def test_ctrl_c_stops_and_keeps_the_weights():
    process = start("", 5000)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out.split()[:2] == ["interrupted", "False"]
    assert process.returncode == 0


def test_an_exception_in_the_callback_comes_through(shop):
    def explode(*_):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        stamp.StampRecommender(dim=8).fit(shop.sessions, progress=explode)
    model = stamp.StampRecommender(dim=8).fit(shop.sessions, progress=lambda *_: np.False_)
    assert model.report_["stopped"] == "interrupted"


def _child(model, items, queue):
    trained = stamp.StampRecommender(dim=8, epochs=1).fit(stamp.Sessions.from_frame([items] * 50), progress=False)
    queue.put((model.recommend_batch([items] * 100, k=5)[0][0].tolist(), trained.n_items_))


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_fork_after_work_works(fitted, shop):
    items = shop.sessions.session(3).tolist()
    expected = fitted.recommend_batch([items] * 100, k=5)[0][0].tolist()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(fitted, items, queue))
    child.start()
    assert queue.get(timeout=60) == (expected, len(set(items)))
    child.join()


def test_threads_setting():
    before = stamp.num_threads()
    assert before >= 1
    stamp.set_num_threads(3)
    assert stamp.num_threads() == 3
    stamp.set_num_threads(before)
    with pytest.raises(ValueError, match="threads is 0"):
        stamp.set_num_threads(0)
    env = {**os.environ, "STAMP_NUM_THREADS": "5"}
    out = subprocess.run(
        [sys.executable, "-c", "import stamp; print(stamp.num_threads())"], env=env, capture_output=True, text=True
    )
    assert out.stdout.strip() == "5"


def test_import_needs_numpy_alone():
    code = """
import sys, numpy
before = set(sys.modules)
import stamp
new = {m.split(".")[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names) - {"stamp", "__mp_main__"}
print(sorted(new))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_stubs_cover_the_module():
    from stamp import _stamp

    stub = (pathlib.Path(stamp.__file__).parent / "_stamp.pyi").read_text()
    for name in dir(_stamp):
        if not name.startswith("_"):
            assert any(text in stub for text in (f"def {name}(", f"class {name}:", f"class {name}(")), name
