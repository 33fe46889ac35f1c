"""Whether a run could cut over now, and all that is against it: asked before anybody approves."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from tranship.connectors.errors import ConnectorError
from tranship.connectors.protocols import Progress, Scope, TargetSchema
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.state import ENDED
from tranship.orchestrator.journal.steps import Do, Wait, next_step
from tranship.orchestrator.phases import RefusedToActError
from tranship.orchestrator.phases.cutover import checks
from tranship.orchestrator.phases.cutover.fences import fence_of
from tranship.orchestrator.phases.cutover.routing import in_the_way
from tranship.orchestrator.phases.record import known_divergences
from tranship.plans import Plan
from tranship.plans.strategies import is_pivot, stage_of
from tranship.plans.streams import Stream


@dataclass(frozen=True)
class _Subject:
    """A run, looked at from outside."""

    plan: Plan
    streams: tuple[Stream, ...]
    scope: Scope
    progress: Progress
    schema: TargetSchema


def against_cutover(session: Session, run: str, *, lag_s: float | None, at_work: bool) -> tuple[str, ...] | None:
    """The reasons, none when it could; None when that is no question any more: it has switched, ended, or goes back.

    Writers are not asked: whether they have stopped shows behind an external fence.
    """
    state = session.state(run)
    if state.switched or state.pivoting or state.undoing or state.status in ENDED:
        return None
    step = next_step(state)
    if not isinstance(step, Wait | Do) or not is_pivot(step.stage if isinstance(step, Wait) else stage_of(step.phase)):
        return ("it has not come to its cutover yet",)
    found = [] if at_work else ["no orchestrator is at work on it"]
    most = session.plan.cutover.max_lag
    if lag_s is not None and lag_s > most:
        found.append(f"the target is {lag_s:.1f} s behind and cutover.max_lag allows {most:g} s")
    with closing(session.connect.schema()) as schema, closing(session.connect.progress()) as progress:
        scope = Scope(run, state.feed, state.epoch)
        subject = _Subject(session.plan, session.streams, scope, progress, schema)
        try:
            checks.check_record(subject)
        except RefusedToActError as error:
            found.append(str(error))
        known = known_divergences(progress, scope, session.plan)
        found += [why for why in checks.objections(subject) if why != known]
        found += _of_fence(session, subject)
    return tuple(found)


def _of_fence(session: Session, subject: _Subject) -> list[str]:
    kind = fence_of(subject)
    if not kind.stops_writers:  # whether they have been stopped, shows behind it; the source need not be asked
        return []
    try:
        with closing(session.connect.source()) as source:
            left = in_the_way(source, session.state(subject.scope.run).id)
            return [left] if left else kind.objections(subject, source)
    except ConnectorError as error:
        return [f"the source cannot be asked: {error}"]
