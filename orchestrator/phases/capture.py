"""Capture: the first position becomes durable before anything is read; only then the capture service starts.

Repeatable because the first position is inserted only if absent: a late second attempt cannot move it forward (I3).
"""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.phases import Diverged, Verdict, Verified, observed
from tranship.orchestrator.records import Record
from tranship.orchestrator.run import Run
from tranship.plans.strategies import PhaseName

MARKER_LIMIT_S = 30.0


class Capture:
    """Keeps the first position; the engine then runs the service."""

    name = PhaseName.CAPTURE

    def do(self, run: Run) -> Iterator[Record]:
        run.progress.start_capture(run.scope, run.source.position(), run.lanes)
        reached("capture.after_position")
        yield observed(self.name, lanes=run.lanes)

    def verify(self, run: Run) -> Verdict:
        """A write to the source comes through; an idle source's own position may stand still."""
        try:
            pass_marker(run.source, run.progress, run.scope, run.wait, MARKER_LIMIT_S)
        except TimeoutError as error:
            return Diverged(f"{error}. Is a majority of the source's members up, and do they keep up?")
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:
        run.source.drop_markers()
        run.progress.stop_capture(run.scope)
        yield observed(self.name, stopped=True)
