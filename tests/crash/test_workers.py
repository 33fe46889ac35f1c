"""A worker that is killed does not end the run: others take its place. A stopped one is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.crash.play import RATE, Play
from tranship.connectors.protocols import Feed, Position, Scope, Span
from tranship.orchestrator.dataplane import workers
from tranship.orchestrator.journal.records import Kind
from tranship.plans.strategies import PhaseName
from tranship.plans.streams import Column, Endpoint, LogicalType, Stream


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


def test_stopped_ones_are_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause, rollback and Ctrl-C end the workers, and must not wait for one that answers no signal."""
    monkeypatch.setattr(workers, "END_S", 0.2)
    nowhere = Endpoint("postgresql", "postgresql://127.0.0.1:9/nowhere", schema="s", state_schema="t")
    stream = Stream("s", "s", "s", (Column("_id", ("_id",), LogicalType.INT64, "int64"),), ())
    before = set(multiprocessing.active_children())
    made = workers.ProcessWorkers(
        workers.WorkerSetting(nowhere, nowhere, (stream,), Scope("small-1", Feed.FORWARD, 1), "json"), 1
    )
    made.compare(workers.CompareTask(stream, Span(None, None), Position(b"")))
    (process,) = set(multiprocessing.active_children()) - before
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    closing = threading.Thread(target=made.close, daemon=True)
    closing.start()
    closing.join(20)
    hangs = closing.is_alive()
    process.kill()
    assert not hangs


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
