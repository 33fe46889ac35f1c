"""The ends of the data plane's transactions: a mark is swapped, then the epoch is checked, last before COMMIT."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from tranship.connectors.errors import ConnectorError, EpochMovedError, MarkMovedError
from tranship.connectors.postgresql.datasessions import DataSession, one, state_name
from tranship.connectors.postgresql.errors import DuplicateError
from tranship.connectors.protocols import ChunkMark, LaneMark, Scope

Hook = Callable[[str], None]


class Marks:
    """The marks that stand in a state schema: of a target, or a ledger's copies. `hook` is called at each site."""

    def __init__(self, session: DataSession, state_schema: str, hook: Hook) -> None:
        self._session = session
        self._schema = state_schema
        self._hook = hook

    @contextmanager
    def chunk(self, mark: ChunkMark) -> Iterator[None]:
        """A transaction about a chunk; `end_chunk` has to be its end."""
        try:
            with self._session.write():
                yield
        except DuplicateError as error:
            self._check_chunk(mark)  # an attempt that was held until another one had loaded the chunk meets its rows
            raise ConnectorError(
                f"stream {mark.stream}, chunk {mark.chunk}: a key or unique value is there already, in table "
                f"{error.table} ({error.constraint}). Either the span was not empty or the source gave a key twice. "
                "Nothing of the chunk was kept."
            ) from None

    def end_chunk(self, mark: ChunkMark, rows: int, quarantined: int) -> None:
        """`pending(attempt)` → `loaded`, and the epoch: `MarkMovedError`, `EpochMovedError`."""
        self._hook("load.before_mark")
        swapped = self._session.run(
            f"UPDATE {self._table('chunk')} SET state = 'loaded', rows = $6, quarantined = $7 "
            "WHERE run = $1 AND feed = $2 AND stream = $3 AND number = $4 AND state = 'pending' AND attempt = $5 "
            "RETURNING number",
            [*_chunk_place(mark), one(rows, pa.int64()), one(quarantined, pa.int64())],
        )
        if swapped.num_rows != 1:
            raise _attempt_is_over(mark)
        self._hook("load.before_epoch")
        self._check_epoch(mark.scope)
        self._hook("load.before_commit")

    def end_batch(self, marks: Sequence[LaneMark]) -> None:
        """`seq` → `seq + 1` of each lane, and the epoch: `MarkMovedError`, `EpochMovedError`."""
        self._hook("replace.before_mark")
        for mark in sorted(marks, key=lambda mark: mark.lane):
            self._swap_lane(mark)
        self._hook("replace.before_epoch")
        self._check_epoch(marks[0].scope)
        self._hook("replace.before_commit")

    def _check_chunk(self, mark: ChunkMark) -> None:
        """`MarkMovedError` when the attempt is over. Only to explain a failure: it locks nothing."""
        with self._session.read():
            found = self._session.run(
                f"SELECT number FROM {self._table('chunk')} "
                "WHERE run = $1 AND feed = $2 AND stream = $3 AND number = $4 AND state = 'pending' AND attempt = $5",
                _chunk_place(mark),
            )
        if found.num_rows != 1:
            raise _attempt_is_over(mark)

    def _swap_lane(self, mark: LaneMark) -> None:
        swapped = self._session.run(
            f"UPDATE {self._table('lane')} SET seq = seq + 1 "
            "WHERE run = $1 AND feed = $2 AND lane = $3 AND seq = $4 AND NOT sealed RETURNING seq",
            [
                one(mark.scope.run, pa.string()),
                one(mark.scope.feed, pa.string()),
                one(mark.lane, pa.int32()),
                one(mark.seq, pa.int64()),
            ],
        )
        if swapped.num_rows != 1:
            raise MarkMovedError(f"lane {mark.lane} has moved on from {mark.seq}; nothing of this batch was kept")

    def _check_epoch(self, scope: Scope) -> None:
        """Last before COMMIT: the row stays locked in share mode, so the epoch cannot move in between."""
        found = self._session.run(
            f"SELECT epoch FROM {self._table('epoch')} WHERE run = $1 AND epoch = $2 FOR SHARE",
            [one(scope.run, pa.string()), one(scope.epoch, pa.int64())],
        )
        if found.num_rows != 1:
            raise EpochMovedError(f"run {scope.run}: another orchestrator took over; epoch {scope.epoch} is over")

    def _table(self, name: str) -> str:
        return state_name(self._schema, name)


def _chunk_place(mark: ChunkMark) -> list[pa.Array]:
    """The parameters `run`, `feed`, `stream`, `number` and `attempt`."""
    return [
        one(mark.scope.run, pa.string()),
        one(mark.scope.feed, pa.string()),
        one(mark.stream, pa.string()),
        one(mark.chunk, pa.int32()),
        one(mark.attempt, pa.int32()),
    ]


def _attempt_is_over(mark: ChunkMark) -> MarkMovedError:
    return MarkMovedError(
        f"stream {mark.stream}, chunk {mark.chunk}: attempt {mark.attempt} is over; nothing of it was kept"
    )
