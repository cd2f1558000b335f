"""From explored lists to what another bundle would have earned, through the example that estimates it."""

import datetime
import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import stamp
from conftest import bundle_of
from stamp.offline import off_policy

EXAMPLE = pathlib.Path(__file__).parents[1] / "off_policy.py"
START = datetime.datetime(2026, 11, 28, 9, 30, tzinfo=datetime.timezone.utc).timestamp()
SECRET = b"a secret of the shop's, for this test"
STRENGTH, AMONG, K = 1.0, 6, 2


@pytest.fixture
def hash_of(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    spec = importlib.util.spec_from_file_location("ab_test", EXAMPLE.parent / "ab_test.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.hash_of


def test_another_bundle_is_judged_by_explored_lists(shop, bundle, recommender, hash_of, tmp_path):
    """The lines are as the server writes them (test_experiments.py reads its own by the same call)."""
    random = np.random.default_rng(7)
    histories, lines, events, clicks = [], [], ["visitor_id,item_id,timestamp"], ["request,item_id"]
    for n in range(1500):
        now = START + 60 * n
        items = shop.sessions.session(n % len(shop.sessions)).tolist()
        history = items[: 1 + n % 3]
        histories.append(history)
        # Before a long pause, in the session, and after the list: only what is between counts.
        events += [f"visitor {n},{items[-1]},{now - 9000}", f"visitor {n},{items[-1]},{now + 5}"]
        events += [f"visitor {n},{item},{now - 10 * (len(history) - at)}" for at, item in enumerate(history)]
        best = recommender.recommend(history, zone="home", k=AMONG)
        weights = np.exp(best.scores.astype(float) / STRENGTH)
        left, order, propensities = list(range(AMONG)), [], []
        for _ in range(K):
            chances = weights[left] / weights[left].sum()
            taken = random.choice(len(left), p=chances)
            propensities.append(chances[taken])
            order.append(left.pop(taken))
        ids = best.ids.tolist()
        time = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        line = {"time": time, "request": f"r{n}", "visitor": hash_of(SECRET, f"visitor {n}"), "zone": "home",
                "experiment": "x", "arm": "explored", "release": "bundle", "path": "anchor",
                "items": [ids[at] for at in order]}  # fmt: skip
        scores = [float(str(score)) for score in best.scores]  # with the digits of single precision
        exploration = {"strength": STRENGTH, "candidates": ids, "scores": scores, "propensities": propensities}
        lines.append(line | {"exploration": exploration})
        clicks += [f"r{n},{ids[at]}" for at in order if random.random() < (0.5 if ids[at] < ids[0] else 0.2)]
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "exposures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "secret").write_bytes(SECRET)
    for name, rows in (("events", events), ("clicks", clicks)):
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
    other = bundle_of(shop, tmp_path / "other", seed=2)
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--exposures", tmp_path / "log", "--arm", "explored", "--zone", "home", "--secret",
         tmp_path / "secret", "--events", tmp_path / "events.csv", "--clicks", tmp_path / "clicks.csv", other],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    log = off_policy.read_exposures(tmp_path / "log", tmp_path / "clicks.csv")
    candidate = stamp.Recommender(other, device="cpu")
    lists = off_policy.RankedLists([candidate.recommend(each, zone="home", k=K).ids.tolist() for each in histories])
    expected = off_policy.estimate(log, lists, without_overlap="leave out")
    assert done.stdout == f"{expected!r}\n" and expected[None].estimates
