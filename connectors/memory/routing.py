"""Routing records in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from tranship.connectors.protocols import LiveRouter, Opening, Owner, RecordStore, RoutingRecord

T = TypeVar("T")


@dataclass(frozen=True)
class Kept:
    """A record as it is kept; `deadline` by the store's clock."""

    owner: Owner
    record: RoutingRecord
    deadline: float | None = None


@dataclass
class KeptRecords:
    """What one side keeps: records by their ids, routers by their plans and instances, with when their leases end."""

    records: dict[str, Kept] = field(default_factory=dict)
    routers: dict[tuple[str, str], tuple[float, tuple[str, int] | None]] = field(default_factory=dict)
    poll_s: dict[str, float] = field(default_factory=dict)

    def fork(self) -> KeptRecords:
        return KeptRecords(dict(self.records), dict(self.routers), dict(self.poll_s))

    def swap(
        self,
        id: str,  # noqa: A002
        old: RoutingRecord,
        new: RoutingRecord,
        *,
        deadline: float | None = None,
        after: float | None = None,
    ) -> bool:
        """Replace a record if it is the old one, and if its deadline is `after` then. Whether it did."""
        known = self.records.get(id)
        if known is None or known.record != old:
            return False
        if after is not None and (known.deadline is None or known.deadline <= after):
            return False
        self.records[id] = Kept(known.owner, new, deadline)
        return True

    def opened(self, opening: Opening) -> bool:
        """Make the record ready, if it is not yet. Whether it is."""
        if not self.swap(opening.id, opening.before, opening.after):
            known = self.records.get(opening.id)
            return known is not None and known.record == opening.after
        return True


class Access(Protocol):
    """Runs a function over the records of one side, alone."""

    def __call__(self, work: Callable[[KeptRecords], T], /) -> T: ...


class MemoryRecords:
    """`RecordStore`. Safe for several threads."""

    def __init__(self, access: Access, clock: Callable[[], float]) -> None:
        self._access = access
        self._clock = clock

    def begin(self, owner: Owner, first: RoutingRecord) -> RoutingRecord:
        return self._access(lambda kept: self._seen(kept.records.setdefault(owner.id, Kept(owner, first))))

    def read(self, id: str) -> RoutingRecord | None:  # noqa: A002
        return self._access(lambda kept: self._seen(kept.records[id]) if id in kept.records else None)

    def swap(
        self,
        id: str,  # noqa: A002
        old: RoutingRecord,
        new: RoutingRecord,
        *,
        deadline: float | None = None,
        in_time: bool = False,
    ) -> bool:
        now = self._clock()
        if deadline is not None and deadline <= now:
            return False
        return self._access(lambda kept: kept.swap(id, old, new, deadline=deadline, after=now if in_time else None))

    def now(self) -> float:
        return self._clock()

    def hasten(self, id: str, poll_s: float | None) -> None:  # noqa: A002
        def work(kept: KeptRecords) -> None:
            kept.poll_s.pop(id, None)
            if poll_s is not None and id in kept.records:
                kept.poll_s[id] = poll_s

        self._access(work)

    def polls(self) -> dict[str, float]:
        """How often routers are asked to look, by record."""
        return self._access(lambda kept: dict(kept.poll_s))

    def beat(self, plan: str, instance: str, lasts_s: float, acknowledged: tuple[str, int] | None = None) -> None:
        """What a router does."""
        seen = (self._clock() + lasts_s, acknowledged)
        self._access(lambda kept: kept.routers.update({(plan, instance): seen}))

    def routers(self, plan: str) -> list[LiveRouter]:
        now = self._clock()
        return self._access(
            lambda kept: [
                LiveRouter(instance, until - now, acknowledged)
                for (its, instance), (until, acknowledged) in kept.routers.items()
                if its == plan and until > now
            ]
        )

    def records(self) -> list[tuple[Owner, RoutingRecord]]:
        return self._access(lambda kept: [(known.owner, self._seen(known)) for known in kept.records.values()])

    def forget(self, id: str) -> None:  # noqa: A002
        self._access(lambda kept: kept.records.pop(id, None))

    def _seen(self, known: Kept) -> RoutingRecord:
        left = None if known.deadline is None else known.deadline - self._clock()
        return replace(known.record, left_s=left)


def _implements(records: MemoryRecords) -> RecordStore:
    return records
