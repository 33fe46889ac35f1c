"""The fold: a run's state is a pure function of its journal.

Nothing here reads a clock, a database or the world. Resume, status and the live view all see a run through `fold_all`,
so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from tranship.orchestrator.journal import earlier
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.journal.rounds import Approval, PhaseStatus, Round
from tranship.orchestrator.journal.state import ENDED, IllegalTransitionError, RunStatus, State
from tranship.orchestrator.journal.steps import is_rehearsal
from tranship.plans.strategies import Group, PhaseName, Stage, Trait, begins, group_of, is_pivot, named

_DONE = (PhaseStatus.DONE, PhaseStatus.VERIFIED)


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
    counted = replace(state, records=state.records + 1)
    if earlier.is_one(record):
        return earlier.fold(counted, record)
    if record.kind not in _FOLDS:
        raise IllegalTransitionError(f"{record.kind} is of {Group.CUTOVER}, not of {record.phase}")
    return _FOLDS[record.kind](counted, record)


def _created(state: State, record: Record) -> State:
    if state.run:
        raise IllegalTransitionError("a journal has one record of its creation")
    data = record.data
    return State(
        written=data.get("version", earlier.LAST),
        run=data["run"],
        id=data.get("id", data["run"]),  # journals of earlier versions have none
        collections=data.get("collections", {}),
        records=state.records,
        approvals=frozenset(named(stage) for stage in data["approvals"]),
        fingerprint=data["fingerprint"],
        meaning=data["meaning"],
        rounds=(Round(phases=earlier.phases(data["phases"])),),
    )


def _phase(state: State, record: Record) -> PhaseName:
    if not isinstance(record.phase, PhaseName) or record.phase not in state.phases:
        raise IllegalTransitionError(f"{record.kind} names a phase that is not of this run: {record.phase}")
    return record.phase


def _stage(state: State, record: Record) -> Stage:
    if record.phase is None or record.phase not in {group_of(phase) or phase for phase in state.phases}:
        raise IllegalTransitionError(f"{record.kind} names nothing of this run that is approved: {record.phase}")
    return record.phase


def _group(state: State, record: Record) -> Group:
    if not isinstance(record.phase, Group) or record.phase is not state.latest.attempt:
        raise IllegalTransitionError(f"{record.kind} names a group that is not under way: {record.phase}")
    return record.phase


def _moves(target: PhaseStatus, *sources: PhaseStatus, within: RunStatus) -> Callable[[State, Record], State]:
    def move(state: State, record: Record) -> State:
        phase = _phase(state, record)
        halted = state.latest.lifting is not None or state.pivoting
        if halted or state.status is not within or phase is not state.current or state.of(phase) not in sources:
            raise IllegalTransitionError(
                f"{record.kind} of {phase} cannot come now: the phase is {state.of(phase)}, the run is {state.status}"
            )
        return state.in_round(state.latest.with_status(phase, target))

    return move


def _intent(state: State, record: Record) -> State:
    if not begins(_phase(state, record)):
        raise IllegalTransitionError(f"{record.phase} begins with its group")
    return _moves(PhaseStatus.DOING, PhaseStatus.PENDING, PhaseStatus.DOING, within=RunStatus.RUNNING)(state, record)


def _done(state: State, record: Record) -> State:
    phase = _phase(state, record)
    if is_pivot(phase):
        raise IllegalTransitionError(f"{phase} ends by what a server says")
    end = PhaseStatus.VERIFIED if state.latest.is_proven(phase) else PhaseStatus.DONE
    begun = PhaseStatus.DOING if begins(phase) else PhaseStatus.PENDING
    return _moves(end, begun, within=RunStatus.RUNNING)(state, record)


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
    asked = {**state.latest.asked, _stage(state, record): state.records}
    return state.in_round(replace(state.latest, asked=asked))


def _approved(state: State, record: Record) -> State:
    stage, asking = _stage(state, record), record.data.get("asked", 0)  # version 1 named no asking
    if asking and state.latest.asked.get(stage) != asking:
        raise IllegalTransitionError(f"{stage} is not asked for by record {asking}")
    approved = {**state.approved, stage: Approval(asking, record.data["by"], record.data.get("rehearsal", False))}
    # The reason was why the phase refused to act before; it is tried again now.
    return state.in_round(replace(state.latest, approved=approved), reason="")


def _withdrawn(state: State, record: Record) -> State:
    """The phase refused to act, or a person took the approval back: nothing of it stays, and it needs a new one."""
    _refuse_behind(state, "no approval of it can be taken back")
    why = record.data["reason"]
    return _halted(state, state.latest.withdrawn(_stage(state, record), why), reason=why)


def _halted(state: State, latest: Round, **changes: Any) -> State:
    """The state with an attempt that is over: what processes of earlier versions left needs no lift."""
    if state.written <= earlier.LAST and latest.lifting is not None and latest.attempt is not None:
        latest = latest.lifted(latest.attempt)
    return state.in_round(latest, **changes)


def _refuse_behind(state: State, what: str) -> None:
    """Behind the pivot, and as long as nobody knows whether it is behind."""
    if state.switched:
        raise IllegalTransitionError(f"the switch has been written; {what}")
    if state.pivoting:
        raise IllegalTransitionError(f"whether the switch took place is not known; {what}")


def _lifted(state: State, record: Record) -> State:
    """The attempt is taken back on the servers: of a pivot that was sent, the record on the server was read."""
    return state.in_round(state.latest.lifted(_group(state, record)))


def _interrupted(state: State, why: str) -> State:
    return state if state.switched or state.undoing else _halted(state, state.latest.interrupted(why))


def _stopped(status: RunStatus) -> Callable[[State, Record], State]:
    def stop(state: State, record: Record) -> State:
        if state.status not in (RunStatus.RUNNING, RunStatus.ROLLING_BACK):
            raise IllegalTransitionError(f"{record.kind} cannot follow: the run is {state.status}")
        if status is RunStatus.PAUSED and state.pivoting:
            raise IllegalTransitionError("whether the switch took place is not known; the run can only be held")
        why = record.data["reason"]
        return replace(_interrupted(state, why), status=status, resumed_to=state.status, reason=why)

    return stop


def _resumed(state: State, record: Record) -> State:
    if state.status not in (RunStatus.PAUSED, RunStatus.HELD):
        raise IllegalTransitionError(f"{record.kind} cannot follow: the run is {state.status}")
    resumed = replace(state, status=state.resumed_to, reason=state.undone_for)
    if not (state.switched and state.status is RunStatus.HELD):
        return resumed
    # After the switch a run is held for what was written to the source since. The person who resumes it has seen to
    # that: looking again would find the same writes for ever.
    return resumed.in_round(state.latest.with_status(state.phases[-1], PhaseStatus.VERIFIED))


def _amended(state: State, record: Record) -> State:
    """The plan's `rest` became more lenient."""
    if state.switched or state.pivoting or state.undoing:
        raise IllegalTransitionError("the plan cannot change after the switch or while the run is undone")
    return replace(state, fingerprint=record.data["fingerprint"], meaning=record.data["meaning"])


