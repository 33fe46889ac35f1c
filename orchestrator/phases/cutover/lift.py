"""Lift: an attempt at the cutover is taken back, unless its pivot has taken place."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from tranship.connectors.errors import RefusedError, TransientError
from tranship.connectors.protocols import Routing, RoutingRecord
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.phases import GONE_S, Lift
from tranship.orchestrator.phases.cutover import routing
from tranship.orchestrator.phases.cutover.fences import fence_of
from tranship.plans.strategies import Group, PhaseName

log = structlog.get_logger(__name__)


class LiftCutover:
    """The one way back of the group. Of lifting and switching exactly one wins: both swap the same record."""

    group = Group.CUTOVER

    def lift(self, run: Run, *, needed: bool) -> Iterator[Record]:
        found = self._take_back(run, needed=needed)
        if found is not None and found.state is Routing.HANDED_OVER:
            yield Record(Kind.PIVOTED, PhaseName.SWITCH, {})
            return
        reached("lift.before_unseal")
        # Only then, too: that a target is ready means nothing while no source hands over to it (`rules.md` J10).
        if found is not None:
            run.release_guard()
            routing.close(run, found.version)
        # Only then: until the source is the primary again nothing may be applied over what was proven (`rules.md` J10).
        run.progress.unseal(run.scope)
        reached("lift.after_unseal")
        yield Record(Kind.LIFTED, self.group)

    def _take_back(self, run: Run, *, needed: bool) -> RoutingRecord | None:
        try:
            return run.patience.call(lambda: _lower(run), limit_s=GONE_S)
        except (TransientError, RefusedError) as error:
            if needed:
                raise
            log.warning("the routing record stays on the source", reason=str(error))
            return None


def _lower(run: Run) -> RoutingRecord | None:
    found = routing.take_back(run.source, run.id)
    fence_of(run).lower(run)
    return found


def _implements(lift: LiftCutover) -> Lift:
    return lift
