"""Capture: changed keys of the source become durable dirty keys, and then the position that covers them.

Both commit in one transaction, so that the position never runs ahead of what is kept (`rules.md` I3). After any error
the stream is opened anew at the durable position: keys that come twice only raise a generation.
"""

from __future__ import annotations

import threading

from tranship.connectors.errors import AmbiguousCommitError, ConnectorError, TransientError
from tranship.connectors.protocols import Changes, ChangeSource, Progress, Scope, Watch
from tranship.connectors.registry import Source
from tranship.orchestrator.dataplane.positions import durable
from tranship.orchestrator.services import Setting
from tranship.plans.streams import Stream


class Follower:
    """Keeps one `Changes` after the other; opens the stream where the durable position stands."""

    def __init__(self, source: ChangeSource, progress: Progress, scope: Scope, streams: tuple[Stream, ...]) -> None:
        self._source = source
        self._progress = progress
        self._scope = scope
        self._streams = streams
        self._stream: Watch | None = None

    def step(self) -> Changes | None:
        """Keep the next changes; None once the watch is closed. After an error the next step starts from the durable
        position."""
        try:
            if self._stream is None:
                self._stream = self._source.changes(self._streams, durable(self._progress, self._scope))
            changes = next(self._stream, None)
            if changes is not None:
                self._progress.keep(self._scope, changes)
                # Only then: what the source forgets nobody can ask for again.
                self._stream.confirm(changes.position)
        except AmbiguousCommitError as error:
            self._stream = None
            raise TransientError(str(error)) from error
        except ConnectorError:
            self._stream = None
            raise
        return changes

    def close(self) -> None:
        """Have a step that waits come back; from any thread."""
        if self._stream is not None:
            self._stream.close()


def body(setting: Setting, stop: threading.Event) -> None:
    """The capture service."""
    progress = setting.connect.progress()
    connection: list[tuple[Source, Follower]] = []

    def step() -> None:
        if not connection:
            source = setting.connect.source()
            connection.append((source, Follower(source, progress, setting.scope, setting.streams)))
        source, follower = connection[0]
        try:
            if follower.step() is not None:
                setting.pulse.beat()
        except ConnectorError:
            connection.clear()
            source.close()
            raise

    def wake() -> None:
        stop.wait()
        for _, follower in connection:
            follower.close()

    threading.Thread(target=wake, name="capture-stop", daemon=True).start()
    try:
        while not stop.is_set():
            setting.patience.call(step, stop)
    finally:
        for source, _ in connection:
            source.close()
        progress.close()
