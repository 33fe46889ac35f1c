"""What is on a run's record against a switch: neither an approval nor the cutover passes it."""

from __future__ import annotations

from collections.abc import Sequence

from tranship.connectors.protocols import Progress, Scope
from tranship.orchestrator.dataplane import fitness
from tranship.plans import Plan
from tranship.plans.streams import Stream


def against_switch(progress: Progress, scope: Scope, plan: Plan, streams: Sequence[Stream]) -> str | None:
    """Rows that are known to differ, columns that hold less than the plan says. None when nothing is against it."""
    known = known_divergences(progress, scope, plan)
    return known or fitness.refusal(streams, progress.fit(scope), plan.limits.misfit)


def known_divergences(progress: Progress, scope: Scope, plan: Plan) -> str | None:
    """Rows that are known to differ, where they are more than the plan allows."""
    known, allowed = len(progress.divergences(scope)), plan.reconcile.max_divergences
    if known <= allowed:
        return None
    return (
        f"{known} rows are known to differ and reconcile.max_divergences allows {allowed}; `tranship status` names "
        "them, `tranship repair` makes them equal, and the next look that finds them so, such as `tranship reconcile`, "
        "takes them off the record"
    )
