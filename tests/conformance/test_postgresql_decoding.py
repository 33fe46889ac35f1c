"""What changes of rows become: dirty root keys, judged by keys written by hand and by what reading the rows gives."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest

from tests.conformance.feed_world import LIMIT_S, FeedWorld
from tests.conformance.source_suite import OTHERS, THINGS, collect, fill, key_of, mark, things, until_marker
from tests.conformance.target_world import ORDERS, key, object_id
from tranship.connectors.errors import ConnectorError, PositionLostError, SourceChangedError
from tranship.connectors.keys import KeyForm
from tranship.connectors.postgresql.decoding import feed_health, watcher
from tranship.connectors.protocols import Key, Position, Span
from tranship.plans.streams import Child, Column, LogicalType, Stream

L = LogicalType
ODD = Stream(
    "odd",
    "odd",
    'Läd"en',
    (Column('I"d', ("_id",), L.TEXT, "string"),),
    (Column("Te xt", ("t",), L.TEXT, "string"),),
    children=(Child("Kid's", ("k",), (Column("n", ("n",), L.INT32, "int32"),)),),
)
LONG = Stream(
    "long",
    "long",
    "long",
    (Column("_id", ("_id",), L.TEXT, "string", long=True),),
    (Column("n", ("n",), L.INT32, "int32"),),
    children=(Child("long_items", ("items",), (Column("n", ("n",), L.INT32, "int32"),)),),
)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def world(logical_server: str, stack: ExitStack) -> FeedWorld:
    return FeedWorld(logical_server, stack)


def seen(world: FeedWorld, act: Callable[[], object], *streams: Stream) -> set[Key]:
    """The keys that come through for what is done."""
    source = world.connect()
    since = source.position()
    act()
    found = collect(source, since, mark(source), streams or tuple(world.streams))
    return {key for changes in found for _, key in changes.keys}


def refused(world: FeedWorld, since: Position) -> str:
    """Why the changes since a position are not given."""
    with pytest.raises(SourceChangedError) as caught:
        for _ in world.connect().changes(world.streams, since):
            pass
    return str(caught.value)


# --- rows of root and child tables


def test_rows_of_child_tables_name_their_root(logical_server: str, stack: ExitStack) -> None:
    world = FeedWorld(logical_server, stack, (ORDERS,))
    orders, items, parts = (world.table(name) for name in ("orders", "items", "parts"))
    for number in range(1, 9):
        world.sql(f"INSERT INTO {orders} (_id) VALUES (%s)", object_id(number))
        world.sql(f"INSERT INTO {items} (_root_id, _ordinal) VALUES (%s, 0)", object_id(number))
        world.sql(f"INSERT INTO {parts} (_root_id, _ordinal, _ordinal_2) VALUES (%s, 0, 0)", object_id(number))
    deeds = [
        (f"INSERT INTO {items} (_root_id, _ordinal, sku) VALUES (%s, 1, 'new')", 1),
        (f"UPDATE {items} SET sku = 'other' WHERE _root_id = %s", 2),
        (f"DELETE FROM {parts} WHERE _root_id = %s", 3),
        (f"UPDATE {parts} SET _ordinal_2 = 7 WHERE _root_id = %s", 4),
        (f"UPDATE {orders} SET status = 'paid' WHERE _id = %s", 5),
    ]
    for statement, number in deeds:
        assert seen(world, lambda s=statement, n=number: world.sql(s, object_id(n))) == {key(number)}, statement
    move = f"UPDATE {items} SET _root_id = %s, _ordinal = 5 WHERE _root_id = %s AND _ordinal = 0"
    assert seen(world, lambda: world.sql(move, object_id(6), object_id(7))) == {key(6), key(7)}
    rename = f"UPDATE {orders} SET _id = %s WHERE _id = %s"
    assert seen(world, lambda: world.sql(rename, object_id(99), object_id(8))) == {key(99), key(8)}


def test_a_cascade_names_the_root_by_each_row(logical_server: str, stack: ExitStack) -> None:
    world = FeedWorld(logical_server, stack, (ORDERS,))
    orders, items = world.table("orders"), world.table("items")
    world.sql(f"ALTER TABLE {items} ADD FOREIGN KEY (_root_id) REFERENCES {orders} ON DELETE CASCADE")
    world.sql(f"INSERT INTO {orders} (_id) VALUES (%s), (%s)", object_id(1), object_id(2))
    world.sql(f"INSERT INTO {items} (_root_id, _ordinal) SELECT %s, g FROM generate_series(1, 50) g", object_id(1))
    assert seen(world, lambda: world.sql(f"DELETE FROM {orders} WHERE _id = %s", object_id(1))) == {key(1)}


def test_names_may_be_odd(logical_server: str, stack: ExitStack) -> None:
    world = FeedWorld(logical_server, stack, (ODD, THINGS))
    root, child = world.table('Läd"en'), world.table("Kid's")

    def act() -> None:
        world.sql(f'INSERT INTO {root} ("I""d", "Te xt") VALUES (%s, %s)', "ключ 'a\"\\", "x")
        world.sql(f'INSERT INTO {child} ("_root_I""d", _ordinal) VALUES (%s, 0)', "b")

    encode = KeyForm(ODD.key).encode
    assert seen(world, act) == {encode(("ключ 'a\"\\",)), encode(("b",))}


KEYS: dict[str, tuple[Column, list[str]]] = {
    "int32": (Column("_id", ("_id",), L.INT32, "int32"), ["-2147483648", "0", "7"]),
    "int64": (Column("_id", ("_id",), L.INT64, "int64"), ["-9223372036854775808", "1000000"]),
    "text": (Column("_id", ("_id",), L.TEXT, "string"), ["''", "E'a\\\\b\\n'", "'é注'", "repeat('x', 900)"]),
    "bytes": (Column("_id", ("_id",), L.BYTES, "binary"), ["''", "'\\x00ff5c'"]),
    "canonical": (Column("_id", ("_id",), L.BYTES, "any"), ["'\\x21'", "'\\x640123456789abcdef01234567'"]),
    "uuid": (Column("_id", ("_id",), L.UUID, "uuid"), ["'00112233-4455-6677-8899-aabbccddeeff'"]),
    "objectid": (Column("_id", ("_id",), L.OBJECTID, "objectid"), ["'0123456789abcdef01234567'"]),
    "decimal": (
        Column("_id", ("_id",), L.DECIMAL, "decimal", precision=20, scale=4),
        ["-1.5", "0", "12345678901234.5", "100"],
    ),
    "timestamp": (
        Column("_id", ("_id",), L.TIMESTAMP, "date"),
        [
            "'1970-01-01Z'",
            "'0044-03-15 12:00:00.25Z BC'",
            "'4714-11-24 00:00Z BC'",
            "'12345-12-31 23:59:59.999Z'",
            "'1969-12-31 23:59:59.999Z'",
            "'2000-02-29 12:34:56.7Z'",
            "'1900-03-01Z'",
        ],
    ),
    "date": (
        Column("_id", ("_id",), L.DATE, "date"),
        ["'1970-01-01'", "'4714-11-24 BC'", "'0001-01-01'", "'200000-02-28'", "'2000-02-29'", "'0001-12-31 BC'"],
    ),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_are_those_that_reading_the_rows_gives(logical_server: str, stack: ExitStack, kind: str) -> None:
    column, values = KEYS[kind]
    stream = Stream("keyed", "keyed", "keyed", (column,), (Column("n", ("n",), L.INT32, "int32"),))
    world = FeedWorld(logical_server, stack, (stream,))
    rows = ", ".join(f"({value})" for value in values)
    found = seen(world, lambda: world.sql(f"INSERT INTO {world.table('keyed')} (_id) VALUES {rows}"))
    read = [key for batch in world.target().read(stream, Span(None, None)) for key in batch.keys]
    assert sorted(found) == read
    assert len(read) == len(values)


def test_keys_of_several_columns(logical_server: str, stack: ExitStack) -> None:
    columns = (Column("a", ("_id", "a"), L.INT32, "int32"), Column("b", ("_id", "b", "c"), L.TEXT, "string"))
    child = Child("kids", ("kids",), (Column("n", ("n",), L.INT32, "int32"),))
    stream = Stream("keyed", "keyed", "keyed", columns, (Column("n", ("n",), L.INT32, "int32"),), children=(child,))
    world = FeedWorld(logical_server, stack, (stream,))

    def act() -> None:
        world.sql(f"INSERT INTO {world.table('keyed')} (n, b, a) VALUES (5, 'x', 1), (5, 'y', 1)")
        world.sql(f"INSERT INTO {world.table('kids')} (_root_b, _ordinal, _root_a) VALUES ('x', 0, 2)")

    encode = KeyForm(stream.key).encode
    assert seen(world, act) == {encode((1, "x")), encode((1, "y")), encode((2, "x"))}
    read = [key for batch in world.target().read(stream, Span(encode((1, "")), encode((2, "")))) for key in batch.keys]
    assert read == [encode((1, "x")), encode((1, "y"))]


@pytest.mark.parametrize(
    ("kind", "value"), [("timestamp", "'infinity'"), ("timestamp", "'2000-01-01 00:00:00.0001Z'"), ("decimal", "'NaN'")]
)
def test_a_key_that_no_document_has_is_an_error(logical_server: str, stack: ExitStack, kind: str, value: str) -> None:
    stream = Stream("keyed", "keyed", "keyed", (KEYS[kind][0],), ())
    world = FeedWorld(logical_server, stack, (stream,))
    with pytest.raises(ConnectorError, match="no document"):
        seen(world, lambda: world.sql(f"INSERT INTO {world.table('keyed')} (_id) VALUES ({value})"))


def test_large_values_that_stay_do_not_matter(world: FeedWorld) -> None:
    table = world.table("things")
    world.sql(f"ALTER TABLE {table} ALTER COLUMN text SET STORAGE EXTERNAL")
    world.insert(THINGS, 1, "x" * 1_000_000)
    assert seen(world, lambda: world.sql(f"UPDATE {table} SET id = 2 WHERE id = 1")) == {key_of(1), key_of(2)}
    assert seen(world, lambda: world.sql(f"UPDATE {table} SET _residue = 'r' WHERE id = 2")) == {key_of(2)}


def test_a_key_that_lies_outside_of_its_row_is_known(logical_server: str, stack: ExitStack) -> None:
    """An update sends the key of such a row as unchanged, and beside it the key as it was."""
    columns = (Column("text", ("t",), L.TEXT, "string"), Column("n", ("n",), L.INT32, "int32"))
    stream = Stream("keyed", "keyed", "keyed", (Column("_id", ("_id",), L.TEXT, "string"),), columns)
    world = FeedWorld(logical_server, stack, (stream,))
    table, long_key = world.table("keyed"), "".join(secrets.token_hex(1) for _ in range(450))
    world.sql(f"ALTER TABLE {table} ALTER COLUMN _id SET STORAGE EXTERNAL, ALTER COLUMN text SET STORAGE PLAIN")
    world.sql(f"INSERT INTO {table} (_id, text) VALUES (%s, repeat('y', 1500))", long_key)
    moved = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = %s::regclass"
    assert world.sql(moved, table) > [(0,)]
    expected = KeyForm(stream.key).encode((long_key,))
    assert seen(world, lambda: world.sql(f"UPDATE {table} SET n = 1")) == {expected}


# --- long keys


def test_tables_with_long_keys_take_every_write_and_name_it(logical_server: str, stack: ExitStack) -> None:
    world = FeedWorld(logical_server, stack, (LONG,))
    root, child = world.table("long"), world.table("long_items")
    first, second = "".join(secrets.token_hex(1) for _ in range(5000)), "short \\ one"
    encode = KeyForm(LONG.key).encode
    deeds: list[tuple[str, tuple[str, ...]]] = [
        (f"INSERT INTO {root} (_id) VALUES (%s)", (first,)),
        (f"INSERT INTO {child} (_root_id, _ordinal) VALUES (%s, 0)", (first,)),
        (f"UPDATE {root} SET n = 1 WHERE _id = %s", (first,)),
        (f"UPDATE {child} SET n = 1 WHERE _root_id = %s", (first,)),
        (f"DELETE FROM {child} WHERE _root_id = %s", (first,)),
    ]
    for statement, values in deeds:
        found = seen(world, lambda s=statement, v=values: world.sql(s, *v))
        assert found == {encode((first,))}, statement
    rename = f"UPDATE {root} SET _id = %s"
    assert seen(world, lambda: world.sql(rename, second)) == {encode((first,)), encode((second,))}
    assert seen(world, lambda: world.sql(f"DELETE FROM {root}")) == {encode((second,))}


def test_a_table_whose_identity_was_taken_is_not_followed(logical_server: str, stack: ExitStack) -> None:
    world = FeedWorld(logical_server, stack, (LONG,))
    root = world.table("long")
    world.sql(f"INSERT INTO {root} (_id) VALUES ('a')")
    since = world.connect().position()
    world.sql(f"ALTER TABLE {root} REPLICA IDENTITY DEFAULT")
    world.sql(f"DELETE FROM {root}")
    assert "REPLICA IDENTITY" in refused(world, since)


def test_dropping_gives_tables_their_identity_back(logical_server: str, stack: ExitStack) -> None:
    world = FeedWorld(logical_server, stack, (LONG, THINGS), opened=False)
    world.sql(f"ALTER TABLE {world.table('things')} REPLICA IDENTITY NOTHING")
    world.sql(f"CREATE UNIQUE INDEX own ON {world.table('long_items')} (_root_id_sha256, _ordinal)")
    world.sql(f"ALTER TABLE {world.table('long_items')} REPLICA IDENTITY USING INDEX own")
    identities = (
        "SELECT relname, relreplident::text FROM pg_class WHERE relkind = 'r' AND relnamespace = "
        "(SELECT oid FROM pg_namespace WHERE nspname = %s) ORDER BY 1"
    )
    before = world.sql(identities, world.endpoint.schema)
    world.outlet.create(world.scope, LIMIT_S)
    world.outlet.create(world.scope, LIMIT_S)
    assert world.sql(identities, world.endpoint.schema) == [("long", "f"), ("long_items", "f"), ("things", "d")]
    world.outlet.drop(world.scope, LIMIT_S)
    world.outlet.drop(world.scope, LIMIT_S)
    assert world.sql(identities, world.endpoint.schema) == before


# --- transactions


def test_what_is_rolled_back_is_not_there(world: FeedWorld) -> None:
    def act() -> None:
        with world.other() as session:
            insert = f"INSERT INTO {world.table('things')} (id) VALUES (%s)"
            session.execute(insert.encode(), (1,))
            with session.transaction():
                session.execute(insert.encode(), (2,))
            with session.transaction():
                session.execute(insert.encode(), (3,))
                raise psycopg.Rollback
            session.commit()
            session.execute(insert.encode(), (4,))
            session.rollback()

    assert seen(world, act) == {key_of(1), key_of(2)}


def test_a_large_transaction_comes_in_parts_whose_positions_wait_for_its_end(world: FeedWorld) -> None:
    source = world.connect()
    since = source.position()
    count = 3 * watcher.KEYS_PER_CHANGES + 7
    world.sql(f"INSERT INTO {world.table('things')} (id) SELECT generate_series(1, {count})")
    name = mark(source)
    got = collect(source, since, name)
    assert {key for changes in got for key in changes.keys} == things(range(1, count + 1))
    parts = [changes for changes in got if changes.keys]
    assert len(parts) == 4
    assert [changes.position for changes in parts[:-1]] == [since] * 3


def test_a_backlog_is_looked_through_in_windows(world: FeedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gives what was committed in it, also of a transaction that began windows before."""
    monkeypatch.setattr(watcher, "WINDOW", 20_000)
    source = world.connect()
    since = source.position()
    early = world.other()
    early.execute(f"INSERT INTO {world.table('things')} (id) VALUES (1000)".encode())
    for number in range(300):
        world.insert(THINGS, number, "x" * 500)
    early.commit()
    name = mark(source)
    got = [changes for changes in collect(source, since, name) if changes.keys]
    assert [key for changes in got for _, key in changes.keys] == [key_of(n) for n in (*range(300), 1000)]
    assert len(got) > 3
    assert got[0].behind_s >= got[-1].behind_s == 0
    assert len({changes.position for changes in got}) == len(got)


