"""Looking at both sides from beside a run: a comparison that writes nothing and takes no lease."""

from __future__ import annotations

from contextlib import closing

from tranship.connectors.protocols import Finding, Scope
from tranship.orchestrator.amendment import PlanChangedError
from tranship.orchestrator.clock import MonotonicClock
from tranship.orchestrator.dataplane import reconcile
from tranship.orchestrator.dataplane.reconcile import Reconciled
from tranship.orchestrator.run import Run
from tranship.orchestrator.session import Session
from tranship.orchestrator.state import ENDED, PhaseStatus, ServiceName, State, services
from tranship.plans.fingerprint import meaning_document
from tranship.plans.strategies import PhaseName

__all__ = ["Finding", "reconcile_now"]


_ACTING = frozenset({PhaseStatus.DOING, PhaseStatus.DONE})


def reconcile_now(session: Session, name: str) -> Reconciled:
    """Compare every loaded row. While an orchestrator follows the source, keys in motion are told from divergences.

    Without one, nothing is applied between the looks, and a key that changed meanwhile counts as divergent: it is.
    What was found is kept beside the run for `tranship status` and `tranship repair`, unless the run has ended, or its
    own reconcile or cutover is at work: those go by what they have found themselves. Raises `PlanChangedError` when the
    plan's meaning is not the run's.
    """
    state = session.state(name)
    if state.run and meaning_document(session.plan) != state.meaning:
        raise PlanChangedError(
            f"run {name} goes by a plan of another meaning than this file's, so the two sides would seem to differ. "
            "Nothing was compared. `tranship run` takes a change on, if it is one that a live run may take on."
        )
    scope = Scope(name, state.round, state.epoch)
    clock = MonotonicClock()
    run = Run(
        plan=session.plan,
        streams=session.streams,
        scope=scope,
        connect=session.connect,
        source=session.connect.source(),
        progress=session.connect.progress(),
        schema=session.connect.schema(),
        clock=clock,
        tick=lambda: None,
        lanes=session.plan.limits.workers,
    )
    with closing(run), closing(session.connect.target(scope)) as target:
        following = services(state) == frozenset(ServiceName) and session.control.is_led(name)
        result = reconcile.full(run, target) if following else reconcile.once(run)
        if not _is_settled(session.state(name)):
            run.progress.keep_divergences(scope, result.divergences)
        return result


def _is_settled(state: State) -> bool:
    """Whether the run's own findings must stand."""
    comparing = any(state.of(phase) in _ACTING for phase in (PhaseName.RECONCILE, PhaseName.CUTOVER))
    return comparing or state.status in ENDED
