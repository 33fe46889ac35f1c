"""The engine and documents that are kept aside: counts, retry, a plan that becomes more lenient."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import MemoryControl, scope_of
from tests.unit.orchestrator.engine.engine_world import (
    NAMELESS_ONE,
    RUN,
    World,
    behind_index,
    crashed_after,
    fits_now,
    in_quarantine,
    records,
    spoilt,
    thing,
    with_rest,
)
from tranship.connectors.batch import Batch
from tranship.connectors.keys import from_typed
from tranship.connectors.memory import MemoryProgress, MemoryTarget
from tranship.connectors.protocols import Mismatch, Span
from tranship.orchestrator.engine.amendment import PlanChangedError
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.journal.state import RunStatus
from tranship.plans.strategies import PhaseName
from tranship.plans.streams import LogicalType, Rest, Stream


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
def test_an_entry_that_is_wrong_is_repaired(world: World, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    reconcile = world.plan.reconcile.model_copy(update={"on_divergence": "repair"})
    world.plan = world.plan.model_copy(update={"reconcile": reconcile})
    world.again()
    world.store.documents.put_unmappable("things", spoilt(100))

    def tamper() -> None:
        entries = world.store.state.feed(scope_of(world.store, RUN)).quarantine
        if change == "gone":
            del entries["things", spoilt(100).key]
        else:
            entry = spoilt(3) if change == "stale" else spoilt(100, b"other")
            entries["things", entry.key] = entry

    with behind_index(monkeypatch, tamper):
        thread = world.start()
        world.wait_for_approval()
    scope = scope_of(world.store, RUN)
    facts = world.engine.state.facts[PhaseName.RECONCILE]
    assert (facts["repaired"], facts["divergences"]) == (1, 0)
    assert facts["streams"] == {"things": {"documents": 51, "rows": 50, "quarantined": 1}}
    assert MemoryProgress(world.store).quarantined(scope, world.engine.streams[0], spoilt(100).key) == spoilt(100)
    assert in_quarantine(world) == {spoilt(100).key}
    world.engine.interrupt.set()
    world.finish(thread)


def test_a_nameless_entry_that_is_wrong_is_a_divergence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be looked at again, and repair must not take it for deleted."""
    world.store.documents.put_unmappable("things", NAMELESS_ONE)

    def tamper() -> None:
        world.store.state.feed(scope_of(world.store, RUN)).quarantine.clear()

    with behind_index(monkeypatch, tamper):
        assert world.finish(world.start()).status is RunStatus.ROLLED_BACK
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
    world.wait(lambda: bool(records(world, Kind.RETRY)))  # what it marked may be applied before it is recorded
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
    world.approve()
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


def test_after_the_switch_a_more_lenient_plan_is_refused(world: World) -> None:
    with_rest(world, Rest.QUARANTINE)
    crashed_after(world, RequestKind.APPROVE, Kind.PIVOTED, keep_route=True)
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


def test_a_switch_that_may_have_taken_place_lets_no_plan_change(world: World) -> None:
    with_rest(world, Rest.QUARANTINE)
    crashed_after(world, RequestKind.APPROVE, Kind.PIVOT_SENT, keep_route=True)
    with_rest(world, Rest.RESIDUE)
    with pytest.raises(PlanChangedError, match="or may have"):
        world.finish(world.start())
    assert records(world, Kind.AMENDED) == []
