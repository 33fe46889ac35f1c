"""The engine and everything that fails: outages, lost commits, a changed source, bugs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support import MemoryControl, scope_of
from tests.unit.orchestrator.engine.engine_world import (
    LIMIT_S,
    RUN,
    World,
    approved,
    crashed_after,
    records,
    thing,
)
from tranship.connectors.errors import (
    ConnectorError,
    EpochMovedError,
    RefusedError,
    SourceChangedError,
    TransientError,
)
from tranship.connectors.memory import Fate, MemoryProgress, MemorySource
from tranship.connectors.protocols import Backlog, Changes, Finding, Position, Scope
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.journal.state import RunStatus
from tranship.orchestrator.phases import PreflightError
from tranship.orchestrator.retry import Patience
from tranship.plans.strategies import PhaseName


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
    kinds = [e.record.kind for e in world.control.entries]
    assert kinds[kinds.index(Kind.RESEED) + 1] is Kind.CLAIMED, (
        "what was under way must not land behind the new position"
    )


def test_a_reseed_from_a_source_that_lost_a_collection_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = world.start()
    world.wait_for_approval()
    gone = Finding("source.missing", "error", "the collection things does not exist")
    monkeypatch.setattr(MemorySource, "findings", lambda self, streams: [gone])  # noqa: ARG005
    for number in range(50):
        world.store.documents._current["things"].pop(thing(number, "")["_key"])  # type: ignore[arg-type]
    world.control.request(RUN, RequestKind.RESEED)
    state = world.finish(thread)
    assert state.status is RunStatus.HELD
    assert "source.missing: the collection things does not exist" in state.reason
    assert len(world.rows()) == 50


@pytest.mark.parametrize("undoing", [False, True])
def test_a_run_whose_source_is_gone_for_good_is_rolled_back(
    world: World, monkeypatch: pytest.MonkeyPatch, undoing: bool
) -> None:
    thread = world.start()
    world.wait_for_approval()
    if undoing:
        world.control.request(RUN, RequestKind.ROLLBACK)
        world.finish(thread)
        kinds = [e.record.kind for e in world.control.entries]
        del world.control.entries[kinds.index(Kind.ROLLBACK) + 1 :]
    else:
        world.engine.interrupt.set()
        world.finish(thread)

    def gone(self: MemorySource, *_: object) -> str:  # noqa: ARG001
        raise TransientError("no server answers")

    for name in ("identity", "drop_markers", "position"):
        monkeypatch.setattr(MemorySource, name, gone)
    world.again()
    if not undoing:
        with pytest.raises(TransientError):
            world.finish(world.start())
        world.again()
        world.control.request(RUN, RequestKind.ROLLBACK)
    assert world.finish(world.start()).status is RunStatus.ROLLED_BACK
    assert not world.store.state.catalog
    assert {"stopped": True, "markers_left": True} in records(world, Kind.OBSERVED)


def test_why_a_run_is_undone_is_told_after_a_pause_too(world: World) -> None:
    crashed_after(world, RequestKind.ROLLBACK, Kind.ROLLBACK)
    world.again()
    world.engine.interrupt.set()
    assert world.finish(world.start()).status is RunStatus.PAUSED
    world.again()
    state = world.finish(world.start())
    assert (state.status, state.reason) == (RunStatus.ROLLED_BACK, "asked by test")


def test_preflight_errors_change_nothing_and_close_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Finding("X1", "error", "the source is a standalone", "make it a replica set")
    monkeypatch.setattr(MemorySource, "findings", lambda self, streams: [bad])  # noqa: ARG005
    with pytest.raises(PreflightError, match="X1: the source is a standalone; make it a replica set"):
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
    world.approve()
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


def test_a_lag_when_a_run_goes_on_is_waited_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the end of catch-up and its verification, and a long pause, are no reason to undo anything."""
    thread = world.start()
    world.wait_for_approval()
    world.engine.interrupt.set()
    world.finish(thread)
    kinds = [(e.record.kind, e.record.phase) for e in world.control.entries]
    del world.control.entries[kinds.index((Kind.VERIFIED, PhaseName.CATCH_UP)) :]
    backlog, looks = MemoryProgress.backlog, list[float]()

    def behind(self: MemoryProgress, scope: Scope) -> Backlog:
        looks.append(1.0)
        return replace(backlog(self, scope), oldest_s=100.0 if len(looks) < 10 else 0.0)

    monkeypatch.setattr(MemoryProgress, "backlog", behind)
    world.again()
    thread = world.start()
    world.wait_for_approval()
    assert records(world, Kind.FAILED) == []
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
    world.approve()
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
        Patience(60.0).call(work)
    assert len(calls) == 2


@pytest.mark.parametrize("error", [TransientError("the target is away"), RefusedError("no right to end sessions")])
@pytest.mark.parametrize("writable", [True, False])
def test_a_failure_while_an_epoch_is_taken_pauses_the_run(
    world: World, monkeypatch: pytest.MonkeyPatch, error: ConnectorError, writable: bool
) -> None:
    world.engine.patience = Patience(0.0)
    claim, append, claims = MemoryControl.claim, MemoryControl.append, list[str]()

    def failing(self: MemoryControl, run: str) -> int:
        claims.append(run)
        if len(claims) == 2:  # behind the seal
            raise error
        return claim(self, run)

    def appending(self: MemoryControl, *entry: Any) -> None:
        if len(claims) == 2 and not writable:
            raise TransientError("the target is away")
        append(self, *entry)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryControl, "claim", failing)
        patch.setattr(MemoryControl, "append", appending)
        if writable:
            state = world.finish(approved(world))
            assert (state.status, str(error) in state.reason) == (RunStatus.PAUSED, True)
        else:
            with pytest.raises(type(error), match=str(error)):
                world.finish(approved(world))
    world.again()
    assert world.finish(approved(world)).status is RunStatus.FINISHED


def test_a_source_whose_user_was_dropped_keeps_no_run_from_going_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.engine.interrupt.set()
    world.finish(thread)

    def refused(self: MemorySource, *_: object) -> str:  # noqa: ARG001
        raise RefusedError("authentication failed")

    for name in ("identity", "drop_markers", "position", "collections"):
        monkeypatch.setattr(MemorySource, name, refused)
    monkeypatch.setattr(MemorySource, "records", property(refused))
    world.again()
    world.control.request(RUN, RequestKind.ROLLBACK)
    assert world.finish(world.start()).status is RunStatus.ROLLED_BACK
    assert not world.store.state.catalog


def test_what_came_between_preflight_and_an_early_approval_is_found_before_anything_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.plan = world.plan.model_copy(update={"approval": (PhaseName.EXPAND,)})
    world.again()
    thread = world.start()
    world.wait(lambda: world.engine.state.asked is PhaseName.EXPAND)
    finding = Finding("source.capped", "error", "things is capped by now", "")
    monkeypatch.setattr(MemorySource, "findings", lambda *_: [finding])
    world.control.request(RUN, RequestKind.APPROVE, world.engine.state.asking)
    with pytest.raises(PreflightError, match="capped by now"):
        world.finish(thread)
    assert world.engine.state.status is RunStatus.ROLLED_BACK
    assert not world.store.state.catalog
