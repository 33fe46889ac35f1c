"""Catch-up: the applier service runs from here on; the phase waits until the lag stays small.

There is nothing to undo: what was applied is undone with the rows themselves (backfill).
"""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane.run import POLL_S, Run
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Rehearsal, Verdict, Verified, observed
from tranship.plans.strategies import PhaseName

STEADY_S = 2.0
"""For so long the lag has to stay below the plan's limit: a single small reading proves little under writes."""


class CatchUp:
    """Waits for the applier."""

    name = PhaseName.CATCH_UP
    rehearsal = Rehearsal.FORWARD
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        wait_for_applier(run)
        yield observed(self.name, steady_s=STEADY_S)

    def verify(self, run: Run) -> Verdict:
        # However long it takes: after a pause the lag is what the pause was, and nobody is to blame for it.
        wait_for_applier(run)
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        yield from ()


def wait_for_applier(run: Run) -> None:
    """Return once the lag has stayed below the plan's limit for a while."""
    limit = run.plan.cutover.max_lag
    since = run.clock.now()
    while run.clock.now() - since < STEADY_S:
        if run.progress.backlog(run.scope).lag_s >= limit:
            since = run.clock.now()
        run.tick()
        run.clock.sleep(POLL_S)
