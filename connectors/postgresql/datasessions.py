"""The data plane's session on a PostgreSQL server: an Arrow one (ADBC). Whoever imports this handles rows.

Transactions are begun with their isolation level said, so that a default of the server, database or role changes
nothing. A session that writes is recorded under its epoch before anything else (`epoch.register_backend`). One that
only reads from beside a run has none: a takeover does not end it, so its transactions may not idle for long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import pyarrow as pa

from tranship.connectors.postgresql.connections import connect, conninfo, no_timeouts
from tranship.connectors.postgresql.epoch import register_backend
from tranship.connectors.postgresql.errors import ConnectionLostError, committing, from_adbc, translating
from tranship.connectors.postgresql.layout import quote
from tranship.connectors.postgresql.routes import applying
from tranship.connectors.postgresql.servers import Server, server_of
from tranship.connectors.protocols import READING, Scope
from tranship.plans.streams import Endpoint

_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"
"""READ COMMITTED on purpose: the mark's swap and the epoch check have to see what was committed a moment ago."""

READER_IDLE_S = 60
"""How long a transaction of an unrecorded reader may wait for its process, or for the source it is compared with."""

_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
"""One snapshot: a root row and its children are read by several statements."""


@contextmanager
def translating_data(server: Server) -> Iterator[None]:
    """Raise drivers' errors as the connector's, the data driver's too."""
    try:
        with translating(server):
            yield
    except adbc_driver_manager.Error as error:
        raise from_adbc(error, server) from None


class DataSession:
    """One Arrow session. Reopened, and recorded anew, after it was lost; a failed transaction leaves it usable.

    It is not recorded under a scope that only reads (`Scope.reading`). `at_once`: opened now, else with its first
    transaction.
    """

    def __init__(self, endpoint: Endpoint, scope: Scope, *, at_once: bool = True) -> None:
        self._endpoint = endpoint
        self._scope = scope
        self._recorded = scope.epoch != READING
        self._server = server_of(endpoint)
        self._connection: Any = None
        self._made: set[str] = set()
        self._making: set[str] = set()
        if at_once:
            with translating_data(self._server):
                self._open()

    @contextmanager
    def write(self) -> Iterator[None]:
        """A transaction that writes: all or nothing. `AmbiguousCommitError` when the session is lost during COMMIT."""
        with self._transaction(_WRITE):
            yield
        try:
            with committing(self._server):
                self.run("COMMIT")
        except BaseException:
            self.close()  # whatever state it is in, the next transaction starts on a fresh one
            raise
        self._made |= self._making

    @contextmanager
    def read(self) -> Iterator[None]:
        """A transaction that reads one snapshot."""
        with self._transaction(_READ):
            yield
        self._abandon()

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """A transaction that writes and is rolled back in any case."""
        with self._transaction(_WRITE):
            yield
        self._abandon()

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Part of a transaction that is only tried: rolled back in any case."""
        self.run("SAVEPOINT trial")
        try:
            yield
        finally:
            if self._connection is not None:
                self.run("ROLLBACK TO SAVEPOINT trial")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        """Begin; roll back if the body fails."""
        try:
            self._begin(begin)
        except ConnectionLostError:
            # It was lost since the last transaction, so nothing is lost with it. If takeover has ended it, opening a
            # new one says so.
            self._begin(begin)
        try:
            yield
        except BaseException:
            self._abandon()
            raise

    def _begin(self, begin: str) -> None:
        if self._connection is None:
            with translating_data(self._server):
                self._open()
        self._making.clear()
        self.run(begin)
        self.run(no_timeouts(0 if self._recorded else READER_IDLE_S))
        if begin is _WRITE:
            self.run(applying(self._scope.run))

    def run(self, statement: str, parameters: Sequence[pa.Array] = ()) -> pa.Table:
        """Run one statement. Each parameter is an array with one element; its Arrow type is the parameter's type."""
        row = pa.record_batch(list(parameters), [f"p{i}" for i in range(len(parameters))]) if parameters else None
        with self._watching(), self._connection.cursor() as cursor:
            cursor.execute(statement, row)
            return cursor.fetch_arrow_table() if cursor.description else pa.table({})

    def append(self, schema: str, table: str, rows: pa.RecordBatch) -> None:
        """COPY rows into a table, by column names."""
        with self._watching(), self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, rows, mode="append", db_schema_name=schema)

    def append_staged(self, table: str, rows: pa.RecordBatch) -> None:
        """COPY rows into a temporary table of this session, by column names."""
        with self._watching(), self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, rows, mode="append", temporary=True)

    def once(self, name: str, statements: Sequence[str]) -> None:
        """Run statements that make something temporary, if no transaction of this session has done so and committed."""
        if name not in self._made | self._making:
            for statement in statements:
                self.run(statement)
            self._making.add(name)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> None:
        self._made.clear()
        self._connection = adbc_driver_postgresql.dbapi.connect(conninfo(self._endpoint), autocommit=True)
        if not self._recorded:
            return
        try:
            self._record()
        except BaseException:
            self.close()
            raise

    def _record(self) -> None:
        said = self.run("SELECT pg_backend_pid() AS pid, current_setting('application_name') AS name")
        pid, name = (said.column(column)[0].as_py() for column in ("pid", "name"))
        # Through a session of psycopg, which can send it as one message (`register_backend`).
        with closing(connect(self._endpoint, autocommit=True)) as helper:
            register_backend(helper, self._endpoint.state_schema, self._scope, pid, name)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Translate errors; let go of a connection that is lost."""
        if self._connection is None:
            raise ConnectionLostError("the connection to PostgreSQL was lost earlier in this transaction")
        try:
            with translating_data(self._server):
                yield
        except ConnectionLostError:
            self.close()
            raise

    def _abandon(self) -> None:
        """Roll back, or drop the connection when even that fails: the server then rolls back."""
        if self._connection is None:
            return
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
        except adbc_driver_manager.Error:
            self.close()


def one(value: Any, kind: pa.DataType) -> pa.Array:
    """A parameter of `DataSession.run`."""
    return pa.array([value], kind)


def many(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """An array as a parameter of `DataSession.run`."""
    return pa.array([list(values)], pa.list_(kind))


def state_name(schema: str, table: str) -> str:
    """Quoted name of a control table."""
    return f"{quote(schema)}.{quote(table)}"