def test_changes_come_in_the_order_of_commits_and_can_be_resumed_there(world: FeedWorld) -> None:
    source = world.connect()
    since = source.position()
    early = world.other()
    early.execute(f"INSERT INTO {world.table('things')} (id) VALUES (1)".encode())
    world.insert(THINGS, 2, "commits first")
    watch = source.changes([THINGS], since)
    first = next(changes for changes in watch if changes.keys)
    assert first.keys == (("things", key_of(2)),)
    watch.confirm(first.position)
    early.commit()
    second = next(changes for changes in watch if changes.keys)
    assert second.keys == (("things", key_of(1)),)
    watch.close()
    assert until_marker(world.connect(), first.position) == things([1])
    assert until_marker(world.connect(), second.position) == set()


def test_a_marker_comes_after_writes_that_do_not_wait_for_the_disk(world: FeedWorld) -> None:
    source = world.connect()
    for turn in range(10):
        since = source.position()
        world.sql("SET synchronous_commit = off")
        fill(world, range(turn * 20, turn * 20 + 20))
        assert until_marker(source, since) == things(range(turn * 20, turn * 20 + 20))


def test_a_position_has_all_that_was_committed_below_it(world: FeedWorld) -> None:
    """Also what does not wait for the disk: so a forward feed's rows are."""
    source = world.connect()
    for turn in range(10):
        world.sql("SET synchronous_commit = off")
        world.insert(THINGS, turn, "before")
        since = source.position()
        world.insert(OTHERS, turn, "after")
        name = mark(source)
        got = {key for changes in collect(source, since, name, (THINGS, OTHERS)) for key in changes.keys}
        assert got == {("others", key_of(turn))}


