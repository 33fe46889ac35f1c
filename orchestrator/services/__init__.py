"""Services: what runs beside the phases, in threads of the orchestrator, for as long as the folded state says so.

A service that fails does not die quietly: the supervisor keeps its error, and the engine's next tick raises it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from tranship.connectors.protocols import Scope
from tranship.orchestrator.clock import Clock
from tranship.orchestrator.dataplane.run import Connect
from tranship.orchestrator.journal.state import ServiceName
from tranship.orchestrator.pulse import Pulse
from tranship.plans.streams import Stream

if TYPE_CHECKING:
    from tranship.orchestrator.retry import Patience

log = structlog.get_logger(__name__)

JOIN_LIMIT_S = 30.0


@dataclass(frozen=True)
class Setting:
    """What every service needs. Each thread opens connections of its own."""

    connect: Connect
    scope: Scope
    streams: tuple[Stream, ...]
    clock: Clock
    patience: Patience
    pulse: Pulse = field(default_factory=Pulse)


Body = Callable[[Setting, threading.Event], None]
"""A service: works until the event is set, then returns; raises when it cannot go on."""


class ServiceFailedError(Exception):
    """A service ended with an error, which is its cause."""

    def __init__(self, service: ServiceName, cause: BaseException) -> None:
        super().__init__(f"{service}: {cause}")
        self.service = service
        self.cause = cause


class Supervisor:
    """Starts and stops services, and remembers the first failure."""

    def __init__(self, setting: Setting, bodies: dict[ServiceName, Body]) -> None:
        self._setting = setting
        self._bodies = bodies
        self._stops: dict[ServiceName, threading.Event] = {}
        self._threads: dict[ServiceName, threading.Thread] = {}
        self._failure: ServiceFailedError | None = None

    def ensure(self, wanted: frozenset[ServiceName]) -> None:
        """Make exactly the wanted services run."""
        for name in set(self._threads) - wanted:
            self._stop(name)
        for name in sorted(wanted - set(self._threads)):
            stop = self._stops[name] = threading.Event()
            thread = self._threads[name] = threading.Thread(
                target=self._guard, args=(name, stop), name=name, daemon=True
            )
            thread.start()
            log.info("service started", service=name)

    def check(self) -> None:
        """Raise the first failure of a service."""
        if self._failure is not None:
            raise self._failure

    def _guard(self, name: ServiceName, stop: threading.Event) -> None:
        try:
            self._bodies[name](self._setting, stop)
        except BaseException as error:  # noqa: BLE001  nothing may be lost: the engine raises it again
            if stop.is_set():  # it was told to end, and nobody waits for what it was at
                log.info("service ended with an error after it was stopped", service=name, error=type(error).__name__)
            else:
                self._failure = self._failure or ServiceFailedError(name, error)

    def _stop(self, name: ServiceName) -> None:
        self._stops.pop(name).set()
        thread = self._threads.pop(name)
        thread.join(JOIN_LIMIT_S)
        if thread.is_alive():
            # It may still commit later; mark and epoch make that harmless.
            log.warning("service does not stop", service=name)
        else:
            log.info("service stopped", service=name)

    def close(self) -> None:
        """Stop all services."""
        for stop in self._stops.values():
            stop.set()
        self.ensure(frozenset())
