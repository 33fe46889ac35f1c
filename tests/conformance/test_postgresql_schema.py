"""PostgreSQL: what is in the way of tables, what differs from the plan, unique constraints under writes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import text

from tests.conformance.postgresql_world import PostgresWorld
from tests.conformance.target_world import (
    CUSTOMERS,
    LANES,
    ORDERS,
    STREAMS,
    Migration,
    batch,
    column,
    customer,
    key,
    order,
)
from tranship.connectors.errors import ConnectorError, NotOursError, RefusedError
from tranship.connectors.postgresql import connect_schema, indexes, statements
from tranship.connectors.postgresql.connections import conninfo
from tranship.connectors.postgresql.layout import NAME_BYTES
from tranship.connectors.postgresql.naming import Kind, clashes, derived
from tranship.connectors.postgresql.sessions import ControlSessions
from tranship.connectors.protocols import Feed, Scope
from tranship.plans.streams import Child, Column, LogicalType, Stream


@pytest.fixture
def migration(postgres: PostgresWorld) -> Migration:
    return Migration(postgres)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_the_size_of_tables_is_the_servers(migration: Migration, postgres: PostgresWorld) -> None:
    empty = migration.schema.size(STREAMS)
    migration.load([order(number) for number in range(1, 2000)])
    ((told,),) = postgres.sql(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = '{shop}'::regnamespace"
    )
    assert migration.schema.size(STREAMS) == told > empty
    assert migration.schema.size([]) == 0


def test_somebody_elses_table_is_never_touched(postgres: PostgresWorld) -> None:
    postgres.sql("CREATE SCHEMA {shop}")
    postgres.sql("CREATE TABLE {shop}.orders (precious int)")
    postgres.sql("INSERT INTO {shop}.orders VALUES (1)")
    scope = Scope("shop-1", Feed.FORWARD, postgres.take_over("shop-1"))
    schema = postgres.schema()
    (finding,) = schema.findings(STREAMS, scope.run)
    assert (finding.code, finding.severity) == ("target.name_taken", "error")
    assert f"{postgres.endpoint.schema}.orders exists and was not made by this run" in finding.message
    with pytest.raises(NotOursError, match="Nothing was changed"):
        schema.create_tables(scope, STREAMS)
    assert schema.drop_tables(scope, STREAMS) == []
    postgres.progress().forget_chunks(scope, STREAMS)
    assert postgres.sql("SELECT * FROM {shop}.orders") == [(1,)]
    assert postgres.sql("SELECT to_regclass('{shop}.customers')") == [(None,)]


def test_a_schema_that_was_there_stays(postgres: PostgresWorld) -> None:
    postgres.sql("CREATE SCHEMA {shop}")
    migration = Migration(postgres)
    dropped = migration.schema.drop_tables(migration.scope, STREAMS)
    assert postgres.endpoint.schema not in dropped
    assert migration.schema.create_tables(migration.scope, STREAMS) == sorted(dropped, key=dropped.index)


def test_a_schema_with_something_else_in_it_stays(postgres: PostgresWorld, migration: Migration) -> None:
    postgres.sql("CREATE FUNCTION {shop}.precious() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert postgres.endpoint.schema not in migration.schema.drop_tables(migration.scope, STREAMS)
    assert postgres.sql("SELECT {shop}.precious()") == [(1,)]
    postgres.sql("DROP FUNCTION {shop}.precious()")
    assert migration.schema.drop_tables(migration.scope, STREAMS) == [postgres.endpoint.schema]


def test_a_view_on_a_table_stops_its_drop(postgres: PostgresWorld, migration: Migration) -> None:
    postgres.sql("CREATE VIEW {shop}.report AS SELECT number FROM {shop}.orders")
    with pytest.raises(RefusedError, match=r"view .*report"):
        migration.schema.drop_tables(migration.scope, STREAMS)
    assert migration.schema.table_differences(STREAMS) == []


def test_tables_that_a_person_dropped_belong_to_the_run_that_makes_them_anew(
    postgres: PostgresWorld, migration: Migration
) -> None:
    postgres.sql("DROP TABLE {shop}.orders, {shop}.customers CASCADE; DROP SCHEMA {shop} CASCADE")
    after = Scope("shop-2", Feed.FORWARD, postgres.take_over("shop-2"))
    schema = postgres.schema()
    assert schema.findings(STREAMS, after.run) == []
    made = schema.create_tables(after, STREAMS)
    assert schema.create_tables(after, STREAMS) == [], "as after a crash"
    postgres.sql("INSERT INTO {shop}.customers (_id) VALUES (repeat('0', 24))")
    assert migration.schema.drop_tables(migration.scope, STREAMS) == []
    migration.progress.forget_chunks(migration.scope, STREAMS)
    assert len(postgres.sql("SELECT * FROM {shop}.customers")) == 1
    assert sorted(schema.drop_tables(after, STREAMS)) == sorted(made)


def test_runs_share_a_schema(postgres: PostgresWorld, migration: Migration) -> None:
    other = (replace(CUSTOMERS, name="visitors", table="visitors"),)
    second = Scope("visits-1", Feed.FORWARD, postgres.take_over("visits-1"))
    assert postgres.schema().findings(other, second.run) == []
    assert postgres.schema().create_tables(second, other) == [f"{postgres.endpoint.schema}.visitors"]
    assert postgres.endpoint.schema not in migration.schema.drop_tables(migration.scope, STREAMS)
    assert postgres.schema().drop_tables(second, other) == [f"{postgres.endpoint.schema}.visitors"]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("DROP TABLE {shop}.parts", "parts is missing"),
        ("ALTER TABLE {shop}.orders DROP COLUMN status", "column status is missing"),
        ("ALTER TABLE {shop}.orders ADD COLUMN more int", "column more is not in the plan"),
        ("ALTER TABLE {shop}.orders ALTER COLUMN priority TYPE bigint", "priority is bigint, the plan wants integer"),
        ("ALTER TABLE {shop}.orders ALTER COLUMN total TYPE numeric(13,2)", "the plan wants numeric(12,2)"),
        ("ALTER TABLE {shop}.orders ALTER COLUMN paid SET NOT NULL", "paid is boolean NOT NULL"),
        ('ALTER TABLE {shop}.orders ALTER COLUMN status TYPE text COLLATE "C"', 'status is text COLLATE "C"'),
        ("ALTER TABLE {shop}.notes DROP CONSTRAINT notes__pkey", "notes: its primary key is ()"),
    ],
)
def test_differences_from_the_plan_are_named(
    postgres: PostgresWorld, migration: Migration, change: str, difference: str
) -> None:
    postgres.sql(change)
    (found,) = migration.schema.table_differences(STREAMS)
    assert difference in found


def test_names_that_collide_are_refused(postgres: PostgresWorld) -> None:
    number = Column("_id", ("_id",), LogicalType.INT64, "int64")
    child = Child("lines", ("lines",), (column("_root_id", LogicalType.INT32), column("_ordinal", LogicalType.INT32)))
    stream = Stream("odd", "odd", "odd", (number,), (column("n" * 64, LogicalType.INT32),), (child,))
    problems = clashes([stream], "shop")
    assert [word in problem for word, problem in zip(["n" * 64, "_root_id", "_ordinal"], problems, strict=True)]
    schema = connect_schema(postgres.endpoint, [stream])
    postgres.stack.callback(schema.close)
    assert {finding.code for finding in schema.findings([stream], "shop-1")} == {"target.names"}
    scope = Scope("shop-1", Feed.FORWARD, postgres.take_over("shop-1"))
    with pytest.raises(RefusedError, match="_root_id"):
        schema.create_tables(scope, [stream])


def test_a_pooler_is_no_target(postgres: PostgresWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    # As PgBouncer does, each client is told a number of its own instead of the process id on the server.
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 4711)
    found = [f for f in postgres.schema().findings(STREAMS, "shop-1") if f.severity == "error"]
    assert [finding.code for finding in found] == ["target.pooler"]


def test_findings_name_missing_privileges(postgres: PostgresWorld) -> None:
    role = f"poor_{postgres.endpoint.schema[-8:]}"
    postgres.sql(f"CREATE ROLE {role} LOGIN")
    postgres.stack.callback(lambda: postgres.sql(f"DROP ROLE {role}"))
    endpoint = replace(postgres.endpoint, uri=f"{conninfo(postgres.endpoint)} user={role}", state_schema="elsewhere")
    schema = connect_schema(endpoint, STREAMS)
    postgres.stack.callback(schema.close)
    found = schema.findings(STREAMS, "shop-1")
    assert [finding.code for finding in found] == ["target.privilege", "target.privilege"]
    assert all("GRANT" in finding.hint for finding in found)


def test_a_role_that_may_not_make_temporary_tables_is_found(postgres: PostgresWorld) -> None:
    role = f"bare_{postgres.endpoint.schema[-8:]}"
    ((database,),) = postgres.sql("SELECT current_database()")
    postgres.sql(f"CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {database} TO {role}")
    postgres.sql(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    postgres.stack.callback(lambda: postgres.sql(f"DROP OWNED BY {role}; DROP ROLE {role}"))
    postgres.stack.callback(lambda: postgres.sql(f"GRANT TEMPORARY ON DATABASE {database} TO PUBLIC"))
    endpoint = replace(
        postgres.endpoint, uri=f"{conninfo(postgres.endpoint)} user={role}", schema="new", state_schema="elsewhere"
    )
    schema = connect_schema(endpoint, STREAMS)
    postgres.stack.callback(schema.close)
    codes = [finding.code for finding in schema.findings(STREAMS, "shop-1")]
    assert "target.temporary" in codes
    assert "target.privilege" not in codes


def test_a_role_that_acts_as_another_is_found(postgres: PostgresWorld) -> None:
    """By ALTER ROLE … SET role: sessions of the one cannot be ended as the other."""
    login, acting = f"login_{postgres.endpoint.schema[-8:]}", f"acting_{postgres.endpoint.schema[-8:]}"
    ((database,),) = postgres.sql("SELECT current_database()")
    postgres.sql(f"CREATE ROLE {acting}; CREATE ROLE {login} LOGIN NOINHERIT IN ROLE {acting}")
    postgres.sql(f"GRANT CREATE ON DATABASE {database} TO {acting}; ALTER ROLE {login} SET role = '{acting}'")
    postgres.sql(f"GRANT EXECUTE ON FUNCTION pg_control_system() TO {acting}")
    postgres.stack.callback(lambda: postgres.sql(f"DROP OWNED BY {acting}; DROP ROLE {login}; DROP ROLE {acting}"))
    endpoint = replace(
        postgres.endpoint, uri=f"{conninfo(postgres.endpoint)} user={login}", schema="new", state_schema="elsewhere"
    )
    schema = connect_schema(endpoint, STREAMS)
    postgres.stack.callback(schema.close)
    (finding,) = schema.findings(STREAMS, "")
    assert (finding.code, finding.severity) == ("target.role", "error")


@pytest.mark.parametrize("limited", ["ROLE {role}", "DATABASE {database}"])
def test_too_few_sessions_are_found(postgres: PostgresWorld, limited: str) -> None:
    ((database, role),) = postgres.sql("SELECT current_database(), current_user")
    limited = limited.format(role=role, database=database)
    schema = connect_schema(replace(postgres.endpoint, sessions=16), STREAMS)
    postgres.stack.callback(schema.close)
    assert schema.findings(STREAMS, "") == []
    postgres.sql(f"ALTER {limited} CONNECTION LIMIT 15")
    try:
        found = schema.findings(STREAMS, "")
    finally:
        postgres.sql(f"ALTER {limited} CONNECTION LIMIT -1")
    (finding,) = found
    assert (finding.code, finding.severity, "allows 15" in finding.message) == ("target.sessions", "error", True)


def test_a_server_without_so_many_sessions_is_found(postgres: PostgresWorld) -> None:
    ((most,),) = postgres.sql("SELECT current_setting('max_connections')::int")
    for needed, severity in ((most - 4, "warning"), (most + 1, "error")):
        schema = connect_schema(replace(postgres.endpoint, sessions=needed), STREAMS)
        postgres.stack.callback(schema.close)
        (finding,) = schema.findings(STREAMS, "")
        assert (finding.code, finding.severity) == ("target.sessions", severity)


def test_the_rows_of_a_document_hang_together(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([order(7)])
    migration.schema.create_constraints(migration.scope, STREAMS)
    postgres.sql("DELETE FROM {shop}.orders")
    for table in ("items", "parts", "notes"):
        assert postgres.sql(f"SELECT count(*) FROM {{shop}}.{table}") == [(0,)]


def test_foreign_keys_of_child_tables_come_after_the_copy_and_go_again(
    postgres: PostgresWorld, migration: Migration
) -> None:
    keys = "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' AND connamespace = "
    keys += f"(SELECT oid FROM pg_namespace WHERE nspname = '{postgres.endpoint.schema}') ORDER BY 1"
    migration.load([order(n) for n in range(12)])
    assert postgres.sql(keys) == []
    for _ in range(2):
        migration.schema.create_constraints(migration.scope, STREAMS)
        made = [("items__fkey", True), ("notes__fkey", True), ("parts__fkey", True)]
        assert postgres.sql(keys) == made
        assert migration.schema.constraint_differences(STREAMS) == []
    postgres.sql("ALTER TABLE {shop}.items DROP CONSTRAINT items__fkey")
    (problem,) = migration.schema.constraint_differences(STREAMS)
    assert problem.endswith("items: its foreign key to orders is missing or does not cascade")
    migration.schema.drop_constraints(migration.scope, STREAMS)
    assert postgres.sql(keys) == []


def test_child_rows_that_lost_their_parents_before_the_foreign_key_go(
    postgres: PostgresWorld, migration: Migration
) -> None:
    migration.load([order(n) for n in range(12)])
    postgres.sql("DELETE FROM {shop}.orders WHERE number IN (7, 8)")
    postgres.sql("DELETE FROM {shop}.items WHERE _ordinal = 2 AND right(_id, 1) = 'b'".replace("_id", "_root_id"))
    migration.schema.create_constraints(migration.scope, STREAMS)
    assert migration.schema.constraint_differences(STREAMS) == []
    assert migration.numbers() == [0, 1, 2, 3, 4, 5, 6, 9, 10, 11]
    assert len(migration.rows()[-1]["items"]) == 2


def test_foreign_keys_are_made_while_rows_change(postgres: PostgresWorld, migration: Migration) -> None:
    numbers = range(60)
    migration.load([order(n) for n in numbers])
    stop = threading.Event()
    failures: list[Exception] = []

    def apply(lane: int) -> None:
        target = postgres.target(migration.scope)
        try:
            for count in itertools.count():
                if stop.is_set():
                    return
                migration.change(*numbers)
                mark, dirty = migration.progress.take(migration.scope, lane, 1000)
                there = {entry.key for entry in dirty}
                rows = [order(n, notes=[]) for n in numbers if key(n) in there and (n + count) % 2]
                target.replace(ORDERS, dirty, batch(rows), [mark])
        except Exception as failure:  # noqa: BLE001 - reported below, in the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=apply, args=(lane,)) for lane in range(LANES)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        migration.schema.create_constraints(migration.scope, [ORDERS])
        assert migration.schema.constraint_differences([ORDERS]) == []
        migration.schema.drop_constraints(migration.scope, [ORDERS])
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


# --- indexes and constraints ------------------------------------------------------------------------------------------


def test_names_of_indexes_and_constraints_stay_apart() -> None:
    assert derived("orders", ("status", "placed_at"), "idx") == "orders__status__placed_at__idx"
    parts = ["a", "b", "a_b", "a__b", "_a", "a_", "_", "__", "é" * 20, "é" * 21, "a__b__key"]
    kinds: tuple[Kind, ...] = ("idx", "key", "pkey", "fkey", "order")
    asked = [
        (table, columns, kind)
        for table in parts
        for columns in ((), *((one,) for one in parts), *itertools.product(parts, repeat=2))
        for kind in kinds
    ]
    assert len({derived(*one) for one in asked}) == len(asked)
    assert all(len(derived(*one).encode()) <= NAME_BYTES for one in asked)


def test_a_name_that_a_table_and_an_index_would_have_is_found() -> None:
    number = Column("_id", ("_id",), LogicalType.INT64, "int64")
    unique = replace(column("b", LogicalType.INT32), unique=True)
    one = Stream("a", "a", "a", (number,), (unique,))
    assert clashes([one, Stream("c", "c", "a__b", (number,), ())], "shop") == []
    (problem,) = clashes([one, Stream("c", "c", "a__b__key", (number,), ())], "shop")
    assert "the unique index of a over b and table a__b__key would both be named a__b__key" in problem
    (problem,) = clashes([one, Stream("c", "c", "a__pkey", (number,), ())], "shop")
    assert "primary key of a" in problem


@pytest.mark.parametrize(
    "object",
    [
        "TYPE {shop}.orders AS ENUM ('a')",
        "DOMAIN {shop}.orders AS int",
        "TYPE {shop}.orders AS (a int)",
        "SEQUENCE {shop}.orders__pkey",
        "TABLE {shop}.orders__number__key (a int)",
        "VIEW {shop}.orders__status__placed__idx AS SELECT 1",
    ],
)
def test_what_has_a_name_of_the_plan_is_found_before_anything_is_made(postgres: PostgresWorld, object: str) -> None:  # noqa: A002
    postgres.sql(f"CREATE SCHEMA {{shop}}; CREATE {object}")
    (finding,) = postgres.schema().findings(STREAMS, "")
    assert (finding.code, finding.severity) == ("target.name_taken", "error")
    assert object.split("}.")[1].split(maxsplit=1)[0] in finding.message


def test_somebody_elses_index_is_never_touched(postgres: PostgresWorld, migration: Migration) -> None:
    postgres.sql("CREATE INDEX orders__status__placed__idx ON {shop}.orders (priority)")
    postgres.sql("CREATE INDEX orders__number__key ON {shop}.orders (priority)")
    with pytest.raises(NotOursError, match="orders__status__placed__idx"):
        migration.schema.create_indexes(migration.scope, STREAMS)
    with pytest.raises(NotOursError, match="orders__number__key"):
        migration.schema.create_constraints(migration.scope, STREAMS)
    assert "the plan wants" in migration.schema.index_differences(STREAMS)[0]
    migration.schema.drop_indexes(migration.scope, STREAMS)
    migration.schema.drop_constraints(migration.scope, STREAMS)
    names = "SELECT indexname FROM pg_indexes WHERE indexname IN ('orders__number__key', 'orders__status__placed__idx')"
    assert len(postgres.sql(f"{names} AND schemaname = '{postgres.endpoint.schema}'")) == 2


def test_duplicates_that_go_away_do_not_fail_a_constraint(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([customer(n, "same" if n < 3 else f"mail {n}") for n in range(1, 10)], CUSTOMERS)
    _create_unique(postgres, migration, lambda: postgres.sql("UPDATE {shop}.customers SET email = _id"))
    assert migration.schema.constraint_differences([CUSTOMERS]) == []


def test_duplicates_that_stay_fail_a_constraint_and_leave_no_index(
    postgres: PostgresWorld, migration: Migration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "BUILD_TRIES", 2)
    migration.load([customer(n, "same") for n in range(1, 4)], CUSTOMERS)
    pauses: list[float] = []
    with pytest.raises(ConnectorError, match="email") as caught:
        _create_unique(postgres, migration, lambda: pauses.append(1))
    assert "same" not in str(caught.value)
    assert len(pauses) == 2 * indexes.UNIQUE_WAIT_S / indexes.PAUSE_S
    assert postgres.sql(f"SELECT 1 FROM pg_indexes WHERE indexname = 'customers__email__key' {_here(postgres)}") == []
    postgres.sql("UPDATE {shop}.customers SET email = _id")
    migration.schema.create_constraints(migration.scope, [CUSTOMERS])
    assert migration.schema.constraint_differences([CUSTOMERS]) == []


def test_an_index_that_a_crash_left_invalid_is_built_anew(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([customer(1, "a"), customer(2, "a")], CUSTOMERS)
    with pytest.raises(ZeroDivisionError):
        _create_unique(postgres, migration, lambda: 1 // 0)
    # As if the process had ended in the middle of the next build.
    with postgres.engine.connect() as connection:
        automatic = connection.execution_options(isolation_level="AUTOCOMMIT")
        build = postgres.named("CREATE UNIQUE INDEX CONCURRENTLY customers__email__key ON {shop}.customers (email)")
        with pytest.raises(Exception, match="could not create unique index"):
            automatic.execute(text(build))
    assert "is not valid" in migration.schema.constraint_differences([CUSTOMERS])[0]
    postgres.sql("UPDATE {shop}.customers SET email = _id")
    migration.schema.create_constraints(migration.scope, [CUSTOMERS])
    assert migration.schema.constraint_differences([CUSTOMERS]) == []
    migration.schema.drop_constraints(migration.scope, [CUSTOMERS])
    assert postgres.sql(f"SELECT 1 FROM pg_indexes WHERE indexname = 'customers__email__key' {_here(postgres)}") == []


def test_a_unique_index_that_somebody_added_is_told(postgres: PostgresWorld, migration: Migration) -> None:
    migration.load([order(1), order(2)])
    postgres.sql("CREATE UNIQUE INDEX added ON {shop}.orders (priority)")
    migration.change(2)
    mark, dirty = migration.take_one()
    with pytest.raises(ConnectorError, match="added"):
        migration.target.replace(ORDERS, dirty, batch([order(2, priority=-1)]), [mark])
    assert migration.numbers() == [1, 2]


def _here(postgres: PostgresWorld) -> str:
    return f"AND schemaname = '{postgres.endpoint.schema}'"


def _create_unique(postgres: PostgresWorld, migration: Migration, meanwhile: Callable[[], object]) -> None:
    """Build the customers' constraint; `meanwhile` happens instead of each pause."""
    sessions = ControlSessions(postgres.endpoint)
    postgres.stack.callback(sessions.close)
    wanted = list(statements.unique([CUSTOMERS], postgres.endpoint.schema))
    indexes.create_unique(sessions, postgres.tables, migration.scope, wanted, sleep=lambda _: _none(meanwhile()))


def _none(_: object) -> None: ...
