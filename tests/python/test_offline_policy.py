"""Release policies: their schema, what the reader says of the same documents, and judgements worked out by hand."""

import importlib.resources
import json
import math
import pathlib
import re

import jsonschema
import pytest

from stamp.offline import Check, Estimate, Policy, policy_schema
from stamp.offline.metrics.registry import METRICS
from stamp.offline.recordings.questions import FAULTS
from stamp.offline.reports.policy import LATENCIES

ROOT = pathlib.Path(__file__).parents[2]

GOOD = [
    {"metric": "hr@20", "at_least": 0.45},
    {"metric": "gini@10", "zone": "home", "at_most": 1},
    {"metric": "recall:transaction@5", "at_least": 0, "where": {"cold": "warm", "category": "12"}},
    {"metric": "mrr@20", "no_worse_than": "current", "by": 0},
    {"metric": "mrr@20", "no_worse_than": "popularity", "by_percent": 2.5, "zone": "cart", "where": {"cold": "cold"}},
    {"metric": "latency_p99_ms", "at_most": 5},
    {"metric": "latency_p50_ms", "at_most": 0.5, "zone": "home"},
    {"fault": "unknown", "at_most": 0},
    {"fault": "short", "at_most": 10.0, "zone": "home"},
]
BAD = [
    ({}, "has neither metric nor fault"),
    ("hr@20", "is 'hr@20', expected an object"),
    ({"metric": "hr", "at_least": 0.4}, ".metric is 'hr', expected it with a length of the list, as hr@20"),
    ({"metric": "hr@0", "at_least": 0.4}, ".metric is 'hr@0', expected"),
    ({"metric": "hits@5", "at_least": 0.4}, ".metric is 'hits', expected one of hr, mrr, "),
    ({"metric": "gini:cart@5", "at_least": 0.4}, ".metric is 'gini:cart', but gini is not by type of event; expected"),
    ({"metric": 20, "at_least": 0.4}, ".metric is 20, expected a text"),
    ({"metric": "hr@20"}, " has no bound, expected one of at_least, at_most"),
    ({"metric": "hr@20", "at_least": 0.4, "at_most": 1}, " has at_least and at_most, expected one of at_least, at_mo"),
    ({"metric": "hr@20", "at_least": "0.4"}, ".at_least is '0.4', expected a number"),
    ({"metric": "hr@20", "at_least": True}, ".at_least is True, expected a number"),
    ({"metric": "hr@20", "at_least": 0.4, "by": 0.1}, " has the key 'by', expected some of metric, zone, where, "),
    ({"metric": "hr@20", "at_least": 0.4, "zone": ""}, ".zone is '', expected a name"),
    ({"metric": "hr@20", "at_least": 0.4, "where": {}}, ".where is {}, expected an object of the group by cut"),
    ({"metric": "hr@20", "at_least": 0.4, "where": {"cold": 1}}, ".where.cold is 1, expected the name of a group"),
    ({"metric": "hr@20", "no_worse_than": "current"}, " has no bound, expected one of by, by_percent"),
    ({"metric": "hr@20", "no_worse_than": "current", "by": -1}, ".by is -1, expected a number of 0 or more"),
    ({"metric": "hr@20", "no_worse_than": "", "by": 1}, ".no_worse_than is '', expected a name"),
    ({"metric": "hr@20", "no_worse_than": "a", "by": 1, "by_percent": 1}, " has by and by_percent, expected one of by"),
    (
        {"metric": "hr@20", "no_worse_than": "a", "by_percent": 100},
        ".by_percent is 100, expected a number of 0 or more and below 100",
    ),
    ({"metric": "latency_p99_ms", "at_least": 1}, " has the key 'at_least', expected some of metric, zone, at_most"),
    ({"metric": "latency_p99_ms", "at_most": -1}, ".at_most is -1, expected a number of 0 or more"),
    ({"metric": "latency_p98_ms", "at_most": 1}, ".metric is 'latency_p98_ms', expected one of"),
    ({"fault": "slow", "at_most": 0}, f".fault is 'slow', expected one of {', '.join(FAULTS)}"),
    ({"fault": "short", "at_most": 0.5}, ".at_most is 0.5, expected a whole number of 0 or more"),
    ({"fault": "short"}, " has no bound, expected one of at_most"),
    ({"fault": "short", "at_most": 0, "metric": "hr@20"}, " has the key 'metric', expected some of fault, zone, "),
]
NO_POLICIES = [
    ([], "the policy is [], expected an object"),
    ({"checks": GOOD}, "format is None, expected 1"),
    ({"format": 2, "checks": GOOD}, "format is 2, expected 1"),
    ({"format": 1}, "checks is None, expected a list of at least one check"),
    ({"format": 1, "checks": []}, "checks is [], expected a list of at least one check"),
    ({"format": 1, "checks": GOOD, "check": 1}, "the policy has the key 'check', expected some of format, checks, "),
    ({"format": 1, "checks": GOOD, "confidence": 1}, "confidence is 1, expected a number of 0.5 or more and below 1"),
    ({"format": 1, "checks": GOOD, "min_units": 1}, "min_units is 1, expected a whole number of 2 or more"),
]


