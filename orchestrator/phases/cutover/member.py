"""What phases of a group have in common: they are proven by those behind them, and lifted together."""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import Verdict, Verified


class Member:
    """Of a group: verification and undo of its own would only be a second word on the same thing."""

    def verify(self, run: Run) -> Verdict:  # noqa: ARG002
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        """Never asked for: the group is lifted as a whole."""
        yield from ()
