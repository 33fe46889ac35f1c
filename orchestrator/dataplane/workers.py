"""Worker processes of the data plane: they copy and compare chunks, off the orchestrator's interpreter lock.

Processes are spawned, not forked (drivers do not survive a fork), and end with their parent. Only task descriptions and
results travel; data goes from source to target through the worker. A worker keeps its connections between tasks and
opens new ones after an error.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from tranship.connectors.errors import ConnectorError, TransientError
from tranship.connectors.protocols import BatchTarget, Loaded, Position, Scope, Span
from tranship.connectors.registry import Source, open_source, open_target
from tranship.orchestrator import logs, stderr
from tranship.orchestrator.dataplane import copier
from tranship.orchestrator.dataplane.comparison import Comparison, compare
from tranship.orchestrator.failpoints import reached
from tranship.plans.streams import Endpoint, Stream

T = TypeVar("T")

END_S = 5.0
"""How long the workers may take to end once they are asked to; then they are killed, and the servers roll back what
they had under way, as they do when a worker dies."""


@dataclass(frozen=True)
class CompareTask:
    """Compare one span, reading the source as of `after` or later."""

    stream: Stream
    span: Span
    after: Position


class Workers(Protocol):
    """Carries out tasks beside each other; `close` ends running ones."""

    count: int

    def copy(self, task: copier.CopyTask) -> Future[Loaded]: ...

    def compare(self, task: CompareTask) -> Future[Comparison]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class WorkerSetting:
    """What a worker needs to connect. Travels through a pipe, never through a command line."""

    source: Endpoint
    target: Endpoint
    streams: tuple[Stream, ...]
    scope: Scope
    log_format: str


class ProcessWorkers:
    """Workers in processes of their own."""

    def __init__(self, setting: WorkerSetting, count: int) -> None:
        self.count = count
        self._pool = ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(setting, os.getpid()),
        )

    def copy(self, task: copier.CopyTask) -> Future[Loaded]:
        with _lost_workers():
            return self._pool.submit(_copy, task)

    def compare(self, task: CompareTask) -> Future[Comparison]:
        with _lost_workers():
            return self._pool.submit(_compare, task)

    def close(self) -> None:
        processes = list((self._pool._processes or {}).values())  # the pool has no public way to end a running task
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        end = time.monotonic() + END_S
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
            process.kill()  # the only signal that ends a process which is stopped
            process.join()


def outcome(done: Future[T]) -> T:
    """What a task gave. Raises its error; `TransientError` when the worker died, after which all of them are gone."""
    with _lost_workers():
        return done.result()


@contextmanager
def _lost_workers() -> Iterator[None]:
    """A pool with a dead process takes and finishes nothing more: to be told as an outage, which new workers end."""
    try:
        yield
    except BrokenProcessPool as error:
        raise TransientError("a worker process ended unexpectedly (killed, or out of memory)") from error


# --- inside a worker ---------------------------------------------------------------------------------------------


class _Connections:
    """The worker's connections: opened at the first task, and anew after an error."""

    def __init__(self, setting: WorkerSetting) -> None:
        self._setting = setting
        self._stack = ExitStack()
        self._open: tuple[Source, BatchTarget] | None = None

    def get(self) -> tuple[Source, BatchTarget]:
        if self._open is None:
            s = self._setting
            with ExitStack() as stack:
                source = stack.enter_context(closing(open_source(s.source, s.streams)))
                target = stack.enter_context(closing(open_target(s.target, s.streams, s.scope, reached)))
                self._stack = stack.pop_all()
            self._open = (source, target)
        return self._open

    def drop(self) -> None:
        self._open = None
        self._stack.close()


_connections: _Connections | None = None


def _start(setting: WorkerSetting, parent: int) -> None:
    """First code in a worker: end with the parent, leave Ctrl-C to it, log like it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the line above
        os._exit(1)
    stderr.tolerate()
    logs.configure(setting.log_format, run=setting.scope.run)
    global _connections  # noqa: PLW0603  one per process, set once: the pool offers tasks no other place
    _connections = _Connections(setting)


def _copy(task: copier.CopyTask) -> Loaded:
    assert _connections is not None
    try:
        source, target = _connections.get()
        return copier.copy(source, target, task)
    except ConnectorError:
        _connections.drop()
        raise


def _compare(task: CompareTask) -> Comparison:
    assert _connections is not None
    try:
        source, target = _connections.get()
        expected = source.read(task.stream, task.span, task.after)
        documents = partial(source.documents, task.stream)
        return compare(task.stream, expected, target.read(task.stream, task.span), documents)
    except ConnectorError:
        _connections.drop()
        raise
