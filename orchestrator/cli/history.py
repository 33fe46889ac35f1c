"""`tranship runs` and `tranship history`: what was done on a target, when, and who let it happen. Read only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tranship.connectors.printable import printable
from tranship.orchestrator import logs
from tranship.orchestrator.cli.commands import BAD_PLAN, AsJson, PlanFile, exits, open_plan, run_of, template
from tranship.orchestrator.engine.session import open_control
from tranship.plans import state_endpoint
from tranship.plans.addresses import AddressError

if TYPE_CHECKING:
    from tranship.orchestrator.journal.store import StoredControl

OptionalPlan = Annotated[Path | None, typer.Argument(help="A plan of the state schema.", show_default=False)]
Target = Annotated[
    str | None,
    typer.Option(
        "--target", help="Instead of a plan: the target's URI, or env:NAME or file:PATH, which hold it.", metavar="URI"
    ),
]
StateSchema = Annotated[
    str | None, typer.Option("--state-schema", help="With --target; default: tranship.", show_default=False)
]
OneRun = Annotated[str | None, typer.Option("--run", help="Default: the plan's newest run.", show_default=False)]


def runs(
    plan: OptionalPlan = None, target: Target = None, state_schema: StateSchema = None, as_json: AsJson = False
) -> None:
    """List all runs of a state schema, of whatever plan: how each stands or has ended, and when it began and ended."""
    from tranship.orchestrator.reports.history import runs_of, runs_printed  # with SQLAlchemy

    with _control(plan, target, state_schema) as control:
        found = runs_of(control)
    if as_json:
        typer.echo(json.dumps([line.as_dict() for line in found], indent=2))
    elif found:
        for line in runs_printed(found):
            typer.echo(printable(line))
    else:
        typer.echo("there is no run in the state schema", err=True)


def history(plan: PlanFile, run: OneRun = None, as_json: AsJson = False) -> None:
    """Print a run's journal in sentences: what happened, when, and who asked for it or approved it. Times are UTC."""
    from tranship.orchestrator.reports.history import history_of  # with SQLAlchemy

    with open_plan(plan) as session:
        name = run or run_of(session)
        known = session.runs()
        if name not in known:
            typer.echo(f"the state schema has no run {printable(name)}, but {', '.join(known) or 'none'}", err=True)
            raise typer.Exit(BAD_PLAN)
        events = history_of(session.control, name)
    if as_json:
        typer.echo(json.dumps({"run": name, "events": [event.as_dict() for event in events]}, indent=2))
        return
    typer.echo(f"run {name}")
    for event in events:
        typer.echo(f"{event.at}  {printable(event.text)}")


@contextmanager
def _control(plan: Path | None, target: str | None, state_schema: str | None) -> Iterator[StoredControl]:
    """The control store that a plan or an address leads to. Only one of the two says which schema it is."""
    if (plan is None) is (target is None) or (plan is not None and state_schema is not None):
        typer.echo("give either a plan, or --target (and --state-schema, if it has another name)", err=True)
        raise typer.Exit(BAD_PLAN)
    if plan is not None:
        with open_plan(plan) as session:
            yield session.control
        return
    with exits():
        logs.configure(logs.default_format())
        try:
            endpoint = state_endpoint(template(target or ""), state_schema)
        except AddressError as error:
            typer.echo(f"--target: {error}", err=True)
            raise typer.Exit(BAD_PLAN) from None
        with open_control(endpoint) as control:
            yield control
