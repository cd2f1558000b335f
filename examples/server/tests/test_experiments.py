"""Arms: who is in which, what they see, and what is written of it."""

import hashlib
import json
import math
import subprocess

import numpy as np
import pytest
from serving import PROGRAM, ids

import stamp
from conftest import bundle_of
from stamp.offline import off_policy

EVENTS = ["sku-00010", "sku-00011", "sku-00040"]


def bucket(salt: str, visitor: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}\0{visitor}".encode()).digest()[:8], "big") % 10_000


def experiment(*arms, **more):
    return {"name": "test", "arms": list(arms), **more}


def lines_of(folder):
    return [
        json.loads(line) for file in sorted(folder.glob("exposures*.jsonl")) for line in file.read_text().splitlines()
    ]


def test_visitors_stay_in_the_arm_that_their_hash_says(start):
    server = start(experiments=[experiment({"name": "a", "share": 3000}, {"name": "b", "share": 5000}, salt="s")])
    seen = {}
    for n in range(200):
        visitor = f"visitor {n}"
        answers = [server.predict("home", userEvent={"visitorId": visitor}).json for _ in range(2)]
        arms = [answer.get("experiment") for answer in answers]
        place = bucket("s", visitor)
        expected = "a" if place < 3000 else "b" if place < 8000 else None
        assert arms == [{"name": "test", "arm": expected} if expected else None] * 2
        seen[expected] = seen.get(expected, 0) + 1
    assert set(seen) == {"a", "b", None}
    assert server.metric("stamp_exposures_total", 'experiment="test",arm="a"') == 2 * seen["a"]
    assert "experiment" not in server.predict("home", events=EVENTS).json  # nobody


def test_an_arm_answers_by_another_zone_or_another_release(start, shop, recommender, tmp_path):
    other = bundle_of(shop, tmp_path / "other", seed=2)
    server = start(
        experiments=[
            experiment({"name": "zone", "share": 10_000, "zone": "product_page"}, zones=["home"]),
            experiment(
                {"name": "release", "share": 10_000, "bundle": str(other)}, name="second", zones=["product_page"]
            ),
        ]
    )
    named = {"visitorId": "v"}
    home = server.predict("home", events=EVENTS, userEvent=named)
    assert ids(home) == recommender.recommend(EVENTS, zone="product_page").ids.tolist()
    page = server.predict("product_page", events=EVENTS, userEvent=named)
    assert page.json["experiment"] == {"name": "second", "arm": "release"}
    assert ids(page) == stamp.Recommender(other, device="cpu").recommend(EVENTS, zone="product_page").ids.tolist()
    assert ids(page) != recommender.recommend(EVENTS, zone="product_page").ids.tolist()


def test_an_arm_that_the_release_cannot_be_is_nobodys(start, recommender):
    server = start(experiments=[experiment({"name": "a", "share": 10_000, "zone": "gone"}, zones=["home"])])
    answer = server.predict("home", events=EVENTS, userEvent={"visitorId": "v"})
    assert ids(answer) == recommender.recommend(EVENTS, zone="home").ids.tolist() and "experiment" not in answer.json


def test_a_log_that_was_cut_short_goes_on_with_whole_lines(start, tmp_path):
    (tmp_path / "exposures.jsonl").write_text('{"arm": "before"}\n{"arm": "a", "items": ["half')
    server = start(experiments=[experiment({"name": "a", "share": 10_000})], exposures={"directory": str(tmp_path)})
    server.predict("home", userEvent={"visitorId": "v"})
    server.end()
    assert [line["arm"] for line in lines_of(tmp_path)] == ["before", "a"]


