"""The durable capture position, after which everything is read."""

from __future__ import annotations

from tranship.connectors.protocols import Position, Progress, Scope


def durable(progress: Progress, scope: Scope) -> Position:
    """The position that capture has kept. Only to be asked after the capture phase (`rules.md` I3)."""
    position = progress.position(scope)
    if position is None:
        raise RuntimeError("there is no durable position: capture has not been done")
    return position
