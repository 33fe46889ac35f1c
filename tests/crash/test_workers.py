"""A worker that is killed does not end the run: others take its place. A stopped one is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.crash.play import RATE, Play
from tests.integration.route import wait_until
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


@pytest.mark.skipif(sys.platform != "linux", reason="finds worker processes in /proc")
def test_they_end_with_the_process_that_asked_for_them(on_stage: Play) -> None:
    """And so does their fork server, which is held open by all of them."""
    with on_stage.stage.writers(RATE):
        child = on_stage.start()
        on_stage.wait_for_intent(PhaseName.BACKFILL, child)
        on_stage.wait(lambda: bool(_workers(child)), "there were workers", child)
        [server] = _servers(child)
        ours = {server, *_workers(child)}
        os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: not ours & set(_parents()), None, "all of them to end")


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
    wait_until(lambda: _stat(process.pid)[0] == "T", None, "the worker to be stopped")
    closing = threading.Thread(target=made.close, daemon=True)
    closing.start()
    closing.join(20)
    hangs = closing.is_alive()
    process.kill()
    assert not hangs


def _workers(child: subprocess.Popen[bytes]) -> list[int]:
    """A run's worker processes: the children of its fork server."""
    servers = _servers(child)
    return [pid for pid, parent in _parents().items() if parent in servers]


def _servers(child: subprocess.Popen[bytes]) -> list[int]:
    return [pid for pid, parent in _parents().items() if parent == child.pid and "forkserver" in _command_line(pid)]


def _parents() -> dict[int, int]:
    """Of each process that has not ended."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            state, parent = _stat(int(name))
            if state != "Z":
                found[int(name)] = parent
    return found


def _stat(pid: int) -> tuple[str, int]:
    """A process's state, and its parent."""
    # They stand after the program's name in brackets, which may hold anything.
    state, parent = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[:2]
    return state, int(parent)


def _command_line(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
