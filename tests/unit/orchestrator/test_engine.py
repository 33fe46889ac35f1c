"""The engine over the memory pair: the whole life of a run, and every way out of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import MemoryControl, memory_connect, scope_of
from tranship.connectors.batch import Batch, Quarantined
from tranship.connectors.errors import EpochMovedError, RefusedError, SourceChangedError, TransientError
from tranship.connectors.keys import from_typed
from tranship.connectors.memory import Fate, MemoryProgress, MemorySource, MemoryStore, MemoryTarget
from tranship.connectors.protocols import NAMELESS, Changes, Finding, Mismatch, Position, Span
from tranship.orchestrator import retry
from tranship.orchestrator.amendment import PlanChangedError
from tranship.orchestrator.control import RequestKind
from tranship.orchestrator.engine import Engine
from tranship.orchestrator.phases import PreflightError, catch_up
from tranship.orchestrator.records import Kind, Record
from tranship.orchestrator.state import PhaseStatus, RunStatus, State
from tranship.plans import Plan, load, resolve
from tranship.plans.strategies import PhaseName
from tranship.plans.streams import LogicalType, Rest, Stream

PLAN = """
version: 1
plan: small
source: {mongodb: "mongodb://h/", database: d}
target: {postgresql: "postgresql://h/d", schema: s}
streams:
  things:
    key: {_id: int64}
    columns: {name: text, code: {type: text, unique: true}}
