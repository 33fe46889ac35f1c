"""The state of a run: a pure fold of its journal.

Nothing here reads a clock, a database or the world. Resume, status and the live view all see a run through `fold_all`,
so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.journal.rounds import Approval, PhaseStatus, Round
from tranship.plans.strategies import PhaseName, Trait, is_pivot


class RunStatus(StrEnum):
    """Where a run as a whole stands."""

    RUNNING = "running"
    PAUSED = "paused"
    HELD = "held"
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"
    FINISHED = "finished"


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
    "State",
    "fold",
    "fold_all",
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
    become, under which everything was compared.
    """

    run: str = ""
    id: str = ""
    collections: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 0
    records: int = 0
    approvals: frozenset[PhaseName] = frozenset()
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
    def approved(self) -> Mapping[PhaseName, Approval]:
        """What has been approved in it, and by whom."""
        return self.latest.approved

    @property
    def facts(self) -> Mapping[PhaseName, Mapping[str, Any]]:
        """What its phases have observed."""
        return self.latest.facts

    @property
    def asked(self) -> PhaseName | None:
        """The phase that waits for an approval, once it has been asked for; else None."""
        return next((phase for phase in self.latest.asked if phase not in self.approved), None)

    @property
    def asking(self) -> int | None:
        """The number of the record that asks for it: what an approval has to name."""
        return None if self.asked is None else self.latest.asked[self.asked]

    @property
    def sealed(self) -> bool:
        """Whether nothing is applied any more, so that what the pivot proves stays true."""
        return self.latest.is_at(Trait.PIVOT, PhaseStatus.SEALED, *_SWITCHED)

    @property
    def switched(self) -> bool:
        """Whether the target is the primary now: the record of the switch ends the pivot."""
        return self.latest.is_at(Trait.PIVOT, *_SWITCHED)

    @property
    def following(self) -> bool:
        """Whether the source is followed, as far as phases say: what changes there is kept."""
        return self.latest.is_at(Trait.FOLLOWS, PhaseStatus.DONE, PhaseStatus.VERIFIED)

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


_SWITCHED = (PhaseStatus.DONE, PhaseStatus.VERIFIED)
_LEFT = frozenset({PhaseStatus.PENDING, PhaseStatus.UNDONE})


# --- the fold ----------------------------------------------------------------------------------------------------


def fold_all(records: Iterable[Record]) -> State:
    """The state after all records."""
    state = State()
    for record in records:
        state = fold(state, record)
    return state


def fold(state: State, record: Record) -> State:
    """The state after one more record. Pure. Raises `IllegalTransitionError` for a record that cannot come now."""
    if record.kind is not Kind.CREATED and not state.run:
        raise IllegalTransitionError(f"the first record of a journal is {Kind.CREATED}, not {record.kind}")
    if state.status in ENDED:
        raise IllegalTransitionError(f"the run has ended ({state.status}); {record.kind} cannot follow")
    return _FOLDS[record.kind](replace(state, records=state.records + 1), record)


def _created(state: State, record: Record) -> State:
    if state.run:
        raise IllegalTransitionError("a journal has one record of its creation")
    data = record.data
    return State(
        run=data["run"],
        id=data.get("id", data["run"]),  # journals of earlier versions have none
        collections=data.get("collections", {}),
        records=state.records,
        approvals=frozenset(PhaseName(p) for p in data["approvals"]),
        fingerprint=data["fingerprint"],
        meaning=data["meaning"],
        rounds=(Round(phases=tuple(PhaseName(p) for p in data["phases"])),),
    )


def _phase(state: State, record: Record) -> PhaseName:
    if record.phase is None or record.phase not in state.phases:
        raise IllegalTransitionError(f"{record.kind} names a phase that is not of this run: {record.phase}")
    return record.phase


def _moves(target: PhaseStatus, *sources: PhaseStatus, within: RunStatus) -> Callable[[State, Record], State]:
    def move(state: State, record: Record) -> State:
        phase = _phase(state, record)
        if state.status is not within or phase is not state.current or state.of(phase) not in sources:
            raise IllegalTransitionError(
                f"{record.kind} of {phase} cannot come now: the phase is {state.of(phase)}, the run is {state.status}"
            )
        return state.in_round(state.latest.with_status(phase, target))

    return move


