"""The engine at the cutover: what is switched, what is not, and what follows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.support import scope_of
from tests.unit.orchestrator.engine.engine_world import (
    RUN,
    World,
    approved,
    change_target,
    crashed_after,
    done_behind,
    in_quarantine,
    records,
    spoilt,
    thing,
)
from tranship.connectors.errors import RefusedError, TransientError
from tranship.connectors.keys import from_typed
from tranship.connectors.memory import MemoryProgress, MemorySource, MemoryStore
from tranship.connectors.memory.routing import MemoryRecords
from tranship.connectors.protocols import Changes, Mismatch, Owner, Position, Routing, RoutingRecord, Watch
from tranship.connectors.watches import GeneratedWatch
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.journal.state import PhaseStatus, RunStatus, State
from tranship.orchestrator.phases.cutover import checks, fence, routing
from tranship.orchestrator.services import reconciler
from tranship.plans.strategies import Group, PhaseName
from tranship.plans.streams import LogicalType, Stream


def withdrawn(world: World) -> str:
    """Why the cutover was refused, once it is asked for again: an approval before that is ignored."""
    world.wait(lambda: any(e.record.kind is Kind.APPROVAL_WITHDRAWN for e in world.control.entries))
    world.wait_for_approval()
    assert not world.engine.state.switched
    return world.engine.state.reason


def verified(record: Record) -> bool:
    return (record.kind, record.phase) == (Kind.DONE, PhaseName.VERIFY)


def sealed(record: Record) -> bool:
    return (record.kind, record.phase) == (Kind.DONE, PhaseName.SEAL)


def dirty(world: World) -> int:
    return MemoryProgress(world.store).backlog(scope_of(world.store, RUN)).dirty


# --- before the switch ------------------------------------------------------------------------------------------------


def test_cutover_is_refused_while_writes_come_and_asks_again(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.01):
            world.store.documents.put("things", thing(1, "busy"))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    world.approve()
    assert "still written to" in withdrawn(world)
    stop.set()
    writer.join()
    world.approve()
    assert world.finish(thread).status is RunStatus.FINISHED


def test_the_quiet_time_is_not_that_of_before_a_pause(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Capture has not looked since; a writer who pauses for a little less than the quiet time would never be seen."""
    quiet = world.plan.cutover.model_copy(update={"quiet": 1.0})
    world.plan = world.plan.model_copy(update={"cutover": quiet})
    world.again()
    thread = world.start()
    world.wait_for_approval()
    world.wait(lambda: MemoryProgress(world.store).backlog(scope_of(world.store, RUN)).quiet_s > 1.1)
    world.engine.interrupt.set()
    world.finish(thread)
    world.put(7, "while paused")
    world.again()
    quiet_for: list[float] = []
    changes = MemorySource.changes

    def late(self: MemorySource, streams: Sequence[Stream], since: Position) -> Iterator[Changes]:
        """A server looks through its history first."""
        world.wait(lambda: world.engine.state.of(PhaseName.FENCE) is not PhaseStatus.PENDING)
        threading.Event().wait(0.3)
        yield from changes(self, streams, since)

    def watch(self: MemorySource, streams: Sequence[Stream], since: Position) -> Watch:
        return GeneratedWatch(lambda _: late(self, streams, since))

    monkeypatch.setattr(MemorySource, "changes", watch)

    def look() -> None:
        quiet_for.append(MemoryProgress(world.store).backlog(scope_of(world.store, RUN)).quiet_s)

    with done_behind(monkeypatch, sealed, look):
        thread = world.start()
        world.approve()
        assert world.finish(thread).status is RunStatus.FINISHED
    assert quiet_for[0] >= 1.0


def test_what_is_quarantined_at_the_last_moment_is_not_switched_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looks = fence.check_quarantine, list[Run]()

    def check(run: Run) -> None:
        look(run)
        looks.append(run)
        if len(looks) == 1:
            world.store.documents.put_unmappable("things", spoilt(3))  # a writer's last write, before it is stopped
            world.wait(lambda: dirty(world) == 1 or bool(in_quarantine(world)))

    monkeypatch.setattr(fence, "check_quarantine", check)
    thread = approved(world)
    assert "1 documents are in quarantine" in withdrawn(world)
    assert in_quarantine(world) == {spoilt(3).key}
    world.engine.interrupt.set()
    world.finish(thread)


