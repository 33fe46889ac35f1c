"""Looking at the demo's PostgreSQL from outside: what is in it, and whether that is as it was."""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg
from psycopg import sql

STATE_SCHEMA = "tranship"

Snapshot: TypeAlias = dict[str, tuple[int, str]]
"""Per table, its number of rows and a digest of all of them."""


def snapshot(uri: str) -> Snapshot:
    """Schemas and tables of a database, the state schema aside. An empty schema counts as a table without rows."""
    with psycopg.connect(uri) as connection:
        names = connection.execute(
            "select n.nspname, c.relname from pg_namespace n left join pg_class c "
            "on c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v', 'm', 'S') "
            "where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', %s) order by 1, 2",
            (STATE_SCHEMA,),
        ).fetchall()
        return {f"{schema}.{name}": _digest(connection, schema, name) for schema, name in names}


def _digest(connection: psycopg.Connection[Any], schema: str, name: str | None) -> tuple[int, str]:
    if name is None:
        return (0, "")
    rows = sql.SQL("select count(*), coalesce(sum(hash_record_extended(t, 0)), 0)::text from {} t")
    found = connection.execute(rows.format(sql.Identifier(schema, name))).fetchone()
    assert found is not None
    return (found[0], found[1])


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """What was changed, one line each; empty when nothing was."""
    lines = [f"{name} was left behind" for name in sorted(after.keys() - before.keys())]
    lines += [f"{name} is gone" for name in sorted(before.keys() - after.keys())]
    lines += [f"{name} has other rows" for name in sorted(before.keys() & after.keys()) if before[name] != after[name]]
    return lines
