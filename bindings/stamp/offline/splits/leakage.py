"""The guard against leakage: what is tested must not have been learnt from."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...base.tables import Table
from ...data.sessions import Sessions

KINDS = {
    "earlier": "over before the last event of training",
    "straddling": "begun before the last event of training, over after it",
    "copies": "also in training",
}
STRADDLING = 0.01  # share of the test sessions that may straddle the end of training: visitors are never all gone
CHANCE = 0.01  # share of long sessions that may be in training by chance, where times are not known
LONG = 4  # different products: sessions of so many are hardly ever the same by chance
_SHOWN = 3  # offenders of each kind in a message


class LeakageError(ValueError):
    """Test sessions overlap with training. `report` is the :class:`LeakageReport`; the message begins with the `call`
    that looked for it and ends with its `option` that lets it pass."""

    def __init__(self, report: LeakageReport, *, call: str, option: str):
        super().__init__(_message(report, call, option))
        self.report = report


@dataclass(frozen=True, kw_only=True, eq=False)
class LeakageReport:
    """What :func:`check_leakage` found.

    Attributes
    ----------
    sessions : int
        Test sessions looked at.
    offenders : dict of str to int64 array
        Indices of test sessions by kind: "earlier", "straddling", "copies"; only kinds that could be looked for.
    originals : int64 array
        The training session that each of the copies repeats (one of them).
    refused : tuple of str
        Kinds for which the split cannot stand.
    allowed : tuple of str
        Kinds that were let pass, as was asked for.
    notes : tuple of str
        What could not be looked for, and what was let pass.
    """

    sessions: int
    offenders: dict[str, np.ndarray]
    originals: np.ndarray
    refused: tuple[str, ...]
    allowed: tuple[str, ...]
    notes: tuple[str, ...]
    _shown: dict[str, list[str]]  # the first offenders of each kind, in words

    def clean(self, test: Sessions) -> Sessions:
        """`test` without all that overlaps.

        Raises
        ------
        ValueError
            `test` is not what was checked, or nothing is left of it.
        """
        if len(test) != self.sessions:
            raise ValueError(f"clean: test has {len(test)} sessions, those that were checked are {self.sessions}")
        mask = np.ones(self.sessions, bool)
        for indices in self.offenders.values():
            mask[indices] = False
        if not mask.any():
            raise ValueError(f"clean: all of the {self.sessions} test sessions overlap with training")
        return test.select(mask)

    def table(self) -> Table:
        rows: list[list[Any]] = []
        for kind, indices in self.offenders.items():
            verdict = "refused" if kind in self.refused else "allowed" if kind in self.allowed else "passed"
            rows.append([kind, KINDS[kind], len(indices), len(indices) / self.sessions, verdict])
        shown = [line for kind in self.offenders for line in self._shown.get(kind, ())]
        return Table(
            ["overlap", "test sessions that are", "sessions", "share", "verdict"],
            rows,
            title=f"Overlap of {self.sessions:,} test sessions with training",
            notes=[*self.notes, *shown],
            formats={"sessions": ",d", "share": ".2%"},
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "sessions": self.sessions,
            "offenders": {kind: indices.tolist() for kind, indices in self.offenders.items()},
            "originals": self.originals.tolist(),
            "refused": list(self.refused),
            "allowed": list(self.allowed),
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return self.table().to_text()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def check_leakage(train: Sessions, test: Sessions, *, allow: Collection[str] = ()) -> LeakageReport:
    """Refuse a test that training has seen, in time or as sessions. Visitors may be in both: they come back.

    Three kinds of overlap are looked for:

    - "earlier": test sessions whose last event is before the last event of training. The model learnt from what came
      after them. A split by the time of the last event, as :meth:`Sessions.split_by_time` makes, never has any, a
      random one has almost nothing else. Needs timestamps; refused.
    - "straddling": test sessions that begin before the last event of training and end after it. A split by time leaves
      as many as sessions were open at its moment, and only their first questions know too much: refused above 1 % of
      the test sessions, else reported.
    - "copies": test sessions that stand in training: the same products in the same order at the same times, two events
      or more; refused. Where times are not known, short sessions are the same by chance (59 % of the test sessions of
      two clicks of Yoochoose 1/64), so only those of 4 different products or more are looked at, of which honest
      splits share 0.3 % or less (docs/offline.md). They are refused when there are too many for a chance of 1 %:
      ``exp(−n · KL(c/n ‖ 0.01)) < 0.001`` for c copies of n, the Chernoff bound (Hoeffding 1963, theorem 1).

    Parameters
    ----------
    train, test : Sessions
        What was learnt from, and what is to be measured on.
    allow : collection of {"earlier", "straddling", "copies"}
        Kinds that are reported and not refused.

    Returns
    -------
    LeakageReport

    Raises
    ------
    LeakageError
        The split is refused; the message shows offenders, ``error.report`` has them all.
    ValueError
        `allow` has an unknown kind, train or test are no Sessions or empty, or their ids are of two kinds.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=500, products=100)
    >>> train, test = shop.sessions.split_by_time("7D")
    >>> stamp.offline.check_leakage(train, test).refused
    ()
    """
    for name, sessions in (("train", train), ("test", test)):
        if not isinstance(sessions, Sessions):
            raise ValueError(
                f"check_leakage: {name} is {type(sessions).__name__}, expected stamp.Sessions (see Sessions.from_frame)"
            )
        if not sessions.n_events:
            raise ValueError(f"check_leakage: {name} has no events")
    unknown = sorted(set([allow] if isinstance(allow, str) else allow) - set(KINDS))
    if unknown:
        raise ValueError(f"check_leakage: allow has {unknown[0]!r}, expected some of {', '.join(KINDS)}")

    offenders: dict[str, np.ndarray] = {}
    shown: dict[str, list[str]] = {}
    refused, notes = [], []
    timed = train.timestamps is not None and test.timestamps is not None
    if timed:
        end, first, last = _times(train, test)
        offenders["earlier"] = np.flatnonzero(last < end)
        offenders["straddling"] = np.flatnonzero((first < end) & (last >= end))
        if len(offenders["earlier"]):
            refused.append("earlier")
        if len(offenders["straddling"]) > STRADDLING * len(test):
            refused.append("straddling")
        elif len(offenders["straddling"]):
            notes.append(
                f"{len(offenders['straddling']):,} of {len(test):,} test sessions straddle the end of training "
                f"(refused above {100 * STRADDLING:g} %)"
            )
        for kind in ("earlier", "straddling"):
            shown[kind] = [
                f"test session {i} is of {first[i]} to {last[i]}, training ends at {end}"
                for i in offenders[kind][:_SHOWN].tolist()
            ]
    else:
        notes.append("timestamps are not known: overlap in time cannot be seen")

    copies, originals = _copies(train, test, timed)
    if not timed:
        long = _distinct_products(test) >= LONG
        kept = long[copies]
        copies, originals = copies[kept], originals[kept]
        n = int(long.sum())
        notes.append(f"{n:,} test sessions of {LONG} different products or more were looked for in training")
        if _is_more_than_chance(len(copies), n):
            refused.append("copies")
        elif len(copies):
            notes.append(
                f"{len(copies):,} of them stand there (refused where there are too many for a chance of "
                f"{100 * CHANCE:g} %)"
            )
    elif len(copies):
        refused.append("copies")
    offenders["copies"] = copies
    shown["copies"] = [
        f"test session {i} is training session {j}: {_in_words(test, i)}"
        for i, j in zip(copies[:_SHOWN].tolist(), originals.tolist())
    ]

    allowed = [kind for kind in refused if kind in allow]
    notes += [f"{kind}: allowed" for kind in allowed]
    report = LeakageReport(
        sessions=len(test),
        offenders=offenders,
        originals=originals,
        refused=tuple(kind for kind in refused if kind not in allowed),
        allowed=tuple(allowed),
        notes=tuple(notes),
        _shown=shown,
    )
    if report.refused:
        raise LeakageError(report, call="check_leakage", option=f"allow={report.refused}")
    return report


def _message(report: LeakageReport, call: str, option: str) -> str:
    lines = [f"{call}: the test overlaps with training"]
    for kind in report.refused:
        n = len(report.offenders[kind])
        lines.append(f"  {kind}: {n:,} of {report.sessions:,} test sessions are {KINDS[kind]}")
        lines += [f"    {line}" for line in report._shown[kind]]
        if n > _SHOWN:
            lines.append(f"    and {n - _SHOWN:,} more")
    lines.append(
        "  split by time (Sessions.split_by_time, stamp.offline.windows), measure on error.report.clean(test), or say "
        f"{option} and know why"
    )
    return "\n".join(lines)


def _times(train: Sessions, test: Sessions) -> tuple[np.datetime64, np.ndarray, np.ndarray]:
    """The last event of training; first and last event [sessions] of each test session."""
    times, offsets = test.timestamps, test._core.offsets
    trained = train.timestamps
    assert times is not None and trained is not None
    return trained.max(), times[offsets[:-1]], times[offsets[1:] - 1]


def _copies(train: Sessions, test: Sessions, timed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Test sessions of 2 events or more that stand in `train`, and one session of `train` for each."""
    trained, tested = train._core, test.rows_in(train._catalog, "check_leakage: test", "train")
    known, looked_for = _fingerprints(trained, timed), _fingerprints(tested, timed)
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known[order], looked_for)
    candidate = np.append(order, 0)[place]
    found = (place < len(known)) & (known[candidate] == looked_for) & (np.diff(tested.offsets) >= 2)

    def same(i: int, j: int) -> bool:  # whatever fingerprints say
        a, b = (slice(*core.offsets[s : s + 2].tolist()) for core, s in ((tested, i), (trained, j)))
        items = tested.items[a]
        return bool(
            (items >= 0).all()
            and np.array_equal(items, trained.items[b])
            and (not timed or np.array_equal(tested.timestamps[a], trained.timestamps[b]))
        )

    copies = [i for i in np.flatnonzero(found).tolist() if same(i, int(candidate[i]))]
    return np.array(copies, np.int64), candidate[copies].astype(np.int64)