def _intent(state: State, record: Record) -> State:
    if state.of(_phase(state, record)) is PhaseStatus.SEALED:
        return state  # it goes on behind the seal
    return _moves(PhaseStatus.DOING, PhaseStatus.PENDING, PhaseStatus.DOING, within=RunStatus.RUNNING)(state, record)


def _done(state: State, record: Record) -> State:
    if is_pivot(record.phase):
        raise IllegalTransitionError(f"{record.phase} ends with its switch")
    return _moves(PhaseStatus.DONE, PhaseStatus.DOING, within=RunStatus.RUNNING)(state, record)


def _observed(state: State, record: Record) -> State:
    phase = _phase(state, record)
    known = state.facts.get(phase, {})
    return state.in_round(replace(state.latest, facts={**state.facts, phase: {**known, **record.data}}))


def _failed(state: State, record: Record) -> State:
    """A verification that failed: the phase has to be done again, unless the run is rolled back."""
    phase = _phase(state, record)
    again = PhaseStatus.DONE if state.switched else PhaseStatus.DOING  # after the switch it is only looked at again
    return state.in_round(state.latest.with_status(phase, again), reason=record.data["reason"])


def _asked(state: State, record: Record) -> State:
    asked = {**state.latest.asked, _phase(state, record): state.records}
    return state.in_round(replace(state.latest, asked=asked))


def _approved(state: State, record: Record) -> State:
    phase, asking = _phase(state, record), record.data.get("asked", 0)  # version 1 named no asking
    if asking and state.latest.asked.get(phase) != asking:
        raise IllegalTransitionError(f"{phase} is not asked for by record {asking}")
    approved = {**state.approved, phase: Approval(asking, record.data["by"])}
    # The reason was why the phase refused to act before; it is tried again now.
    return state.in_round(replace(state.latest, approved=approved), reason="")


def _withdrawn(state: State, record: Record) -> State:
    """The phase refused to act, or a person took the approval back: nothing of it happened, and it needs a new one."""
    if state.switched:
        raise IllegalTransitionError("the switch has been written; no approval of it can be taken back")
    return state.in_round(state.latest.not_begun(_phase(state, record)), reason=record.data["reason"])


def _interrupted(state: State) -> State:
    return state if state.switched or state.undoing else state.in_round(state.latest.interrupted())


def _stopped(status: RunStatus) -> Callable[[State, Record], State]:
    def stop(state: State, record: Record) -> State:
        if state.status not in (RunStatus.RUNNING, RunStatus.ROLLING_BACK):
            raise IllegalTransitionError(f"{record.kind} cannot follow: the run is {state.status}")
        return replace(_interrupted(state), status=status, resumed_to=state.status, reason=record.data["reason"])

    return stop


def _resumed(state: State, record: Record) -> State:
    if state.status not in (RunStatus.PAUSED, RunStatus.HELD):
        raise IllegalTransitionError(f"{record.kind} cannot follow: the run is {state.status}")
    resumed = replace(state, status=state.resumed_to, reason=state.undone_for)
    if not (state.switched and state.status is RunStatus.HELD):
        return resumed
    # After the switch a run is held for what was written to the source since. The person who resumes it has seen to
    # that: looking again would find the same writes for ever.
    (pivot,) = state.latest.having(Trait.PIVOT)
    return resumed.in_round(state.latest.with_status(pivot, PhaseStatus.VERIFIED))


def _amended(state: State, record: Record) -> State:
    """The plan's `rest` became more lenient."""
    if state.switched or state.undoing:
        raise IllegalTransitionError("the plan cannot change after the switch or while the run is undone")
    return replace(state, fingerprint=record.data["fingerprint"], meaning=record.data["meaning"])


def _reseed(state: State, _record: Record) -> State:
    return replace(state, reseed=True)


def _reseeded(state: State, _record: Record) -> State:
    return replace(state, reseed=False)


def _rollback(state: State, record: Record) -> State:
    if state.switched:
        raise IllegalTransitionError("after the switch a rollback would lose the target's writes")
    why = record.data["reason"]
    quiet = replace(state.latest, asked={}, approved={})
    return state.in_round(quiet, status=RunStatus.ROLLING_BACK, reason=why, undone_for=why, reseed=False)


