"""`tranship quarantine`: what is kept aside, and how it comes in."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from tranship.connectors.printable import printable
from tranship.connectors.protocols import is_nameless
from tranship.orchestrator.cli.commands import (
    BAD_PLAN,
    MOST_PRINTED,
    Format,
    Limit,
    PlanFile,
    Wait,
    ask,
    first_of,
    open_plan,
    refuse,
    run_of,
)
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.state import State
from tranship.orchestrator.reports.keynames import key_text, key_values
from tranship.orchestrator.reports.quarantine import Entry, open_quarantine
from tranship.plans.streams import Stream

app = typer.Typer(help="Documents that are kept aside.", no_args_is_help=True)

OneStream = Annotated[str | None, typer.Option("--stream", help="Only this stream.", show_default=False)]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


@app.command("list")
def list_entries(
    plan: PlanFile, stream: OneStream = None, as_json: AsJsonLines = False, limit: Limit = MOST_PRINTED
) -> None:
    """List what is in quarantine: stream, key, where in the document, why, and how many bytes."""
    with open_plan(plan) as session, open_quarantine(session, run_of(session)) as quarantine:
        streams = _streams(session, stream)
        entries = quarantine.entries(streams)
        if as_json:
            for entry in entries:
                typer.echo(_as_json(entry))
            return
        count = quarantine.count(streams)
        for line in first_of(map(_as_text, entries), limit, count):
            typer.echo(line)
    typer.echo(f"{count} in quarantine", err=True)


# A key may begin with a minus.
@app.command(context_settings={"ignore_unknown_options": True})
def show(
    plan: PlanFile,
    stream: Annotated[str, typer.Argument(help="The stream.", show_default=False)],
    key: Annotated[str, typer.Argument(help="The key, as `list` shows it.", show_default=False)],
) -> None:
    """Show one entry with its document, as canonical Extended JSON; a malformed one in hex, and where the fault is."""
    with open_plan(plan) as session, open_quarantine(session, run_of(session)) as quarantine:
        [of] = _streams(session, stream)
        entry = quarantine.find(of, key)
        with closing(session.connect.source()) as source:
            document = source.readable(entry.document)
    typer.echo(f"stream: {of.name}")
    typer.echo(f"key: {key_text(of, entry.key)}")
    typer.echo(f"path: {printable(entry.path)}")
    typer.echo(f"reason: {printable(entry.reason)}")
    typer.echo(f"bytes: {len(entry.document)}")
    typer.echo(document)


@app.command()
def export(
    plan: PlanFile,
    to: Annotated[Path, typer.Option("--to", help="A new file, as JSON lines.", show_default=False)],
    stream: OneStream = None,
) -> None:
    """Write quarantine into a new file that only you can read, with the raw bytes of every document."""
    with open_plan(plan) as session, open_quarantine(session, run_of(session)) as quarantine:
        count = quarantine.export(_streams(session, stream), to)
    typer.echo(f"{count} written to {to}", err=True)


@app.command()
def retry(plan: PlanFile, stream: OneStream = None, wait: Wait = False, log_format: Format = None) -> None:
    """Read quarantined documents anew: what fits by now moves in, the rest stays, with its present reason."""
    with open_plan(plan, log_format) as session:
        name = run_of(session)
        state = session.state(name)
        refuse(session, RequestKind.RETRY, state)
        _refuse_another_plan(session, state)
        with open_quarantine(session, name) as quarantine:
            left = sum(is_nameless(entry.aside.key) for entry in quarantine.entries(_streams(session, stream)))
        if left:
            typer.echo(f"{left} without a readable key stay: no query finds these documents", err=True)
        code = ask(session, name, RequestKind.RETRY, stream, wait=wait)
    raise typer.Exit(code)


def _refuse_another_plan(session: Session, state: State) -> None:
    """An orchestrator at work reads documents by its own plan: by this one nothing would come of it."""
    changes = session.changes(state)
    if changes and session.control.is_led(state.run):
        typer.echo(
            f"the orchestrator at work on run {state.run} goes by another plan than {session.file}: "
            f"{'; '.join(changes)}. Nothing was changed. `tranship pause {session.file}`, then `tranship run "
            f"{session.file}`: that takes a more lenient `rest` on, and reads what is in quarantine anew",
            err=True,
        )
        raise typer.Exit(BAD_PLAN)


def _streams(session: Session, name: str | None) -> tuple[Stream, ...]:
    """The plan's streams, or the one of this name."""
    found = tuple(stream for stream in session.streams if name in (None, stream.name))
    if not found:
        known = ", ".join(stream.name for stream in session.streams)
        typer.echo(f"the plan has no stream {name}, but {known}", err=True)
        raise typer.Exit(BAD_PLAN)
    return found


def _as_json(entry: Entry) -> str:
    aside, stream = entry.aside, entry.stream
    return json.dumps(
        {
            "stream": stream.name,
            "key": key_values(stream, aside.key),
            "name": entry.name,
            "path": aside.path,
            "reason": aside.reason,
            "bytes": aside.size,
        }
    )


def _as_text(entry: Entry) -> str:
    path, reason = printable(entry.aside.path) or "(the document)", printable(entry.aside.reason)
    return f"{entry.stream.name}  {entry.name}  {path}: {reason}  ({entry.aside.size:,} bytes)"
