"""Worker processes of the data plane: they copy and compare chunks, off the orchestrator's interpreter lock.

Only task descriptions and results travel; data goes from source to target through the worker (`worker`). A worker keeps
its connections between tasks and opens new ones after an error. It ends with its parent (`processes`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from tranship.connectors.errors import TransientError
from tranship.connectors.protocols import Loaded, Position, Scope, Span
from tranship.connectors.registry import worker_modules
from tranship.orchestrator.dataplane.processes import prepared
from tranship.plans.streams import Endpoint, Stream

if TYPE_CHECKING:
    from tranship.orchestrator.dataplane import copier
    from tranship.orchestrator.dataplane.comparison import Comparison

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
        # Only who moves rows pays for Arrow and the drivers; a command that looks at a run does not.
        from tranship.orchestrator.dataplane import worker

        self._worker = worker
        self.count = count
        modules = (worker.__name__, *worker_modules(setting.source), *worker_modules(setting.target))
        self._pool = ProcessPoolExecutor(
            count, mp_context=prepared(modules), initializer=worker.start, initargs=(setting,)
        )

    def copy(self, task: copier.CopyTask) -> Future[Loaded]:
        with _lost_workers():
            return self._pool.submit(self._worker.copy, task)

    def compare(self, task: CompareTask) -> Future[Comparison]:
        with _lost_workers():
            return self._pool.submit(self._worker.compare, task)

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
