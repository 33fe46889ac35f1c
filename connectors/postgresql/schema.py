"""What the phases need of PostgreSQL's catalog. Tables, indexes and constraints are dropped by their owner only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from sqlalchemy import text

from tranship.connectors.errors import ConnectorError, RefusedError, UniqueConflictError
from tranship.connectors.postgresql import indexes, parents, preflight, references, shadows, statements, tables
from tranship.connectors.postgresql.catalog import ddl, server_identity, table_differences
from tranship.connectors.postgresql.layout import layout
from tranship.connectors.postgresql.sessions import ControlSessions
from tranship.connectors.postgresql.statetables import state_tables
from tranship.connectors.protocols import Finding, Key, Scope
from tranship.plans.streams import Endpoint, Stream


class PostgresSchema:
    """`TargetSchema`. Connects when it is first used; safe to use from several threads."""

    def __init__(self, endpoint: Endpoint, streams: Sequence[Stream]) -> None:
        self._endpoint = endpoint
        self._schema = endpoint.schema
        self._streams = {stream.name: stream for stream in streams}
        self._tables = state_tables(endpoint.state_schema)
        self._sessions = ControlSessions(endpoint)

    def identity(self) -> str:
        try:
            with self._sessions.read() as connection:
                return server_identity(connection)
        except RefusedError as error:
            raise RefusedError(
                f"{error}. The system identifier, by which the server is known, cannot be read: "
                "GRANT EXECUTE ON FUNCTION pg_control_system() to tranship's role"
            ) from None

    def now(self) -> float:
        with self._sessions.read() as connection:
            now: float = connection.execute(text("SELECT extract(epoch FROM clock_timestamp())::float8")).scalar_one()
        return now

    def findings(self, streams: Sequence[Stream], run: str) -> list[Finding]:
        try:
            with self._sessions.read() as connection:
                return preflight.findings(connection, self._endpoint, streams, run)
        except ConnectorError as error:
            hint = "Check the address, the credentials, the role's CONNECT on the database, and the server's log."
            return [Finding("target.unreachable", "error", str(error), hint)]

    def may_write(self) -> list[Finding]:
        with self._sessions.read() as connection:
            return preflight.may_write(connection, self._endpoint)

    def may_move(self, streams: Sequence[Stream], run: str) -> list[Finding]:
        with self._sessions.read() as connection:
            return preflight.may_move(connection, self._endpoint, streams, run)

    def may_shadow(self) -> list[Finding]:
        with self._sessions.read() as connection:
            return shadows.seen_outside(connection)

    def shadows(self, plan: str) -> list[tuple[str, str, float]]:
        with self._sessions.read() as connection:
            return shadows.all_of(connection, plan)

    def create_tables(self, scope: Scope, streams: Sequence[Stream]) -> list[str]:
        with self._sessions.write(scope) as connection:
            return tables.create(connection, self._tables, self._schema, streams, scope.run)

    def table_differences(self, streams: Sequence[Stream]) -> list[str]:
        with self._sessions.read() as connection:
            return [
                problem
                for table, _ in tables.walk(streams, self._schema)
                for problem in table_differences(connection, table)
            ]

    def drop_tables(self, scope: Scope, streams: Sequence[Stream]) -> list[str]:
        with self._sessions.write(scope) as connection:
            return tables.drop(connection, self._tables, self._schema, streams, scope.run)

    def create_indexes(self, scope: Scope, streams: Sequence[Stream]) -> None:
        indexes.create_plain(self._sessions, self._tables, scope, list(statements.plain(streams, self._schema)))
        with self._sessions.write(scope) as connection:
            for table, _ in tables.walk(streams, self._schema):
                ddl(connection, f"ANALYZE {table.name}")

    def drop_indexes(self, scope: Scope, streams: Sequence[Stream]) -> None:
        indexes.drop_plain(self._sessions, self._tables, scope, list(statements.plain(streams, self._schema)))

    def index_differences(self, streams: Sequence[Stream]) -> list[str]:
        with self._sessions.read() as connection:
            return indexes.differences(connection, list(statements.plain(streams, self._schema)))

    def create_constraints(self, scope: Scope, streams: Sequence[Stream]) -> None:
        parents.create(self._sessions, scope, self._schema, streams)
        try:
            indexes.create_unique(self._sessions, self._tables, scope, list(statements.unique(streams, self._schema)))
        except UniqueConflictError as conflict:
            conflict.claimants = self._duplicates(scope, streams, conflict)
            raise

    def _duplicates(self, scope: Scope, streams: Sequence[Stream], conflict: UniqueConflictError) -> tuple[Key, ...]:
        """Keys of the documents that hold what an index refused."""
        # Rows are read here alone; who only looks at the catalog needs no Arrow.
        from tranship.connectors.postgresql import conflicts
        from tranship.connectors.postgresql.datasessions import DataSession
        from tranship.connectors.postgresql.keyspace import KeySpace

        (index,) = [one for one in statements.unique(streams, self._schema) if one.name == conflict.constraint]
        stream = self._streams[index.stream]
        with closing(DataSession(self._endpoint, scope.reading)) as session:
            space = KeySpace(stream, layout(stream, self._schema))
            return conflicts.duplicates(session, space, index)

    def drop_constraints(self, scope: Scope, streams: Sequence[Stream]) -> None:
        indexes.drop_unique(self._sessions, self._tables, scope, list(statements.unique(streams, self._schema)))
        parents.drop(self._sessions, scope, self._schema, streams)

    def constraint_differences(self, streams: Sequence[Stream]) -> list[str]:
        with self._sessions.read() as connection:
            wanted = list(statements.unique(streams, self._schema))
            missing = parents.differences(connection, self._schema, streams)
            return missing + indexes.differences(connection, wanted)

    def dangling(self, stream: Stream) -> dict[str, int]:
        """Columns of child tables are named `table.column`."""
        with self._sessions.read() as connection:
            return {
                one.label: references.count(connection, self._schema, one)
                for one in references.references(stream, self._streams)
            }

    def dangling_keys(self, scope: Scope, stream: Stream, limit: int) -> dict[str, list[tuple[str, Key, int]]]:
        found = {}
        for one in references.references(stream, self._streams):
            values = references.values(self._endpoint, scope.reading, one, limit)
            found[one.label] = [(one.stream.name, key, rows) for key, rows in values]
        return found

    def size(self, streams: Sequence[Stream]) -> int:
        names = [table.name for table, _ in tables.walk(streams, self._schema)]
        query = text(
            "SELECT coalesce(sum(pg_total_relation_size(to_regclass(t))), 0)::int8 "
            "FROM unnest(CAST(:names AS text[])) AS t"
        )
        with self._sessions.read() as connection:
            size: int = connection.execute(query, {"names": names}).scalar_one()
        return size

    def count(self, stream: Stream) -> int:
        statement = f"SELECT count(*) FROM {layout(stream, self._schema).name}"
        with self._sessions.read() as connection:
            found: int = connection.exec_driver_sql(statement.replace("%", "%%")).scalar_one()
        return found

    def close(self) -> None:
        self._sessions.close()
