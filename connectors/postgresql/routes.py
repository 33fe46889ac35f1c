"""Functions of a state schema by which applications follow its routing records (`docs/router-protocol.md`).

They run with the rights of the schema's owner, so that an application needs none on the tables: `USAGE` on the schema
is enough. Their search path is pinned, and each name in them is qualified.
"""

from __future__ import annotations

from sqlalchemy import Connection

from tranship.connectors.postgresql.catalog import ddl
from tranship.connectors.postgresql.layout import quote
from tranship.connectors.postgresql.statetables import StateTables, quoted

BEAT = "router_beat"
_SIGNATURE = "(text, text, integer, text, bigint)"


def create(connection: Connection, tables: StateTables) -> None:
    """Make the functions. Not repeatable: where there is one of the name, it is somebody else's."""
    schema, router, route = quote(tables.metadata.schema or ""), quoted(tables.router), quoted(tables.route)
    ddl(
        connection,
        f"""
CREATE FUNCTION {schema}.{BEAT}(
    its_plan text, its_instance text, lease_ms integer, acknowledged_run text, acknowledged_version bigint
) RETURNS TABLE (id text, state text, version bigint, poll_ms integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    INSERT INTO {router} AS r VALUES (its_plan, its_instance,
        clock_timestamp() + make_interval(secs => lease_ms / 1000.0), acknowledged_run, acknowledged_version)
    ON CONFLICT ON CONSTRAINT router_pkey DO UPDATE SET until = excluded.until,
        acknowledged_run = excluded.acknowledged_run, acknowledged_version = excluded.acknowledged_version;
    -- A statement of its own: what it sees is not older than the lease that the one before it has taken.
    RETURN QUERY SELECT o.id, o.state, o.version, o.poll_ms FROM {route} AS o
        WHERE o.plan = its_plan ORDER BY o.begun DESC, o.id DESC LIMIT 1;
END $body$
""",
    )


def drop(connection: Connection, tables: StateTables) -> None:
    """Drop the functions. Idempotent."""
    schema = quote(tables.metadata.schema or "")
    ddl(connection, f"DROP FUNCTION IF EXISTS {schema}.{BEAT}{_SIGNATURE}")
