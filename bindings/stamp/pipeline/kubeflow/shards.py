"""The clusters of a night in shards: what each pod of a loop trains, and what is made of all of it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from ...catalog.gathering import examples_to_train
from ...catalog.training import MIN_EXAMPLES
from ..night import Night
from ..stages import Results, clusters_file, training
from ..steps import models
from ..steps.reports import StepReport

SHARDS = 16  # a loop over many more makes the status of a run unreliable
_OF_A_MACHINE = ("jobs", "memory", "most_failed")  # options of training that one cluster has no use for


def balance(examples: Mapping[int, int], shards: int) -> list[list[int]]:
    """Clusters in so many groups at most, of about as many examples each: the largest first, each into the group that has
    the fewest yet, so that one that is larger than all others together is alone. There is always a group."""
    groups: list[tuple[int, int, list[int]]] = [(0, number, []) for number in range(min(shards, len(examples)))]
    for cluster in sorted(examples, key=lambda cluster: (-examples[cluster], cluster)):
        count, number, group = heapq.heappop(groups)
        heapq.heappush(groups, (count + examples[cluster] + 1, number, [*group, cluster]))
    return [sorted(group) for _, _, group in sorted(groups, key=lambda each: each[1])] or [[]]


def plan(night: Night, kind: str, results: Results) -> list[list[int]]:
    """The clusters to be trained, in shards."""
    training(night, kind, results)  # what all shards begin with is fetched here, where that is a folder of all of them
    examples = examples_to_train(
        night.url(f"clustered/{kind}"),
        clusters_file(night),
        min_examples=night.shop.section("train").get("min_examples", MIN_EXAMPLES),
    )
    return balance(examples, night.shop.section("kubeflow").get("shards", SHARDS))


def train(night: Night, kind: str, results: Results, clusters: Sequence[int]) -> list[int]:
    """Train these, into folders of their own. Returns those that failed."""
    options = {name: value for name, value in training(night, kind, results).items() if name not in _OF_A_MACHINE}
    return models.train_some(
        night.url(f"clustered/{kind}"), clusters_file(night), clusters,
        out=lambda cluster: night.work.writing(night.path(f"models/{kind}/{cluster}")), **options,
    )  # fmt: skip


def gather(night: Night, kind: str, results: Results) -> StepReport:
    """The report of the stage, of what all shards left."""
    given = training(night, kind, results)
    options = {
        name: given[name] for name in ("config", "min_examples", "warm_start", "like", "most_failed") if name in given
    }
    with night.work.writing(night.path(f"models/{kind}")) as out:
        return models.gather_clusters(night.url(f"clustered/{kind}"), clusters_file(night), out=out, **options)
