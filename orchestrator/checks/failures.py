"""A phase that failed at what one stream holds, as a finding."""

from __future__ import annotations

from tranship.connectors.errors import ConnectorError, UniqueConflictError, UnmappableError
from tranship.connectors.protocols import Finding
from tranship.orchestrator.checks.fitting import ENTRY, HINTS
from tranship.orchestrator.logs import without_secrets


def of_stream(error: BaseException | None) -> Finding | None:
    """What an error, or what it came from, says of a stream; None where it names none."""
    while error is not None:
        if isinstance(error, ConnectorError) and error.stream:
            code = _code(error)
            return Finding(code, "error", without_secrets(str(error)), HINTS[code], error.stream) if code else None
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _code(error: ConnectorError) -> str:
    """Of what a stream's documents alone can be to blame for; empty for all else."""
    if isinstance(error, UniqueConflictError):
        return "data.duplicate"
    if isinstance(error, UnmappableError):
        return "data.unfit"
    return "target.index_entry" if any(part in str(error) for part in ENTRY) else ""
