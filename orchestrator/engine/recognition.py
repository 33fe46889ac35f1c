"""Whether source and target still are those that a run knows, though their addresses and names are.

A source is known by the ids of its collections and by the run's newest marker, a target by the routing records that are
kept on the source (`rules.md` K10): a server that was restored, or that another one took the place of, has lost what
came last.
"""

from __future__ import annotations

from collections.abc import Callable

from tranship.connectors.errors import SourceChangedError
from tranship.connectors.protocols import Owner, Routing
from tranship.connectors.registry import Source
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.journal.state import State


class TargetRestoredError(Exception):
    """The source knows of a switch to this target that the target's own journal does not know."""


def check_collections(run: Run, state: State) -> None:
    """Raise `SourceChangedError` when a stream's collection is another one than when the run began."""
    now = run.source.collections(run.streams)
    changed = [name for name, known in state.collections.items() if name in now and now[name] != known]
    if changed:
        raise SourceChangedError(
            f"the collections of {', '.join(changed)} are others than when run {state.run} began, under the same "
            "names: the address leads to another server, or they were made anew. Nothing was changed; only a rollback "
            "leads on from here"
        )


def check_source(run: Run, state: State) -> None:
    """Raise `SourceChangedError` when the source is another one than the run has followed.

    Only while the run follows it: what is undone, and what has switched, reads it no more.
    """
    if state.undoing or state.switched:
        return
    check_collections(run, state)
    marker = run.progress.newest_marker(run.scope, run.id)
    if marker is not None and not state.reseed and not run.source.has_marker(marker):
        raise SourceChangedError(
            f"the source does not have the newest marker of run {state.run}, which was written and seen: it was "
            "restored to an earlier time, or the address leads to another server"
        )


def lost_switches(source: Source, target: str, state_schema: str, state_of: Callable[[str], State]) -> list[Owner]:
    """Whose switches to this target and state schema its journals (`state_of` a run's name) do not know."""
    return [
        owner
        for owner, record in source.records.records()
        if record.state is Routing.HANDED_OVER
        and (owner.target, owner.state_schema) == (target, state_schema)
        and not _knows(state_of(owner.run), owner)
    ]


def _knows(state: State, owner: Owner) -> bool:
    return state.id == owner.id and (state.switched or state.pivoting)


def lost_switch(owner: Owner) -> str:
    """What it means, and what to do."""
    return (
        f"the source says that run {owner.run} has switched to this target, and the target does not know of it: it was "
        "restored to an earlier time, or a standby took over that had not got it yet. What applications have written "
        "since may be missing there, and would be overwritten. Nothing was changed. If the target is to be filled "
        f'anew, remove its record from the source: db.tranship_switches.deleteOne({{_id: "{owner.id}"}})'
    )


def check_target(run: Run, state_of: Callable[[str], State]) -> None:
    """Raise `TargetRestoredError` when the target has lost a switch."""
    lost = lost_switches(run.source, run.schema.identity(), run.plan.target.state_schema, state_of)
    if lost:
        raise TargetRestoredError(lost_switch(lost[0]))
