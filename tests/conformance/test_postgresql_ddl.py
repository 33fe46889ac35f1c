"""PostgreSQL: the script of a plan makes what a run makes, by the catalog."""

from __future__ import annotations

import psycopg
import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import BOOKINGS, STREAMS, Migration
from tranship.connectors.postgresql import schema_script

CATALOG = (
    "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated "
    "FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 "
    "WHERE c.relnamespace = '{shop}'::regnamespace "
    "ORDER BY 1, 2"
)
CONSTRAINTS = (
    "SELECT conname, contype, convalidated, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = '{shop}'::regnamespace AND contype <> 'n' ORDER BY 1"
)
INDEXES = (
    "SELECT indexrelid::regclass::text, indisvalid, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid IN "
    + ("(SELECT oid FROM pg_class WHERE relnamespace = '{shop}'::regnamespace) ORDER BY 1")
)


COMMENTS = (
    "SELECT objoid::regclass::text, objsubid, description FROM pg_description "
    "WHERE classoid = 'pg_class'::regclass AND objoid IN "
    "(SELECT oid FROM pg_class WHERE relnamespace = '{shop}'::regnamespace) ORDER BY 1, 2"
)


def test_the_script_makes_what_a_run_makes(postgres: PostgresWorld) -> None:
    every = (*STREAMS, BOOKINGS)
    postgres.streams = every
    migration = Migration(postgres)
    migration.schema.create_tables(migration.scope, every)
    migration.schema.create_indexes(migration.scope, every)
    migration.schema.create_constraints(migration.scope, every)
    asked = (CATALOG, CONSTRAINTS, INDEXES, COMMENTS)
    of_a_run = [postgres.sql(query) for query in asked]
    assert all(of_a_run)
    assert postgres.endpoint.schema in migration.schema.drop_tables(migration.scope, every)
    session = postgres.session()
    session.execute(schema_script(postgres.endpoint, every).encode())
    assert [postgres.sql(query) for query in asked] == of_a_run
    session.execute(schema_script(postgres.endpoint, every, rollback=True).encode())
    assert postgres.sql(f"SELECT 1 FROM pg_namespace WHERE nspname = '{postgres.endpoint.schema}'") == []


def test_what_somebody_has_hung_on_a_table_keeps_all_of_it(postgres: PostgresWorld) -> None:
    session = postgres.session()
    session.execute(schema_script(postgres.endpoint, STREAMS).encode())
    postgres.sql("CREATE VIEW {shop}.report AS SELECT number FROM {shop}.orders")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        session.execute(schema_script(postgres.endpoint, STREAMS, rollback=True).encode())
    session.execute("ROLLBACK")
    assert postgres.schema().table_differences(STREAMS) == []
