"""Non-unique indexes, and unique ones that are built while rows change.

Correct data breaks a unique constraint for a moment: a value moves from one document to another, and the target has the
new owner before it has lost the old one. So a unique index is built concurrently and, when the build meets such a
moment, dropped and built again once the values are unique.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, text

from tranship.connectors.errors import ConnectorError, NotOursError, UniqueConflictError
from tranship.connectors.postgresql import ownership
from tranship.connectors.postgresql.catalog import IndexState, as_stored, ddl, index_state
from tranship.connectors.postgresql.errors import DuplicateError, LockTimeoutError, translating
from tranship.connectors.postgresql.sessions import ControlSessions
from tranship.connectors.postgresql.statements import Wanted
from tranship.connectors.postgresql.statetables import StateTables
from tranship.connectors.postgresql.tables import LOCK_TIMEOUT
from tranship.connectors.protocols import Scope

BUILD_TRIES = 10
"""How often a unique index is built before its duplicates are taken as real."""

UNIQUE_WAIT_S = 15.0
"""How long to wait for duplicates to go away between two builds: as long as a batch may wait for its turn."""

CONCURRENT_LOCK_TIMEOUT = "SET lock_timeout = '60s'"
"""A concurrent build waits for every older transaction; after this long it is better tried again later."""

LOCKERS_WAIT_S = 60.0
"""The same for those that have a table locked before a build begins."""

PAUSE_S = 0.25


# --- non-unique -------------------------------------------------------------------------------------------------------


def create_plain(sessions: ControlSessions, tables: StateTables, scope: Scope, wanted: Sequence[Wanted]) -> None:
    """Create what is missing, one transaction per index."""
    for index in wanted:
        with _naming(index), sessions.write(scope) as connection:
            if _ours(connection, tables, scope.run, index) is None:
                connection.execute(text(LOCK_TIMEOUT))
                ddl(connection, index.create)
                ownership.note(connection, tables, scope.run, "index", index.quoted)


@contextmanager
def _naming(index: Wanted) -> Iterator[None]:
    """Errors of a build name the stream whose index it is."""
    try:
        yield
    except ConnectorError as error:
        error.stream = error.stream or index.stream
        raise


def drop_plain(sessions: ControlSessions, tables: StateTables, scope: Scope, wanted: Sequence[Wanted]) -> None:
    """Drop those that the run made."""
    with sessions.write(scope) as connection:
        connection.execute(text(LOCK_TIMEOUT))
        made = ownership.made(connection, tables, scope.run, "index")
        for index in wanted:
            if index.quoted in made:
                ddl(connection, f"DROP INDEX {made[index.quoted]}")
        ownership.forget(connection, tables, scope.run, "index", [index.quoted for index in wanted])


def differences(connection: Connection, wanted: Sequence[Wanted]) -> list[str]:
    """What in the catalog differs from the plan's indexes or constraints."""
    problems = []
    for index in wanted:
        state = index_state(connection, index.table.schema, index.name)
        if state is None:
            problems.append(f"{index.kind} {index.name} on {index.label} is missing")
        elif not state.valid:
            problems.append(f"{index.kind} {index.name} on {index.label} is not valid")
        elif state != (expected := _expected(connection, index)):
            problems.append(f"{index.kind} {index.name} on {index.label} is {state}, the plan wants {expected}")
    return problems


def _expected(connection: Connection, wanted: Wanted) -> IndexState:
    index = wanted.index
    where = as_stored(connection, wanted.table, [wanted.condition()])[0] if index.where else None
    columns = tuple(name + (" DESC" if name in index.descending else "") for name in index.columns)
    return IndexState(
        wanted.table.table, columns, index.unique, valid=True, constraint=index.is_constraint, where=where
    )


def _ours(connection: Connection, tables: StateTables, run: str, index: Wanted) -> IndexState | None:
    """The index if it is there; `NotOursError` when the run did not make it."""
    state = index_state(connection, index.table.schema, index.name)
    if state is not None and ownership.maker(connection, tables, "index", index.quoted) != run:
        raise NotOursError(
            f"index {index.table.schema}.{index.name} exists and was not made by this run ({run}). "
            "Nothing was changed. Drop or rename it."
        )
    return state


# --- unique -----------------------------------------------------------------------------------------------------------


