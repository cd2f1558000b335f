"""Sessions of robots: `history` bounds what they cost, a fit counts and names them."""

import warnings

import numpy as np
import pytest

import stamp

ROBOT = 8000


def visits(*more):
    """300 sessions of a few events, and `more`."""
    draw = np.random.default_rng(3)
    return stamp.Sessions.from_frame([*(draw.integers(0, 50, 5).tolist() for _ in range(300)), *more])


def robot():
    return np.random.default_rng(4).integers(0, 50, ROBOT).tolist()


def small(**options):
    return stamp.StampRecommender(device="cpu", dim=8, epochs=1, **options)


@pytest.fixture(scope="module")
def fitted():
    message = r"fit: 1 of 301 sessions have more than 1,000 events, the longest 8,000; they hold 84\.2% of all events"
    with pytest.warns(UserWarning, match=message):
        return small().fit(visits(robot()), progress=False)


def test_what_is_cut_is_counted(fitted):
    history = fitted.get_params()["history"]
    assert 0 < history < 285  # less than the longest session of a visitor in the public logs
    report = fitted.report_
    assert report["longest_session"] == ROBOT and report["long_sessions"] == 1
    assert report["cut_examples"] == ROBOT - 1 - history
    whole = small(history=0).fit(visits(list(range(50)) * 2), progress=False).report_
    assert whole["longest_session"] == 100 and whole["long_sessions"] == whole["cut_examples"] == 0


def test_the_last_events_answer_for_a_robot(fitted, tmp_path):
    history, events = fitted.get_params()["history"], robot()
    fitted.save(tmp_path / "bundle")
    server = stamp.Recommender(tmp_path / "bundle", device="cpu")
    for part, same in ((events[-history:], True), (events[1 - history :], False)):
        assert (fitted.recommend(part, k=50)[1].tolist() == fitted.recommend(events, k=50)[1].tolist()) == same
        assert (server.recommend(part, k=50).scores.tolist() == server.recommend(events, k=50).scores.tolist()) == same


def test_a_saved_model_reads_what_it_was_trained_with(tmp_path):
    events = list(range(50)) * 3
    small(history=0).fit(visits(events), progress=False).save(tmp_path / "model")
    loaded = stamp.load(tmp_path / "model", device="cpu")
    assert loaded.get_params()["history"] == 0
    assert loaded.recommend(events)[1].tolist() != loaded.recommend(events[50:])[1].tolist()


def test_published_models_read_all_events():
    assert stamp.StampRecommender(preset="official").get_params()["history"] == 0
    assert stamp.StampRecommender(preset="paper").get_params()["history"] == 0


@pytest.mark.parametrize(
    "recommender", [stamp.AssociationRulesRecommender(), stamp.ItemKNNRecommender(), stamp.SessionKNNRecommender()]
)
def test_baselines_warn_of_robots_and_of_nobody_else(recommender):
    sessions = visits(robot()[:1001], robot()[:1000])
    with pytest.warns(UserWarning, match="1 of 302 sessions have more than 1,000 events, the longest 1,001"):
        recommender.fit(sessions)
    visitors = sessions.select(sessions.lengths <= 1000)
    assert len(visitors) == 301 and visitors.lengths.max() == 1000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recommender.fit(visitors)