cutover: {quiet: 100ms, deadline: 2s}
rollback: {on_failure: rollback}
limits: {chunk: 64KiB, lease: 2s}
"""

RUN = "small-1"
LIMIT_S = 20.0


def thing(number: int, name: str) -> dict[str, object]:
    key = from_typed(LogicalType.INT64, number)
    return {"_key": key, "_id": number, "name": name, "code": f"code {number}", "_residue": None}


@dataclass
class World:
    """An engine in a thread, and what it works on."""

    plan: Plan
    store: MemoryStore
    control: MemoryControl
    engine: Engine
    result: list[State | Exception]

    def start(self, *, held_too: bool = False) -> threading.Thread:
        def work() -> None:
            try:
                self.result.append(self.engine.execute(RUN, "test", held_too=held_too))
            except Exception as error:  # noqa: BLE001  handed to the test's thread
                self.result.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def again(self) -> None:
        """A new engine, as after a restart of the process."""
        self.engine = Engine(self.plan, self.engine.streams, self.engine.connect, self.control, 2.0)
        self.result.clear()

    def finish(self, thread: threading.Thread) -> State:
        thread.join(LIMIT_S)
        assert not thread.is_alive(), (
            f"still {self.engine.state.status}: {[e.record.kind for e in self.control.entries]}"
        )
        outcome = self.result[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def wait(self, condition: Callable[[], bool]) -> None:
        pulse = threading.Event()
        for _ in range(int(LIMIT_S / 0.02)):
            if condition():
                return
            assert not self.result, self.result
            pulse.wait(0.02)
        raise AssertionError(f"did not come: {[e.record.kind for e in self.control.entries]}")

    def wait_for_approval(self) -> None:
        self.wait(lambda: self.engine.state.asked is PhaseName.CUTOVER)

    def rows(self) -> dict[object, object]:
        stream = self.engine.streams[0]
        return {row["_id"]: row["name"] for row in self.store.state.table(stream).values()}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(retry, "GIVE_UP_AFTER_S", 0.5)
    monkeypatch.setattr(catch_up, "STEADY_S", 0.05)
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    plan = load(path)
    streams = resolve(plan)
    store = MemoryStore()
    for number in range(50):
        store.documents.put("things", thing(number, f"name {number}"))
    control = MemoryControl(store)
    made = World(plan, store, control, Engine(plan, streams, memory_connect(store, streams), control, 2.0), [])
    yield made
    made.engine.interrupt.set()


def test_a_run_waits_at_its_approval_and_follows_the_source_meanwhile(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.store.documents.put("things", thing(7, "seven"))
    world.store.documents.delete("things", from_typed(LogicalType.INT64, 8))
    world.wait(lambda: world.rows().get(7) == "seven" and 8 not in world.rows())
    world.control.request(RUN, RequestKind.APPROVE)
    state = world.finish(thread)
    assert state.status is RunStatus.FINISHED
    assert state.switched
    assert len(world.rows()) == 49
    assert state.approved == {PhaseName.CUTOVER: "test"}
    assert state.facts[PhaseName.RECONCILE]["rows"] == 50


def test_a_crash_right_after_the_switch_does_not_switch_twice(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.APPROVE)
    world.finish(thread)
    kinds = [e.record.kind for e in world.control.entries]
    del world.control.entries[kinds.index(Kind.SWITCHED) + 1 :]
    world.again()
    assert world.finish(world.start()).status is RunStatus.FINISHED
    later = [(e.record.kind, e.record.phase) for e in world.control.entries][kinds.index(Kind.SWITCHED) + 1 :]
    assert later == [(Kind.CLAIMED, None), (Kind.VERIFIED, PhaseName.CUTOVER), (Kind.FINISHED, None)]


def test_a_write_after_the_switch_is_held_for_a_person(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.APPROVE)
    world.finish(thread)
    kinds = [e.record.kind for e in world.control.entries]
    del world.control.entries[kinds.index(Kind.SWITCHED) + 1 :]
    world.store.documents.put("things", thing(7, "rogue"))
    world.again()
    state = world.finish(world.start())
    assert state.status is RunStatus.HELD
    assert "1 keys were written on the source after the switch" in state.reason
    assert world.rows()[7] == "name 7"
    world.again()
    assert world.finish(world.start(held_too=True)).status is RunStatus.FINISHED


def test_a_divergence_rolls_back_and_leaves_the_target_as_it_was(world: World) -> None:
    thread = world.start()
    world.wait(lambda: world.engine.state.of(PhaseName.INDEX) is not PhaseStatus.PENDING)
    table = world.store.state.table(world.engine.streams[0])
    key = from_typed(LogicalType.INT64, 3)
    table[key] = {**table[key], "name": "corrupt"}
    state = world.finish(thread)
    assert state.status is RunStatus.ROLLED_BACK
    progress = MemoryProgress(world.store)
    found = progress.divergences(scope_of(world.store, RUN))
    assert [(d.key, d.kind, d.columns) for d in found] == [(key, "different", ("name",))]
    assert not world.store.state.catalog
    undone = [e.record.phase for e in world.control.entries if e.record.kind is Kind.UNDONE]
    assert undone == list(reversed(state.phases[:8]))
    assert "1 rows diverge" in state.reason


def test_repair_makes_divergent_rows_equal(world: World) -> None:
    world.plan = world.plan.model_copy(
        update={"reconcile": world.plan.reconcile.model_copy(update={"on_divergence": "repair"})}
    )
    world.again()
    thread = world.start()
    world.wait(lambda: world.engine.state.of(PhaseName.INDEX) is not PhaseStatus.PENDING)
    table = world.store.state.table(world.engine.streams[0])
    key = from_typed(LogicalType.INT64, 3)
    table[key] = {**table[key], "name": "corrupt"}
    world.wait_for_approval()
    assert world.rows()[3] == "name 3"
    assert world.engine.state.facts[PhaseName.RECONCILE]["repaired"] == 1
    world.control.request(RUN, RequestKind.ROLLBACK)
    assert world.finish(thread).status is RunStatus.ROLLED_BACK


def test_cutover_is_refused_while_writes_come_and_asks_again(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.01):
            world.store.documents.put("things", thing(1, "busy"))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    world.control.request(RUN, RequestKind.APPROVE)
    world.wait(lambda: any(e.record.kind is Kind.APPROVAL_WITHDRAWN for e in world.control.entries))
    assert "still written to" in world.engine.state.reason
    assert not world.engine.state.switched
    stop.set()
    writer.join()
    world.control.request(RUN, RequestKind.APPROVE)
    assert world.finish(thread).status is RunStatus.FINISHED


def test_a_run_that_ended_while_its_lease_was_waited_for_is_left_alone(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.ROLLBACK)
    world.finish(thread)
    before = list(world.control.entries)
    world.again()
    assert world.finish(world.start()).status is RunStatus.ROLLED_BACK
    assert world.control.entries == before


def test_pause_and_go_on(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.PAUSE)
    assert world.finish(thread).status is RunStatus.PAUSED
    world.store.documents.put("things", thing(99, "while paused"))
    world.again()
    thread = world.start()
    world.wait(lambda: world.rows().get(99) == "while paused")
    world.engine.interrupt.set()
    assert world.finish(thread).status is RunStatus.PAUSED


def test_a_plan_with_another_meaning_is_refused(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.engine.interrupt.set()
    world.finish(thread)
    changed = dict(world.plan.streams)
    changed["things"] = changed["things"].model_copy(update={"table": "others"})
    world.plan = world.plan.model_copy(update={"streams": changed})
    world.again()
    before = list(world.control.entries)
    with pytest.raises(PlanChangedError, match="table"):
        world.finish(world.start())
    assert [e.record.kind for e in world.control.entries[len(before) :]] == [Kind.CLAIMED]


# --- quarantine ------------------------------------------------------------------------------------------------------


def spoilt(number: int, document: bytes = b"...") -> Quarantined:
    return Quarantined(from_typed(LogicalType.INT64, number), "name", "double instead of string", document)


NAMELESS_ONE = Quarantined(NAMELESS + bytes(32), "", "malformed", b"\xff")


def fits_now(world: World, number: int, name: str) -> None:
    """A document fits without having changed, as after a change of the plan: there is no event of it."""
    row = thing(number, name)
    world.store.documents._current["things"][row["_key"]] = row  # type: ignore[index]


def in_quarantine(world: World) -> set[bytes]:
    entries = MemoryProgress(world.store).quarantine(scope_of(world.store, RUN), world.engine.streams[0], None, 100)
    return {entry.key for entry in entries}


def records(world: World, kind: Kind) -> list[Mapping[str, Any]]:
    return [entry.record.data for entry in world.control.entries if entry.record.kind is kind]


def with_rest(world: World, rest: Rest) -> None:
    """The plan's file is edited."""
    stream = world.plan.streams["things"]
    changed = stream.model_copy(update={"rest": stream.rest.model_copy(update={"policy": rest})})
    world.plan = world.plan.model_copy(update={"streams": {"things": changed}})
    world.engine = Engine(world.plan, resolve(world.plan), world.engine.connect, world.control, 2.0)


