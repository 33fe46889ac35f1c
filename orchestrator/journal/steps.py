"""What comes next in a run, and what has to run beside it: pure functions of its state."""

from __future__ import annotations

from dataclasses import dataclass

from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.journal.state import PhaseStatus, RunStatus, ServiceName, State
from tranship.plans.strategies import Group, PhaseName, Stage, Trait, is_pivot, stage_of


@dataclass(frozen=True)
class Do:
    """Carry out a phase, from whatever an earlier attempt left."""

    phase: PhaseName


@dataclass(frozen=True)
class Verify:
    """Look at the world and compare it with what the phase should have made."""

    phase: PhaseName


@dataclass(frozen=True)
class Undo:
    """Take back a phase, from whatever an earlier attempt left."""

    phase: PhaseName


@dataclass(frozen=True)
class Lift:
    """Take back an attempt at a group of phases on the servers, unless its pivot has taken place there."""

    group: Group


@dataclass(frozen=True)
class Wait:
    """Wait for a person's approval; services go on."""

    stage: Stage


@dataclass(frozen=True)
class Rehearsed:
    """A rehearsal has come to where the pivot would be: it ends there."""

    stage: Stage


@dataclass(frozen=True)
class Reseed:
    """The capture position was lost and a person asked to start anew from a full comparison."""


@dataclass(frozen=True)
class Close:
    """Nothing is left to do: write the last record."""

    kind: Kind


@dataclass(frozen=True)
class Stop:
    """The run does not go on by itself: it has ended, is paused or is held."""

    status: RunStatus


Step = Do | Verify | Undo | Lift | Wait | Rehearsed | Reseed | Close | Stop


def next_step(state: State) -> Step:
    """What the engine has to do, from the state alone."""
    if state.to_lift is not None:
        return Lift(state.to_lift)  # before anything else, a pause included: applications wait for it
    phase = state.current
    if state.status is RunStatus.ROLLING_BACK:
        return Close(Kind.ROLLED_BACK) if phase is None else Undo(phase)
    if state.status is RunStatus.RUNNING:
        return _forward(state, phase)
    return Stop(state.status)


def _forward(state: State, phase: PhaseName | None) -> Step:
    if state.reseed:
        return Reseed()
    if phase is None:
        return Close(Kind.FINISHED)
    if state.of(phase) is PhaseStatus.DONE:
        return Verify(phase)
    if stage_of(phase) in state.approvals and stage_of(phase) not in state.approved:
        return Wait(stage_of(phase))
    if is_pivot(phase) and is_rehearsal(state):
        return Rehearsed(stage_of(phase))
    return Do(phase)


def is_rehearsal(state: State) -> bool:
    """Whether what is under way was approved up to its pivot only."""
    phase = state.current
    approval = state.approved.get(stage_of(phase)) if phase is not None else None
    return approval is not None and approval.rehearsal


def services(state: State) -> frozenset[ServiceName]:
    """Which services have to run, by the traits of the phases that have begun; none while undoing.

    Capture once the source is followed, the applier from where changes are applied to the pivot, the reconciler between
    the full comparison and the group of the pivot. Behind the seal nothing is applied any more, but while writers wait
    no service is stopped; capture goes on, to see writes that should not come.
    """
    if state.status is not RunStatus.RUNNING or state.reseed:
        return frozenset()
    running = set()
    if state.following:
        running.add(ServiceName.CAPTURE)
    if state.latest.begun(Trait.APPLIES) and not state.switched:
        running.add(ServiceName.APPLIER)
    waiting = state.latest.attempt is None and not state.switched
    if state.latest.is_at(Trait.COMPARES, PhaseStatus.VERIFIED) and waiting:
        running.add(ServiceName.RECONCILER)
    return frozenset(running)
