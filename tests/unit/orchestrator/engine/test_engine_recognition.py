"""The engine meets servers that are not those it knows, though their names are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.orchestrator.engine.engine_world import RUN, World, approved, crashed_after, thing
from tranship.connectors.memory import MemorySource
from tranship.connectors.protocols import Routing, RoutingRecord
from tranship.orchestrator.engine.recognition import TargetRestoredError
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.journal.state import RunStatus
from tranship.plans.strategies import PhaseName


def paused(world: World) -> None:
    thread = world.start()
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.PAUSE)
    world.finish(thread)
    world.again()


def another_server(world: World) -> None:
    """It has documents of its own in a collection of the same name; their writes have been heard of, too."""
    world.store.documents.ids["things"] = "another"
    world.put(1, "of another server")


def restored(world: World) -> None:
    """It has lost what came last."""
    world.store.documents.markers.clear()


@pytest.mark.parametrize(
    ("happens", "said"), [(another_server, "collections of things are others"), (restored, "newest marker")]
)
def test_a_source_that_is_not_the_one_that_was_followed_is_held_before_anything_is_applied(
    world: World, happens: Callable[[World], None], said: str
) -> None:
    paused(world)
    before = world.rows()
    happens(world)
    for _ in range(2):
        state = world.finish(world.start(held_too=True))
        assert (state.status, said in state.reason) == (RunStatus.HELD, True), state.reason
        assert world.rows() == before
        world.again()
    world.control.request(RUN, RequestKind.ROLLBACK)
    assert world.finish(world.start(held_too=True)).status is RunStatus.ROLLED_BACK


def test_a_restored_source_is_followed_again_after_everything_was_compared(world: World) -> None:
    paused(world)
    restored(world)
    world.store.documents.put("things", thing(1, "as it was before"))
    world.control.request(RUN, RequestKind.RESEED)
    thread = world.start(held_too=True)
    world.wait(lambda: world.rows()[1] == "as it was before")
    world.wait_for_approval()
    world.control.request(RUN, RequestKind.PAUSE)
    assert world.finish(thread).status is RunStatus.PAUSED
    world.again()
    assert world.finish(approved(world)).status is RunStatus.FINISHED


def test_collections_made_anew_cannot_be_reseeded_from(world: World) -> None:
    paused(world)
    another_server(world)
    before = world.rows()
    world.control.request(RUN, RequestKind.RESEED)
    state = world.finish(world.start(held_too=True))
    assert (state.status, "are others" in state.reason) == (RunStatus.HELD, True)
    assert world.rows() == before


def test_the_switch_is_noted_on_the_source_and_markers_are_gone(world: World) -> None:
    assert world.finish(approved(world)).status is RunStatus.FINISHED
    ((owner, record),) = MemorySource(world.store).records.records()
    assert (owner.run, owner.id, owner.state_schema) == (RUN, world.engine.state.id, "tranship")
    assert owner.id != RUN
    assert record == RoutingRecord(Routing.HANDED_OVER, 1)
    assert not world.store.documents.markers


def test_markers_of_others_stay(world: World) -> None:
    world.store.documents.put_marker("another.1")
    assert world.finish(approved(world)).status is RunStatus.FINISHED
    assert world.store.documents.markers == {"another.1"}


@pytest.mark.parametrize("last", [(Kind.VERIFIED, None), (Kind.APPROVED, None), (Kind.DONE, PhaseName.SEAL)])
@pytest.mark.parametrize("request_kind", [None, RequestKind.ROLLBACK])
def test_a_target_that_lost_the_switch_is_left_as_it_is(
    world: World, last: tuple[Kind, PhaseName | None], request_kind: RequestKind | None
) -> None:
    assert world.finish(approved(world)).status is RunStatus.FINISHED
    found = [(entry.record.kind, last[1] and entry.record.phase) for entry in world.control.entries]
    del world.control.entries[found.index(last) + 1 :]  # the target was restored to before its switch
    world.put(1, "written to a source that is out of use")
    entries, rows = len(world.control.entries), world.rows()
    world.again()
    if request_kind is not None:
        world.control.request(RUN, request_kind)
    with pytest.raises(TargetRestoredError, match=f"run {RUN} has switched to this target"):
        world.finish(world.start(held_too=True))
    assert world.rows() == rows
    assert {entry.record.kind for entry in world.control.entries[entries:]} <= {Kind.CLAIMED}


def test_a_run_that_died_before_its_switch_is_no_lost_switch(world: World) -> None:
    crashed_after(world, RequestKind.APPROVE, Kind.DONE, PhaseName.SEAL)
    world.again()
    assert world.finish(approved(world)).status is RunStatus.FINISHED
    ((_, record),) = MemorySource(world.store).records.records()
    assert record == RoutingRecord(Routing.HANDED_OVER, 3), "lifted as 2, fenced as 3"