def test_reconcile_counts_what_is_kept_aside(world: World) -> None:
    for entry in (spoilt(100), spoilt(101), NAMELESS_ONE):
        world.store.documents.put_unmappable("things", entry)
    thread = world.start()
    world.wait_for_approval()
    facts = world.engine.state.facts[PhaseName.RECONCILE]
    assert facts["streams"] == {"things": {"documents": 53, "rows": 50, "quarantined": 3}}
    assert (facts["rows"], facts["quarantined"], facts["divergences"]) == (50, 3, 0)
    world.engine.interrupt.set()
    world.finish(thread)


def test_counts_add_up_although_both_sides_are_read_at_different_times(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key is counted at the look that found it equal."""
    world.store.documents.put_unmappable("things", spoilt(101))
    read = MemoryTarget.read
    changes = iter([True])

    def later(self: MemoryTarget, stream: Stream, span: Span) -> Iterator[Batch]:
        if next(changes, False):
            world.store.documents.put("things", thing(100, "new"))
            world.store.documents.put("things", thing(101, "no longer odd"))
            world.store.documents.put_unmappable("things", spoilt(3))
            world.store.documents.delete("things", from_typed(LogicalType.INT64, 8))
            wait_for = {*range(50), 100, 101} - {3, 8}
            world.wait(lambda: set(world.rows()) == wait_for and in_quarantine(world) == {spoilt(3).key})
        yield from read(self, stream, span)

    monkeypatch.setattr(MemoryTarget, "read", later)
    thread = world.start()
    world.wait_for_approval()
    facts = world.engine.state.facts[PhaseName.RECONCILE]
    assert facts["streams"] == {"things": {"documents": 51, "rows": 50, "quarantined": 1}}
    assert (facts["suspects"], facts["divergences"], facts["moving"]) == (4, 0, 0)
    world.engine.interrupt.set()
    world.finish(thread)


@pytest.mark.parametrize("change", ["gone", "other bytes", "stale"])
def test_an_entry_that_is_wrong_is_repaired(world: World, change: str) -> None:
    reconcile = world.plan.reconcile.model_copy(update={"on_divergence": "repair"})
    world.plan = world.plan.model_copy(update={"reconcile": reconcile})
    world.again()
    world.store.documents.put_unmappable("things", spoilt(100))
    thread = world.start()
    world.wait(lambda: world.engine.state.of(PhaseName.INDEX) is not PhaseStatus.PENDING)
    scope = scope_of(world.store, RUN)
    entries = world.store.state.round(scope).quarantine
    if change == "gone":
        del entries["things", spoilt(100).key]
    else:
        entry = spoilt(3) if change == "stale" else spoilt(100, b"other")
        entries["things", entry.key] = entry
    world.wait_for_approval()
    facts = world.engine.state.facts[PhaseName.RECONCILE]
    assert (facts["repaired"], facts["divergences"]) == (1, 0)
    assert facts["streams"] == {"things": {"documents": 51, "rows": 50, "quarantined": 1}}
    assert MemoryProgress(world.store).quarantined(scope, world.engine.streams[0], spoilt(100).key) == spoilt(100)
    assert in_quarantine(world) == {spoilt(100).key}
    world.engine.interrupt.set()
    world.finish(thread)


def test_a_nameless_entry_that_is_wrong_is_a_divergence(world: World) -> None:
    """It cannot be looked at again, and repair must not take it for deleted."""
    world.store.documents.put_unmappable("things", NAMELESS_ONE)
    thread = world.start()
    world.wait(lambda: world.engine.state.of(PhaseName.INDEX) is not PhaseStatus.PENDING)
    world.store.state.round(scope_of(world.store, RUN)).quarantine.clear()
    assert world.finish(thread).status is RunStatus.ROLLED_BACK
    found = MemoryProgress(world.store).divergences(scope_of(world.store, RUN))
    assert found == [Mismatch("things", NAMELESS_ONE.key, "quarantine")]
    assert world.engine.state.facts[PhaseName.RECONCILE]["streams"]["things"]["documents"] == 51


@pytest.mark.parametrize("stream", [None, "things"])
def test_retry_brings_in_what_fits_now(world: World, stream: str | None) -> None:
    for entry in (spoilt(100), spoilt(101), NAMELESS_ONE):
        world.store.documents.put_unmappable("things", entry)
    thread = world.start()
    world.wait_for_approval()
    fits_now(world, 100, "fits")
    world.control.request(RUN, RequestKind.RETRY, stream=stream)
    world.wait(lambda: world.rows().get(100) == "fits")
    world.wait(lambda: MemoryProgress(world.store).backlog(scope_of(world.store, RUN)).dirty == 0)
    assert in_quarantine(world) == {spoilt(101).key, NAMELESS_ONE.key}
    assert records(world, Kind.RETRY) == [{"keys": 2, "nameless": 1, "streams": ["things"], "by": "test"}]
    world.engine.interrupt.set()
    world.finish(thread)


def test_retry_before_there_is_a_quarantine_is_told_so(world: World) -> None:
    world.control.request(RUN, RequestKind.RETRY)
    thread = world.start()
    world.wait_for_approval()
    [ignored] = records(world, Kind.IGNORED)
    assert "nothing is in quarantine yet" in ignored["reason"]
    world.engine.interrupt.set()
    world.finish(thread)


def paused_with_quarantine(world: World) -> None:
    """A run that is paused before the cutover, with the plan's `rest: quarantine` and a document kept aside."""
    with_rest(world, Rest.QUARANTINE)
    world.store.documents.put_unmappable("things", spoilt(100))
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.PAUSE)
    world.finish(thread)
    world.result.clear()