def _fingerprints(core: Any, timed: bool) -> np.ndarray:
    """uint64 [sessions]: equal for sessions of the same products in the same order (and at the same times)."""
    offsets = core.offsets
    lengths = np.diff(offsets)
    position = np.arange(len(core.items)) - np.repeat(offsets[:-1], lengths)
    events = _mix(core.items.astype(np.int64).view(np.uint64) ^ _mix(position.view(np.uint64)))
    if timed:
        events = _mix(events ^ _mix(core.timestamps.view(np.uint64)))
    total = np.concatenate((np.zeros(1, np.uint64), np.cumsum(events, dtype=np.uint64)))
    return total[offsets[1:]] - total[offsets[:-1]]  # sums wrap round, and so do their differences


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _distinct_products(sessions: Sessions) -> np.ndarray:
    """Different products [sessions] of each."""
    core = sessions._core
    session = np.repeat(np.arange(len(core)), np.diff(core.offsets))
    order = np.lexsort((core.items, session))
    session, items = session[order], core.items[order]
    new = np.append(True, (session[1:] != session[:-1]) | (items[1:] != items[:-1]))[: len(items)]
    return np.bincount(session[new], minlength=len(core))


def _is_more_than_chance(copies: int, n: int) -> bool:
    share = copies / n if n else 0.0
    if share <= CHANCE:
        return False
    divergence = share * math.log(share / CHANCE)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - CHANCE))
    return math.exp(-n * divergence) < 0.001


def _in_words(sessions: Sessions, index: int) -> str:
    ids = sessions.session(index).tolist()
    return ", ".join(map(str, ids[:5])) + (f", … ({len(ids)} events)" if len(ids) > 5 else "")
