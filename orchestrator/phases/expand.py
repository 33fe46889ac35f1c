"""Expand: schema and tables with primary keys, made and noted as ours in one transaction.

Invariant: nothing that this run did not make is adopted or dropped. Repeatable because creation is skipped for what
the run owns.
"""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Rehearsal, Verdict, observed, verdict
from tranship.orchestrator.phases.cutover import routing
from tranship.plans.strategies import PhaseName


class Expand:
    """Creates tables; undo drops exactly what was created."""

    name = PhaseName.EXPAND
    rehearsal = Rehearsal.BOTH_WAYS
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        # Before the tables: their guard lets nobody write to them but who applies, from their first moment on.
        routing.begin_target(run)
        made = run.schema.create_tables(run.scope, run.streams)
        reached("expand.after_tables")
        yield observed(self.name, created=made)

    def verify(self, run: Run) -> Verdict:
        return verdict(run.schema.table_differences(run.streams))

    def undo(self, run: Run) -> Iterator[Record]:
        dropped = run.schema.drop_tables(run.scope, run.streams)
        run.progress.records.forget(run.id)
        yield observed(self.name, dropped=dropped)
