"""What stands in the cutover's place: its drain and its comparison, under writes; then the run is rolled back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.engine.inbox import InterruptedRunError
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.phases import Verdict, Verified, observed
from tranship.orchestrator.phases.cutover import DRAIN_LIMIT_S, MARKER_LIMIT_S, last_comparison, objections
from tranship.plans.strategies import PhaseName

REASON = "the dry run is over"

NOT_REHEARSED = (
    "stopping the writers: nobody is stopped, and the quiet time is not waited for",
    "approvals: nobody is asked",
    "the seal and the switch: nothing is sealed, and no application is told anything",
)
"""What of a run a dry run does not try."""


class RehearsedCutover:
    """Measures what the cutover would wait for, and has everything looked at before it is undone."""

    name = PhaseName.CUTOVER

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look

    def do(self, run: Run) -> Iterator[Record]:
        began = run.clock.now()
        pass_marker(run, MARKER_LIMIT_S)

        def applied() -> bool:
            """Whether all that was dirty when this began is applied: under writes there is always something newer."""
            backlog = run.progress.backlog(run.scope)
            return not backlog.dirty or backlog.oldest_s < run.clock.now() - began

        run.wait(applied, DRAIN_LIMIT_S, "what was written up to now to be applied")
        drained = run.clock.now()
        result = last_comparison(run)
        yield observed(
            self.name,
            drained_s=round(drained - began, 3),
            compared_s=round(run.clock.now() - drained, 3),
            compared=result.total.documents,
            moving=len(result.moving),
            divergences=len(result.divergences),
            objections=objections(run),
        )
        self._look()
        reached("rehearsal.before_end")
        raise InterruptedRunError(Kind.ROLLBACK, REASON)

    def verify(self, run: Run) -> Verdict:  # noqa: ARG002
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        """Nothing was changed."""
        yield from ()
