"""Fence: from here on the writers wait, or are proven to be stopped; a guard sees to it that they do not for ever."""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Rehearsal
from tranship.orchestrator.phases.cutover import routing
from tranship.orchestrator.phases.cutover.checks import (
    check_quarantine,
    check_record,
    check_strangers,
    refusing,
)
from tranship.orchestrator.phases.cutover.fences import fence_of
from tranship.orchestrator.phases.cutover.member import Member
from tranship.plans.strategies import PhaseName

GUARD_START_S = 60.0
"""For a guard to start, on a busy machine."""


class Fence(Member):
    """Raises it, after a look at what would refuse the cutover anyway: nobody waits for that."""

    name = PhaseName.FENCE
    rehearsal = Rehearsal.MEASURED
    not_rehearsed: tuple[str, ...] = ("stopping the writers: nobody is stopped, and the quiet time is not waited for",)

    def do(self, run: Run) -> Iterator[Record]:
        kind = fence_of(run)
        with refusing():
            if not run.progress.backlog(run.scope).dirty:  # else what is kept aside may be about to come in
                check_quarantine(run)
            check_record(run)
            check_strangers(run)
            routing.begin(run)
            kind = kind.prepare(run)
            deadline = None
            if kind.stops_writers:
                # Before the fence: a process that dies right behind it must not leave one that nobody lifts. How long a
                # guard takes to start is no part of the fence's time, which begins behind it.
                latest = run.source.records.now() + run.plan.cutover.deadline + GUARD_START_S
                run.guard(latest)
                reached("fence.after_guard")
                # Once more: while the guard started, the applications went on.
                kind.look(run)
                deadline = min(run.source.records.now() + run.plan.cutover.deadline, latest)
            run.fenced_at = run.clock.now()
            version = routing.fence(run, deadline)
            reached("fence.after_swap")
            # The record first: routers stop by it, and only then it can be quiet.
            kind.stop_writers(run, version)
            reached("cutover.after_quiet")
        yield from ()
