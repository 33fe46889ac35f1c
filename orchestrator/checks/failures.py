"""A phase that failed at what one stream holds, as a finding."""

from __future__ import annotations

from tranship.connectors.errors import ConnectorError, UniqueConflictError, UnmappableError
from tranship.connectors.protocols import Finding
from tranship.orchestrator.checks.fitting import ENTRY
from tranship.orchestrator.logs import without_secrets


def of_stream(error: BaseException | None) -> Finding | None:
    """What an error, or what it came from, says of a stream; None where it names none."""
    while error is not None:
        if isinstance(error, ConnectorError) and error.stream:
            known = _known(error)
            return known and Finding(known[0], "error", without_secrets(str(error)), known[1], error.stream)
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _known(error: ConnectorError) -> tuple[str, str] | None:
    """Code and hint of what a stream's documents alone can be to blame for."""
    if isinstance(error, UniqueConflictError):
        return "data.duplicate", "make the values unique in the source, or take `unique` out of the plan"
    if isinstance(error, UnmappableError):
        return "data.unfit", "change the plan or the document, or keep what does not fit: `rest: residue`"
    if any(part in str(error) for part in ENTRY):
        return "target.index_entry", "leave the index away, or index less: entries hold up to 2,704 bytes"
    return None
