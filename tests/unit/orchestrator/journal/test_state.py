"""The fold: what each record does, and which cannot come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tranship.orchestrator.engine.inbox import refusal
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.fold import fold, fold_all
from tranship.orchestrator.journal.records import VERSION, Kind, Record
from tranship.orchestrator.journal.state import (
    ENDED,
    IllegalTransitionError,
    PhaseStatus,
    RunStatus,
    ServiceName,
    Side,
    State,
)
from tranship.orchestrator.journal.steps import Close, Do, Lift, Reseed, Stop, Undo, Verify, Wait, next_step, services
from tranship.plans.strategies import GROUPS, STRATEGIES, Group, PhaseName

PHASES = STRATEGIES["expand-contract"]
CREATED = Record(
    Kind.CREATED,
    data={
        "version": VERSION,
        "run": "r-1",
        "phases": [str(p) for p in PHASES],
        "approvals": ["cutover"],
        "fingerprint": "f",
        "meaning": {},
    },
)


CUTOVER = GROUPS[Group.CUTOVER]
BEFORE = PHASES[: -len(CUTOVER)]
"""The phases that are in no group."""


def done(*phases: PhaseName) -> list[Record]:
    """The records of phases that went well."""
    return [Record(kind, phase) for phase in phases for kind in (Kind.INTENT, Kind.DONE, Kind.VERIFIED)]


APPROVED = Record(Kind.APPROVED, Group.CUTOVER, {"by": "ann"})
SWITCH = (
    APPROVED,
    Record(Kind.INTENT, PhaseName.FENCE),
    Record(Kind.DONE, PhaseName.FENCE),
    Record(Kind.DONE, PhaseName.DRAIN),
    Record(Kind.DONE, PhaseName.VERIFY),
    Record(Kind.DONE, PhaseName.SEAL),
    Record(Kind.PIVOT_SENT, PhaseName.SWITCH, {"version": 1}),
    Record(Kind.PIVOTED, PhaseName.SWITCH),
)
"""The records of the cutover, up to its switch."""

SEALED, SENT, SWITCHED = SWITCH[:6], SWITCH[:7], SWITCH
LIFTED = Record(Kind.LIFTED, Group.CUTOVER)


def until(phase: PhaseName | Group) -> State:
    """The state right before a phase, or before a group of them."""
    first = GROUPS[phase][0] if isinstance(phase, Group) else phase
    return fold_all([CREATED, *done(*PHASES[: PHASES.index(first)])])


def cut_over(*records: Record) -> State:
    """The state after some of the cutover's records."""
    return fold_all([CREATED, *done(*BEFORE), *records])


def test_phases_come_in_order_and_each_is_verified() -> None:
    state = fold_all([CREATED])
    for phase in BEFORE:
        assert next_step(state) == Do(phase)
        state = fold(state, Record(Kind.INTENT, phase))
        assert next_step(state) == Do(phase)  # what a crash leaves is done again
        state = fold(state, Record(Kind.DONE, phase))
        assert next_step(state) == Verify(phase)
        state = fold(state, Record(Kind.VERIFIED, phase))
    assert next_step(state) == Wait(Group.CUTOVER)
    state = fold(state, APPROVED)
    assert next_step(state) == Do(PhaseName.FENCE)


def test_the_phases_of_a_group_have_one_intent_and_prove_each_other() -> None:
    """Behind the fence applications wait, so nothing is written that nobody needs."""
    state = fold(fold(until(Group.CUTOVER), APPROVED), Record(Kind.INTENT, PhaseName.FENCE))
    for phase in CUTOVER[:4]:
        assert next_step(state) == Do(phase)
        if phase is not PhaseName.FENCE:
            with pytest.raises(IllegalTransitionError, match="begins with its group"):
                fold(state, Record(Kind.INTENT, phase))
        state = fold(state, Record(Kind.DONE, phase))
        assert state.of(phase) is PhaseStatus.VERIFIED
    assert next_step(state) == Do(PhaseName.SWITCH)


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
    state = fold(until(Group.CUTOVER), APPROVED)
    switched = cut_over(*SWITCHED)
    rolling = fold(state, Record(Kind.ROLLBACK, data={"reason": "r"}))
    for late in (cut_over(*SENT), switched, rolling, fold(rolling, Record(Kind.PAUSED, data={"reason": "r"}))):
        with pytest.raises(IllegalTransitionError, match="cannot change"):
            fold(late, AMENDED)
    assert [s.undoing for s in (state, switched, rolling)] == [False, False, True]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (until(PhaseName.BACKFILL), "nothing is in quarantine yet"),
        (fold(until(PhaseName.BACKFILL), Record(Kind.INTENT, PhaseName.BACKFILL)), None),
        (until(Group.CUTOVER), None),
        (fold(until(Group.CUTOVER), Record(Kind.ROLLBACK, data={"reason": "r"})), "rolled back"),
        (replace(until(Group.CUTOVER), status=RunStatus.ROLLED_BACK), "rolled back"),
        (cut_over(*SWITCHED), "switch"),
    ],
)
def test_when_quarantine_may_be_read_anew(state: State, why: str | None) -> None:
    said = refusal(RequestKind.RETRY, state)
    assert said is None if why is None else why in (said or "")