@pytest.fixture(scope="module")
def validator():
    schema = policy_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("check", GOOD, ids=str)
def test_schema_and_reader_take(check, validator):
    given = {"format": 1, "checks": [check]}
    validator.validate(given)
    [read] = Policy.read(given).checks
    assert read.to_dict() == check


@pytest.mark.parametrize("check, message", BAD, ids=lambda part: str(part))
def test_schema_and_reader_refuse(check, message, validator):
    given = {"format": 1, "checks": [GOOD[0], check]}
    assert not validator.is_valid(given)
    with pytest.raises(ValueError) as refused:
        Policy.read(given)
    assert f"policy: checks[1]{message}" in str(refused.value) or f"policy: checks[1] {message}" in str(refused.value)


@pytest.mark.parametrize("given, message", NO_POLICIES, ids=lambda part: str(part)[:60])
def test_no_policies(given, message, validator, tmp_path):
    assert not validator.is_valid(given)
    (tmp_path / "release.json").write_text(json.dumps(given))
    with pytest.raises(ValueError, match="^" + re.escape(f"release.json: {message}")):
        Policy.read(tmp_path / "release.json")


def test_files(tmp_path):
    path = tmp_path / "policy.json"
    with pytest.raises(ValueError, match=r"^policy .*policy\.json: No such file or directory$"):
        Policy.read(path)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"^policy .*policy\.json: not JSON: "):
        Policy.read(path)
    path.write_text('{"format": 1, "checks": [{"metric": "hr@1", "at_least": NaN}]}')
    with pytest.raises(ValueError, match=r"^policy\.json: checks\[0\]\.at_least is nan, expected a number$"):
        Policy.read(str(path))
    for text, message in (
        ("[" * 100_000, "maximum recursion"),
        ('{"format": 1, "format": 1, "checks": []}', "the key 'format' stands twice in an object"),
        ('{"format": 1, "checks": [{"metric": "hr@1", "at_least": 0.5, "at_least": 0}]}', "'at_least' stands twice"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"^policy .*policy\.json: not JSON: .*{message}"):
            Policy.read(path)
    path.write_text(json.dumps({"format": 1, "checks": GOOD, "min_units": 10**400}))  # JSON knows it, no float does
    with pytest.raises(ValueError, match=r"min_units is 1000.*, expected a whole number of 2 or more"):
        Policy.read(path)
    path.write_text(json.dumps({"format": 1, "confidence": 0.9, "min_units": 5, "checks": GOOD}))
    policy = Policy.read(path)
    assert (policy.confidence, policy.min_units, len(policy.checks)) == (0.9, 5, len(GOOD))


def test_a_difference_needs_a_better_side():
    check = {"metric": "popularity@20", "no_worse_than": "current", "by": 1}
    with pytest.raises(ValueError, match=r"checks\[0\]\.metric is 'popularity@20', of which neither more nor less is"):
        Policy.read({"format": 1, "checks": [check]})


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_schema_knows_the_metrics(metric, validator):
    for name, known in ((metric.name, True), (f"{metric.name}:cart", metric.by_type), (f"{metric.name}s", False)):
        given = {"format": 1, "checks": [{"metric": f"{name}@20", "at_least": 0}]}
        assert validator.is_valid(given) == known
        if known:
            Policy.read(given)


def test_schema_has_what_the_reader_has(validator):
    definitions = policy_schema()["$defs"]
    assert definitions["fault"]["properties"]["fault"]["enum"] == list(FAULTS)
    assert definitions["latency"]["properties"]["metric"]["enum"] == list(LATENCIES)
    defaults = {name: policy_schema()["properties"][name]["default"] for name in ("confidence", "min_units")}
    policy = Policy(checks=())
    assert defaults == {"confidence": policy.confidence, "min_units": policy.min_units}
    assert importlib.resources.files("stamp.offline.reports").joinpath("policy.schema.json").is_file()


class Fixed:
    """Estimates by what is asked for."""

    zones = ("product_page", "home")

    def __init__(self, estimates):
        self.estimates, self.confidences = estimates, []

    def estimate(self, check, zone, confidence):
        self.confidences.append(confidence)
        if zone not in self.estimates:
            raise ValueError("nobody measured it")
        return self.estimates[zone]

    difference = estimate


def judge(check, estimate, **options):
    """Of product_page alone."""
    policy = Policy.read({"format": 1, **options, "checks": [{"zone": "product_page", **check}]})
    [judgement] = policy.judge(Fixed({"product_page": estimate})).judgements
    return judgement


def test_the_worse_end_decides():
    wide, narrow = Estimate(value=0.5, low=0.4, high=0.6, units=50), Estimate(value=0.5, low=0.49, high=0.51, units=50)
    least, most = {"metric": "hr@20", "at_least": 0.45}, {"metric": "hr@20", "at_most": 0.55}
    for check, bound in ((least, wide.low), (most, wide.high)):
        failed = judge(check, wide)
        assert (failed.outcome, failed.value, failed.bound) == ("failed", 0.5, bound)
        assert judge(check, narrow).outcome == "passed"
    assert judge(least, wide).needed == 0.45
    assert judge({"metric": "hr@20", "at_least": 0.4}, wide).outcome == "passed"  # just as much as is asked for


@pytest.mark.parametrize("metric, sign", [("hr@20", 1), ("gini@20", -1)])  # of which more, and less, is better
@pytest.mark.parametrize("lost", [{"by": 0.01}, {"by_percent": 1}], ids=str)
def test_no_worse_than(metric, sign, lost):
    def outcome(value, half):
        ends = sorted([sign * (value - half), sign * (value + half)])
        estimate = Estimate(value=sign * value, low=ends[0], high=ends[1], units=1000)
        judgement = judge({"metric": metric, "no_worse_than": "current", **lost}, estimate)
        assert judgement.needed == -sign * 0.01 and judgement.bound == sign * (value - half)
        return judgement.outcome

    assert outcome(0, 0.009) == "passed"  # exactly as good, and well measured
    assert outcome(0, 0.011) == "failed"  # exactly as good, and badly measured
    assert outcome(-0.008, 0.001) == "passed"  # worse for sure, by less than may be lost
    assert outcome(-0.02, 0.005) == "failed"
    assert outcome(0.02, 0.035) == "failed"  # better, it seems; nobody knows
    assert outcome(0, 0) == "passed"


def test_what_has_no_interval_is_judged_on_its_value():
    exact = Estimate(value=3)
    assert judge({"fault": "unknown", "at_most": 3}, exact).outcome == "passed"
    failed = judge({"fault": "unknown", "at_most": 2}, exact)
    assert (failed.outcome, failed.bound, failed.needed) == ("failed", 3, 2)
    assert failed.sentence == "faults: unknown in product_page is 3; it must be at most 2."


def test_what_cannot_be_judged_has_not_passed():
    check = {"metric": "hr@20", "at_least": 0}
    few = Estimate(value=1, low=1, high=1, units=49)
    judgement = judge(check, few)
    assert judgement.outcome == "not judged" and math.isnan(judgement.bound)
    assert judgement.sentence == (
        "hr@20 in product_page could not be judged: its interval would be of 49 visitors or sessions, 50 are needed."
    )
    assert judge(check, few, min_units=49).outcome == "passed"
    assert judge(check, Estimate(value=math.nan)).outcome == "not judged"
    unknown = Policy.read({"format": 1, "checks": [{**check, "zone": "cart"}]}).judge(Fixed({}))
    assert not unknown.passed
    assert unknown.reasons == [
        "hr@20 in cart could not be judged: there is no zone 'cart' among product_page, home."
    ]  # fmt: skip
    json.dumps(unknown.to_dict(), allow_nan=False)


def test_verdicts():
    """A check without a zone holds in every zone, and all checks must pass."""
    good, bad = Estimate(value=0.5, low=0.45, high=0.55, units=99), Estimate(value=0.3, low=0.2, high=0.4, units=99)
    policy = Policy.read(
        {"format": 1, "confidence": 0.9, "checks": [{"metric": "hr@20", "at_least": 0.4, "where": {"cold": "warm"}}]}
    )
    measured = Fixed({"product_page": good, "home": good})
    verdict = policy.judge(measured)
    assert verdict.passed and not verdict.reasons and [j.zone for j in verdict.judgements] == ["product_page", "home"]
    assert measured.confidences == [0.9, 0.9]
    verdict = policy.judge(Fixed({"product_page": good, "home": bad}))
    assert not verdict.passed and [j.outcome for j in verdict.judgements] == ["passed", "failed"]
    assert verdict.reasons == [
        "hr@20, cold = warm in home is 0.3 (between 0.2 and 0.4); it must be at least 0.4."
    ]  # fmt: skip
    found = verdict.to_dict()
    assert found["passed"] is False and found["reasons"] == verdict.reasons
    assert found["checks"][1] == {
        "check": {"metric": "hr@20", "where": {"cold": "warm"}, "at_least": 0.4}, "zone": "home", "outcome": "failed",
        "value": 0.3, "bound": 0.2, "needed": 0.4, "sentence": verdict.reasons[0],
    }  # fmt: skip


def test_sentences_of_differences():
    estimate = Estimate(value=-0.004, low=-0.0123, high=0.0021, units=99)
    check = {"metric": "mrr@20", "no_worse_than": "current"}
    assert judge({**check, "by": 0.01}, estimate).sentence == (
        "mrr@20 in product_page differs from current by -0.00400 (between -0.01230 and +0.00210); "
        "it must be no worse than current by more than 0.01."
    )
    assert judge({**check, "by_percent": 1}, estimate).sentence == (
        "mrr@20 in product_page differs from current by -0.40 % (between -1.23 % and +0.21 %); "
        "it must be no worse than current by more than 1 %."
    )
    assert Check(metric="hr@20", at_least=0.45).requirement == "at least 0.45"


def test_examples_of_the_documentation(validator):
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "report.md").read_text("utf-8"), re.DOTALL)
    policies = [example for example in map(json.loads, blocks) if "checks" in example]
    assert policies
    for example in policies:
        validator.validate(example)
        Policy.read(example)