def test_exposures_are_written_without_visitors_ids(start, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef" * 4)
    server = start(
        experiments=[experiment({"name": "a", "share": 10_000})],
        exposures={"directory": str(tmp_path / "log")},
        secret_file=str(secret),
    )
    answers = [server.predict("home", events=EVENTS, userEvent={"visitorId": f"eve-{n % 3}"}) for n in range(6)]
    server.predict("home", events=EVENTS, userEvent={"visitorId": "eve-0"}, validateOnly=True)  # shows nothing
    server.end()
    lines = lines_of(tmp_path / "log")
    assert [line["items"] for line in lines] == [ids(answer) for answer in answers]
    assert [line["request"] for line in lines] == [answer.headers["X-Request-Id"] for answer in answers]
    assert len({line["visitor"] for line in lines}) == 3 and lines[0]["visitor"] == lines[3]["visitor"]
    assert "eve" not in (tmp_path / "log" / "exposures.jsonl").read_text()
    assert "eve" not in "".join(server.log)
    assert {(line["arm"], line["zone"], line["release"], line["path"]) for line in lines} == {
        ("a", "home", "bundle", "anchor")
    }


def test_a_sample_is_of_whole_visitors(start, tmp_path):
    server = start(
        experiments=[experiment({"name": "a", "share": 10_000})], exposures={"directory": str(tmp_path), "share": 4000}
    )
    for n in range(90):
        server.predict("home", userEvent={"visitorId": f"v{n % 30}"})
    server.end()
    per_visitor = [
        sum(line["visitor"] == visitor for line in lines_of(tmp_path))
        for visitor in {line["visitor"] for line in lines_of(tmp_path)}
    ]
    expected = sum(bucket("exposures", f"v{n}") < 4000 for n in range(30))
    assert per_visitor == [3] * expected and 0 < expected < 30


def test_files_rotate_and_the_oldest_go(start, tmp_path):
    server = start(
        experiments=[experiment({"name": "a", "share": 10_000})],
        exposures={"directory": str(tmp_path), "file_bytes": 4096, "files": 2},
    )
    import time

    (tmp_path / "notes.txt").write_text("not ours")
    for _ in range(12):
        for _ in range(20):
            server.predict("home", events=EVENTS, userEvent={"visitorId": "v"})
        time.sleep(0.25)  # lines of a moment are written together
    server.end()
    rotated = list(tmp_path.glob("exposures-*.jsonl"))
    assert len(rotated) == 2 and (tmp_path / "notes.txt").exists()
    for file in [*rotated, tmp_path / "exposures.jsonl"]:
        assert all(json.loads(line)["arm"] == "a" for line in file.read_text().splitlines())


def test_exploration_says_how_likely_what_was_shown_was(start, recommender, tmp_path):
    strength, among = 0.7, 6
    server = start(
        experiments=[experiment({"name": "x", "share": 10_000, "explore": strength, "explore_among": among})],
        exposures={"directory": str(tmp_path)},
    )
    asked = {"events": EVENTS, "k": 3, "params": {"returnScore": True}}
    answers = [server.predict("home", userEvent={"visitorId": "v"}, **asked) for _ in range(400)]
    explained = server.predict("home", userEvent={"visitorId": "v"}, explain=True, **asked)
    server.end()
    truth = recommender.recommend(EVENTS, zone="home", k=among)
    score = dict(zip(truth.ids.tolist(), truth.scores.tolist(), strict=True))
    assert ids(explained) == truth.ids.tolist()[:3]  # in the order that rules left

    lines = lines_of(tmp_path)[:400]
    firsts: dict[str, int] = {}
    for line, answer in zip(lines, answers, strict=True):
        assert line["items"] == ids(answer)
        assert [r["metadata"]["score"] for r in answer.json["results"]] == pytest.approx(
            [score[i] for i in ids(answer)]
        )
        explored = line["exploration"]
        assert explored["candidates"] == truth.ids.tolist() and explored["strength"] == strength
        assert explored["scores"] == pytest.approx(truth.scores.tolist())
        left = dict(score)
        for item, propensity in zip(line["items"], explored["propensities"], strict=True):
            whole = sum(math.exp(s / strength) for s in left.values())
            assert propensity == pytest.approx(math.exp(left.pop(item) / strength) / whole, rel=1e-5)
        firsts[line["items"][0]] = firsts.get(line["items"][0], 0) + 1
    # Off-policy estimates read the same log: what is in it first is as likely there as whatever stands before.
    clicks = {"request": [lines[5]["request"]], "item_id": [lines[5]["items"][1]]}
    log = off_policy.read_exposures(tmp_path, clicks, arm="x")
    assert log.reward.sum() == log.reward[5 * 3 + 1] == 1 and len(log) == 3 * 401
    first = log.propensity[log.slot == 1]
    assert first[:400] == pytest.approx([line["exploration"]["propensities"][0] for line in lines], rel=1e-5)
    assert (log.propensity[-3:] == 1).all()  # the list that was explained was not explored

    # First slots are as frequent as they are likely: chi-square of what is not too rare, 1 in 10⁵ of being off.
    from scipy.stats import chi2

    weights = np.exp(np.array(truth.scores.tolist()) / strength)
    expected = 400 * weights / weights.sum()
    seen = np.array([firsts.get(item, 0) for item in truth.ids.tolist()])
    common = expected >= 5
    tail = [seen[~common].sum()], [max(expected[~common].sum(), 1e-9)]
    seen, expected = np.append(seen[common], tail[0]), np.append(expected[common], tail[1])
    keep = expected >= 1
    statistic = ((seen[keep] - expected[keep]) ** 2 / expected[keep]).sum()
    assert statistic < chi2.isf(1e-5, max(1, keep.sum() - 1))


def test_exploring_nearly_nothing_has_propensities_too(start, tmp_path):
    server = start(
        experiments=[experiment({"name": "x", "share": 10_000, "explore": 1e-6, "explore_among": 8})],
        exposures={"directory": str(tmp_path)},
    )
    answer = server.predict("home", events=EVENTS, userEvent={"visitorId": "v"})
    server.end()
    [line] = lines_of(tmp_path)
    assert line["items"] == ids(answer) == line["exploration"]["candidates"][:4]
    assert line["exploration"]["propensities"] == pytest.approx([1] * 4)


@pytest.mark.parametrize(
    ("experiments", "says"),
    [
        ([experiment({"name": "a", "share": 6000}, {"name": "b", "share": 6000})], "shares add up to 12000"),
        ([experiment({"name": "a"}, {"name": "a"})], 'experiments[0].arms[1].name: there are two of "a"'),
        ([experiment({"name": 'a"'})], "letters, digits"),
        ([experiment({"name": "a"}), experiment({"name": "a"})], 'experiments[1].name: there are two of "test"'),
        ([{"arms": [{"name": "a"}]}], "experiments[0].name: is missing"),
        ([experiment({"name": "a", "zone": "home"})], "then the experiment is about one zone"),
        ([experiment({"name": "a", "share": "all"})], 'experiments[0].arms[0].share: "all"'),
        ([experiment({"name": "a", "colour": 1})], "experiments[0].arms[0].colour: there is no such key"),
    ],
)
def test_experiments_that_cannot_be(experiments, says, bundle, tmp_path):
    config = {"bundle": str(bundle), "visits": {"store": "memory"}, "experiments": experiments}
    (tmp_path / "c.json").write_text(json.dumps(config))
    for options in ([], ["--check"]):
        done = subprocess.run(
            [PROGRAM, "--config", tmp_path / "c.json", *options],
            capture_output=True,
            text=True,
            timeout=20,
            cwd=tmp_path,
        )
        assert done.returncode == 1 and says in done.stderr
