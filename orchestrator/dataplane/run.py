"""What phases and services work with: the plan, its streams, the connections of one epoch, and patience.

A `Run` belongs to one epoch: when the epoch changes (takeover, rollback) the engine closes it and opens another, so
that no connection of the old epoch is left in use.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tranship.connectors.errors import RefusedError
from tranship.connectors.protocols import BatchTarget, Feed, Position, Progress, Scope, TargetSchema
from tranship.connectors.registry import Source
from tranship.orchestrator.clock import Clock
from tranship.orchestrator.dataplane import positions
from tranship.orchestrator.dataplane.work import Work
from tranship.orchestrator.dataplane.workers import Workers
from tranship.orchestrator.pulse import Pulse
from tranship.plans import Plan
from tranship.plans.strategies import PhaseName
from tranship.plans.streams import Stream

if TYPE_CHECKING:
    from tranship.orchestrator.retry import Patience

POLL_S = 0.1


class Guard(Protocol):
    """Watches a fence for as long as it is not released, also when this process is gone."""

    def release(self) -> None:
        """It need not watch any more."""


class Unguarded:
    """Where there is no other process."""

    def release(self) -> None:
        """Nothing to end."""


@dataclass(frozen=True)
class Connect:
    """How to open connections to the two sides of a run, in one direction: that names which is source and which target.
    Nothing is opened before it is used. The engine's tests put the memory pair here.

    `guard`: starts one that watches the source's record of a run, by its id, up to a deadline.

    `back`: how to open them in the other direction; None where a side cannot be what it would have to be.
    """

    source: Callable[[], Source]
    target: Callable[[Scope], BatchTarget]
    progress: Callable[[], Progress]
    schema: Callable[[], TargetSchema]
    workers: Callable[[Scope], Workers]
    guard: Callable[[str, float], Guard] = lambda _id, _deadline: Unguarded()
    back: Connect | None = None

    def toward(self, feed: Feed) -> Connect:
        """The direction of a feed. Raises `RefusedError` where nothing can be moved back."""
        if feed is Feed.FORWARD:
            return self
        if self.back is None:
            raise RefusedError(
                "nothing can be moved back: the source's connector is no target, or the target's no source of changes"
            )
        return self.back


@dataclass
class Run:
    """One run under one epoch. `id`: what its traces on the source are known by; no other run has it.
    `tick` raises when the phase must stop: pause, rollback, lost lease, failed service.

       `facts`: what a phase has observed so far, as the journal says.

       `work`: how far what is under way is.
    """

    id: str
    plan: Plan
    streams: tuple[Stream, ...]
    scope: Scope
    connect: Connect
    source: Source
    progress: Progress
    schema: TargetSchema
    clock: Clock
    patience: Patience
    tick: Callable[[], None]
    lanes: int
    facts: Callable[[PhaseName], Mapping[str, Any]] = lambda _phase: {}
    fenced_at: float = 0.0
    """When the fence of the attempt under way was raised, by the clock."""
    pulse: Pulse = field(default_factory=Pulse)
    work: Work = field(default_factory=lambda: Work(time.monotonic))
    _workers: list[Workers] = field(default_factory=list)
    _guards: list[Guard] = field(default_factory=list)
    _targets: list[BatchTarget] = field(default_factory=list)

    @property
    def by_name(self) -> Mapping[str, Stream]:
        """Streams by their names."""
        return {stream.name: stream for stream in self.streams}

    @property
    def workers(self) -> Workers:
        """The worker processes, started at first use."""
        if not self._workers:
            self._workers.append(self.connect.workers(self.scope))
        return self._workers[0]

    def position(self) -> Position:
        """The durable capture position. Only to be asked after the capture phase."""
        return positions.durable(self.progress, self.scope)

    def wait(self, condition: Callable[[], bool], limit_s: float, what: str, *, poll_s: float = POLL_S) -> None:
        """Wait until the condition holds, ticking; `TimeoutError` says what did not come.

        It is looked at again at each beat of the pulse, so when a service has done something, and after `poll_s`.
        """
        end = self.clock.now() + limit_s
        while True:
            seen = self.pulse.count
            if condition():
                return
            if self.clock.now() >= end:
                raise TimeoutError(f"waited {limit_s:g} s for {what}")
            self.tick()
            self.clock.wait(self.pulse, seen, poll_s)

    def guard(self, deadline: float) -> None:
        """Start a process that lifts a fence of this run on the source behind its deadline, also when this one is gone.
        Returns when it watches."""
        self.release_guard()
        self._guards.append(self.connect.guard(self.id, deadline))

    def release_guard(self) -> None:
        """The record is known to be behind the fence: nobody has to lift it."""
        while self._guards:
            self._guards.pop().release()

    @property
    def target(self) -> BatchTarget:
        """The target's rows, for the phases; opened at first use, so that it can be open before a fence."""
        if not self._targets:
            self._targets.append(self.connect.target(self.scope))
        return self._targets[0]

    def release_workers(self) -> None:
        """End the worker processes; they start again at the next use."""
        while self._workers:
            self._workers.pop().close()

    def close(self) -> None:
        """Close everything that this run opened."""
        self.release_workers()
        while self._targets:
            self._targets.pop().close()
        for connection in (self.source, self.progress, self.schema):
            connection.close()
