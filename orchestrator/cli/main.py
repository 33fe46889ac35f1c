"""The command line: each command is a few lines over `commands`, `session`, `engine` and `status`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tranship.connectors.errors import TransientError
from tranship.orchestrator import logs, stderr
from tranship.orchestrator.cli.check import check
from tranship.orchestrator.cli.commands import (
    BAD_PLAN,
    MOST_PRINTED,
    REFUSED,
    AsJson,
    Format,
    Limit,
    LogFormat,
    PlanFile,
    Wait,
    ask,
    confirm,
    execute,
    exits,
    first_of,
    open_plan,
    refuse,
    refuse_comparison,
    rehearsed,
    report,
    run_of,
)
from tranship.orchestrator.cli.dryrun import admitted, age_of, dry_run, purge_shadows
from tranship.orchestrator.cli.explain import explain
from tranship.orchestrator.cli.history import history, runs
from tranship.orchestrator.cli.init import init
from tranship.orchestrator.cli.order import InOrder
from tranship.orchestrator.cli.page import divergence_line, print_names, print_status
from tranship.orchestrator.cli.quarantine import app as quarantine_app
from tranship.orchestrator.cli.schema import app as schema_app
from tranship.orchestrator.cli.unfence import unfence
from tranship.orchestrator.cli.view import told
from tranship.orchestrator.dataplane.work import Work
from tranship.orchestrator.demo.cli import demo
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.sentences import count
from tranship.orchestrator.journal.state import ENDED, RunStatus, State
from tranship.orchestrator.reports import inspection, mapping
from tranship.orchestrator.reports.advice import to_type
from tranship.orchestrator.reports.endings import standing
from tranship.orchestrator.reports.fit import unnamed
from tranship.orchestrator.reports.status import describe, equation, fit_lines, status_of, with_readiness
from tranship.orchestrator.sandbox.cli import app as sandbox_app
from tranship.plans import load_without_addresses, schema_text
from tranship.plans.strategies import STAGES, Group, PhaseName, Stage, is_pivot

app = typer.Typer(
    cls=InOrder,
    help="Move live data between databases without downtime.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
plan_app = typer.Typer(help="Plans.", no_args_is_help=True)
app.add_typer(plan_app, name="plan", cls=InOrder)
app.add_typer(schema_app, name="schema", cls=InOrder)
app.add_typer(quarantine_app, name="quarantine", cls=InOrder)
app.add_typer(sandbox_app, name="sandbox", cls=InOrder)
for command in (check, demo, dry_run, explain, history, init, runs, unfence):
    app.command()(command)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tranship {version('tranship')}")
        raise typer.Exit


@app.callback()
def tranship(
    _: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None: ...


# --- carrying out ------------------------------------------------------------------------------------------------


@app.command()
def run(
    plan: PlanFile,
    log_format: Format = None,
    dry_run_report: Annotated[
        Path | None,
        typer.Option("--dry-run-report", help="Begin only if this report of a dry run allows it.", show_default=False),
    ] = None,
    max_age: Annotated[str, typer.Option("--max-age", help="How old that report may be, such as 24h.")] = "24h",
) -> None:
    """Start the plan's run, or go on with the one that is not finished."""
    age = age_of(max_age)
    with open_plan(plan, log_format) as session:
        rehearsed = admitted(session, dry_run_report, age)
        try:
            name = session.begin()
        except TransientError as error:
            typer.echo(f"{logs.without_secrets(str(error))}; nothing was changed", err=True)
            raise typer.Exit(REFUSED) from None
        state = session.state(name)
        if state.status is RunStatus.HELD:
            raise typer.Exit(report(session, state))
        session.guard(state)
        code = execute(session, name, rehearsed=rehearsed)
    raise typer.Exit(code)


@app.command()
def resume(plan: PlanFile, log_format: Format = None) -> None:
    """Go on with a paused or held run: you have looked at what it says."""
    with open_plan(plan, log_format) as session:
        name = run_of(session)
        state = session.state(name)
        if state.status in ENDED:
            raise typer.Exit(report(session, state))
        session.guard(state)
        code = execute(session, name, held_too=True)
    raise typer.Exit(code)


def _ask(plan: Path, kind: RequestKind, log_format: LogFormat | None, question: str, *, yes: bool, wait: bool) -> None:
    """Ask the person, then the orchestrator."""
    with open_plan(plan, log_format) as session:
        name = run_of(session)
        refuse(session, kind, session.state(name))
        confirm(question.format(run=name, schema=session.plan.target.schema_name), yes=yes)
        code = ask(session, name, kind, wait=wait)
    raise typer.Exit(code)


