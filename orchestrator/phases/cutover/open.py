"""Open: the target is the primary; nobody may have written to the source since."""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Diverged, Rehearsal, Verdict, Verified
from tranship.orchestrator.phases.cutover import routing
from tranship.orchestrator.phases.cutover.checks import MARKER_LIMIT_S
from tranship.orchestrator.phases.cutover.fences import fence_of
from tranship.plans.strategies import PhaseName


class Open:
    """Routers go on by the target's record; with `fence: external` the operator lets applications write to it."""

    name = PhaseName.OPEN
    rehearsal = Rehearsal.MEASURED
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        routing.open_target(run)
        reached("open.after_swap")
        run.release_guard()
        fence_of(run).lower(run)
        yield from ()

    def verify(self, run: Run) -> Verdict:
        """Nothing has been written to the source since the switch."""
        pass_marker(run, MARKER_LIMIT_S)
        rogue = run.progress.backlog(run.scope).dirty
        if rogue:
            return Diverged(
                f"{rogue} keys were written on the source after the switch; `tranship status` names them. Stop those "
                "writers and decide"
            )
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        """Never asked for: behind the switch nothing is undone."""
        yield from ()
