"""`tranship sandbox up | status | down`: servers to play with.

What starts and asks servers is imported by the command that does: drivers come with it.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tranship.orchestrator.sandbox.servers import Kind, SandboxError, Servers

USAGE_ERROR = 2

app = typer.Typer(no_args_is_help=True, help="A MongoDB and a PostgreSQL to try tranship with.")

Folder = Annotated[Path, typer.Option("--folder", help="Where the servers keep their data and logs.")]
DEFAULT_FOLDER = Path(".sandbox")


@app.command()
def up(folder: Folder = DEFAULT_FOLDER) -> None:
    """Start the servers if they do not run yet, and print their URIs. They outlive the command."""
    from tranship.orchestrator.sandbox import persistent

    try:
        _show(persistent.up(folder))
    except SandboxError as problem:
        _fail(problem)


@app.command()
def status(folder: Folder = DEFAULT_FOLDER) -> None:
    """Ask the servers, and print their URIs; exit code 1 when none run or one does not answer."""
    from tranship.orchestrator.sandbox import persistent

    try:
        servers = persistent.status(folder)
    except SandboxError as problem:
        _fail(problem, 1)
    if servers is None:
        typer.echo("no sandbox is running", err=True)
        raise typer.Exit(1)
    _show(servers)


@app.command()
def down(
    folder: Folder = DEFAULT_FOLDER,
    purge: Annotated[bool, typer.Option("--purge", help="Delete the servers' data as well.")] = False,
) -> None:
    """Stop the servers; their data stays unless --purge is given."""
    from tranship.orchestrator.sandbox import persistent

    try:
        stopped = persistent.down(folder, purge=purge)
    except SandboxError as problem:
        _fail(problem)
    typer.echo("stopped" if stopped else "no sandbox was running", err=True)


def _show(servers: Servers) -> None:
    """Print lines that a shell can evaluate. External URIs hold passwords and the user knows them: not printed."""
    if servers.kind is Kind.EXTERNAL:
        typer.echo("the servers of SOURCE_URI and TARGET_URI are used; nothing is started", err=True)
        return
    typer.echo(f"export SOURCE_URI={shlex.quote(servers.source_uri)}")
    typer.echo(f"export TARGET_URI={shlex.quote(servers.target_uri)}")


def _fail(problem: SandboxError, code: int = USAGE_ERROR) -> NoReturn:
    typer.echo(f"error: {problem}", err=True)
    raise typer.Exit(code)
