"""The source's routing record on its way through a cutover."""

from __future__ import annotations

from tranship.connectors.errors import RefusedError
from tranship.connectors.protocols import Owner, Routing, RoutingRecord
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.phases import RefusedToActError

FIRST = RoutingRecord(Routing.PRIMARY, 0)


def fence(run: Run) -> None:
    """Fence the record with a version that no attempt had before."""
    owner = Owner(run.id, run.scope.run, run.schema.identity(), run.plan.target.state_schema)
    found = run.source.records.begin(owner, FIRST)
    if found.state not in (Routing.PRIMARY, Routing.FENCED):
        raise RefusedError(
            f"the source's routing record of run {run.scope.run} says {found.state}; nothing was switched"
        )
    if not run.source.records.swap(run.id, found, RoutingRecord(Routing.FENCED, found.version + 1)):
        raise RefusedToActError("somebody else has changed the source's routing record; nothing was switched")


def fenced(run: Run) -> int:
    """The version of the fence that stands. Raises `RefusedToActError` when none does."""
    found = run.source.records.read(run.id)
    if found is None or found.state is not Routing.FENCED:
        raise RefusedToActError("the source's routing record is not fenced any more; nothing was switched")
    return found.version


def hand_over(run: Run, version: int) -> None:
    """The pivot. Whether it has taken place, only the record says: raises `RefusedError` if that says it has not."""
    after = RoutingRecord(Routing.HANDED_OVER, version)
    run.source.records.swap(run.id, RoutingRecord(Routing.FENCED, version), after)
    if run.source.records.read(run.id) != after:
        raise RefusedError("the source's routing record was not handed over")


def take_back(run: Run) -> bool:
    """Bring the record back to the source, unless it was handed over; whether the source is the primary now.

    The version grows with it, also where the source is the primary already, so that a fence or a hand-over that is
    still on its way finds another one (`rules.md` J10).
    """
    records = run.source.records
    while (found := records.read(run.id)) is not None and found.state is not Routing.HANDED_OVER:
        if records.swap(run.id, found, RoutingRecord(Routing.PRIMARY, found.version + 1)):
            return True
    return found is None
