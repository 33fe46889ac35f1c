"""Reseed: go on after the source's history was lost, without guessing what was missed.

The new position is durable before anything is compared; every loaded chunk is then compared, and what differs becomes
dirty. What changed before the new position shows as a difference, what changes after it comes through capture. A crash
in between starts again from the beginning: the journal says that the reseed is not done.
"""

from __future__ import annotations

from tranship.connectors.errors import SourceChangedError
from tranship.connectors.protocols import Key
from tranship.orchestrator.dataplane.comparison import Comparison
from tranship.orchestrator.dataplane.reconcile import compare_all
from tranship.orchestrator.dataplane.run import Run
from tranship.plans.streams import Stream


def reseed(run: Run) -> int:
    """Take a new position and mark every differing key of loaded chunks dirty; returns how many.

    Raises `SourceChangedError`, with nothing changed, when a collection is not there any more or is something else: all
    of its rows would seem to be deleted.
    """
    position = run.source.position()
    errors = [finding for finding in run.source.findings(run.streams) if finding.severity == "error"]
    if errors:
        raise SourceChangedError("; ".join(f"{finding.code}: {finding.message}" for finding in errors))
    run.progress.restart_capture(run.scope, position)
    marked = 0

    def seen(stream: Stream, comparison: Comparison) -> None:
        nonlocal marked
        keys: list[tuple[str, Key]] = [(stream.name, m.key) for m in comparison.mismatches]
        run.progress.mark_dirty(run.scope, keys)
        marked += len(keys)

    try:
        compare_all(run, seen)
    finally:
        run.release_workers()
    return marked
