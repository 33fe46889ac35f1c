"""Findings about a PostgreSQL target. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from sqlalchemy import Connection, func, select, text

from tranship.connectors.errors import RefusedError
from tranship.connectors.postgresql import strangers, surroundings, tables, upgrades
from tranship.connectors.postgresql.catalog import schema_exists
from tranship.connectors.postgresql.errors import translating
from tranship.connectors.postgresql.naming import clashes
from tranship.connectors.postgresql.state import (
    STATE_VERSION,
    StateTables,
    is_state,
    state_tables,
    table_names,
    version_of,
    version_problem,
)
from tranship.connectors.protocols import Finding
from tranship.plans.streams import Endpoint, Stream

OLDEST = 14


def findings(connection: Connection, endpoint: Endpoint, streams: Sequence[Stream], run: str) -> list[Finding]:
    """All of them, errors and warnings."""
    found = may_write(connection, endpoint)
    hint = "Give a shorter or another name in the plan."
    found += _looked(connection, lambda: _state_taken(connection, endpoint.state_schema))
    found += _looked(connection, lambda: _sessions(connection, endpoint.sessions))
    found += [_error("target.names", problem, hint) for problem in clashes(streams, endpoint.schema)]
    found += _looked(connection, lambda: surroundings.findings(connection))
    return found + may_move(connection, endpoint, streams, run)


def may_write(connection: Connection, endpoint: Endpoint) -> list[Finding]:
    """What has to hold for every command that writes."""
    looks = (
        lambda: _server(connection),
        lambda: _pooler(connection),
        lambda: _role(connection),
        lambda: _state_version(connection, endpoint.state_schema),
    )
    return [finding for look in looks for finding in _looked(connection, look)]


def may_move(connection: Connection, endpoint: Endpoint, streams: Sequence[Stream], run: str) -> list[Finding]:
    """What has to hold for every command that moves rows, or lets them be moved. `run` is empty before it is there."""
    looks = (
        lambda: _taken(connection, endpoint, streams, run),
        lambda: _replication_role(connection),
        lambda: _privileges(connection, endpoint),
        lambda: strangers.findings(connection, endpoint, streams),
    )
    return [finding for look in looks for finding in _looked(connection, look)]


def _looked(connection: Connection, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a look finds. One that the role may not take is a finding itself, and hides no other: the savepoint keeps
    the transaction."""
    try:
        with translating(), connection.begin_nested():
            return list(look())
    except RefusedError as error:
        hint = "GRANT what it names to tranship's role, USAGE on both schemas before all, then check again."
        return [_error("target.privilege", f"not all could be looked at: {error}", hint)]


def _taken(connection: Connection, endpoint: Endpoint, streams: Sequence[Stream], run: str) -> Iterator[Finding]:
    known = _state(connection, endpoint.state_schema)
    hint = "Name another table or schema in the plan; applications may work with this one, as they do after a cutover."
    for stream in streams:
        where = (connection, known, endpoint.schema, [stream], run)
        for problem in (*tables.taken(*where), *tables.taken_indexes(*where)):
            yield Finding("target.name_taken", "error", problem, hint, stream.name)


def _error(code: str, message: str, hint: str) -> Finding:
    return Finding(code, "error", message, hint)