def _ended(status: RunStatus) -> Callable[[State, Record], State]:
    def end(state: State, record: Record) -> State:
        expected = RunStatus.ROLLING_BACK if status is RunStatus.ROLLED_BACK else RunStatus.RUNNING
        if state.status is not expected or state.current is not None:
            raise IllegalTransitionError(
                f"{record.kind} cannot follow: {state.current} is left, the run is {state.status}"
            )
        return replace(state, status=status)

    return end


def _claimed(state: State, record: Record) -> State:
    """A new epoch, of the same process or of one that took over."""
    going_on = state if record.data.get("same_process") else _interrupted(state)
    projection = record.data.get("projection", state.projection)
    if projection != state.projection:
        going_on = _projected_anew(going_on)
    return replace(going_on, epoch=record.data["epoch"], projection=projection)


def _projected_anew(state: State) -> State:
    """Another version makes something else of the same documents: what was compared under the old one is no proof."""
    compared = state.latest.is_at(Trait.COMPARES, PhaseStatus.DONE, PhaseStatus.VERIFIED)
    if state.switched or state.undoing or not compared:
        return state
    latest = state.latest
    for phase in latest.having(Trait.PIVOT):
        latest = latest.not_begun(phase)
    for phase in latest.having(Trait.COMPARES):
        latest = latest.with_status(phase, PhaseStatus.PENDING)
    return state.in_round(latest)


def _verified(state: State, record: Record) -> State:
    return _moves(PhaseStatus.VERIFIED, PhaseStatus.DONE, within=RunStatus.RUNNING)(state, record)


def _sealed(state: State, record: Record) -> State:
    """Nothing is applied from here on; taken back when the pivot does not come to its switch."""
    if not is_pivot(record.phase):
        raise IllegalTransitionError(f"{record.kind} is of the phase that switches, not of {record.phase}")
    return _moves(PhaseStatus.SEALED, PhaseStatus.DOING, within=RunStatus.RUNNING)(state, record)


def _switched(state: State, record: Record) -> State:
    """The pivot. It ends the phase in the same record: after a crash the phase must not be done a second time."""
    if not state.sealed:
        raise IllegalTransitionError("no switch while changes are still applied")
    return _moves(PhaseStatus.DONE, PhaseStatus.SEALED, within=RunStatus.RUNNING)(state, record)


def _noted(state: State, _record: Record) -> State:
    return state


_P, _R = PhaseStatus, RunStatus
_FOLDS: dict[Kind, Callable[[State, Record], State]] = {
    Kind.CREATED: _created,
    Kind.CLAIMED: _claimed,
    Kind.INTENT: _intent,
    Kind.OBSERVED: _observed,
    Kind.DONE: _done,
    Kind.VERIFIED: _verified,
    Kind.FAILED: _failed,
    Kind.APPROVAL_ASKED: _asked,
    Kind.APPROVED: _approved,
    Kind.APPROVAL_WITHDRAWN: _withdrawn,
    Kind.SERVICE_FAILED: _noted,
    Kind.PAUSED: _stopped(_R.PAUSED),
    Kind.RESUMED: _resumed,
    Kind.HELD: _stopped(_R.HELD),
    Kind.RESEED: _reseed,
    Kind.RESEEDED: _reseeded,
    Kind.ROLLBACK: _rollback,
    Kind.UNDO_INTENT: _moves(_P.UNDOING, _P.DOING, _P.SEALED, _P.DONE, _P.VERIFIED, _P.UNDOING, within=_R.ROLLING_BACK),
    Kind.UNDONE: _moves(_P.UNDONE, _P.UNDOING, within=_R.ROLLING_BACK),
    Kind.ROLLED_BACK: _ended(_R.ROLLED_BACK),
    Kind.REPAIR: _noted,
    Kind.RETRY: _noted,
    Kind.AMENDED: _amended,
    Kind.IGNORED: _noted,
    Kind.SEALED: _sealed,
    Kind.SWITCHED: _switched,
    Kind.FINISHED: _ended(_R.FINISHED),
}
