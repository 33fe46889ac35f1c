"""Functions of a state schema: by one applications follow its routing records (`docs/router-protocol.md`), by the other
a run's tables are guarded.

They run with the rights of the schema's owner, so that an application needs none on the tables: `USAGE` on the schema
is enough. Their search path is pinned, and each name in them is qualified.

**The guard** is a trigger before each statement that writes, TRUNCATE and COPY too, that no setting of a session turns
off (`ENABLE ALWAYS`). It lets through what the run's record allows (`rules.md` J1): while the target is closed what the
applier says it is, while it is ready what states the very version, once it is the primary all but the applier. It takes
an advisory lock that whoever changes the record takes alone, so that a change waits for the writes that are under way,
and no write passes on the record of before. A snapshot that is older than the record would still show that: above
READ COMMITTED the record's row is locked, which fails if it has changed since.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from tranship.connectors.postgresql.catalog import ddl
from tranship.connectors.postgresql.layout import quote
from tranship.connectors.postgresql.statetables import StateTables, in_text, quoted

BEAT = "router_beat"
GUARD = "guard"
LOCK_S = 1
"""For how long a change of the record waits for writes that are under way."""
SILENT_S = 2
"""For how long a transaction that changes it may wait for its process: every write waits with it."""
TRIGGER = "tranship_guard"
"""On each table of a run; the name is how others' triggers are told from it."""
APPLIES = "tranship.applies"
"""The setting by which a transaction of the applier says whose it is."""
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

    ddl(
        connection,
        f"""
CREATE FUNCTION {schema}.{GUARD}() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    known record;
    applies boolean := coalesce(current_setting('{APPLIES}', true), '') = TG_ARGV[0];
    stated text := coalesce(current_setting('tranship.version', true), '');
BEGIN
    PERFORM pg_advisory_xact_lock_shared({_lock("TG_ARGV[0]")});
    IF current_setting('transaction_isolation') = 'read committed' THEN
        SELECT o.state, o.version INTO known FROM {route} AS o WHERE o.run = TG_ARGV[0];
    ELSE
        SELECT o.state, o.version INTO known FROM {route} AS o WHERE o.run = TG_ARGV[0] FOR SHARE;
    END IF;
    IF known.state IS NULL
        OR (known.state IN ('closed', 'handed_over') AND applies)
        OR (known.state = 'ready' AND NOT applies AND stated = known.version::text)
        OR (known.state = 'primary' AND NOT applies AND stated IN ('', known.version::text))
    THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'table %.% takes no such write: run % of tranship says that this side is %',
        TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0], known.state
        USING ERRCODE = 'object_not_in_prerequisite_state',
        HINT = 'Applications write to the source until the run has switched; a router tells them when.';
END $body$
""",
    )


def _lock(run: str) -> str:
    """The key of the advisory lock of a run's record, of the SQL expression of its name."""
    return f"hashtextextended('tranship route ' || {run}, 0)"


def lock(connection: Connection, tables: StateTables, id: str) -> None:  # noqa: A002
    """Wait until no write that the guard of a record has let through is under way, and keep others waiting, up to the
    end of the transaction. Before any other lock: writers hold theirs while they take the rest.

    Raises `LockTimeoutError`: one session that idles in its transaction would else delay every write behind it. So
    would the caller's, whose process may be stopped or cut off: the server ends it when it is silent from here on.
    """
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_S}s'")
    connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{SILENT_S}s'")
    run = f"(SELECT run FROM {in_text(tables.route)} WHERE id = :id)"
    connection.execute(text(f"SELECT pg_advisory_xact_lock({_lock(run)})"), {"id": id})


def guard(connection: Connection, tables: StateTables, table: str, run: str) -> None:
    """Guard a table (quoted name) of a run."""
    schema, argument = quote(tables.metadata.schema or ""), run.replace("'", "''")
    ddl(
        connection,
        f"CREATE TRIGGER {TRIGGER} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{GUARD}('{argument}')",
    )
    ddl(connection, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {TRIGGER}")


def applying(run: str) -> str:
    """What a transaction that applies a run's rows says first."""
    return f"SELECT set_config('{APPLIES}', '{run.replace(chr(39), chr(39) * 2)}', true)"


def drop(connection: Connection, tables: StateTables) -> None:
    """Drop the functions, and the guards with them. Idempotent."""
    schema = quote(tables.metadata.schema or "")
    ddl(connection, f"DROP FUNCTION IF EXISTS {schema}.{BEAT}{_SIGNATURE}")
    ddl(connection, f"DROP FUNCTION IF EXISTS {schema}.{GUARD}() CASCADE")
