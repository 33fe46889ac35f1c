"""`ControlStore` in a PostgreSQL state schema (SQLAlchemy Core)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, text, update

from tranship.connectors.errors import TransientError
from tranship.connectors.postgresql import errors
from tranship.connectors.postgresql import state as progress_state
from tranship.connectors.postgresql.connections import engine, ensure_direct
from tranship.connectors.postgresql.controltables import control_tables
from tranship.connectors.postgresql.servers import server_of
from tranship.connectors.protocols.control import Follow, JournalRow, RequestRow, RunRow
from tranship.plans.streams import Endpoint

Hook = Callable[[str], None]


class PostgresControl:
    """`ControlStore`. Connects when it is first used."""

    def __init__(self, endpoint: Endpoint, hook: Hook) -> None:
        self._tables = control_tables(endpoint.state_schema)
        self._progress = progress_state.state_tables(endpoint.state_schema)
        self._endpoint = endpoint
        self._hook = hook
        self._engine = engine(endpoint)
        self._server = server_of(endpoint)

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with errors.translating(self._server), self._engine.begin() as connection:
            yield connection

    def install(self) -> None:
        progress_state.install_state(self._endpoint)
        with self._begin() as connection:
            # Two processes that install at the same moment: one waits here.
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("tranship install"))))
            self._tables.metadata.create_all(connection)

    def upgrade(self, run: str) -> None:
        with self._begin() as connection:
            version = progress_state.version_of(connection, self._endpoint.state_schema)
        if version is not None and version < progress_state.STATE_VERSION:
            progress_state.install_state(self._endpoint, ours=run)

    def installed(self) -> bool:
        schema = self._endpoint.state_schema
        with self._begin() as connection:
            if not progress_state.is_state(connection, schema):
                return False
            # A first run that was killed in the middle of `install` leaves a part of the tables.
            return self._tables.journal.name in progress_state.table_names(connection, schema)

    # --- runs and journals --------------------------------------------------------------------------------------------

    def runs(self, plan: str | None = None) -> list[str]:
        run = self._tables.run
        query = select(run.c.run).order_by(run.c.run)
        if plan is not None:
            query = select(run.c.run).where(run.c.plan == plan).order_by(run.c.number)
        with self._begin() as connection:
            return list(connection.execute(query).scalars())

    def create_run(self, plan: str, after: str | None, empty: RunRow) -> str:
        run = self._tables.run
        newest = select(run.c.run, run.c.number).where(run.c.plan == plan).order_by(run.c.number.desc()).limit(1)
        with self._begin() as connection:
            # The second of two at the same moment waits here, and then finds the first one's run.
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"tranship {plan}"))))
            last = connection.execute(newest).first()
            if last is not None and last.run != after:
                return str(last.run)
            number = last.number + 1 if last is not None else 1
            name = f"{plan}-{number}"
            connection.execute(insert(run).values(run=name, plan=plan, number=number, **vars(empty)))
            progress_state.ensure_epoch(connection, self._progress, name)
        return name

    def journal(self, run: str) -> tuple[RunRow | None, list[JournalRow]]:
        table, journal = self._tables.run, self._tables.journal
        with self._begin() as connection:
            # The head first: an entry that comes between the two reads is then behind it, instead of missing.
            kept = select(table.c.version, table.c.head, table.c.head_hash).where(table.c.run == run)
            head = connection.execute(kept).first()
            rows = connection.execute(select(journal).where(journal.c.run == run).order_by(journal.c.seq)).all()
        return (RunRow(*head) if head is not None else None), [_journal_row(row) for row in rows]

    def append(self, run: str, epoch: int, follow: Follow, consumed: int | None) -> None:
        try:
            self._append(run, epoch, follow, consumed)
        except errors.DuplicateError:
            raise TransientError("an earlier attempt at the same journal entry has just been committed") from None
        self._hook("journal.after_append")

    def _append(self, run: str, epoch: int, follow: Follow, consumed: int | None) -> None:
        journal, request, table = self._tables.journal, self._tables.request, self._tables.run
        newest = select(journal).where(journal.c.run == run).order_by(journal.c.seq.desc()).limit(1)
        with self._begin() as connection:
            last = connection.execute(newest).first()
            now = float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())
            try:
                row = follow(_journal_row(last) if last is not None else None, now)
            except Exception:
                # The usual cause: somebody took over and wrote on. Only under our own epoch it is a broken journal.
                progress_state.check_epoch(connection, self._progress, run, epoch)
                raise
            if row is None:
                return
            connection.execute(insert(journal).values(run=run, **{**vars(row), "data": dict(row.data)}))
            moved = {"version": row.version, "head": row.seq, "head_hash": row.hash}
            connection.execute(update(table).where(table.c.run == run).values(**moved))
            if consumed is not None:
                mine = request.c.id == consumed
                connection.execute(update(request).where(mine).values(consumed_at=func.clock_timestamp()))
            # Last: an orchestrator that was overtaken must not add to the new one's journal.
            progress_state.check_epoch(connection, self._progress, run, epoch)
            self._hook("journal.before_commit")

    # --- requests -----------------------------------------------------------------------------------------------------

    def requests(self, run: str) -> list[RequestRow]:
        request = self._tables.request
        open_ones = select(request).where(request.c.run == run, request.c.consumed_at.is_(None)).order_by(request.c.id)
        with self._begin() as connection:
            rows = connection.execute(open_ones).all()
        return [RequestRow(row.id, row.kind, row.by, row.asking, row.stream) for row in rows]

    def request(self, run: str, kind: str, by: str, asking: int | None, stream: str | None) -> int:
        values = {"run": run, "kind": kind, "asking": asking, "stream": stream, "by": by}
        with self._begin() as connection:
            _ensure_direct(connection)
            table = self._tables.request
            return int(connection.execute(insert(table).values(**values).returning(table.c.id)).scalar_one())

    # --- lease and epoch ----------------------------------------------------------------------------------------------

    def try_acquire(self, run: str, holder: str, ttl_s: float) -> object | None:
        lease = self._tables.lease
        statement = text(
            f"INSERT INTO {progress_state.in_text(lease)} AS l (run, holder, expires_at) "
            "VALUES (:run, :holder, clock_timestamp() + make_interval(secs => :ttl)) "
            "ON CONFLICT (run) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at, work = NULL "
            "WHERE l.expires_at < clock_timestamp() RETURNING holder"
        )
        with self._begin() as connection:
            _ensure_direct(connection)
            if connection.execute(statement, {"run": run, "holder": holder, "ttl": ttl_s}).first():
                return None
            ends: object = connection.execute(select(lease.c.expires_at).where(lease.c.run == run)).scalar_one()
        return ends

    def claim(self, run: str, holder: str) -> int | None:
        lease = self._tables.lease
        ours = (lease.c.run == run) & (lease.c.holder == holder)
        with self._begin() as connection:
            # A process that was stopped between lease and claim must not end the one that works now. Locked until the
            # epoch is bumped, the lease stays ours.
            if connection.execute(select(lease.c.run).where(ours).with_for_update()).first() is None:
                return None
            return progress_state.bump_epoch(connection, self._progress, run)

    def renew(self, run: str, holder: str, ttl_s: float, work: Mapping[str, Any] | None) -> bool:
        lease = progress_state.in_text(self._tables.lease)
        statement = text(
            f"UPDATE {lease} SET expires_at = clock_timestamp() + make_interval(secs => :ttl), "
            "work = CAST(:work AS json), said_at = clock_timestamp() "
            "WHERE run = :run AND holder = :holder RETURNING holder"
        )
        values = {"run": run, "holder": holder, "ttl": ttl_s, "work": json.dumps(work)}
        with self._begin() as connection:
            return connection.execute(statement, values).first() is not None

    def led(self, run: str) -> tuple[Mapping[str, Any] | None, float | None] | None:
        lease = self._tables.lease
        living = (lease.c.run == run) & (lease.c.expires_at > func.clock_timestamp())
        age = func.extract("epoch", func.clock_timestamp() - lease.c.said_at).label("age_s")
        with self._begin() as connection:
            row = connection.execute(select(lease.c.work, age).where(living)).first()
        return None if row is None else (row.work, None if row.age_s is None else float(row.age_s))

    def release(self, run: str, holder: str) -> None:
        lease = self._tables.lease
        mine = (lease.c.run == run) & (lease.c.holder == holder)
        with self._begin() as connection:
            connection.execute(update(lease).where(mine).values(expires_at=func.clock_timestamp()))

    def purge(self, unfinished: Callable[[], list[str]]) -> list[str]:
        return progress_state.drop_state(self._endpoint, self._tables.metadata.sorted_tables, unfinished)

    def close(self) -> None:
        """End all sessions."""
        self._engine.dispose()


def _ensure_direct(connection: Connection) -> None:
    """Before the first thing that a command writes, a lease or a request: behind a pooler it writes nothing."""
    raw = connection.connection.driver_connection
    assert raw is not None
    ensure_direct(raw)


def _journal_row(row: Row[Any]) -> JournalRow:
    return JournalRow(row.seq, row.epoch, row.at, row.kind, row.phase, row.data, row.previous, row.hash, row.version)