@pytest.mark.parametrize("kind", [RequestKind.REPAIR, RequestKind.RESEED, RequestKind.RETRY, RequestKind.ROLLBACK])
def test_what_is_refused_after_the_switch(kind: RequestKind) -> None:
    assert "after the switch" in (refusal(kind, cut_over(*SWITCHED)) or "")
    assert refusal(kind, until(Group.CUTOVER)) is None


def test_a_reseed_needs_a_source_that_is_followed() -> None:
    refused = [refusal(RequestKind.RESEED, until(phase)) is not None for phase in PHASES[:4]]
    assert refused == [True, True, True, False], "until capture is done"


def test_the_switch_ends_its_phase_and_nothing_is_applied_after_the_seal() -> None:
    state = cut_over(*SEALED[:-1])
    assert services(state) == {ServiceName.CAPTURE, ServiceName.APPLIER}
    with pytest.raises(IllegalTransitionError, match="cannot come now"):
        fold(state, SENT[-1])
    state = cut_over(*SEALED)
    assert (next_step(state), services(state)) == (Do(PhaseName.SWITCH), {ServiceName.CAPTURE, ServiceName.APPLIER})
    with pytest.raises(IllegalTransitionError, match="no switch was sent"):
        fold(state, SWITCH[-1])
    state = cut_over(*SWITCHED)
    assert (next_step(state), state.primary) == (Do(PhaseName.OPEN), Side.TARGET)
    assert services(state) == {ServiceName.CAPTURE}
    with pytest.raises(IllegalTransitionError, match="lose the target's writes"):
        fold(state, Record(Kind.ROLLBACK, data={"reason": "too late"}))
    state = fold(state, Record(Kind.DONE, PhaseName.OPEN))
    assert next_step(state) == Verify(PhaseName.OPEN)
    state = fold(state, Record(Kind.VERIFIED, PhaseName.OPEN))
    assert next_step(state) == Close(Kind.FINISHED)
    assert next_step(fold(state, Record(Kind.FINISHED))) == Stop(RunStatus.FINISHED)


@pytest.mark.parametrize(
    "record",
    [
        Record(Kind.PAUSED, data={"reason": "r"}),
        Record(Kind.ROLLBACK, data={"reason": "r"}),
        Record(Kind.RESEED, data={"reason": "r"}),
        Record(Kind.APPROVAL_WITHDRAWN, Group.CUTOVER, {"reason": "r"}),
        Record(Kind.DONE, PhaseName.SWITCH),
        Record(Kind.FINISHED),
    ],
    ids=lambda record: record.kind.value,
)
def test_nothing_comes_between_a_pivot_and_the_look_at_it(record: Record) -> None:
    state = cut_over(*SENT)
    with pytest.raises(IllegalTransitionError):
        fold(state, record)
    assert (state.pivoting, state.switched, state.latest.version) == (True, False, 1)


def test_of_a_pivot_that_was_sent_the_server_is_asked() -> None:
    """By the same step that would lift it: of the two exactly one wins there."""
    for state in (cut_over(*SENT), fold(cut_over(*SENT), CLAIMED[False])):
        assert next_step(state) == Lift(Group.CUTOVER)
        assert fold(state, SWITCH[-1]).switched
        lifted = fold(state, LIFTED)
        assert (next_step(lifted), lifted.pivoting) == (Wait(Group.CUTOVER), False)
    held = fold(cut_over(*SENT), Record(Kind.HELD, data={"reason": "the source is away"}))
    assert next_step(held) == Stop(RunStatus.HELD)
    assert next_step(fold(held, Record(Kind.RESUMED, data={"by": "ann"}))) == Lift(Group.CUTOVER)