def _server(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(
        text(
            "SELECT current_setting('server_version_num')::int / 10000 AS version, "
            "current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby, "
            "current_setting('default_transaction_read_only') = 'on' AS read_only, "
            "has_function_privilege('pg_control_system()', 'EXECUTE') AS identifiable, "
            "has_function_privilege('pg_terminate_backend(integer, bigint)', 'EXECUTE') AS terminates"
        )
    ).one()
    if row.version < OLDEST:
        yield _error("target.version", f"PostgreSQL {row.version} is too old", f"Version {OLDEST} or later is needed.")
    if row.encoding != "UTF8":
        yield _error("target.encoding", f"the database is encoded in {row.encoding}", "Use a database in UTF8.")
    if row.standby:
        yield _error("target.read_only", "the server is a standby", "Give the address of the primary.")
    elif row.read_only:
        yield _error(
            "target.read_only",
            "default_transaction_read_only is on for tranship's role, its database or the server",
            "ALTER ROLE … RESET default_transaction_read_only, or the same for the database.",
        )
    if not row.identifiable:
        yield _error(
            "target.identity",
            "the system identifier, by which the server is known, cannot be read",
            "GRANT EXECUTE ON FUNCTION pg_control_system() to tranship's role.",
        )
    if not row.terminates:
        yield _error(
            "target.terminate",
            "tranship's role cannot end its own sessions, so a stopped orchestrator could not be replaced",
            "GRANT EXECUTE ON FUNCTION pg_terminate_backend(integer, bigint) to tranship's role.",
        )


def _pooler(connection: Connection) -> Iterator[Finding]:
    """A pooler tells its clients process ids of its own. Behind it a session may serve several clients in turn, so a
    takeover, which ends sessions, would end those of applications too."""
    raw = connection.connection.driver_connection
    if raw is not None and raw.info.backend_pid != connection.execute(select(func.pg_backend_pid())).scalar():
        yield _error(
            "target.pooler",
            "the address leads to a pooler (PgBouncer or the like), not to the server",
            "Give the server's own address; applications may go on to use the pooler.",
        )


def _role(connection: Connection) -> Iterator[Finding]:
    """A takeover ends its predecessor's sessions, which belong to the role that logged in, as the role that acts."""
    statement = text("SELECT session_user AS logs_in, current_user AS acts, pg_has_role(session_user, 'USAGE') AS same")
    row = connection.execute(statement).one()
    if not row.same:
        yield _error(
            "target.role",
            f"sessions log in as {row.logs_in} and act as {row.acts} (by a setting), which may not end them, so a "
            "stopped orchestrator could not be replaced",
            f"GRANT {row.logs_in} TO {row.acts}, or log in as {row.acts}.",
        )


def _sessions(connection: Connection, needed: int) -> Iterator[Finding]:
    """Whether a run gets the sessions that it opens at once."""
    row = connection.execute(
        text(
            "SELECT (SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user) AS of_role, "
            "(SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS of_database, "
            "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int "
            "- coalesce(current_setting('reserved_connections', true)::int, 0) AS of_server, "
            "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used"
        )
    ).one()
    limits = {
        "the role's CONNECTION LIMIT": row.of_role,
        "the database's CONNECTION LIMIT": row.of_database,
        "max_connections": row.of_server,
    }
    for what, limit in limits.items():
        if 0 <= limit < needed:
            hint = f"Raise it to {needed} or more, or lower limits.workers."
            yield _error("target.sessions", f"a run opens up to {needed} sessions, and {what} allows {limit}", hint)
    if row.of_server >= needed > row.of_server - row.used:
        message = f"a run opens up to {needed} sessions, and only {row.of_server - row.used} are free now"
        yield Finding("target.sessions", "warning", message, "Raise max_connections, or lower limits.workers.")


def _replication_role(connection: Connection) -> Iterator[Finding]:
    if connection.execute(text("SELECT current_setting('session_replication_role')")).scalar() == "replica":
        yield _error(
            "target.replication_role",
            "session_replication_role is replica for tranship's role or database: foreign keys and triggers do not act",
            "ALTER ROLE … RESET session_replication_role, or the same for the database.",
        )


def _privileges(connection: Connection, endpoint: Endpoint) -> Iterator[Finding]:
    """May the schemas be made, or tables in them, and temporary tables."""
    statement = text(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = :schema) "
        "THEN (SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE') "
        "FROM pg_namespace WHERE nspname = :schema) "
        "ELSE has_database_privilege(current_database(), 'CREATE') END"
    )
    for schema in (endpoint.schema, endpoint.state_schema):
        if not connection.execute(statement, {"schema": schema}).scalar():
            what = "create tables in" if schema_exists(connection, schema) else "create"
            yield _error(
                "target.privilege",
                f"tranship's role may not {what} the schema {schema}",
                f"GRANT CREATE (and USAGE) on the schema {schema}, or CREATE on the database.",
            )
    temporary = "SELECT has_database_privilege(current_database(), 'TEMPORARY')"
    if not connection.execute(text(temporary)).scalar():
        yield _error(
            "target.temporary",
            "tranship's role may not make temporary tables, through which changed rows come in",
            "GRANT TEMPORARY on the database.",
        )


def _state_taken(connection: Connection, schema: str) -> Iterator[Finding]:
    if table_names(connection, schema) and not is_state(connection, schema):
        message = f"state_schema {schema} exists and holds tables that tranship did not make"
        yield _error("target.state_taken", message, "Name another schema as state_schema.")


def _state_version(connection: Connection, schema: str) -> Iterator[Finding]:
    version = version_of(connection, schema)
    if version is not None and upgrades.OLDEST <= version < STATE_VERSION:
        yield Finding(
            "target.state_version", "info", version_problem(schema, version), "the next run brings it up to it"
        )
    elif version is not None and version != STATE_VERSION:
        hint = "Use the tranship that made it, or, for a new run, another state_schema."
        yield _error("target.state_version", version_problem(schema, version), hint)


def _state(connection: Connection, schema: str) -> StateTables | None:
    """The state schema's tables, if they can be read."""
    version = version_of(connection, schema)
    readable = version is not None and upgrades.OLDEST <= version <= STATE_VERSION  # as far as findings need it
    return state_tables(schema) if readable else None
