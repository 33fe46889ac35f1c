"""Cutover for writers that the operator has stopped (`fence: external`).

tranship raises no fence itself: it proves that nobody writes (no event of a migrated collection for the stated time),
drains past a marker, compares every key touched since the full reconcile, proves again that nobody has written, and
then writes the switch. Until that record stands everything can be taken back; while writes still come it refuses and
does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane import reconcile
from tranship.orchestrator.dataplane.drain import drain, pass_marker
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.phases import Diverged, RefusedToActError, Verdict, Verified, observed
from tranship.orchestrator.records import Kind, Record
from tranship.orchestrator.run import Run
from tranship.plans.strategies import PhaseName

DRAIN_LIMIT_S = 60.0
MARKER_LIMIT_S = 30.0


class Cutover:
    """Proves that the target holds everything, then switches."""

    name = PhaseName.CUTOVER

    def do(self, run: Run) -> Iterator[Record]:
        _check_quarantine(run)
        _prove_quiet(run)
        proven_at = run.clock.now()
        reached("cutover.after_quiet")
        try:
            drain(run.source, run.progress, run.scope, run.wait, DRAIN_LIMIT_S)
        except TimeoutError as error:
            raise RefusedToActError(f"the cutover was not begun: {error}") from error
        target = run.connect.target(run.scope)
        try:
            result = reconcile.touched(run, target)
        finally:
            target.close()
        if result.moving:
            raise RefusedToActError(f"{result.moving} keys still change on the source; nothing was switched")
        run.progress.keep_divergences(run.scope, result.divergences)
        yield observed(self.name, compared=result.total.documents, divergences=len(result.divergences))
        if len(result.divergences) > run.plan.reconcile.max_divergences:
            return  # no switch: verify finds the divergences, and the plan says what follows
        _prove_still_quiet(run, since=proven_at)
        reached("cutover.before_switch")
        yield Record(Kind.SWITCHED, self.name, {"fence": run.plan.cutover.fence})

    def verify(self, run: Run) -> Verdict:
        """No divergence was found, and nothing has been written to the source since."""
        divergences = run.progress.divergences(run.scope)
        if len(divergences) > run.plan.reconcile.max_divergences:
            return Diverged(f"{len(divergences)} of the touched rows diverge; `tranship status` names them")
        pass_marker(run.source, run.progress, run.scope, run.wait, MARKER_LIMIT_S)
        rogue = run.progress.backlog(run.scope).dirty
        if rogue:
            return Diverged(f"{rogue} keys were written on the source after the switch; stop those writers and decide")
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        # Before the switch nothing was changed; after it the engine refuses to undo.
        yield from ()


def _check_quarantine(run: Run) -> None:
    kept = sum(run.progress.quarantine_count(run.scope).values())
    allowed = run.plan.cutover.max_quarantined
    if kept > allowed:
        raise RefusedToActError(
            f"{kept} documents are in quarantine and cutover.max_quarantined allows {allowed}; "
            "`tranship quarantine list` names them"
        )


def _prove_quiet(run: Run) -> None:
    """No event of a migrated collection for `cutover.quiet`, up to where capture has looked."""
    wanted, limit = run.plan.cutover.quiet, run.plan.cutover.deadline

    def quiet() -> bool:
        backlog = run.progress.backlog(run.scope)
        return backlog.quiet_s - backlog.capture_age_s >= wanted

    try:
        run.wait(quiet, limit + wanted, f"{wanted:g} s without a write to a migrated collection")
    except TimeoutError as error:
        raise RefusedToActError(
            f"the source is still written to ({error}). Nothing was changed and the target keeps following. "
            "Stop the writers, then approve the cutover again."
        ) from error


def _prove_still_quiet(run: Run, since: float) -> None:
    """Nothing was written since the proof: a last marker, then no change younger than the proof."""
    pass_marker(run.source, run.progress, run.scope, run.wait, MARKER_LIMIT_S)
    backlog = run.progress.backlog(run.scope)
    if backlog.dirty or backlog.quiet_s < run.clock.now() - since:
        raise RefusedToActError("a write came to the source during the cutover; it was applied, nothing was switched")
