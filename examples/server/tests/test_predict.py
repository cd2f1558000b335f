"""Answers are the library's, by whatever way events come in."""

import pathlib
from collections import Counter

import pytest
from serving import event, ids


def expected(recommender, events, **options):
    return [str(id) for id in recommender.recommend(events, **options).ids.tolist()]


EVENTS = ["sku-00010", "sku-00011", "sku-00040"]


@pytest.mark.parametrize("zone", ["home", "product_page"])
def test_lists_are_those_of_the_library(server, recommender, zone):
    answer = server.predict(zone, events=EVENTS, params={"returnScore": True})
    truth = recommender.recommend(EVENTS, zone=zone)
    assert ids(answer) == truth.ids.tolist()
    assert [r["metadata"]["score"] for r in answer.json["results"]] == pytest.approx(truth.scores.tolist(), rel=1e-6)
    assert answer.json["path"] == truth.path == "anchor"


def test_stored_events_are_read_back_with_the_next_request(server, recommender):
    for product in EVENTS:
        assert server.write("one", product).status == 200
    assert ids(server.predict("home", userEvent={"visitorId": "one"})) == expected(recommender, EVENTS, zone="home")


def test_the_product_at_hand_is_the_last_event_written_or_not(server, recommender):
    server.write("two", EVENTS[0])
    truth = expected(recommender, EVENTS[:2], zone="home")
    assert ids(server.predict("home", userEvent=event("two", EVENTS[1]))) == truth
    server.write("two", EVENTS[1])
    assert ids(server.predict("home", userEvent=event("two", EVENTS[1]))) == truth


def test_asking_stores_nothing(server, recommender):
    server.predict("home", userEvent=event("three", EVENTS[0]))
    answer = server.predict("home", userEvent={"visitorId": "three"})
    assert answer.json["path"] == "popular"


def test_what_was_bought_is_excluded_where_the_zone_says_so(server, recommender):
    first = ids(server.predict("home", events=EVENTS))[0]
    server.write("four", *EVENTS)
    server.write("four", first, type="purchase-complete")
    server.write("four", EVENTS[-1])
    listed = ids(server.predict("home", userEvent={"visitorId": "four"}))
    assert first not in listed
    assert listed == expected(recommender, [*EVENTS, first, EVENTS[-1]], bought=[first], zone="home")


def test_a_pause_begins_a_new_session(start, recommender):
    server = start(visits={"store": "memory", "session_gap_s": 60})
    server.write("five", EVENTS[0], eventTime="2026-11-01T00:00:00Z")
    server.write("five", EVENTS[1])
    assert ids(server.predict("home", userEvent={"visitorId": "five"})) == expected(
        recommender, EVENTS[1:2], zone="home"
    )


def test_of_one_request(server, recommender):
    k3 = server.predict("home", events=EVENTS, k=3, history=1, exclude=[ids(server.predict("home", events=EVENTS))[0]])
    truth = recommender.recommend(
        EVENTS, zone="home", k=3, history=1, exclude=[ids(server.predict("home", events=EVENTS))[0]]
    )
    assert ids(k3) == truth.ids.tolist()
    only = ["sku-00020", "sku-00021"]
    assert sorted(ids(server.predict(events=EVENTS, only=only))) == only
    rules = [{"rule": "limit", "attribute": "category", "max": 1}]
    assert ids(server.predict(events=EVENTS, rules=rules)) == expected(recommender, EVENTS, rules=rules)


@pytest.mark.parametrize("asked", [{"value": 1}, {"tail": 0.5}, {"value": 0.25, "tail": 1.0}, {"value": 0, "tail": 0}])
def test_value_and_tail_of_a_request(server, recommender, asked):
    assert ids(server.predict(events=EVENTS, **asked)) == expected(recommender, EVENTS, **asked)
    page = server.post(
        "/v1/servingConfigs:batchPredict", {"events": EVENTS, "requests": [{"zone": "home", **asked}, {"zone": "home"}]}
    )
    truth = [recommender.recommend(EVENTS, zone="home", **options).ids.tolist() for options in (asked, {})]
    assert [[result["id"] for result in answer["results"]] for answer in page.json["responses"]] == truth


