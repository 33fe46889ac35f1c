"""The child tables' foreign keys to their parents, made beside the running applier.

They come after the copy: checking each loaded row one by one would take as long as writing it. Until then `replace`
deletes child rows itself, as it does afterwards. A foreign key is made NOT VALID, which holds for all that is written
from then on, and validated in a transaction of its own, which locks nobody out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, text

from tranship.connectors.postgresql.catalog import ddl
from tranship.connectors.postgresql.errors import ReferredError, translating
from tranship.connectors.postgresql.layout import Layout, layout, quote
from tranship.connectors.postgresql.naming import foreign_key
from tranship.connectors.postgresql.routes import applying
from tranship.connectors.postgresql.sessions import ControlSessions
from tranship.connectors.postgresql.statements import adding, validating
from tranship.connectors.postgresql.tables import LOCK_TIMEOUT
from tranship.connectors.protocols import Scope
from tranship.plans.streams import Stream


def create(sessions: ControlSessions, scope: Scope, schema: str, streams: Sequence[Stream]) -> None:
    """Make what is missing and validate what is not valid. Safe to repeat from any point."""
    for stream in streams:
        root = layout(stream, schema)
        with sessions.write(scope) as connection:
            _add(connection, root)
        for table, parent in _children(root):
            with sessions.write(scope) as connection:
                ddl(connection, applying(scope.run))  # orphans may have to go
                _validate(connection, table, parent)


def drop(sessions: ControlSessions, scope: Scope, schema: str, streams: Sequence[Stream]) -> None:
    """Drop those that are there."""
    for stream in streams:
        root = layout(stream, schema)
        with sessions.write(scope) as connection:
            there = [table for table, parent in _children(root) if _state(connection, table, parent) is not None]
            if there:
                _lock(connection, root)
            for table in there:
                ddl(connection, f"ALTER TABLE {table.name} DROP CONSTRAINT {quote(foreign_key(table))}")


def differences(connection: Connection, schema: str, streams: Sequence[Stream]) -> list[str]:
    """Which foreign keys are missing or not valid."""
    problems = []
    for stream in streams:
        for table, parent in _children(layout(stream, schema)):
            valid = _state(connection, table, parent)
            if not valid:
                fault = "is missing or does not cascade" if valid is None else "is not valid"
                problems.append(f"table {schema}.{table.table}: its foreign key to {parent.table} {fault}")
    return problems


def _children(root: Layout) -> Iterator[tuple[Layout, Layout]]:
    for table, parent in root.walk():
        if parent is not None:
            yield table, parent


def _add(connection: Connection, root: Layout) -> None:
    missing = [(table, parent) for table, parent in _children(root) if _state(connection, table, parent) is None]
    if not missing:
        return
    _lock(connection, root)
    for table, parent in missing:
        ddl(connection, adding(table, parent))


def _lock(connection: Connection, root: Layout) -> None:
    """Lock the stream's tables, the root first as appliers do, in a mode that waits even for their row locks: ALTER
    TABLE locks them in another order, and would deadlock with appliers."""
    connection.execute(text(LOCK_TIMEOUT))
    ddl(connection, f"LOCK TABLE {', '.join(table.name for table, _ in root.walk())} IN EXCLUSIVE MODE")


def _validate(connection: Connection, table: Layout, parent: Layout) -> None:
    if _state(connection, table, parent):
        return
    validate = validating(table)
    try:
        with translating(), connection.begin_nested():
            ddl(connection, validate)
    except ReferredError:
        # Somebody else deleted parents before there was a foreign key. What it would have deleted with them belongs to
        # no document and could not even be compared; the documents that are missing now, reconcile names.
        same = " AND ".join(
            f"p.{quote(above)} = t.{quote(below)}" for above, below in zip(parent.primary, table.primary, strict=False)
        )
        ddl(connection, f"DELETE FROM {table.name} AS t WHERE NOT EXISTS (SELECT FROM {parent.name} AS p WHERE {same})")
        ddl(connection, validate)


def _state(connection: Connection, table: Layout, parent: Layout) -> bool | None:
    """Whether the foreign key is valid; None when there is none, or one that does not cascade."""
    statement = text(
        "SELECT convalidated FROM pg_constraint WHERE contype = 'f' AND conrelid = to_regclass(:name) "
        "AND confrelid = to_regclass(:parent) AND confdeltype = 'c' AND conname = :constraint"
    )
    names = {"name": table.name, "parent": parent.name, "constraint": foreign_key(table)}
    valid: bool | None = connection.execute(statement, names).scalar()
    return valid
