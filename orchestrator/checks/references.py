"""References to documents that are not there."""

from __future__ import annotations

from collections.abc import Sequence

from tranship.connectors.protocols import Finding, Key, Position
from tranship.connectors.registry import Source
from tranship.plans.streams import Stream

AT_ONCE = 500
"""So many documents are in memory at once."""


def missing(source: Source, stream: Stream, keys: Sequence[Key], after: Position) -> set[Key]:
    """Which of the keys no document of the stream has."""
    absent = set(keys)
    for start in range(0, len(keys), AT_ONCE):
        there = source.read_keys(stream, keys[start : start + AT_ONCE], after)
        absent -= {*there.keys, *(entry.key for entry in there.quarantined)}
    return absent


def dangling(stream: str, column: str, rows: int) -> Finding:
    """Of rows that refer to nothing that is there: legal data in MongoDB, so no foreign key is made."""
    message = f"stream {stream}: {rows:,} rows refer by {column} to nothing that is there"
    return Finding("data.dangling", "info", message, "a join loses such rows; mend the source, or know of it", stream)
