"""The engine's pen: what is written to the journal, and the state that follows from it.

Nothing has happened that is not in the journal; so a record is checked against the state, appended, and only then
folded in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from tranship.orchestrator.journal.control import Control, Request
from tranship.orchestrator.journal.fold import fold, fold_all
from tranship.orchestrator.journal.records import VERSION, Kind, Record
from tranship.orchestrator.journal.sentences import sentence
from tranship.orchestrator.journal.state import State

if TYPE_CHECKING:
    from tranship.orchestrator.retry import Patience

log = structlog.get_logger(__name__)


@dataclass
class Book:
    """One run's journal, held by the orchestrator that has the run's lease."""

    control: Control
    run: str
    state: State
    entries: int
    epoch: int
    patience: Patience

    @classmethod
    def open(cls, control: Control, run: str, patience: Patience) -> Book:
        """Read the journal and take a new epoch; nobody who read it before can add to it from now on."""
        epoch = patience.call(lambda: control.claim(run))
        # Read after the claim: before it the old orchestrator could still have added an entry.
        journal = patience.call(lambda: control.journal(run))
        return cls(control, run, fold_all(entry.record for entry in journal), len(journal), epoch, patience)

    def write(self, record: Record, request: Request | None = None) -> None:
        """Append a record, and consume the request that it answers in the same transaction.

        Raises `IllegalTransitionError` for a record that does not fit, with nothing written; `EpochMovedError` when
        another orchestrator took over.
        """
        state = fold(self.state, record)
        consumed = request.id if request else None
        self.patience.call(lambda: self.control.append(self.run, self.entries + 1, self.epoch, record, consumed))
        self.entries += 1
        self.state = state
        log.info(record.kind, sentence=sentence(record), **_loggable(record))

    def reopened(self) -> Book:
        """The same journal under a new epoch: what was begun under the old one cannot commit any more.

        It is read anew, because a record whose acknowledgement was lost may stand in it.
        """
        book = Book.open(self.control, self.run, self.patience)
        book.write(Record(Kind.CLAIMED, data={"epoch": book.epoch, "same_process": True}))
        return book

    def write_claim(self, projection: str) -> None:
        """Note the epoch that this process took, and what it makes of the source's documents."""
        data = {"epoch": self.epoch, "same_process": False, "projection": projection, "version": VERSION}
        self.write(Record(Kind.CLAIMED, data=data))


def _loggable(record: Record) -> dict[str, Any]:
    named = {"phase": record.phase.value} if record.phase else {}
    if record.kind is Kind.CREATED:
        return named
    return {name: value for name, value in record.data.items() if name != "meaning"} | named
