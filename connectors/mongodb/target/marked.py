"""`MarkedTarget` on MongoDB: documents, rebuilt from rows, change with their marks in one transaction.

Guaranteed: rows and mark commit together with a majority or not at all; under the epoch of the newest `claim` alone;
of two copies of a batch one (`rules.md` I1). What nobody changed in the rows keeps its bytes in the documents, and
a document whose row says what it is already is not written (`rules.md` E6). After a lost connection nothing is
repeated here but COMMIT itself, which names its transaction; whoever goes on claims the marks, and so reads them.

Not here: a batch larger than one transaction may be (`transactions`) is for the caller to make smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pyarrow as pa
from bson import Binary
from pymongo.client_session import ClientSession

from tranship.connectors.batch import Batch
from tranship.connectors.errors import ConnectorError, MarkMovedError, RowRefusedError
from tranship.connectors.mongodb.errors import translated
from tranship.connectors.mongodb.routing import MongoRecords
from tranship.connectors.mongodb.target.collection import StreamCollection
from tranship.connectors.mongodb.target.marks import Marks, chunk_name, epoch_moved, lane_names
from tranship.connectors.mongodb.target.reading import MongoRows
from tranship.connectors.mongodb.target.refusals import RefusedWriteError, conflict
from tranship.connectors.mongodb.target.rewriting import planned, rebuilt, why_unusable
from tranship.connectors.protocols import READING, ChunkMark, Key, LaneMark, Loaded, RoutingRecord, Scope, Span
from tranship.connectors.protocols.detached import MarkedTarget
from tranship.plans.rules import MARK_COLLECTION
from tranship.plans.streams import Child, Endpoint, Stream

T = TypeVar("T")
Hook = Callable[[str], None]

DELETED_AT_ONCE = 1000
"""Documents that one transaction of `empty` deletes."""


def _no_hook(site: str) -> None:
    del site


@dataclass(frozen=True)
class Handover:
    """What a seal does to the source's routing record of a run in its own transaction (`rules.md` J13)."""

    id: str
    before: RoutingRecord
    after: RoutingRecord


