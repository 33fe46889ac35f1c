"""Markers: how long is waited for one, and from when on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from tests.support import scope_of
from tranship.connectors.memory import MemoryProgress, MemoryStore
from tranship.connectors.protocols import Changes, Position
from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.dataplane.run import Run

RUN = "small-1"
HERE = Position(b"here")
LIMIT_S = 30.0


class Capture:
    """A source whose marker comes through after some looks at it, with capture this far behind until then."""

    def __init__(self, behind: list[float], *, arrives: bool) -> None:
        self.store = MemoryStore()
        self.store.take_over(RUN)
        self.scope = scope_of(self.store, RUN)
        self.progress = MemoryProgress(self.store)
        self.progress.start_capture(self.scope, HERE, 1)
        self.arrives = arrives
        self.markers: list[str] = []
        self.steps: Iterator[float] = iter(behind)
        self.step()

    def put_marker(self, name: str) -> None:
        self.markers.append(name)

    def wait(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        """As `Run.wait`, with a second between two looks."""
        for _ in range(int(limit_s)):
            if condition():
                return
            self.step()
        raise TimeoutError(what)

    def run(self) -> Run:
        """What the wait for a marker needs of a run."""
        needed = SimpleNamespace(id="one", source=self, progress=self.progress, scope=self.scope, wait=self.wait)
        return cast(Run, needed)

    def step(self) -> None:
        """Keep what comes within a second."""
        behind = next(self.steps, None)
        markers = tuple(self.markers) if behind is None and self.arrives else ()
        self.progress.keep(self.scope, Changes((), HERE, markers, behind or 0.0))


def test_the_time_in_which_capture_catches_up_does_not_count() -> None:
    capture = Capture([1000.0 - second for second in range(990)], arrives=True)
    pass_marker(capture.run(), LIMIT_S)
    assert capture.progress.marker_seen(capture.scope, capture.markers[0])


def test_a_marker_that_does_not_come_is_not_waited_for_longer() -> None:
    capture = Capture([1000.0 - second for second in range(990)], arrives=False)
    with pytest.raises(TimeoutError, match="a marker on the source"):
        pass_marker(capture.run(), LIMIT_S)
