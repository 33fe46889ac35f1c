"""Switch: the pivot. A swap on the source decides, and the journal says before it that it is sent."""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.phases import Rehearsal
from tranship.orchestrator.phases.cutover import routing
from tranship.orchestrator.phases.cutover.checks import check_all, refusing
from tranship.orchestrator.phases.cutover.fences import fence_of
from tranship.orchestrator.phases.cutover.member import Member
from tranship.plans.strategies import PhaseName


class Switch(Member):
    """Proves once more that nobody has written, then hands over."""

    name = PhaseName.SWITCH
    rehearsal = Rehearsal.MEASURED
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        with refusing():
            fence_of(run).prove_still(run)
        # Again: what came last may be kept aside (C6), and a comparison beside this run may have found something.
        check_all(run)
        version = routing.fenced(run)
        reached("cutover.before_switch")
        yield Record(Kind.PIVOT_SENT, self.name, {"fence": run.plan.cutover.fence, "version": version})
        reached("pivot.after_sent")
        routing.hand_over(run, version)
        reached("pivot.after_swap")
        yield Record(Kind.PIVOTED, self.name, {"version": version})
