"""`tranship schema`: what a plan makes in the target, as a script, and how a target differs from that."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from tranship.connectors.printable import printable
from tranship.connectors.registry import open_schema, schema_script
from tranship.orchestrator import logs
from tranship.orchestrator.cli.commands import PlanFile, exits
from tranship.orchestrator.journal.sentences import count
from tranship.plans import load_with_warnings, load_without_addresses, resolve, target_endpoint
from tranship.plans.strategies import PhaseName

app = typer.Typer(help="What a plan makes in the target.", no_args_is_help=True)


@app.command("ddl")
def schema_ddl(
    plan: PlanFile,
    rollback: Annotated[bool, typer.Option("--rollback", help="Print what takes it away again.")] = False,
) -> None:
    """Print the SQL that makes what a run makes: schema, tables, indexes, constraints. Needs no server, no secrets."""
    with exits():
        loaded = load_without_addresses(plan)
    for warning in loaded.warnings:
        typer.echo(warning, err=True)
    typer.echo(schema_script(target_endpoint(loaded.plan), resolve(loaded.plan), rollback=rollback), nl=False)


@app.command("diff")
def schema_diff(plan: PlanFile) -> None:
    """Say what in the target differs from the plan: tables, indexes, constraints. Exit code 1 if anything does."""
    with exits(plan):
        logs.configure(logs.default_format())
        loaded = load_with_warnings(plan).plan
        streams = resolve(loaded)
        with closing(open_schema(target_endpoint(loaded), streams)) as schema:
            found = [(PhaseName.EXPAND, one) for one in schema.table_differences(streams)]
            found += [(PhaseName.INDEX, one) for one in schema.index_differences(streams)]
            found += [(PhaseName.CONSTRAIN, one) for one in schema.constraint_differences(streams)]
    for phase, difference in found:
        typer.echo(f"{phase}: {printable(logs.without_secrets(difference))}")
    label = f"schema {loaded.target.schema_name}"
    typer.echo(f"{label}: {count(len(found), 'difference')}" if found else f"{label} is as the plan has it", err=True)
    raise typer.Exit(1 if found else 0)
