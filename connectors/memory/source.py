"""The memory source: reads and watches `Documents`.

Like a database cursor, `read` is no snapshot: each batch shows its documents as they are when it is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import pyarrow as pa

from tranship.connectors.batch import KEY, Batch, Quarantined
from tranship.connectors.fit import Effect, Note, Notes
from tranship.connectors.memory.routing import MemoryRecords
from tranship.connectors.memory.rows import Row, holds, make_batch, residues
from tranship.connectors.memory.store import MemoryStore
from tranship.connectors.printable import printable
from tranship.connectors.protocols import (
    BatchSource,
    Changes,
    ChangeSource,
    Finding,
    Key,
    Position,
    Span,
    Watch,
)
from tranship.connectors.watches import GeneratedWatch
from tranship.plans.streams import Stream

_RESIDUE = Note("", "residue", Effect.FORM, "")

IDLE_S = 1.0
BATCH_ROWS = 1000


class MemorySource:
    """`BatchSource` and `ChangeSource` over a `MemoryStore`. Reads are always newer than any position."""

    projection = "memory-1"

    def __init__(self, store: MemoryStore, *, batch_rows: int = BATCH_ROWS, idle_s: float = IDLE_S) -> None:
        self._store = store
        self._documents = store.documents
        self._batch_rows = batch_rows
        self._idle_s = idle_s

    def identity(self) -> str:
        return f"memory:{self._store.name}:source"

    def collections(self, streams: Sequence[Stream]) -> dict[str, str]:
        return {s.name: self._documents.ids.get(s.name, f"collection {s.name}") for s in streams}

    def findings(self, streams: Sequence[Stream]) -> list[Finding]:
        """A stream without documents is worth a look, as a misspelt collection would be."""
        return [
            Finding(
                "source.empty",
                "warning",
                f"stream {s.name}: no document to read",
                "check the collection's name",
                s.name,
            )
            for s in streams
            if not self._documents.keys(s.name)
        ]

    def estimate(self, stream: Stream) -> tuple[int, int]:
        sizes = [size for _, size in self._sizes(stream)]
        return len(sizes), sum(sizes)

    def spans(self, stream: Stream, chunk_bytes: int) -> list[Span]:
        cuts: list[Key | None] = [None]
        filled = 0
        for key, size in self._sizes(stream):
            if filled >= chunk_bytes:
                cuts.append(key)
                filled = 0
            filled += size
        return [Span(lower, upper) for lower, upper in zip(cuts, [*cuts[1:], None], strict=True)]

    def some(self, stream: Stream, documents: int, seed: int) -> Iterator[Batch]:  # noqa: ARG002
        """The first ones."""
        if keys := list(islice(self._documents.keys(stream.name), documents)):
            yield self._batch(stream, keys)

    def read(self, stream: Stream, span: Span, after: Position) -> Iterator[Batch]:
        _sequence(after)
        last: Key | None = None
        while True:
            keys = (k for k in self._documents.keys(stream.name) if holds(span, k) and (last is None or k > last))
            page = list(islice(keys, self._batch_rows))
            if not page:
                return
            yield self._batch(stream, page)
            last = page[-1]

    def read_keys(self, stream: Stream, keys: Sequence[Key], after: Position) -> Batch:
        _sequence(after)
        return self._batch(stream, sorted(set(keys)))

    def position(self) -> Position:
        return _position(self._documents.head)

    def changes(self, streams: Sequence[Stream], since: Position) -> Watch:
        return GeneratedWatch(lambda closed: self._follow(streams, since, closed), wake=self._documents.wake)

    def _follow(self, streams: Sequence[Stream], since: Position, closed: threading.Event) -> Iterator[Changes]:
        watched = {stream.name for stream in streams}
        sequence = _sequence(since)
        while not closed.is_set():
            events = self._documents.since(sequence, self._idle_s, self._batch_rows)
            sequence = events[-1].sequence
            keys = dict.fromkeys((e.stream, e.key) for e in events if e.stream in watched)
            markers = tuple(e.marker for e in events if e.marker is not None)
            yield Changes(tuple(keys), _position(sequence), markers, self._documents.since_then_s(events[-1]))

    def documents(self, stream: Stream, rows: pa.RecordBatch) -> list[bytes]:  # noqa: ARG002
        """A document is its row."""
        return [repr(sorted(row.items())).encode() for row in rows.to_pylist()]

    def notes(self, stream: Stream, rows: pa.RecordBatch) -> Notes:  # noqa: ARG002
        """A note for each residue."""
        noted = {row[KEY]: [_RESIDUE] * residues(row) for row in rows.to_pylist()}
        return {key: notes for key, notes in noted.items() if notes}

    def usual_order(self, stream: Stream, rows: pa.RecordBatch) -> list[str]:  # noqa: ARG002
        """A row has no order but that of the plan."""
        return list(stream.order)

    def readable(self, document: bytes) -> str:
        return printable(document.decode(errors="backslashreplace"))

    def keeps_s(self, since: Position) -> float | None:
        """For ever, which is as long as nobody knows."""
        return self.history_s(since)

    def history_s(self, since: Position) -> float | None:  # noqa: ARG002
        """It counts events, not seconds."""
        return None

    def put_marker(self, name: str) -> None:
        self._documents.put_marker(name)

    def has_marker(self, name: str) -> bool:
        return name in self._documents.markers

    def drop_markers(self, owner: str) -> None:
        self._documents.markers -= {name for name in self._documents.markers if name.startswith(f"{owner}.")}

    def try_traces(self) -> list[Finding]:
        """Everybody may."""
        return []

    @property
    def records(self) -> MemoryRecords:
        return MemoryRecords(self._store.on_source, self._store.clock)

    @property
    def fences(self) -> None:
        """Nobody can be kept from writing here."""

    def close(self) -> None:
        """Nothing to release; the store lives on."""

    def _batch(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        documents = [d for d in (self._documents.get(stream.name, key) for key in keys) if d is not None]
        rows: list[Row] = [d for d in documents if not isinstance(d, Quarantined)]
        made = make_batch(stream, rows, (d for d in documents if isinstance(d, Quarantined)))
        return replace(made, notes=self.notes(stream, made.rows))

    def _sizes(self, stream: Stream) -> Iterator[tuple[Key, int]]:
        for key in self._documents.keys(stream.name):
            document = self._documents.get(stream.name, key)
            if document is not None:
                yield key, len(repr(document))


def _position(sequence: int) -> Position:
    return Position(sequence.to_bytes(8, "big"))


def _sequence(position: Position) -> int:
    return int.from_bytes(position.token, "big")


def _implements(source: MemorySource) -> tuple[BatchSource, ChangeSource]:
    return source, source