# --- what ends a feed


def test_truncate_ends_it(world: FeedWorld) -> None:
    since = world.connect().position()
    world.sql(f"TRUNCATE {world.table('others')}, {world.table('things')}")
    assert "TRUNCATE of others, things" in refused(world, since)


def test_truncate_of_a_table_that_nobody_watches_is_of_no_concern(world: FeedWorld) -> None:
    source = world.connect()
    since = source.position()
    world.sql(f"TRUNCATE {world.table('others')}")
    world.insert(THINGS, 1, "later")
    assert until_marker(source, since) == things([1])


@pytest.mark.parametrize(
    "statement",
    [
        "ADD COLUMN more text",
        "DROP COLUMN text",
        "ALTER COLUMN text TYPE varchar(90)",
        "RENAME COLUMN text TO texts",
        "RENAME COLUMN id TO ident",
        "RENAME TO elsewhere",
    ],
)
def test_other_columns_end_it(world: FeedWorld, statement: str) -> None:
    since = world.connect().position()
    world.sql(f"ALTER TABLE {world.table('things')} {statement}")
    name = "elsewhere" if "elsewhere" in statement else "things"
    world.sql(f"INSERT INTO {world.table(name)} SELECT 1")
    assert name in refused(world, since)


@pytest.mark.parametrize(
    "statement", ["DROP TABLE {table}", "DROP PUBLICATION {name}", "ALTER PUBLICATION {name} DROP TABLE {table}"]
)
def test_a_table_that_is_published_no_more_ends_it_without_a_change(world: FeedWorld, statement: str) -> None:
    source = world.connect()
    since = source.position()
    world.sql(statement.format(table=world.table("others"), name=world.name))
    assert "publication" in refused(world, since)


