"""Pieces that several tests share: the control store in memory, and an engine over the memory pair."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tranship.connectors.errors import EpochMovedError
from tranship.connectors.memory import MemoryProgress, MemorySchema, MemorySource, MemoryStore, MemoryTarget
from tranship.connectors.protocols import Feed, Loaded, Scope
from tranship.orchestrator.dataplane import copier
from tranship.orchestrator.dataplane.comparison import Comparison, compare
from tranship.orchestrator.dataplane.run import Connect
from tranship.orchestrator.dataplane.workers import CompareTask
from tranship.orchestrator.journal.control import Request, RequestKind
from tranship.orchestrator.journal.records import Entry, Head, JournalError, Record, check_chain, sealed
from tranship.plans.streams import Stream

T = TypeVar("T")


@dataclass
class MemoryControl:
    """`Control` in memory: one plan, one lease, epochs kept by the memory store."""

    store: MemoryStore
    entries: list[Entry] = field(default_factory=list)
    pending: list[Request] = field(default_factory=list)
    numbers: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def latest_run(self, plan: str) -> str | None:
        return f"{plan}-1" if self.entries else None

    def create_run(self, plan: str, after: str | None) -> str:  # noqa: ARG002
        return f"{plan}-1"

    def journal(self, run: str) -> list[Entry]:
        return check_chain(run, self.entries)

    def append(self, run: str, seq: int, epoch: int, record: Record, consumed: int | None = None) -> None:
        with self.lock:
            if self.store.state.epochs.get(run) != epoch:
                raise EpochMovedError(f"epoch {epoch} is over")
            if seq != len(self.entries) + 1:
                raise JournalError(f"entry {seq} cannot follow {len(self.entries)}")
            head = Head(self.entries[-1].seq, self.entries[-1].hash) if self.entries else Head()
            self.entries.append(sealed(run, head, epoch, 0.0, record))
            self.pending = [r for r in self.pending if r.id != consumed]

    def requests(self, run: str) -> list[Request]:  # noqa: ARG002
        return list(self.pending)

    def request(
        self,
        run: str,  # noqa: ARG002
        kind: RequestKind,
        asking: int | None = None,
        stream: str | None = None,
    ) -> int:
        with self.lock:
            self.numbers += 1
            self.pending = [*self.pending, Request(self.numbers, kind, "test", asking, stream)]
            return self.numbers

    def acquire(self, run: str, ttl_s: float) -> None: ...

    def upgrade(self, run: str) -> None: ...

    def claim(self, run: str) -> int:
        return self.store.take_over(run)

    def renew(self, run: str, ttl_s: float, work: Mapping[str, Any] | None = None) -> None: ...

    def release(self, run: str) -> None: ...

    def close(self) -> None: ...


@dataclass
class InlineWorkers:
    """`Workers` that carry out each task at once, in the caller's thread."""

    source: MemorySource
    target: MemoryTarget
    count: int = 2

    def copy(self, task: copier.CopyTask) -> Future[Loaded]:
        return _done(lambda: copier.copy(self.source, self.target, task))

    def compare(self, task: CompareTask) -> Future[Comparison]:
        read = lambda: self.source.read(task.stream, task.span, task.after)  # noqa: E731
        return _done(lambda: compare(task.stream, read(), self.target.read(task.stream, task.span)))

    def close(self) -> None: ...


def _done(work: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001  the future carries it, as a worker's does
        future.set_exception(error)
    return future


def memory_connect(store: MemoryStore, streams: tuple[Stream, ...]) -> Connect:
    """Connections of the memory pair."""
    del streams
    return Connect(
        source=lambda: MemorySource(store, idle_s=0.02),
        target=lambda scope: MemoryTarget(store, scope),
        progress=lambda: MemoryProgress(store),
        schema=lambda: MemorySchema(store),
        workers=lambda scope: InlineWorkers(MemorySource(store), MemoryTarget(store, scope)),
    )


def scope_of(store: MemoryStore, run: str) -> Scope:
    """The scope of the run's present epoch."""
    return Scope(run, Feed.FORWARD, store.state.epochs[run])