@app.command()
def rollback(plan: PlanFile, yes: Yes = False, wait: Wait = False, log_format: Format = None) -> None:
    """Undo the run phase by phase and leave both sides as they were found."""
    question = "Roll run {run} back, and drop what it has made in schema {schema}? The source is not touched."
    _ask(plan, RequestKind.ROLLBACK, log_format, question, yes=yes, wait=wait)


@app.command()
def reseed(plan: PlanFile, yes: Yes = False, wait: Wait = False, log_format: Format = None) -> None:
    """After the source's history was lost: take a new position, compare every row, apply what differs."""
    question = "Reseed run {run}: compare all of schema {schema} with the source as it is now, and apply what differs?"
    _ask(plan, RequestKind.RESEED, log_format, question, yes=yes, wait=wait)


@app.command()
def repair(plan: PlanFile, wait: Wait = False, log_format: Format = None) -> None:
    """Make the rows that are on record as divergent equal again."""
    with open_plan(plan, log_format) as session:
        name = run_of(session)
        refuse(session, RequestKind.REPAIR, session.state(name))
        if not status_of(session, name).divergences:
            typer.echo(f"run {name}: no row is on record as divergent, so there is nothing to repair", err=True)
            return
        code = ask(session, name, RequestKind.REPAIR, wait=wait)
    raise typer.Exit(code)


@app.command()
def approve(
    plan: PlanFile,
    phase: Annotated[
        str | None, typer.Argument(help=f"One of {', '.join(STAGES)}. Default: the one that waits.", show_default=False)
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take an approval back, before it is acted on.")] = False,
) -> None:
    """Approve the phase that waits for it, from any terminal. An approval answers one asking, and no later one."""
    with open_plan(plan) as session:
        name = run_of(session)
        state = session.state(name)
        refuse(session, RequestKind.APPROVE, state)
        if state.status is RunStatus.HELD:
            raise typer.Exit(report(session, state))
        if withdraw:
            _leave(session, name, RequestKind.WITHDRAW)
            return
        wanted = _stage(phase) if phase else state.asked
        if wanted is None or wanted is not state.asked:
            waits = f"{state.asked} waits" if state.asked else "no phase waits"
            typer.echo(f"run {name}: {waits} for an approval; nothing was changed", err=True)
            raise typer.Exit(BAD_PLAN)
        if is_pivot(wanted):
            for line in fit_lines(status_of(session, name)):
                typer.echo(line, err=True)
        known = inspection.unapprovable(session, name, wanted)
        if known is not None:
            typer.echo(to_type(f"run {name}: {known}. Nothing was approved", session.file), err=True)
            raise typer.Exit(1)
        _leave(session, name, RequestKind.APPROVE, state.asking)
        typer.echo(f"{wanted} of run {name} is approved: {_LETS.get(wanted, 'it is carried out now')}", err=True)


def _stage(name: str) -> Stage:
    stage = next((stage for stage in STAGES if stage == name), None)
    if stage is None:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(STAGES)}", param_hint="PHASE")
    return stage


@app.command()
def cutover(
    plan: PlanFile,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="All of it up to the switch; then the fence is lifted.")
    ] = False,
) -> None:
    """Rehearse the cutover that waits for its approval: how long would writers wait? Nothing is switched."""
    with open_plan(plan) as session:
        name = run_of(session)
        state = session.state(name)
        refuse(session, RequestKind.REHEARSE, state)
        if not rehearse or not is_pivot(state.asked):
            waits = "no cutover waits for an approval" if rehearse else "only --rehearse is done by this command"
            typer.echo(f"run {name}: {waits}; `tranship approve {session.file}` lets it happen", err=True)
            raise typer.Exit(BAD_PLAN)
        known = inspection.unapprovable(session, name, Group.CUTOVER)
        if known is not None:
            typer.echo(to_type(f"run {name}: {known}. Nothing was rehearsed", session.file), err=True)
            raise typer.Exit(1)
        seen = state.records
        _leave(session, name, RequestKind.REHEARSE, state.asking)
        raise typer.Exit(rehearsed(session, name, seen))


_LETS: Mapping[Stage, str] = {
    Group.CUTOVER: "once the source is quiet and the last comparison holds, the target becomes the primary",
    PhaseName.EXPAND: "tables are made on the target",
    PhaseName.BACKFILL: "the source is read and the tables are filled",
}


def _leave(session: Session, run: str, kind: RequestKind, asking: int | None = None) -> None:
    """Leave a request for the orchestrator at work; without one it would be acted on by nobody knows whom, or when."""
    if not session.control.is_led(run):
        typer.echo(
            f"no orchestrator works on run {run}: `tranship run {session.file}` goes on, and asks anew", err=True
        )
        raise typer.Exit(BAD_PLAN)
    session.request(run, kind, asking)


