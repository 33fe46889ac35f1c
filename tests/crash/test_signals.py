"""Ctrl-C: the first pauses cleanly, the second ends the process at once; `tranship run` goes on after either."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from types import SimpleNamespace
from typing import cast

import pytest

from tests.crash.play import PAUSED, RATE, Play, ended
from tranship.orchestrator.cli import commands
from tranship.orchestrator.engine.engine import Engine
from tranship.orchestrator.journal.records import Kind
from tranship.orchestrator.journal.state import RunStatus
from tranship.orchestrator.retry import Patience
from tranship.plans.strategies import PhaseName

PHASES = (PhaseName.BACKFILL, PhaseName.CATCH_UP)


def test_the_first_ctrl_c_pauses(on_stage: Play) -> None:
    with on_stage.stage.writers(RATE):
        for phase in PHASES:
            child = on_stage.start()
            on_stage.wait_for_intent(phase, child)
            _ctrl_c(child)
            assert ended(child, "it paused") == PAUSED
            assert on_stage.state.status is RunStatus.PAUSED
            assert on_stage.journal[-1].record.kind is Kind.PAUSED
        child = on_stage.start()
        on_stage.wait_for_approval(child)
    on_stage.finish(child)
    on_stage.assert_nothing_lost()


def test_the_second_signal_ends_it_at_once(on_stage: Play) -> None:
    with on_stage.stage.writers(RATE):
        child = on_stage.start()
        on_stage.wait_for_approval(child)
        # Both are pending when it wakes, so that it cannot have finished pausing in between.
        os.killpg(child.pid, signal.SIGSTOP)
        _ctrl_c(child)
        os.killpg(child.pid, signal.SIGTERM)
        os.killpg(child.pid, signal.SIGCONT)
        assert ended(child, "it ended") == 128 + signal.SIGTERM
        assert on_stage.state.status is RunStatus.RUNNING
        child = on_stage.start()
        on_stage.wait_for_approval(child)
    on_stage.finish(child)
    on_stage.assert_nothing_lost()


def test_the_second_signal_counts_after_the_pausing_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    engine = SimpleNamespace(interrupt=threading.Event(), patience=Patience(60.0))
    with commands.signals(cast("Engine", engine)):
        os.kill(os.getpid(), signal.SIGINT)
        assert engine.interrupt.is_set()
        assert engine.patience.hurried.is_set()
        engine.interrupt.clear()  # the engine has seen it and is pausing
        os.kill(os.getpid(), signal.SIGINT)
    assert codes == [128 + signal.SIGINT]


def _ctrl_c(child: subprocess.Popen[bytes]) -> None:
    """What a terminal does: the signal goes to the whole group, workers included."""
    os.killpg(child.pid, signal.SIGINT)
