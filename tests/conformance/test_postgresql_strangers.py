"""PostgreSQL: what others have hung on a run's tables is found, and what would be harmed or does harm is an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import CUSTOMERS, STREAMS, Migration, order
from tranship.connectors.errors import RefusedError
from tranship.connectors.postgresql import connect_schema
from tranship.connectors.protocols import Finding
from tranship.plans.streams import Column, LogicalType

KEY = 'char(24) COLLATE "C"'


@pytest.fixture
def migration(postgres: PostgresWorld) -> Migration:
    return Migration(postgres)


def found(postgres: PostgresWorld, *accept: str) -> list[Finding]:
    schema = connect_schema(replace(postgres.endpoint, accept=accept), STREAMS)
    postgres.stack.callback(schema.close)
    return schema.findings(STREAMS, "shop-1")


def codes(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity) for finding in findings]


def test_what_the_run_made_itself_is_nobody_elses(postgres: PostgresWorld, migration: Migration) -> None:
    migration.schema.create_indexes(migration.scope, STREAMS)
    migration.schema.create_constraints(migration.scope, STREAMS)
    assert found(postgres) == []


@pytest.mark.parametrize(
    "statement",
    [
        f"CREATE TABLE {{shop}}.review (of {KEY} REFERENCES {{shop}}.orders ON DELETE CASCADE)",
        f"CREATE TABLE {{shop}}.review (of {KEY}, n int, FOREIGN KEY (of, n) REFERENCES {{shop}}.items)",
    ],
)
def test_a_foreign_key_on_a_key_is_an_error_unless_it_is_accepted(
    postgres: PostgresWorld, migration: Migration, statement: str
) -> None:
    postgres.sql(statement)
    (finding,) = found(postgres, "customers", "other.review")
    assert (finding.code, finding.severity) == ("target.foreign_key", "error")
    assert f"{postgres.endpoint.schema}.review" in finding.message
    assert f"target.accept: [{postgres.endpoint.schema}.review]" in finding.hint
    for name in ("review", f"{postgres.endpoint.schema}.review"):
        assert codes(found(postgres, name)) == [("target.foreign_key", "warning")]
    assert migration.schema.may_move(STREAMS, migration.scope.run) == [finding]


def test_a_foreign_key_on_a_unique_column_is_never_accepted(postgres: PostgresWorld, migration: Migration) -> None:
    migration.schema.create_constraints(migration.scope, STREAMS)
    postgres.sql("CREATE TABLE {shop}.letter (mail text REFERENCES {shop}.customers (email))")
    assert codes(found(postgres, "letter")) == [("target.foreign_key", "error")]


def test_a_foreign_key_that_refuses_rows_is_never_accepted(postgres: PostgresWorld, migration: Migration) -> None:
    postgres.sql("ALTER TABLE {shop}.orders ADD FOREIGN KEY (customer) REFERENCES {shop}.customers")
    postgres.sql("CREATE TABLE {shop}.status (name text PRIMARY KEY)")
    postgres.sql("ALTER TABLE {shop}.orders ADD FOREIGN KEY (status) REFERENCES {shop}.status")
    assert codes(found(postgres, "status")) == [("target.foreign_key", "error")] * 2
    assert migration.schema.table_differences(STREAMS) == []


@pytest.mark.parametrize(
    ("statement", "code", "severity"),
    [
        ("CREATE TRIGGER t AFTER UPDATE ON {shop}.orders EXECUTE FUNCTION {shop}.f()", "target.trigger", "warning"),
        ("CREATE RULE r AS ON UPDATE TO {shop}.items DO INSTEAD NOTHING", "target.rule", "error"),
        ("CREATE POLICY p ON {shop}.notes", "target.policy", "warning"),
        ("ALTER TABLE {shop}.orders FORCE ROW LEVEL SECURITY", "target.policy", "error"),
        ("CREATE VIEW {shop}.v AS SELECT number FROM {shop}.orders", "target.view", "warning"),
        ("CREATE MATERIALIZED VIEW {shop}.v AS SELECT count(*) FROM {shop}.parts", "target.view", "warning"),
    ],
)
def test_what_acts_on_rows_is_found(
    postgres: PostgresWorld, migration: Migration, statement: str, code: str, severity: str
) -> None:
    postgres.sql("CREATE FUNCTION {shop}.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    assert found(postgres) == []
    postgres.sql(statement)
    assert codes(found(postgres)) == [(code, severity)]
    assert codes(migration.schema.may_move(STREAMS, migration.scope.run)) == [(code, severity)]


def test_tables_to_which_others_refer_are_not_emptied_and_the_referring_one_is_named(
    postgres: PostgresWorld, migration: Migration
) -> None:
    migration.load([order(1)])
    postgres.sql(f"CREATE TABLE {{shop}}.review (of {KEY} REFERENCES {{shop}}.orders ON DELETE CASCADE)")
    postgres.sql("INSERT INTO {shop}.review SELECT _id FROM {shop}.orders")
    with pytest.raises(RefusedError, match=f"{postgres.endpoint.schema}.review"):
        migration.progress.forget_chunks(migration.scope, STREAMS)
    assert (migration.numbers(), postgres.sql("SELECT count(*) FROM {shop}.review")) == ([1], [(1,)])
    postgres.sql("ALTER TABLE {shop}.review DROP CONSTRAINT review_of_fkey")
    migration.progress.forget_chunks(migration.scope, STREAMS)
    assert (migration.numbers(), postgres.sql("SELECT count(*) FROM {shop}.review")) == ([], [(1,)])


@contextmanager
def publication(postgres: PostgresWorld, what: str) -> Iterator[str]:
    name = f"p_{postgres.endpoint.schema[-8:]}"
    postgres.sql(f"CREATE PUBLICATION {name} FOR {what}")
    try:
        yield name
    finally:
        postgres.sql(f"DROP PUBLICATION {name}")


@pytest.mark.usefixtures("migration")
def test_a_publication_of_the_tables_is_found(postgres: PostgresWorld) -> None:
    for what in ("TABLE {shop}.items", "TABLES IN SCHEMA {shop}", "ALL TABLES"):
        with publication(postgres, what):
            assert codes(found(postgres)) == [("target.publication", "warning")]
    postgres.sql("CREATE TABLE {shop}.other (id int)")
    with publication(postgres, "TABLE {shop}.other"):
        assert found(postgres) == []


def test_a_publication_that_would_refuse_changes_of_a_long_key_is_found_before_there_are_tables(
    postgres: PostgresWorld,
) -> None:
    """From PostgreSQL 18 on; else the first change fails with 42P10."""
    key = Column("_id", ("_id",), LogicalType.TEXT, "text", long=True)
    streams = [replace(CUSTOMERS, key=(key,))]
    schema = postgres.schema()
    with publication(postgres, "ALL TABLES") as name:
        (finding,) = [one for one in schema.findings(streams, "shop-1") if one.severity == "error"]
        assert (finding.code, name in finding.hint) == ("target.publication", True)
        postgres.sql(f"ALTER PUBLICATION {name} SET (publish_generated_columns = stored)")
        assert codes(schema.findings(streams, "shop-1")) == [("target.publication", "warning")]
