"""Index: non-unique indexes, once, over loaded tables, then ANALYZE."""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Rehearsal, Verdict, observed, verdict
from tranship.plans.strategies import PhaseName


class Index:
    """Creates the plan's indexes; undo drops them."""

    name = PhaseName.INDEX
    rehearsal = Rehearsal.BOTH_WAYS
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        run.schema.create_indexes(run.scope, run.streams)
        reached("index.after_create")
        yield observed(self.name, indexes=sum(len(s.plain_indexes) for s in run.streams))

    def verify(self, run: Run) -> Verdict:
        return verdict(run.schema.index_differences(run.streams))

    def undo(self, run: Run) -> Iterator[Record]:
        run.schema.drop_indexes(run.scope, run.streams)
        yield observed(self.name, dropped=True)
