"""Publication and slot of a run, and what the server around them can do: on a server of the module's own."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.conformance.feed_world import LIMIT_S, FeedWorld
from tests.conformance.private_postgresql import PrivatePostgres, private_postgresql
from tests.conformance.source_suite import OWNER, THINGS, collect, key_of, mark, things
from tests.installed import executables, installed_postgresql
from tranship.connectors.errors import EpochMovedError, NotOursError, PositionLostError, RefusedError, TransientError
from tranship.connectors.postgresql.connections import engine
from tranship.connectors.postgresql.decoding import feed_health
from tranship.connectors.postgresql.decoding.objections import objections
from tranship.plans.streams import Column, LogicalType, Stream

MEGABYTES = 2**20
LONG = Stream("long", "long", "long", (Column("_id", ("_id",), LogicalType.TEXT, "string", long=True),), ())


@pytest.fixture(scope="module")
def own() -> Iterator[PrivatePostgres]:
    with private_postgresql() as server:
        yield server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def world(own: PrivatePostgres, stack: ExitStack) -> FeedWorld:
    return FeedWorld(own.uri, stack)


@pytest.fixture
def closed(own: PrivatePostgres, stack: ExitStack) -> FeedWorld:
    """One whose outlet is not there yet."""
    return FeedWorld(own.uri, stack, opened=False)


def traces(world: FeedWorld) -> list[str]:
    """All that an outlet can leave on a server."""
    state = world.endpoint.state_schema
    found = world.sql("SELECT slot_name FROM pg_replication_slots")
    found += world.sql("SELECT pubname FROM pg_publication")
    found += world.sql("SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename LIKE 'tranship%%'", state)
    kinds = f'SELECT kind, name FROM "{state.replace(chr(34), chr(34) * 2)}".owned '
    found += world.sql(f"{kinds} WHERE kind NOT IN ('schema', 'table', 'index')")
    return sorted(map(str, found))


def test_nothing_is_left_of_it(closed: FeedWorld) -> None:
    assert traces(closed) == []
    closed.outlet.drop(closed.scope, LIMIT_S)
    closed.outlet.create(closed.scope, LIMIT_S)
    once = traces(closed)
    assert len(once) == 6
    closed.outlet.create(closed.scope, LIMIT_S)
    assert traces(closed) == once
    closed.outlet.drop(closed.scope, LIMIT_S)
    closed.outlet.drop(closed.scope, LIMIT_S)
    assert traces(closed) == []


def test_what_others_made_is_neither_taken_nor_dropped(closed: FeedWorld) -> None:
    made = [
        ("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", "SELECT pg_drop_replication_slot('{}')"),
        ("CREATE PUBLICATION {}", "DROP PUBLICATION {}"),
    ]
    for make, remove in made:
        closed.sql(make.format(closed.name))
        with pytest.raises(NotOursError, match=closed.name):
            closed.outlet.create(closed.scope, LIMIT_S)
        closed.outlet.drop(closed.scope, LIMIT_S)
        assert len(traces(closed)) == 1
        closed.sql(remove.format(closed.name))
    assert traces(closed) == []


def test_making_a_slot_waits_for_open_writers_for_so_long_only(closed: FeedWorld) -> None:
    writer = closed.other()
    writer.execute(f"INSERT INTO {closed.table('things')} (id) VALUES (1)".encode())
    began = time.monotonic()
    with pytest.raises(TransientError, match=rf"process {writer.info.backend_pid} "):
        closed.outlet.create(closed.scope, 0.5)
    assert time.monotonic() - began < 5
    assert closed.sql("SELECT slot_name FROM pg_replication_slots") == []
    writer.commit()
    closed.outlet.create(closed.scope, LIMIT_S)
    since = closed.connect().position()
    closed.insert(THINGS, 2, "followed")
    source = closed.connect()
    got = {key for changes in collect(source, since, mark(source)) for key in changes.keys}
    assert got == things([2])


def test_an_orchestrator_that_was_taken_over_makes_nothing(closed: FeedWorld) -> None:
    late = closed.scope
    closed.take_over()
    with pytest.raises(EpochMovedError):
        closed.outlet.create(late, LIMIT_S)
    assert traces(closed) == []


def test_markers_need_an_outlet(closed: FeedWorld) -> None:
    source = closed.connect()
    source.drop_markers(OWNER)
    assert not source.has_marker(f"{OWNER}.1")
    assert source.try_traces() == []
    with pytest.raises(RefusedError, match="not set up"):
        source.put_marker(f"{OWNER}.1")
    with pytest.raises(PositionLostError):
        source.position()
    closed.outlet.create(closed.scope, LIMIT_S)
    assert source.try_traces() == []
    source.put_marker(f"{OWNER}.1")
    assert source.has_marker(f"{OWNER}.1")


def test_a_role_without_rights_is_told_all_that_it_lacks(own: PrivatePostgres, closed: FeedWorld) -> None:
    name = f"role_{secrets.token_hex(4)}"
    closed.sql(f"CREATE ROLE {name} LOGIN")
    closed.stack.callback(closed.sql, f"DROP OWNED BY {name}; DROP ROLE {name}")
    poor = replace(closed.endpoint, uri=make_conninfo(own.uri, user=name))
    slots = [f"taken_{n}" for n in range(int(closed.sql("SHOW max_replication_slots")[0][0]))]
    for slot in slots:
        closed.sql("SELECT pg_create_physical_replication_slot(%s)", slot)
        closed.stack.callback(closed.sql, "SELECT pg_drop_replication_slot(%s)", slot)
    made = engine(poor)
    closed.stack.callback(made.dispose)
    with made.begin() as connection:
        said = objections(connection, poor, closed.streams, closed.run)
    for words in ("slots are in use", "REPLICATION", "CREATE on the database", "table things", "table others"):
        assert any(words in one for one in said), words
    assert len(said) == 5


def test_a_server_without_logical_decoding_is_refused(stack: ExitStack) -> None:
    folder = executables()
    if folder is None:
        pytest.skip("the machine has no PostgreSQL of its own (14 or newer)")
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tranship-installed-")))
    world = FeedWorld(stack.enter_context(installed_postgresql(folder, place)), stack, opened=False)
    made = engine(world.endpoint)
    stack.callback(made.dispose)
    with made.begin() as connection:
        (said,) = objections(connection, world.endpoint, world.streams, world.run)
    assert said.startswith("wal_level is replica")
    with pytest.raises(RefusedError, match="wal_level"):
        world.outlet.create(world.scope, LIMIT_S)
    world.outlet.drop(world.scope, LIMIT_S)
    assert traces(world) == []


def test_all_is_well_for_who_has_the_rights(own: PrivatePostgres, closed: FeedWorld) -> None:
    made = engine(closed.endpoint)
    closed.stack.callback(made.dispose)
    with made.begin() as connection:
        assert objections(connection, closed.endpoint, closed.streams, closed.run) == []
    assert own.uri


def test_the_documented_rights_are_enough(own: PrivatePostgres, stack: ExitStack) -> None:
    """`docs/privileges.md`: REPLICATION, CREATE on the database, and the tables that the role made itself."""
    name = f"role_{secrets.token_hex(4)}"
    with closing(psycopg.connect(own.uri, autocommit=True)) as session:
        session.execute(f"CREATE ROLE {name} LOGIN REPLICATION".encode())
        session.execute(f"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE postgres TO {name}".encode())
        stack.callback(_drop_role, own.uri, name)
    world = FeedWorld(make_conninfo(own.uri, user=name), stack, (THINGS, LONG))
    made = engine(world.endpoint)
    stack.callback(made.dispose)
    with made.begin() as connection:
        assert objections(connection, world.endpoint, world.streams, world.run) == []
    source = world.connect()
    since = source.position()
    world.insert(THINGS, 1, "one")
    watch = source.changes([THINGS], since)
    watch.confirm(next(changes for changes in watch if changes.keys).position)
    watch.close()
    assert list(watch) == []
    assert source.keeps_s(since) is None
    assert feed_health(world.endpoint, world.run).state == "ok"
    source.drop_markers(OWNER)
    world.outlet.drop(world.scope, LIMIT_S)
    assert traces(world) == []


def test_what_a_limit_left_undone_is_taken_back(closed: FeedWorld) -> None:
    writer = closed.other()
    writer.execute(f"INSERT INTO {closed.table('things')} (id) VALUES (1)".encode())
    with pytest.raises(TransientError):
        closed.outlet.create(closed.scope, 0.2)
    writer.rollback()
    assert traces(closed) != []
    closed.outlet.drop(closed.scope, LIMIT_S)
    assert traces(closed) == []


def test_a_change_is_given_only_once_it_can_be_read(own: PrivatePostgres, world: FeedWorld) -> None:
    """The server's history has a commit before readers see it; behind a late synchronous standby long before."""
    source = world.connect()
    since = source.position()
    reader = world.target()
    world.insert(THINGS, 1, "before")
    watch = source.changes([THINGS], since)
    assert next(changes for changes in watch if changes.keys).keys == (("things", key_of(1)),)
    own.set(synchronous_standby_names="nobody")
    try:
        writer = threading.Thread(target=world.update, args=(THINGS, 1, "after"))
        writer.start()
        _until_one_waits(world)
        assert [next(watch).keys for _ in range(2)] == [(), ()]
        assert reader.read_keys(THINGS, [key_of(1)]).rows.to_pylist()[0]["text"] == "before"
    finally:
        own.set(synchronous_standby_names="")
    writer.join()
    assert next(changes for changes in watch if changes.keys).keys == (("things", key_of(1)),)
    assert reader.read_keys(THINGS, [key_of(1)]).rows.to_pylist()[0]["text"] == "after"


