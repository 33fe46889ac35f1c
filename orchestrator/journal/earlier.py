"""Journals of versions 1 and 2, read as what they meant: the cutover was one phase, and nothing had to be lifted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.journal.rounds import PhaseStatus
from tranship.orchestrator.journal.state import IllegalTransitionError, RunStatus, State
from tranship.plans.strategies import GROUPS, Group, PhaseName

LAST = 2
"""The last version of that form."""

_PROVEN = (PhaseName.FENCE, PhaseName.DRAIN, PhaseName.VERIFY, PhaseName.SEAL)


def phases(names: Iterable[str]) -> tuple[PhaseName, ...]:
    """The phases of a run, by their names in the record of its creation."""
    known: list[PhaseName] = []
    for name in names:
        known += GROUPS[Group(name)] if name in set(Group) else [PhaseName(name)]
    return tuple(known)


def is_one(record: Record) -> bool:
    """Whether a record tells of the cutover as of one phase."""
    return record.phase is Group.CUTOVER and record.kind in _FOLDS


def fold(state: State, record: Record) -> State:
    """The state after one of these records. Raises `IllegalTransitionError` for one that cannot come now."""
    return _FOLDS[record.kind](state, record)


def _intent(state: State, record: Record) -> State:
    if state.sealed:
        return state  # it went on behind the seal
    if state.status is not RunStatus.RUNNING or state.current is not PhaseName.FENCE:
        raise IllegalTransitionError(f"{record.kind} of {record.phase} cannot come now: {state.current} is next")
    return state.in_round(state.latest.with_status(PhaseName.FENCE, PhaseStatus.DOING))


def _sealed(state: State, record: Record) -> State:
    if state.latest.attempt is None or state.sealed:
        raise IllegalTransitionError(f"{record.kind} cannot come now: the cutover is not under way")
    latest = state.latest
    for phase in _PROVEN:
        latest = latest.with_status(phase, PhaseStatus.VERIFIED)
    return state.in_round(latest)


def _switched(state: State, record: Record) -> State:
    if not state.sealed or state.switched or state.pivoting:  # a pivot that was sent is none of such a journal
        raise IllegalTransitionError(f"{record.kind} cannot come now: nothing is sealed, or the pivot is sent")
    return state.in_round(state.latest.switched(state.records))


def _verified(state: State, record: Record) -> State:
    if not state.switched:
        raise IllegalTransitionError(f"{record.kind} of {record.phase} comes behind its switch")
    return state.in_round(state.latest.with_status(PhaseName.OPEN, PhaseStatus.VERIFIED))


def _failed(state: State, record: Record) -> State:
    return replace(state, reason=record.data["reason"])


def _observed(state: State, record: Record) -> State:
    known = state.facts.get(PhaseName.VERIFY, {})
    facts = {**state.facts, PhaseName.VERIFY: {**known, **record.data}}
    return state.in_round(replace(state.latest, facts=facts))


def _undone(state: State, record: Record) -> State:
    if state.pivoting or state.switched:  # only the record on the server ends the one, and nothing the other
        raise IllegalTransitionError(f"{record.kind} of {record.phase} cannot come now: the pivot is sent")
    return state.in_round(state.latest.lifted(Group.CUTOVER))


_FOLDS: dict[Kind, Callable[[State, Record], State]] = {
    Kind.INTENT: _intent,
    Kind.OBSERVED: _observed,
    Kind.SEALED: _sealed,
    Kind.SWITCHED: _switched,
    Kind.VERIFIED: _verified,
    Kind.FAILED: _failed,
    Kind.UNDO_INTENT: _undone,
    Kind.UNDONE: _undone,
}
