"""Constrain: the child tables' foreign keys and unique constraints, built beside the running applier.

Foreign keys come after the copy because their checks would double its cost per row. Unique constraints come after
catch-up, not before the load: while chunks are read at different moments, correct data breaks them (a value moves from
one document to another; `rules.md` C5). From here on the applier meets them, and resolves a conflict in its exclusive
lane.
"""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Rehearsal, Verdict, observed, verdict
from tranship.plans.strategies import PhaseName


class Constrain:
    """Creates the constraints; undo drops them."""

    name = PhaseName.CONSTRAIN
    rehearsal = Rehearsal.BOTH_WAYS
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        run.schema.create_constraints(run.scope, run.streams)
        reached("constrain.after_create")
        yield observed(self.name, unique=sum(len(s.unique) for s in run.streams))

    def verify(self, run: Run) -> Verdict:
        return verdict(run.schema.constraint_differences(run.streams))

    def undo(self, run: Run) -> Iterator[Record]:
        run.schema.drop_constraints(run.scope, run.streams)
        yield observed(self.name, dropped=True)
