"""The server's exposure log (docs/server.md), joined with what came of it."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import _stamp
from ...data.tables.columns import object_array
from ...data.tables.ids import Ids, as_written, find_rows
from ...data.tables.reading import open_columns
from .exposures import ExposureLog, explored_rows, floats
from .plackett_luce import given_those_before, slot_probabilities


def read_exposures(
    path: str | os.PathLike[str],
    rewards: Any,
    *,
    experiment: str | None = None,
    arm: str | None = None,
    zone: str | None = None,
    release: str | None = None,
    reward: str | None = None,
) -> ExposureLog:
    """Read what a server showed, and what came of it.

    Parameters
    ----------
    path : str or path
        The server's ``exposures.directory``, or one file of it.
    rewards : table
        Of any kind that :meth:`Sessions.from_frame` reads, with a row for each click (or order) and the columns
        `request`, the X-Request-Id of the answer that had listed the product, and `item_id`. Rows of other requests,
        and of products that were not shown, are passed over. Where one request asks several zones: clicks in the zone
        that is read.
    experiment, arm, zone, release : str, optional
        Of the lists that are read; all where absent.
    reward : str, optional
        Column of what a row is worth; 1 where absent. Several rows of a product in a list are summed.

    Returns
    -------
    ExposureLog
        Propensities of products at slots are worked out from the candidates' scores: those of the log are given the
        products before. Lists of lines without an exploration could not have been others.

    Raises
    ------
    ValueError
        No line is left, a line is none of a server's, its propensities are not those of its scores, or two zones
        answered one request, so that nobody can say what a reward is of.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from stamp.offline import off_policy
    >>> exploration = {
    ...     "strength": 1.0, "candidates": ["a", "b"], "scores": [0.0, 0.0], "propensities": [0.5, 1.0]
    ... }
    >>> line = {"request": "r1", "visitor": "v1", "zone": "home", "items": ["b", "a"], "exploration": exploration}
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "exposures.jsonl"
    >>> _ = path.write_text(json.dumps(line) + "\\n")
    >>> log = off_policy.read_exposures(path, {"request": ["r1"], "item_id": ["b"]})
    >>> log.reward.tolist(), log.propensity.round(6).tolist()
    ([1.0, 0.0], [0.5, 0.5])
    """
    wanted = {"experiment": experiment, "arm": arm, "zone": zone, "release": release}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    lines: dict[str, dict[str, Any]] = {}
    again = 0
    for where, line in _lines(pathlib.Path(path)):
        if any(line.get(name) != value for name, value in wanted.items()):
            continue
        _check(where, line)
        first = lines.setdefault(line["request"], line)
        if first is not line:
            again += 1
            if first["zone"] != line["zone"]:
                raise ValueError(
                    f"read_exposures: request {line['request']!r} was answered in zones {first['zone']!r} and "
                    f"{line['zone']!r}; name one by zone=…"
                )
    if not lines:
        of = ", ".join(f"{name} {value!r}" for name, value in wanted.items())
        raise ValueError(f"read_exposures: {os.fspath(path)} has no lists{f' of {of}' if of else ''}")
    notes = (f"{again:,} lines of requests that were logged before are passed over.",) if again else ()
    return _log_of(list(lines.values()), rewards, reward, notes)


def _lines(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Whole lines, oldest file first, and where they stand."""
    if path.is_dir():
        rotated = sorted(path.glob("exposures-*.jsonl"))
        files = [*rotated, *(each for each in [path / "exposures.jsonl"] if each.exists())]
    else:
        files = [path]
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for number, text in enumerate(lines, 1):
                if not text.endswith("\n"):  # is being written, or was cut off; files after it are whole
                    break
                where = f"read_exposures: {file}: line {number}"
                try:
                    line = json.loads(text)
                except ValueError as error:
                    raise ValueError(f"{where} is not JSON: {error}") from None
                if not isinstance(line, dict):
                    raise ValueError(f"{where} is {text[:40]!r}, expected an object")
                yield where, line


def _check(where: str, line: dict[str, Any]) -> None:
    for name in ("request", "visitor", "zone"):
        if not isinstance(line.get(name), str):
            raise ValueError(f"{where}: {name} is {line.get(name)!r}, expected a text")
    if not isinstance(line.get("items"), list) or not all(isinstance(each, str) for each in line["items"]):
        raise ValueError(f"{where}: items is {line.get('items')!r}, expected a list of ids")
    explored = line.get("exploration")
    if explored is None:
        return
    columns = ("candidates", "scores", "propensities")
    if not isinstance(explored, dict) or any(not isinstance(explored.get(name, []), list) for name in columns):
        raise ValueError(
            f"{where}: exploration is {str(explored)[:80]}, expected an object with lists {', '.join(columns)}"
        )
    sizes = [len(explored.get(name, [])) for name in columns]
    strength = explored.get("strength")
    is_strong = isinstance(strength, (int, float)) and strength > 0
    if sizes[0] != sizes[1] or sizes[2] != len(line["items"]) or not is_strong:
        raise ValueError(
            f"{where}: exploration has {sizes[0]} candidates, {sizes[1]} scores, {sizes[2]} propensities for "
            f"{len(line['items'])} items and strength {strength!r}; expected a score a candidate, a "
            "propensity an item, and a strength above 0"
        )
    for name in ("scores", "propensities"):
        for one in explored[name]:
            if not (isinstance(one, (int, float)) or (one is None and name == "scores")):
                raise ValueError(f"{where}: {name} has {one!r}, expected numbers")
    for name, ids in (("items", line["items"]), ("candidates", explored["candidates"])):
        if len(set(map(str, ids))) < len(ids):
            raise ValueError(f"{where}: {name} has one twice: {ids}")
    unknown = set(line["items"]) - set(explored["candidates"])
    if unknown:
        raise ValueError(f"{where}: {sorted(unknown)[0]!r} is shown and no candidate")


