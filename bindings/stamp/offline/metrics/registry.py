"""The metrics by name: what each says, what it needs, where it is from (docs/offline.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..recordings.recording import Recording
from . import accuracy, qualities
from .facts import Facts
from .parts import Part


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of lists cut at k.

    Attributes
    ----------
    name : str
    better : {"higher", "lower", "neither"}
    per_question : bool
        Whether each question has a value, whose mean is the metric; else it is of all lists together.
    needs : tuple of str
        What a replay must have: keys of :data:`NEEDS`.
    by_type : bool
        Whether "name:TYPE" measures one type of events.
    text, source : str
        The definition in a line, and where it is from.
    """

    name: str
    better: str
    per_question: bool = True
    needs: tuple[str, ...] = ()
    by_type: bool = False
    text: str
    source: str
    of_part: Callable[[Part, Sequence[int], str | None], np.ndarray] | None = None
    of_lists: Callable[[Facts, np.ndarray, np.ndarray], float] | None = None


# What a replay may lack, and what to do about it.
NEEDS = {
    "train": "the clicks of training: hand train=… to replay",
    "times": "times of training and of the sessions: hand train=… to replay, both with a column timestamp",
    "products": "attributes of products: hand products=stamp.Products.from_frame(…) to replay",
    "embeddings": "embeddings: hand embeddings=… (a StampRecommender, or ids and vectors) to replay",
    "sessions": "the sessions that were replayed",
    "event_type": "types of events: the sessions need a column event_type",
    "value": "values of events: the sessions need a column value",
    "weight": "weights of events: the sessions need a column weight",
}

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="hr", better="higher", by_type=True, of_part=accuracy.hr,
               text="share of questions whose next event is among the first k",
               source="Deshpande and Karypis, TOIS 2004"),
        Metric(name="mrr", better="higher", by_type=True, of_part=accuracy.mrr,
               text="mean of 1/rank of the next event, 0 beyond k",
               source="Voorhees, TREC-8 1999; cut at k as in Hidasi et al., ICLR 2016"),
        Metric(name="ndcg", better="higher", by_type=True, of_part=accuracy.ndcg,
               text="mean of 1/log2(rank + 1) of the next event, 0 beyond k",
               source="Järvelin and Kekäläinen, TOIS 2002, with one relevant product"),
        Metric(name="precision", better="higher", by_type=True, of_part=accuracy.precision,
               text="products of the rest of the session among the first k, over k",
               source="Manning et al., Introduction to Information Retrieval 2008, 8.4"),
        Metric(name="recall", better="higher", by_type=True, of_part=accuracy.recall,
               text="products of the rest of the session among the first k, over how many there are",
               source="Manning et al. 2008, 8.3"),
        Metric(name="map", better="higher", by_type=True, of_part=accuracy.average_precision,
               text="precisions at the ranks of relevant products, summed, over min(k, relevant); mean over questions",
               source="Manning et al. 2008, 8.4; cut at k as in the Million Song Dataset Challenge, WWW 2012"),
        Metric(name="revenue", better="higher", needs=("value",), of_part=accuracy.revenue,
               text="value of the rest of the session's events whose product is among the first k, per question",
               source="here"),
        Metric(name="weighted_hr", better="higher", needs=("weight",), of_part=accuracy.weighted_hits,
               text="weights of the hits over the weights of all targets",
               source="here"),
        Metric(name="coverage", better="higher", per_question=False, of_lists=qualities.coverage,
               text="share of the catalog on any list",
               source="Ge et al., RecSys 2010, catalog coverage"),
        Metric(name="tail_coverage", better="higher", per_question=False, needs=("train",),
               of_lists=qualities.tail_coverage,
               text="share of the long tail on any list",
               source="Abdollahpouri et al., FLAIRS 2019, with the head of their RecSys 2017"),
        Metric(name="gini", better="lower", per_question=False, of_lists=qualities.gini,
               text="inequality of how often products are listed, 0 for all alike",
               source="Gini 1912; Fleder and Hosanagar, Management Science 2009"),
        Metric(name="popularity", better="neither", needs=("train",), of_part=qualities.popularity,
               text="mean clicks in training of what is listed, relative to the most clicked product",
               source="Jannach et al., UMUAI 2015"),
        Metric(name="tail_share", better="neither", needs=("train",), of_part=qualities.tail_share,
               text="share of what is listed that is of the long tail",
               source="Abdollahpouri et al., FLAIRS 2019, APLT"),
        Metric(name="novelty", better="neither", needs=("train",), of_part=qualities.novelty,
               text="mean self-information of what is listed, in bits",
               source="Zhou et al., PNAS 2010; Vargas and Castells, RecSys 2011"),
        Metric(name="ild_attributes", better="neither", needs=("products",), of_part=qualities.ild_attributes,
               text="mean distance of pairs on a list by attributes",
               source="Ziegler et al., WWW 2005; distances of Gower, Biometrics 1971"),
        Metric(name="ild_embeddings", better="neither", needs=("embeddings",), of_part=qualities.ild_embeddings,
               text="mean of 1 - cosine of the embeddings of pairs on a list",
               source="Ziegler et al., WWW 2005"),
        Metric(name="serendipity", better="higher", needs=("train",), of_part=qualities.serendipity,
               text="products of the rest of the session among the first k that are not the k most clicked, over k",
               source="Ge et al., RecSys 2010"),
        Metric(name="personalisation", better="neither", per_question=False, of_lists=qualities.personalisation,
               text="mean over pairs of lists of different visitors of 1 - common products / k",
               source="Zhou et al., PNAS 2010, inter-user diversity"),
        Metric(name="freshness", better="neither", needs=("times",), of_part=qualities.freshness,
               text="share of what is listed that was first seen in the 7 days before, of those that training covers",
               source="here"),
        Metric(name="repeat_rate", better="neither", needs=("sessions",), of_part=qualities.repeat_rate,
               text="share of what is listed that the session held before",
               source="here"),
    )
}  # fmt: skip


