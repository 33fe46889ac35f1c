"""The phases of a run: one file each, with `do`, `verify` and `undo`.

Each method may be called after any partial execution of any of them. The engine writes the intent before `do` and
`undo` and the end after them; what they yield in between are observations that it appends before it asks for more.
`verify` reads the world and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tranship.connectors.protocols import Finding
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.journal.records import Kind, Record
from tranship.plans.strategies import Group, PhaseName


@dataclass(frozen=True)
class Verified:
    """The world is as the phase should have made it."""


@dataclass(frozen=True)
class Diverged:
    """It is not, for a reason that is known."""

    reason: str


Verdict = Verified | Diverged

GONE_S = 20.0
"""Nobody waits longer for a source that may be gone for good, only to clean it up."""


class RefusedToActError(Exception):
    """The phase did nothing because the world does not allow it now; it can be asked again."""


class DivergedError(Exception):
    """The phase found both sides different and did nothing further; the plan says what follows."""


class PreflightError(Exception):
    """Preflight found errors; nothing was changed."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        super().__init__("\n".join(f"{f.code}: {f.message}" + (f"; {f.hint}" if f.hint else "") for f in findings))


class Rehearsal(StrEnum):
    """What a dry run makes of a phase."""

    BOTH_WAYS = "both ways"
    """Half of it is carried out and taken back, then the whole."""
    FORWARD = "forward"
    """It is carried out; there is nothing that could be taken back."""
    MEASURED = "measured"
    """Something else stands in its place (`orchestrator.rehearsal.phase`), which stops nobody and switches nothing."""


class Phase(Protocol):
    """One phase of a strategy. `not_rehearsed`: what of it a dry run does not try, a line each."""

    name: PhaseName
    rehearsal: Rehearsal
    not_rehearsed: tuple[str, ...]

    def do(self, run: Run) -> Iterator[Record]:
        """Make the phase's effect; right after any partial attempt."""

    def verify(self, run: Run) -> Verdict:
        """Whether the effect is there."""

    def undo(self, run: Run) -> Iterator[Record]:
        """Take the effect back; right after any partial `do` or `undo`, or none."""


class Lift(Protocol):
    """The way back of a group of phases."""

    group: Group

    def lift(self, run: Run, *, needed: bool) -> Iterator[Record]:
        """Take back whatever an attempt has left on the servers; right after any partial attempt, or none.

        Ends with the record that says so, or with that of the pivot, where a server says that it took place. Of a run
        that is undone, of which no pivot was sent, it is not `needed` that the source can be reached: it may be gone.
        """


def observed(phase: PhaseName, **facts: Any) -> Record:
    """An observation for the journal."""
    return Record(Kind.OBSERVED, phase, facts)


def verdict(differences: list[str]) -> Verdict:
    """`Verified` for no differences, else `Diverged` that lists them."""
    return Diverged("; ".join(differences)) if differences else Verified()
