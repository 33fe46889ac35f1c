"""What the commands share: opening a plan, carrying a run on, leaving a request, errors as exit codes.

Exit codes: 0 finished; 2 bad usage or plan; 3 preflight refused; 4 rolled back; 5 held; 6 another orchestrator holds
the lease; 7 paused. 1 is an unexpected error, or a difference that `reconcile` found.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import threading
import time
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tranship.connectors.errors import ConnectorError, EpochMovedError, TransientError
from tranship.orchestrator import logs
from tranship.orchestrator.cli.view import shown
from tranship.orchestrator.dataplane import TooManyApartError
from tranship.orchestrator.engine.amendment import PlanChangedError
from tranship.orchestrator.engine.inbox import refusal
from tranship.orchestrator.engine.recognition import TargetRestoredError
from tranship.orchestrator.engine.session import Session, open_session
from tranship.orchestrator.journal.control import LeaseHeldError, LeaseLostError, RequestKind
from tranship.orchestrator.journal.person import person
from tranship.orchestrator.journal.records import JournalError, Kind
from tranship.orchestrator.journal.state import ENDED, RunStatus, State
from tranship.orchestrator.phases import PreflightError
from tranship.orchestrator.reports import inspection
from tranship.orchestrator.reports.advice import to_type
from tranship.orchestrator.reports.endings import EXIT_CODES, ending
from tranship.orchestrator.reports.keynames import NoKeyError
from tranship.orchestrator.reports.quarantine import QuarantineError
from tranship.orchestrator.reports.status import closing_lines, status_of
from tranship.plans import PlanError, load_with_warnings

if TYPE_CHECKING:
    from tranship.orchestrator.engine.engine import Engine


class LogFormat(StrEnum):
    """How log lines look."""

    PRETTY = "pretty"
    JSON = "json"


PlanFile = Annotated[Path, typer.Argument(help="The plan, a YAML file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Format = Annotated[LogFormat | None, typer.Option("--log-format", help="Default: pretty on a terminal, else json.")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="How many are printed; 0: all. --json has all.")]
Wait = Annotated[bool, typer.Option("--wait", help="Where another process carries it out: until it has.")]

BAD_PLAN, REFUSED, HELD, LEASE, PAUSED = 2, 3, 5, 6, 7

WAIT_S = 0.5

ERRORS: tuple[tuple[type[Exception], int], ...] = (
    (PlanError, BAD_PLAN),
    (PreflightError, REFUSED),
    (PlanChangedError, REFUSED),
    (TargetRestoredError, REFUSED),
    (JournalError, REFUSED),
    (TimeoutError, REFUSED),
    (TooManyApartError, 1),
    (NoKeyError, BAD_PLAN),
    (QuarantineError, BAD_PLAN),
    (LeaseHeldError, LEASE),
    (LeaseLostError, LEASE),
    (EpochMovedError, LEASE),
    (ConnectorError, REFUSED),  # last: the others of its kind go before it
)


@contextmanager
def exits(plan: Path | None = None) -> Iterator[None]:
    """Known errors become one clear text and an exit code; anything else is a bug and keeps its traceback. `plan`: what
    the commands are about that the text tells to type."""
    try:
        yield
    except tuple(kind for kind, _ in ERRORS) as error:
        text = str(error) if plan is None else to_type(str(error), shlex.quote(str(plan)))
        typer.echo(logs.without_secrets(text), err=True)
        raise typer.Exit(next(code for kind, code in ERRORS if isinstance(error, kind))) from None


@contextmanager
def open_plan(plan: Path, log_format: LogFormat | None = None) -> Iterator[Session]:
    with exits(plan):
        logs.configure(log_format or logs.default_format())
        loaded = load_with_warnings(plan)
        for warning in loaded.warnings:
            typer.echo(warning, err=True)
        with open_session(loaded.plan, log_format, shlex.quote(str(plan))) as session:
            yield session


def bad_input(text: str) -> NoReturn:
    """End a command that was asked for something that cannot be."""
    typer.echo(text, err=True)
    raise typer.Exit(BAD_PLAN)


def writable(*files: Path | None) -> None:
    """End a command whose result could not be written, before it has worked for it."""
    for file in files:
        if file is not None and (file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK)):
            bad_input(f"{file} cannot be written: no such folder, or no right to")


def template(text: str) -> str:
    """An address as a plan writes it: `env:NAME` is `${env:NAME}`, which a shell would take for its own."""
    return f"${{{text}}}" if re.fullmatch(r"(env|file):[^{}]+", text) else text


MOST_PRINTED = 20
"""Lines of one kind, unless `--limit` says otherwise: a list of thousands hides what else is said."""


def first_of(lines: Iterable[str], limit: int, total: int) -> Iterator[str]:
    """The first of so many lines, and one that says how many more there are; limit 0: all of them."""
    yield from islice(lines, limit or None)
    if limit and total > limit:
        yield f"and {total - limit:,} more: --limit 0 prints all, --json has all"


def run_of(session: Session) -> str:
    run = session.latest()
    if run is None:
        typer.echo(
            f"plan {session.plan.name} has no run on this target yet; `tranship run {session.file}` starts one",
            err=True,
        )
        raise typer.Exit(BAD_PLAN)
    return run


def execute(
    session: Session, run: str, *, held_too: bool = False, wanted: RunStatus | None = None, rehearsed: str = ""
) -> int:
    """Carry a run on; the exit code says how it stands afterwards. `wanted`: the end that was asked for, which is no
    failure then. `rehearsed`: the digest of a dry run's report."""
    logs.configure(logs.default_format(), run=run)
    engine = session.engine(rehearsed)
    try:
        with shown(session, engine), signals(engine):
            state = engine.execute(run, person(), held_too=held_too)
    except EpochMovedError:
        raise
    except ConnectorError as error:
        what = "the servers could not be reached" if isinstance(error, TransientError) else "a server refused"
        why = logs.without_secrets(to_type(str(error), session.file)).rstrip(".")
        typer.echo(
            f"{what}: {why}. Everything is kept; `tranship run {session.file}` goes on when that is mended. "
            f"(exit code {PAUSED})",
            err=True,
        )
        return PAUSED
    if state.status is RunStatus.FINISHED:
        _say_counts(session, run)
    return report(session, state, wanted)


