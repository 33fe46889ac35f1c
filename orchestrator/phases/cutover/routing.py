"""The routing records of both sides on their way through a cutover (`rules.md` J).

While the target is closed its record's version is that of the attempt that may make it ready: so a late copy of an
earlier attempt's seal finds another one.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from tranship.connectors.errors import RefusedError, TakenOverError
from tranship.connectors.protocols import Opening, Owner, RecordStore, Routing, RoutingRecord
from tranship.connectors.protocols.fencing import Fences
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.phases import RefusedToActError

log = structlog.get_logger(__name__)

FIRST = RoutingRecord(Routing.PRIMARY, 0)
FIRST_TARGET = RoutingRecord(Routing.CLOSED, 0)
_NOT_OPEN = (Routing.CLOSED, Routing.READY, Routing.HANDED_OVER)


class Fenceable(Protocol):
    """A source as far as a fence is about it."""

    @property
    def records(self) -> RecordStore: ...

    @property
    def fences(self) -> Fences | None: ...


def begin_target(run: Run) -> None:
    """Keep the target's first record, where there is none: it is closed to all but who applies."""
    run.progress.records.begin(_owner(run), FIRST_TARGET)


def begin(run: Run) -> RoutingRecord:
    """Keep the first records of both sides, where there are none; returns the source's."""
    begin_target(run)
    return run.source.records.begin(_owner(run), FIRST)


def fence(run: Run, deadline: float | None) -> int:
    """Fence the source's record with a version that no attempt had before, and close the target's for this attempt.

    `deadline`: by the source's clock. Returns the version.
    """
    found = begin(run)
    if found.state not in (Routing.PRIMARY, Routing.FENCED):
        raise RefusedError(
            f"the source's routing record of run {run.scope.run} says {found.state}; nothing was switched"
        )
    if left := in_the_way(run.source, run.id):
        raise RefusedToActError(f"{left}; nothing was switched")
    version = found.version + 1
    if not run.source.records.swap(run.id, found, RoutingRecord(Routing.FENCED, version), deadline=deadline):
        raise RefusedToActError("somebody else has changed the source's routing record; nothing was switched")
    close(run, version)
    return version


def close(run: Run, version: int) -> None:
    """Let this be the attempt that may make the target ready (`rules.md` J4). Idempotent."""
    records, after = run.progress.records, RoutingRecord(Routing.CLOSED, version)
    while (found := records.read(run.id)) is not None and found != after:
        if found.state not in _NOT_OPEN or found.version > version:
            raise RefusedError(f"the target's routing record says {found.state}({found.version}); nothing was switched")
        records.swap(run.id, found, after)


def fenced(run: Run) -> int:
    """The version of the fence that stands. Raises `RefusedToActError` when none does."""
    found = run.source.records.read(run.id)
    if found is None or found.state is not Routing.FENCED:
        raise RefusedToActError("the source's routing record is not fenced any more; nothing was switched")
    if found.left_s is not None and found.left_s <= 0:
        raise RefusedToActError("the deadline of the fence has passed; nothing was switched")
    return found.version


def opening(run: Run) -> Opening:
    """What the seal does to the target's record."""
    return Opening(run.id, fenced(run))


def hand_over(run: Run, version: int) -> None:
    """The pivot. Whether it has taken place, only the record says: raises `RefusedToActError` if that says it has not;
    the lift that follows makes sure that it will not either."""
    records, before = run.source.records, RoutingRecord(Routing.FENCED, version)
    after = RoutingRecord(Routing.HANDED_OVER, version)
    standing = records.read(run.id)
    records.swap(run.id, before, after, in_time=standing is not None and standing.left_s is not None)
    if records.read(run.id) != after:
        raise RefusedToActError("the switch came too late, or somebody has lifted the fence; nothing was switched")


def open_target(run: Run) -> None:
    """Let the target be the primary, having read that the source has handed over to it (`rules.md` J9). Idempotent.

    A target without a record is that of a run which an earlier version has switched: it was never closed.
    """
    if run.progress.records.read(run.id) is None:
        return
    handed = run.source.records.read(run.id)
    if handed is None or handed.state is not Routing.HANDED_OVER:
        raise RefusedError("the source's routing record does not say that it has handed over")
    records, after = run.progress.records, RoutingRecord(Routing.PRIMARY, handed.version)
    before = RoutingRecord(Routing.READY, handed.version)
    if not records.swap(run.id, before, after) and records.read(run.id) != after:
        raise RefusedError(f"the target's routing record says {records.read(run.id)}, and not that it is ready")


def take_back(source: Fenceable, id: str) -> RoutingRecord | None:  # noqa: A002
    """Bring the source's record back to it, unless it was handed over; returns what it says then, None without one.

    The version grows with it, also where the source is the primary already, so that a fence or a hand-over that is
    still on its way finds another one. A fence that the server keeps is lowered between two swaps: before the first one
    a hand-over could overtake, and behind the second one nobody would look after it (`rules.md` J10).
    """
    records = source.records
    while (found := records.read(id)) is not None and found.state is not Routing.HANDED_OVER:
        if found.state is Routing.LIFTING or _stands(source, id):
            lifted = _lowered(source, id, found)
        else:
            lifted = RoutingRecord(Routing.PRIMARY, found.version + 1)
            lifted = lifted if records.swap(id, found, lifted) else None
        if lifted is not None:
            return lifted
    return found


def in_the_way(source: Fenceable, id: str) -> str | None:  # noqa: A002
    """What an earlier attempt has left at the source's server, because of which no fence may be raised."""
    left = source.fences.passport(id) if source.fences is not None else None
    if left is None:
        return None
    found = [f"a fence ({left.kind}) of an earlier attempt stands on the source"] if left.kind else []
    if left.commands:
        sent = ", ".join(f"{one.deed} ({one.version})" for one in left.commands)
        found.append(f"the source's server has not answered to commands of an earlier attempt: {sent}")
    return "; ".join(found)


def _stands(source: Fenceable, id: str) -> bool:  # noqa: A002
    return source.fences is not None and source.fences.passport(id) is not None


def _lowered(source: Fenceable, id: str, found: RoutingRecord) -> RoutingRecord | None:  # noqa: A002
    lifting = found
    if found.state is not Routing.LIFTING:
        lifting = RoutingRecord(Routing.LIFTING, found.version + 1)
        if not source.records.swap(id, found, lifting):
            return None
    if source.fences is not None:
        lower(source.fences, id, lifting.version)
    lifted = RoutingRecord(Routing.PRIMARY, lifting.version)
    return lifted if source.records.swap(id, lifting, lifted) else None


def lower(fences: Fences, id: str, version: int) -> None:  # noqa: A002
    """Lower the fence of a run whose record is lifting(version), or was handed over with it. Where another process does
    the same, one of the two does it."""
    try:
        command = fences.register_lower(id, version)
        reached("lower.after_register")
        fences.send(command)
        reached("lower.after_command")
    except TakenOverError:
        log.info("another process lowers the fence")


def _owner(run: Run) -> Owner:
    return Owner(run.id, run.scope.run, run.schema.identity(), run.plan.target.state_schema, run.plan.name)