def test_objectives_of_zones_and_requests(orders_bundle, start):
    import stamp

    server, recommender = start(bundle=str(orders_bundle)), stamp.Recommender(orders_bundle, device="cpu")
    wanted = [{}, {"objective": {"order": 1}}, {"objective": {"click": 7, "order": 3}}, {"objective": {"click": 0.5}}]
    for zone in ("basket", "home"):
        truth = [expected(recommender, EVENTS, zone=zone, **asked) for asked in wanted]
        assert [ids(server.predict(zone, events=EVENTS, **asked)) for asked in wanted] == truth
        page = server.post(
            "/v1/servingConfigs:batchPredict",
            {"events": EVENTS, "requests": [{"zone": zone, **asked} for asked in wanted]},
        )
        assert [[result["id"] for result in answer["results"]] for answer in page.json["responses"]] == truth
        assert truth[1] != truth[3]
    answer = server.predict("basket", events=EVENTS, explain=True).json
    assert answer["explanation"]["objective"] == {"weights": {"click": 1, "order": 1}}
    reply = server.predict(events=EVENTS, objective={"cart": 1})
    assert reply.status == 400 and "objective names 'cart', expected some of 'click', 'order'" in reply.error
    reply = server.predict(events=EVENTS, objective={"order": 0})
    assert reply.status == 400 and "objective's weights are all 0" in reply.error


def test_a_value_that_nobody_says_is_refused(shop, tmp_path, start):
    import stamp

    stamp.StampRecommender(device="cpu", dim=4, epochs=1).fit(shop.sessions, progress=False).save(tmp_path / "model")
    stamp.build_bundle({0: tmp_path / "model"}, out=tmp_path / "bare")
    server = start(bundle=str(tmp_path / "bare"))
    reply = server.predict(events=EVENTS, value=0.5)
    assert reply.status == 400 and "value is 0.5, but the bundle's rules name no number for it" in reply.body.decode()
    assert server.predict(events=EVENTS, value=0, tail=1).status == 200


def test_fewer_than_asked_say_why(server):
    answer = server.predict(events=EVENTS, only=["sku-00020"], k=5)
    assert ids(answer) == ["sku-00020"] and answer.json["reason"]


def test_unknown_products_are_named(server):
    answer = server.predict(events=["sku-00010", "gone"])
    assert answer.json["missingIds"] == ["gone"]


def test_an_unknown_visitor_gets_popular_products(server, recommender):
    answer = server.predict("home", userEvent={"visitorId": "nobody"})
    assert answer.json["path"] == "popular" and ids(answer) == expected(recommender, [], zone="home")


def test_not_strict_does_without_own_rules_where_these_leave_none(server, recommender):
    asked = {"events": EVENTS, "only": ["unheard of"]}
    assert ids(server.predict("product_page", **asked)) == []
    lenient = server.predict("product_page", **asked, params={"strictFiltering": False})
    assert ids(lenient) == expected(recommender, EVENTS, zone="product_page")  # exclude_seen holds


def test_explanations_are_json_of_the_library(server, recommender):
    answer = server.predict("product_page", events=EVENTS, explain=True).json
    assert answer["explanation"]["listed"][0]["id"] == answer["results"][0]["id"]
    assert "explanation" not in server.predict("product_page", events=EVENTS).json


def test_only_checking_lists_nothing(server):
    answer = server.predict("home", events=EVENTS, validateOnly=True)
    assert ids(answer) == [] and answer.json["validateOnly"]
    assert server.predict("home", events=EVENTS, validateOnly=True, rules=[{"rule": "no such"}]).status == 400


def test_a_page_of_zones_is_one_request_and_one_bad_zone_fails_alone(server, recommender):
    server.write("six", *EVENTS)
    reply = server.post(
        "/v1/servingConfigs:batchPredict",
        {
            "userEvent": {"visitorId": "six"},
            "requests": [{"zone": "home"}, {"zone": "nowhere"}, {"zone": "product_page", "k": 2}],
        },
    )
    home, nowhere, page = reply.json["responses"]
    assert [r["id"] for r in home["results"]] == expected(recommender, EVENTS, zone="home")
    assert nowhere["error"]["code"] == 404 and '"home"' in nowhere["error"]["message"]
    assert [r["id"] for r in page["results"]] == expected(recommender, EVENTS, zone="product_page", k=2)


