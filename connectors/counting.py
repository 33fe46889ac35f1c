"""What the batches of a chunk hold, counted as they pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tranship.connectors.batch import Batch, Quarantined
from tranship.connectors.fit import Cell, Note, filled
from tranship.plans.streams import Stream


@dataclass
class Counted:
    """Of one chunk: its quarantine entries, the notes of its rows by their keys, how its columns are filled."""

    stream: Stream
    quarantined: list[Quarantined] = field(default_factory=list)
    notes: dict[bytes, tuple[Note, ...]] = field(default_factory=dict)
    values: Counter[Cell] = field(default_factory=Counter)

    def passing(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, counted one by one; a second pass would count them twice."""
        for batch in batches:
            self.quarantined += batch.quarantined
            self.notes |= {key: tuple(batch.notes[key]) for key in batch.keys if key in batch.notes}
            self.values.update(filled(self.stream, batch.rows))  # with those that are 0
            yield batch