def create_unique(
    sessions: ControlSessions,
    tables: StateTables,
    scope: Scope,
    wanted: Sequence[Wanted],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Build what is missing. Every step can be repeated: an index that a crash left invalid is built anew."""
    for index in wanted:
        with sessions.write(scope) as connection:
            state = _ours(connection, tables, scope.run, index)
            # Noted before it is built: a concurrent build has no transaction in which both could happen.
            ownership.note(connection, tables, scope.run, "index", index.quoted)
        if state is not None and state.constraint:
            continue
        with _naming(index):
            _build(sessions, scope, index, sleep)
        with sessions.write(scope) as connection:
            if index.index.is_constraint:
                connection.execute(text(LOCK_TIMEOUT))
                ddl(connection, index.constrain)
            ownership.note(connection, tables, scope.run, "index", index.quoted)  # it has a number by now


def _build(sessions: ControlSessions, scope: Scope, index: Wanted, sleep: Callable[[float], None]) -> None:
    """A valid unique index."""
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {index.quoted}"
    with sessions.plain(scope) as connection:
        connection.execute(text(CONCURRENT_LOCK_TIMEOUT))
        for _ in range(BUILD_TRIES):
            state = index_state(connection, index.table.schema, index.name)
            if state is not None and state.valid:
                return
            ddl(connection, drop)
            _await_lockers(connection, index, sleep)
            try:
                with translating():
                    ddl(connection, index.create_unique)
            except DuplicateError:
                # An invalid index refuses rows all the same: away with it before waiting.
                ddl(connection, drop)
                _await_unique(connection, index, sleep)
            except LockTimeoutError:
                ddl(connection, drop)  # nobody has the table locked by now, as far as is known
                raise
            else:
                return
    raise UniqueConflictError(
        f"{index.label}: values that the plan calls unique were held by several rows at each of {BUILD_TRIES} builds. "
        "Nothing was kept of the index. Look for duplicates in the source, or take `unique` out of the plan.",
        stream=index.stream,
        constraint=index.name,
        columns=index.index.columns,
    )


_LOCKERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND granted AND pid <> pg_backend_pid() "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND relation = CAST(:table AS regclass) AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareLock')"
)
"""Transactions for which a concurrent build waits before it begins."""


def _await_lockers(connection: Connection, index: Wanted, sleep: Callable[[float], None]) -> None:
    """Until those that have the table locked for writing now have ended.

    The build would wait for them as well, but behind an entry in the catalog, which it leaves there as an invalid index
    when it gives up; and nobody gets rid of that either while the table is locked. Raises `LockTimeoutError`.
    """

    def lockers() -> set[str]:
        return set(connection.execute(_LOCKERS, {"table": index.table.name}).scalars())

    left, waited = lockers(), 0.0
    while left:
        if waited >= LOCKERS_WAIT_S:
            raise LockTimeoutError(
                f"PostgreSQL: {index.label}: open transactions have the table locked, and its index waits for their end"
            )
        sleep(PAUSE_S)
        waited += PAUSE_S
        left &= lockers()


def _await_unique(connection: Connection, index: Wanted, sleep: Callable[[float], None]) -> None:
    """Until no value is held twice, for a while."""
    duplicates = f"SELECT EXISTS ({index.twice})".replace("%", "%%")
    waited = 0.0
    while waited < UNIQUE_WAIT_S and connection.exec_driver_sql(duplicates).scalar():
        sleep(PAUSE_S)
        waited += PAUSE_S


def drop_unique(sessions: ControlSessions, tables: StateTables, scope: Scope, wanted: Sequence[Wanted]) -> None:
    """Drop the constraints that the run made, and indexes that did not become one."""
    with sessions.write(scope) as connection:
        connection.execute(text(LOCK_TIMEOUT))
        made = ownership.made(connection, tables, scope.run, "index")
        for index in wanted:
            if index.quoted in made:
                ddl(connection, _drop_statement(connection, made[index.quoted]))
        ownership.forget(connection, tables, scope.run, "index", [index.quoted for index in wanted])


def _drop_statement(connection: Connection, index: str) -> str:
    """How an index goes, by its present quoted name: with its constraint, if it has become one."""
    statement = text(
        "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint "
        "WHERE conindid = CAST(:index AS regclass) AND contype = 'u'"
    )
    found: str | None = connection.execute(statement, {"index": index}).scalar()
    return found or f"DROP INDEX {index}"