class MongoMarkedTarget(MongoRows):
    """`MarkedTarget` over one MongoDB database. `hook` is called at named sites within transactions."""

    def __init__(self, endpoint: Endpoint, hook: Hook = _no_hook) -> None:
        super().__init__(endpoint)
        self._transactions = self._connection.transactions()
        self._hook = hook
        self._announced: tuple[Scope, tuple[str, ...]] | None = None

    # --- marks

    def claim(self, scope: Scope, known: Sequence[LaneMark]) -> list[LaneMark]:
        with translated("reading the marks"):
            epoch, lanes = self._marks.claimed(scope)
        behind = len(lanes) < len(known) or any(ours.seq < mark.seq for ours, mark in zip(lanes, known, strict=False))
        if epoch == scope.epoch and not behind:
            return lanes
        if scope.epoch == READING or (epoch is not None and epoch > scope.epoch):
            raise epoch_moved(scope)

        def work(session: ClientSession) -> list[LaneMark]:
            taken = self._marks.claim(session, scope, known)
            self._hook("claim.before_commit")
            return taken

        # What earlier epochs have open could keep the marks for as long as the server lets it, and who lives goes on
        # trying until the claim is committed: so they are ended first, and at every conflict again.
        earlier = self._end(lambda: self._marks.sessions_before(scope))
        taken = self._run("claiming the marks", scope, work, rivals=lambda: self._marks.sessions_before(scope))
        with translated("forgetting sessions that were ended"):
            self._marks.strike(scope, earlier)
        return taken

    def _end(self, rivals: Callable[[], list[Binary]]) -> list[Binary]:
        """End what these sessions have open; returns which they are."""
        with translated("looking for who is in the way"):
            sessions = rivals()
        if sessions:
            self._connection.end_sessions(sessions)
        return sessions

    def begin(self, mark: ChunkMark) -> None:
        def work(session: ClientSession) -> None:
            self._marks.begin_attempt(session, mark)
            self._hook("begin.before_commit")

        self._run("beginning a chunk", mark.scope, work, holds=[chunk_name(mark)])

    def seal(self, scope: Scope, handover: Handover | None = None) -> None:
        """As `MarkedTarget.seal`; every mark is written, also when it is sealed already. With a `handover` the routing
        record changes in the same transaction, or nothing does: `MarkMovedError`."""

        def work(session: ClientSession) -> None:
            self._marks.seal(session, scope, sealed=True)
            if handover is not None:
                self._hand_over(session, handover)
            self._hook("seal.before_commit")

        self._run("sealing the marks", scope, work)

    def _hand_over(self, session: ClientSession, handover: Handover) -> None:
        if self.records.swap_within(session, handover.id, handover.before, handover.after):
            return
        # A repeated one finds it done: swapping what it became for itself says whether it is still so, and writes it.
        if not self.records.swap_within(session, handover.id, handover.after, handover.after):
            was = f"{handover.before.state.value}({handover.before.version})"
            raise MarkMovedError(f"the source's routing record is not {was} any more; nothing was sealed")

    def unseal(self, scope: Scope) -> None:
        def work(session: ClientSession) -> None:
            self._marks.seal(session, scope, sealed=False)
            self._hook("unseal.before_commit")

        self._run("lifting the seal", scope, work)

    def forget(self, scope: Scope) -> None:
        """As `MarkedTarget.forget`. The epoch stays on record, so that no earlier one can claim what was forgotten."""

        def work(session: ClientSession) -> None:
            self._marks.forget(session, scope)
            self._hook("forget.before_commit")

        self._run("forgetting the marks", scope, work)

    def remove(self, run: str) -> None:
        """Remove what is left of a run's marks, its epoch too, once nobody is left who could write for it."""
        with translated("removing the marks"):
            self._marks.remove(run)

    # --- rows

    def load(self, stream: Stream, span: Span, batches: Iterable[Batch], mark: ChunkMark) -> Loaded:
        into = self._connection.collection(stream)

        wanted: dict[Key, bytes] = {}

        def work(session: ClientSession) -> Loaded:
            into.empty(session, span)
            rows = child_rows = 0
            for batch in batches:
                found = rebuilt(into.mapper, batch.rows)
                wanted.update(found)
                into.insert(session, found)
                rows += batch.rows.num_rows
                child_rows += _child_rows(stream.children, batch.rows.column)
            self._hook("load.before_mark")
            self._marks.end_attempt(session, mark)
            self._hook("load.before_epoch")
            self._hook("load.before_commit")
            return Loaded(rows, child_rows, 0)

        try:
            # Once: the batches come only once, too.
            return self._run("loading a chunk", mark.scope, work, holds=[chunk_name(mark)], again=False)
        except RefusedWriteError as refused:
            raise _refusal(refused, into, wanted) from None

    def replace(
        self, stream: Stream, keys: Sequence[Key], rows: pa.RecordBatch, marks: Sequence[LaneMark]
    ) -> Mapping[Key, str]:
        into = self._connection.collection(stream)
        wanted = rebuilt(into.mapper, rows)

        def work(session: ClientSession, *, anew: bool) -> Mapping[Key, str]:
            # The marks first: what comes late is refused before it reads or writes anything.
            self._marks.swap_lanes(session, marks)
            self._hook("replace.before_delete")
            present = into.present(keys, session)
            ours = into.found(keys, session) if stream.where is not None else present
            rewrite = planned(into.mapper, keys, wanted, present, ours)
            into.write(session, rewrite, anew=anew)
            for site in ("before_mark", "before_epoch", "before_commit"):
                self._hook(f"replace.{site}")
            return rewrite.held

        run = partial(self._run, "replacing documents", marks[0].scope, holds=lane_names(marks))
        try:
            try:
                return run(lambda session: work(session, anew=False))
            except RefusedWriteError as refused:
                if not refused.is_duplicate:
                    raise
            return run(lambda session: work(session, anew=True))
        except RefusedWriteError as refused:
            raise _refusal(refused, into, wanted) from None

    def empty(self, scope: Scope, streams: Sequence[Stream]) -> None:
        """As `MarkedTarget.empty`, the marks first, then the documents by and by. These are the application's own where
        the database is a source: a feed that copies nothing into it has nothing to empty."""

        def work(session: ClientSession) -> None:
            self._marks.forget_attempts(session, scope, [stream.name for stream in streams])
            self._hook("empty.before_commit")

        self._run("emptying streams", scope, work)
        for stream in streams:
            into = self._connection.collection(stream)
            while self._run("emptying streams", scope, partial(self._thin_out, scope, into)):
                pass

    def _thin_out(self, scope: Scope, into: StreamCollection, session: ClientSession) -> bool:
        """Delete some of a stream's documents, under the epoch; whether there were any."""
        self._marks.write(session, scope)
        return into.delete_some(session, DELETED_AT_ONCE) > 0

    def refused(self, stream: Stream, batch: Batch) -> dict[Key, str]:
        into = self._connection.collection(stream)
        found: dict[Key, str] = {}
        for place, key in enumerate(batch.keys):
            reason = self._why_refused(into, key, batch.rows.slice(place, 1))
            if reason is not None:
                found[key] = reason
        return found

    def _why_refused(self, into: StreamCollection, key: Key, row: pa.RecordBatch) -> str | None:
        """By a transaction that is taken back."""
        reason = why_unusable(into.mapper, row)
        if reason is not None:
            return reason
        wanted = rebuilt(into.mapper, row)

        def work(session: ClientSession) -> None:
            present = into.present([key], session)
            into.write(session, planned(into.mapper, [key], wanted, present, into.found([key], session)), anew=True)
            raise _TakenBackError

        try:
            self._transactions.run("trying a document", work)
        except RowRefusedError as error:
            return str(error)
        except RefusedWriteError as error:
            return None if error.is_duplicate else error.reason
        except _TakenBackError:
            pass
        return None

    @property
    def records(self) -> MongoRecords:
        return MongoRecords(self._connection.database)

    def close(self) -> None:
        """End the session, and take it off the record, where the server can be reached."""
        if self._announced is not None:
            with suppress(ConnectorError), translated("forgetting a session"):
                self._marks.strike(self._announced[0], [self._transactions.session_id])
        self._transactions.close()
        self._connection.close()

    # --- transactions

    @property
    def _marks(self) -> Marks:
        return Marks(self._connection.database[MARK_COLLECTION])

    def _run(
        self,
        doing: str,
        scope: Scope,
        work: Callable[[ClientSession], T],
        *,
        holds: Sequence[str] = (),
        again: bool = True,
        rivals: Callable[[], list[Binary]] | None = None,
    ) -> T:
        """A transaction of a session that is on record. `rivals` are ended at a conflict; if not told, those of this
        epoch that have a mark which this one `holds`: earlier attempts, whose process is dead or late."""
        session = self._transactions.session_id
        if self._announced != (scope, tuple(holds)):
            with translated("announcing a session"):
                self._marks.announce(scope, session, holds)
            self._announced = scope, tuple(holds)

        in_the_way = rivals or (lambda: self._marks.rivals(scope, session, holds))
        conflicting = partial(self._end, in_the_way)
        return self._transactions.run(doing, work, again=again, conflicting=conflicting)


class _TakenBackError(Exception):
    """Ends a transaction of which nothing is to be kept."""


def _refusal(refused: RefusedWriteError, into: StreamCollection, wanted: Mapping[Key, bytes]) -> ConnectorError:
    """What those above know of a refused write."""
    if refused.is_duplicate:
        with translated("looking for who holds a unique value"):
            return conflict(refused, into.stream, into.collection, wanted)
    return RowRefusedError(f"stream {into.stream.name}: {refused.reason}")


def _child_rows(children: Sequence[Child], column: Callable[[str], pa.Array]) -> int:
    """Rows of child tables, at all levels."""
    count = 0
    for child in children:
        rows = column(child.table).flatten()
        count += len(rows) + _child_rows(child.children, rows.field)
    return count


def _is_target(target: MongoMarkedTarget) -> MarkedTarget:
    return target
