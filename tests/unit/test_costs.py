"""What a command that asks no server costs: it loads no driver. Others: `tests/integration/test_costs.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import imported, packages, watched
from tests.unit.test_architecture import DRIVERS

EXAMPLE = Path(__file__).parents[2] / "plans" / "examples" / "01-smallest.yaml"


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["--version"],
        ["status", "--help"],
        ["sandbox", "up", "--help"],
        ["plan", "schema"],
        ["plan", "show", str(EXAMPLE)],
        ["explain", "P101"],
    ],
    ids=" ".join,
)
def test_a_command_that_asks_no_server_loads_no_driver(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tranship", *command], env=watched(tmp_path), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [modules] = imported(tmp_path)
    assert "tranship.orchestrator.cli.main" in modules
    assert not packages(modules) & {*DRIVERS, "numpy", "tenacity"}


def test_a_worker_imports_the_entry_and_not_the_command_line(tmp_path: Path) -> None:
    """What a worker does with the main module of its parent: it imports it anew."""
    code = "import runpy, tranship.__main__; runpy.run_module('tranship.__main__', run_name='__mp_main__')"
    subprocess.run([sys.executable, "-P", "-c", code], env=watched(tmp_path), check=True)
    [modules] = imported(tmp_path)
    assert "tranship.__main__" in modules
    assert "typer" not in modules
    assert not {name for name in modules if name.startswith("tranship.orchestrator")}
