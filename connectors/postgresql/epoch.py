"""The epoch, and the sessions that write under it.

`check_epoch` is the last statement of every writing transaction: it locks the run's epoch row in share mode, so that
the epoch cannot move between the check and COMMIT. `bump_epoch` needs that row exclusively; so it first ends the
sessions of the old epoch, which could hold it for ever (a stopped process), and only then bumps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import ColumnElement, Connection, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from tranship.connectors.errors import EpochMovedError, RefusedError, TransientError
from tranship.connectors.postgresql.connections import OURS, ensure_direct
from tranship.connectors.postgresql.errors import ConnectionLostError, LockTimeoutError, translating
from tranship.connectors.postgresql.layout import quote
from tranship.connectors.postgresql.statetables import StateTables, in_text, quoted
from tranship.connectors.protocols import Scope

TERMINATE_MS = 10_000
"""How long one session may take to end. Ending is a signal and the roll-back of its transaction."""

BUMP_TRIES = 10


def ensure_epoch(connection: Connection, tables: StateTables, run: str) -> None:
    """The run's epoch row, if absent: epoch 0, under which nobody writes."""
    connection.execute(upsert(tables.epoch).values(run=run, epoch=0).on_conflict_do_nothing())


def check_epoch(connection: Connection, tables: StateTables, run: str, epoch: int) -> None:
    """Last statement before COMMIT: `EpochMovedError` when the epoch is not ours any more; else it stays ours."""
    mine = (tables.epoch.c.run == run) & (tables.epoch.c.epoch == epoch)
    if connection.execute(select(tables.epoch.c.epoch).where(mine).with_for_update(read=True)).first() is None:
        raise EpochMovedError(f"run {run}: another orchestrator took over; epoch {epoch} is over")


def register_backend(
    connection: psycopg.Connection[tuple[object, ...]], schema: str, scope: Scope, pid: int, name: str
) -> None:
    """Record a session that is going to write, if the epoch is still ours; `EpochMovedError` if not.

    `pid` and `name`: the server's process and the `application_name` that the session itself says it has.

    `RefusedError` for one through a pooler, and nothing is recorded.

    A session that was ended meanwhile raises `ConnectionLostError`: nobody took over, it only has to be opened anew.

    `connection` is in autocommit mode and the statement goes out as one simple-protocol message: recording begins and
    commits inside the server, so a process that is stopped here can neither hold the epoch's row nor write unrecorded.
    FOR SHARE makes it wait for a bump that is under way, and see the bumped epoch then.
    """
    ensure_direct(connection)
    state = quote(schema).replace("%", "%%")
    statement = (
        f"INSERT INTO {state}.backend (run, epoch, pid, name, started) "
        f"SELECT e.run, e.epoch, a.pid, a.application_name, a.backend_start FROM {state}.epoch e, pg_stat_activity a "
        "WHERE e.run = %s AND e.epoch = %s AND a.pid = %s AND a.application_name = %s FOR SHARE OF e "
        "ON CONFLICT (run, epoch, pid) DO UPDATE SET name = excluded.name, started = excluded.started RETURNING pid"
    )
    ours = f"SELECT 1 FROM {state}.epoch WHERE run = %s AND epoch = %s"
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(statement.encode(), (scope.run, scope.epoch, pid, name))
        if cursor.fetchone() is not None:
            return
        cursor.execute(ours.encode(), (scope.run, scope.epoch))
        if cursor.fetchone() is not None:
            raise ConnectionLostError("the connection to PostgreSQL was lost before its session was recorded")
    raise EpochMovedError(f"run {scope.run}: another orchestrator took over; epoch {scope.epoch} is over")


def terminate_backends(connection: Connection, tables: StateTables, run: str, before: int | None = None) -> None:
    """End every recorded session of the run (but this one) and wait until it is gone; with `before`, those alone that
    were recorded under an earlier epoch than this.

    A session is known by process id, name and start time, and the statement that ends it asks for all of them: a
    process id alone may belong to somebody else by now. When it began, only a role with its rights may see; the name,
    which is drawn for each session, everybody. Raises `RefusedError` when one of them may not be ended by this role.
    """
    recorded = (
        f"FROM {in_text(tables.backend)} b JOIN pg_stat_activity a ON a.pid = b.pid AND a.application_name = b.name "
        "AND coalesce(a.backend_start, b.started) = b.started WHERE b.run = :run AND a.pid <> pg_backend_pid() "
        "AND b.epoch < coalesce(:before, b.epoch + 1)"
    )
    values = {"run": run, "before": before}
    ending = text(f"SELECT a.pid, pg_terminate_backend(a.pid, {TERMINATE_MS}) AS gone {recorded}")
    connection.execute(text("SELECT pg_stat_clear_snapshot()"))  # else this transaction sees the sessions of its start
    with _may_end(run):
        stuck = [row.pid for row in connection.execute(ending, values) if not row.gone]
    if stuck:
        # Or it has ended meanwhile, by itself or by another one who takes over: of that the server says the same.
        connection.execute(text("SELECT pg_stat_clear_snapshot()"))
        left = set(connection.execute(text(f"SELECT a.pid {recorded}"), values).scalars())
        stuck = [pid for pid in stuck if pid in left]
    if stuck:
        raise TransientError(f"run {run}: sessions {stuck} of the earlier orchestrator do not end")


@contextmanager
def _may_end(run: str) -> Iterator[None]:
    """Say what to do when the server refuses that this role ends a session."""
    try:
        with translating():
            yield
    except RefusedError as error:
        raise RefusedError(
            f"run {run}: its earlier orchestrator worked under another role, whose sessions this one may not end: "
            f"{error}. Nothing was taken over. Use that role, or GRANT pg_signal_backend to this one"
        ) from None


