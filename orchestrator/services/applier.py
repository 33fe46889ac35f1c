"""Applier: one thread per lane makes dirty keys equal on the target."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing

from tranship.connectors.errors import ConnectorError
from tranship.connectors.protocols import Progress
from tranship.orchestrator.dataplane.applier import Applier
from tranship.orchestrator.dataplane.gate import Gate
from tranship.orchestrator.services import Setting

IDLE_S = 0.1


class _Lane:
    """One lane's connections and applier; opened anew after an error."""

    def __init__(self, setting: Setting, progress: Progress, gate: Gate, lane: int) -> None:
        self._setting = setting
        self._progress = progress
        self._gate = gate
        self._lane = lane
        self._connections = ExitStack()
        self._open: Applier | None = None

    def step(self) -> int:
        try:
            return self._applier().step(self._lane)
        except ConnectorError:
            self.close()
            raise

    def _applier(self) -> Applier:
        if self._open is None:
            s = self._setting
            with ExitStack() as stack:
                source = stack.enter_context(closing(s.connect.source()))
                target = stack.enter_context(closing(s.connect.target(s.scope)))
                self._connections = stack.pop_all()
            streams = {stream.name: stream for stream in s.streams}
            self._open = Applier(source, target, self._progress, s.scope, streams, self._gate, s.clock)
        return self._open

    def close(self) -> None:
        self._open = None
        self._connections.close()


def body(setting: Setting, stop: threading.Event) -> None:
    """The applier service: ends when asked to, or when one lane fails."""
    progress = setting.connect.progress()
    try:
        # As many lanes as capture made, whatever the plan's limits say by now: a key in a lane that nobody serves
        # would never be applied.
        lanes = setting.patience.call(lambda: progress.lane_marks(setting.scope), stop)
        _serve(setting, progress, [mark.lane for mark in lanes], stop)
    finally:
        progress.close()


def _serve(setting: Setting, progress: Progress, lanes: list[int], stop: threading.Event) -> None:
    gate = Gate()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        lane = _Lane(setting, progress, gate, number)
        try:
            while not stop.is_set() and not failures:
                seen = setting.pulse.count
                if setting.patience.call(lane.step, stop):
                    setting.pulse.beat()
                else:
                    setting.clock.wait(setting.pulse, seen, IDLE_S)
        except BaseException as error:  # noqa: BLE001  raised again by the service
            failures.append(error)
        finally:
            lane.close()

    threads = [threading.Thread(target=work, args=(n,), name=f"lane-{n}", daemon=True) for n in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
