"""What only the PostgreSQL halves of the detached form have to do."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from tests.conformance.detached_world import DetachedWorld, PostgresKept, PostgresRows
from tests.conformance.migration_suite import Interrupted, interrupt_at
from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import ORDERS, STREAMS, Migration, batch, key, order
from tranship.connectors.batch import Batch
from tranship.connectors.errors import EpochMovedError, MarkMovedError
from tranship.connectors.fit import Effect, Note
from tranship.connectors.postgresql import connect_ledger, connect_marked
from tranship.connectors.postgresql.state import terminate_backends
from tranship.connectors.protocols import ChunkMark, Feed, LaneMark, Scope

BETWEEN = "settle.before_commit"
ORDER = Note("status", "order", Effect.SHAPE, "status")
MISFIT = Note("items.price", "type string", Effect.MISFIT, "items.price")


@pytest.fixture
def world(target_database: str, ledger_database: str) -> Iterator[DetachedWorld]:
    with ExitStack() as stack:
        yield DetachedWorld(
            PostgresRows(PostgresWorld(target_database, stack)), PostgresKept(PostgresWorld(ledger_database, stack))
        )


@pytest.fixture
def rows(world: DetachedWorld) -> PostgresWorld:
    assert isinstance(world.rows, PostgresRows)
    return world.rows.world


@pytest.fixture
def kept(world: DetachedWorld) -> PostgresWorld:
    assert isinstance(world.ledger, PostgresKept)
    return world.ledger.world


def noted(rows_: list[dict[str, object]], *notes: Note) -> Batch:
    return replace(batch(rows_), notes={key(1): list(notes)})


def counted(kept: PostgresWorld) -> Counter[str]:
    """How many notes there are, by path."""
    found = kept.sql("SELECT place, sum(count) FROM {state}.fit WHERE effect <> 'filled' GROUP BY place")
    return Counter({place: int(total) for place, total in found if total})


def test_notes_of_a_batch_that_is_applied_again_are_counted_once(world: DetachedWorld, kept: PostgresWorld) -> None:
    """The rows that it finds are its own: by them nothing would have changed."""
    migration = Migration(world)
    (mark,) = migration.begin()
    migration.target.load(ORDERS, [noted([order(1)], ORDER, ORDER)], mark)
    assert counted(kept) == Counter({"status": 2})
    migration.change(1)
    mark_, dirty = migration.take_one()
    changed = noted([order(1)], MISFIT)
    with pytest.raises(Interrupted):
        world.target(migration.scope, interrupt_at(BETWEEN)).replace(
            ORDERS, dirty, changed, [mark_], {key(1): [ORDER, ORDER]}
        )
    again, dirty = migration.take_one()
    migration.target.replace(ORDERS, dirty, changed, [again], {key(1): [MISFIT]})
    assert counted(kept) == Counter({"items.price": 1})
    migration.change(1)
    last, dirty = migration.take_one()
    migration.target.replace(ORDERS, dirty, batch([]), [last], {})
    assert counted(kept) == Counter()
    assert kept.sql("SELECT * FROM {state}.note") == []


def test_what_the_ledger_keeps_of_notes_names_no_field_of_a_document(world: DetachedWorld, kept: PostgresWorld) -> None:
    migration = Migration(world)
    (mark,) = migration.begin()
    secret = Note("by.4711", "unmapped", Effect.UNNAMED, "by")
    migration.target.load(ORDERS, [noted([order(1)], secret, secret)], mark)
    assert kept.sql("SELECT kinds FROM {state}.note") == [([["by", "unmapped", "unnamed", 2]],)]


def test_a_ledger_beside_the_tables_of_its_run_empties_none(postgres: PostgresWorld) -> None:
    """The reverse feed's ledger is in the state schema of the tables that it reads from."""
    migration = Migration(postgres)
    migration.load([order(1), order(2)])
    reverse = Scope(migration.scope.run, Feed.REVERSE, migration.scope.epoch)
    with closing(connect_ledger(postgres.endpoint, STREAMS)) as ledger:
        ledger.forget_chunks(reverse, list(STREAMS))
        assert ledger.building(STREAMS) == []
    assert migration.numbers() == [1, 2]
    assert migration.progress.totals(migration.scope)["orders"].loaded == 1


def test_rows_that_others_hold_are_parked_in_the_ledger(
    world: DetachedWorld, rows: PostgresWorld, kept: PostgresWorld
) -> None:
    migration = Migration(world)
    migration.load([order(1), order(2)])
    rows.sql("CREATE TABLE {shop}.parcels (of text REFERENCES {shop}.orders)")
    rows.sql(f"INSERT INTO {{shop}}.parcels VALUES ('{1:024x}')")
    migration.change(1, 2)
    for mark, dirty in migration.take():
        migration.target.replace(ORDERS, dirty, batch([]), [mark])
    assert migration.numbers() == [1]
    name = rows.named("{shop}").strip('"')
    assert migration.progress.parked(migration.scope) == {f"{name}.parcels": 1}
    assert kept.sql("SELECT key FROM {state}.dirty") == [(key(1),)]
    assert kept.sql("SELECT key FROM {state}.touched") == [(key(2),)]


# --- claims -----------------------------------------------------------------------------------------------------------


