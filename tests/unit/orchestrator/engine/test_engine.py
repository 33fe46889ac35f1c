"""The engine over the memory pair: the whole life of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import scope_of
from tests.unit.orchestrator.engine.engine_world import (
    RUN,
    World,
    behind_index,
    change_target,
    records,
    thing,
)
from tranship.connectors.keys import from_typed
from tranship.connectors.memory import MemoryProgress
from tranship.connectors.protocols import Span
from tranship.orchestrator.dataplane import reconcile
from tranship.orchestrator.engine.amendment import PlanChangedError
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.journal.state import RunStatus
from tranship.plans.strategies import Group, PhaseName
from tranship.plans.streams import LogicalType


def test_a_run_waits_at_its_approval_and_follows_the_source_meanwhile(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.store.documents.put("things", thing(7, "seven"))
    world.store.documents.delete("things", from_typed(LogicalType.INT64, 8))
    world.wait(lambda: world.rows().get(7) == "seven" and 8 not in world.rows())
    world.approve()
    state = world.finish(thread)
    assert state.status is RunStatus.FINISHED
    assert state.switched
    assert len(world.rows()) == 49
    assert {phase: approval.by for phase, approval in state.approved.items()} == {Group.CUTOVER: "test"}
    assert state.facts[PhaseName.RECONCILE]["rows"] == 50


def test_a_divergence_rolls_back_and_leaves_the_target_as_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind_index(monkeypatch, lambda: change_target(world, 3, "corrupt")):
        state = world.finish(world.start())
    assert state.status is RunStatus.ROLLED_BACK
    progress = MemoryProgress(world.store)
    found = progress.divergences(scope_of(world.store, RUN))
    assert [(d.key, d.kind, d.columns) for d in found] == [(from_typed(LogicalType.INT64, 3), "different", ("name",))]
    assert not world.store.state.catalog
    undone = [e.record.phase for e in world.control.entries if e.record.kind is Kind.UNDONE]
    assert undone == list(reversed(state.phases[:8]))
    assert "1 rows diverge" in state.reason


def test_repair_makes_divergent_rows_equal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.plan = world.plan.model_copy(
        update={"reconcile": world.plan.reconcile.model_copy(update={"on_divergence": "repair"})}
    )
    world.again()
    with behind_index(monkeypatch, lambda: change_target(world, 3, "corrupt")):
        thread = world.start()
        world.wait_for_approval()
    assert world.rows()[3] == "name 3"
    assert world.engine.state.facts[PhaseName.RECONCILE]["repaired"] == 1
    world.control.request(RUN, RequestKind.ROLLBACK)
    assert world.finish(thread).status is RunStatus.ROLLED_BACK


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


def test_a_pause_that_is_asked_for_twice_pauses_once(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    for _ in range(2):
        world.control.request(RUN, RequestKind.PAUSE)
    assert world.finish(thread).status is RunStatus.PAUSED
    assert world.control.pending == []
    world.again()
    thread = world.start()
    world.wait(lambda: world.engine.state.status is RunStatus.RUNNING)
    world.approve()
    assert world.finish(thread).status is RunStatus.FINISHED


def test_a_reseed_before_the_source_is_followed_changes_nothing(world: World) -> None:
    world.plan = world.plan.model_copy(update={"approval": (PhaseName.EXPAND,)})
    world.again()
    thread = world.start()
    world.wait(lambda: world.engine.state.asked is PhaseName.EXPAND)
    world.control.request(RUN, RequestKind.RESEED)
    world.wait(lambda: bool(records(world, Kind.IGNORED)))
    world.control.request(RUN, RequestKind.APPROVE, world.engine.state.asking)
    assert world.finish(thread).status is RunStatus.FINISHED
    assert records(world, Kind.RESEED) == []


def test_what_came_after_the_backfill_is_compared_in_spans_of_its_own(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    for number in range(1000, 4000):
        world.put(number, "x" * 100)
    run, stream = world.engine._current, world.engine.streams[0]
    assert len(run.progress.chunks(run.scope, stream)) == 1
    spans = reconcile._spans(run, stream)
    sizes = [sum(batch.rows.nbytes for batch in run.source.read(stream, span, run.position())) for span in spans]
    assert len(spans) > 3
    assert max(sizes) < 3 * run.plan.limits.chunk
    world.engine.interrupt.set()
    world.finish(thread)


def test_what_is_not_loaded_yet_is_not_compared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = world.start()
    world.wait_for_approval()
    run, stream = world.engine._current, world.engine.streams[0]
    [chunk] = run.progress.chunks(run.scope, stream)
    halves = [
        replace(chunk, span=Span(None, b"m")),
        replace(chunk, number=2, span=Span(b"m", None), state="pending"),
    ]
    monkeypatch.setattr(MemoryProgress, "chunks", lambda *_: halves)
    assert reconcile._spans(run, stream) == [Span(None, b"m")]
    monkeypatch.undo()
    world.engine.interrupt.set()
    world.finish(thread)


def test_a_target_that_lost_its_rows_pauses_and_is_filled_again_by_reseed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "MOST_APART", 20)
    with behind_index(monkeypatch, lambda: world.store.state.table(world.engine.streams[0]).clear()):
        state = world.finish(world.start())
    assert (state.status, state.reason[:27]) == (RunStatus.PAUSED, "more than 20 keys differ, s")
    world.again()
    world.control.request(RUN, RequestKind.RESEED)
    thread = world.start()
    world.wait_for_approval()
    assert len(world.rows()) == 50
    world.engine.interrupt.set()
    world.finish(thread)