def test_a_write_behind_the_seal_is_applied_and_refuses_the_switch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with done_behind(monkeypatch, sealed, lambda: world.put(7, "late")):
        thread = approved(world)
        assert "a write came to the source during the cutover" in withdrawn(world)
    world.wait(lambda: world.rows()[7] == "late")
    world.approve()
    assert world.finish(thread).status is RunStatus.FINISHED


def test_a_marker_that_is_late_asks_for_a_new_approval(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MARKER_LIMIT_S", 0.3)
    put, names = MemorySource.put_marker, list[str]()

    def lost(self: MemorySource, name: str) -> None:
        names.append(name)
        if len(names) != 4:  # behind capture's, the quiet time's and the drain's: the first one behind the seal
            put(self, name)

    monkeypatch.setattr(MemorySource, "put_marker", lost)
    thread = approved(world)
    assert "waited 0.3 s for a marker" in withdrawn(world)
    world.approve()
    assert world.finish(thread).status is RunStatus.FINISHED


def touched(world: World) -> int:
    progress, scope = MemoryProgress(world.store), scope_of(world.store, RUN)
    return len(progress.touched(scope, world.engine.streams[0], None, 100))


def test_what_is_applied_while_the_run_waits_is_compared_before_the_cutover(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "PAUSE_S", 0.05)
    thread = world.start()
    world.wait_for_approval()
    for number in range(10):
        world.put(number, f"again {number}")
    world.wait(lambda: world.rows()[9] == "again 9" and dirty(world) == 0)
    world.wait(lambda: touched(world) == 0)
    world.approve()
    state = world.finish(thread)
    assert (state.status, state.facts[PhaseName.VERIFY]["compared"]) == (RunStatus.FINISHED, 0)


def test_what_differs_while_the_run_waits_is_left_to_the_cutover(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.put(7, "seven")
    world.wait(lambda: world.rows()[7] == "seven")
    change_target(world, 7, "corrupt")
    world.engine.interrupt.set()
    world.finish(thread)
    monkeypatch.setattr(reconciler, "PAUSE_S", 0.05)
    world.again()
    thread = world.start()
    world.put(8, "eight")
    world.wait(lambda: world.rows()[8] == "eight")
    world.wait(lambda: touched(world) == 1)
    world.wait_for_approval()
    world.approve()
    state = world.finish(thread)
    assert state.status is RunStatus.ROLLED_BACK
    assert "1 of the compared rows diverge" in state.reason


def test_a_divergence_at_the_cutover_is_never_switched_over(world: World) -> None:
    pausing = world.plan.rollback.model_copy(update={"on_failure": "pause"})
    world.plan = world.plan.model_copy(update={"rollback": pausing})
    world.again()
    thread = world.start()
    world.wait_for_approval()
    world.put(7, "seven")
    world.wait(lambda: world.rows()[7] == "seven")
    change_target(world, 7, "corrupt")
    world.approve()
    state = world.finish(thread)
    assert (state.status, state.switched) == (RunStatus.PAUSED, False)
    assert "1 of the compared rows diverge" in state.reason

    lenient = world.plan.reconcile.model_copy(update={"max_divergences": 1})
    world.plan = world.plan.model_copy(update={"reconcile": lenient})
    world.again()
    thread = world.start()
    world.wait(lambda: world.engine.state.asked is Group.CUTOVER)
    assert not world.engine.state.switched, "what was approved was another attempt"
    world.approve()
    assert world.finish(thread).switched


# --- the switch and after it ------------------------------------------------------------------------------------------


def test_an_approval_of_an_earlier_asking_is_answered_with_nothing(world: World) -> None:
    """Given while the run is about to pause: the next run must not switch without a question."""
    thread = world.start()
    world.wait_for_approval()
    asking = world.engine.state.asking
    world.engine.interrupt.set()
    assert world.finish(thread).status is RunStatus.PAUSED
    world.control.request(RUN, RequestKind.APPROVE, asking)
    world.again()
    thread = world.start()
    world.wait(lambda: bool(records(world, Kind.IGNORED)))
    assert "not asked any more" in records(world, Kind.IGNORED)[0]["reason"]
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.PAUSE)
    assert not world.finish(thread).switched


def test_an_approval_that_a_crash_overtook_is_asked_for_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the moment between the approval and the phase's intent."""
    thread = world.start()
    with done_behind(monkeypatch, lambda r: r.kind is Kind.APPROVED, world.engine.interrupt.set):
        world.approve()
        assert world.finish(thread).status is RunStatus.PAUSED
    world.again()
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.PAUSE)
    assert not world.finish(thread).switched


