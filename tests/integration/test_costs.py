"""What commands and workers load: a look at a run needs no Arrow, and a worker no command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.imports import imported, packages, watched
from tests.integration.route import STATE, THINGS, Route, things, wait_until

ARROW = {"pyarrow", "numpy", "adbc_driver_manager", "adbc_driver_postgresql"}
MONGODB = {"pymongo", "bson"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where processes write down what they import."""
    made = tmp_path / "imports"
    made.mkdir()
    return made


def _loaded(route: Route, folder: Path, *arguments: str | Path, codes: Sequence[int] = (0,)) -> set[str]:
    child = route.start(*arguments, **watched(folder))
    assert child.wait() in codes, child.output
    [modules] = imported(folder, pid=child.process.pid)
    assert "tranship.orchestrator.cli.main" in modules
    return packages(modules)


def test_a_look_at_a_run_loads_no_arrow(route: Route, folder: Path) -> None:
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    assert not _loaded(route, folder, "check", plan, "--sample", "0") & ARROW
    run = route.run_to_approval(plan)
    looks: list[tuple[str | Path, ...]] = [
        ("status", plan),
        ("status", plan, "--json"),
        ("history", plan),
        ("runs", plan),
        ("quarantine", "list", plan),
        ("approve", plan, "--withdraw"),
        ("pause", plan),
    ]
    for look in looks:
        assert not _loaded(route, folder, *look) & (ARROW | MONGODB), look
    assert run.wait() == 7, run.output
    target = _loaded(route, folder, "runs", "--target", "env:TARGET_URI", "--state-schema", STATE)
    assert not target & (ARROW | MONGODB)


def test_workers_import_no_command_line(route: Route, folder: Path) -> None:
    """Under the console script, which a worker imports anew as its main module."""
    route.documents().insert_many(things(20))
    plan = route.plan(THINGS)
    script = Path(sys.executable).parent / "tranship"
    child = subprocess.Popen(
        [script, "run", plan], env={**route.environment, **watched(folder)}, stderr=subprocess.PIPE, text=True
    )
    with child:
        compares = "tranship.orchestrator.dataplane.comparison"
        wait_until(lambda: any(compares in modules for modules in imported(folder, "worker")), None, "a worker to work")
        child.terminate()
        said = child.communicate()[1]
    assert child.returncode == 7, said
    for modules in imported(folder, "worker"):
        assert "typer" not in modules
        assert not {name for name in modules if name.startswith("tranship.orchestrator.cli")}
