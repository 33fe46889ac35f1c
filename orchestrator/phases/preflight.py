"""Preflight: what would fail later is said now, before anything is changed.

It reads; of what tranship writes to the source, it tries writes that it takes back: not every server tells the rights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tranship.connectors.protocols import Finding
from tranship.connectors.registry import Source
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.journal.records import Record
from tranship.orchestrator.phases import PreflightError, Rehearsal, Verdict, Verified, observed
from tranship.orchestrator.phases.cutover import fences
from tranship.plans.strategies import PhaseName


def findings(run: Run) -> list[Finding]:
    """What both sides say about the plan."""
    return of_source(run, run.source) + run.schema.findings(run.streams, run.scope.run)


def of_source(what: fences.Fencing, source: Source) -> list[Finding]:
    """What the source says, of the plan's fence as well."""
    found = source.findings(what.streams)
    if any(finding.severity == "error" for finding in found):  # it might not answer
        return found
    return found + fences.findings(what, source)


def refuse_errors(found: Sequence[Finding]) -> None:
    """Raise `PreflightError` when one of the findings is an error."""
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        raise PreflightError(errors)


class Preflight:
    """Leaves everything as it is, so there is nothing to undo."""

    name = PhaseName.PREFLIGHT
    rehearsal = Rehearsal.FORWARD
    not_rehearsed: tuple[str, ...] = ()

    def do(self, run: Run) -> Iterator[Record]:
        found = findings(run)
        refuse_errors(found)
        refuse_errors(run.source.try_traces())
        yield observed(self.name, findings=[f"{f.code}: {f.message}" for f in found])

    def verify(self, run: Run) -> Verdict:  # noqa: ARG002
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        yield from ()