def bump_epoch(connection: Connection, tables: StateTables, run: str) -> int:
    """Take the next epoch: afterwards no session of an earlier one is alive, can register, or can commit.

    The order:
    1. End the recorded sessions. One of them may be stopped between its epoch check and its COMMIT and would hold the
       epoch's row for ever. One that registers after this look is met in step 2 or 3.
    2. Lock the row. A transaction of ours that has locked any epoch row for a whole lock timeout is stuck, recorded or
       not, and is ended: the lock is the last thing that a transaction takes, so a living one keeps it for a moment
       only. Somebody else's lock is waited for, and named in the end.
    3. Holding the row, end the recorded sessions once more: registering takes the same row in share mode, so no session
       can register from here on until we commit, and then it finds the epoch moved.
    4. Bump. Were this done before 1, a stopped session would block it; before 3, a session that registered late would
       live on with its locks, though it could not commit.
    """
    _hold_epoch(connection, tables, run, None)
    terminate_backends(connection, tables, run)
    return _set_epoch(connection, tables, run, tables.epoch.c.epoch + 1)


def claim_epoch(connection: Connection, tables: StateTables, run: str, epoch: int) -> None:
    """Let an epoch that was taken elsewhere be the one here, too, in the same order: afterwards no session of an
    earlier one is alive, can register, or can commit. Does nothing if it is; `EpochMovedError` if a later one is.

    Several threads may claim the same epoch at once, so only sessions of earlier ones are ended.
    """
    ensure_epoch(connection, tables, run)
    if _is_claimed(connection, tables, run, epoch):
        return
    _hold_epoch(connection, tables, run, epoch)
    if _is_claimed(connection, tables, run, epoch):
        return
    terminate_backends(connection, tables, run, epoch)
    _set_epoch(connection, tables, run, epoch)


def _is_claimed(connection: Connection, tables: StateTables, run: str, epoch: int) -> bool:
    known: int = connection.execute(select(tables.epoch.c.epoch).where(tables.epoch.c.run == run)).scalar_one()
    if known > epoch:
        raise EpochMovedError(f"run {run}: another orchestrator took over; epoch {epoch} is over")
    return known == epoch


def _hold_epoch(connection: Connection, tables: StateTables, run: str, before: int | None) -> None:
    """Lock the epoch's row, whoever else does."""
    for _ in range(BUMP_TRIES):
        terminate_backends(connection, tables, run, before)
        holding = _holders(connection, tables)
        if _lock_epoch(connection, tables, run):
            return
        _end_holders(connection, tables, run, holding)
    others = ", ".join(f"{name or 'without a name'} (process {pid})" for pid, name in _strangers(connection, tables))
    raise TransientError(f"run {run}: the epoch's row stays locked by another session: {others or 'gone by now'}")


def _set_epoch(connection: Connection, tables: StateTables, run: str, epoch: ColumnElement[int] | int) -> int:
    mine = tables.epoch.c.run == run
    moved = update(tables.epoch).where(mine).values(epoch=epoch).returning(tables.epoch.c.epoch)
    found: int = connection.execute(moved).scalar_one()
    connection.execute(delete(tables.backend).where(tables.backend.c.run == run, tables.backend.c.epoch < found))
    return found


def _lock_epoch(connection: Connection, tables: StateTables, run: str) -> bool:
    """Lock the run's row; False after a second of waiting."""
    lock = select(tables.epoch.c.epoch).where(tables.epoch.c.run == run).with_for_update()
    try:
        with translating(), connection.begin_nested():
            connection.execute(text("SET LOCAL lock_timeout = '1s'"))
            if connection.execute(lock).first() is None:
                raise RefusedError(f"run {run} has no epoch; it was not created here, or its state was removed")
    except LockTimeoutError:
        return False
    return True


_HOLDERS = (
    "FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
    "WHERE l.relation = CAST(:name AS regclass) AND l.mode = 'RowShareLock' AND l.granted AND a.pid <> pg_backend_pid()"
)
"""Sessions whose transaction has locked a row of the epoch table: it keeps this table lock until it ends."""


def _holders(connection: Connection, tables: StateTables) -> set[str]:
    """Transactions of ours that have locked a row of the epoch table."""
    statement = text(f"SELECT l.virtualtransaction {_HOLDERS} AND a.application_name ~ :ours")
    connection.execute(text("SELECT pg_stat_clear_snapshot()"))
    return set(connection.execute(statement, {"name": quoted(tables.epoch), "ours": OURS}).scalars())


def _end_holders(connection: Connection, tables: StateTables, run: str, before: set[str]) -> None:
    """End those of them that have held their lock since `before`."""
    statement = text(
        f"SELECT pg_terminate_backend(a.pid, {TERMINATE_MS}) {_HOLDERS} AND a.application_name ~ :ours "
        "AND l.virtualtransaction = ANY(:before)"
    )
    connection.execute(text("SELECT pg_stat_clear_snapshot()"))
    with _may_end(run):
        connection.execute(statement, {"name": quoted(tables.epoch), "ours": OURS, "before": list(before)}).all()


def _strangers(connection: Connection, tables: StateTables) -> list[tuple[int, str]]:
    """Process and name of sessions that are not ours and have locked a row of the epoch table."""
    statement = text(f"SELECT a.pid, a.application_name {_HOLDERS} AND a.application_name !~ :ours ORDER BY 1")
    found = connection.execute(statement, {"name": quoted(tables.epoch), "ours": OURS})
    return [(row.pid, row.application_name) for row in found]
