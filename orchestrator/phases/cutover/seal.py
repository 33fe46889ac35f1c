"""Seal: the last moment at which anything could be applied."""

from __future__ import annotations

from collections.abc import Iterator

from tranship.connectors.errors import UnsettledError
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import RefusedToActError, Rehearsal
from tranship.orchestrator.phases.cutover import routing
from tranship.orchestrator.phases.cutover.member import Member
from tranship.plans.strategies import PhaseName


class Seal(Member):
    """Closes the lanes in the transaction that sees that nothing is left (`rules.md` J7)."""

    name = PhaseName.SEAL
    rehearsal = Rehearsal.MEASURED
    not_rehearsed: tuple[str, ...] = (
        "the seal and the switch: nothing is sealed, and no application is told anything",
    )

    def do(self, run: Run) -> Iterator[Record]:
        try:
            run.progress.seal(run.scope, run.plan.reconcile.max_divergences, routing.opening(run))
        except UnsettledError as error:
            why = f"a write came to the source during the cutover; nothing was switched: {error}"
            raise RefusedToActError(why) from error
        reached("cutover.after_seal")
        yield from ()
