"""Progress of what takes long, in terminals and notebooks."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from .streams import STDERR, tell


class TrainingBar:
    """Called by the library about ten times a second; one bar an epoch, with examples/s and loss."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._place: tuple[str, int] | None = None

    def __call__(self, phase: str, epoch: int, epochs: int, done: int, total: int, loss: float, speed: float) -> None:
        if self._place != (phase, epoch):
            self.close()
            self._place = (phase, epoch)
            self._bar = make_bar(total, f"{phase} {epoch}/{epochs}", "examples" if phase != "validate" else "sessions")
        if self._bar is not None:
            if phase != "validate":
                self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class LineBar:
    """What remains of a bar in a log, or without tqdm: a line on standard error at the end of each part."""

    def __init__(self, total: int, title: str, unit: str):
        self.n, self._total, self._title, self._unit, self._note = 0, total, title, unit, ""
        self._start = time.perf_counter()

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        self._note = text

    def update(self, n: int) -> None:
        self.n += n

    def write(self, text: str, file: Any) -> None:
        print(text, file=file, flush=True)

    def close(self) -> None:
        speed = self.n / (time.perf_counter() - self._start)
        of = "" if self.n == self._total else f" of {self._total:,}"
        line = f"{self._title}: {self.n:,}{of} {self._unit}, {speed:,.0f} {self._unit}/s {self._note}"
        tell(line.rstrip())


class ClustersBar:
    """One bar over the examples of all clusters, and a line for each that is done."""

    def __init__(self, examples: int):
        self._bar = make_bar(examples, "clusters", "examples")
        self._done: dict[int, int] = {}

    def advance(self, cluster: int, done: int) -> None:
        self._bar.update(done - self._done.get(cluster, 0))
        self._done[cluster] = done

    def finish(self, cluster: int, examples: int, line: str) -> None:
        self.advance(cluster, examples)
        self._bar.write(line, file=STDERR)

    def close(self) -> None:
        self._bar.close()


class Steps:
    """Says of each step how long it took; while it runs, where people look on, how far it is.

    Parameters
    ----------
    call : str
        What messages begin with.
    shown : bool
    done : callable
        The share of what runs that is done, 0 to 1, or None where nobody knows; asked by another thread.
    """

    def __init__(self, call: str, *, shown: bool, done: Callable[[], float | None]):
        self._call, self._shown, self._done = call, shown, done

    @contextlib.contextmanager
    def __call__(self, title: str) -> Iterator[None]:
        start, ended = time.perf_counter(), threading.Event()
        watcher = threading.Thread(target=self._watch, args=(title, ended), daemon=True)
        if self._shown and is_watched():
            watcher.start()
        try:
            yield
        finally:
            ended.set()
            if watcher.ident is not None:
                watcher.join()
        if self._shown:
            tell(f"{self._call}: {title}, {time.perf_counter() - start:.1f} s")

    def _watch(self, title: str, ended: threading.Event) -> None:
        bar = make_bar(100, f"{self._call}: {title}", "%")
        while not ended.wait(0.25):
            share = self._done()
            if share is not None:  # a step may be several queries: the bar begins anew with each
                bar.update(round(100 * share) - bar.n)
        bar.leave = False
        bar.close()


def is_watched() -> bool:
    """Whether somebody sees a bar move: in a terminal, or a notebook."""
    return STDERR.isatty() or "ipykernel" in sys.modules


def make_bar(total: int, title: str, unit: str) -> Any:
    if not is_watched():
        return LineBar(total, title, unit)
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return LineBar(total, title, unit)
    return tqdm(file=STDERR, total=total, desc=title, unit=f" {unit}", unit_scale=True, leave=True)
