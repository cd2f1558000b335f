"""Sliding windows: the same question asked of several splits by time, so that one lucky day proves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from ...base.checks import whole_number
from ...base.tables import Table
from ...data.sessions import Sessions
from ...data.tables.times import parse_span


class Window(NamedTuple):
    """A split by time. `name` tells where the test begins."""

    name: str
    train: Sessions
    test: Sessions


class Windows(Sequence[Window]):
    """Splits of the same sessions, oldest first; made by :func:`windows`. A split is cut out when it is asked for.

    Attributes
    ----------
    names : list of str
        The days where the tests begin, or the moments where several begin on a day.
    """

    def __init__(self, sessions: Sessions, begins: np.ndarray, *, train: int | None, test: int, gap: int):
        self._sessions = sessions
        self._begins = begins  # of the tests, microseconds, as are the spans
        self._train, self._test, self._gap = train, test, gap
        core = sessions._core
        self._first, self._last = core.timestamps[core.offsets[:-1]], core.timestamps[core.offsets[1:] - 1]
        self.names = short_moments(begins.astype("datetime64[us]"))

    def _masks(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        begin = int(self._begins[index])
        train = self._last < begin - self._gap
        if self._train is not None:
            train &= self._first >= begin - self._gap - self._train
        return train, (self._first >= begin) & (self._first < begin + self._test)

    def __len__(self) -> int:
        return len(self._begins)

    @overload
    def __getitem__(self, index: int) -> Window: ...
    @overload
    def __getitem__(self, index: slice) -> list[Window]: ...
    def __getitem__(self, index: int | slice) -> Window | list[Window]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        train, test = (self._sessions.select(mask) for mask in self._masks(index % len(self)))
        return Window(self.names[index], train, test)

    def table(self) -> Table:
        rows: list[list[Any]] = []
        for i, name in enumerate(self.names):
            train, test = self._masks(i)
            rows.append([name, int(train.sum()), int(test.sum())])
        return Table(
            ["test begins", "train sessions", "test sessions"],
            rows,
            title=f"{len(self)} windows",
            formats={"train sessions": ",d", "test sessions": ",d"},
        )

    def __repr__(self) -> str:
        return self.table().to_text()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def windows(
    sessions: Sessions, *, train: Any = "14D", test: Any = "1D", n: int = 5, gap: Any = None, step: Any = None
) -> Windows:
    """Splits by time that slide over `sessions`: the last test ends with the data, each earlier one `step` before.

    A test holds the sessions that begin in its span; training those that begin and end in the span before it. A session
    that is open when a test begins is in neither, so that no question is asked of a model that knows what followed.

    Parameters
    ----------
    train : str, timedelta or None
        Length of the time learnt from ("14D", "12h"); None: all that is before the test.
    test : str or timedelta
        Length of the time that is tested.
    n : int
        Windows.
    gap : str or timedelta, optional
        Time between training and test: what passes in production until a new model serves. Default: none.
    step : str or timedelta, optional
        From one test to the next. Default: `test`, so that tests neither overlap nor leave anything out; a shorter one
        is refused, since :func:`compare` would count the same sessions twice.

    Raises
    ------
    ValueError
        There are no timestamps, the data are too short for the windows, or a window has no sessions to train or to test
        on.

    Examples
    --------
    >>> import stamp
    >>> shop = stamp.datasets.synthetic_shop(sessions=2000, products=100)
    >>> for name, train, test in stamp.offline.windows(shop.sessions, train="14D", test="2D", n=3):
    ...     print(name, len(train), len(test))
    2023-12-06 1016 142
    2023-12-08 1012 131
    2023-12-10 992 156
    """
    if not isinstance(sessions, Sessions):
        raise ValueError(f"windows: sessions is {type(sessions).__name__}, expected stamp.Sessions")
    times = sessions._core.timestamps
    if not len(times):
        raise ValueError("windows: these sessions have no timestamps")
    whole_number("windows: n", n, least=1)
    tested = _span("test", test)
    learnt = None if train is None else _span("train", train)
    between = 0 if gap is None else _span("gap", gap)
    stride = tested if step is None else _span("step", step)
    if stride < tested:
        raise ValueError(f"windows: step={step!r} is shorter than test={test!r}, so tests would overlap")
    begins = int(times.max()) + 1 - tested - stride * np.arange(n - 1, -1, -1)
    needed = int(times.max()) + 1 - int(begins[0]) + between + (learnt or 0)
    there = int(times.max() - times.min()) + 1
    if needed > there:
        raise ValueError(
            f"windows: {n} windows of train={train!r} and test={test!r} need {_days(needed)} of sessions, these are of "
            f"{_days(there)}; give fewer or shorter ones"
        )
    result = Windows(sessions, begins, train=learnt, test=tested, gap=between)
    for i, name in enumerate(result.names):
        for part, mask in zip(("train", "test"), result._masks(i)):
            if not mask.any():
                raise ValueError(f"windows: the window whose test begins at {name} has no sessions to {part} on")
    return result


def _span(name: str, value: Any) -> int:
    """Microseconds of a span of time."""
    kind, length = parse_span(f"windows: {name}", value)
    if kind != "span" or length <= 0:
        raise ValueError(f"windows: {name}={value!r} is no span of time, expected '7D', '12h' or a timedelta")
    return length


def _days(microseconds: int) -> str:
    return f"{microseconds / 86_400e6:.3g} days"


def short_moments(times: np.ndarray) -> list[str]:
    """Times datetime64[us] [n], as short as tells them apart."""
    for unit in ("D", "m", "s", "us"):
        names = [str(moment).replace("T", " ") for moment in times.astype(f"datetime64[{unit}]")]
        if len(set(names)) == len(names):
            break
    return names
