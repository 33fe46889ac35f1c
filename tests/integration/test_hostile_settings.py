"""A whole migration as a role for which every setting is as bad as it may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import quote

import bson
import psycopg
import pytest
from psycopg import sql

from tests.integration.route import Route, things, wait_until

FINISHED, REFUSED, ROLLED_BACK = 0, 3, 4
ROLE = "hostile"

HOSTILE = {
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "escape_string_warning": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "timezone": "Pacific/Chatham",
    "extra_float_digits": "-15",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "quote_all_identifiers": "on",
    "search_path": "traps, pg_catalog",
    "row_security": "off",
    "exit_on_error": "on",
    "lock_timeout": "1",
    "statement_timeout": "1500",
    "idle_session_timeout": "300",
    "idle_in_transaction_session_timeout": "300",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "client_min_messages": "debug5",
    "xmloption": "document",
    "client_encoding": "LATIN1",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "check_function_bodies": "off",
    "default_text_search_config": "german",
    "lo_compat_privileges": "on",
    "max_parallel_workers_per_gather": "0",
    "debug_parallel_query": "on",
}

TRAPS = """
create schema traps;
grant usage on schema traps to public;
create function traps.octet_length(bytea) returns int language sql as 'select 0';
create function traps.now() returns timestamptz language sql as 'select timestamptz ''epoch''';
create function traps.clock_timestamp() returns timestamptz language sql as 'select timestamptz ''epoch''';
create function traps.sha256(bytea) returns bytea language sql as 'select $1';
create table traps.pg_class (relname name);
"""

STREAMS = {
    "things": {
        "columns": {
            "name": "text",
            "number": {"type": "int64", "bson": "int32"},
            "ratio": "float64",
            "price": {"type": "decimal", "scale": 2, "precision": 12},
            "at": "timestamp",
            "raw": {"type": "bytes"},
            "tags": {"type": "array", "items": "text"},
        },
        "key": {"_id": "text"},
    },
    "ticks": {"key": {"_id": "timestamp"}, "columns": {"name": "text"}},
}


def document(number: int) -> dict[str, object]:
    return {
        "_id": f"t{number:05}\\'",
        "name": f"it's \\ {number}",
        "number": number,
        "ratio": number / 3,
        "price": bson.Decimal128(Decimal(f"{number}.10")),
        "at": datetime(2024, 2, 3, 4, 5, 6, 789000, tzinfo=UTC),
        "raw": bytes([0, 92, 39, 255]),
        "tags": ["NULL", "a\\b"],
    }


def tick(number: int) -> datetime:
    """Before 1970 too: intervals of either sign are in the bounds of such keys."""
    return datetime(1969, 12, 31, 12, number, tzinfo=UTC) + timedelta(hours=number)


@pytest.fixture
def hostile(route: Route) -> Route:
    """The route, whose target is reached as the role with the worst settings."""
    with psycopg.connect(route.target_uri, autocommit=True) as admin:
        admin.execute(TRAPS)
        admin.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(ROLE)))
        admin.execute(sql.SQL("create role {} login superuser").format(sql.Identifier(ROLE)))
        known = {str(name).lower() for (name,) in admin.execute("select name from pg_settings").fetchall()}
        assert set(HOSTILE) <= known
        for name, value in HOSTILE.items():
            given = sql.SQL(value) if name in {"search_path", "datestyle"} else sql.Literal(value)
            role = sql.Identifier(ROLE)
            admin.execute(sql.SQL("alter role {} set {} to {}").format(role, sql.Identifier(name), given))
    route.environment["TARGET_URI"] = route.target_uri.replace("postgres@", f"{quote(ROLE)}@")
    assert route.environment["TARGET_URI"] != route.target_uri
    return route


def test_a_whole_migration_as_the_worst_configured_role(hostile: Route) -> None:
    documents = [document(number) for number in range(300)]
    hostile.documents().insert_many(documents)
    hostile.documents("ticks").insert_many({"_id": tick(n), "name": "tick"} for n in range(20))
    plan = hostile.plan(STREAMS, reconcile={"max_divergences": 0})
    run = hostile.run_to_approval(plan)
    hostile.documents().update_many({"number": {"$lt": 100}}, {"$set": {"name": "it's \\ new"}})
    hostile.documents().delete_one({"number": 299})
    wait_until(lambda: len(hostile.query("select 1 from moved.things where name = $$it's \\ new$$")) == 100, run)
    code, said = hostile.tranship("reconcile", plan)
    assert code == FINISHED, said
    assert hostile.tranship("status", plan)[0] == FINISHED
    assert hostile.tranship("approve", plan)[0] == FINISHED
    assert run.wait() == FINISHED, run.output
    found = hostile.query(
        "select _id, name, number, ratio, price::text, at, raw, tags from moved.things "
        "where number in (7, 200) order by _id"
    )
    when = datetime(2024, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
    assert found == [
        ("t00007\\'", "it's \\ new", 7, 7 / 3, "7.10", when, bytes([0, 92, 39, 255]), ["NULL", "a\\b"]),
        ("t00200\\'", "it's \\ 200", 200, 200 / 3, "200.10", when, bytes([0, 92, 39, 255]), ["NULL", "a\\b"]),
    ]
    assert hostile.query("select count(*) from moved.things") == [(299,)]
    assert hostile.query("select count(*) from moved.ticks") == [(20,)]


def test_and_its_rollback(hostile: Route) -> None:
    hostile.documents().insert_many([document(number) for number in range(50)])
    hostile.documents("ticks").insert_one({"_id": tick(0), "name": "tick"})
    plan = hostile.plan(STREAMS)
    run = hostile.run_to_approval(plan)
    assert hostile.tranship("rollback", plan)[0] == FINISHED
    assert run.wait() == ROLLED_BACK, run.output
    assert hostile.query("select count(*) from pg_tables where schemaname = 'moved'") == [(0,)]
    assert hostile.tranship("purge", plan, "--yes")[0] == FINISHED
    assert hostile.query("select count(*) from pg_namespace where nspname = 'tranship'") == [(0,)]


def test_a_role_without_foreign_keys_and_triggers_is_refused(route: Route) -> None:
    route.documents().insert_many(things(5))
    with psycopg.connect(route.target_uri, autocommit=True) as admin:
        database = sql.Identifier(admin.info.dbname)
        admin.execute(sql.SQL("alter database {} set session_replication_role to 'replica'").format(database))
    plan = route.plan({"things": {"key": {"_id": "text"}, "columns": {"name": "text"}}})
    code, said = route.tranship("run", plan)
    assert (code, "target.replication_role" in said) == (REFUSED, True), said
