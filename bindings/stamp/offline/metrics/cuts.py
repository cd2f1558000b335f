"""Cuts: questions sorted into kinds, to see where a recommender is good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...data.tables.columns import find_missing
from ...data.tables.ids import find_rows
from ..recordings.columns import column_of
from ..recordings.recording import Recording
from .facts import Facts

Labels = tuple[np.ndarray, list[str]]
_DISTINCT = 20  # values of a numeric column that stand for themselves; more are cut into quarters
_LENGTHS = ([2, 3, 4, 5, 10], ["1", "2", "3", "4", "5 to 9", "10 and more"])
_POSITIONS = ([1, 2, 3, 4, 5, 10], ["0", "1", "2", "3", "4", "5 to 9", "10 and more"])
CLICKS = (0, 10)  # the most clicks in training of a new product's and of a sparse one's
_BANDS = ["popular", "medium", "rare", "cold"]
_UNKNOWN = "(unknown)"


def cut_questions(facts: Facts, cut: Any, zone: str) -> Labels:
    """See :meth:`Replay.cut`."""
    recording = facts.recording
    if isinstance(cut, Mapping):
        return _by_mapping(facts, cut, zone)
    if not isinstance(cut, str):
        raise ValueError(f"cut: {cut!r} is neither a name nor a mapping of products")
    built_in = {
        "session_length": _session_length,
        "position": _position,
        "popularity": _popularity,
        "training_clicks": cut_by_clicks,
        "cold": _cold,
        "cluster": _cluster,
    }
    if cut in built_in:
        return built_in[cut](recording, zone)
    questions = recording.questions[zone]
    attributes = {} if recording.products is None else recording.products.attributes
    columns = {} if recording.sessions is None else recording.sessions.columns
    if cut in attributes:
        assert recording.products is not None
        if attributes[cut] == "text":
            codes, names = recording.products.codes(cut, facts.catalog)
            return _in_order(_of_target(codes, questions.target), names)
        return _quarters(_of_target(facts.attributes[cut], questions.target, np.nan))
    if cut in columns:
        assert recording.sessions is not None
        return _of_values(column_of(recording.sessions, cut)[questions.event])
    names = [*built_in, *attributes, *columns]
    raise ValueError(
        f"cut: no '{cut}', expected one of {', '.join(names)} (attributes are those of products=…, columns those of "
        "the sessions), or a mapping of products"
    )


def _of_target(values: np.ndarray, target: np.ndarray, missing: Any = -1) -> np.ndarray:
    """values [V] of the targets [N]."""
    return np.where(target >= 0, values[target], missing) if len(values) else np.full(len(target), missing)


def _compact(codes: np.ndarray, names: list[str]) -> Labels:
    """Only the names that occur, in the order of their codes; -1 as one of them, the last."""
    found, labels = np.unique(np.where(codes < 0, len(names), codes), return_inverse=True)
    return labels.astype(np.int64), [names[code] if code < len(names) else _UNKNOWN for code in found.tolist()]


def _in_order(codes: np.ndarray, texts: list[str]) -> Labels:
    """As :func:`_compact`, the texts sorted."""
    order = np.argsort(np.array(texts, str), kind="stable")
    place = np.full(len(texts) + 1, -1, np.int64)  # what is missing, -1, stays so
    place[order] = np.arange(len(texts))
    return _compact(place[codes], [texts[i] for i in order.tolist()])


def _binned(values: np.ndarray, edges: list[int], names: list[str]) -> Labels:
    return _compact(np.searchsorted(edges, values, "right"), names)


def _quarters(values: np.ndarray) -> Labels:
    """By the quartiles of what is known."""
    known = values[~np.isnan(values)]
    if not len(known):
        return _compact(np.full(len(values), -1), [])
    edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75]))
    names = [f"up to {edges[0]:g}"]
    names += [f"over {low:g}, up to {high:g}" for low, high in zip(edges, edges[1:])] + [f"over {edges[-1]:g}"]
    return _compact(np.where(np.isnan(values), -1, np.searchsorted(edges, values, "left")), names)


def _of_values(values: np.ndarray) -> Labels:
    """Numbers of many values by their quartiles; all else by value, in order."""
    if values.dtype.kind in "iuf":
        known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
        distinct = np.unique(known)
        if len(distinct) > _DISTINCT:
            return _quarters(values.astype(np.float64))
        codes = np.where(np.isin(values, distinct), np.searchsorted(distinct, values), -1)
        return _compact(codes, [f"{value:g}" if values.dtype.kind == "f" else str(value) for value in distinct])
    code: dict[str, int] = {}
    listed = values.tolist()
    codes = np.array(
        [-1 if gone else code.setdefault(str(value), len(code)) for value, gone in zip(listed, find_missing(listed))],
        np.int64,
    )
    return _in_order(codes, list(code))


def _by_mapping(facts: Facts, clusters: Mapping[Any, Any], zone: str) -> Labels:
    """A mapping of products to anything that can be named, by the target."""
    rows = find_rows("cut: the mapping", clusters.keys(), facts.catalog, "the replay")
    values = list(dict.fromkeys(clusters.values()))
    try:
        values.sort()
    except TypeError:
        pass  # they keep the order in which they came
    code = {value: index for index, value in enumerate(values)}
    codes = np.full(facts.recording.V, -1, np.int64)
    known = rows >= 0
    codes[rows[known]] = np.array([code[value] for value in clusters.values()], np.int64)[known]
    return _compact(_of_target(codes, facts.recording.questions[zone].target), [str(value) for value in values])


def _cluster(recording: Recording, zone: str) -> Labels:
    if recording.clusters is None:
        raise ValueError("cut: 'cluster' needs a bundle of clusters among the recommenders, or a mapping of products")
    ids, codes = np.unique(recording.clusters, return_inverse=True)
    codes = np.where(recording.clusters < 0, -1, codes)
    return _compact(_of_target(codes, recording.questions[zone].target), [f"cluster {id}" for id in ids])


def _offsets(recording: Recording, cut: str) -> np.ndarray:
    if recording.sessions is None:
        raise ValueError(f"cut: '{cut}' needs the sessions that were replayed")
    return recording.sessions._core.offsets


def _session_length(recording: Recording, zone: str) -> Labels:
    """Events of the session."""
    lengths = np.diff(_offsets(recording, "session_length"))
    return _binned(lengths[recording.questions[zone].session], *_LENGTHS)


def _position(recording: Recording, zone: str) -> Labels:
    """Events of the session before the target."""
    questions = recording.questions[zone]
    return _binned(questions.event - _offsets(recording, "position")[questions.session], *_POSITIONS)


def _clicks(recording: Recording, cut: str) -> np.ndarray:
    """Of training [V]."""
    if recording.clicks is None:
        raise ValueError(f"cut: '{cut}' needs the clicks of training: hand train=… to replay")
    return recording.clicks


def _popularity(recording: Recording, zone: str) -> Labels:
    """Of the target: the most clicked products that have a third of the clicks, those with the next, the others."""
    clicks = _clicks(recording, "popularity")
    falling = np.sort(clicks)[::-1]
    total = falling.sum()
    band = np.full(recording.V, 2, np.int64)
    if total:
        for thirds, code in ((2, 1), (1, 0)):  # a product belongs where the most clicked of its equals does
            last = int(np.searchsorted(3 * np.cumsum(falling), thirds * total))
            band[clicks >= falling[last]] = code
    band[clicks == 0] = 3
    return _compact(_of_target(band, recording.questions[zone].target, 3), _BANDS)


def cut_by_clicks(recording: Recording, zone: str, limits: Sequence[int] = CLICKS) -> Labels:
    """Clicks of the target in training: up to the first of `limits`, above it up to the second, …, above the last."""
    clicks = _of_target(_clicks(recording, "training_clicks"), recording.questions[zone].target, 0)
    edges = [limit + 1 for limit in limits]  # of each kind but the first the least clicks
    names = [str(least) if least == most else f"{least} to {most}" for least, most in zip([0, *edges], limits)]
    return _binned(clicks, edges, [*names, f"more than {limits[-1]}"])


def _cold(recording: Recording, zone: str) -> Labels:
    """Whether training saw the target."""
    is_cold = (_clicks(recording, "cold") == 0).astype(np.int64)
    return _compact(_of_target(is_cold, recording.questions[zone].target, 1), ["warm", "cold"])
