"""The command line. Each command is a few lines over `session`, `engine` and `status`; errors become exit codes here.

Exit codes: 0 finished; 2 bad usage or plan; 3 preflight refused; 4 rolled back; 5 held; 6 another orchestrator holds
the lease; 7 paused. 1 is an unexpected error, or a difference that `reconcile` found.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tranship.connectors.errors import EpochMovedError, RefusedError, TransientError
from tranship.orchestrator import inspection, logs, mapping
from tranship.orchestrator.amendment import PlanChangedError
from tranship.orchestrator.control import LeaseHeldError, LeaseLostError, RequestKind
from tranship.orchestrator.demo.cli import demo
from tranship.orchestrator.engine import Engine
from tranship.orchestrator.phases import PreflightError
from tranship.orchestrator.records import JournalError
from tranship.orchestrator.sandbox.cli import app as sandbox_app
from tranship.orchestrator.session import Observe, Session, open_session, person
from tranship.orchestrator.state import ENDED, RunStatus, State
from tranship.orchestrator.status import EXIT_CODES, describe, status_of
from tranship.orchestrator.view import observer, print_status
from tranship.plans import PlanError, load_with_warnings, load_without_addresses, schema_text
from tranship.plans.strategies import PhaseName

app = typer.Typer(
    help="Move live data between databases without downtime.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
plan_app = typer.Typer(help="Plans.", no_args_is_help=True)
app.add_typer(plan_app, name="plan")
app.add_typer(sandbox_app, name="sandbox")
app.command()(demo)


class LogFormat(StrEnum):
    """How log lines look."""

    PRETTY = "pretty"
    JSON = "json"


PlanFile = Annotated[Path, typer.Argument(help="The plan, a YAML file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Format = Annotated[LogFormat | None, typer.Option("--log-format", help="Default: pretty on a terminal, else json.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

BAD_PLAN, REFUSED, HELD, LEASE, PAUSED = 2, 3, 5, 6, 7

ERRORS: tuple[tuple[type[Exception], int], ...] = (
    (PlanError, BAD_PLAN),
    (PreflightError, REFUSED),
    (PlanChangedError, REFUSED),
    (JournalError, REFUSED),
    (RefusedError, REFUSED),
    (TransientError, REFUSED),
    (TimeoutError, REFUSED),
    (LeaseHeldError, LEASE),
    (LeaseLostError, LEASE),
    (EpochMovedError, LEASE),
)


@contextmanager
def _exits() -> Iterator[None]:
    """Known errors become one clear text and an exit code; anything else is a bug and keeps its traceback."""
    try:
        yield
    except tuple(kind for kind, _ in ERRORS) as error:
        typer.echo(logs.without_secrets(str(error)), err=True)
        raise typer.Exit(next(code for kind, code in ERRORS if isinstance(error, kind))) from None


@contextmanager
def _session(plan: Path, log_format: LogFormat | None = None) -> Iterator[Session]:
    with _exits():
        logs.configure(log_format or logs.default_format())
        loaded = load_with_warnings(plan)
        for warning in loaded.warnings:
            typer.echo(warning, err=True)
        with open_session(loaded.plan, log_format) as session:
            yield session


def _run_of(session: Session) -> str:
    run = session.latest()
    if run is None:
        typer.echo(f"plan {session.plan.name} has no run on this target yet; `tranship run` starts one", err=True)
        raise typer.Exit(BAD_PLAN)
    return run


def _execute(session: Session, run: str, observe: Observe, *, held_too: bool = False) -> int:
    """Carry a run on; the exit code says how it stands afterwards."""
    logs.configure(logs.default_format(), run=run)
    engine = session.engine(observe)
    with _signals(engine):
        try:
            state = engine.execute(run, person(), held_too=held_too)
        except TransientError as error:
            typer.echo(
                f"the servers could not be reached: {logs.without_secrets(str(error))} Everything is kept; "
                "`tranship run` goes on when they are back.",
                err=True,
            )
            return PAUSED
    return _report(state)


def _report(state: State) -> int:
    text = f"run {state.run}: {state.status}" + (f": {state.reason}" if state.reason else "")
    typer.echo(logs.without_secrets(text), err=True)
    return EXIT_CODES[state.status]


@contextmanager
def _signals(engine: Engine) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM pauses the run cleanly, the second ends the process at once; both can be resumed."""

    asked = threading.Event()

    def handle(number: int, _frame: types.FrameType | None) -> None:
        # Not the engine's own event: that one is cleared as soon as the pausing begins, which may take a while.
        if asked.is_set():
            os._exit(128 + number)
        asked.set()
        engine.interrupt.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- carrying out ------------------------------------------------------------------------------------------------


@app.command()
def run(plan: PlanFile, log_format: Format = None) -> None:
    """Start the plan's run, or go on with the one that is not finished."""
    with _session(plan, log_format) as session:
        try:
            name = session.begin()
        except TransientError as error:
            typer.echo(f"{logs.without_secrets(str(error))} Nothing was changed.", err=True)
            raise typer.Exit(REFUSED) from None
        state = session.state(name)
        if state.status is RunStatus.HELD:
            raise typer.Exit(_report(state))
        with observer(session) as observe:
            code = _execute(session, name, observe)
    raise typer.Exit(code)


