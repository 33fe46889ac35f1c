"""The control plane's sessions on a PostgreSQL server: pooled ones of psycopg. The data plane's: `datasessions`.

Every session that writes is recorded under its epoch before anything else (`epoch.register_backend`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from sqlalchemy import Connection, Engine

from tranship.connectors.errors import TransientError
from tranship.connectors.postgresql.connections import engine, ensure_direct, no_session_timeouts
from tranship.connectors.postgresql.epoch import check_epoch, claim_epoch, register_backend
from tranship.connectors.postgresql.errors import LockTimeoutError, committing, translating
from tranship.connectors.postgresql.holders import holders
from tranship.connectors.postgresql.servers import Server, server_of
from tranship.connectors.postgresql.statetables import state_tables
from tranship.connectors.protocols import Scope
from tranship.plans.streams import Endpoint


@contextmanager
def transaction(pool: Engine, server: Server) -> Iterator[Connection]:
    """One that no epoch guards and no record names: for what compares what it changes by itself."""
    with translating(server), pool.connect() as connection:
        begun = connection.begin()
        try:
            yield connection
        except BaseException:
            begun.rollback()
            raise
        with committing(server):
            begun.commit()


class ControlSessions:
    """The control plane's transactions."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._schema = endpoint.state_schema
        self._schemas = (endpoint.schema, endpoint.state_schema)
        self._tables = state_tables(endpoint.state_schema)
        self._engine = engine(endpoint)
        self._server = server_of(endpoint)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with translating(self._server), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self, scope: Scope) -> Iterator[Connection]:
        """A transaction that writes under an epoch, checked as its last statement before COMMIT."""
        with self._naming_holders(), translating(self._server), self._engine.connect() as connection:
            self._register(connection, scope)
            transaction = connection.begin()
            try:
                yield connection
                check_epoch(connection, self._tables, scope.run, scope.epoch)
            except BaseException:
                transaction.rollback()
                raise
            with committing(self._server):
                transaction.commit()

    def claim(self, scope: Scope) -> None:
        """Let the scope's epoch be the one of this state schema (`epoch.claim_epoch`); `EpochMovedError` if a later one
        is. Nothing is recorded through a pooler, and nothing claimed."""
        with translating(self._server), self._engine.connect() as connection:
            raw: psycopg.Connection[tuple[object, ...]] | None = connection.connection.driver_connection
            assert raw is not None
            transaction = connection.begin()
            try:
                ensure_direct(raw)
                claim_epoch(connection, self._tables, scope.run, scope.epoch)
            except BaseException:
                transaction.rollback()
                raise
            with committing(self._server):
                transaction.commit()

    @contextmanager
    def plain(self, scope: Scope) -> Iterator[Connection]:
        """A registered session outside of a transaction, for the commands that PostgreSQL allows only there."""
        with self._naming_holders(), translating(self._server), self._engine.connect() as pooled:
            self._register(pooled, scope)
            connection = pooled.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql(no_session_timeouts())
            try:
                yield connection
            finally:
                connection.invalidate()  # its settings must not go back to the pool

    @contextmanager
    def _naming_holders(self) -> Iterator[None]:
        """A lock that was not granted in time: say who may have it. The look comes after the attempt has ended, so that
        it shows others only."""
        try:
            yield
        except LockTimeoutError as error:
            found = ""
            with suppress(TransientError), self.read() as connection:
                found = holders(connection, self._schemas)
            raise LockTimeoutError(f"{error}; {found}" if found else str(error)) from None

    def _register(self, connection: Connection, scope: Scope) -> None:
        """Record the session once per epoch; it stays recorded while it is in the pool."""
        if connection.info.get("registered") == (scope.run, scope.epoch):
            return
        raw: psycopg.Connection[tuple[object, ...]] | None = connection.connection.driver_connection
        assert raw is not None
        raw.autocommit = True
        try:
            name = raw.info.parameter_status("application_name") or ""
            register_backend(raw, self._schema, scope, raw.info.backend_pid, name)
        finally:
            if not raw.closed:
                raw.autocommit = False
        connection.info["registered"] = (scope.run, scope.epoch)

    def close(self) -> None:
        self._engine.dispose()