def test_a_claim_ends_what_holds_locks_under_an_earlier_epoch(world: DetachedWorld, rows: PostgresWorld) -> None:
    """A process that was stopped in the middle of a batch keeps no row, and can go on with nothing."""
    migration = Migration(world)
    migration.load([order(1)])
    migration.change(1)
    mark, dirty = migration.take_one()
    halted, heard = threading.Event(), threading.Event()

    def stop(site: str) -> None:
        if site == "replace.before_commit":
            halted.set()
            assert heard.wait(30)

    failures: list[Exception] = []

    def late() -> None:
        try:
            world.target(migration.scope, stop).replace(ORDERS, dirty, batch([]), [mark])
        except Exception as failure:  # noqa: BLE001 - looked at below
            failures.append(failure)

    stopped = threading.Thread(target=late)
    stopped.start()
    assert halted.wait(30)
    heir = Migration(world)
    again, same = heir.take_one()
    assert heir.target.replace(ORDERS, same, batch([order(1, status="new")]), [again]) == 1
    heard.set()
    stopped.join()
    assert len(failures) == 1
    assert world.rows.held() == {1: "new"}
    assert rows.sql("SELECT DISTINCT epoch FROM {state}.backend") == [(heir.scope.epoch,)]


def test_threads_that_claim_at_once_do_not_end_each_other(world: DetachedWorld, rows: PostgresWorld) -> None:
    migration = Migration(world)
    scope = Scope(migration.scope.run, Feed.FORWARD, world.ledger.take_over(migration.scope.run))
    progress = world.progress()
    gate, failures = threading.Barrier(6), []

    def meet() -> None:
        gate.wait()
        try:
            for _ in range(5):
                progress.lane_marks(scope)
        except Exception as failure:  # noqa: BLE001 - looked at below
            failures.append(failure)

    threads = [threading.Thread(target=meet) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rows.sql("SELECT epoch FROM {state}.epoch") == [(scope.epoch,)]


def test_marks_that_the_target_has_lost_are_those_of_the_ledger(world: DetachedWorld, rows: PostgresWorld) -> None:
    """A lane that began anew would take a batch of before."""
    migration = Migration(world)
    known = [LaneMark(migration.scope, lane, 7 + lane) for lane in range(4)]
    with closing(connect_marked(rows.endpoint, migration.scope)) as marked:
        assert marked.claim(migration.scope, known) == known
        rows.sql("DELETE FROM {state}.lane WHERE lane > 1")
        assert marked.claim(migration.scope, known) == known
        assert marked.claim(migration.scope, []) == known
        assert marked.claim(migration.scope, [LaneMark(migration.scope, 0, 3)]) == known
        with pytest.raises(EpochMovedError):
            marked.claim(replace(migration.scope, epoch=migration.scope.epoch - 1), known)


def test_an_attempt_of_before_an_emptying_is_over(world: DetachedWorld, rows: PostgresWorld) -> None:
    migration = Migration(world)
    with closing(connect_marked(rows.endpoint, migration.scope)) as marked:
        for attempt in (3, 4):
            marked.begin(ChunkMark(migration.scope, "orders", 0, attempt))
        marked.begin(ChunkMark(migration.scope, "orders", 1, 2))
        marked.empty(migration.scope, [ORDERS])
        for attempt in (3, 4):
            with pytest.raises(MarkMovedError):
                marked.begin(ChunkMark(migration.scope, "orders", 0, attempt))
        marked.begin(ChunkMark(migration.scope, "orders", 0, 5))


def test_only_sessions_of_earlier_epochs_are_in_the_way_of_a_claim(world: DetachedWorld, rows: PostgresWorld) -> None:
    """The other threads of its own process have theirs already."""
    migration = Migration(world)
    scope = migration.scope
    with closing(connect_marked(rows.endpoint, scope)) as marked:
        marked.seal(scope)
        marked.read_keys(ORDERS, [key(1)])  # a session of the data plane
        living = (
            "SELECT a.pid FROM pg_stat_activity AS a JOIN {state}.backend AS b ON a.pid = b.pid "
            "AND a.application_name = b.name ORDER BY 1"
        )
        alive = rows.sql(living)
        assert len(alive) > 1
        for before, left in ((scope.epoch, alive), (scope.epoch + 1, [])):
            with rows.engine.begin() as connection:
                terminate_backends(connection, rows.tables, scope.run, before)
            assert rows.sql(living) == left


@pytest.mark.parametrize("half", ["rows", "kept"])
def test_each_half_looks_at_its_own_epoch_last(
    world: DetachedWorld, rows: PostgresWorld, kept: PostgresWorld, half: str
) -> None:
    """Whatever became of the sessions."""
    migration = Migration(world)
    moved: list[str] = []

    def move(site: str) -> None:
        if moved and site == moved[0]:
            moved.clear()
            {"rows": rows, "kept": kept}[half].sql("UPDATE {state}.epoch SET epoch = epoch + 1")

    target = world.target(migration.scope, move)
    (mark,) = migration.begin()
    target.load(ORDERS, [batch([order(1)])], mark)  # its sessions are open from here on
    migration.change(1)
    lane, dirty = migration.take_one()
    moved.append("replace.before_epoch" if half == "rows" else BETWEEN)
    with pytest.raises(EpochMovedError):
        target.replace(ORDERS, dirty, batch([order(1, status="late")]), [lane])
    assert moved == []
    assert world.ledger.dirty(migration.scope) == {key(1)}
    assert (world.rows.held()[1] == "late") is (half == "kept")
