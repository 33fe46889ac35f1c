"""`tranship explain`: what an exit code, a problem of a plan or a finding means, and what to do. Asks no server."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import typer

from tranship.connectors.printable import printable
from tranship.orchestrator.cli.commands import BAD_PLAN
from tranship.orchestrator.reports.explanations import KINDS

Code = Annotated[
    str | None,
    typer.Argument(help="An exit code (4), a problem (P101) or a finding (target.privilege).", show_default=False),
]


def explain(code: Code = None) -> None:
    """Explain an exit code, a problem of a plan or a finding; without one, list them all."""
    if code is None:
        _list()
        return
    for kind, explained in KINDS.items():
        for name, (means, then) in explained.items():
            if name.lower() == code.lower():
                typer.echo(f"{kind} {name}: {means}" + (f"\nWhat to do: {then}" if then else ""))
                return
    known = [name for explained in KINDS.values() for name in explained]
    near = get_close_matches(code, known, n=1)
    meant = f"did you mean {near[0]}?" if near else "`tranship explain` lists all"
    typer.echo(f"no exit code, problem or finding is called {printable(code)}; {meant}", err=True)
    raise typer.Exit(BAD_PLAN)


def _list() -> None:
    for kind, explained in KINDS.items():
        typer.echo(f"{kind}:")
        width = max(map(len, explained))
        for name, (means, _) in explained.items():
            typer.echo(f"  {name.ljust(width)}  {means}")