def test_columns_of_before_the_position_are_of_no_concern(world: FeedWorld) -> None:
    source = world.connect()
    table = world.table("things")
    world.sql(f"ALTER TABLE {table} ADD COLUMN more text")
    world.insert(THINGS, 1, "with more")
    world.sql(f"ALTER TABLE {table} DROP COLUMN more")
    since = source.position()
    world.insert(THINGS, 2, "as planned")
    assert until_marker(source, since) == things([2])


def lost(world: FeedWorld, since: Position) -> str:
    with pytest.raises(PositionLostError) as caught:
        next(world.connect().changes([THINGS], since))
    assert "Rollback unavailable" in str(caught.value)
    return str(caught.value)


def test_a_slot_that_was_dropped_or_made_anew_is_a_lost_position(world: FeedWorld) -> None:
    since = world.connect().position()
    assert feed_health(world.endpoint, world.run).state == "ok"
    world.sql("SELECT pg_drop_replication_slot(%s)", world.name)
    assert "gone" in lost(world, since)
    assert feed_health(world.endpoint, world.run).state == "lost"
    world.sql("SELECT pg_create_physical_replication_slot(%s)", world.name)
    assert "another one" in lost(world, since)
    assert feed_health(world.endpoint, world.run).state == "lost"
    world.sql("SELECT pg_drop_replication_slot(%s)", world.name)
    world.outlet.create(world.scope, LIMIT_S)
    assert "made anew" in lost(world, since)