def _reseed(state: State, record: Record) -> State:
    _refuse_behind(state, "nothing is applied any more")
    return replace(_interrupted(state, record.data["reason"]), reseed=True)


def _reseeded(state: State, _record: Record) -> State:
    return replace(state, reseed=False)


def _rollback(state: State, record: Record) -> State:
    _refuse_behind(state, "a rollback would lose the target's writes")
    why = record.data["reason"]
    quiet = replace(state.latest.interrupted(why), asked={}, approved={})
    return _halted(state, quiet, status=RunStatus.ROLLING_BACK, reason=why, undone_for=why, reseed=False)


def _ended(status: RunStatus) -> Callable[[State, Record], State]:
    def end(state: State, record: Record) -> State:
        expected = RunStatus.ROLLING_BACK if status is RunStatus.ROLLED_BACK else RunStatus.RUNNING
        if state.status is not expected or state.current is not None or state.latest.lifting is not None:
            raise IllegalTransitionError(
                f"{record.kind} cannot follow: {state.current} is left, the run is {state.status}"
            )
        return replace(state, status=status)

    return end


def _claimed(state: State, record: Record) -> State:
    """A new epoch, of the same process or of one that took over."""
    anew = "another process went on"
    going_on = state if record.data.get("same_process") else _interrupted(state, anew)
    projection = record.data.get("projection", state.projection)
    if projection != state.projection:
        going_on = _projected_anew(going_on)
    written = record.data.get("version", state.written)
    return replace(going_on, epoch=record.data["epoch"], projection=projection, written=written)


def _projected_anew(state: State) -> State:
    """Another version makes something else of the same documents: what was compared under the old one is no proof."""
    compared = state.latest.is_at(Trait.COMPARES, *_DONE)
    if state.switched or state.pivoting or state.undoing or not compared:
        return state
    latest = state.latest
    for phase in latest.having(Trait.COMPARES):
        latest = latest.with_status(phase, PhaseStatus.PENDING)
    return state.in_round(latest)


def _verified(state: State, record: Record) -> State:
    return _moves(PhaseStatus.VERIFIED, PhaseStatus.DONE, within=RunStatus.RUNNING)(state, record)


def _pivot_sent(state: State, record: Record) -> State:
    """Written before the pivot is sent to a server: from here on only the record there knows."""
    phase = _phase(state, record)
    if not is_pivot(phase) or phase is not state.current or state.latest.attempt is None or is_rehearsal(state):
        raise IllegalTransitionError(f"{record.kind} cannot come now: {phase} is {state.of(phase)}")
    if not state.sealed:
        raise IllegalTransitionError("no switch while changes are still applied")
    if state.status is not RunStatus.RUNNING or state.latest.lifting is not None or state.pivoting:
        raise IllegalTransitionError(f"{record.kind} cannot come now: the run is {state.status}")
    version = record.data.get("version")
    return state.in_round(replace(state.latest, pivot_sent=state.records, version=version))


def _pivoted(state: State, record: Record) -> State:
    """The record on the server was read, and says so."""
    if not is_pivot(_phase(state, record)) or not state.pivoting:
        raise IllegalTransitionError(f"{record.kind} cannot come now: no switch was sent")
    return state.in_round(state.latest.switched(state.records))


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
    Kind.UNDO_INTENT: _moves(_P.UNDOING, _P.DOING, _P.DONE, _P.VERIFIED, _P.UNDOING, within=_R.ROLLING_BACK),
    Kind.UNDONE: _moves(_P.UNDONE, _P.UNDOING, within=_R.ROLLING_BACK),
    Kind.ROLLED_BACK: _ended(_R.ROLLED_BACK),
    Kind.REPAIR: _noted,
    Kind.RETRY: _noted,
    Kind.AMENDED: _amended,
    Kind.IGNORED: _noted,
    Kind.LIFTED: _lifted,
    Kind.PIVOT_SENT: _pivot_sent,
    Kind.PIVOTED: _pivoted,
    Kind.FINISHED: _ended(_R.FINISHED),
}