def test_the_zone_that_no_bundle_needs(server, recommender):
    """ "default", alone or on a page, or none said: a list without a zone's rules."""
    truth = expected(recommender, EVENTS)
    page = server.post("/v1/servingConfigs:batchPredict", {"events": EVENTS, "requests": [{"zone": "default"}, {}]})
    lists = [server.predict("default", events=EVENTS).json, *page.json["responses"]]
    assert [[result["id"] for result in one["results"]] for one in lists] == [truth] * 3


def test_request_ids_are_taken_or_made(server):
    made = [server.predict(events=EVENTS).headers["X-Request-Id"] for _ in range(2)]
    assert made[0] != made[1]
    own = server.request(
        "POST", "/v1/servingConfigs/home:predict", {"events": EVENTS}, headers={"X-Request-Id": "mine-1"}
    )
    assert own.headers["X-Request-Id"] == "mine-1"


def test_many_events_at_once_and_their_end(server, recommender):
    events = [
        event("seven", product) | {"eventTime": f"2026-11-{20 + i}T10:00:00Z"} for i, product in enumerate(EVENTS)
    ]
    events.append(event("seven", "sku-00050"))
    imported = server.post("/v1/userEvents:import", {"inputConfig": {"userEventInlineSource": {"userEvents": events}}})
    assert imported.json == {"done": True, "metadata": {"successCount": "4", "failureCount": "0"}}
    assert ids(server.predict("home", userEvent={"visitorId": "seven"})) == expected(
        recommender, ["sku-00050"], zone="home"
    )
    assert server.post("/v1/userEvents:purge", {"filter": 'visitorId = "seven"', "force": True}).status == 200
    assert server.predict("home", userEvent={"visitorId": "seven"}).json["path"] == "popular"


def test_purging_before_a_time(start):
    server = start()
    server.write("old", EVENTS[0], eventTime="2026-11-20T10:00:00Z")
    server.write("new", EVENTS[0])
    assert (
        server.post("/v1/userEvents:purge", {"filter": 'eventTime < "2026-11-25T00:00:00Z"', "force": True}).status
        == 200
    )
    assert server.predict("home", userEvent={"visitorId": "new"}).json["path"] == "anchor"
    assert server.metric("stamp_visits", 'what="visitors"') == 1


def test_without_a_store_requests_bring_their_events(start, recommender):
    server = start(visits={"store": "none"})
    assert ids(server.predict("home", events=EVENTS)) == expected(recommender, EVENTS, zone="home")
    assert server.write("one", EVENTS[0]).status == 501


def test_threads_that_make_lists_leave_cores_to_those_that_read_requests(server):
    for _ in range(20):
        assert server.predict("home", events=["sku-00010"]).status == 200
    stats = (task / "stat" for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir())
    nice = Counter(int(stat.read_text().rpartition(")")[2].split()[16]) for stat in stats)
    least = min(nice)
    assert nice[least + 5] >= 1 and nice[least] >= 2  # lists; HTTP, administration


def test_events_that_an_answer_led_to_are_counted(start, tmp_path):
    (tmp_path / "secret").write_text("a secret of the shop's, for this test")
    server = start(secret_file=str(tmp_path / "secret"))
    token = server.predict("home", events=EVENTS).json["attributionToken"]
    assert server.write("v", "sku-00010", attributionToken=token).status == 200
    imported = [event("v", "sku-00010") | {"attributionToken": token}, event("v", "sku-00011")]
    body = {"inputConfig": {"userEventInlineSource": {"userEvents": imported}}}
    assert server.post("/v1/userEvents:import", body).status == 200
    assert server.metric("stamp_attributed_events_total") == 2


def test_a_token_of_another_secret_is_refused(start, tmp_path):
    (tmp_path / "secret").write_text("a secret of the shop's, for this test")
    token = start().predict("home", events=EVENTS).json["attributionToken"]
    server = start(secret_file=str(tmp_path / "secret"))
    refused = server.write("v", "sku-00010", attributionToken=token)
    assert refused.status == 400 and "attributionToken" in refused.error
    # A secret that lasts as long as the process knows nothing of those before it.
    assert start().write("v", "sku-00010", attributionToken=token).status == 200
