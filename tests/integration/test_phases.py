"""Each phase on real servers through do, verify, undo, do, do again, verify; and undo from what a crash can leave."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.direct import Direct, direct, phases_before
from tests.integration.route import SCHEMA, STATE, Route
from tranship.connectors.errors import TransientError
from tranship.connectors.protocols import Routing, RoutingRecord
from tranship.orchestrator.dataplane import copier
from tranship.orchestrator.demo.targets import Snapshot
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.phases import Diverged, Verified, catch_up
from tranship.orchestrator.phases.registry import PHASES
from tranship.plans.strategies import GROUPS, Group, PhaseName

COUNT = 400
"""Documents; with the smallest chunks they make several."""

STREAMS: dict[str, Any] = {
    "people": {
        "key": {"_id": "text"},
        "columns": {"email": {"type": "text", "unique": True}, "city": "text", "note": "text"},
        "children": {"visits": {"columns": {"place": "text"}}},
        "indexes": [{"columns": ["city"]}, {"columns": ["city", "note"]}],
    },
    "places": {"key": {"_id": "text"}, "columns": {"name": {"type": "text", "unique": True}}},
}


@pytest.fixture
def plan(route: Route) -> Path:
    route.documents("people").insert_many(
        {
            "_id": f"p{n:05}",
            "email": f"{n}@example.org",
            "city": f"city {n % 7}",
            "note": "x" * 600,
            "visits": [{"place": f"place {n % 5}"}] * (n % 3),
        }
        for n in range(COUNT)
    )
    route.documents("places").insert_many({"_id": str(n), "name": f"place {n}"} for n in range(5))
    return route.plan(STREAMS, limits={"workers": 2})


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the lag has to stay small is not what is tested here."""
    monkeypatch.setattr(catch_up, "STEADY_S", 0.2)


@pytest.fixture
def work(route: Route, plan: Path) -> Iterator[Direct]:
    with direct(route, plan) as made:
        yield made


def objects(route: Route) -> list[tuple[Any, ...]]:
    """Names of tables, indexes and constraints in the target's schema."""
    return route.query(
        "select c.relname, c.relkind::text, coalesce(i.indisvalid, true) from pg_class c "
        "left join pg_index i on i.indexrelid = c.oid where c.relnamespace = to_regnamespace(%s)::oid "
        "and c.relkind in ('r', 'i') order by 1",
        SCHEMA,
    )


def world(route: Route) -> tuple[Snapshot, list[tuple[Any, ...]], list[str]]:
    """What a phase can change: rows, catalog, and the source's collections."""
    return route.target(), objects(route), sorted(route.client[route.source.name].list_collection_names())


CUTOVER = GROUPS[Group.CUTOVER]
ALONE = [name for name in PHASES if name not in CUTOVER]


@pytest.mark.parametrize("name", ALONE)
def test_do_verify_undo_do_do_again_verify(route: Route, work: Direct, name: PhaseName) -> None:
    for earlier in phases_before(name):
        work.done(earlier)
    before = world(route)
    work.done(name)
    made = world(route)
    work.undo(name)
    work.undo(name)
    assert _without_markers(world(route)) == _without_markers(before)
    work.do(name)
    work.do(name)
    assert work.verify(name) == Verified()
    assert _without_markers(world(route)) == _without_markers(made)


def _without_markers(found: tuple[Snapshot, list[tuple[Any, ...]], list[str]]) -> tuple[object, ...]:
    """Markers stay until the end of the run or the undo of capture, and so does the routing record."""
    rows, catalog, collections = found
    return rows, catalog, [name for name in collections if not name.startswith("tranship_")]


@pytest.mark.parametrize("last", [PhaseName.FENCE, PhaseName.VERIFY, PhaseName.SEAL])
def test_a_cutover_is_lifted_lifted_again_and_carried_out(route: Route, work: Direct, last: PhaseName) -> None:
    for earlier in phases_before(PhaseName.FENCE):
        work.done(earlier)
    before = world(route)
    for name in CUTOVER[: CUTOVER.index(last) + 1]:
        work.done(name)
    for _ in range(2):
        assert work.lift(Group.CUTOVER).kind is Kind.LIFTED
    assert _without_markers(world(route)) == _without_markers(before)
    route.documents("places").insert_one({"_id": "new", "name": "a new place"})
    work.follow()
    assert "new" in route.rows("places", "_id")[-1] or ("new",) in route.rows("places", "_id"), "lanes go on"
    for name in CUTOVER:
        work.done(name)
    assert work.run.source.records.read(work.run.id) == RoutingRecord(Routing.HANDED_OVER, 4)
    assert work.lift(Group.CUTOVER).kind is Kind.PIVOTED, "behind the pivot there is nothing to lift"


def test_all_phases_undone_leave_both_sides_as_before(route: Route, plan: Path) -> None:
    before = world(route)
    with direct(route, plan) as work:
        for name in ALONE:
            work.done(name)
        for name in CUTOVER[:4]:
            work.done(name)
        work.lift(Group.CUTOVER)
        for name in reversed(ALONE):
            work.undo(name)
    assert world(route) == before


# --- what a crash can leave ---------------------------------------------------------------------------------------


def tables_made_by_half(work: Direct) -> None:
    """Only the first stream's tables exist."""
    work.run.schema.create_tables(work.run.scope, work.run.streams[:1])


def chunks_planned_by_half(work: Direct) -> None:
    """One stream is planned, nothing is loaded."""
    _plan(work, 1)