@pytest.mark.parametrize("phase", BEFORE)
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


@pytest.mark.parametrize("begun", range(2, len(SEALED) + 1))
def test_a_rollback_lifts_a_group_and_undoes_what_was_before_it(begun: int) -> None:
    state = fold(cut_over(*SEALED[:begun]), Record(Kind.ROLLBACK, data={"reason": "r"}))
    assert next_step(state) == Lift(Group.CUTOVER)
    with pytest.raises(IllegalTransitionError):
        fold(state, Record(Kind.UNDO_INTENT, PhaseName.FENCE))
    assert next_step(fold(state, LIFTED)) == Undo(PhaseName.RECONCILE)


def test_a_refused_cutover_is_lifted_and_needs_a_new_approval() -> None:
    state = cut_over(*SWITCH[:2])
    state = fold(state, Record(Kind.APPROVAL_WITHDRAWN, Group.CUTOVER, {"reason": "writes come"}))
    assert next_step(state) == Lift(Group.CUTOVER)
    state = fold(state, LIFTED)
    assert (next_step(state), state.reason) == (Wait(Group.CUTOVER), "writes come")
    assert next_step(fold(state, APPROVED)) == Do(PhaseName.FENCE)


CLAIMED = {same: Record(Kind.CLAIMED, data={"epoch": 2, "same_process": same}) for same in (True, False)}


@pytest.mark.parametrize(
    "stop",
    [CLAIMED[False], Record(Kind.PAUSED, data={"reason": "r"}), Record(Kind.HELD, data={"reason": "r"})],
    ids=["another process", "paused", "held"],
)
@pytest.mark.parametrize("begun", range(2, len(SEALED) + 1))
def test_an_interrupted_cutover_is_lifted_and_needs_a_new_approval(stop: Record, begun: int) -> None:
    state = cut_over(*SEALED[:begun])
    assert next_step(fold(state, CLAIMED[True])) == Do(CUTOVER[max(0, begun - 2)]), "it goes on itself"
    state = fold(state, stop)
    assert next_step(state) == Lift(Group.CUTOVER), "also while it rests: applications wait"
    state = fold(state, LIFTED)
    if stop.kind is not Kind.CLAIMED:
        assert isinstance(next_step(state), Stop)
        state = fold(state, Record(Kind.RESUMED, data={"by": "ann"}))
    assert (next_step(state), state.sealed) == (Wait(Group.CUTOVER), False)
    assert ServiceName.APPLIER in services(state)


def test_a_reseed_lifts_a_cutover_first() -> None:
    state = fold(cut_over(*SEALED), Record(Kind.RESEED, data={"reason": "asked"}))
    assert next_step(state) == Lift(Group.CUTOVER)
    assert next_step(fold(state, LIFTED)) == Reseed()


def test_what_follows_the_switch_needs_no_approval() -> None:
    assert next_step(fold(cut_over(*SWITCHED), CLAIMED[False])) == Do(PhaseName.OPEN)


def test_a_switch_ends_by_what_a_server_says() -> None:
    with pytest.raises(IllegalTransitionError, match="what a server says"):
        fold(cut_over(*SEALED), Record(Kind.DONE, PhaseName.SWITCH))
    with pytest.raises(IllegalTransitionError, match="not under way"):
        fold(cut_over(*SWITCHED), LIFTED)
    with pytest.raises(IllegalTransitionError, match="not under way"):
        fold(until(Group.CUTOVER), LIFTED)


ASKED = Record(Kind.APPROVAL_ASKED, Group.CUTOVER)


def approval(state: State) -> Record:
    return Record(Kind.APPROVED, state.asked, {"by": "ann", "asked": state.asking})


def test_an_approval_names_what_it_answers() -> None:
    asked = fold(until(Group.CUTOVER), ASKED)
    assert (asked.asked, asked.asking) == (Group.CUTOVER, asked.records)
    approved = fold(asked, approval(asked))
    assert (next_step(approved), approved.asked, approved.asking) == (Do(PhaseName.FENCE), None, None)
    with pytest.raises(IllegalTransitionError, match="is not asked for by record 3"):
        fold(asked, Record(Kind.APPROVED, Group.CUTOVER, {"by": "ann", "asked": 3}))


