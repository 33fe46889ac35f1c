"""Capture: the first position becomes durable before anything is read; only then the capture service starts.

Repeatable because the first position is inserted only if absent: a late second attempt cannot move it forward (I3).
"""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.phases import Diverged, Verdict, Verified, observed
from tranship.orchestrator.records import Record
from tranship.orchestrator.run import Run
from tranship.plans.strategies import PhaseName

ADVANCE_LIMIT_S = 30.0


class Capture:
    """Keeps the first position; the engine then runs the service."""

    name = PhaseName.CAPTURE

    def do(self, run: Run) -> Iterator[Record]:
        run.progress.start_capture(run.scope, run.source.position(), run.lanes)
        reached("capture.after_position")
        yield observed(self.name, lanes=run.lanes)

    def verify(self, run: Run) -> Verdict:
        """The position advances, also on an idle source."""
        first = run.position()
        try:
            run.wait(lambda: run.position() != first, ADVANCE_LIMIT_S, "the capture position to advance")
        except TimeoutError as error:
            return Diverged(str(error))
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:
        run.source.drop_markers()
        run.progress.stop_capture(run.scope)
        yield observed(self.name, stopped=True)
