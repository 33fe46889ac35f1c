"""PostgreSQL: the statements that `plan show` prints are those that a run carries out."""

from __future__ import annotations

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import STREAMS, Migration
from tranship.connectors.postgresql.mapping import mapping

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


def test_what_is_printed_makes_what_a_run_makes(postgres: PostgresWorld) -> None:
    migration = Migration(postgres)
    migration.schema.create_indexes(migration.scope, STREAMS)
    migration.schema.create_constraints(migration.scope, STREAMS)
    of_a_run = [postgres.sql(query) for query in (CATALOG, CONSTRAINTS, INDEXES)]
    migration.schema.drop_constraints(migration.scope, STREAMS)
    migration.schema.drop_tables(migration.scope, STREAMS)
    postgres.sql("CREATE SCHEMA {shop}")
    for table in mapping(postgres.endpoint, STREAMS):
        for statement in table.ddl:
            postgres.sql(statement)
    assert [postgres.sql(query) for query in (CATALOG, CONSTRAINTS, INDEXES)] == of_a_run