@pytest.mark.parametrize(
    "stop",
    [CLAIMED[False], Record(Kind.PAUSED, data={"reason": "r"}), Record(Kind.HELD, data={"reason": "r"})],
    ids=["another process", "paused", "held"],
)
def test_an_approval_outlives_neither_a_pause_nor_its_process(stop: Record) -> None:
    """Given while the run is about to stop, or between the approval and the phase's beginning."""
    asked = fold(until(Group.CUTOVER), ASKED)
    late = approval(asked)
    for state in (asked, fold(asked, late)):
        stopped = fold(state, stop)
        if stop.kind is not Kind.CLAIMED:
            stopped = fold(stopped, Record(Kind.RESUMED, data={"by": "ann"}))
        assert (next_step(stopped), stopped.asked) == (Wait(Group.CUTOVER), None)
        with pytest.raises(IllegalTransitionError):
            fold(fold(stopped, ASKED), late)


def test_an_approval_is_taken_back_before_the_switch() -> None:
    withdrawn = Record(Kind.APPROVAL_WITHDRAWN, Group.CUTOVER, {"reason": "withdrawn by ann"})
    asked = fold(until(Group.CUTOVER), ASKED)
    approved = fold(asked, approval(asked))
    assert next_step(fold(approved, withdrawn)) == Wait(Group.CUTOVER), "of what has not begun nothing is lifted"
    back = fold(cut_over(*SEALED), withdrawn)
    assert next_step(back) == Lift(Group.CUTOVER)
    assert (next_step(fold(back, LIFTED)), fold(back, LIFTED).sealed) == (Wait(Group.CUTOVER), False)
    with pytest.raises(IllegalTransitionError, match="no approval of it can be taken back"):
        fold(cut_over(*SWITCHED), withdrawn)


def test_another_projection_repeats_reconcile() -> None:
    claim = {p: Record(Kind.CLAIMED, data={"epoch": 2, "same_process": False, "projection": p}) for p in ("one", "two")}
    begun = fold_all([CREATED, claim["one"], *done(*BEFORE)])
    assert next_step(fold(begun, claim["one"])) == Wait(Group.CUTOVER)
    assert next_step(fold(begun, claim["two"])) == Do(PhaseName.RECONCILE)
    switched = fold_all([CREATED, claim["one"], *done(*BEFORE), *SWITCHED])
    assert next_step(fold(switched, claim["two"])) == Do(PhaseName.OPEN)
    attempted = fold(fold_all([CREATED, claim["one"], *done(*BEFORE), *SEALED]), claim["two"])
    assert next_step(attempted) == Lift(Group.CUTOVER)
    assert next_step(fold(attempted, LIFTED)) == Do(PhaseName.RECONCILE)
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
        (Group.CUTOVER, {ServiceName.CAPTURE, ServiceName.APPLIER, ServiceName.RECONCILER}),
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
        Record(Kind.DONE, PhaseName.SEAL),
        Record(Kind.PIVOT_SENT, PhaseName.SWITCH),
        Record(Kind.PIVOTED, PhaseName.SWITCH),
        LIFTED,
        Record(Kind.SEALED, Group.CUTOVER),
        Record(Kind.SWITCHED, Group.CUTOVER),
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
    st.sampled_from([*PHASES, *Group]),
    st.just({"reason": "r", "by": "ann", "epoch": 1, "marked": 0, "fingerprint": "g", "meaning": {}}),
)


@given(st.lists(RECORDS, max_size=60), st.sampled_from([(), SEALED, SENT, SWITCHED]))
def test_no_sequence_of_records_leaves_the_engine_without_a_step(records: list[Record], begun: list[Record]) -> None:
    state = cut_over(*begun) if begun else fold_all([CREATED])
    for record in records:
        ended, switched, pivoting = state.status in ENDED, state.switched, state.pivoting
        try:
            state = fold(state, record)
        except IllegalTransitionError:
            continue
        assert not ended
        step = next_step(state)
        assert services(state) <= set(ServiceName)
        if isinstance(step, Do | Verify):
            before = PHASES[: PHASES.index(step.phase)]
            assert all(state.of(phase) is PhaseStatus.VERIFIED for phase in before)
        if switched:
            assert state.switched, "there is no way back behind the pivot"
        if pivoting and not state.pivoting:
            assert record.kind in (Kind.PIVOTED, Kind.LIFTED), "only the record on the server ends it"
        if state.switched:
            assert not isinstance(step, Undo | Lift)
            assert ServiceName.APPLIER not in services(state)
        if step == Close(Kind.FINISHED):
            assert state.switched