def test_a_position_waits_for_what_can_not_be_read_yet(own: PrivatePostgres, world: FeedWorld) -> None:
    own.set(synchronous_standby_names="nobody")
    positions: list[object] = []
    asking = threading.Thread(target=lambda: positions.append(world.connect().position()))
    writer = threading.Thread(target=world.insert, args=(THINGS, 1, "on its way"))
    try:
        writer.start()
        _until_one_waits(world)
        asking.start()
        asking.join(0.5)
        assert positions == []
    finally:
        own.set(synchronous_standby_names="")
    asking.join()
    assert len(positions) == 1
    assert len(world.target().read_keys(THINGS, [key_of(1)]).keys) == 1


def test_a_slot_that_holds_back_too_much_is_endangered_and_then_lost(own: PrivatePostgres, world: FeedWorld) -> None:
    source = world.connect()
    since = source.position()
    assert feed_health(world.endpoint, world.run).left is None
    assert source.keeps_s(since) is None
    own.set(max_slot_wal_keep_size="64MB")
    try:
        left = feed_health(world.endpoint, world.run).left
        assert left is not None
        assert 0 < left <= 80 * MEGABYTES + 16 * MEGABYTES
        assert (source.keeps_s(since) or 0) > 0
        seen = ["ok"]
        while seen[-1] != "lost":
            _write(world, 16)
            world.sql("CHECKPOINT")
            found = feed_health(world.endpoint, world.run)
            assert "Rollback unavailable" in found.reason or found.state != "lost"
            seen += [found.state] if found.state != seen[-1] else []
            assert len(seen) < 4
        assert seen == ["ok", "endangered", "lost"]
        with pytest.raises(PositionLostError, match="Rollback unavailable"):
            next(source.changes([THINGS], since))
        world.outlet.create(world.scope, LIMIT_S)
        assert feed_health(world.endpoint, world.run).state in ("ok", "endangered")
        with pytest.raises(PositionLostError, match="made anew"):
            next(source.changes([THINGS], since))
    finally:
        own.set(max_slot_wal_keep_size="-1")


