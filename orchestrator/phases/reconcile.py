"""Reconcile: every document compared in both directions; divergences rolled back or repaired, by plan.

Invariant: a reconcile that verifies has compared each key of both sides after the phase began, or knows it as dirty or
touched since then, so that the cutover has to look only at the touched ones and at what is on record as different.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from tranship.orchestrator.dataplane import reconcile
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Diverged, Rehearsal, Verdict, Verified, observed
from tranship.orchestrator.phases.catch_up import wait_for_applier
from tranship.plans.strategies import PhaseName


class Reconcile:
    """Compares; changes rows only through dirty keys, and only when the plan says `repair`."""

    name = PhaseName.RECONCILE
    rehearsal = Rehearsal.FORWARD
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        # After a pause or a reseed the applier is far behind, and all of that would seem to differ.
        wait_for_applier(run)
        # Before the first span is read: a key that is applied from now on is looked at again by the cutover.
        run.progress.forget_touched(run.scope)
        try:
            result = reconcile.full(run, run.target)
            reached("reconcile.after_full")
            found = len(result.divergences)
            if run.plan.reconcile.on_divergence == "repair" and result.divergences:
                reconcile.repair(run, run.target, result)
        finally:
            run.release_workers()
        # A key that never stood still may move because somebody writes to the target's row, which no event tells. As a
        # dirty key it is applied, hence touched, hence looked at again behind the last write.
        run.progress.mark_dirty(run.scope, [(one.stream, one.key) for one in result.moving])
        result.note(run.progress, run.scope)
        yield observed(
            self.name,
            rows=result.total.rows,
            quarantined=result.total.quarantined,
            streams={name: asdict(tally) for name, tally in result.tallies().items()},
            suspects=result.suspects,
            divergences=len(result.divergences),
            repaired=found - len(result.divergences),
            moving=len(result.moving),
            dangling={s.name: count for s in run.streams if (count := run.schema.dangling(s))},
        )

    def verify(self, run: Run) -> Verdict:
        # From what the phase observed: the record may say more by now, from a comparison beside this run.
        found, allowed = run.facts(self.name)["divergences"], run.plan.reconcile.max_divergences
        if found > allowed:
            return Diverged(f"{found} rows diverge, {allowed} are allowed; `tranship status` names them")
        # A look at every row holds the applier up; whoever is asked for the cutover now should find it caught up again.
        wait_for_applier(run)
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        # The divergences stay readable after the rollback that they caused.
        yield from ()
