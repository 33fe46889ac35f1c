"""The fold: what each record does, and which cannot come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tranship.orchestrator.engine.inbox import refusal
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.journal.state import (
    IllegalTransitionError,
    PhaseStatus,
    RunStatus,
    ServiceName,
    State,
    fold,
    fold_all,
)
from tranship.orchestrator.journal.steps import Close, Do, Reseed, Stop, Undo, Verify, Wait, next_step, services
from tranship.plans.strategies import STRATEGIES, PhaseName

PHASES = STRATEGIES["expand-contract"]
CREATED = Record(
    Kind.CREATED,
    data={
        "run": "r-1",
        "phases": [str(p) for p in PHASES],
        "approvals": ["cutover"],
        "fingerprint": "f",
        "meaning": {},
    },
)


def done(*phases: PhaseName) -> list[Record]:
    """The records of phases that went well."""
    return [Record(kind, phase) for phase in phases for kind in (Kind.INTENT, Kind.DONE, Kind.VERIFIED)]


SWITCH = (
    Record(Kind.APPROVED, PhaseName.CUTOVER, {"by": "ann"}),
    Record(Kind.INTENT, PhaseName.CUTOVER),
    Record(Kind.SEALED, PhaseName.CUTOVER),
    Record(Kind.SWITCHED, PhaseName.CUTOVER),
)
"""The records of the cutover, up to its switch."""


def until(phase: PhaseName) -> State:
    """The state right before a phase."""
    return fold_all([CREATED, *done(*PHASES[: PHASES.index(phase)])])


def test_phases_come_in_order_and_each_is_verified() -> None:
    state = fold_all([CREATED])
    for phase in PHASES[:-1]:
        assert next_step(state) == Do(phase)
        state = fold(state, Record(Kind.INTENT, phase))
        assert next_step(state) == Do(phase)  # what a crash leaves is done again
        state = fold(state, Record(Kind.DONE, phase))
        assert next_step(state) == Verify(phase)
        state = fold(state, Record(Kind.VERIFIED, phase))
    assert next_step(state) == Wait(PhaseName.CUTOVER)
    state = fold(state, Record(Kind.APPROVED, PhaseName.CUTOVER, {"by": "ann"}))
    assert next_step(state) == Do(PhaseName.CUTOVER)


AMENDED = Record(Kind.AMENDED, data={"fingerprint": "g", "meaning": {"streams": {}}, "changed": ["a line"]})


@pytest.mark.parametrize("stopped", [None, Kind.PAUSED, Kind.HELD])
def test_an_amended_plan_is_the_runs_from_then_on(stopped: Kind | None) -> None:
    state = until(PhaseName.RECONCILE)
    if stopped is not None:
        state = fold(state, Record(stopped, data={"reason": "r"}))
    amended = fold(state, AMENDED)
    assert (amended.fingerprint, amended.meaning) == ("g", {"streams": {}})
    same = replace(amended, fingerprint="f", meaning={}, records=state.records)
    assert same == state, "nothing else changes"


def test_a_plan_is_not_amended_after_the_switch_or_on_the_way_back() -> None:
    state = fold(until(PhaseName.CUTOVER), Record(Kind.APPROVED, PhaseName.CUTOVER, {"by": "ann"}))
    switched = fold_all([CREATED, *done(*PHASES[:-1]), *SWITCH])
    rolling = fold(state, Record(Kind.ROLLBACK, data={"reason": "r"}))
    for late in (switched, rolling, fold(rolling, Record(Kind.PAUSED, data={"reason": "r"}))):
        with pytest.raises(IllegalTransitionError, match="cannot change"):
            fold(late, AMENDED)
    assert [s.undoing for s in (state, switched, rolling)] == [False, False, True]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (until(PhaseName.BACKFILL), "nothing is in quarantine yet"),
        (fold(until(PhaseName.BACKFILL), Record(Kind.INTENT, PhaseName.BACKFILL)), None),
        (until(PhaseName.CUTOVER), None),
        (fold(until(PhaseName.CUTOVER), Record(Kind.ROLLBACK, data={"reason": "r"})), "rolled back"),
        (replace(until(PhaseName.CUTOVER), status=RunStatus.ROLLED_BACK), "rolled back"),
        (
            fold_all([CREATED, *done(*PHASES[:-1]), *SWITCH]),
            "switch",
        ),
    ],
)
def test_when_quarantine_may_be_read_anew(state: State, why: str | None) -> None:
    said = refusal(RequestKind.RETRY, state)
    assert said is None if why is None else why in (said or "")


@pytest.mark.parametrize("kind", [RequestKind.REPAIR, RequestKind.RESEED, RequestKind.RETRY, RequestKind.ROLLBACK])
def test_what_is_refused_after_the_switch(kind: RequestKind) -> None:
    assert "after the switch" in (refusal(kind, fold_all([CREATED, *done(*PHASES[:-1]), *SWITCH])) or "")
    assert refusal(kind, until(PhaseName.CUTOVER)) is None


def test_a_reseed_needs_a_source_that_is_followed() -> None:
    refused = [refusal(RequestKind.RESEED, until(phase)) is not None for phase in PHASES[:4]]
    assert refused == [True, True, True, False], "until capture is done"


def test_the_switch_ends_its_phase_and_nothing_is_applied_after_it() -> None:
    state = fold(until(PhaseName.CUTOVER), Record(Kind.APPROVED, PhaseName.CUTOVER, {"by": "ann"}))
    state = fold(state, Record(Kind.INTENT, PhaseName.CUTOVER))
    assert services(state) == {ServiceName.CAPTURE, ServiceName.APPLIER}
    with pytest.raises(IllegalTransitionError, match="still applied"):
        fold(state, Record(Kind.SWITCHED, PhaseName.CUTOVER))
    state = fold(state, Record(Kind.SEALED, PhaseName.CUTOVER))
    assert (next_step(state), services(state)) == (Do(PhaseName.CUTOVER), {ServiceName.CAPTURE})
    state = fold(state, Record(Kind.SWITCHED, PhaseName.CUTOVER))
    assert next_step(state) == Verify(PhaseName.CUTOVER)
    assert services(state) == {ServiceName.CAPTURE}
    with pytest.raises(IllegalTransitionError, match="lose the target's writes"):
        fold(state, Record(Kind.ROLLBACK, data={"reason": "too late"}))
    state = fold(state, Record(Kind.VERIFIED, PhaseName.CUTOVER))
    assert next_step(state) == Close(Kind.FINISHED)
    assert next_step(fold(state, Record(Kind.FINISHED))) == Stop(RunStatus.FINISHED)


@pytest.mark.parametrize("phase", PHASES)
def test_a_rollback_undoes_what_was_begun_in_reverse_order(phase: PhaseName) -> None:
    state = fold(fold(until(phase), Record(Kind.INTENT, phase)), Record(Kind.ROLLBACK, data={"reason": "r"}))
    undone = []
    while not isinstance(step := next_step(state), Close):
        assert isinstance(step, Undo)
        undone.append(step.phase)
        state = fold(state, Record(Kind.UNDO_INTENT, step.phase))
        assert next_step(state) == step  # a crash in the middle undoes it again
        state = fold(state, Record(Kind.UNDONE, step.phase))
        assert services(state) == frozenset()
    assert undone == list(reversed(PHASES[: PHASES.index(phase) + 1]))
    assert next_step(fold(state, Record(Kind.ROLLED_BACK))) == Stop(RunStatus.ROLLED_BACK)


@pytest.mark.parametrize("kind", [Kind.PAUSED, Kind.HELD])
@pytest.mark.parametrize("rolling_back", [False, True])
def test_what_stopped_goes_on_as_it_was(kind: Kind, rolling_back: bool) -> None:
    before = until(PhaseName.INDEX)
    if rolling_back:
        before = fold(before, Record(Kind.ROLLBACK, data={"reason": "r"}))
    stopped = fold(before, Record(kind, data={"reason": "why"}))
    assert isinstance(next_step(stopped), Stop)
    assert stopped.reason == "why"
    assert services(stopped) == frozenset()
    resumed = fold(stopped, Record(Kind.RESUMED, data={"by": "ann"}))
    assert next_step(resumed) == next_step(before)


def test_a_refused_cutover_needs_a_new_approval() -> None:
    approved = Record(Kind.APPROVED, PhaseName.CUTOVER, {"by": "ann"})
    state = fold(fold(until(PhaseName.CUTOVER), approved), Record(Kind.INTENT, PhaseName.CUTOVER))
    state = fold(state, Record(Kind.APPROVAL_WITHDRAWN, PhaseName.CUTOVER, {"reason": "writes come"}))
    assert (next_step(state), state.reason) == (Wait(PhaseName.CUTOVER), "writes come")
    assert next_step(fold(state, approved)) == Do(PhaseName.CUTOVER)


CLAIMED = {same: Record(Kind.CLAIMED, data={"epoch": 2, "same_process": same}) for same in (True, False)}


@pytest.mark.parametrize(
    "stop",
    [CLAIMED[False], Record(Kind.PAUSED, data={"reason": "r"}), Record(Kind.HELD, data={"reason": "r"})],
    ids=["another process", "paused", "held"],
)
@pytest.mark.parametrize("sealed", [False, True])
def test_an_interrupted_cutover_needs_a_new_approval(stop: Record, sealed: bool) -> None:
    state = fold_all([CREATED, *done(*PHASES[:-1]), *SWITCH[: 2 + sealed]])
    assert next_step(fold(state, CLAIMED[True])) == Do(PhaseName.CUTOVER), "it goes on itself"
    state = fold(state, stop)
    if stop.kind is not Kind.CLAIMED:
        state = fold(state, Record(Kind.RESUMED, data={"by": "ann"}))
    assert (next_step(state), state.sealed) == (Wait(PhaseName.CUTOVER), False)
    assert ServiceName.APPLIER in services(state)


def test_what_follows_the_switch_needs_no_approval() -> None:
    switched = fold_all([CREATED, *done(*PHASES[:-1]), *SWITCH])
    assert next_step(fold(switched, CLAIMED[False])) == Verify(PhaseName.CUTOVER)


def test_a_cutover_ends_with_its_switch() -> None:
    state = fold_all([CREATED, *done(*PHASES[:-1]), *SWITCH[:2]])
    with pytest.raises(IllegalTransitionError, match="ends with its switch"):
        fold(state, Record(Kind.DONE, PhaseName.CUTOVER))
    with pytest.raises(IllegalTransitionError, match="cannot come now"):
        fold(state, Record(Kind.VERIFIED, PhaseName.CUTOVER))


ASKED = Record(Kind.APPROVAL_ASKED, PhaseName.CUTOVER)


def approval(state: State) -> Record:
    return Record(Kind.APPROVED, state.asked, {"by": "ann", "asked": state.asking})


def test_an_approval_names_what_it_answers() -> None:
    asked = fold(until(PhaseName.CUTOVER), ASKED)
    assert (asked.asked, asked.asking) == (PhaseName.CUTOVER, asked.records)
    approved = fold(asked, approval(asked))
    assert (next_step(approved), approved.asked, approved.asking) == (Do(PhaseName.CUTOVER), None, None)
    with pytest.raises(IllegalTransitionError, match="is not asked for by record 3"):
        fold(asked, Record(Kind.APPROVED, PhaseName.CUTOVER, {"by": "ann", "asked": 3}))


@pytest.mark.parametrize(
    "stop",
    [CLAIMED[False], Record(Kind.PAUSED, data={"reason": "r"}), Record(Kind.HELD, data={"reason": "r"})],
    ids=["another process", "paused", "held"],
)
def test_an_approval_outlives_neither_a_pause_nor_its_process(stop: Record) -> None:
    """Given while the run is about to stop, or between the approval and the phase's beginning."""
    asked = fold(until(PhaseName.CUTOVER), ASKED)
    late = approval(asked)
    for state in (asked, fold(asked, late)):
        stopped = fold(state, stop)
        if stop.kind is not Kind.CLAIMED:
            stopped = fold(stopped, Record(Kind.RESUMED, data={"by": "ann"}))
        assert (next_step(stopped), stopped.asked) == (Wait(PhaseName.CUTOVER), None)
        with pytest.raises(IllegalTransitionError):
            fold(fold(stopped, ASKED), late)


