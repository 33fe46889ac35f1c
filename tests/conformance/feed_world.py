"""PostgreSQL as a change source for tests: a run's tables, its outlet, and an application that writes by SQL."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from functools import cached_property
from typing import Any

import psycopg

from tests.conformance.source_suite import OTHERS, THINGS
from tranship.connectors.errors import ConnectorError
from tranship.connectors.postgresql import connect_schema, connect_target
from tranship.connectors.postgresql.connections import engine
from tranship.connectors.postgresql.decoding import connect_changes, connect_outlet
from tranship.connectors.postgresql.decoding.naming import feed_name
from tranship.connectors.postgresql.decoding.source import PostgresChanges
from tranship.connectors.postgresql.layout import quote
from tranship.connectors.postgresql.state import bump_epoch, ensure_epoch, install_state, state_tables
from tranship.connectors.postgresql.target import PostgresTarget
from tranship.connectors.protocols import Feed, Position, Scope
from tranship.plans.streams import Endpoint, Stream

LIMIT_S = 20.0


class FeedWorld:
    """`ChangeWorld`. The schemas' names need quoting. Nothing of it is left on the server at the end."""

    def __init__(
        self, uri: str, stack: ExitStack, streams: Sequence[Stream] = (THINGS, OTHERS), *, opened: bool = True
    ) -> None:
        name = secrets.token_hex(4)
        self.endpoint = Endpoint("postgresql", uri, schema=f'Shop "{name}"', state_schema=f'State:"{name}"%')
        self.streams = streams
        self.stack = stack
        install_state(self.endpoint)
        self.run = "Shop-1 “ü”"
        self.scope = Scope(self.run, Feed.REVERSE, self.take_over())
        schema = stack.enter_context(closing(connect_schema(self.endpoint, streams)))
        schema.create_tables(self.scope, streams)
        self.outlet = stack.enter_context(closing(connect_outlet(self.endpoint, streams)))
        stack.callback(self._remove)
        if opened:
            self.outlet.create(self.scope, LIMIT_S)

    def take_over(self) -> int:
        tables = state_tables(self.endpoint.state_schema)
        made = engine(self.endpoint)
        with made.begin() as connection:
            ensure_epoch(connection, tables, self.run)
            epoch = bump_epoch(connection, tables, self.run)
        made.dispose()
        return epoch

    def connect(self) -> PostgresChanges:
        return self.stack.enter_context(closing(connect_changes(self.endpoint, self.streams, self.run)))

    def target(self) -> PostgresTarget:
        return self.stack.enter_context(closing(connect_target(self.endpoint, self.streams, self.scope.reading)))

    @property
    def name(self) -> str:
        """Of slot, publication and table of markers."""
        return feed_name(self.session.info.dbname, self.endpoint.state_schema, self.run)

    def insert(self, stream: Stream, number: int, text: str) -> None:
        self.sql(f"INSERT INTO {self.table(stream.table)} (id, text) VALUES (%s, %s)", number, text)

    def update(self, stream: Stream, number: int, text: str) -> None:
        self.sql(f"UPDATE {self.table(stream.table)} SET text = %s WHERE id = %s", text, number)

    def delete(self, stream: Stream, number: int) -> None:
        self.sql(f"DELETE FROM {self.table(stream.table)} WHERE id = %s", number)

    def lost_position(self) -> Position:
        """The slot is made anew: what was between is in none."""
        lost = self.connect().position()
        self.sql("SELECT pg_drop_replication_slot(%s)", self.name)
        self.insert(THINGS, 1, "missed")
        self.outlet.create(self.scope, LIMIT_S)
        return lost

    def table(self, name: str) -> str:
        return f"{quote(self.endpoint.schema)}.{quote(name)}"

    def other(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A session of an application, outside of autocommit mode."""
        return self.stack.enter_context(closing(psycopg.connect(self.endpoint.uri)))

    @cached_property
    def session(self) -> psycopg.Connection[tuple[Any, ...]]:
        return self.stack.enter_context(closing(psycopg.connect(self.endpoint.uri, autocommit=True)))

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """A statement of the application's, committed when this returns."""
        cursor = self.session.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def _remove(self) -> None:
        with suppress(ConnectorError):
            self.outlet.drop(Scope(self.run, Feed.REVERSE, self.take_over()), LIMIT_S)
