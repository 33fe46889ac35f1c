"""Looking at both sides from beside a run: a comparison that writes nothing and takes no lease."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import structlog

from tranship.connectors.errors import EpochMovedError
from tranship.connectors.protocols import BatchTarget, Finding, Scope
from tranship.orchestrator.clock import MonotonicClock
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.dataplane.work import Work
from tranship.orchestrator.engine.amendment import PlanChangedError
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.state import ENDED, RunStatus, ServiceName
from tranship.orchestrator.journal.steps import services
from tranship.orchestrator.phases.record import against_switch
from tranship.plans.fingerprint import meaning_document
from tranship.plans.strategies import Stage, is_pivot

if TYPE_CHECKING:
    from tranship.orchestrator.dataplane.reconcile import Reconciled

__all__ = ["Finding", "reconcile_now"]

log = structlog.get_logger(__name__)


def incomparable(session: Session, name: str) -> str | None:
    """Why the two sides of a run cannot be compared now: what they would show is no fault of theirs. Reads only."""
    state = session.state(name)
    if state.status is RunStatus.ROLLED_BACK or state.undoing:
        return "the rollback takes its rows back from the target"
    with closing(session.connect.progress()) as progress:
        loaded = any(one.loaded for one in progress.totals(Scope(name, state.feed, state.epoch)).values())
        return None if loaded else "nothing is loaded yet"


def reconcile_now(session: Session, name: str, work: Work) -> Reconciled:
    """Compare every loaded row. While an orchestrator follows the source, keys in motion are told from divergences.

    Without one, nothing is applied between the looks, and a key that changed meanwhile counts as divergent: it is.
    What was found is put on the run's record, unless that has ended: no approval and no cutover passes it, and only a
    look that finds it equal takes it off. A takeover meanwhile disturbs nothing. `work` says how far it is.
    Raises `PlanChangedError` when the plan's meaning is not the run's.
    """
    # Rows are compared here alone: an approval asks this module too, and needs no Arrow.
    from tranship.orchestrator.dataplane import reconcile
    from tranship.orchestrator.retry import Patience

    state = session.state(name)
    if state.run and meaning_document(session.plan) != state.meaning:
        raise PlanChangedError(
            f"run {name} goes by a plan of another meaning than this file's, so the two sides would seem to differ. "
            "Nothing was compared. `tranship run` takes a change on, if it is one that a live run may take on."
        )
    if state.status not in ENDED:
        session.guard(state, moving=False)
    scope = Scope(name, state.feed, state.epoch)
    clock = MonotonicClock()
    run = Run(
        id=state.id,
        plan=session.plan,
        streams=session.streams,
        scope=scope.reading,
        connect=session.connect,
        source=session.connect.source(),
        progress=session.connect.progress(),
        schema=session.connect.schema(),
        clock=clock,
        patience=Patience(session.plan.limits.patience),
        tick=lambda: None,
        lanes=session.plan.limits.workers,
        work=work,
    )
    work.begin("reconcile")
    with closing(run), closing(session.connect.target(run.scope)) as target:
        if ServiceName.APPLIER in services(state) and session.control.is_led(name):
            result = _beside(session, run, target)
        else:
            result = reconcile.once(run)
        if session.state(name).status not in ENDED:
            _note(run, scope, result)
        return result


def _beside(session: Session, run: Run, target: BatchTarget) -> Reconciled:
    """Compare while an orchestrator applies. No marker of ours stays behind one that has ended its run meanwhile."""
    from tranship.orchestrator.dataplane import reconcile

    try:
        return reconcile.full(run, target)
    finally:
        if not services(session.state(run.scope.run)):
            run.source.drop_markers(run.id)


def _note(run: Run, scope: Scope, result: Reconciled) -> None:
    try:
        result.note(run.progress, scope)
    except EpochMovedError as error:
        log.warning("what was found is not on the run's record; compare again", reason=str(error))


def unapprovable(session: Session, name: str, stage: Stage) -> str | None:
    """Why a phase or group may not be approved now, by what is on the run's record; None when nothing is against it.

    The engine asks the same when it answers the request: this is to say so at once. Reads only.
    """
    state = session.state(name)
    with closing(session.connect.progress()) as progress:
        scope = Scope(name, state.feed, state.epoch).reading
        return against_switch(progress, scope, session.plan, session.streams) if is_pivot(stage) else None
