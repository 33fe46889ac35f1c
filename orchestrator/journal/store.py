"""`Control` in the target's state schema: runs, journals, requests, the lease (SQLAlchemy Core)."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
from sqlalchemy import Connection, Row, func, insert, select, text, update

from tranship.connectors.errors import TransientError
from tranship.connectors.postgresql import errors as postgresql_errors
from tranship.connectors.postgresql import state as progress_state
from tranship.connectors.postgresql.connections import engine, ensure_direct
from tranship.connectors.postgresql.servers import server_of
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.control import LeaseHeldError, LeaseLostError, Request, RequestKind
from tranship.orchestrator.journal.person import person
from tranship.orchestrator.journal.records import (
    VERSION,
    Entry,
    Head,
    JournalError,
    Kind,
    Record,
    check_chain,
    sealed,
)
from tranship.orchestrator.journal.tables import control_tables
from tranship.plans.strategies import PhaseName
from tranship.plans.streams import Endpoint

log = structlog.get_logger(__name__)


def holder_name() -> str:
    """Who we are in the lease: unique per process."""
    return f"{socket.gethostname()}:{os.getpid()}:{time.time_ns()}"


class SqlControl:
    """`Control` in a PostgreSQL state schema. Safe to use from several threads."""

    def __init__(self, endpoint: Endpoint, sleep: Callable[[float], None] = time.sleep) -> None:
        self._tables = control_tables(endpoint.state_schema)
        self._progress = progress_state.state_tables(endpoint.state_schema)
        self._endpoint = endpoint
        self._holder = holder_name()
        self._sleep = sleep
        self._engine = engine(endpoint)
        self._server = server_of(endpoint)

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with postgresql_errors.translating(self._server), self._engine.begin() as connection:
            yield connection

    def install(self) -> None:
        """Create the state schema and its tables where they are missing. Idempotent; refuses a newer version."""
        progress_state.install_state(self._endpoint)
        with self._begin() as connection:
            # Two processes that install at the same moment: one waits here.
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("tranship install"))))
            self._tables.metadata.create_all(connection)

    def installed(self) -> bool:
        """Whether the state schema is there, and is one of ours; reads only."""
        schema = self._endpoint.state_schema
        with self._begin() as connection:
            if not progress_state.is_state(connection, schema):
                return False
            # A first run that was killed in the middle of `install` leaves a part of the tables.
            return self._tables.journal.name in progress_state.table_names(connection, schema)

    def runs(self, plan: str) -> list[str]:
        """All runs of a plan, oldest first."""
        run = self._tables.run
        query = select(run.c.run).where(run.c.plan == plan).order_by(run.c.number)
        with self._begin() as connection:
            return list(connection.execute(query).scalars())

    def all_runs(self) -> list[str]:
        """All runs of all plans in the state schema."""
        run = self._tables.run
        with self._begin() as connection:
            return list(connection.execute(select(run.c.run).order_by(run.c.run)).scalars())

    def latest_run(self, plan: str) -> str | None:
        names = self.runs(plan)
        return names[-1] if names else None

    def create_run(self, plan: str, after: str | None) -> str:
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
            empty = Head()
            begun = {"version": VERSION, "head": empty.seq, "head_hash": empty.hash}
            connection.execute(insert(run).values(run=name, plan=plan, number=number, **begun))
            progress_state.ensure_epoch(connection, self._progress, name)
        return name

    def journal(self, run: str) -> list[Entry]:
        journal = self._tables.journal
        with self._begin() as connection:
            self._check_version(connection, run)
            # The head first: an entry that comes between the two reads is then behind it, instead of missing.
            head = self._head(connection, run)
            rows = connection.execute(select(journal).where(journal.c.run == run).order_by(journal.c.seq)).all()
        return check_chain(run, (_entry(row) for row in rows), head)

    def _head(self, connection: Connection, run: str) -> Head | None:
        table = self._tables.run
        row = connection.execute(select(table.c.head, table.c.head_hash).where(table.c.run == run)).first()
        return None if row is None else Head(row.head, row.head_hash)

    def _check_version(self, connection: Connection, run: str) -> None:
        table = self._tables.run
        version = connection.execute(select(table.c.version).where(table.c.run == run)).scalar()
        if version is not None and version > VERSION:
            raise JournalError(
                f"run {run} was written by a newer tranship (journal version {version}, this one reads up to "
                f"{VERSION}). Nothing was changed. Use that version or a later one."
            )

    def append(self, run: str, seq: int, epoch: int, record: Record, consumed: int | None = None) -> None:
        try:
            self._append(run, seq, epoch, record, consumed)
        except postgresql_errors.DuplicateError:
            raise TransientError("an earlier attempt at the same journal entry has just been committed") from None
        reached("journal.after_append")

    def _append(self, run: str, seq: int, epoch: int, record: Record, consumed: int | None) -> None:
        journal, request = self._tables.journal, self._tables.request
        newest = select(journal).where(journal.c.run == run).order_by(journal.c.seq.desc()).limit(1)
        with self._begin() as connection:
            last = connection.execute(newest).first()
            if last is not None and last.seq == seq and _entry(last).record == record and last.epoch == epoch:
                return  # an earlier attempt of ours landed after all
            if seq != (last.seq + 1 if last else 1):
                # The usual cause: somebody took over and wrote on. Only under our own epoch it is a broken journal.
                progress_state.check_epoch(connection, self._progress, run, epoch)
                raise JournalError(f"entry {seq} of run {run} cannot follow entry {last.seq if last else 0}")
            now = connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one()
            head = Head(last.seq, last.hash) if last else Head()
            entry = sealed(run, head, epoch, round(float(now), 6), record)
            connection.execute(insert(journal).values(run=run, **_values(entry)))
            table, moved = self._tables.run, {"version": VERSION, "head": entry.seq, "head_hash": entry.hash}
            connection.execute(update(table).where(table.c.run == run).values(**moved))
            if consumed is not None:
                mine = request.c.id == consumed
                connection.execute(update(request).where(mine).values(consumed_at=func.clock_timestamp()))
            # Last: an orchestrator that was overtaken must not add to the new one's journal.
            progress_state.check_epoch(connection, self._progress, run, epoch)
            reached("journal.before_commit")

    def requests(self, run: str) -> list[Request]:
        request = self._tables.request
        open_ones = select(request).where(request.c.run == run, request.c.consumed_at.is_(None)).order_by(request.c.id)
        with self._begin() as connection:
            return [
                Request(row.id, RequestKind(row.kind), row.by, row.asking, row.stream)
                for row in connection.execute(open_ones)
            ]

    def request(self, run: str, kind: RequestKind, asking: int | None = None, stream: str | None = None) -> int:
        values = {"run": run, "kind": kind, "asking": asking, "stream": stream, "by": person()}
        with self._begin() as connection:
            _ensure_direct(connection)
            table = self._tables.request
            return int(connection.execute(insert(table).values(**values).returning(table.c.id)).scalar_one())

    # --- lease and epoch ------------------------------------------------------------------------------------------

    def acquire(self, run: str, ttl_s: float) -> None:
        seen: Any = None
        while True:
            expires_at = self._try_acquire(run, ttl_s)
            if expires_at is None:
                reached("claim.after_lease")
                return
            if seen is not None and expires_at != seen:
                raise LeaseHeldError(f"another orchestrator works on run {run} and renews its lease")
            if seen is None:
                why = "waiting for the lease of an earlier orchestrator to end"
                log.info(why, run=run, sentence=why)
            seen = expires_at
            self._sleep(min(0.25, ttl_s / 10))

    def _try_acquire(self, run: str, ttl_s: float) -> Any:
        """None when the lease is ours now; else when the other one's ends."""
        lease = self._tables.lease
        statement = text(
            f"INSERT INTO {progress_state.in_text(lease)} AS l (run, holder, expires_at) "
            "VALUES (:run, :holder, clock_timestamp() + make_interval(secs => :ttl)) "
            "ON CONFLICT (run) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at, work = NULL "
            "WHERE l.expires_at < clock_timestamp() RETURNING holder"
        )
        with self._begin() as connection:
            _ensure_direct(connection)
            if connection.execute(statement, {"run": run, "holder": self._holder, "ttl": ttl_s}).first():
                return None
            return connection.execute(select(lease.c.expires_at).where(lease.c.run == run)).scalar_one()

    def claim(self, run: str) -> int:
        lease = self._tables.lease
        ours = (lease.c.run == run) & (lease.c.holder == self._holder)
        with self._begin() as connection:
            # A process that was stopped between lease and claim must not end the one that works now. A lease that ended
            # is still ours while nobody has taken it, as after an outage that was longer (`rules.md` K7); locked until
            # the epoch is bumped, it stays so.
            if connection.execute(select(lease.c.run).where(ours).with_for_update()).first() is None:
                raise LeaseLostError(f"another orchestrator has taken over run {run}")
            epoch = progress_state.bump_epoch(connection, self._progress, run)
        reached("claim.after_epoch")
        return epoch

    def renew(self, run: str, ttl_s: float, work: Mapping[str, Any] | None = None) -> None:
        lease = progress_state.in_text(self._tables.lease)
        statement = text(
            f"UPDATE {lease} SET expires_at = clock_timestamp() + make_interval(secs => :ttl), "
            "work = CAST(:work AS json), said_at = clock_timestamp() "
            "WHERE run = :run AND holder = :holder RETURNING holder"
        )
        values = {"run": run, "holder": self._holder, "ttl": ttl_s, "work": json.dumps(work)}
        with self._begin() as connection:
            if connection.execute(statement, values).first() is None:
                raise LeaseLostError(f"another orchestrator has taken over run {run}")

    def is_led(self, run: str) -> bool:
        """Whether an orchestrator holds the run's lease now; reads only."""
        lease = self._tables.lease
        living = (lease.c.run == run) & (lease.c.expires_at > func.clock_timestamp())
        with self._begin() as connection:
            return connection.execute(select(lease.c.run).where(living)).first() is not None

    def work(self, run: str) -> tuple[dict[str, Any], float] | None:
        """What the orchestrator at work has said last, and how many seconds ago; None without one, or before its first
        heartbeat; reads only."""
        lease = self._tables.lease
        living = (lease.c.run == run) & (lease.c.expires_at > func.clock_timestamp())
        age = func.extract("epoch", func.clock_timestamp() - lease.c.said_at).label("age_s")
        with self._begin() as connection:
            row = connection.execute(select(lease.c.work, age).where(living)).first()
        return None if row is None or not row.work else (row.work, float(row.age_s))

    def release(self, run: str) -> None:
        lease = self._tables.lease
        mine = (lease.c.run == run) & (lease.c.holder == self._holder)
        with self._begin() as connection:
            connection.execute(update(lease).where(mine).values(expires_at=func.clock_timestamp()))

    def purge(self, unfinished: Callable[[], list[str]]) -> list[str]:
        """Drop the state tables, unless `unfinished`, asked under their lock, names runs: those are returned."""
        return progress_state.drop_state(self._endpoint, self._tables.metadata.sorted_tables, unfinished)

    def close(self) -> None:
        self._engine.dispose()


def _ensure_direct(connection: Connection) -> None:
    """Before the first thing that a command writes, a lease or a request: behind a pooler it writes nothing."""
    raw = connection.connection.driver_connection
    assert raw is not None
    ensure_direct(raw)


def _values(entry: Entry) -> dict[str, Any]:
    record = entry.record
    return {
        "seq": entry.seq,
        "epoch": entry.epoch,
        "at": entry.at,
        "kind": record.kind,
        "phase": record.phase,
        "data": dict(record.data),
        "previous": entry.previous,
        "hash": entry.hash,
        "version": entry.version,
    }


def _entry(row: Row[Any]) -> Entry:
    phase = PhaseName(row.phase) if row.phase else None
    record = Record(Kind(row.kind), phase, row.data)
    return Entry(row.seq, row.epoch, row.at, record, row.previous, row.hash, row.version)
