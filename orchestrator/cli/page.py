"""The status page of `tranship status`: where a run stands, as somebody who was not there reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tranship.orchestrator.cli.view import MARKS
from tranship.orchestrator.journal.state import PhaseStatus, RunStatus
from tranship.orchestrator.reports.status import Status, dirty_keys, equation, fit_lines


def print_status(console: Console, status: Status) -> None:
    """The status page of `tranship status`. Reasons, names and keys are people's: none is read as markup."""
    reason = f": {status.reason}" if status.reason else ""
    console.print(Text.assemble((status.run, "bold"), f"  {status.status}{reason}"))
    if status.status in (RunStatus.RUNNING, RunStatus.ROLLING_BACK) and not status.at_work:
        console.print(Text("no orchestrator is at work on it: `tranship run` goes on", style="bold red"))
    phases = Text()
    for name, phase_status in status.phases.items():
        mark, style = MARKS[PhaseStatus(phase_status)]
        phases.append(f" {mark} {name} ", style=style)
    console.print(phases)
    when = f"compared at {status.compared_at}" if status.compared_at else "compared"
    table = Table("stream", "chunks", "rows loaded", "quarantined", when, box=None)
    for stream in status.streams:
        chunks = f"{stream.loaded}/{stream.chunks}"
        compared = equation(stream.compared) if stream.compared else "-"
        table.add_row(Text(stream.stream), chunks, f"{stream.rows:,}", f"{stream.quarantined:,}", compared)
    console.print(table)
    for line in fit_lines(status):
        console.print(Text(line))
    if status.lag_s is not None:
        console.print(f"{dirty_keys(status.dirty_keys or 0)} dirty keys, lag {status.lag_s:.1f} s")
    for holder, count in status.parked_keys.items():
        console.print(f"{count} keys cannot be applied: rows of {holder} hold theirs by a foreign key")
    if status.waiting_for_approval:
        waits = f"{status.waiting_for_approval} waits for approval: tranship approve <plan>"
        console.print(Text(waits, style="yellow"))
    for divergence in status.divergences:
        columns = ", ".join(divergence["columns"])
        console.print(Text(f"divergence: {divergence['stream']} {divergence['key']} {divergence['kind']} {columns}"))


def print_names(found: Iterable[tuple[str, int, Mapping[str, int]]], *, as_json: bool) -> None:
    """The page of `tranship status --names`: what the plan does not name, where there is anything."""
    streams = list(found)
    if as_json:
        data = [{"stream": name, "rows": rows, "names": dict(paths)} for name, rows, paths in streams]
        typer.echo(json.dumps(data, indent=2))
        return
    for name, rows, paths in streams:
        typer.echo(f"{name}: {len(paths)} fields that the plan does not name, in {rows:,} rows with residue")
        for path, count in paths.items():
            typer.echo(f"  {path}: {count:,}")
