"""Two reads of one key range side by side, in parts that are small and whole on both sides.

A part ends where the shorter of two batches does: up to that key everything has been read then, on either side. So one
batch of each side is held, however large the range is, and of quarantine entries only digests.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from tranship.connectors.arrowtypes import schema
from tranship.connectors.batch import KEY, Batch, Quarantined
from tranship.connectors.protocols import Key, is_nameless
from tranship.plans.streams import Stream

REFUSED = "the target refuses the row: "
"""Begins the reason of entries that fit the plan and not the target."""


@dataclass(frozen=True)
class Part:
    """What one side holds of some keys: its rows, and a digest of each quarantine entry by key.

    `reasons`: why entries are kept aside that the target refused (`REFUSED`).
    """

    rows: pa.RecordBatch
    aside: dict[Key, bytes]
    reasons: dict[Key, str] = field(default_factory=dict)


class Side:
    """The batches of one side on their way into parts. `nameless`: keys of the nameless documents met so far."""

    def __init__(self, stream: Stream, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self._rows = pa.RecordBatch.from_pylist([], schema(stream))
        self._aside: dict[Key, bytes] = {}
        self._reasons: dict[Key, str] = {}
        self.nameless: set[Key] = set()

    def reach(self) -> Key | None:
        """Up to which key everything has been read, after reading on if there were no rows; None: all of it."""
        while not self._rows.num_rows:
            batch = next(self._batches, None)
            if batch is None:
                return None
            self._rows = batch.rows
            self._keep(batch.quarantined)
        return self._key(-1)

    def cut(self, bound: Key | None) -> Part:
        """Take out what has keys up to the bound; None: what there is."""
        if bound is None:
            count, within = self._rows.num_rows, set(self._aside)
        else:
            count = bisect_right(range(self._rows.num_rows), bound, key=self._key)
            within = {key for key in self._aside if key <= bound}
        reasons = {key: self._reasons.pop(key) for key in within if key in self._reasons}
        part = Part(self._rows.slice(0, count), {key: self._aside.pop(key) for key in within}, reasons)
        self._rows = self._rows.slice(count)
        return part

    def _keep(self, entries: Iterable[Quarantined]) -> None:
        for entry in entries:
            if is_nameless(entry.key):
                self.nameless.add(entry.key)
            else:
                self._aside[entry.key] = entry_digest(entry)
                if entry.reason.startswith(REFUSED):
                    self._reasons[entry.key] = entry.reason

    def _key(self, row: int) -> Key:
        key: Key = self._rows.column(KEY)[row].as_py()
        return key


def parts(left: Side, right: Side) -> Iterator[tuple[Part, Part]]:
    """Both sides from the first key to the last, part by part; every key is in one part of each side at the most."""
    while True:
        left_reach, right_reach = left.reach(), right.reach()
        bound = min((reach for reach in (left_reach, right_reach) if reach is not None), default=None)
        yield left.cut(bound), right.cut(bound)
        if bound is None:
            return


def entry_digest(entry: Quarantined) -> bytes:
    """Stands for an entry, so that documents of up to 16 MB need not be held while the other side is read."""
    fields = (entry.path.encode(), entry.reason.encode(), entry.document)
    return hashlib.sha256(b"".join(b"%d:%b" % (len(field), field) for field in fields)).digest()
