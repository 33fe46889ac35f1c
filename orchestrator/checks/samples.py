"""Some documents of each stream against the plan, before there is a run: read, made rows of, and written nowhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa

from tranship.connectors.arrowtypes import plain_values
from tranship.connectors.batch import Batch
from tranship.connectors.errors import ConnectorError, UnmappableError
from tranship.connectors.fit import Cell, Fit, Kind, filled, noted
from tranship.connectors.keys import KeyForm
from tranship.connectors.protocols import Finding, Key
from tranship.connectors.registry import Source
from tranship.orchestrator.checks.failures import of_stream
from tranship.orchestrator.checks.fitting import HINTS, Seen, findings
from tranship.orchestrator.checks.references import dangling, missing
from tranship.orchestrator.engine.session import Session
from tranship.plans.streams import Stream

SEED = 0

LOOKED_UP = 500
"""So many keys of each reference are looked up."""


@dataclass(frozen=True)
class Sampled:
    """What was read of a stream, and how long that took."""

    stream: str
    documents: int
    seconds: float


def look(session: Session, documents: int, left_out: frozenset[str]) -> tuple[list[Finding], list[Sampled]]:
    """Findings about so many documents of each stream, and what was read. Reads only."""
    found, sampled = list[Finding](), list[Sampled]()
    with closing(session.connect.source()) as source:
        for stream in session.streams:
            if stream.name not in left_out:
                said, one = _look(session, source, stream, documents)
                found += said
                sampled.append(one)
    return found, sampled


def _look(session: Session, source: Source, stream: Stream, documents: int) -> tuple[list[Finding], Sampled]:
    began = time.monotonic()
    notes, cells, aside, count = Counter[Kind](), Counter[Cell](), Counter[str](), 0
    batches = []
    try:
        for batch in source.some(stream, documents, SEED):
            notes.update(noted(source.notes(stream, batch.rows), batch.keys))
            cells.update(filled(stream, batch.rows))
            aside.update(entry.reason for entry in batch.quarantined)
            count += len(batch.keys) + len(batch.quarantined)
            batches.append(batch)
    except UnmappableError as error:
        failed = of_stream(error)
        return ([failed] if failed is not None else []), Sampled(stream.name, count, time.monotonic() - began)
    except ConnectorError as error:
        hint = "see what the server says; a run reads all of the collection"
        unread = Finding("source.unreadable", "error", str(error), hint, stream.name)
        return [unread], Sampled(stream.name, count, time.monotonic() - began)
    sampled = Sampled(stream.name, count, time.monotonic() - began)
    # The whole is looked at only by chance: a small collection is read to its end, and nobody says so.
    fitting = findings(session.plan, [Seen(stream, Fit(notes, cells), aside)], {stream.name})
    return [*fitting, *_twice(stream, batches), *_dangling(session, source, stream, batches)], sampled


def _twice(stream: Stream, batches: Sequence[Batch]) -> Iterator[Finding]:
    """Values of unique columns that several of the documents hold."""
    for index in stream.unique:
        if index.where or not all(name in _root(stream) for name in index.columns):
            continue  # which rows are in such an index, only PostgreSQL knows
        held = Counter(values for batch in batches for values in _values(batch, index.columns) if None not in values)
        count = sum(number for number in held.values() if number > 1)
        if count:
            names = ", ".join(index.columns)
            message = f"stream {stream.name}: {count:,} documents hold what others hold in {names}, which is unique"
            yield Finding("data.duplicate", "error", message, HINTS["data.duplicate"], stream.name)


def _root(stream: Stream) -> set[str]:
    return {column.name for column in (*stream.key, *stream.columns)}


def _values(batch: Batch, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    columns = [batch.rows.column(name).to_pylist() for name in names]
    yield from ((tuple(map(_hashable, values))) for values in zip(*columns, strict=True))


def _hashable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _dangling(session: Session, source: Source, stream: Stream, batches: Sequence[Batch]) -> Iterator[Finding]:
    streams = {one.name: one for one in session.streams}
    referring = [(one, streams[one.references.stream]) for one in stream.columns if one.references is not None]
    if not referring:
        return
    after = source.position()
    for column, other in referring:
        held = Counter(key for batch in batches for key in _keys(other, batch.rows.column(column.name)))
        some = [key for key, _ in held.most_common(LOOKED_UP)]
        absent = missing(source, other, some, after) if some else set()
        if absent:
            yield dangling(stream.name, column.name, sum(held[key] for key in absent))


def _keys(stream: Stream, column: pa.Array) -> Iterator[Key]:
    encode = KeyForm(stream.key).encode
    yield from (encode((value,)) for value in plain_values(column.drop_null()))
