"""A worker process that is killed (as for want of memory) does not end the run: others take its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.play import RATE, Play
from tranship.orchestrator.records import Kind
from tranship.plans.strategies import PhaseName


@pytest.mark.skipif(sys.platform != "linux", reason="finds worker processes in /proc")
def test_killed_while_they_copy_and_compare(on_stage: Play) -> None:
    with on_stage.stage.writers(RATE):
        child = on_stage.start()
        for phase in (PhaseName.BACKFILL, PhaseName.RECONCILE):
            on_stage.wait_for_intent(phase, child)
            on_stage.wait(lambda: bool(_workers(child)), "there were workers", child)
            os.kill(_workers(child)[0], signal.SIGKILL)
        on_stage.wait_for_approval(child)
    on_stage.finish(child)
    assert not [entry for entry in on_stage.journal if entry.record.kind is Kind.PAUSED]
    on_stage.assert_nothing_lost()


def _workers(child: subprocess.Popen[bytes]) -> list[int]:
    """A run's worker processes."""
    found = (Path("/proc") / name for name in os.listdir("/proc") if name.isdigit())
    return [int(process.name) for process in found if _is_worker(process, child.pid)]


def _is_worker(process: Path, parent: int) -> bool:
    try:
        # After the program's name in brackets, which may hold anything: the state, and the parent.
        its_parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        return its_parent == parent and b"spawn_main" in (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return False
