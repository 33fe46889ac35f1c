"""What a batch's notes say, in the short form in which tests expect it."""

from __future__ import annotations

from collections import Counter

from tranship.connectors.batch import Batch


def residues(batch: Batch) -> Counter[tuple[str, str]]:
    """The (path, reason) of all notes of a batch."""
    return Counter((note.path, note.reason) for notes in batch.notes.values() for note in notes)
