"""What is on record as different: neither an approval nor the cutover passes it."""

from __future__ import annotations

from tranship.connectors.protocols import Progress, Scope
from tranship.plans import Plan


def known_divergences(progress: Progress, scope: Scope, plan: Plan) -> str | None:
    """Why nothing passes what is on record as different, neither an approval nor the cutover; None within limits."""
    known, allowed = len(progress.divergences(scope)), plan.reconcile.max_divergences
    if known <= allowed:
        return None
    return (
        f"{known} rows are known to differ and reconcile.max_divergences allows {allowed}; `tranship status` names "
        "them, `tranship repair` makes them equal, and the next look that finds them so, such as `tranship reconcile`, "
        "takes them off the record"
    )