def test_an_approval_is_taken_back_in_the_middle_of_the_cutover(world: World) -> None:
    patient = world.plan.cutover.model_copy(update={"quiet": 60.0, "deadline": 600.0})
    world.plan = world.plan.model_copy(update={"cutover": patient})
    world.again()
    thread = approved(world)
    world.wait(lambda: world.engine.state.of(PhaseName.FENCE) is PhaseStatus.DOING)
    world.control.request(RUN, RequestKind.WITHDRAW)
    assert "withdrawn by test" in withdrawn(world)
    world.put(7, "goes on")
    world.wait(lambda: world.rows()[7] == "goes on")
    world.control.request(RUN, RequestKind.WITHDRAW)
    world.wait(lambda: bool(records(world, Kind.IGNORED)))
    world.control.request(RUN, RequestKind.PAUSE)
    assert not world.finish(thread).switched


def noted(world: World) -> None:
    """A comparison beside the run has found a row that differs."""
    scope = scope_of(world.store, RUN)
    found = Mismatch("things", from_typed(LogicalType.INT64, 7), "different", ("name",))
    MemoryProgress(world.store).note_divergences(scope, [found], ())


def test_an_approval_over_rows_that_are_known_to_differ_is_answered_with_nothing(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    noted(world)
    world.approve()
    world.wait(lambda: bool(records(world, Kind.IGNORED)))
    assert "1 rows are known to differ" in records(world, Kind.IGNORED)[0]["reason"]
    assert not records(world, Kind.APPROVED)
    world.control.request(RUN, RequestKind.PAUSE)
    assert world.finish(thread).status is RunStatus.PAUSED


def is_approved(record: Record) -> bool:
    return record.kind is Kind.APPROVED


@pytest.mark.parametrize("before", [is_approved, verified, sealed])
def test_what_is_found_once_the_cutover_is_approved_withdraws_it(
    world: World, monkeypatch: pytest.MonkeyPatch, before: Callable[[Record], bool]
) -> None:
    with done_behind(monkeypatch, before, lambda: noted(world)):
        thread = approved(world)
        assert "1 rows are known to differ" in withdrawn(world) or "1 are known to differ" in withdrawn(world)
        world.control.request(RUN, RequestKind.PAUSE)
        state = world.finish(thread)
    assert not state.switched


def test_a_key_that_is_applied_behind_the_last_comparison_refuses_the_seal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has looked at it, and behind the seal nobody would (`rules.md` J7)."""

    def write() -> None:
        world.put(7, "late")
        world.wait(lambda: world.rows()[7] == "late" and dirty(world) == 0)

    with done_behind(monkeypatch, verified, write):
        thread = approved(world)
        assert "1 that were applied are not compared" in withdrawn(world)
    world.approve()
    assert world.finish(thread).switched


def test_reconcile_goes_by_what_it_has_found_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison beside it puts something on record between its end and its verification."""
    done = (Kind.DONE, PhaseName.RECONCILE)
    with done_behind(monkeypatch, lambda r: (r.kind, r.phase) == done, lambda: noted(world)):
        thread = world.start()
        world.wait_for_approval()
    assert world.engine.state.of(PhaseName.RECONCILE) is PhaseStatus.VERIFIED
    world.control.request(RUN, RequestKind.PAUSE)
    world.finish(thread)


def test_a_crash_right_after_the_switch_does_not_switch_twice(world: World) -> None:
    crashed_after(world, RequestKind.APPROVE, Kind.PIVOTED, keep_route=True)
    before = len(world.control.entries)
    world.again()
    assert world.finish(world.start()).status is RunStatus.FINISHED
    later = [(e.record.kind, e.record.phase) for e in world.control.entries][before:]
    assert later == [OPENED[0], *OPENED[1:]]


OPENED = [(Kind.CLAIMED, None), (Kind.DONE, PhaseName.OPEN), (Kind.VERIFIED, PhaseName.OPEN), (Kind.FINISHED, None)]


def test_a_crash_between_the_swap_and_its_record_is_a_switch(world: World) -> None:
    """The journal does not know; the source's record does."""
    crashed_after(world, RequestKind.APPROVE, Kind.PIVOT_SENT, keep_route=True)
    before = len(world.control.entries)
    world.again()
    assert world.finish(world.start()).status is RunStatus.FINISHED
    later = [(e.record.kind, e.record.phase) for e in world.control.entries][before:]
    assert later == [OPENED[0], (Kind.PIVOTED, PhaseName.SWITCH), *OPENED[1:]]


def test_a_crash_before_the_swap_is_lifted_and_a_late_swap_changes_nothing(world: World) -> None:
    crashed_after(world, RequestKind.APPROVE, Kind.PIVOT_SENT)
    world.again()
    thread = world.start()
    world.wait_for_approval()
    source = MemorySource(world.store).records
    id = world.engine.state.id  # noqa: A001
    assert source.read(id) == RoutingRecord(Routing.PRIMARY, 2)
    assert not source.swap(id, RoutingRecord(Routing.FENCED, 1), RoutingRecord(Routing.HANDED_OVER, 1)), "it was late"
    world.put(7, "goes on")
    world.wait(lambda: world.rows()[7] == "goes on")
    world.approve()
    assert world.finish(thread).switched


def test_a_rehearsal_does_all_up_to_the_pivot_and_lifts(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    asked = world.engine.state.asking
    world.control.request(RUN, RequestKind.REHEARSE, asked)
    assert "rehearsed by test: the switch would have come" in withdrawn(world)
    assert done_phases(world)[-1] is PhaseName.SEAL
    found = MemorySource(world.store).records.read(world.engine.state.id)
    assert found is not None
    assert found.state is Routing.PRIMARY
    world.put(7, "written behind it")
    world.approve()
    assert world.finish(thread).switched


def test_a_rehearsal_answers_one_asking_only(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.REHEARSE, (world.engine.state.asking or 0) - 1)
    world.wait(lambda: bool(records(world, Kind.IGNORED)))
    assert "not asked any more" in records(world, Kind.IGNORED)[0]["reason"]
    world.approve()
    assert world.finish(thread).switched


def done_phases(world: World) -> list[object]:
    return [entry.record.phase for entry in world.control.entries if entry.record.kind is Kind.DONE]


@pytest.mark.parametrize("landed", [False, True])
def test_a_fence_that_lands_behind_its_lift_changes_nothing(landed: bool) -> None:
    """Sent by a process that died, and on its way when the next one lifts."""
    source = MemorySource(MemoryStore())
    records = source.records
    primary, fenced = RoutingRecord(Routing.PRIMARY, 0), RoutingRecord(Routing.FENCED, 1)
    records.begin(Owner("1", "small-1", "target", "state"), primary)
    if landed:
        assert records.swap("1", primary, fenced)
    assert routing.take_back(source, "1") == records.read("1")
    assert not records.swap("1", primary, fenced)
    found = records.read("1")
    assert found is not None
    assert found.state is Routing.PRIMARY


def test_a_switch_that_nobody_can_read_is_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it took place, only the source knows, and that is away: nobody guesses, and nobody is asked to."""
    crashed_after(world, RequestKind.APPROVE, Kind.PIVOT_SENT, keep_route=True)

    def away(*_: object) -> None:
        raise TransientError("the source is away")

    hasty = world.plan.limits.model_copy(update={"patience": 0.1})
    world.plan = world.plan.model_copy(update={"limits": hasty})
    world.again()
    with monkeypatch.context() as patch:
        patch.setattr(MemoryRecords, "read", away)
        world.control.request(RUN, RequestKind.ROLLBACK)
        state = world.finish(world.start())
    assert (state.status, state.switched, state.pivoting) == (RunStatus.HELD, False, True)
    assert "whether the switch took place is not known" in state.reason
    world.again()
    state = world.finish(world.start(held_too=True))
    assert (state.status, state.switched) == (RunStatus.FINISHED, True)
    assert "has no effect" in records(world, Kind.IGNORED)[0]["reason"], "the rollback came too late"


def test_a_switch_that_came_too_late_is_lifted_and_asked_for_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard was first: the record, which can be read, says so, and writers go on on the source."""
    source = MemorySource(world.store)
    sent = lambda record: record.kind is Kind.PIVOT_SENT  # noqa: E731
    with done_behind(monkeypatch, sent, lambda: routing.take_back(source, world.engine.state.id)):
        thread = approved(world)
        world.wait(lambda: bool(records(world, Kind.LIFTED)))
    assert not world.engine.state.switched
    world.approve()
    state = world.finish(thread)
    assert (state.status, state.switched) == (RunStatus.FINISHED, True)
    assert not records(world, Kind.HELD)


def test_who_does_not_wait_for_the_source_leaves_the_switch_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of an outage, between the swap and the look at it."""
    crashed_after(world, RequestKind.APPROVE, Kind.PIVOT_SENT, keep_route=True)
    world.again()

    def away(*_: object) -> str:
        world.engine.interrupt.set()
        raise TransientError("the source is away")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryRecords, "read", away)
        patch.setattr("tranship.orchestrator.phases.cutover.lift.GONE_S", 0.1)
        state = world.finish(world.start())
    assert (state.status, state.pivoting) == (RunStatus.HELD, True)
    assert "interrupted" in state.reason
    world.again()
    assert world.finish(world.start(held_too=True)).switched


@pytest.mark.parametrize("phase", [PhaseName.FENCE, PhaseName.DRAIN, PhaseName.VERIFY, PhaseName.SEAL])
@pytest.mark.parametrize("request_kind", [RequestKind.PAUSE, RequestKind.ROLLBACK])
def test_a_cutover_is_lifted_wherever_it_stops(
    world: World, monkeypatch: pytest.MonkeyPatch, phase: PhaseName, request_kind: RequestKind
) -> None:
    """A fence that stays would keep applications waiting."""
    done = lambda record: (record.kind, record.phase) == (Kind.DONE, phase)  # noqa: E731
    with done_behind(monkeypatch, done, lambda: world.control.request(RUN, request_kind)):
        state = world.finish(approved(world))
    ends = {RequestKind.PAUSE: RunStatus.PAUSED, RequestKind.ROLLBACK: RunStatus.ROLLED_BACK}
    assert (state.status, state.latest.attempt) == (ends[request_kind], None)
    assert len(records(world, Kind.LIFTED)) == 1
    left = MemorySource(world.store).records.records()
    assert [record for _, record in left] == ([] if state.undone_for else [RoutingRecord(Routing.PRIMARY, 2)])
    assert not world.store.state.feed(scope_of(world.store, RUN)).sealed


def test_nothing_is_applied_behind_the_switch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def applications_move_on() -> None:
        change_target(world, 7, "written on the target")
        world.put(7, "stray")
        world.wait(lambda: dirty(world) == 1 or world.rows()[7] == "stray")

    with done_behind(monkeypatch, lambda record: record.kind is Kind.PIVOTED, applications_move_on):
        state = world.finish(approved(world))
    assert world.rows()[7] == "written on the target"
    assert state.status is RunStatus.HELD
    assert "1 keys were written on the source after the switch" in state.reason


def held_after_the_switch(world: World) -> State:
    """A run whose source was written to after the switch."""
    crashed_after(world, RequestKind.APPROVE, Kind.PIVOTED, keep_route=True)
    world.put(7, "rogue")
    world.again()
    return world.finish(world.start())


def test_a_write_after_the_switch_is_held_for_a_person(world: World) -> None:
    state = held_after_the_switch(world)
    assert state.status is RunStatus.HELD
    assert "1 keys were written on the source after the switch" in state.reason
    assert world.rows()[7] == "name 7"
    world.again()
    assert world.finish(world.start(held_too=True)).status is RunStatus.FINISHED


def test_markers_that_cannot_be_dropped_keep_no_run_from_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: MemorySource, *__: object) -> None:
        raise RefusedError("writes are blocked")

    monkeypatch.setattr(MemorySource, "drop_markers", refuse)
    assert world.finish(approved(world)).status is RunStatus.FINISHED