@app.command()
def pause(plan: PlanFile) -> None:
    """Ask the orchestrator at work to stop cleanly; `run` goes on later."""
    with open_plan(plan) as session:
        name = run_of(session)
        state = session.state(name)
        if state.status not in (RunStatus.RUNNING, RunStatus.ROLLING_BACK):
            raise typer.Exit(report(session, state))
        if not session.control.is_led(name):  # a request that is left would pause the next one at once
            goes_on = f"`tranship run {session.file}` goes on"
            typer.echo(f"no orchestrator works on run {name}, so there is nothing to pause; {goes_on}")
            return
        session.request(name, RequestKind.PAUSE)
        typer.echo(f"run {name} will pause; `tranship run {session.file}` goes on later", err=True)


# --- looking -----------------------------------------------------------------------------------------------------


@app.command()
def status(
    plan: PlanFile,
    as_json: AsJson = False,
    names: Annotated[bool, typer.Option("--names", help="Show fields that the plan does not name.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with the code of how it stands.")] = False,
    limit: Limit = MOST_PRINTED,
) -> None:
    """Show where the plan's newest run stands."""
    with open_plan(plan) as session:
        if names:
            print_names(unnamed(session, run_of(session)), as_json=as_json)
            return
        found = with_readiness(session, status_of(session, run_of(session)))
        if as_json:
            typer.echo(json.dumps(found.as_dict(), indent=2))
        else:
            print_status(Console(), found, limit)
    if exit_code:
        raise typer.Exit(standing(found))


@app.command()
def reconcile(plan: PlanFile, as_json: AsJson = False, limit: Limit = MOST_PRINTED) -> None:
    """Compare every row of both sides now, without changing anything; exit code 1 when rows diverge."""
    with open_plan(plan) as session:
        name = run_of(session)
        refuse_comparison(session, name)
        work = Work(time.monotonic)
        with told(work):
            result = inspection.reconcile_now(session, name, work)
        named = [describe(session.streams, d) for d in result.divergences]
    total = result.total
    tallies = result.tallies()
    if as_json:
        found = {
            "rows": total.rows,
            "quarantined": total.quarantined,
            "moving": len(result.moving),
            "divergences": named,
            "whole": result.whole,
            "streams": {name: asdict(tally) for name, tally in tallies.items()},
        }
        typer.echo(json.dumps(found, indent=2))
    else:
        for name, tally in tallies.items():
            typer.echo(f"{name}: {equation(tally)}")
        if not result.whole:
            typer.echo("only what is loaded so far was compared: the backfill has not ended")
        typer.echo(f"{total.documents} documents compared, {len(named)} diverge, {len(result.moving)} still move")
        for line in first_of(map(divergence_line, named), limit, len(named)):
            typer.echo(f"  {line}")
    raise typer.Exit(1 if named else 0)


@app.command()
def purge(
    plan: PlanFile,
    yes: Yes = False,
    shadows: Annotated[
        bool, typer.Option("--shadows", help="Only what killed dry runs of the plan have left, in both databases.")
    ] = False,
) -> None:
    """Remove tranship's tables in the state schema, with all runs and journals, and the schema if it is empty then."""
    with open_plan(plan) as session:
        if shadows:
            purge_shadows(session)
            return
        _all_ended(session.unfinished())
        session.guard(State(), moving=False)
        schema, runs = session.plan.target.state_schema, session.runs()
        what = f"state schema {schema} with {count(len(runs), 'run')}" + (f" ({', '.join(runs)})" if runs else "")
        confirm(f"Remove {what} and all journals? What was moved stays.", yes=yes)
        # A run may have begun while the question stood.
        _all_ended(session.purge())
        typer.echo(f"removed: {what}", err=True)


def _all_ended(unfinished: list[str]) -> None:
    if unfinished:
        typer.echo(f"there is a run that has not ended: {', '.join(unfinished)}. Finish it or roll it back", err=True)
        raise typer.Exit(BAD_PLAN)


@plan_app.command("schema")
def plan_schema() -> None:
    """Print the JSON Schema of plans."""
    typer.echo(schema_text(), nl=False)


@plan_app.command("show")
def plan_show(plan: PlanFile, as_json: AsJson = False) -> None:
    """Show what every path becomes: table, column, type, key, and what NULL stands for. Needs no server, no secrets."""
    with exits():
        loaded = load_without_addresses(plan)
    for warning in loaded.warnings:
        typer.echo(warning, err=True)
    tables = mapping.mapping_of(loaded.plan)
    if as_json:
        typer.echo(json.dumps(mapping.as_data(tables), indent=2))
    else:
        typer.echo(mapping.printed(tables))


def main() -> None:
    """Entry point of the `tranship` command."""
    stderr.tolerate()
    app()


if __name__ == "__main__":
    main()
