"""A `Run` on real connectors without the engine, so that a test calls phases, services and data plane step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from tests.integration.route import LIMIT_S, Route, wait_until
from tranship.connectors.protocols import BatchTarget, Feed, Loaded, Scope
from tranship.connectors.registry import Source
from tranship.orchestrator.clock import MonotonicClock
from tranship.orchestrator.dataplane import copier
from tranship.orchestrator.dataplane.comparison import Comparison, compare
from tranship.orchestrator.dataplane.drain import drain
from tranship.orchestrator.dataplane.run import Connect, Run
from tranship.orchestrator.dataplane.workers import CompareTask
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.journal.state import ServiceName
from tranship.orchestrator.phases import Phase, Verdict, Verified
from tranship.orchestrator.phases.registry import LIFTS, PHASES
from tranship.orchestrator.retry import Patience
from tranship.orchestrator.services import ServiceFailedError, Setting, Supervisor, applier, capture
from tranship.plans.strategies import GROUPS, Group, PhaseName

T = TypeVar("T")

FOLLOWING = frozenset({ServiceName.CAPTURE, ServiceName.APPLIER})
"""The services of a run that follows its source."""

LEASE_S = 600.0
"""Nobody renews it."""


@dataclass
class LocalWorkers:
    """`Workers` in the caller's thread, on the real connectors: a test's failure shows where it happened."""

    source: Source
    target: BatchTarget
    count: int = 1

    def copy(self, task: copier.CopyTask) -> Future[Loaded]:
        return _done(lambda: copier.copy(self.source, self.target, task))

    def compare(self, task: CompareTask) -> Future[Comparison]:
        def work() -> Comparison:
            expected = self.source.read(task.stream, task.span, task.after)
            return compare(task.stream, expected, self.target.read(task.stream, task.span))

        return _done(work)

    def close(self) -> None:
        self.source.close()
        self.target.close()


def _done(work: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001  the future carries it, as a worker's does
        future.set_exception(error)
    return future


@dataclass
class Direct:
    """A run under an epoch of its own, and the services that phases need beside them."""

    route: Route
    session: Session
    run: Run
    supervisor: Supervisor
    facts: dict[PhaseName, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.run.facts = lambda phase: self.facts.get(phase, {})

    def do(self, name: PhaseName) -> None:
        """Carry out a phase as the engine does: with the services that the state would ask for."""
        self._serve(name)
        for record in PHASES[name].do(self.run):
            if record.kind is Kind.OBSERVED:
                self.facts[name] = {**self.facts.get(name, {}), **record.data}
            self.run.tick()
        if name in (PhaseName.CAPTURE, PhaseName.SEAL):
            self.supervisor.ensure(frozenset({ServiceName.CAPTURE}))

    def lift(self, group: Group) -> Record:
        """Take back an attempt at a group of phases; returns the record that ends it."""
        (record,) = LIFTS[group].lift(self.run, needed=True)
        return record

    def verify(self, name: PhaseName) -> Verdict:
        """What the phase says of the world."""
        return PHASES[name].verify(self.run)

    def done(self, name: PhaseName) -> None:
        """Do a phase and see it verified."""
        self.do(name)
        assert self.verify(name) == Verified()

    def undo(self, name: PhaseName) -> None:
        """Take a phase back; no service runs then."""
        self.supervisor.ensure(frozenset())
        for _ in PHASES[name].undo(self.run):
            pass

    def failure(self) -> ServiceFailedError:
        """The failure of a service, once it has failed."""
        found: list[ServiceFailedError] = []

        def failed() -> bool:
            try:
                self.supervisor.check()
            except ServiceFailedError as error:
                found.append(error)
            return bool(found)

        wait_until(failed, what="a service to fail")
        return found[0]

    def follow(self) -> None:
        """Run capture and applier until nothing that was written before this call is left to apply."""
        self.supervisor.ensure(FOLLOWING)
        drain(self.run, LIMIT_S)

    def _serve(self, name: PhaseName) -> None:
        applying = (PhaseName.CATCH_UP, PhaseName.CONSTRAIN, PhaseName.RECONCILE, *GROUPS[Group.CUTOVER][:4])
        if name in applying:
            self.supervisor.ensure(FOLLOWING)
        elif name in (PhaseName.BACKFILL, PhaseName.INDEX):
            self.supervisor.ensure(frozenset({ServiceName.CAPTURE}))


def phases_before(name: PhaseName) -> tuple[PhaseName, ...]:
    """What has to be done first."""
    names = tuple(PHASES)
    return names[: names.index(name)]


def phase(name: PhaseName) -> Phase:
    """The phase of a name."""
    return PHASES[name]


@contextmanager
def direct(route: Route, plan: Path) -> Iterator[Direct]:
    """A run of the plan, begun but with nothing done."""
    with route.session(plan) as session:
        name = session.begin()
        session.control.acquire(name, LEASE_S)
        scope = Scope(name, Feed.FORWARD, session.control.claim(name))
        connect = replace(session.connect, workers=lambda scope: _workers(session.connect, scope))
        patience = Patience(session.plan.limits.patience)
        supervisor = Supervisor(
            Setting(connect, scope, session.streams, MonotonicClock(), patience),
            {ServiceName.CAPTURE: capture.body, ServiceName.APPLIER: applier.body},
        )
        run = Run(
            id="direct",
            plan=session.plan,
            streams=session.streams,
            scope=scope,
            connect=connect,
            source=connect.source(),
            progress=connect.progress(),
            schema=connect.schema(),
            clock=MonotonicClock(),
            patience=patience,
            tick=supervisor.check,
            lanes=2,
        )
        try:
            yield Direct(route, session, run, supervisor)
        finally:
            supervisor.close()
            run.close()
            session.control.release(name)


def _workers(connect: Connect, scope: Scope) -> LocalWorkers:
    return LocalWorkers(connect.source(), connect.target(scope))
