"""PostgreSQL: which object is in the way, and who holds it; what a wait that is given up leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import ORDERS, STREAMS, Migration, order
from tranship.connectors.errors import RefusedError
from tranship.connectors.postgresql import indexes, tables
from tranship.connectors.postgresql.errors import LockTimeoutError, translating
from tranship.connectors.postgresql.layout import quote


@pytest.fixture
def migration(postgres: PostgresWorld) -> Migration:
    return Migration(postgres)


@contextmanager
def somebody(postgres: PostgresWorld, statement: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """An application in the middle of a transaction; `{shop}` is the target's schema."""
    with psycopg.connect(postgres.endpoint.address, application_name="billing") as connection:
        connection.execute(statement.replace("{shop}", quote(postgres.endpoint.schema)).encode())
        yield connection
        connection.rollback()


def invalid(postgres: PostgresWorld) -> list[tuple[object, ...]]:
    return postgres.sql(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid "
        "AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = '{shop}'::regnamespace)"
    )


def test_what_depends_on_a_table_is_named(postgres: PostgresWorld, migration: Migration) -> None:
    """The server's DETAIL names objects here, and no row."""
    assert migration.schema.table_differences(STREAMS) == []
    postgres.sql("CREATE VIEW {shop}.report AS SELECT number FROM {shop}.orders")
    with (
        pytest.raises(RefusedError, match=r"2BP01\)+: view .*report depends on table .*orders") as raised,
        translating(),
    ):
        postgres.sql("DROP TABLE {shop}.orders")
    assert "CASCADE" not in str(raised.value), "no advice that would drop other people's objects"
    postgres.sql("CREATE TABLE {shop}.bills (o character(24) REFERENCES {shop}.orders)")
    with pytest.raises(RefusedError, match=r"0A000\)+: Table \"bills\" references \"orders\""), translating():
        postgres.sql("TRUNCATE {shop}.orders")


def test_a_row_that_is_refused_is_not_shown(postgres: PostgresWorld, migration: Migration) -> None:
    """Nor is the server's DETAIL of it, which quotes it."""
    postgres.sql("ALTER TABLE {shop}.orders ADD CONSTRAINT small CHECK (number < 5)")
    (mark,) = migration.begin()
    with pytest.raises(Exception, match="23514") as raised:
        migration.load([order(4711)])
    assert "4711" not in str(raised.value)
    assert mark.stream == ORDERS.name


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that are given up soon."""
    for module in (indexes, tables):
        monkeypatch.setattr(module, "LOCK_TIMEOUT", "SET LOCAL lock_timeout = '200ms'")
    monkeypatch.setattr(indexes, "CONCURRENT_LOCK_TIMEOUT", "SET lock_timeout = '200ms'")
    monkeypatch.setattr(indexes, "LOCKERS_WAIT_S", 0.5)


@pytest.mark.usefixtures("hasty")
def test_who_holds_a_table_is_named(postgres: PostgresWorld, migration: Migration) -> None:
    with somebody(postgres, "LOCK TABLE {shop}.orders IN SHARE MODE") as holder:
        pid, user = holder.info.backend_pid, holder.info.user
        with pytest.raises(LockTimeoutError) as raised:
            migration.schema.drop_tables(migration.scope, STREAMS)
    said = str(raised.value)
    assert f"process {pid} (user {user}, application billing) for " in said
    assert f"has locked {quote(postgres.endpoint.schema)}.orders" in said


@pytest.mark.usefixtures("hasty")
def test_a_unique_index_is_not_begun_while_somebody_writes(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([order(1)])
    with (
        somebody(postgres, "LOCK TABLE {shop}.orders IN ROW EXCLUSIVE MODE"),
        pytest.raises(LockTimeoutError, match="application billing"),
    ):
        migration.schema.create_constraints(migration.scope, STREAMS)
    assert invalid(postgres) == []
    migration.schema.create_constraints(migration.scope, STREAMS)
    assert migration.schema.constraint_differences(STREAMS) == []


@pytest.mark.usefixtures("hasty")
def test_a_build_that_waits_for_an_old_snapshot_leaves_no_index(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([order(1)])
    with (
        somebody(postgres, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1"),
        pytest.raises(LockTimeoutError, match="application billing"),
    ):
        migration.schema.create_constraints(migration.scope, STREAMS)
    assert invalid(postgres) == []
    migration.schema.create_constraints(migration.scope, STREAMS)
    assert migration.schema.constraint_differences(STREAMS) == []
