"""A chunk is held between read and load while its documents change: the change wins, never the older read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.direct import FOLLOWING, Direct, direct
from tests.integration.route import SCHEMA, THINGS, Route, things
from tranship.connectors.batch import Batch
from tranship.connectors.errors import MarkMovedError
from tranship.orchestrator.dataplane import copier, reconcile
from tranship.plans.strategies import PhaseName

COUNT = 30


@pytest.fixture
def plan(route: Route) -> Path:
    route.documents().insert_many(things(COUNT))
    return route.plan(THINGS)


@pytest.fixture
def work(route: Route, plan: Path) -> Iterator[Direct]:
    """Capture has begun, one chunk is planned."""
    with direct(route, plan) as made:
        for name in (PhaseName.PREFLIGHT, PhaseName.EXPAND, PhaseName.CAPTURE):
            made.done(name)
        [stream] = made.run.streams
        made.run.progress.plan_chunks(made.run.scope, stream, made.run.source.spans(stream, 2**20))
        yield made


def begun(work: Direct) -> tuple[copier.CopyTask, list[Batch]]:
    """An attempt at the chunk, and what it has read."""
    [stream] = work.run.streams
    [chunk] = work.run.progress.chunks(work.run.scope, stream)
    task = copier.begin(work.run.progress, work.run.scope, stream, chunk)
    assert task is not None
    return task, list(copier.read(work.run.source, task))


def load(work: Direct, task: copier.CopyTask, batches: list[Batch]) -> None:
    target = work.run.connect.target(work.run.scope)
    try:
        copier.load(target, task, batches)
    finally:
        target.close()


def change(route: Route) -> None:
    """Everything that can happen to a document."""
    collection = route.documents()
    collection.update_one({"_id": "t00000"}, {"$set": {"name": "updated"}})
    collection.delete_one({"_id": "t00001"})
    collection.delete_one({"_id": "t00002"})
    collection.insert_one({"_id": "t00002", "name": "came back", "number": -2})
    collection.insert_one({"_id": "t00000a", "name": "came between", "number": -3})
    collection.insert_one({"_id": "short", "name": "came and went", "number": -4})
    collection.delete_one({"_id": "short"})
    collection.update_one({"_id": "t00003"}, {"$set": {"name": "updated, then deleted"}})
    collection.delete_one({"_id": "t00003"})
    for number in range(5):
        collection.replace_one({"_id": "t00004"}, {"name": f"replaced {number}", "number": number})


CHANGED = [
    ("t00000", "updated", 0),
    ("t00000a", "came between", -3),
    ("t00002", "came back", -2),
    ("t00004", "replaced 4", 4),
    *((f"t{n:05}", f"name {n}", n) for n in range(5, COUNT)),
]


def rows(route: Route) -> list[tuple[object, ...]]:
    return route.rows("things", "_id", "name", "number")


def test_changes_between_read_and_load_win(route: Route, work: Direct) -> None:
    task, batches = begun(work)
    change(route)
    load(work, task, batches)
    assert ("t00001", "name 1", 1) in rows(route), "the chunk holds what was read"
    work.follow()
    assert rows(route) == CHANGED


def test_changes_that_were_captured_before_the_load_wait_for_it(route: Route, work: Direct) -> None:
    task, batches = begun(work)
    change(route)
    marker = "captured"
    work.supervisor.ensure(FOLLOWING)
    work.run.source.put_marker(marker)
    work.run.wait(lambda: work.run.progress.marker_seen(work.run.scope, marker), 30, "capture")
    assert work.run.progress.backlog(work.run.scope).dirty == 7
    assert rows(route) == [], "nothing is applied into a chunk that is not loaded"
    load(work, task, batches)
    work.follow()
    assert rows(route) == CHANGED


def test_changes_before_the_read_are_applied_once_more(route: Route, work: Direct) -> None:
    change(route)
    task, batches = begun(work)
    load(work, task, batches)
    work.follow()
    assert rows(route) == CHANGED


def test_an_attempt_that_was_held_too_long_is_over(route: Route, work: Direct) -> None:
    held, old = begun(work)
    change(route)
    load(work, *begun(work))
    work.follow()
    with pytest.raises(MarkMovedError):
        load(work, held, old)
    assert rows(route) == CHANGED


def test_a_chunk_emptied_and_loaded_again_refuses_the_first_load(route: Route, work: Direct) -> None:
    held, old = begun(work)
    work.undo(PhaseName.BACKFILL)
    [stream] = work.run.streams
    work.run.progress.plan_chunks(work.run.scope, stream, work.run.source.spans(stream, 2**20))
    again, batches = begun(work)
    with pytest.raises(MarkMovedError):
        load(work, held, old)
    change(route)
    load(work, again, batches)
    work.follow()
    assert rows(route) == CHANGED


def test_a_batch_that_is_held_while_its_keys_change(route: Route, work: Direct) -> None:
    """The same between the applier's read and its replace: the generation has moved, so the keys stay dirty."""
    load(work, *begun(work))
    work.run.progress.mark_dirty(work.run.scope, [("things", key) for key in _keys(work)])
    run = work.run
    target = run.connect.target(run.scope)
    try:
        [stream] = run.streams
        marks = [run.progress.take(run.scope, mark.lane, 100) for mark in run.progress.lane_marks(run.scope)]
        read = [
            (mark, dirty, run.source.read_keys(stream, [d.key for d in dirty], run.position())) for mark, dirty in marks
        ]
        change(route)
        work.run.source.put_marker("changed")
        run.wait(lambda: run.progress.marker_seen(run.scope, "changed"), 30, "capture")
        removed = sum(target.replace(stream, dirty, batch, [mark]) for mark, dirty, batch in read)
        assert removed == COUNT - 5, "what changed meanwhile stays dirty"
    finally:
        target.close()
    work.follow()
    assert rows(route) == CHANGED


def _keys(work: Direct) -> list[bytes]:
    target = work.run.connect.target(work.run.scope)
    try:
        [stream] = work.run.streams
        [chunk] = work.run.progress.chunks(work.run.scope, stream)
        return [key for batch in target.read(stream, chunk.span) for key in batch.keys]
    finally:
        target.close()


def test_reconcile_finds_nothing_to_say(route: Route, work: Direct) -> None:
    task, batches = begun(work)
    change(route)
    load(work, task, batches)
    work.follow()
    target = work.run.connect.target(work.run.scope)
    try:
        assert reconcile.full(work.run, target).divergences == []
        route.tamper(f"update {SCHEMA}.things set number = 7 where _id = 't00000'")
        [found] = reconcile.full(work.run, target).divergences
    finally:
        target.close()
    assert (found.stream, found.kind, found.columns) == ("things", "different", ("number",))