def test_an_approval_is_taken_back_before_the_switch() -> None:
    withdrawn = Record(Kind.APPROVAL_WITHDRAWN, PhaseName.CUTOVER, {"reason": "withdrawn by ann"})
    asked = fold(until(PhaseName.CUTOVER), ASKED)
    approved = fold(asked, approval(asked))
    sealed = fold_all([CREATED, *done(*PHASES[:-1]), *SWITCH[:3]])
    for state in (approved, sealed):
        back = fold(state, withdrawn)
        assert (next_step(back), back.sealed) == (Wait(PhaseName.CUTOVER), False)
    with pytest.raises(IllegalTransitionError, match="no approval of it can be taken back"):
        fold(fold(sealed, SWITCH[3]), withdrawn)


def test_another_projection_repeats_reconcile() -> None:
    claim = {p: Record(Kind.CLAIMED, data={"epoch": 2, "same_process": False, "projection": p}) for p in ("one", "two")}
    begun = fold_all([CREATED, claim["one"], *done(*PHASES[:-1])])
    assert next_step(fold(begun, claim["one"])) == Wait(PhaseName.CUTOVER)
    assert next_step(fold(begun, claim["two"])) == Do(PhaseName.RECONCILE)
    switched = fold_all([CREATED, claim["one"], *done(*PHASES[:-1]), *SWITCH])
    assert next_step(fold(switched, claim["two"])) == Verify(PhaseName.CUTOVER)
    rolling = fold(begun, Record(Kind.ROLLBACK, data={"reason": "r"}))
    assert next_step(fold(rolling, claim["two"])) == next_step(rolling)


