"""Capture: the first position becomes durable before anything is read; only then the capture service starts.

Repeatable because the first position is inserted only if absent: a late second attempt cannot move it forward (I3).
"""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from tranship.connectors.errors import RefusedError, TransientError
from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import GONE_S, Diverged, Rehearsal, Verdict, Verified, observed
from tranship.orchestrator.phases.preflight import findings, refuse_errors
from tranship.plans.strategies import PhaseName

log = structlog.get_logger(__name__)

MARKER_LIMIT_S = 30.0


class Capture:
    """Keeps the first position; the engine then runs the service."""

    name = PhaseName.CAPTURE
    rehearsal = Rehearsal.BOTH_WAYS
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        if {PhaseName.EXPAND, PhaseName.CAPTURE}.intersection(run.plan.approval):
            # Preflight may be days ago: people were asked since.
            refuse_errors(findings(run))
        run.progress.start_capture(run.scope, run.source.position(), run.lanes)
        reached("capture.after_position")
        yield observed(self.name, lanes=run.lanes)

    def verify(self, run: Run) -> Verdict:
        """A write to the source comes through; an idle source's own position may stand still."""
        try:
            pass_marker(run, MARKER_LIMIT_S)
        except TimeoutError as error:
            return Diverged(f"{error}. Is a majority of the source's members up, and do they keep up?")
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:
        run.progress.stop_capture(run.scope)
        try:
            run.patience.call(lambda: _forget(run), limit_s=GONE_S)
        except (TransientError, RefusedError) as error:
            # A source that is gone for good, or closed to writes, must not keep the target from being cleaned.
            log.warning("what the run has written to the source stays there", reason=str(error))
            yield observed(self.name, stopped=True, markers_left=True)
        else:
            yield observed(self.name, stopped=True)


def _forget(run: Run) -> None:
    run.source.drop_markers(run.id)
    run.source.records.forget(run.id)
