"""Lists under rules, read naively from docs/rules.md: sort everything, look at one product at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Rule = Mapping[str, Any]


@dataclasses.dataclass
class Shop:
    """A catalog. Rows are places in ``ids``; attributes have a value a row, None (numbers: or NaN) where it is missing."""

    ids: Sequence[Any]
    texts: Mapping[str, Sequence[str | None]] = dataclasses.field(default_factory=dict)
    numbers: Mapping[str, Sequence[float | None]] = dataclasses.field(default_factory=dict)

    def text(self, name: str, row: int) -> str | None:
        return self.texts[name][row]

    def number(self, name: str, row: int) -> float | None:
        value = self.numbers[name][row]
        return None if value is None or math.isnan(value) else float(np.float32(value))


@dataclasses.dataclass
class Visit:
    """What a request says, as rows. ``only`` is None where it does not restrict the list."""

    anchor: int | None = None
    seen: Sequence[int] = ()
    bought: Sequence[int] = ()
    exclude: Sequence[int] = ()
    only: Sequence[int] | None = None


def forbids(rule: Rule, shop: Shop, visit: Visit, row: int) -> bool:
    match rule["rule"]:
        case "exclude_products":
            return shop.ids[row] in rule["products"]
        case "only_products":
            return shop.ids[row] not in rule["products"]
        case "exclude_values":
            return shop.text(rule["attribute"], row) in map(str, rule["values"])
        case "only_values":
            return shop.text(rule["attribute"], row) not in map(str, rule["values"])
        case "only_available":
            return shop.number(rule.get("attribute", "available"), row) in (None, 0)
        case "same_value" | "different_value":
            anchors = None if visit.anchor is None else shop.text(rule["attribute"], visit.anchor)
            if anchors is None:
                return False
            return (shop.text(rule["attribute"], row) == anchors) == (rule["rule"] == "different_value")
        case "price_band":
            anchors = None if visit.anchor is None else shop.number(rule["attribute"], visit.anchor)
            if anchors is None or math.isinf(anchors):
                return False
            value = shop.number(rule["attribute"], row)
            low, high = sorted([rule["from"] * anchors, rule["to"] * anchors])
            return value is None or not low <= value <= high
        case "exclude_seen":
            return row in visit.seen
        case "exclude_bought":
            return row in visit.bought
    return False


def boost(rules: Sequence[Rule], shop: Shop, row: int) -> np.float32:
    total = np.float32(0)
    for rule in rules:
        if rule["rule"] == "boost" and shop.text(rule["attribute"], row) in map(str, rule["values"]):
            total = np.float32(total + np.float32(rule["by"]))
    return total


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Never negative; sums in double precision, in order."""
    dot = aa = bb = 0.0
    for x, y in zip(a.tolist(), b.tolist()):
        dot, aa, bb = dot + x * y, aa + x * x, bb + y * y
    lengths = math.sqrt(aa) * math.sqrt(bb)
    return max(0.0, dot / lengths) if lengths > 0 else 0.0


def recommend(
    shop: Shop,
    candidates: Sequence[int],
    scores: np.ndarray,
    rules: Sequence[Rule],
    visit: Visit,
    k: int,
    *,
    embeddings: np.ndarray | None = None,
    min_score: bool = True,
) -> list[tuple[int, float | None]]:
    """Rows and scores, best first; the score of a pin is None.

    ``candidates`` are rows; ``scores`` [n] and ``embeddings`` [n, D] are theirs, float32. ``rules`` are the zone's and
    then the request's. ``min_score`` says whether that rule makes sense of the scores.
    """

    def forbidden(row: int) -> bool:
        if row in visit.exclude or (visit.only is not None and row not in visit.only):
            return True
        return any(forbids(rule, shop, visit, row) for rule in rules)

    answer: list[tuple[int, float | None]] = []

    def is_listed(row: int) -> bool:
        return any(row == other for other, _ in answer)

    def is_allowed(row: int) -> bool:
        for rule in rules:
            if rule["rule"] == "limit":
                value = shop.text(rule["attribute"], row)
                same = sum(shop.text(rule["attribute"], other) == value for other, _ in answer)
                if value is not None and same >= rule["max"]:
                    return False
        return True

    # Pins.
    for rule in rules:
        if rule["rule"] == "pin":
            for product in rule["products"]:
                row = list(shop.ids).index(product) if product in shop.ids else None
                if row is not None and not forbidden(row) and not is_listed(row) and len(answer) < k:
                    answer.append((row, None))

    # All others, in order.
    ordered: list[tuple[int, float]] = []
    place_of = {row: place for place, row in enumerate(candidates)}
    for row in sorted(candidates):
        score = np.float32(np.float32(scores[place_of[row]]) + boost(rules, shop, row))
        enough = all(score >= np.float32(rule["score"]) for rule in rules if rule["rule"] == "min_score" and min_score)
        if enough and not forbidden(row) and not is_listed(row):
            ordered.append((row, float(score)))
    ordered.sort(key=lambda item: -item[1])

    # Maximal marginal relevance over the best of them.
    diversify = ([None] + [rule for rule in rules if rule["rule"] == "diversify"])[-1]

    def similarity(a: int, b: int) -> float:
        if diversify["by"] != "embedding":
            value = shop.text(diversify["by"], a)
            return float(value is not None and value == shop.text(diversify["by"], b))
        if a not in place_of or b not in place_of:
            return 0.0
        return cosine(embeddings[place_of[a]], embeddings[place_of[b]])

    if diversify and (diversify["by"] != "embedding" or embeddings is not None):
        pool = [item for item in ordered if is_allowed(item[0])][: diversify.get("pool", 100)]
        strength = diversify["strength"]
        while len(answer) < k:
            best, largest = None, -math.inf
            for row, score in pool:
                if is_listed(row) or not is_allowed(row):
                    continue
                low, high = pool[-1][1], pool[0][1]
                relevance = (score - low) / (high - low) if high > low else 1.0
                nearest = max([0.0] + [similarity(row, other) for other, _ in answer])
                value = (1 - strength) * relevance - strength * nearest
                if value > largest:
                    best, largest = (row, score), value
            if best is None:
                break
            answer.append(best)

    for row, score in ordered:
        if len(answer) < k and not is_listed(row) and is_allowed(row):
            answer.append((row, score))
    return answer