def test_a_reseed_comes_before_anything_else_and_stops_the_services() -> None:
    state = fold(until(PhaseName.RECONCILE), Record(Kind.RESEED, data={"reason": "asked"}))
    assert (next_step(state), services(state)) == (Reseed(), frozenset())
    assert next_step(fold(state, Record(Kind.RESEEDED, data={"marked": 0}))) == Do(PhaseName.RECONCILE)


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (PhaseName.CAPTURE, frozenset()),
        (PhaseName.BACKFILL, {ServiceName.CAPTURE}),
        (PhaseName.CATCH_UP, {ServiceName.CAPTURE}),
        (PhaseName.CONSTRAIN, {ServiceName.CAPTURE, ServiceName.APPLIER}),
        (PhaseName.CUTOVER, {ServiceName.CAPTURE, ServiceName.APPLIER, ServiceName.RECONCILER}),
    ],
)
def test_services_follow_the_phases(phase: PhaseName, expected: frozenset[ServiceName]) -> None:
    assert services(until(phase)) == expected


def test_catch_ups_intent_starts_the_applier() -> None:
    state = fold(until(PhaseName.CATCH_UP), Record(Kind.INTENT, PhaseName.CATCH_UP))
    assert ServiceName.APPLIER in services(state)


@pytest.mark.parametrize(
    "record",
    [
        CREATED,
        Record(Kind.DONE, PhaseName.BACKFILL),
        Record(Kind.VERIFIED, PhaseName.BACKFILL),
        Record(Kind.INTENT, PhaseName.INDEX),
        Record(Kind.UNDO_INTENT, PhaseName.CAPTURE),
        Record(Kind.UNDONE, PhaseName.CAPTURE),
        Record(Kind.SEALED, PhaseName.BACKFILL),
        Record(Kind.SWITCHED, PhaseName.CUTOVER),
        Record(Kind.RESUMED, data={"by": "ann"}),
        Record(Kind.FINISHED),
        Record(Kind.ROLLED_BACK),
    ],
    ids=lambda record: record.kind.value,
)
def test_what_cannot_come_before_the_backfill(record: Record) -> None:
    with pytest.raises(IllegalTransitionError):
        fold(until(PhaseName.BACKFILL), record)


