"""Waiting until what was written to the source up to now is applied on the target."""

from __future__ import annotations

import uuid

from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached

BEHIND_LIMIT_S = 6 * 3600.0


def pass_marker(run: Run, limit_s: float) -> None:
    """Write a marker to the source and wait until capture has kept it: all earlier writes are kept by then (E3)."""
    name = f"{run.id}.{run.scope.feed}.{uuid.uuid4().hex}"
    run.source.put_marker(name)
    reached("drain.after_marker")

    def seen() -> bool:
        return run.progress.marker_seen(run.scope, name)

    def near() -> bool:
        return seen() or run.progress.backlog(run.scope).capture_age_s < limit_s

    # After a pause capture first goes through all that it missed; how long that takes, only the source's history knows.
    run.wait(near, BEHIND_LIMIT_S, "capture to come up to the present")
    run.wait(seen, limit_s, "a marker on the source to come through capture")


def drain(run: Run, limit_s: float) -> None:
    """Pass a marker, then wait until no dirty key is left. For a source without writers."""
    pass_marker(run, limit_s)
    run.wait(lambda: run.progress.backlog(run.scope).dirty == 0, limit_s, "the last dirty keys to be applied")
