"""`tranship check`: the plan's rules, and what both servers say about it. Writes nothing on either side."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tranship.orchestrator import logs
from tranship.orchestrator.cli.commands import BAD_PLAN, REFUSED, AsJson, PlanFile, exits, writable
from tranship.orchestrator.engine.session import open_session
from tranship.orchestrator.reports.checked import Checked, as_junit, checked, outlook, refused
from tranship.orchestrator.reports.sizes import size
from tranship.orchestrator.reports.status import brief
from tranship.plans import PlanError, load_with_warnings

SAMPLE = 1_000


class Severity(StrEnum):
    """From which severity on a finding lets the command fail."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


def check(
    plan: PlanFile,
    as_json: AsJson = False,
    fail_on: Annotated[
        Severity, typer.Option("--fail-on", help="From which severity on the exit code is not 0.")
    ] = Severity.ERROR,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="A file that gets the result as JUnit XML.", show_default=False)
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", min=0, help="So many documents of each stream are looked at.")
    ] = SAMPLE,
) -> None:
    """Check the plan's rules, both servers, and some documents. Writes nothing on either side."""
    writable(junit)
    logs.configure(logs.default_format())
    broken: PlanError | None = None
    try:
        result = _looked(plan, sample, quiet=as_json)
    except PlanError as error:
        broken, result = error, refused(str(plan), error)
    if junit is not None:
        junit.write_text(as_junit(result), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(result.as_dict(), indent=2))
    elif broken is not None:
        typer.echo(logs.without_secrets(str(broken)), err=True)
    else:
        for line in _lines(result):
            typer.echo(line)
    raise typer.Exit(_code(result, fail_on))


def _looked(plan: Path, sample: int, *, quiet: bool) -> Checked:
    loaded = load_with_warnings(plan)
    for warning in () if quiet else loaded.warnings:
        typer.echo(warning, err=True)
    with exits(plan), open_session(loaded.plan, None, shlex.quote(str(plan))) as session:
        found = session.look()
        said, coming = outlook(session, found, sample)
        return checked(str(plan), loaded.warnings, [*found, *said], coming)


def _code(result: Checked, fail_on: Severity) -> int:
    if any(problem.severity == "error" for problem in result.problems):
        return BAD_PLAN
    order = [severity.value for severity in Severity]
    severities = [problem.severity for problem in result.problems] + [found.severity for found in result.findings]
    worst = min(map(order.index, severities), default=len(order))
    return REFUSED if worst <= order.index(fail_on) else 0


def _lines(result: Checked) -> Iterator[str]:
    for found in result.findings:
        yield f"{found.severity} {found.code}: {found.message}" + (f"\n  {found.hint}" if found.hint else "")
    if not result.can_run:
        yield "the plan cannot run yet"
        return
    yield "the plan can run"
    yield f"  from {result.source} to {result.target}"
    for stream in result.streams:
        looked = f"; {stream.looked_at:,} looked at" if stream.looked_at else ""
        yield f"  {stream.stream}: about {stream.documents:,} documents, {size(stream.bytes)}{looked}"
    if result.seconds is not None and result.wait_s is not None:
        took, wait = brief(result.seconds), brief(result.wait_s)
        yield f"  roughly {took} to the cutover, where writers stand still for {wait}"
    yield f"  next: tranship dry-run {shlex.quote(result.plan)} measures that, and leaves both sides as they are"
