"""Open: the target is the primary; nobody may have written to the source since."""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Diverged, Rehearsal, Verdict, Verified
from tranship.orchestrator.phases.cutover.checks import MARKER_LIMIT_S
from tranship.plans.strategies import PhaseName


class Open:
    """With `fence: external` the operator lets applications write to the target; tranship looks at the source."""

    name = PhaseName.OPEN
    rehearsal = Rehearsal.MEASURED
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        yield from ()

    def verify(self, run: Run) -> Verdict:
        """Nothing has been written to the source since the switch."""
        pass_marker(run, MARKER_LIMIT_S)
        rogue = run.progress.backlog(run.scope).dirty
        if rogue:
            return Diverged(f"{rogue} keys were written on the source after the switch; stop those writers and decide")
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        """Never asked for: behind the switch nothing is undone."""
        yield from ()
