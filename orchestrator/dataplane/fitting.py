"""Documents that fit the plan and yet not the target: too wide for a page, too long for an index, against a rule that
somebody has set on the table.

The target says which rows these are, by trial; they are kept aside like documents that do not fit the plan, with the
target's reason, so that neither a chunk nor a lane stops at them (`rules.md` C6). A comparison meets such a document as
a row of the source and an entry of the target: they agree when the entry holds just that document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import replace as changed

import pyarrow as pa
import pyarrow.compute as pc

from tranship.connectors.batch import KEY, Batch, Quarantined
from tranship.connectors.errors import RowRefusedError, UnmappableError
from tranship.connectors.protocols import BatchSource, BatchTarget, DirtyKey, Key, LaneMark, Loaded, Position
from tranship.orchestrator.dataplane.merge import REFUSED, Part, entry_digest
from tranship.plans.streams import Rest, Stream

Documents = Callable[[pa.RecordBatch], list[bytes]]
"""The documents of rows of the source (`BatchSource.documents`)."""


@dataclass(frozen=True)
class Taken:
    """Dirty keys of one stream, with what was noted before the source is read."""

    stream: Stream
    dirty: tuple[DirtyKey, ...]
    marks: tuple[LaneMark, ...]
    after: Position


def replace(source: BatchSource, target: BatchTarget, taken: Taken, batch: Batch) -> int:
    """`BatchTarget.replace`, with the rows that do not fit kept aside. Raises `UnmappableError` by `rest: fail`."""
    # Behind the lane's mark: nobody changes these rows before this batch does, or its mark has moved.
    old = target.with_residue(taken.stream, [entry.key for entry in taken.dirty])
    before = source.notes(taken.stream, old)
    try:
        return target.replace(taken.stream, taken.dirty, batch, taken.marks, before)
    except RowRefusedError:
        refused = target.refused(taken.stream, batch)
        if not refused:
            raise
        fitting = set_aside(source, taken.stream, batch, refused)
        return target.replace(taken.stream, taken.dirty, fitting, taken.marks, before)


def load(
    source: BatchSource,
    target: BatchTarget,
    stream: Stream,
    read: Callable[[], Iterator[Batch]],
    write: Callable[[Iterable[Batch]], Loaded],
) -> Loaded:
    """Read and write a span, with the rows that do not fit kept aside. Raises `UnmappableError` by `rest: fail`.

    Again as long as a trial names rows that it did not know of: they may change between trial and load.
    """
    refused: dict[Key, str] = {}
    while True:
        known = dict(refused)
        try:
            return write(set_aside(source, stream, batch, known) for batch in read())
        except RowRefusedError:
            for batch in read():
                refused |= target.refused(stream, batch)
            if refused.keys() == known.keys():
                raise


def set_aside(source: BatchSource, stream: Stream, batch: Batch, refused: Mapping[Key, str]) -> Batch:
    """The batch with the refused rows as quarantine entries."""
    there = [key for key in batch.keys if key in refused] if refused else []
    if not there:
        return batch
    if stream.rest is Rest.FAIL:
        message = f"stream {stream.name}: the target refuses the row of a document: {refused[there[0]]}"
        raise UnmappableError(message, stream=stream.name, key=there[0])
    out = pc.is_in(batch.rows.column(KEY), value_set=pa.array(there, pa.binary()))
    documents = source.documents(stream, batch.rows.filter(out))
    entries = [
        Quarantined(key, "", f"{REFUSED}{refused[key]}", document)
        for key, document in zip(there, documents, strict=True)
    ]
    quarantined = tuple(sorted((*batch.quarantined, *entries), key=lambda entry: entry.key))
    return changed(batch, rows=batch.rows.filter(pc.invert(out)), quarantined=quarantined)


def with_refused(expected: Part, actual: Part, documents: Documents) -> Part:
    """The source's part, with the rows that the target keeps aside as refused in the form of its entries."""
    keys = expected.rows.column(KEY).to_pylist() if actual.reasons else []
    there = [key for key in keys if key in actual.reasons]
    if not there:
        return expected
    out = pc.is_in(expected.rows.column(KEY), value_set=pa.array(there, pa.binary()))
    aside = dict(expected.aside)
    for key, document in zip(there, documents(expected.rows.filter(out)), strict=True):
        aside[key] = entry_digest(Quarantined(key, "", actual.reasons[key], document))
    return Part(expected.rows.filter(pc.invert(out)), aside)
