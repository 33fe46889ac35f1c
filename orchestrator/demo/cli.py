"""`tranship demo`: the whole promise, played on live servers."""

from __future__ import annotations

import json
import secrets
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tranship.orchestrator import logs

RESULT = Path("demo-result.json")


def demo(
    short: Annotated[bool, typer.Option("--short", help="A tenth of the documents, a short wait.")] = False,
    seed: Annotated[int | None, typer.Option(help="Play this shop again; default: another one each time.")] = None,
) -> None:
    """Migrate a live shop: two kills, an approval under writes, a cutover; then one that is corrupted and rolls back.

    Writes demo-result.json; exit code 0 only if nothing was lost, nothing is wrong and the rollback was clean.
    """
    from tranship.orchestrator.demo.drive import FULL, SHORT, play, write_result
    from tranship.orchestrator.sandbox import SandboxError, sandbox

    logs.configure(logs.default_format())
    with tempfile.TemporaryDirectory(prefix="tranship-demo-") as folder:
        try:
            with sandbox(Path(folder) / "servers") as servers:
                stage = Path(folder) / "stage"
                stage.mkdir()
                chosen = secrets.randbelow(2**31) if seed is None else seed
                result = play(servers, stage, SHORT if short else FULL, chosen, _say)
        except SandboxError as problem:
            typer.echo(str(problem), err=True)
            raise typer.Exit(3) from None
    write_result(result, RESULT)
    typer.echo(json.dumps(asdict(result), indent=2))
    for failure in result.failures:
        typer.echo(f"broken promise: {failure}", err=True)
    raise typer.Exit(1 if result.failures else 0)


def _say(line: str) -> None:
    typer.echo(f"demo: {line}", err=True)
