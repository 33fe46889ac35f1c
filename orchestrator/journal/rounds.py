"""A round of a run: one direction, from its first phase to its switch or back. There is one so far: forward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tranship.plans.strategies import TRAITS, PhaseName, Trait


class PhaseStatus(StrEnum):
    """Where one phase stands. `doing`, `sealed` and `undoing` are also what a crash leaves.

    `sealed`: of a pivot; nothing is applied any more, so that what it proves stays true.
    """

    PENDING = "pending"
    DOING = "doing"
    SEALED = "sealed"
    DONE = "done"
    VERIFIED = "verified"
    UNDOING = "undoing"
    UNDONE = "undone"


_IN_THE_MIDDLE = (PhaseStatus.DOING, PhaseStatus.SEALED)


@dataclass(frozen=True)
class Approval:
    """A person's yes to one asking, which its number in the journal names; 0: of a journal that kept no numbers."""

    asking: int
    by: str


@dataclass(frozen=True)
class Round:
    """What has been decided and seen in one direction. `facts` are what phases observed."""

    number: int = 1
    phases: tuple[PhaseName, ...] = ()
    status: Mapping[PhaseName, PhaseStatus] = field(default_factory=dict)
    asked: Mapping[PhaseName, int] = field(default_factory=dict)
    approved: Mapping[PhaseName, Approval] = field(default_factory=dict)
    facts: Mapping[PhaseName, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, phase: PhaseName) -> PhaseStatus:
        """Status of one phase."""
        return self.status.get(phase, PhaseStatus.PENDING)

    def having(self, trait: Trait) -> tuple[PhaseName, ...]:
        """Its phases with a trait, in order."""
        return tuple(phase for phase in self.phases if trait in TRAITS[phase])

    def is_at(self, trait: Trait, *statuses: PhaseStatus) -> bool:
        """Whether a phase with a trait has one of these statuses."""
        return any(self.of(phase) in statuses for phase in self.having(trait))

    def begun(self, trait: Trait) -> bool:
        """Whether a phase with a trait has begun."""
        return any(self.of(phase) is not PhaseStatus.PENDING for phase in self.having(trait))

    def with_status(self, phase: PhaseName, status: PhaseStatus) -> Round:
        """The round with one phase moved."""
        return replace(self, status={**self.status, phase: status})

    def interrupted(self) -> Round:
        """The round as it goes on after a pause or in another process.

        An approval is for one asking: what was approved and had not begun is asked for anew, and so is a pivot in the
        middle, because who stopped the writers may have let them go on since.
        """
        begun = {phase for phase in self.phases if self.of(phase) is not PhaseStatus.PENDING}
        lifted = [phase for phase in self.having(Trait.PIVOT) if self.of(phase) in _IN_THE_MIDDLE]
        going_on = self
        for phase in lifted:
            going_on = going_on.not_begun(phase)
        return going_on._only(begun - set(lifted))

    def not_begun(self, phase: PhaseName) -> Round:
        """The round with a phase of which nothing has happened, and that needs to be asked for."""
        return self.with_status(phase, PhaseStatus.PENDING)._only(set(self.phases) - {phase})

    def _only(self, phases: set[PhaseName]) -> Round:
        asked = {phase: seq for phase, seq in self.asked.items() if phase in phases}
        approved = {phase: given for phase, given in self.approved.items() if phase in phases}
        return replace(self, asked=asked, approved=approved)
