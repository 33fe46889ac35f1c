"""Drain: past a marker everything that was written is applied."""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane import drain
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Rehearsal
from tranship.orchestrator.phases.cutover.checks import DRAIN_LIMIT_S, refusing
from tranship.orchestrator.phases.cutover.fences import left_s
from tranship.orchestrator.phases.cutover.member import Member
from tranship.plans.strategies import PhaseName


class Drain(Member):
    """Waits for the applier."""

    name = PhaseName.DRAIN
    rehearsal = Rehearsal.MEASURED
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        with refusing():
            drain.drain(run, min(DRAIN_LIMIT_S, left_s(run)))
        yield from ()
