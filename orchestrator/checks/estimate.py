"""How long a run would take, roughly, before anything was rehearsed: by how fast some documents were read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tranship.connectors.errors import RefusedError
from tranship.connectors.protocols import Finding
from tranship.orchestrator.engine.session import Session

if TYPE_CHECKING:
    from tranship.orchestrator.checks.samples import Sampled

PASSES = 3
"""Reading, writing and comparing a document take about as long as each other."""

WAITS_S = 10.0
"""What a run of few documents takes: processes that start, a lag that has to stay small for a while."""

ENOUGH = 100
"""So many documents have to be read for a pace."""

AMPLE = 3
"""The history should hold changes for so many times the run: capture may be away for a while."""


@dataclass(frozen=True)
class Estimate:
    """Seconds to the cutover, and for which writers would stand still there; None where too little was read."""

    seconds: float | None
    wait_s: float | None


def estimate(session: Session, documents: int, sampled: Sequence[Sampled]) -> Estimate:
    """`documents`: how many there are to move."""
    read, took = sum(one.documents for one in sampled), sum(one.seconds for one in sampled)
    if read < ENOUGH or not took:
        return Estimate(None, None)
    cutover = session.plan.cutover
    once = documents * took / read
    last = once / session.plan.limits.workers if cutover.final == "full" else 0.0
    seconds = WAITS_S + PASSES * once / session.plan.limits.workers
    return Estimate(round(seconds, 1), round(cutover.quiet + last, 1))


def history(session: Session, seconds: float | None) -> list[Finding]:
    """Whether the source's history is long enough for a run that takes so long."""
    if seconds is None:
        return []
    try:
        with closing(session.connect.source()) as source:
            return too_short(source.keeps_s(source.position()), seconds)
    except RefusedError:  # whatever the reason: a run does without it
        return too_short(None, seconds)


def too_short(keeps_s: float | None, seconds: float) -> list[Finding]:
    """What to know of a history that holds changes for `keeps_s` seconds, and a run that takes `seconds`."""
    if keeps_s is None:
        message = "for how long the source keeps its changes (oplog), it does not tell"
        return [Finding("source.oplog_unknown", "info", message, "the role `read` on the database `local` shows it")]
    if keeps_s >= AMPLE * seconds:
        return []
    message = f"the source keeps changes for about {keeps_s:,.0f} s, and a run takes about {seconds:,.0f} s"
    hint = (
        "a run that is paused for longer than its changes are kept has to compare everything anew (`tranship reseed`): "
        "make the oplog larger (replSetResizeOplog) before the run"
    )
    return [Finding("source.oplog_short", "warning", message, hint)]