def _log_of(lines: list[dict[str, Any]], rewards: Any, reward: str | None, notes: tuple[str, ...]) -> ExposureLog:
    # What was not explored is pinned as it stood.
    shown = [line["items"] for line in lines]
    explored = [line.get("exploration") or {"candidates": line["items"], "strength": 1.0} for line in lines]
    sizes = np.array([len(each["candidates"]) for each in explored])
    is_one = np.arange(max(1, sizes.max())) < sizes[:, None]
    logits = np.full(is_one.shape, -np.inf)
    scores = [each.get("scores", [None] * len(each["candidates"])) for each in explored]
    # Written with the digits that bring single precision back.
    logits[is_one] = np.array([np.nan if one is None else one for each in scores for one in each], np.float32)
    logits /= np.array([each["strength"] for each in explored])[:, None]

    catalog, texts = _catalog_of([id for each in explored for id in each["candidates"]])
    candidates = np.full(is_one.shape, -1, np.int32)
    candidates[is_one] = texts
    k = max(1, *map(len, shown))
    places = np.full((len(lines), k), -1)
    for row, (items, each) in enumerate(zip(shown, explored)):
        at = {id: place for place, id in enumerate(each["candidates"])}
        places[row, : len(items)] = [at[id] for id in items]
    logged = np.zeros(places.shape)
    logged[places >= 0] = [
        p for each, items in zip(explored, shown) for p in each.get("propensities", [1.0] * len(items))
    ]
    _compare(lines, logged, given_those_before(logits, places))

    requests = object_array(line["request"] for line in lines)
    visitors = _stamp.Catalog("strings")
    unit = Ids("read_exposures: visitor", object_array(line["visitor"] for line in lines)).add_to(visitors)
    every = np.arange(len(lines))[:, None]
    return explored_rows(
        catalog=catalog,
        candidates=candidates,
        probabilities=slot_probabilities(logits, k),
        places=places,
        reward=_rewards(rewards, reward, requests, catalog, np.where(places < 0, -1, candidates[every, places])),
        requests=requests,
        unit=unit.astype(np.int64),
        units="visitors",
        notes=notes,
    )


def _catalog_of(texts: list[str]) -> tuple[_stamp.Catalog, np.ndarray]:
    """The log writes all ids as texts: integers again where all are."""
    import pyarrow as pa

    ids = Ids("read_exposures: items", as_written(pa.array(texts, pa.large_string()), as_text=False))
    catalog = _stamp.Catalog(ids.kind)
    return catalog, ids.add_to(catalog)


def _compare(lines: list[dict[str, Any]], logged: np.ndarray, expected: np.ndarray) -> None:
    wrong = ~np.isclose(logged, expected, rtol=1e-6, atol=1e-12)
    if wrong.any():
        row, slot = np.argwhere(wrong)[0]
        raise ValueError(
            f"read_exposures: request {lines[row]['request']!r} has a propensity of {logged[row, slot]:g} at slot "
            f"{slot + 1}, by its scores it is {expected[row, slot]:g}; expected Plackett-Luce (docs/server.md)"
        )


def _rewards(
    table: Any, reward: str | None, requests: np.ndarray, catalog: _stamp.Catalog, shown: np.ndarray
) -> np.ndarray:
    """[R,k] of the products `shown` [R,k], rows of the catalog."""
    what = "read_exposures: rewards"
    columns = open_columns(what, table)
    written = {
        "request": functools.partial(as_written, as_text=True),
        "item_id": functools.partial(as_written, as_text=catalog.kind == "strings"),
    }
    names = ["request", "item_id", *([reward] if reward is not None else [])]
    columns.require(names)
    found = columns.read(names, written)
    n = len(found["request"])
    worth = np.ones(n) if reward is None else floats(f"{what}: {reward}", found[reward], n)
    out = np.zeros(shown.shape)
    if not n:
        return out
    lists = _stamp.Catalog("strings")
    Ids(what, requests).add_to(lists)
    row = Ids(f"{what}: request", found["request"], as_text=True).find_in(lists, "the log")
    item = find_rows(f"{what}: item_id", found["item_id"], catalog, "the log")
    known = (row >= 0) & (item >= 0)
    clicked, slot = np.nonzero(shown[row[known]] == item[known, None])
    np.add.at(out, (row[known][clicked], slot), worth[known][clicked])
    return out