def test_nothing_comes_before_the_creation() -> None:
    with pytest.raises(IllegalTransitionError, match="first record"):
        fold(State(), Record(Kind.INTENT, PhaseName.PREFLIGHT))


RECORDS = st.builds(
    Record,
    st.sampled_from([kind for kind in Kind if kind is not Kind.CREATED]),
    st.sampled_from(PHASES),
    st.just({"reason": "r", "by": "ann", "epoch": 1, "marked": 0, "fingerprint": "g", "meaning": {}}),
)


@given(st.lists(RECORDS, max_size=60))
def test_no_sequence_of_records_leaves_the_engine_without_a_step(records: list[Record]) -> None:
    state = fold_all([CREATED])
    for record in records:
        ended = state.status in (RunStatus.FINISHED, RunStatus.ROLLED_BACK)
        try:
            state = fold(state, record)
        except IllegalTransitionError:
            continue
        assert not ended
        step = next_step(state)
        assert services(state) <= set(ServiceName)
        if isinstance(step, Do | Verify | Wait):
            before = PHASES[: PHASES.index(step.phase)]
            assert all(state.of(phase) is PhaseStatus.VERIFIED for phase in before)
        if state.switched:
            assert not isinstance(step, Do | Undo)
            assert ServiceName.APPLIER not in services(state)
        if step == Close(Kind.FINISHED):
            assert state.switched
