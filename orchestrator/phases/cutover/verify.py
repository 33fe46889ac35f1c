"""Verify: what was applied since the full reconcile is compared, behind the last write."""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane import reconcile
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import DivergedError, RefusedToActError, Rehearsal, observed
from tranship.orchestrator.phases.cutover.checks import refusing
from tranship.orchestrator.phases.cutover.member import Member
from tranship.plans.strategies import PhaseName


class Verify(Member):
    """Compares while the applier still runs: what it applies meanwhile is touched, and refuses the seal."""

    name = PhaseName.VERIFY
    rehearsal = Rehearsal.MEASURED
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        with refusing():
            result = last_comparison(run)
        if result.moving:
            raise RefusedToActError(f"{len(result.moving)} keys still change on one side; nothing was switched")
        yield observed(self.name, compared=result.total.documents, divergences=len(result.divergences))
        if len(result.divergences) > run.plan.reconcile.max_divergences:
            raise DivergedError(f"{len(result.divergences)} of the compared rows diverge; `tranship status` names them")


def last_comparison(run: Run) -> reconcile.Reconciled:
    """Compare what the plan says is compared last, and put on record what is found."""
    if run.plan.cutover.final == "full":
        # Before the first span is read: what is applied from now on is touched, and refuses the seal.
        run.progress.forget_touched(run.scope)
        result = reconcile.full(run, run.target)
    else:
        result = reconcile.touched(run, run.target)
    result.note(run.progress, run.scope)
    return result