def test_a_more_lenient_plan_is_taken_on_and_brings_quarantine_in(world: World) -> None:
    paused_with_quarantine(world)
    fits_now(world, 100, "fits with residue")
    with_rest(world, Rest.RESIDUE)
    thread = world.start()
    world.wait(lambda: world.rows().get(100) == "fits with residue")
    assert in_quarantine(world) == set()
    [amended] = records(world, Kind.AMENDED)
    assert amended["changed"] == ["streams.things.rest: removed"]
    world.control.request(RUN, RequestKind.PAUSE)
    world.finish(thread)
    world.again()
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.APPROVE)
    assert world.finish(thread).status is RunStatus.FINISHED
    assert len(records(world, Kind.AMENDED)) == 1, "a plan that was taken on is the run's"


def test_a_crash_before_the_record_of_a_new_plan_only_marks_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused_with_quarantine(world)
    fits_now(world, 100, "fits with residue")
    with_rest(world, Rest.RESIDUE)
    append = MemoryControl.append

    def crash(self: MemoryControl, run: str, seq: int, epoch: int, record: Record, *consumed: int | None) -> None:
        if record.kind is Kind.AMENDED:
            raise KeyboardInterrupt
        append(self, run, seq, epoch, record, *consumed)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryControl, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            world.engine.execute(RUN, "test")
    assert MemoryProgress(world.store).backlog(scope_of(world.store, RUN)).dirty == 1
    with_rest(world, Rest.RESIDUE)
    thread = world.start()
    world.wait(lambda: world.rows().get(100) == "fits with residue")
    assert len(records(world, Kind.AMENDED)) == 1
    world.engine.interrupt.set()
    world.finish(thread)


