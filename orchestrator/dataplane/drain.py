"""Waiting until what was written to the source up to now is applied on the target."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from tranship.connectors.protocols import ChangeSource, Progress, Scope
from tranship.orchestrator.failpoints import reached

Wait = Callable[[Callable[[], bool], float, str], None]
"""(condition, seconds, what is waited for): returns when it holds, raises `TimeoutError` when it never did."""

BEHIND_LIMIT_S = 6 * 3600.0


def pass_marker(source: ChangeSource, progress: Progress, scope: Scope, wait: Wait, limit_s: float) -> None:
    """Write a marker to the source and wait until capture has kept it: all earlier writes are kept by then (E3)."""
    name = f"{scope.run}.{scope.round}.{uuid.uuid4().hex}"
    source.put_marker(name)
    reached("drain.after_marker")

    def seen() -> bool:
        return progress.marker_seen(scope, name)

    def near() -> bool:
        return seen() or progress.backlog(scope).capture_age_s < limit_s

    # After a pause capture first goes through all that it missed; how long that takes, only the source's history knows.
    wait(near, BEHIND_LIMIT_S, "capture to come up to the present")
    wait(seen, limit_s, "a marker on the source to come through capture")


def drain(source: ChangeSource, progress: Progress, scope: Scope, wait: Wait, limit_s: float) -> None:
    """Pass a marker, then wait until no dirty key is left. For a source without writers."""
    pass_marker(source, progress, scope, wait, limit_s)
    wait(lambda: progress.backlog(scope).dirty == 0, limit_s, "the last dirty keys to be applied")
