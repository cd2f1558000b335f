"""Processes that train clusters: on CPUs one each, on a GPU one for all that are trained side by side there."""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from .. import _stamp
from ..base.progress import ClustersBar
from ..models.train_reports import TrainReport, write_report
from .jobs import Job, Settings, failure
from .warm_starts import WarmStart

_PROCESS = 120 << 20  # bytes of a process that trains something tiny: 42 MiB were measured on a CPU


@dataclasses.dataclass(frozen=True)
class Task:
    report: TrainReport  # what is known before
    out: pathlib.Path
    settings: Settings
    warm_start: WarmStart | None
    alone: bool = False  # it failed beside others, and is tried once more when nothing else is on its device


@dataclasses.dataclass
class _Worker:
    """A process, and the clusters that it trains."""

    device: str
    shared: bool
    process: Any
    tasks: dict[int, Task] = dataclasses.field(default_factory=dict)
    bytes: dict[int, int] = dataclasses.field(default_factory=dict)
    unsent: list[Job | None] = dataclasses.field(default_factory=list)
    reads: bool = False  # what is sent
    closed: bool = False  # gets no more

    @property
    def open(self) -> bool:
        return self.shared and not self.closed


def bytes_needed(job: Job) -> int:
    """An estimate of what training a cluster holds at most, wherever it is held."""
    options = job.settings.to_dict()
    table = len(job.item_ids) * options["dim"] * 4
    # The weights and two moments; the best weights; the rows in the layout that validation scans.
    content = bool(options["content"])
    # The gradient; differences; the weights to begin with.
    tables = 5 + (content or options["clip_norm"] > 0) + content + (job.warm_start is not None)
    # Attributes' rows: weights, moments and gradient, and the best.
    values = sum(min(len(column[2]), len(job.item_ids)) for column in job.attributes if len(column) == 3)
    values += sum(options["content_bins"] for column in job.attributes if len(column) == 2)
    tables += 5 * content * values / max(1, len(job.item_ids))
    old = 0 if job.warm_start is None else job.warm_start.bytes  # which may know the whole catalog
    # Successors as they are found, as they are kept, and those of the selection; where each product occurs.
    steps = 2 if options["second_floors"] else 1 if options["successor_floors"] else 0
    pairs, places = steps * 3 * 8 * len(job.item_ids) * options["successors"], 12 if steps else 0
    # As handed over, cut in two, without misses, and put together for the refit: an item and a weight an event each. Weights
    # by age.
    events = (5 * 8 + 4 + places) * job.sessions.events
    return _PROCESS + int(tables * table) + old + options["workspace_bytes"] + pairs + events


