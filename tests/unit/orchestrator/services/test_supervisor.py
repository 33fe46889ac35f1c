"""The supervisor: whose failure counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support import memory_connect
from tranship.connectors.errors import TransientError
from tranship.connectors.memory import MemoryStore
from tranship.connectors.protocols import Feed, Scope
from tranship.orchestrator.clock import MonotonicClock
from tranship.orchestrator.journal.state import ServiceName
from tranship.orchestrator.retry import Patience
from tranship.orchestrator.services import ServiceFailedError, Setting, Supervisor

ONLY = frozenset({ServiceName.CAPTURE})


class Body:
    """A service that fails when it is told to."""

    def __init__(self) -> None:
        self.fail = threading.Event()
        self.ended = threading.Event()

    def __call__(self, _setting: Setting, stop: threading.Event) -> None:
        try:
            while not (stop.is_set() or self.fail.wait(0.001)):
                pass
            raise TransientError("the source is away")
        finally:
            self.ended.set()


@pytest.fixture
def body() -> Body:
    return Body()


@pytest.fixture
def supervisor(body: Body) -> Iterator[Supervisor]:
    setting = Setting(
        memory_connect(MemoryStore(), ()), Scope("r-1", Feed.FORWARD, 1), (), MonotonicClock(), Patience(1.0)
    )
    made = Supervisor(setting, {ServiceName.CAPTURE: body})
    yield made
    made.close()


def test_a_service_that_fails_is_told_of(supervisor: Supervisor, body: Body) -> None:
    supervisor.ensure(ONLY)
    supervisor.check()
    body.fail.set()
    body.ended.wait()
    supervisor._threads[ServiceName.CAPTURE].join()
    with pytest.raises(ServiceFailedError, match="the source is away"):
        supervisor.check()


def test_what_a_service_was_at_when_it_was_stopped_is_no_failure(supervisor: Supervisor, body: Body) -> None:
    supervisor.ensure(ONLY)
    supervisor.ensure(frozenset())
    assert body.ended.is_set()
    supervisor.check()