def test_a_stricter_plan_is_refused(world: World) -> None:
    paused_with_quarantine(world)
    with_rest(world, Rest.FAIL)
    with pytest.raises(PlanChangedError, match=r'rest: "quarantine" → "fail".*may become more lenient'):
        world.finish(world.start())
    assert records(world, Kind.AMENDED) == []


def test_no_plan_is_taken_on_for_other_servers(world: World) -> None:
    paused_with_quarantine(world)
    with_rest(world, Rest.RESIDUE)
    world.store.name = "elsewhere"
    with pytest.raises(PlanChangedError, match="another meaning"):
        world.finish(world.start())


def crashed_after(world: World, request: RequestKind, last: Kind) -> None:
    """The journal is as if the process had died right after a record that a request at the approval led to."""
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, request)
    world.finish(thread)
    kinds = [e.record.kind for e in world.control.entries]
    del world.control.entries[kinds.index(last) + 1 :]
    world.result.clear()


def test_after_the_switch_a_more_lenient_plan_is_refused(world: World) -> None:
    with_rest(world, Rest.QUARANTINE)
    crashed_after(world, RequestKind.APPROVE, Kind.SWITCHED)
    with_rest(world, Rest.RESIDUE)
    with pytest.raises(PlanChangedError, match="has switched"):
        world.finish(world.start())
    assert records(world, Kind.AMENDED) == []


def test_a_rollback_goes_on_with_a_more_lenient_plan(world: World) -> None:
    with_rest(world, Rest.QUARANTINE)
    crashed_after(world, RequestKind.ROLLBACK, Kind.ROLLBACK)
    with_rest(world, Rest.RESIDUE)
    assert world.finish(world.start()).status is RunStatus.ROLLED_BACK
    assert records(world, Kind.AMENDED) == []


def test_markers_that_cannot_be_dropped_keep_no_run_from_its_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: MemorySource) -> None:
        raise RefusedError("writes are blocked")

    monkeypatch.setattr(MemorySource, "drop_markers", refuse)
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.APPROVE)
    assert world.finish(thread).status is RunStatus.FINISHED


def test_a_changed_source_holds_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = world.start()
    world.wait_for_approval()

    def dropped(self: MemorySource, streams: object, since: Position) -> Iterator[Changes]:  # noqa: ARG001
        raise SourceChangedError("collection things was dropped")
        yield

    world.control.request(RUN, RequestKind.PAUSE)
    world.finish(thread)
    monkeypatch.setattr(MemorySource, "changes", dropped)
    world.again()
    state = world.finish(world.start())
    assert state.status is RunStatus.HELD
    assert "things was dropped" in state.reason


def test_lost_history_holds_until_reseed_compares_everything(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.PAUSE)
    world.finish(thread)
    world.store.documents.put("things", thing(5, "in the gap"))
    progress = MemoryProgress(world.store)
    scope = scope_of(world.store, RUN)
    progress.restart_capture(scope, MemorySource(world.store).position())  # the gap will never be reported
    world.again()
    world.control.request(RUN, RequestKind.RESEED)
    thread = world.start(held_too=True)
    world.wait(lambda: world.rows().get(5) == "in the gap")
    world.engine.interrupt.set()
    world.finish(thread)
    assert [e.record.data["marked"] for e in world.control.entries if e.record.kind is Kind.RESEEDED] == [1]


def test_preflight_errors_change_nothing_and_close_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Finding("X1", "error", "the source is a standalone", "make it a replica set")
    monkeypatch.setattr(MemorySource, "findings", lambda self, streams: [bad])  # noqa: ARG005
    with pytest.raises(PreflightError, match="X1: the source is a standalone make it a replica set"):
        world.finish(world.start())
    assert world.engine.state.status is RunStatus.ROLLED_BACK
    assert not world.store.state.catalog


def test_a_lost_connection_is_retried(world: World) -> None:
    lost = iter([Fate.LOSE, Fate.LOSE_ACKNOWLEDGEMENT, Fate.LOSE])

    def fate(name: str) -> Fate:
        return next(lost, Fate.APPLY) if name in ("load", "keep", "plan_chunks") else Fate.APPLY

    world.store.fate = fate
    thread = world.start()
    world.wait_for_approval()
    assert len(world.rows()) == 50
    world.engine.interrupt.set()
    world.finish(thread)


