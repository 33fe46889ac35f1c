"""PostgreSQL: what a run made is known by its number, not by its name."""

from __future__ import annotations

import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import CUSTOMERS, STREAMS, Migration, customer, order
from tranship.connectors.errors import NotOursError, RefusedError


@pytest.fixture
def migration(postgres: PostgresWorld) -> Migration:
    return Migration(postgres)


def _replace(postgres: PostgresWorld, table: str) -> None:
    """As an operator does who puts another table in the place of one."""
    postgres.sql(f"ALTER TABLE {{shop}}.{table} RENAME TO {table}_before")
    postgres.sql(f"CREATE TABLE {{shop}}.{table} (precious int); INSERT INTO {{shop}}.{table} VALUES (1)")


def _exists(postgres: PostgresWorld, name: str) -> bool:
    return postgres.sql(f"SELECT to_regclass('{{shop}}.{name}')") != [(None,)]


def test_a_rollback_drops_what_the_run_made_and_not_what_has_its_name(
    postgres: PostgresWorld, migration: Migration
) -> None:
    _replace(postgres, "customers")
    migration.schema.drop_tables(migration.scope, STREAMS)
    assert postgres.sql("SELECT precious FROM {shop}.customers") == [(1,)]
    assert not _exists(postgres, "customers_before")
    assert not _exists(postgres, "orders")


def test_a_backfill_that_is_undone_empties_what_the_run_made(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([customer(1, "a"), customer(2, "b")], CUSTOMERS)
    _replace(postgres, "customers")
    migration.progress.forget_chunks(migration.scope, [CUSTOMERS])
    assert postgres.sql("SELECT precious FROM {shop}.customers") == [(1,)]
    assert postgres.sql("SELECT count(*) FROM {shop}.customers_before") == [(0,)]


def test_a_table_in_the_place_of_a_renamed_one_is_found_at_every_command(
    postgres: PostgresWorld, migration: Migration
) -> None:
    assert migration.schema.may_move(STREAMS, migration.scope.run) == []
    _replace(postgres, "customers")
    findings = migration.schema.may_move(STREAMS, migration.scope.run)
    assert ["customers exists and was not made by this run" in finding.message for finding in findings] == [True]


def test_indexes_are_dropped_by_what_they_are(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([order(1), order(2)])
    migration.schema.create_indexes(migration.scope, STREAMS)
    migration.schema.create_constraints(migration.scope, STREAMS)
    for name in ("orders__status__placed__idx", "orders__number__key"):
        postgres.sql(f"ALTER INDEX {{shop}}.{name} RENAME TO {name}_before")
        postgres.sql(f"CREATE INDEX {name} ON {{shop}}.orders (priority)")
    with pytest.raises(NotOursError):
        migration.schema.create_indexes(migration.scope, STREAMS)
    migration.schema.drop_constraints(migration.scope, STREAMS)
    migration.schema.drop_indexes(migration.scope, STREAMS)
    for name in ("orders__status__placed__idx", "orders__number__key"):
        assert (_exists(postgres, name), _exists(postgres, f"{name}_before")) == (True, False)


def test_what_others_hung_on_a_table_is_named_before_a_drop(postgres: PostgresWorld, migration: Migration) -> None:
    postgres.sql("CREATE TABLE {shop}.likes (of char(24) REFERENCES {shop}.customers)")
    with pytest.raises(RefusedError, match=r"likes_of_fkey of .*likes"):
        migration.schema.drop_tables(migration.scope, STREAMS)
    assert _exists(postgres, "orders")
    postgres.sql("DROP TABLE {shop}.likes")
    migration.schema.drop_tables(migration.scope, STREAMS)
    assert not _exists(postgres, "orders")
