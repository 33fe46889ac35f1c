"""A run's markers: rows of a published table in the state schema. Committed durably, whatever is usual there."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property

from sqlalchemy import Connection, text

from tranship.connectors.errors import RefusedError
from tranship.connectors.postgresql.catalog import relation_exists
from tranship.connectors.postgresql.connections import engine
from tranship.connectors.postgresql.decoding.naming import feed_name
from tranship.connectors.postgresql.decoding.outlet import markers_table
from tranship.connectors.postgresql.servers import server_of
from tranship.connectors.postgresql.sessions import transaction
from tranship.plans.streams import Endpoint


class Markers:
    """Those of one run. Safe for several threads."""

    def __init__(self, endpoint: Endpoint, run: str) -> None:
        self._endpoint = endpoint
        self._run = run
        self._server = server_of(endpoint)
        self._engine = engine(endpoint)

    def close(self) -> None:
        self._engine.dispose()

    @cached_property
    def name(self) -> str:
        """Of the slot, the publication and the table."""
        with self._transaction() as connection:
            database: str = connection.execute(text("SELECT current_database()")).scalar_one()
        return feed_name(database, self._endpoint.state_schema, self._run)

    def put(self, name: str) -> None:
        with self._transaction() as connection:
            if not relation_exists(connection, self._table):
                raise RefusedError("the reverse feed of this run is not set up: there is no table for its markers")
            connection.execute(text(self._put), {"name": name})

    def has(self, name: str) -> bool:
        with self._transaction() as connection:
            if not relation_exists(connection, self._table):
                return False
            found = text(f"SELECT 1 FROM {self._in_text} WHERE name = :name")
            return connection.execute(found, {"name": name}).first() is not None

    def drop(self, owner: str) -> None:
        with self._transaction() as connection:
            if relation_exists(connection, self._table):
                gone = text(f"DELETE FROM {self._in_text} WHERE starts_with(name, :prefix)")
                connection.execute(gone, {"prefix": f"{owner}."})

    def attempt(self) -> None:
        """Write one and take it back. Nothing is tried where the table is not there: who makes it owns it."""
        with self._transaction() as connection, connection.begin_nested() as attempt:
            if relation_exists(connection, self._table):
                connection.execute(text(self._put), {"name": ""})
                connection.execute(text(f"DELETE FROM {self._in_text} WHERE name = ''"))
            attempt.rollback()

    @property
    def _table(self) -> str:
        return markers_table(self._endpoint, self.name)

    @property
    def _in_text(self) -> str:
        return self._table.replace(":", "\\:")

    @property
    def _put(self) -> str:
        return (
            f"INSERT INTO {self._in_text} AS m (name) VALUES (:name) "
            "ON CONFLICT (name) DO UPDATE SET written = m.written + 1"
        )

    def _transaction(self) -> AbstractContextManager[Connection]:
        return transaction(self._engine, self._server)
