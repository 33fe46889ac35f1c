"""Index builds under way, as the server tells (`pg_stat_progress_create_index`)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from tranship.connectors.protocols import Build

_BUILDS = text(
    "SELECT p.relid::regclass::text AS name, p.phase, "
    # Each step counts what it goes through: transactions to wait for, blocks to scan, rows to sort and write.
    "CASE WHEN p.phase LIKE 'waiting%' THEN p.lockers_done WHEN p.tuples_total > 0 THEN p.tuples_done "
    "ELSE p.blocks_done END AS done, "
    "CASE WHEN p.phase LIKE 'waiting%' THEN p.lockers_total WHEN p.tuples_total > 0 THEN p.tuples_total "
    "ELSE p.blocks_total END AS total "
    "FROM pg_stat_progress_create_index AS p "
    "WHERE p.datname = current_database() AND p.relid = ANY (SELECT to_regclass(unnest(CAST(:names AS text[])))) "
    "ORDER BY name"
)


def builds(connection: Connection, tables: Sequence[str]) -> list[Build]:
    """Those on the given tables, by their quoted names."""
    found = connection.execute(_BUILDS, {"names": list(tables)})
    return [Build(row.name, row.phase, row.done or 0, row.total or 0) for row in found]