def _ask(plan: Path, kind: RequestKind, log_format: LogFormat | None) -> None:
    """Leave a request; when no orchestrator is at work on the run, carry it out here."""
    with _session(plan, log_format) as session:
        name = _run_of(session)
        state = session.state(name)
        if state.status in ENDED:
            raise typer.Exit(_report(state))
        if state.switched and kind is RequestKind.ROLLBACK:
            typer.echo("the run has switched: undoing it would lose the target's writes", err=True)
            raise typer.Exit(HELD)
        session.control.request(name, kind)
        try:
            with observer(session) as observe:
                code = _execute(session, name, observe, held_too=True)
        except LeaseHeldError:
            typer.echo(f"{kind} was left for the orchestrator that works on {name}; see `tranship status`", err=True)
            code = 0
    raise typer.Exit(code)


@app.command()
def resume(plan: PlanFile, log_format: Format = None) -> None:
    """Go on with a paused or held run: you have looked at what it says."""
    with _session(plan, log_format) as session:
        name = _run_of(session)
        state = session.state(name)
        if state.status in ENDED:
            raise typer.Exit(_report(state))
        with observer(session) as observe:
            code = _execute(session, name, observe, held_too=True)
    raise typer.Exit(code)


@app.command()
def rollback(plan: PlanFile, log_format: Format = None) -> None:
    """Undo the run phase by phase and leave both sides as they were found."""
    _ask(plan, RequestKind.ROLLBACK, log_format)


@app.command()
def reseed(plan: PlanFile, log_format: Format = None) -> None:
    """After the source's history was lost: take a new position, compare every row, apply what differs."""
    _ask(plan, RequestKind.RESEED, log_format)


@app.command()
def repair(plan: PlanFile, log_format: Format = None) -> None:
    """Make the rows that the last reconcile found divergent equal again."""
    _ask(plan, RequestKind.REPAIR, log_format)


@app.command()
def approve(
    plan: PlanFile, phase: Annotated[PhaseName | None, typer.Argument(help="Default: the one that waits.")] = None
) -> None:
    """Approve the phase that waits for it, from any terminal."""
    with _session(plan) as session:
        name = _run_of(session)
        state = session.state(name)
        if state.status in ENDED:
            raise typer.Exit(_report(state))
        session.control.request(name, RequestKind.APPROVE, phase)


@app.command()
def pause(plan: PlanFile) -> None:
    """Ask the orchestrator at work to stop cleanly; `run` goes on later."""
    with _session(plan) as session:
        name = _run_of(session)
        state = session.state(name)
        if state.status not in (RunStatus.RUNNING, RunStatus.ROLLING_BACK):
            raise typer.Exit(_report(state))
        session.control.request(name, RequestKind.PAUSE)


# --- looking -----------------------------------------------------------------------------------------------------


@app.command()
def status(plan: PlanFile, as_json: AsJson = False) -> None:
    """Show where the plan's newest run stands."""
    with _session(plan) as session:
        found = status_of(session, _run_of(session))
        if as_json:
            typer.echo(json.dumps(found.as_dict(), indent=2))
        else:
            print_status(Console(), found)


@app.command()
def check(plan: PlanFile, as_json: AsJson = False) -> None:
    """Check the plan's rules, and whether both servers can be used for it. Reads only."""
    with _session(plan) as session:
        found = session.findings(session.active() or "")
    if as_json:
        typer.echo(json.dumps([vars(f) for f in found], indent=2))
    else:
        for f in found:
            typer.echo(f"{f.severity} {f.code}: {f.message}" + (f"\n  {f.hint}" if f.hint else ""))
        typer.echo("the plan can run" if not _errors(found) else "the plan cannot run yet")
    raise typer.Exit(REFUSED if _errors(found) else 0)


def _errors(found: list[inspection.Finding]) -> bool:
    return any(f.severity == "error" for f in found)


@app.command()
def reconcile(plan: PlanFile, as_json: AsJson = False) -> None:
    """Compare every row of both sides now, without changing anything; exit code 1 when rows diverge."""
    with _session(plan) as session:
        result = inspection.reconcile_now(session, _run_of(session))
        named = [describe(session.streams, d) for d in result.divergences]
    total = result.total
    summary = {"rows": total.rows, "quarantined": total.quarantined, "moving": result.moving, "divergences": named}
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        typer.echo(f"{total.documents} documents compared, {len(named)} diverge, {result.moving} still move")
        for one in named:
            typer.echo(f"  {one['stream']} {one['key']}: {one['kind']} {', '.join(one['columns'])}")
    raise typer.Exit(1 if named else 0)


@app.command()
def purge(plan: PlanFile, yes: Yes = False) -> None:
    """Remove the state schema with all runs and journals in it. The migrated tables stay."""
    with _session(plan) as session:
        unfinished = session.unfinished()
        if unfinished:
            typer.echo(
                f"there is a run that has not ended: {', '.join(unfinished)}. Finish it or roll it back", err=True
            )
            raise typer.Exit(BAD_PLAN)
        schema = session.plan.target.state_schema
        if not yes and not typer.confirm(f"Remove schema {schema} with all runs and journals in it?"):
            raise typer.Exit(BAD_PLAN)
        session.control.purge()


@plan_app.command("schema")
def plan_schema() -> None:
    """Print the JSON Schema of plans."""
    typer.echo(schema_text(), nl=False)


@plan_app.command("show")
def plan_show(plan: PlanFile, as_json: AsJson = False) -> None:
    """Show what every path becomes: table, column, type, and what NULL stands for. Needs no server and no secrets."""
    with _exits():
        loaded = load_without_addresses(plan)
    for warning in loaded.warnings:
        typer.echo(warning, err=True)
    tables = mapping.mapping_of(loaded.plan)
    typer.echo(json.dumps(mapping.as_data(tables), indent=2) if as_json else mapping.printed(tables))


def main() -> None:
    """Entry point of the `tranship` command."""
    app()


if __name__ == "__main__":
    main()
