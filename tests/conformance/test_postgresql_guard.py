"""The guard of a run's tables: who may write to them in which state of the record, whatever a session sets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import CUSTOMERS, ORDERS
from tranship.connectors.errors import TransientError
from tranship.connectors.postgresql.connections import CONTROL_IDLE_S
from tranship.connectors.postgresql.errors import translating
from tranship.connectors.postgresql.layout import layout
from tranship.connectors.postgresql.routes import lock
from tranship.connectors.postgresql.routing import PostgresRecords
from tranship.connectors.protocols import Feed, Owner, Routing, RoutingRecord, Scope

APPLIES = "tranship.applies = 'run''s 1'"
REFUSED = psycopg.errors.ObjectNotInPrerequisiteState
RUN = "run's 1"
"""Of a name that has to be quoted."""
OWNER = Owner("1", RUN, "the target", "state", "shop")

WRITES = (
    "INSERT INTO {table} ({key}) VALUES (7)",
    "UPDATE {table} SET {key} = {key}",
    "DELETE FROM {table}",
    "TRUNCATE {table} CASCADE",
    "COPY {table} ({key}) FROM STDIN",
)


@pytest.fixture
def records(postgres: PostgresWorld) -> Iterator[PostgresRecords]:
    postgres.schema().create_tables(Scope(RUN, Feed.FORWARD, postgres.take_over(RUN)), [CUSTOMERS])
    with closing(PostgresRecords(postgres.endpoint)) as store:
        yield store


def says(records: PostgresRecords, state: Routing, version: int = 1) -> None:
    found = records.begin(OWNER, RoutingRecord(Routing.CLOSED, 0))
    assert found == RoutingRecord(state, version) or records.swap("1", found, RoutingRecord(state, version))


def write(
    postgres: PostgresWorld, statement: str = WRITES[1], *settings: str, isolation: str = "READ COMMITTED"
) -> None:
    with psycopg.connect(postgres.endpoint.uri) as connection:
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        for setting in settings:
            connection.execute(f"SET LOCAL {setting}")
        attempt(connection, postgres, statement)


def attempt(connection: psycopg.Connection[Any], postgres: PostgresWorld, statement: str) -> None:
    table = f'"{postgres.endpoint.schema}"."{CUSTOMERS.table}"'
    sent = statement.format(table=table, key=f'"{CUSTOMERS.key[0].name}"')
    if sent.startswith("COPY"):
        with connection.cursor() as cursor, cursor.copy(sent) as copy:
            copy.write(b"8\n")
    else:
        connection.execute(sent)


@pytest.mark.parametrize("statement", WRITES)
def test_a_closed_target_takes_no_write(postgres: PostgresWorld, records: PostgresRecords, statement: str) -> None:
    says(records, Routing.CLOSED)
    for setting in ("tranship.version = '1'", "session_replication_role = replica", "tranship.applies = 'another'"):
        with pytest.raises(REFUSED, match="takes no such write"):
            write(postgres, statement, setting)
    write(postgres, WRITES[1], APPLIES)


@pytest.mark.parametrize(
    ("state", "settings", "passes"),
    [
        (Routing.CLOSED, (), False),
        (Routing.READY, (), False),
        (Routing.READY, ("tranship.version = '0'",), False),
        (Routing.READY, ("tranship.version = '1'",), True),
        (Routing.READY, (APPLIES, "tranship.version = '1'"), False),
        (Routing.PRIMARY, (), True),
        (Routing.PRIMARY, ("tranship.version = '1'",), True),
        (Routing.PRIMARY, ("tranship.version = '0'",), False),
        (Routing.PRIMARY, (APPLIES,), False),
        (Routing.FENCED, ("tranship.version = '1'",), False),
        (Routing.FENCED, (APPLIES,), False),
        (Routing.HANDED_OVER, (), False),
        (Routing.HANDED_OVER, (APPLIES,), True),
    ],
)
def test_who_may_write(
    postgres: PostgresWorld, records: PostgresRecords, state: Routing, settings: tuple[str, ...], passes: bool
) -> None:
    says(records, state)
    if passes:
        write(postgres, WRITES[1], *settings)
    else:
        with pytest.raises(REFUSED):
            write(postgres, WRITES[1], *settings)


def test_a_change_of_the_record_waits_for_writes_that_are_under_way(
    postgres: PostgresWorld, records: PostgresRecords
) -> None:
    says(records, Routing.PRIMARY)
    done: list[float] = []

    def change() -> None:
        assert records.swap("1", RoutingRecord(Routing.PRIMARY, 1), RoutingRecord(Routing.FENCED, 2))
        done.append(time.monotonic())

    with psycopg.connect(postgres.endpoint.uri) as connection:
        attempt(connection, postgres, WRITES[1])
        thread = threading.Thread(target=change)
        thread.start()
        time.sleep(0.2)
        assert not done
        connection.commit()
        thread.join()
        with pytest.raises(REFUSED):
            attempt(connection, postgres, WRITES[1])


def test_a_transaction_that_idles_holds_a_change_up_for_a_moment_only(
    postgres: PostgresWorld, records: PostgresRecords
) -> None:
    says(records, Routing.PRIMARY)
    with psycopg.connect(postgres.endpoint.uri) as connection:
        attempt(connection, postgres, WRITES[1])
        with pytest.raises(TransientError):
            records.swap("1", RoutingRecord(Routing.PRIMARY, 1), RoutingRecord(Routing.FENCED, 2))
        assert records.read("1") == RoutingRecord(Routing.PRIMARY, 1)


def test_a_process_that_is_silent_over_a_change_holds_writes_up_for_a_moment_only(
    postgres: PostgresWorld, records: PostgresRecords
) -> None:
    """One that was stopped, or cut off from the server, between its change and its COMMIT."""
    says(records, Routing.READY)
    with postgres.engine.connect() as silent:
        silent.begin()
        lock(silent, postgres.tables, "1")
        began = time.monotonic()
        write(postgres, WRITES[1], "tranship.version = '1'")
        assert time.monotonic() - began < CONTROL_IDLE_S / 2
        with pytest.raises(TransientError), translating():
            silent.exec_driver_sql("SELECT 1")
        silent.invalidate()


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_snapshot_older_than_the_record_does_not_write_through(
    postgres: PostgresWorld, records: PostgresRecords, isolation: str
) -> None:
    says(records, Routing.PRIMARY)
    with psycopg.connect(postgres.endpoint.uri) as connection:
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        connection.execute("SELECT 1")
        assert records.swap("1", RoutingRecord(Routing.PRIMARY, 1), RoutingRecord(Routing.FENCED, 2))
        with pytest.raises((REFUSED, psycopg.errors.SerializationFailure)):
            attempt(connection, postgres, WRITES[1])


def test_orphans_of_a_closed_target_go_with_the_foreign_keys(postgres: PostgresWorld, records: PostgresRecords) -> None:
    """Somebody who deceived the guard has deleted a root; that its children go is the run's own doing."""
    schema, scope = postgres.schema(), Scope(RUN, Feed.FORWARD, postgres.take_over(RUN))
    schema.create_tables(scope, [ORDERS])
    says(records, Routing.CLOSED)
    child = next(table for table, parent in layout(ORDERS, postgres.endpoint.schema).walk() if parent is not None)
    with psycopg.connect(postgres.endpoint.uri) as connection:
        connection.execute(f"SET LOCAL {APPLIES}")
        names = ", ".join(f'"{name}"' for name in child.primary)
        connection.execute(f"INSERT INTO {child.name} ({names}) VALUES ('orphan', 0)".encode())
    schema.create_constraints(scope, [ORDERS])
    assert postgres.sql(f"SELECT count(*) FROM {child.name}") == [(0,)]


def test_a_table_whose_run_has_no_record_is_open(postgres: PostgresWorld, records: PostgresRecords) -> None:
    """As one that an earlier version made, or of a run that was purged."""
    assert records.read("1") is None
    write(postgres)


def test_a_role_of_an_application_needs_no_right_on_the_state(
    postgres: PostgresWorld, records: PostgresRecords
) -> None:
    says(records, Routing.PRIMARY)
    role = f"app_{postgres.endpoint.schema.split()[-1]}"
    postgres.sql(f'CREATE ROLE "{role}" LOGIN')
    try:
        postgres.sql(f'GRANT USAGE ON SCHEMA "{postgres.endpoint.schema}" TO "{role}"')
        postgres.sql(f'GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA "{postgres.endpoint.schema}" TO "{role}"')
        with psycopg.connect(postgres.endpoint.uri) as connection:
            connection.execute(f'SET LOCAL ROLE "{role}"')
            attempt(connection, postgres, WRITES[1])
    finally:
        postgres.sql(f'DROP OWNED BY "{role}"')
        postgres.sql(f'DROP ROLE "{role}"')