def chunks_planned(work: Direct) -> None:
    """All streams are planned, nothing is loaded."""
    _plan(work, 2)


def chunks_loaded_by_half(work: Direct) -> None:
    """Every second chunk is loaded, and one more attempt was begun."""
    _plan(work, 2)
    for number, (source, target, task) in enumerate(_tasks(work)):
        if number % 2 == 0:
            copier.copy(source, target, task)


def chunk_dropped_in_the_middle(work: Direct) -> None:
    """An attempt failed after it had sent rows."""
    _plan(work, 2)
    with closing(_tasks(work)) as tasks:
        source, target, task = next(tasks)

        def until_it_fails() -> Iterator[Any]:
            yield from copier.read(source, task)
            raise TransientError("the source is gone")

        with pytest.raises(TransientError):
            copier.load(target, task, until_it_fails())


def index_made_by_half(work: Direct) -> None:
    """Only the indexes of one stream exist."""
    work.run.schema.create_indexes(work.run.scope, work.run.streams[1:])


def constraint_made_by_half(work: Direct) -> None:
    """Only the constraint of one stream exists."""
    work.run.schema.create_constraints(work.run.scope, work.run.streams[:1])


def constraint_left_invalid(work: Direct) -> None:
    """A concurrent build was interrupted: its index is there, noted as ours, and not valid."""
    constraint_made_by_half(work)
    work.route.query(
        f"alter table {SCHEMA}.people drop constraint people__email__key; "
        f"create unique index people__email__key on {SCHEMA}.people (email); "
        f"update pg_index set indisvalid = false where indexrelid = '{SCHEMA}.people__email__key'::regclass; "
        f"update {STATE}.owned set oid = null where strpos(name, 'people__email__key') > 0"  # noted before it was built
    )


def position_kept(work: Direct) -> None:
    """The first position is durable, the service never ran."""
    work.run.progress.start_capture(work.run.scope, work.run.source.position(), 2)


def markers_written(work: Direct) -> None:
    """A marker is on the source, and nobody waits for it any more."""
    work.do(PhaseName.CAPTURE)
    work.run.source.put_marker(f"{work.run.id}.left behind")


def nothing(work: Direct) -> None:
    """The intent was written, nothing was done."""


Partial = Callable[[Direct], None]
PARTIAL: tuple[tuple[PhaseName, Partial], ...] = (
    *((name, nothing) for name in (PhaseName.EXPAND, PhaseName.CAPTURE, PhaseName.BACKFILL, PhaseName.CONSTRAIN)),
    (PhaseName.EXPAND, tables_made_by_half),
    (PhaseName.CAPTURE, position_kept),
    (PhaseName.CAPTURE, markers_written),
    (PhaseName.BACKFILL, chunks_planned_by_half),
    (PhaseName.BACKFILL, chunks_planned),
    (PhaseName.BACKFILL, chunks_loaded_by_half),
    (PhaseName.BACKFILL, chunk_dropped_in_the_middle),
    (PhaseName.INDEX, index_made_by_half),
    (PhaseName.CONSTRAIN, constraint_made_by_half),
    (PhaseName.CONSTRAIN, constraint_left_invalid),
)


@pytest.mark.parametrize(("name", "partial"), PARTIAL, ids=[f"{name}-{how.__name__}" for name, how in PARTIAL])
def test_undo_and_do_from_a_partial_state(route: Route, work: Direct, name: PhaseName, partial: Partial) -> None:
    for earlier in phases_before(name):
        work.done(earlier)
    before = world(route)
    partial(work)
    work.undo(name)
    assert _without_markers(world(route)) == _without_markers(before)
    work.undo(name)
    assert _without_markers(world(route)) == _without_markers(before)
    partial(work)
    work.done(name)


def _plan(work: Direct, streams: int) -> None:
    for stream in work.run.streams[:streams]:
        spans = work.run.source.spans(stream, 64 * 1024)
        work.run.progress.plan_chunks(work.run.scope, stream, spans)
    chunks = [c for s in work.run.streams[:streams] for c in work.run.progress.chunks(work.run.scope, s)]
    assert len(chunks) > streams, "the documents have to make several chunks"


def _tasks(work: Direct) -> Generator[tuple[Any, Any, copier.CopyTask], None, None]:
    """Attempts that were begun, with what is needed to carry them out."""
    source, target = work.run.source, work.run.connect.target(work.run.scope)
    try:
        for stream in work.run.streams:
            for chunk in work.run.progress.chunks(work.run.scope, stream):
                task = copier.begin(work.run.progress, work.run.scope, stream, chunk)
                assert task is not None
                yield source, target, task
    finally:
        target.close()


# --- what verify sees ---------------------------------------------------------------------------------------------

DAMAGE = {
    PhaseName.EXPAND: f"alter table {SCHEMA}.people drop column city",
    PhaseName.BACKFILL: f"delete from {SCHEMA}.people where _id = 'p00003'",
    PhaseName.INDEX: f"drop index {SCHEMA}.people__city__idx",
    PhaseName.CONSTRAIN: f"alter table {SCHEMA}.people drop constraint people__email__key",
}


@pytest.mark.parametrize("name", list(DAMAGE))
def test_verify_looks_at_the_world(route: Route, work: Direct, name: PhaseName) -> None:
    for earlier in (*phases_before(name), name):
        work.done(earlier)
    route.tamper(DAMAGE[name])
    assert isinstance(work.verify(name), Diverged)
