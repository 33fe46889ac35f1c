"""The source's side of the store: current documents and the history of their changes.

Applications (tests) write through `put`, `put_unmappable` and `delete`; each write is one event of the bounded history.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tranship.connectors.batch import KEY, Quarantined
from tranship.connectors.errors import PositionLostError
from tranship.connectors.memory.routing import KeptRecords
from tranship.connectors.memory.rows import Row
from tranship.connectors.protocols import Key


@dataclass(frozen=True)
class Event:
    """One change of a key in a stream, or a marker, or nothing (written while the source is idle)."""

    sequence: int
    at: float
    stream: str = ""
    key: Key = b""
    marker: str | None = None


class Documents:
    """Current documents by stream and canonical key, and the newest `history` events. Safe for several threads."""

    def __init__(self, clock: Callable[[], float], history: int = 1_000_000) -> None:
        self._clock = clock
        self._current: dict[str, dict[Key, Row | Quarantined]] = {}
        self._events: deque[Event] = deque(maxlen=history)
        self._changed = threading.Condition()
        self.head = 0
        self.markers: set[str] = set()
        self.routing = KeptRecords()
        self.ids: dict[str, str] = {}
        """Ids of collections that a test has put in the place of others, by stream."""

    def put(self, stream: str, row: Row) -> int:
        """Insert or replace a document, given as its row. Returns the event's sequence number."""
        return self._write(stream, row[KEY], dict(row))

    def put_unmappable(self, stream: str, document: Quarantined) -> int:
        """Insert or replace a document that fits no row: reading it gives this quarantine entry."""
        return self._write(stream, document.key, document)

    def delete(self, stream: str, key: Key) -> int:
        """Delete a document; as in a database, deleting what is not there is no event."""
        return self._write(stream, key, None)

    def put_marker(self, name: str) -> None:
        """Write a marker: an event of its own."""
        with self._changed:
            self.markers.add(name)
            self._append(Event(self.head + 1, self._clock(), marker=name))

    def get(self, stream: str, key: Key) -> Row | Quarantined | None:
        """The current document."""
        with self._changed:
            return self._current.get(stream, {}).get(key)

    def keys(self, stream: str) -> list[Key]:
        """The keys of all current documents, in order."""
        with self._changed:
            return sorted(self._current.get(stream, {}))

    def since(self, sequence: int, wait_s: float, limit: int) -> list[Event]:
        """Up to `limit` events after a sequence number; waits for the first one up to `wait_s`.

        When none comes, an event of nothing is written, as databases do, so that positions advance in idle times.
        Raises `PositionLostError` when the history no longer reaches back, or never reached that far.
        """
        with self._changed:
            if self.head == sequence:
                self._changed.wait(wait_s)
            if self.head == sequence:
                self._append(Event(self.head + 1, self._clock()))
            kept_after = self.head - len(self._events)
            if not kept_after <= sequence <= self.head:
                raise PositionLostError(
                    f"the history goes from {kept_after} to {self.head}, the position is {sequence}: "
                    "changes may have been missed"
                )
            skip = sequence - kept_after
            return [self._events[i] for i in range(skip, min(skip + limit, len(self._events)))]

    def wake(self) -> None:
        """Whoever waits for events looks now."""
        with self._changed:
            self._changed.notify_all()

    def since_then_s(self, event: Event) -> float:
        """Seconds since an event, if there was another one since; else 0."""
        return self._clock() - event.at if event.sequence < self.head else 0.0

    def _write(self, stream: str, key: Key, document: Row | Quarantined | None) -> int:
        with self._changed:
            documents = self._current.setdefault(stream, {})
            if document is not None:
                documents[key] = document
            elif documents.pop(key, None) is None:
                return self.head
            self._append(Event(self.head + 1, self._clock(), stream, key))
            return self.head

    def _append(self, event: Event) -> None:
        self._events.append(event)
        self.head = event.sequence
        self._changed.notify_all()