def _say_counts(session: Session, run: str) -> None:
    """What was moved: the last words of a run that has finished, which it has even if they cannot be read any more."""
    try:
        lines = closing_lines(status_of(session, run))
    except TransientError as error:
        lines = [f"the counts could not be read: {logs.without_secrets(str(error))}"]
    for line in lines:
        typer.echo(line, err=True)


def report(session: Session, state: State, wanted: RunStatus | None = None) -> int:
    """Say how a run has ended; returns the exit code."""
    code = 0 if state.status is wanted else EXIT_CODES[state.status]
    typer.echo(logs.without_secrets(ending(state, session.file, code)), err=True)
    return code


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be taken back; a script says `--yes`."""
    if yes:
        return
    if not sys.stdin.isatty():
        typer.echo(f"{question} There is nobody to ask: say --yes. Nothing was changed.", err=True)
        raise typer.Exit(BAD_PLAN)
    if not typer.confirm(question):
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(BAD_PLAN)


@contextmanager
def signals(engine: Engine) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM pauses the run cleanly, the second ends the process at once; both can be resumed."""

    asked = threading.Event()

    def handle(number: int, _frame: types.FrameType | None) -> None:
        # Not the engine's own event: that one is cleared as soon as the pausing begins, which may take a while.
        if asked.is_set():
            os._exit(128 + number)
        asked.set()
        if not sys.stderr.isatty():  # else the view says so
            os.write(2, b"pausing: what is under way comes to its end; again to end at once\n")
        engine.interrupt.set()
        engine.patience.hurried.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ask(session: Session, run: str, kind: RequestKind, stream: str | None = None, *, wait: bool = False) -> int:
    """Leave a request; when no orchestrator is at work on the run, carry it out here. Returns the exit code.

    `wait`: when another orchestrator carries it out, until it has. A run that is held after its switch stays so: only
    `resume` says that a person has seen to it.
    """
    state = session.state(run)
    if state.switched and state.status is RunStatus.HELD:
        return report(session, state)
    wanted = RunStatus.ROLLED_BACK if kind is RequestKind.ROLLBACK else None
    number = session.request(run, kind, stream=stream)
    try:
        return execute(session, run, held_too=True, wanted=wanted)
    except LeaseHeldError:
        typer.echo(f"{kind} was left for the orchestrator that works on {run}", err=True)
    if not wait:
        typer.echo(f"`tranship status {session.file}` shows what becomes of it", err=True)
        return 0
    return _await(session, run, number, wanted)


def _await(session: Session, run: str, number: int, wanted: RunStatus | None) -> int:
    """Wait for another orchestrator: until it has answered, and a rollback until its end."""
    while True:
        state = session.state(run)
        waits = any(request.id == number for request in session.control.requests(run))
        if state.status not in (RunStatus.RUNNING, RunStatus.ROLLING_BACK):
            return report(session, state, wanted)
        if not waits and wanted is None:
            typer.echo("it is answered", err=True)
            return 0
        if not session.control.is_led(run):
            typer.echo(f"nobody works on {run} any more; `tranship run {session.file}` goes on", err=True)
            return LEASE
        time.sleep(WAIT_S)


def rehearsed(session: Session, run: str, seen: int) -> int:
    """Wait until a rehearsal that was asked for behind so many records is over; 0 when it came to where the switch
    would have been. Says how long writers would have waited, or what was against it."""
    while True:
        for entry in session.control.journal(run)[seen:]:
            if entry.record.kind in (Kind.APPROVAL_WITHDRAWN, Kind.IGNORED):
                typer.echo(str(entry.record.data["reason"]), err=True)
                return 0 if "rehearsed_s" in entry.record.data else 1
        if not session.control.is_led(run):
            typer.echo(f"nobody works on {run} any more; `tranship run {session.file}` goes on", err=True)
            return LEASE
        time.sleep(WAIT_S)


def refuse(session: Session, kind: RequestKind, state: State) -> None:
    """End the command when the request makes no sense now."""
    if state.status is RunStatus.FINISHED and kind is not RequestKind.RETRY:
        typer.echo(f"run {state.run}: finished: nothing is left to {kind}. Nothing was changed.", err=True)
        raise typer.Exit(BAD_PLAN)
    if state.status in ENDED and kind is not RequestKind.RETRY:
        wanted = RunStatus.ROLLED_BACK if kind is RequestKind.ROLLBACK else None
        raise typer.Exit(report(session, state, wanted))
    why = refusal(kind, state)
    if why is not None:
        typer.echo(f"run {state.run} ({state.status}): {why}. Nothing was changed.", err=True)
        raise typer.Exit(HELD if kind is RequestKind.ROLLBACK else BAD_PLAN)


def refuse_comparison(session: Session, run: str) -> None:
    """End `reconcile` where equal sides would prove nothing, and different ones no fault."""
    why = inspection.incomparable(session, run)
    if why is not None:
        state = session.state(run)
        typer.echo(f"run {run} ({state.status}): {why}, so there is nothing to compare. Nothing was changed.", err=True)
        raise typer.Exit(EXIT_CODES.get(state.status, EXIT_CODES[RunStatus.ROLLED_BACK] if state.undoing else BAD_PLAN))
