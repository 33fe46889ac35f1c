"""Fence, as `external` has it: the operator has stopped the writers, which is proven."""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import RefusedToActError, Rehearsal
from tranship.orchestrator.phases.cutover import routing
from tranship.orchestrator.phases.cutover.checks import (
    MARKER_LIMIT_S,
    check_quarantine,
    check_record,
    check_strangers,
    refusing,
)
from tranship.orchestrator.phases.cutover.member import Member
from tranship.plans.strategies import PhaseName


class Fence(Member):
    """Proves that nobody writes, after a look at what would refuse the cutover anyway."""

    name = PhaseName.FENCE
    rehearsal = Rehearsal.MEASURED
    not_rehearsed: tuple[str, ...] = ("stopping the writers: nobody is stopped, and the quiet time is not waited for",)

    def do(self, run: Run) -> Iterator[Record]:
        with refusing():
            if not run.progress.backlog(run.scope).dirty:  # else what is kept aside may be about to come in
                check_quarantine(run)
            check_record(run)
            check_strangers(run)
            # The record first: routers stop by it, and only then it can be quiet.
            routing.fence(run)
            _prove_quiet(run)
            reached("cutover.after_quiet")
        yield from ()


def _prove_quiet(run: Run) -> None:
    """No event of a migrated collection for `cutover.quiet`, up to where capture has looked."""
    wanted, limit = run.plan.cutover.quiet, run.plan.cutover.deadline
    # Before it, capture may have looked last before a pause: the quiet time that it knows of would be that of then.
    pass_marker(run, MARKER_LIMIT_S)

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
