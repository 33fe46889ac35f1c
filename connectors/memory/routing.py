"""Routing records in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock

from tranship.connectors.protocols import Owner, RecordStore, RoutingRecord


@dataclass(frozen=True)
class Kept:
    """A record as it is kept; `deadline` by the store's clock."""

    owner: Owner
    record: RoutingRecord
    deadline: float | None = None


class MemoryRecords:
    """`RecordStore` over a dict. Safe for several threads."""

    def __init__(self, kept: dict[str, Kept], clock: Callable[[], float], lock: Lock) -> None:
        self._kept = kept
        self._clock = clock
        self._lock = lock

    def begin(self, owner: Owner, first: RoutingRecord) -> RoutingRecord:
        with self._lock:
            return self._seen(self._kept.setdefault(owner.id, Kept(owner, first)))

    def read(self, id: str) -> RoutingRecord | None:  # noqa: A002
        with self._lock:
            return self._seen(self._kept[id]) if id in self._kept else None

    def swap(
        self,
        id: str,  # noqa: A002
        old: RoutingRecord,
        new: RoutingRecord,
        *,
        lasts_s: float | None = None,
        in_time: bool = False,
    ) -> bool:
        with self._lock:
            known = self._kept.get(id)
            if known is None or known.record != old:
                return False
            if in_time and (known.deadline is None or known.deadline <= self._clock()):
                return False
            self._kept[id] = Kept(known.owner, new, None if lasts_s is None else self._clock() + lasts_s)
            return True

    def records(self) -> list[tuple[Owner, RoutingRecord]]:
        with self._lock:
            return [(known.owner, self._seen(known)) for known in self._kept.values()]

    def forget(self, id: str) -> None:  # noqa: A002
        with self._lock:
            self._kept.pop(id, None)

    def _seen(self, known: Kept) -> RoutingRecord:
        left = None if known.deadline is None else known.deadline - self._clock()
        return replace(known.record, left_s=left)


def _implements(records: MemoryRecords) -> RecordStore:
    return records
