"""A PostgreSQL target for tests: schemas of its own in a database that the module's tests share."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import make_conninfo

from tests.conformance.target_world import STREAMS, Hook
from tranship.connectors.postgresql import connect_progress, connect_schema, connect_target
from tranship.connectors.postgresql.connections import connect, engine
from tranship.connectors.postgresql.progress import PostgresProgress
from tranship.connectors.postgresql.schema import PostgresSchema
from tranship.connectors.postgresql.state import bump_epoch, ensure_epoch, install_state, state_tables
from tranship.connectors.postgresql.target import PostgresTarget
from tranship.connectors.protocols import Scope
from tranship.plans.streams import Endpoint, Stream


class PostgresWorld:
    """`TargetWorld`, and a way behind tranship's back. The schemas' names need quoting."""

    def __init__(self, uri: str, stack: ExitStack) -> None:
        name = secrets.token_hex(4)
        self.endpoint = Endpoint("postgresql", uri, schema=f"shop {name}", state_schema=f"State:{name}%")
        self.tables = state_tables(self.endpoint.state_schema)
        self.streams: Sequence[Stream] = STREAMS
        self.stack = stack
        self.engine = engine(self.endpoint)
        stack.callback(self.engine.dispose)
        install_state(self.endpoint)

    def configure(self, **settings: object) -> None:
        """Have every session opened from now on begin with these settings, as a role or database may have them."""
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        joint = "&" if "?" in self.endpoint.uri else "?"
        self.endpoint = replace(self.endpoint, uri=f"{self.endpoint.uri}{joint}options={quote(options)}")

    def take_over(self, run: str) -> int:
        with self.engine.begin() as connection:
            ensure_epoch(connection, self.tables, run)
            return bump_epoch(connection, self.tables, run)

    def target(self, scope: Scope, hook: Hook | None = None) -> PostgresTarget:
        made = connect_target(self.endpoint, self.streams, scope, hook=hook or _nothing)
        return self.stack.enter_context(closing(made))

    def progress(self, hook: Hook | None = None) -> PostgresProgress:
        return self.stack.enter_context(closing(connect_progress(self.endpoint, self.streams, hook=hook or _nothing)))

    def schema(self) -> PostgresSchema:
        return self.stack.enter_context(closing(connect_schema(self.endpoint, self.streams)))

    def session(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Somebody else's session, in autocommit mode."""
        session = psycopg.connect(self.endpoint.uri, autocommit=True, application_name="shop")
        return self.stack.enter_context(closing(session))

    def role(self) -> Endpoint:
        """The same target as a role that may use the state schema, and else nothing."""
        name = f"role_{secrets.token_hex(4)}"
        self.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
        self.sql(f"GRANT USAGE ON SCHEMA {{state}} TO {name}")
        self.sql(f"GRANT ALL ON ALL TABLES IN SCHEMA {{state}} TO {name}")
        self.stack.callback(self.sql, f"DROP OWNED BY {name}; DROP ROLE {name}")
        return replace(self.endpoint, uri=make_conninfo(self.endpoint.uri, user=name, password=name))

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement behind tranship's back; {shop} and {state} stand for the quoted schemas."""
        with closing(connect(self.endpoint, autocommit=True)) as session:
            cursor = session.execute(self.named(statement).encode())
            return cursor.fetchall() if cursor.description else []

    def named(self, statement: str) -> str:
        """The statement with the schemas' names."""
        return statement.replace("{shop}", f'"{self.endpoint.schema}"').replace(
            "{state}", f'"{self.endpoint.state_schema}"'
        )


def _nothing(_: str) -> None: ...