def test_a_slot_that_is_dropped_while_it_is_followed_is_a_lost_position(world: FeedWorld) -> None:
    source = world.connect()
    watch = source.changes([THINGS], source.position())
    next(watch)
    world.sql("SELECT pg_drop_replication_slot(%s)", world.name)
    world.insert(THINGS, 1, "missed")
    with pytest.raises(PositionLostError):
        for _ in watch:
            pass


def test_a_position_of_another_history_is_a_lost_one(world: FeedWorld) -> None:
    assert "restored" in lost(world, Position(b"FFFFFF/0"))


# --- closing and confirming


def test_closing_from_another_thread_ends_it_soon(world: FeedWorld) -> None:
    source = world.connect()
    watch = source.changes([THINGS], source.position())
    next(watch)
    closer = threading.Timer(0.1, watch.close)
    closer.start()
    began = time.monotonic()
    assert [changes.keys for changes in watch] in ([], [()])
    assert time.monotonic() - began < 1.0
    watch.close()
    watch.confirm(Position(b"0/1"))


def test_closing_ends_a_long_peek(world: FeedWorld) -> None:
    source = world.connect()
    since = source.position()
    world.sql(f"INSERT INTO {world.table('things')} (id) SELECT generate_series(1, 400000)")
    watch = source.changes([THINGS], since)
    threading.Timer(0.05, watch.close).start()
    began = time.monotonic()
    for _ in watch:
        pass
    assert time.monotonic() - began < 1.0
    assert until_marker(world.connect(), since) >= things([1, 400000])


