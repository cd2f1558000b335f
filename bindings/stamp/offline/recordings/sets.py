"""Sets of products, one a question, laid end to end; and how much fits in memory at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_ENTRIES = 1 << 21  # of lists that are judged at once, which bounds memory
_EVENTS = 1 << 22  # of the sets that are laid out at once

Sets = tuple[np.ndarray, np.ndarray]  # offsets [N+1] and rows, ascending within each set


def pieces(n: int, k: int) -> Iterator[tuple[int, int]]:
    """First and last of so many of n lists of k products at a time that they fit in memory."""
    step = max(1, _ENTRIES // max(1, k))
    for first in range(0, n, step):
        yield first, min(n, first + step)


def take(sets: Sets, first: int, last: int) -> Sets:
    """The sets first … last-1."""
    offsets, rows = sets
    begin, end = int(offsets[first]), int(offsets[last])
    return offsets[first : last + 1] - begin, rows[begin:end]


def members(sets: Sets, lists: np.ndarray, V: int) -> np.ndarray:
    """Where the rows lists [N,K] stand in the sets [N]: places in the sets' rows, -1 where they do not."""
    offsets, rows = sets
    if not len(rows) or not lists.size:
        return np.full(lists.shape, -1, np.int64)
    owner = np.repeat(np.arange(len(lists), dtype=np.int64), np.diff(offsets))
    keys = owner * (V + 1) + rows
    sought = np.arange(len(lists), dtype=np.int64)[:, None] * (V + 1) + np.where(lists < 0, V, lists)
    places = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
    return np.where(keys[places] == sought, places, -1)


def distinct(
    events: np.ndarray, begin: np.ndarray, end: np.ndarray, V: int, amounts: np.ndarray | None = None
) -> tuple[Sets, np.ndarray]:
    """The distinct rows of events[begin … end-1] of each question, -1 left out; and what `amounts` [events] of each sum
    to."""
    lengths = np.maximum(end - begin, 0)
    total = np.concatenate(([0], np.cumsum(lengths)))
    counts, rows, sums = np.zeros(len(begin), np.int64), [], []
    first = 0
    while first < len(begin):
        last = max(first + 1, int(np.searchsorted(total, total[first] + _EVENTS, "right")) - 1)
        length = lengths[first:last]
        owner = np.repeat(np.arange(last - first), length)
        event = np.arange(len(owner)) + np.repeat(begin[first:last] - (total[first:last] - total[first]), length)
        kept = events[event] >= 0
        keys = owner[kept] * np.int64(V) + events[event][kept]
        unique, inverse = np.unique(keys, return_inverse=True)
        counts[first:last] = np.bincount(unique // max(1, V), minlength=last - first)
        rows.append((unique % max(1, V)).astype(np.int32))
        if amounts is not None:
            sums.append(np.bincount(inverse, weights=amounts[event][kept], minlength=len(unique)))
        first = last
    offsets = np.concatenate(([0], np.cumsum(counts)))
    flat = np.concatenate(rows) if rows else np.empty(0, np.int32)
    return (offsets, flat), np.concatenate(sums) if sums else np.empty(0)