class Pool:
    """Trains tasks in processes. What a process leaves without a report when it ends has failed, whatever the cause. What
    fails in a process that others share is tried once more when those are done, with the device to itself.

    Parameters
    ----------
    make : callable
        Cuts the data of a task for a device.
    devices : list of str
        Which tasks are spread over.
    jobs : int
        Tasks at a time.
    shared : bool
        Those of a device are in one process, a thread each; else each is in a process of its own.
    threads : int
        Of the CPU, for each process.
    memory : int
        Bytes that all tasks under way together may hold; one always may.
    bar : ClustersBar, optional
    """

    def __init__(
        self,
        *,
        make: Callable[[Task, str], Job],
        devices: list[str],
        jobs: int,
        shared: bool,
        threads: int,
        memory: int,
        bar: ClustersBar | None,
    ):
        self._make, self._devices, self._jobs, self._shared = make, devices, jobs, shared
        self._threads, self._memory, self._bar = threads, memory, bar
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[Any, _Worker] = {}  # by the connection that it reports on
        self._waiting: deque[Task] = deque()
        self._reports: dict[int, TrainReport] = {}

    def run(self, waiting: deque[Task]) -> dict[int, TrainReport]:
        self._waiting = waiting
        ready: tuple[Task, Job, str] | None = None  # cut, and waiting for memory
        try:
            while ready or self._waiting or self._workers:
                while (ready or self._waiting) and len(self._running()) < self._jobs:
                    ready = ready or self._cut(self._waiting.popleft())
                    if ready and not self._start(*ready):
                        break
                    ready = None
                if not ready and not self._waiting:
                    self._close_idle()
                for connection in multiprocessing.connection.wait(list(self._workers)) if self._workers else []:
                    self._listen(connection)
        finally:
            for worker in self._workers.values():  # of an interrupted call: their checkpoints stay
                worker.process.terminate()
                worker.process.join()
            if self._bar is not None:
                self._bar.close()
        return self._reports

    def _running(self) -> list[int]:
        return [size for worker in self._workers.values() for size in worker.bytes.values()]

    def _cut(self, task: Task) -> tuple[Task, Job, str] | None:
        used = [worker.device for worker in self._workers.values() for _ in worker.tasks]
        device = min(self._devices, key=used.count)
        try:
            return task, self._make(task, device), device
        except Exception as error:
            self._finish(task, failure(task.report, error))
            return None

    def _start(self, task: Task, job: Job, device: str) -> bool:
        """False where memory, or the device, has to be waited for."""
        size, running = bytes_needed(job), self._running()
        if running and size + sum(running) > self._memory:
            return False
        there = [each for worker in self._workers.values() if worker.device == device for each in worker.tasks.values()]
        if there and (task.alone or any(each.alone for each in there)):
            return False
        try:
            task.out.mkdir(parents=True, exist_ok=True)
            if task.alone:
                self._close_idle()  # they hold memory of the device
            shared = self._shared and not task.alone
            usable = [at for at, worker in self._workers.items() if shared and worker.open and worker.device == device]
            connection = usable[0] if usable else self._spawn(device, shared)
        except Exception as error:
            self._finish(task, failure(task.report, error))
            return True
        worker, cluster = self._workers[connection], task.report.cluster
        worker.tasks[cluster], worker.bytes[cluster] = task, size
        worker.unsent += [job] if worker.shared else [job, None]
        self._send(connection)
        return True

    def _spawn(self, device: str, shared: bool) -> Any:
        here, there = self._context.Pipe()
        with there:  # closed here, so that the end of the process is the end of what can be read, or sent
            process = self._context.Process(target=_work, args=(self._threads, there), daemon=True)
            process.start()
        self._workers[here] = _Worker(device, shared, process)
        return here

    def _send(self, connection: Any) -> None:
        """Jobs, and None behind the last, once the process reads: who hands over more than a pipe holds to one that dies
        first waits for ever."""
        worker = self._workers[connection]
        try:
            while worker.reads and worker.unsent:
                connection.send(worker.unsent[0])
                worker.closed |= worker.unsent.pop(0) is None
        except ConnectionError:  # it is gone, which is heard of in a moment
            worker.closed, worker.unsent = True, []
        except Exception as error:  # no memory, say
            self._lose(connection, str(error) or type(error).__name__)

    def _close_idle(self) -> None:
        for connection, worker in list(self._workers.items()):
            if worker.open and not worker.tasks:
                worker.unsent.append(None)
                self._send(connection)

    def _listen(self, connection: Any) -> None:
        if (worker := self._workers.get(connection)) is None:
            return
        try:
            message = connection.recv()
        except (EOFError, ConnectionError):
            worker.process.join()
            self._lose(connection, _how_it_ended(worker.process.exitcode))
            return
        except Exception as error:  # no memory to receive in, say
            self._lose(connection, str(error) or type(error).__name__)
            return
        if message is None:  # it reads now
            worker.reads = True
            self._send(connection)
            return
        cluster, what = message
        task = worker.tasks[cluster]
        if not isinstance(what, TrainReport):
            if self._bar is not None:
                self._bar.advance(cluster, round(what * task.report.inside))
            return
        del worker.tasks[cluster], worker.bytes[cluster]
        if not worker.shared:  # what it holds is free before the next begins
            del self._workers[connection]
            worker.process.join()
        elif what.status == "failed":
            worker.closed = True  # it may be the device that does not work there any more
            worker.unsent = [None]
            self._send(connection)
        self._end(task, what, shared=worker.shared)

    def _lose(self, connection: Any, why: str) -> None:
        """What a process was at when it ended, or has to be ended."""
        worker = self._workers.pop(connection)
        worker.process.kill()
        worker.process.join()
        for task in worker.tasks.values():
            self._end(task, failure(task.report, RuntimeError(why)), shared=worker.shared)

    def _end(self, task: Task, report: TrainReport, *, shared: bool) -> None:
        if report.status == "failed" and shared:
            self._waiting.append(dataclasses.replace(task, alone=True))
        else:
            self._finish(task, report)

    def _finish(self, task: Task, report: TrainReport) -> None:
        if report.status == "failed":
            try:
                write_report(task.out, report)
            except (OSError, RuntimeError) as error:
                reason = f"{report.reason} (and the report of it cannot be written: {error})"
                report = dataclasses.replace(report, reason=reason)
        self._reports[report.cluster] = report
        if self._bar is not None:
            self._bar.finish(report.cluster, task.report.inside, repr(report))


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status} before it was done"
    hint = "; out of memory?" if status == -signal.SIGKILL else ""
    return f"its process was killed by {signal.Signals(-status).name}{hint}"


def _work(threads: int, connection: Any) -> None:
    """What a process does: say that it reads (None), take jobs until there are no more (None), train each in a thread,
    send shares of the work that are done, then the report."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits, which ends this one
    _stamp.set_num_threads(threads)
    turn = threading.Lock()

    def send(message: Any) -> None:
        with turn:
            connection.send(message)

    send(None)
    running = []
    while (job := connection.recv()) is not None:
        running.append(threading.Thread(target=_train, args=(job, send)))
        running[-1].start()
    for thread in running:
        thread.join()


def _train(job: Job, send: Callable[[Any], None]) -> None:
    cluster = job.report.cluster
    selection = 0.5 if job.settings.refit else 1.0  # of all the work, unless patience or the best epoch cut it short

    def advance(phase: str, epoch: int, epochs: int, done: int, total: int, *_: float) -> None:
        share = (epoch - 1 + done / max(1, total)) / epochs
        if phase != "validate":
            send((cluster, share * selection if phase == "train" else selection + share * (1 - selection)))

    try:
        try:
            report = job.run(advance)
        except Exception as error:
            report = failure(job.report, error)
        send((cluster, report))
    except BaseException:  # nobody would hear of it: the end of the process is heard
        traceback.print_exc()
        os._exit(1)