@pytest.mark.parametrize("first", [Fate.LOSE_ACKNOWLEDGEMENT, Fate.POSTPONE])
def test_each_kind_of_commit_may_be_lost_once(world: World, first: Fate) -> None:
    """Whether it was carried out or not: the step is repeated under a new epoch, and a late COMMIT is refused."""
    seen: set[str] = set()

    def fate(name: str) -> Fate:
        is_new = name not in seen
        seen.add(name)
        return first if is_new else Fate.APPLY

    world.store.fate = fate
    thread = world.start()
    world.wait_for_approval()
    world.store.documents.put("things", thing(7, "seven"))
    world.wait(lambda: world.rows().get(7) == "seven")
    late = [world.store.land(postponed) for postponed in list(world.store.postponed)]
    assert None not in late
    world.control.request(RUN, RequestKind.ROLLBACK)
    assert world.finish(thread).status is RunStatus.ROLLED_BACK
    assert not world.store.state.catalog
    assert {"load", "keep", "replace", "plan_chunks", "begin_chunk", "create_tables", "drop_tables"} <= seen


PHASE_WRITES = ("create_tables", "start_capture", "plan_chunks", "create_indexes", "create_constraints")


@pytest.mark.parametrize("fate", [Fate.LOSE_ACKNOWLEDGEMENT, Fate.POSTPONE])
@pytest.mark.parametrize("write", PHASE_WRITES)
def test_a_phase_whose_commit_was_lost_is_repeated_under_a_new_epoch(world: World, write: str, fate: Fate) -> None:
    """Whether that COMMIT was carried out before or comes after all, the run ends as if nothing had been."""
    lost: list[str] = []

    def fate_of(name: str) -> Fate:
        if name != write or len(lost) == 2:
            return Fate.APPLY
        lost.append(name)
        return fate

    world.store.fate = fate_of
    thread = world.start()
    world.wait_for_approval()
    late = [world.store.land(postponed) for postponed in list(world.store.postponed)]
    assert [type(refusal) for refusal in late] == ([EpochMovedError] * 2 if fate is Fate.POSTPONE else [])
    assert lost, "the phase writes this"
    assert [data["epoch"] for data in records(world, Kind.CLAIMED)] == list(range(1, len(lost) + 2))
    world.store.documents.put("things", thing(7, "seven"))
    world.wait(lambda: world.rows().get(7) == "seven")
    world.control.request(RUN, RequestKind.APPROVE)
    assert world.finish(thread).status is RunStatus.FINISHED
    assert world.rows() == {number: "seven" if number == 7 else f"name {number}" for number in range(50)}


def test_a_target_that_stays_away_pauses_the_run(world: World) -> None:
    def fate(name: str) -> Fate:
        return Fate.LOSE if name == "load" else Fate.APPLY

    world.store.fate = fate
    state = world.finish(world.start())
    assert state.status is RunStatus.PAUSED
    assert "connection was lost" in state.reason
    world.store.fate = lambda _name: Fate.APPLY
    world.again()
    thread = world.start()
    world.wait_for_approval()
    world.engine.interrupt.set()
    world.finish(thread)


def test_an_unexpected_error_pauses_with_its_name(world: World) -> None:
    class Broken:
        name = PhaseName.EXPAND

        def do(self, run: object) -> Iterator[object]:  # noqa: ARG002
            raise ZeroDivisionError("oops")
            yield

    world.engine.phases[PhaseName.EXPAND] = Broken()  # type: ignore[assignment]
    state = world.finish(world.start())
    assert state.status is RunStatus.PAUSED
    assert state.reason == "unexpected ZeroDivisionError: oops"


def test_a_zombie_engine_writes_nothing_more(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    epoch = world.control.claim(RUN)
    entries = len(world.control.entries)
    world.control.request(RUN, RequestKind.APPROVE)
    thread.join(LIMIT_S)
    assert type(world.result[0]).__name__ == "EpochMovedError"
    assert len(world.control.entries) == entries
    assert replace(world.engine.state, epoch=epoch).status is RunStatus.RUNNING


def test_transient_errors_are_the_only_ones_retried() -> None:
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        raise TransientError("away") if len(calls) == 1 else ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        retry.call(work)
    assert len(calls) == 2
