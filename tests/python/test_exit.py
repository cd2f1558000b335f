"""Daemon threads inside the library when the interpreter ends: the process ends as it was told to, and in silence."""

import subprocess
import sys

import pytest

# What a daemon thread does over and over.
CALLS = {
    "from_frame": "stamp.Sessions.from_frame(frame)",
    "fit": "small().fit(sessions, progress=False)",
    "progress": "small(batch_size=4).fit(sessions, progress=lambda *state: None)",
    "on_epoch": "small().fit(sessions, validation=0.5, progress=False, on_epoch=lambda epoch: None)",
    "baseline": "stamp.SessionKNNRecommender().fit(sessions)",
    "recommend": "model.recommend([1, 2, 3])",
    "recommend_batch": "model.recommend_batch([[1, 2, 3]] * 100)",
    "recommender": "server.recommend([1, 2, 3])",
    "reload": "server.reload()",
    "evaluate": "stamp.evaluate(model, sessions, progress=False)",
    "save": "model.save(tempfile.mkdtemp())",
    "replay": "stamp.offline.replay(model, sessions, progress=False)",
}

SETUP = """
import os, signal, sys, tempfile, threading, time
import numpy as np
import stamp

EVENTS = 4000
draw = np.random.default_rng(1)
frame = {"session_id": np.arange(EVENTS) // 4, "item_id": draw.integers(0, 50, EVENTS), "timestamp": np.arange(EVENTS)}
sessions = stamp.Sessions.from_frame(frame)


def small(**options):
    return stamp.StampRecommender(device="cpu", dim=8, epochs=2, **options)


model = small().fit(sessions, progress=False)
bundle = os.path.join(sys.argv[1], "bundle")
model.save(bundle)
server = stamp.Recommender(bundle, device="cpu")


def work():
    started.wait()
    while True:
        %s


started = threading.Barrier(5)
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
started.wait()
time.sleep(0.2)
"""

ENDS = {
    "": 0,
    "sys.exit(3)": 3,
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); os.kill(os.getpid(), signal.SIGTERM)": 0,
}


def run(tmp_path, call, end):
    command = [sys.executable, "-c", SETUP % CALLS[call] + end, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr, done.stdout) == (ENDS[end], "", "")


@pytest.mark.parametrize("call", CALLS)
def test_threads_in_any_call_end_with_the_program(tmp_path, call):
    run(tmp_path, call, "")


@pytest.mark.parametrize("end", ENDS)
def test_threads_end_however_the_program_does(tmp_path, end):
    run(tmp_path, "recommend", end)