def find_metric(name: str) -> tuple[Metric, str | None]:
    """The metric of a name, and the event type that "name:TYPE" asks for."""
    base, colon, kind = name.partition(":")
    metric = METRICS.get(base)
    if metric is None or (colon and not kind):
        raise ValueError(f"metric is '{name}', expected one of {', '.join(METRICS)}")
    if colon and not metric.by_type:
        typed = ", ".join(f"{other.name}:TYPE" for other in METRICS.values() if other.by_type)
        raise ValueError(f"metric is '{name}', but {base} is not by type of event; expected one of {typed}")
    return metric, kind if colon else None


def split_at(text: str) -> tuple[str, int | None]:
    """ "hr@20" as its name and k; k is None where the text has none."""
    name, at, k = text.rpartition("@")
    if not at:
        return text, None
    if not k.isdecimal() or int(k) < 1:
        raise ValueError(f"metric is '{text}', expected a name, or a name and a list length as in hr@20")
    return name, int(k)


def lacks(recording: Recording, metric: Metric, kind: str | None) -> str | None:
    """What the metric needs and this recording has not, in words; None where it has all."""
    sessions = recording.sessions
    columns: Any = {} if sessions is None else sessions.columns
    has = {
        "train": recording.clicks is not None,
        "times": recording.train is not None
        and recording.train.timestamps is not None
        and sessions is not None
        and sessions.timestamps is not None,
        "products": recording.products is not None and bool(recording.products.attributes),
        "embeddings": recording.embeddings is not None,
        "sessions": sessions is not None,
        "event_type": "event_type" in columns,
        "value": "value" in columns,
        "weight": sessions is not None and len(sessions._core.weights) > 0,
    }
    for need in (*metric.needs, *(("event_type",) if kind else ())):
        if not has[need]:
            return NEEDS[need]
    return None


@dataclass(frozen=True)
class MetricAt:
    """A metric at a list length. `name` has the event type, as "recall:transaction"."""

    metric: Metric
    name: str
    k: int

    @property
    def label(self) -> str:
        return f"{self.name}@{self.k}"


def metric_at(call: str, text: str, recordings: Sequence[Recording], zone: str) -> MetricAt:
    """What "hr@20" says, of lists of that zone; without "@" of the zone's own length.

    Raises
    ------
    ValueError
        The metric is unknown, the lists are shorter, or a recording lacks what it needs. Messages begin with `call`.
    """
    try:
        name, k = split_at(text)
        metric, kind = find_metric(name)
    except ValueError as error:
        raise ValueError(f"{call}: {error}") from None
    for recording in recordings:
        need = lacks(recording, metric, kind)
        if need is not None:
            raise ValueError(f"{call}: '{text}' needs {need}")
    own = min(recording.length(zone) for recording in recordings)
    if k is not None and k > own:
        raise ValueError(
            f"{call}: '{text}' is of longer lists than the {own} products of zone '{zone}'; write '{name}' for each "
            "zone's own length"
        )
    return MetricAt(metric, name, own if k is None else k)