def test_confirming_late_and_again_does_no_harm(world: FeedWorld) -> None:
    source = world.connect()
    since = source.position()
    watch = source.changes([THINGS], since)
    world.insert(THINGS, 1, "one")
    first = next(changes for changes in watch if changes.keys)
    world.insert(THINGS, 2, "two")
    second = next(changes for changes in watch if changes.keys)
    bound = "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = %s"
    held: list[int] = []
    for position in (since, first.position, first.position, second.position, first.position, since):
        time.sleep(0.3)  # so that none is left out as one of too many
        watch.confirm(position)
        held.append(world.sql(bound, world.name)[0][0])
    assert held == sorted(held)
    assert held[0] < held[1] == held[2] < held[3] == held[4] == held[5]
    world.insert(THINGS, 3, "three")
    assert next(changes for changes in watch if changes.keys).keys == (("things", key_of(3)),)
    assert lost(world, first.position)


def test_a_source_of_another_run_is_not_disturbed(world: FeedWorld, logical_server: str, stack: ExitStack) -> None:
    other = FeedWorld(logical_server, stack)
    source, theirs = world.connect(), other.connect()
    since, their_since = source.position(), theirs.position()
    world.insert(THINGS, 1, "ours")
    other.insert(THINGS, 2, "theirs")
    with closing(psycopg.connect(logical_server)):
        other.outlet.drop(other.scope, LIMIT_S)
    assert until_marker(source, since) == things([1])
    with pytest.raises(PositionLostError):
        next(theirs.changes([THINGS], their_since))
