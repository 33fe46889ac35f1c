"""The state of a run: what its journal says, folded (`orchestrator.journal.fold`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tranship.connectors.protocols import Feed
from tranship.orchestrator.journal.records import VERSION
from tranship.orchestrator.journal.rounds import Approval, PhaseStatus, Round
from tranship.plans.strategies import Group, PhaseName, Stage, Trait


class RunStatus(StrEnum):
    """Where a run as a whole stands."""

    RUNNING = "running"
    PAUSED = "paused"
    HELD = "held"
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"
    FINISHED = "finished"


class Side(StrEnum):
    """One of the two servers of a run, as its first round calls them."""

    SOURCE = "source"
    TARGET = "target"


class ServiceName(StrEnum):
    """What runs beside the phases."""

    CAPTURE = "capture"
    APPLIER = "applier"
    RECONCILER = "reconciler"


__all__ = [
    "ENDED",
    "IllegalTransitionError",
    "PhaseStatus",
    "RunStatus",
    "ServiceName",
    "Side",
    "State",
]

ENDED = frozenset({RunStatus.ROLLED_BACK, RunStatus.FINISHED})


class IllegalTransitionError(Exception):
    """A record that cannot follow the records before it."""


@dataclass(frozen=True)
class State:
    """Everything that the journal says about a run.

    `id` is the run's alone, whatever its name; `collections` are the ids of the streams' collections at its start.
    `records` is how many it has. `reason` explains the status for a person, `undone_for` why the run is rolled back.
    `resumed_to` is what a paused or held run goes on as. `projection` names the version of what the source's documents
    become, under which everything was compared. `written`: the journal's version as its newest process writes it.
    """

    run: str = ""
    id: str = ""
    collections: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 0
    records: int = 0
    written: int = VERSION
    approvals: frozenset[Stage] = frozenset()
    fingerprint: str = ""
    meaning: Mapping[str, Any] = field(default_factory=dict)
    projection: str = ""
    status: RunStatus = RunStatus.RUNNING
    reason: str = ""
    resumed_to: RunStatus = RunStatus.RUNNING
    reseed: bool = False
    undone_for: str = ""
    rounds: tuple[Round, ...] = (Round(),)

    @property
    def latest(self) -> Round:
        """The round that is under way, or that was last."""
        return self.rounds[-1]

    @property
    def round(self) -> int:
        """Its number."""
        return self.latest.number

    @property
    def phases(self) -> tuple[PhaseName, ...]:
        """Its phases, in order."""
        return self.latest.phases

    @property
    def approved(self) -> Mapping[Stage, Approval]:
        """What has been approved in it, and by whom."""
        return self.latest.approved

    @property
    def facts(self) -> Mapping[PhaseName, Mapping[str, Any]]:
        """What its phases have observed."""
        return self.latest.facts

    @property
    def asked(self) -> Stage | None:
        """The phase or group that waits for an approval, once it has been asked for; else None."""
        return next((stage for stage in self.latest.asked if stage not in self.approved), None)

    @property
    def asking(self) -> int | None:
        """The number of the record that asks for it: what an approval has to name."""
        return None if self.asked is None else self.latest.asked[self.asked]

    @property
    def sealed(self) -> bool:
        """Whether nothing is applied any more, so that what was proven stays true."""
        return self.latest.is_at(Trait.SEALS, *_DONE)

    @property
    def switched(self) -> bool:
        """Whether the pivot of the latest round has taken place."""
        return self.latest.pivoted is not None

    @property
    def pivoting(self) -> bool:
        """Whether only a server knows if the pivot has taken place: nothing may be stopped, undone or changed then."""
        return self.latest.pivoting

    @property
    def feed(self) -> Feed:
        """What the latest round moves."""
        return self.latest.feed

    @property
    def primary(self) -> Side:
        """Where applications write: each pivot moves it to the other side."""
        return Side.TARGET if sum(one.pivoted is not None for one in self.rounds) % 2 else Side.SOURCE

    @property
    def to_lift(self) -> Group | None:
        """The group whose attempt is over, or of which only a server knows how it ended; None when there is none."""
        over = self.latest.lifting is not None or (self.pivoting and self.status is RunStatus.RUNNING)
        return self.latest.attempt if over else None

    @property
    def following(self) -> bool:
        """Whether the source is followed, as far as phases say: what changes there is kept."""
        return self.latest.is_at(Trait.FOLLOWS, *_DONE)

    def of(self, phase: PhaseName) -> PhaseStatus:
        """Status of one phase."""
        return self.latest.of(phase)

    @property
    def undoing(self) -> bool:
        """Whether the run is rolled back, also when that is paused or held for the moment."""
        return RunStatus.ROLLING_BACK in (self.status, self.resumed_to)

    @property
    def current(self) -> PhaseName | None:
        """The phase that is next to be done or verified, or that is being undone; None when there is none left."""
        if self.status in (RunStatus.ROLLING_BACK, RunStatus.ROLLED_BACK):
            return next((p for p in reversed(self.phases) if self.of(p) not in _LEFT), None)
        return next((p for p in self.phases if self.of(p) is not PhaseStatus.VERIFIED), None)

    def in_round(self, latest: Round, **changes: Any) -> State:
        """The state with another latest round, and other changes."""
        return replace(self, rounds=(*self.rounds[:-1], latest), **changes)


_DONE = (PhaseStatus.DONE, PhaseStatus.VERIFIED)
_LEFT = frozenset({PhaseStatus.PENDING, PhaseStatus.UNDONE})
