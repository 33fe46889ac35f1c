"""Who holds what a lock was wanted for: asked once a lock was not granted in time."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Row, text

MOST_NAMED = 3

# Whose transactions are still open: those that have locked a table of the schema, and those that only have a snapshot,
# for which a concurrent index build waits, too. Of sessions of other roles a role may not see since when.
_OPEN = text(
    "SELECT a.pid, a.usename AS name, a.application_name AS application, "
    "EXTRACT(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s, held.tables "
    "FROM pg_stat_activity AS a CROSS JOIN LATERAL ("
    "SELECT array_agg(DISTINCT quote_ident(n.nspname) || '.' || quote_ident(c.relname)) AS tables "
    "FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation AND c.relkind IN ('r', 'p') "
    "JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = ANY(CAST(:schemas AS text[])) "
    "WHERE l.pid = a.pid AND l.granted AND l.locktype = 'relation') AS held "
    "WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() "
    "AND (held.tables IS NOT NULL OR a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) "
    "AND a.backend_type IN ('client backend', 'autovacuum worker') "
    "ORDER BY held.tables IS NULL, a.xact_start NULLS LAST"
)


def holders(connection: Connection, schemas: Sequence[str]) -> str:
    """Sentences about open transactions of others, those that hold tables of the schemas first; empty when there are
    none. To be asked at once: who holds a lock may have let it go by now."""
    found = connection.execute(_OPEN, {"schemas": list(schemas)}).all()
    holding = [row for row in found if row.tables] or found
    named = [_named(row) for row in holding[:MOST_NAMED]]
    more = f"; and {len(holding) - MOST_NAMED} more" if len(holding) > MOST_NAMED else ""
    return f"open transactions that may be in the way: {'; '.join(named)}{more}" if named else ""


def _named(row: Row[tuple[object, ...]]) -> str:
    who = f"user {row.name or '?'}" + (f", application {row.application}" if row.application else "")
    age = f"for {row.age_s:.0f} s" if row.age_s is not None else "for an unknown time"
    tables = f", has locked {', '.join(sorted(row.tables))}" if row.tables else ""
    return f"process {row.pid} ({who}) {age}{tables}"