def test_a_position_survives_the_servers_death(own: PrivatePostgres, stack: ExitStack) -> None:
    world = FeedWorld(own.uri, stack)
    source = world.connect()
    since = source.position()
    watch = source.changes([THINGS], since)
    world.insert(THINGS, 1, "one")
    first = next(changes for changes in watch if changes.keys)
    watch.confirm(first.position)
    world.insert(THINGS, 2, "two")
    own.kill()
    world.session.close()
    del world.session
    with pytest.raises(TransientError):
        for _ in watch:
            pass
    world.insert(THINGS, 3, "three")
    again = world.connect()
    got = {key for changes in collect(again, first.position, mark(again)) for key in changes.keys}
    assert got == things([2, 3])


def _drop_role(uri: str, name: str) -> None:
    with closing(psycopg.connect(uri, autocommit=True)) as session:
        session.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}".encode())


def _write(world: FeedWorld, megabytes: int) -> None:
    """So much history, and none of it about the run's tables."""
    with closing(psycopg.connect(world.endpoint.uri, autocommit=True)) as session:
        for _ in range(megabytes):
            session.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1048576))")


def _until_one_waits(world: FeedWorld) -> None:
    """For a synchronous standby."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    deadline = time.monotonic() + 20
    with closing(psycopg.connect(world.endpoint.uri, autocommit=True)) as session:
        while session.execute(waiting).fetchone() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
