"""A round of a run: one direction, from its first phase to its switch or back.

Odd rounds go forward, from the source to the target, even ones back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tranship.connectors.protocols import Feed
from tranship.plans.strategies import GROUPS, TRAITS, Group, PhaseName, Stage, Trait, group_of, is_pivot, stage_of


class PhaseStatus(StrEnum):
    """Where one phase stands. `doing` and `undoing` are also what a crash leaves."""

    PENDING = "pending"
    DOING = "doing"
    DONE = "done"
    VERIFIED = "verified"
    UNDOING = "undoing"
    UNDONE = "undone"


@dataclass(frozen=True)
class Approval:
    """A person's yes to one asking, which its number in the journal names; 0: of a journal that kept no numbers.

    `rehearsal`: to all but the pivot."""

    asking: int
    by: str
    rehearsal: bool = False


@dataclass(frozen=True)
class Round:
    """What has been decided and seen in one direction. `facts` are what phases observed.

    `lifting`: why the attempt at a group of phases is over; until it is lifted nothing else is done. `pivot_sent` and
    `pivoted`: the numbers of the records that say so; between the two only the record on the server knows. `version` is
    the one of that record by which the pivot was sent.
    """

    number: int = 1
    phases: tuple[PhaseName, ...] = ()
    status: Mapping[PhaseName, PhaseStatus] = field(default_factory=dict)
    asked: Mapping[Stage, int] = field(default_factory=dict)
    approved: Mapping[Stage, Approval] = field(default_factory=dict)
    facts: Mapping[PhaseName, Mapping[str, Any]] = field(default_factory=dict)
    lifting: str | None = None
    version: int | None = None
    pivot_sent: int | None = None
    pivoted: int | None = None

    @property
    def feed(self) -> Feed:
        """The direction in which it moves data, and so what its source and its target are."""
        return Feed.FORWARD if self.number % 2 else Feed.REVERSE

    @property
    def pivoting(self) -> bool:
        """Whether the pivot has been sent, and nobody has read yet what the server made of it."""
        return self.pivot_sent is not None and self.pivoted is None

    @property
    def attempt(self) -> Group | None:
        """The group of which a phase has begun and that can still be lifted."""
        if self.pivoted is not None:
            return None
        return next((group for group in GROUPS if any(map(self._has_begun, self._of_group(group)))), None)

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
        return any(map(self._has_begun, self.having(trait)))

    def is_proven(self, phase: PhaseName) -> bool:
        """Whether a phase is proven by those that follow it in its group: it has no verification of its own, for which
        applications would wait."""
        return group_of(phase) is not None and self.pivoted is None

    def with_status(self, phase: PhaseName, status: PhaseStatus) -> Round:
        """The round with one phase moved."""
        return replace(self, status={**self.status, phase: status})

    def interrupted(self, why: str) -> Round:
        """The round as it goes on after a pause or in another process.

        An approval is for one asking: what was approved and had not begun is asked for anew, and so is a group in the
        middle, because who stopped the writers may have let them go on since.
        """
        if self.attempt is not None:
            return self if self.pivoting else replace(self, lifting=self.lifting or why)
        return self._only({stage_of(phase) for phase in self.phases if self._has_begun(phase)})

    def withdrawn(self, stage: Stage, why: str) -> Round:
        """The round with an approval taken back: of a group that has begun, the attempt is over."""
        if stage is self.attempt:
            return replace(self, lifting=why)
        return self._only(self._stages() - {stage})

    def lifted(self, group: Group) -> Round:
        """The round with a group of which nothing has happened, and that needs to be asked for."""
        status = {phase: known for phase, known in self.status.items() if phase not in GROUPS[group]}
        clean = replace(self, status=status, lifting=None, pivot_sent=None, version=None)
        return clean._only(self._stages() - {group})

    def switched(self, number: int) -> Round:
        """The round behind its pivot, which the record of this number tells of."""
        (pivot,) = (phase for phase in self.phases if is_pivot(phase))
        pivoted = replace(self, pivot_sent=self.pivot_sent or number, pivoted=number, lifting=None)
        return pivoted.with_status(pivot, PhaseStatus.VERIFIED)

    def _of_group(self, group: Group) -> tuple[PhaseName, ...]:
        return tuple(phase for phase in self.phases if phase in GROUPS[group])

    def _has_begun(self, phase: PhaseName) -> bool:
        return self.of(phase) is not PhaseStatus.PENDING

    def _stages(self) -> set[Stage]:
        return set(map(stage_of, self.phases))

    def _only(self, stages: set[Stage]) -> Round:
        asked = {stage: seq for stage, seq in self.asked.items() if stage in stages}
        approved = {stage: given for stage, given in self.approved.items() if stage in stages}
        return replace(self, asked=asked, approved=approved)
